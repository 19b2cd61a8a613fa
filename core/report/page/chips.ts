// Tokens as chips: blanks visible, item and position on hover, one selection for the whole page.
import { ink_on, css, rgb } from './colour';
import { element } from './dom';
import { visible } from './format';

export interface chip_options { colour?: rgb; title?: string; selected?: boolean; act?: () => void; hover?: (e: PointerEvent) => void; leave?: () => void }

export function chip(text: string, o: chip_options = {}): HTMLElement {
  const shown = text === '' ? '\u2205' : visible(text);
  const made = element(o.act ? 'button' : 'span', { class: `chip${o.selected ? ' selected' : ''}`, 'data-chip': '', title: o.title,
    type: o.act ? 'button' : null, 'aria-pressed': o.act ? String(o.selected ?? false) : null, click: o.act ?? null,
    pointermove: o.hover ?? null, pointerleave: o.leave ?? null }, shown);
  if (o.colour) {
    made.style.background = css(o.colour);
    made.style.color = ink_on(o.colour);
  }
  return made;
}

/** A line break after a token that ends one. */
export const breaks_after = (text: string): boolean => /\n/.test(text);
