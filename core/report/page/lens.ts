// The lens: states upward, tokens across, each cell the likeliest token on a background of its probability. Hover lists the rest; a
// click pins a column as curves. Without positions it is a table of tokens coloured by their scores.
import { legend } from './cells';
import { ink_on, scale_of, css } from './colour';
import { element, replace, svg } from './dom';
import { field } from './field';
import { visible } from './format';
import { index_of, move, on_move, sliders } from './linked';
import { fitting, text_width } from './plot';
import { series_of, sparks } from './sparks';
import { hide_tip, pair, show_tip } from './tip';

const deep = /^(state|layer|stage|block|step|norm)(_\d+)?$/;
const most_rows = 300, most_columns = 400;

export function lens(host: HTMLElement, f: field, shade: field, texts: field | undefined, siblings: field[], width: number): void {
  const rank = f.axes.length - 1;
  const rows_at = f.axes.findIndex((a, k) => k < rank && deep.test(a.name) && a.size > 1);
  const across_at = f.axes.map((_, a) => a).filter(a => a < rank && a !== rows_at && f.axes[a].size > 1).pop() ?? -1;
  const is_lens = rows_at >= 0 && across_at >= 0 && /pos|token|word/.test(f.axes[across_at].name);
  const rows = is_lens ? rows_at : f.axes.map((_, a) => a).filter(a => a < rank).pop()!;
  const columns = is_lens ? across_at : rank;
  const depth = f.axes[rank].size;
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot lensed' });
  const pinned = element('div', { class: 'pinned' });
  const index = sliders(controls, f, is_lens ? [rows, columns, rank] : [rows, columns], () => { draw(); pin(); });
  const { least, most } = shade.range();
  const probability = /probabilit/.test(shade.info.name);
  const colours = scale_of(probability ? 0 : least, probability ? 1 : most, probability ? 'sequential' : undefined);
  controls.append(element('span', {}, probability ? 'probability' : shade.info.name.replace(/^.*\//, '').replace(/_/g, ' ')), legend(colours, shade.info.units));
  host.append(controls, plot, pinned);
  const R = Math.min(most_rows, f.axes[rows].size), C = Math.min(most_columns, f.axes[columns].size);
  if (R < f.axes[rows].size || C < f.axes[columns].size)
    host.append(element('p', { class: 'note' }, `Shown: the first ${R} of ${f.axes[rows].size} ${f.axes[rows].name}, ${C} of ${f.axes[columns].size} ${f.axes[columns].name}.`));

  const offset = (r: number, c: number, k = 0): number => {
    const at = index();
    at[rows] = r;
    at[columns] = c;
    if (is_lens) at[rank] = k;
    return f.offset(at);
  };
  const token_at = (c: number): string | undefined => {
    if (!texts || !is_lens) return undefined;
    const a = texts.axes.findIndex(t => t.name === f.axes[columns].name);
    if (a < 0) return undefined;
    return texts.texts[texts.offset(texts.axes.map((t, k) => k === a ? c : index()[f.axis(t.name)] ?? 0))];
  };
  const column_name = (c: number): string => {
    const text = token_at(c);
    return text !== undefined ? visible(text) : f.axes[columns].texts ? visible(f.label(columns, c)) : f.label(columns, c);
  };

  function draw(): void {
    let shown = C;
    // Beyond an item's end there is nothing.
    while (shown > 1 && f.texts[offset(0, shown - 1)] === '' && f.texts[offset(R - 1, shown - 1)] === '') --shown;
    const row_names = Array.from({ length: R }, (_, r) => f.axes[rows].texts ? visible(f.label(rows, r)) : f.label(rows, r));
    const left = Math.min(150, 14 + Math.max(text_width(f.axes[rows].name), ...row_names.map(text_width)));
    const cell = Math.max(52, Math.min(96, (width - left - 4) / shown)), tall = 24, top = 22;
    const drawing = svg('svg', { width: left + shown * cell + 2, height: top + R * tall + (is_lens ? 22 : 4), role: 'img', tabindex: 0, 'aria-label':
      `Table of the likeliest tokens, ${R} ${f.axes[rows].name} by ${shown} ${f.axes[columns].name}. Arrow keys read cells.` });
    drawing.append(svg('text', { class: 'name', x: left - 6, y: 13, 'text-anchor': 'end' }, f.axes[rows].name));
    const y_of = (r: number): number => top + (is_lens ? R - 1 - r : r) * tall;
    for (let r = 0; r < R; ++r) drawing.append(svg('text', { x: left - 6, y: y_of(r) + 16, 'text-anchor': 'end' }, fitting(row_names[r], left - 8)));
    for (let c = 0; c < shown; ++c) {
      drawing.append(svg('text', { x: left + (c + 0.5) * cell, y: is_lens ? top + R * tall + 15 : 13, 'text-anchor': 'middle', class: is_lens ? 'input' : 'name' }, fitting(column_name(c), cell - 6)));
      const target = is_lens ? token_at(c + 1) : undefined, final = f.texts[offset(R - 1, c)];
      let won = false;
      for (let r = 0; r < R; ++r) {
        const at = offset(r, c), text = f.texts[at], p = shade.numbers[at];
        const x = left + c * cell, y = y_of(r);
        const colour = Number.isFinite(p) && text !== '' ? colours.colour(p) : null;
        drawing.append(svg('rect', { x: x + 0.5, y: y + 0.5, width: cell - 1, height: tall - 1, class: colour ? null : 'void', fill: colour ? css(colour) : null }),
          svg('text', { x: x + cell / 2, y: y + 16, 'text-anchor': 'middle', fill: colour ? ink_on(colour) : null }, fitting(text === '' ? '' : visible(text), cell - 8)));
        if (!is_lens || text === '') continue;
        if (text === target) drawing.append(svg('rect', { class: 'target', x: x + 2, y: y + 2, width: cell - 4, height: tall - 4 }));
        if (!won && text === final) {
          won = true;
          drawing.append(svg('path', { class: 'won', d: `M${x + 1},${y + 1} h8 l-8,8 z`, fill: colour ? ink_on(colour) : 'currentColor' }));
        }
      }
    }
    const cross = svg('rect', { class: 'here', width: cell, height: tall, visibility: 'hidden' });
    drawing.append(cross);
    replace(plot, drawing);
    interact(drawing, cross, { left, top, cell, tall, shown }, y_of);
  }

  function interact(drawing: SVGSVGElement, cross: SVGRectElement, g: { left: number; top: number; cell: number; tall: number; shown: number }, y_of: (r: number) => number): void {
    let r = R - 1, c = 0;
    const tell = (x: number, y: number, say: boolean): void => {
      cross.setAttribute('visibility', 'visible');
      cross.setAttribute('x', String(g.left + c * g.cell));
      cross.setAttribute('y', String(y_of(r)));
      const lines = Array.from({ length: is_lens ? depth : 1 }, (_, k) => offset(r, c, k)).filter(at => f.texts[at] !== '')
        .map(at => pair(visible(f.texts[at]), shade.exact(at)));
      show_tip(x, y, [pair(f.axes[rows].name, f.label(rows, r)), pair(f.axes[columns].name, `${c} ${column_name(c) === String(c) ? '' : column_name(c)}`), ...lines,
        ...(token_at(c + 1) ? [pair('in fact', visible(token_at(c + 1)!))] : [])], say);
    };
    const away = (): void => { hide_tip(); cross.setAttribute('visibility', 'hidden'); };
    drawing.addEventListener('pointermove', e => {
      const b = drawing.getBoundingClientRect();
      const row = Math.floor((e.clientY - b.top - g.top) / g.tall);
      c = Math.floor((e.clientX - b.left - g.left) / g.cell);
      r = is_lens ? R - 1 - row : row;
      if (r < 0 || r >= R || c < 0 || c >= g.shown) { away(); return; }
      tell(e.clientX, e.clientY, false);
    });
    drawing.addEventListener('pointerleave', away);
    drawing.addEventListener('blur', away);
    drawing.addEventListener('click', () => { if (is_lens) move(f, columns, c); pin(true); });
    drawing.addEventListener('keydown', e => {
      const step = ({ ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] } as Record<string, number[]>)[e.key];
      if (e.key === 'Enter' && is_lens) { move(f, columns, c); pin(true); }
      if (!step) return;
      e.preventDefault();
      r = Math.max(0, Math.min(R - 1, r + (is_lens ? step[0] : -step[0])));
      c = Math.max(0, Math.min(g.shown - 1, c + step[1]));
      const b = drawing.getBoundingClientRect();
      tell(b.left + g.left + (c + 1) * g.cell, b.top + y_of(r), true);
    });
  }

  let open = false;
  function pin(opened = open): void {
    open = opened;
    if (!open || !is_lens) return;
    const c = index_of(f, columns), at = index();
    at[columns] = c;
    const all = [shade, ...siblings].map(s => ({ ...series_of(s, rows, s.axes.map((a, k) => k === rank ? 0 : at[k])), name: s === shade ? 'likeliest token' : s.info.name.replace(/^.*\//, '') }));
    replace(pinned, element('h4', {}, `${f.axes[columns].name} ${c}: ${column_name(c)}, by ${f.axes[rows].name}`));
    sparks(pinned, all, f, rows, false);
  }
  draw();
  if (is_lens) on_move(plot, f, columns, () => pin());
}
