// The one box that follows the pointer and says what is under it. Text only.
import { announce, child, element, replace } from './dom';

let box: HTMLElement | null = null;

/** Shows lines near a point of the window. `say`: also for screen readers, after a move by keyboard. */
export function show_tip(x: number, y: number, lines: child[][], say = false): void {
  if (!box) {
    box = element('div', { class: 'tip', 'aria-hidden': 'true' });
    document.body.append(box);
  }
  replace(box, ...lines.map(l => element('div', {}, ...l)));
  box.style.display = 'block';
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  box.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
  if (say) announce(lines.map(l => l.map(c => c instanceof Node ? c.textContent : c).join('')).join('; '));
}

export function hide_tip(): void {
  if (box) box.style.display = 'none';
}

/** Arrow keys on a focused drawing read its `count` parts one by one: `tell` shows one and says it. */
export function read_by_arrows(drawing: SVGSVGElement, count: number, tell: (i: number) => void): void {
  let at = -1;
  drawing.addEventListener('keydown', e => {
    const step = ({ ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 } as Record<string, number>)[e.key];
    if (step === undefined) return;
    e.preventDefault();
    at = Math.max(0, Math.min(count - 1, at + step));
    tell(at);
  });
  drawing.addEventListener('blur', hide_tip);
}

/** "name value" with the value set apart. */
export const pair = (name: string, value: string): child[] =>
  [element('span', { class: 'key' }, name), ' ', element('b', {}, value)];
