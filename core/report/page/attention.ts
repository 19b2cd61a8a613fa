// Attention: all heads as thumbnails (layers down, heads across), and the chosen head as a matrix and as lines between tokens.
import { paint } from './cells';
import { kinds, scale_of } from './colour';
import { element, replace, svg } from './dom';
import { field } from './field';
import { short, visible } from './format';
import { heatmap } from './heatmap';
import { index_of, move, on_move } from './linked';
import { fitting } from './plot';
import { hide_tip, pair, show_tip } from './tip';

const most_thumbnails = 1024, most_lined = 64;

/** `queries`: the tokens of the queries; `keyed`: those of the keys, where they are others. */
export function attention(host: HTMLElement, f: field, queries: field | undefined, keyed: field | undefined, width: number): void {
  const rank = f.axes.length, query = rank - 2, key = rank - 1;
  const head = f.axes.findIndex(a => a.name === 'head'), layer = f.axes.findIndex(a => /^(layer|block)/.test(a.name));
  const range = f.range();
  const pattern = range.least >= 0 && range.most <= 1.0001;
  const colours = scale_of(pattern ? 0 : range.least, range.most);
  const at_now = (): number[] => f.axes.map((_, a) => a === query || a === key ? 0 : index_of(f, a));
  const token = (a: number, i: number): string | undefined => {
    const texts = a === key ? keyed ?? queries : queries;
    if (!texts) return undefined;
    const last = texts.axes.length - 1;
    if (texts.axes[last].full !== f.axes[a].full || i >= texts.axes[last].size) return undefined;
    return texts.texts[texts.offset(texts.axes.map((t, k) => k === last ? i : index_of(f, Math.max(0, f.axis(t.name)))))];
  };
  const name = (a: number, i: number): string => visible(token(a, i) ?? f.label(a, i));
  /** How many tokens the item has: what is beyond is missing. */
  const length = (a: number): number => {
    const at = at_now();
    let n = f.axes[a].size;
    for (; n > 1; --n) {
      const t = token(a, n - 1);
      if (t !== undefined ? t !== '' : has_value(at, a, n - 1)) break;
    }
    return n;
  };
  const has_value = (at: number[], a: number, i: number): boolean => {
    const other = a === query ? key : query;
    for (let j = 0; j < f.axes[other].size; ++j) {
      at[a] = i;
      at[other] = j;
      if (Number.isFinite(f.numbers[f.offset(at)])) return true;
    }
    return false;
  };

  const grid = element('div', { class: 'heads' });
  const one = element('div', { class: 'one-head' });
  const lined = element('div', { class: 'plot lined', tabindex: 0, role: 'group', 'aria-label': 'The strongest weights as lines between tokens' });
  const matrix = element('div', { class: 'matrix' });
  one.append(matrix, lined);
  host.append(grid, one);

  function thumbnails(): void {
    const L = layer < 0 ? 1 : f.axes[layer].size, H = f.axes[head].size;
    if (L * H > most_thumbnails || L * H < 2) return;
    const nq = length(query), nk = length(key), size = Math.max(28, Math.min(84, Math.floor((width - 70) / H) - 10));
    const tall = Math.max(16, Math.min(size, Math.round(size * nq / nk)));
    const at = at_now();
    const rows = Array.from({ length: L }, (_, l) => element('div', { class: 'row' }, element('span', { class: 'name' }, layer < 0 ? '' : `${f.axes[layer].name} ${f.label(layer, l)}`),
      ...Array.from({ length: H }, (__, h) => {
        const here = [...at];
        if (layer >= 0) here[layer] = l;
        here[head] = h;
        const start = f.offset(here);
        const value = (q: number, k: number): number => f.numbers[start + q * f.strides[query] + k * f.strides[key]];
        const canvas = element('canvas', { 'aria-hidden': 'true' });
        const sq = Math.max(1, Math.ceil(nq / 96)), sk = Math.max(1, Math.ceil(nk / 96));
        paint(canvas, size, tall, Math.ceil(nq / sq), Math.ceil(nk / sk), (q, k) => value(q * sq, k * sk), colours);
        const spread = pattern ? mean_entropy(value, nq, nk) : NaN;
        const chosen = (layer < 0 || index_of(f, layer) === l) && index_of(f, head) === h;
        return element('button', { type: 'button', class: 'head', 'aria-pressed': String(chosen), 'aria-label': `${layer < 0 ? '' : `layer ${f.label(layer, l)}, `}head ${f.label(head, h)}${
          Number.isFinite(spread) ? `, mean entropy ${short(spread)} nat` : ''}`, title: Number.isFinite(spread) ? `mean entropy ${short(spread)} nat` : null,
          click: () => { if (layer >= 0) move(f, layer, l); move(f, head, h); }, keydown: (e: KeyboardEvent) => keys(e) },
          canvas, element('span', {}, `${f.label(head, h)}`), Number.isFinite(spread) && bar(spread / Math.log(Math.max(2, nk))));
      })));
    replace(grid, ...rows);
  }
  /** A short bar: how evenly a head spreads, from one token to all. */
  const bar = (share: number): HTMLElement => {
    const inner = element('i');
    inner.style.width = `${Math.round(Math.max(0, Math.min(1, share)) * 100)}%`;
    return element('span', { class: 'spread' }, inner);
  };

  function keys(e: KeyboardEvent): void {
    const digit = Number(e.key);
    if (digit >= 1 && digit <= 9) move(f, head, digit - 1);
    else if (e.key === 'ArrowLeft' || e.key === 'ArrowRight') move(f, head, index_of(f, head) + (e.key === 'ArrowLeft' ? -1 : 1));
    else if (layer >= 0 && (e.key === 'ArrowUp' || e.key === 'ArrowDown')) move(f, layer, index_of(f, layer) + (e.key === 'ArrowUp' ? -1 : 1));
    else return;
    e.preventDefault();
    grid.querySelector<HTMLElement>('[aria-pressed=true]')?.focus();
  }

  function lines(): void {
    const at = at_now(), start = f.offset(at), nq = Math.min(most_lined, length(query)), nk = Math.min(most_lined, length(key));
    const value = (q: number, k: number): number => f.numbers[start + q * f.strides[query] + k * f.strides[key]];
    const tall = 17, left = 110, right = 250, top = 18, colour = kinds[index_of(f, head) % kinds.length];
    const drawing = svg('svg', { width: right + 110, height: top + Math.max(nq, nk) * tall + 4, 'aria-hidden': 'true' },
      svg('text', { class: 'name', x: left, y: 11, 'text-anchor': 'end' }, f.axes[query].name), svg('text', { class: 'name', x: right, y: 11 }, f.axes[key].name));
    let largest = 0;
    for (let q = 0; q < nq; ++q) for (let k = 0; k < nk; ++k) largest = Math.max(largest, value(q, k) || 0);
    const strokes: { q: number; k: number; line: SVGLineElement }[] = [];
    for (let q = 0; q < nq; ++q)
      for (let k = 0; k < nk; ++k) {
        const w = value(q, k);
        if (!(w > largest * 0.04)) continue;
        const line = svg('line', { x1: left + 4, y1: top + (q + 0.5) * tall, x2: right - 4, y2: top + (k + 0.5) * tall, stroke: colour, 'stroke-width': 0.6 + 2.6 * w / largest, 'stroke-opacity': 0.08 + 0.8 * w / largest });
        strokes.push({ q, k, line });
        drawing.append(line);
      }
    const words: SVGTextElement[] = [];
    const word = (a: number, i: number): SVGTextElement => {
      const t = svg('text', { x: a === query ? left : right, y: top + (i + 0.5) * tall + 4, 'text-anchor': a === query ? 'end' : 'start' }, fitting(name(a, i), 104));
      t.addEventListener('pointermove', e => {
        for (const s of strokes) s.line.style.visibility = (a === query ? s.q : s.k) === i ? 'visible' : 'hidden';
        const other = a === query ? key : query;
        const best = Array.from({ length: a === query ? nk : nq }, (_, j) => ({ j, w: a === query ? value(i, j) : value(j, i) })).filter(x => Number.isFinite(x.w)).sort((x, y) => y.w - x.w).slice(0, 5);
        show_tip(e.clientX, e.clientY, [pair(f.axes[a].name, name(a, i)), ...best.map(b => pair(`${a === query ? '\u2192' : '\u2190'} ${name(other, b.j)}`, short(b.w)))]);
      });
      t.addEventListener('pointerleave', () => { for (const s of strokes) s.line.style.visibility = ''; hide_tip(); });
      words.push(t);
      return t;
    };
    for (let q = 0; q < nq; ++q) drawing.append(word(query, q));
    for (let k = 0; k < nk; ++k) drawing.append(word(key, k));
    replace(lined, drawing);
  }

  const beside = pattern && width > 820;
  lined.hidden = !pattern;
  const side = beside ? width - 390 : width;
  one.classList.toggle('wide', beside);
  heatmap(matrix, f, side, { rows: query, columns: key, limits: pattern ? undefined : [range.least, range.most], square: true, names: (a, i) => a === query || a === key ? name(a, i) : undefined,
    extent: () => [length(query), length(key)] });
  const again = (): void => { thumbnails(); if (pattern) lines(); };
  again();
  f.axes.forEach((_, a) => { if (a !== query && a !== key) on_move(one, f, a, again); });
}

/** Mean over queries of the entropy of their weights, in nats. */
export function mean_entropy(value: (q: number, k: number) => number, queries: number, keys: number): number {
  let sum = 0, n = 0;
  for (let q = 0; q < queries; ++q) {
    let h = 0, total = 0;
    for (let k = 0; k < keys; ++k) {
      const w = value(q, k);
      if (!(w > 0)) continue;
      h -= w * Math.log(w);
      total += w;
    }
    if (total > 0.5) { sum += h; ++n; }
  }
  return n > 0 ? sum / n : NaN;
}
