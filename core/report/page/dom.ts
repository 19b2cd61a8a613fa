// Elements made by hand: text goes in as text nodes and nothing is ever parsed as HTML, so that a hostile file stays text.

export type child = Node | string | number | null | undefined | false;
export type attributes = Record<string, string | number | boolean | null | undefined | ((event: any) => void)>;

function fill<T extends Element>(made: T, given: attributes, children: child[]): T {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? '' : String(value));
  }
  append(made, children);
  return made;
}

export function append(to: Element, children: child[]): void {
  for (const c of children) {
    if (c === null || c === undefined || c === false) continue;
    to.append(typeof c === 'number' ? String(c) : c);
  }
}

/** element('a', {href: '#x', click: go}, 'text'): functions are listeners. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K, given: attributes = {}, ...children: child[]): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), given, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K, given: attributes = {}, ...children: child[]): SVGElementTagNameMap[K] {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag) as SVGElementTagNameMap[K], given, children);
}

export function replace(host: Element, ...children: child[]): void {
  host.textContent = '';
  append(host, children);
}

let counter = 0;
/** An id that nothing else on the page has. */
export const fresh_id = (prefix: string): string => `${prefix}-${++counter}`;

let live: HTMLElement | null = null;
/** Says something to screen readers. */
export function announce(text: string): void {
  if (!live) {
    live = element('div', { class: 'unseen', role: 'status', 'aria-live': 'polite' });
    document.body.append(live);
  }
  live.textContent = text;
}

/** A button with a text. */
export const button = (label: string, act: () => void, more: attributes = {}): HTMLButtonElement =>
  element('button', { type: 'button', click: act, ...more }, label);

/** A labelled choice of one of several texts. */
export function choice(label: string, options: string[], chosen: number, act: (index: number) => void): HTMLElement {
  const select: HTMLSelectElement = element('select', { change: () => act(select.selectedIndex) },
    ...options.map((o, i) => element('option', { selected: i === chosen }, o)));
  return element('label', { class: 'control' }, element('span', {}, label), select);
}
