// What the views of a page share: the index along each dimension, the token under the pointer, the theme.
import { field } from './field';
import { element, fresh_id } from './dom';

type listener = () => void;

/** A set of listeners that forget themselves when their element leaves the page. */
class bell {
  private all: { of: Element; act: listener; seen: boolean }[] = [];
  on(of: Element, act: listener): void { this.all.push({ of, act, seen: false }); }
  ring(): void {
    this.all = this.all.filter(l => {
      if (l.of.isConnected) l.seen = true;
      return l.of.isConnected || !l.seen;
    });
    for (const l of [...this.all]) if (l.of.isConnected) l.act();
  }
}

const indices = new Map<string, number>();
const moved = new Map<string, bell>();
export const theme_changed = new bell();

/** Views share a dimension if its name and size are the same. */
const key_of = (f: field, a: number): string => `${f.axes[a].name}:${f.axes[a].full}`;

/** Snapshots begin with the last: an untrained model is seldom what one came for. */
const from_the_end = /^(step|snapshot|update|epoch)(_\d+)?$/;

export function index_of(f: field, a: number): number {
  const last = Math.max(0, f.axes[a].size - 1);
  return Math.min(indices.get(key_of(f, a)) ?? (from_the_end.test(f.axes[a].name) ? last : 0), last);
}
export function move(f: field, a: number, to: number): void {
  const key = key_of(f, a);
  const whole = Math.max(0, Math.min(f.axes[a].size - 1, Math.round(to)));
  if (index_of(f, a) === whole) return;
  indices.set(key, whole);
  moved.get(key)?.ring();
}
/** The index that somebody chose, or undefined. */
export const chosen_of = (f: field, a: number): number | undefined => indices.has(key_of(f, a)) ? index_of(f, a) : undefined;
/** Where a dimension stands as long as nobody moved it. */
export function begin_at(f: field, a: number, index: number): void {
  if (!indices.has(key_of(f, a))) move(f, a, index);
}
export function on_move(of: Element, f: field, a: number, act: listener): void {
  const key = key_of(f, a);
  if (!moved.has(key)) moved.set(key, new bell());
  moved.get(key)!.on(of, act);
}

/** A slider for one dimension, linked with all others of that dimension. */
export function slider(f: field, a: number): HTMLElement {
  const one = f.axes[a];
  const id = fresh_id('slide');
  const input: HTMLInputElement = element('input', { type: 'range', id, min: 0, max: one.size - 1, step: 1, input: () => move(f, a, Number(input.value)) });
  const said = element('output', { for: id });
  const say = (): void => {
    input.value = String(index_of(f, a));
    const label = f.label(a, index_of(f, a));
    said.textContent = `${label}${one.texts || one.values ? '' : ` (0\u2026${one.full - 1})`}`;
    input.setAttribute('aria-valuetext', label);
  };
  const host = element('div', { class: 'control' }, element('label', { for: id }, one.name), input, said);
  on_move(host, f, a, say);
  say();
  return host;
}

/** Sliders for all axes but those shown, and the index that they stand at (0 for the shown ones). */
export function sliders(host: Element, f: field, shown: number[], act: listener): () => number[] {
  const others = f.axes.map((_, a) => a).filter(a => !shown.includes(a));
  for (const a of others) {
    if (f.axes[a].size > 1) host.append(slider(f, a));
    on_move(host, f, a, act);
  }
  return () => f.axes.map((_, a) => shown.includes(a) ? 0 : index_of(f, a));
}
