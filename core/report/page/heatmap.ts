// Heat maps: two axes of a dataset as cells, with labels, limits, zoom by drag, and the exact value under the pointer.
import { legend, paint } from './cells';
import { ink_on, scale_of } from './colour';
import { button, element, replace, svg } from './dom';
import { field } from './field';
import { short, visible } from './format';
import { chosen_of, move, on_move, sliders, theme_changed } from './linked';
import { fitting, side_labels, text_width, top_labels } from './plot';
import { hide_tip, pair, show_tip } from './tip';

export interface map_options {
  rows: number; columns: number;
  colours?: 'sequential' | 'diverging';
  limits?: [number, number];
  square?: boolean;
  /** Names that the dataset doesn't hold, such as the tokens of the chosen item. */
  names?: (axis: number, index: number) => string | undefined;
  /** Rows and columns that hold something for the chosen item. */
  extent?: () => [number, number];
}
interface box { r0: number; r1: number; c0: number; c1: number }

export function heatmap(host: HTMLElement, f: field, width: number, o: map_options): void {
  const R = f.axes[o.rows].size, C = f.axes[o.columns].size;
  const range = f.range();
  let colours = scale_of(...(o.limits ?? [range.least, range.most]), o.colours);
  const whole = (): box => {
    const [r1, c1] = o.extent?.() ?? [filled(o.rows, R), filled(o.columns, C)];
    return { r0: 0, r1: Math.min(R, r1), c0: 0, c1: Math.min(C, c1) };
  };
  let zoomed: box | null = null, zoom: box = { r0: 0, r1: R, c0: 0, c1: C };
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot' });
  const reset = button('Whole map', () => { zoomed = null; draw(); }, { class: 'quiet' });
  const index = sliders(controls, f, [o.rows, o.columns], () => draw());
  // A few outliers can take all the contrast.
  let clipped = false;
  const bar = element('span', {});
  const contrast = button('Limits at 1 and 99 %', () => {
    clipped = !clipped;
    contrast.setAttribute('aria-pressed', String(clipped));
    colours = clipped ? scale_of(...f.middle(0.98), colours.signed ? 'diverging' : 'sequential') : scale_of(...(o.limits ?? [range.least, range.most]), o.colours);
    draw();
  }, { class: 'quiet', 'aria-pressed': 'false' });
  controls.append(bar, f.count >= 1000 && range.most > range.least ? contrast : '', reset);
  host.append(controls, plot);

  const value = (r: number, c: number): number => {
    const at = index();
    at[o.rows] = r;
    at[o.columns] = c;
    return f.numbers[f.offset(at)];
  };
  /** Beyond the end of an item nothing is there: positions up to the last that has a value. */
  function filled(a: number, n: number): number {
    if (f.axes[a].texts || f.axes[a].values) return n;
    const other = a === o.rows ? C : R;
    for (let i = n; i > 0; --i)
      for (let j = 0; j < other; ++j) if (!f.missing(a === o.rows ? value(i - 1, j) : value(j, i - 1))) return i;
    return n;
  }
  const drawn = (x: number): number => f.missing(x) ? NaN : x;
  const exact = (r: number, c: number): string => {
    const at = index();
    at[o.rows] = r;
    at[o.columns] = c;
    return f.exact(f.offset(at));
  };
  // other_pos has the labels of pos.
  const like = f.axes.map((a, k) => a.texts ? k : f.axes.findIndex(b => b.texts !== undefined && b.full === a.full && a.name.endsWith(b.name)));
  const name = (a: number, i: number): string => o.names?.(a, i) ?? (like[a] >= 0 ? visible(f.label(like[a], i)) : f.label(a, i));

  let chosen = svg('g'), mark = (): void => {};
  function draw(): void {
    zoom = zoomed ?? whole();
    replace(bar, legend(colours, f.info.units, range.missing > 0));
    reset.hidden = zoomed === null;
    const rows = zoom.r1 - zoom.r0, columns = zoom.c1 - zoom.c0;
    const row_names = Array.from({ length: rows }, (_, i) => name(o.rows, zoom.r0 + i));
    const column_names = Array.from({ length: columns }, (_, i) => name(o.columns, zoom.c0 + i));
    const left = Math.min(width > 500 ? 210 : 150, 14 + Math.max(text_width(f.axes[o.rows].name + ' \u2193'), ...row_names.slice(0, 400).map(text_width)));
    const top = 38, room = Math.max(60, width - left - 8);
    const across = Math.min(o.square ? 30 : 64, Math.max(room / columns, 0.02));
    const widest = columns * across;
    let down = o.square || f.axes[o.rows].name === f.axes[o.columns].name ? Math.min(across, 30) : Math.min(28, Math.max(across, 14));
    if (rows * down > 640) down = Math.max(640 / rows, 0.02);
    if ((o.square || f.axes[o.rows].name === f.axes[o.columns].name) && rows === columns) down = Math.min(down, across);
    const height = rows * down;
    const canvas = element('canvas', { tabindex: 0, role: 'img', 'aria-label':
      `Heat map of ${f.info.name}, ${rows} ${f.axes[o.rows].name} by ${columns} ${f.axes[o.columns].name}, from ${short(colours.least)} to ${
        short(colours.most)}. Arrow keys read cells.` });
    paint(canvas, widest, height, rows, columns, (r, c) => drawn(value(zoom.r0 + r, zoom.c0 + c)), colours);
    canvas.style.left = `${left}px`;
    canvas.style.top = `${top}px`;
    const overlay = svg('svg', { width: left + widest + 8, height: top + height + 6, 'aria-hidden': 'true' },
      svg('text', { class: 'name', x: left - 6, y: top - 6, 'text-anchor': 'end' }, fitting(f.axes[o.rows].name + ' \u2193', left)),
      svg('text', { class: 'name', x: left, y: 12 }, f.axes[o.columns].name + ' \u2192'),
      side_labels(row_names.map(t => fitting(t, left - 10)), down, left - 6, top), top_labels(column_names, across, left, top - 6));
    if (across >= 38 && down >= 15 && rows * columns <= 900) overlay.append(cell_texts(rows, columns, across, down, left, top));
    chosen = svg('g', { class: 'chosen' });
    mark = () => marks(left, top, across, down);
    mark();
    overlay.append(chosen);
    const cross = svg('g', { class: 'cross' });
    overlay.append(cross);
    replace(plot, canvas, overlay);
    plot.style.height = `${top + height + 6}px`;
    interact(canvas, cross, { left, top, across, down, rows, columns });
  }

  /** Small triangles where the page's sliders stand, if somebody moved them. */
  function marks(left: number, top: number, across: number, down: number): void {
    const r = chosen_of(f, o.rows), c = chosen_of(f, o.columns);
    const x = c === undefined ? 0 : left + (c - zoom.c0 + 0.5) * across, y = r === undefined ? 0 : top + (r - zoom.r0 + 0.5) * down;
    replace(chosen, c !== undefined && c >= zoom.c0 && c < zoom.c1 && svg('path', { d: `M${x},${top} l-4,-5 h8 z` }),
      r !== undefined && r >= zoom.r0 && r < zoom.r1 && svg('path', { d: `M${left},${y} l-5,-4 v8 z` }));
  }

  function cell_texts(rows: number, columns: number, across: number, down: number, left: number, top: number): SVGGElement {
    const g = svg('g', { class: 'cells' });
    for (let r = 0; r < rows; ++r)
      for (let c = 0; c < columns; ++c) {
        const x = value(zoom.r0 + r, zoom.c0 + c);
        if (f.missing(x)) continue;
        g.append(svg('text', { x: left + (c + 0.5) * across, y: top + (r + 0.5) * down + 4, 'text-anchor': 'middle',
          fill: ink_on(colours.colour(x)) }, fitting(x.toPrecision(2).includes('e') ? short(x) : short(Number(x.toPrecision(2))), across - 2)));
      }
    return g;
  }

  interface frame { left: number; top: number; across: number; down: number; rows: number; columns: number }
  function interact(canvas: HTMLCanvasElement, cross: SVGGElement, at: frame): void {
    let r = -1, c = -1, from: [number, number] | null = null;
    const tell = (x: number, y: number, say: boolean): void => {
      const { left, top, across, down } = at;
      replace(cross, svg('rect', { x: left + c * across, y: top + r * down, width: Math.max(across, 2), height: Math.max(down, 2) }),
        from && svg('rect', { class: 'drag', x: left + Math.min(from[1], c) * across, y: top + Math.min(from[0], r) * down,
          width: (Math.abs(from[1] - c) + 1) * across, height: (Math.abs(from[0] - r) + 1) * down }));
      show_tip(x, y, [pair(f.axes[o.rows].name, name(o.rows, zoom.r0 + r)), pair(f.axes[o.columns].name, name(o.columns, zoom.c0 + c)),
        [element('b', {}, exact(zoom.r0 + r, zoom.c0 + c)), ` ${f.info.units}`]], say);
    };
    const locate = (e: PointerEvent): void => {
      const b = canvas.getBoundingClientRect();
      c = Math.max(0, Math.min(at.columns - 1, Math.floor((e.clientX - b.left) / at.across)));
      r = Math.max(0, Math.min(at.rows - 1, Math.floor((e.clientY - b.top) / at.down)));
    };
    const choose = (): void => { move(f, o.rows, zoom.r0 + r); move(f, o.columns, zoom.c0 + c); };
    const leave = (): void => { if (!from) { replace(cross); hide_tip(); } };
    canvas.addEventListener('pointermove', e => { locate(e); tell(e.clientX, e.clientY, false); });
    canvas.addEventListener('pointerleave', leave);
    canvas.addEventListener('blur', leave);
    canvas.addEventListener('pointerdown', e => { locate(e); from = [r, c]; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener('pointerup', e => {
      locate(e);
      const start = from;
      from = null;
      if (!start) return;
      if (start[0] === r && start[1] === c) { choose(); return; }
      if (Math.abs(start[0] - r) + Math.abs(start[1] - c) < 2) return;
      zoomed = { r0: zoom.r0 + Math.min(start[0], r), r1: zoom.r0 + Math.max(start[0], r) + 1,
        c0: zoom.c0 + Math.min(start[1], c), c1: zoom.c0 + Math.max(start[1], c) + 1 };
      hide_tip();
      draw();
    });
    canvas.addEventListener('keydown', e => {
      const step = ({ ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] } as Record<string, number[]>)[e.key];
      if (e.key === 'Escape') { reset.click(); return; }
      if (e.key === 'Enter' && r >= 0) choose();
      if (!step) return;
      e.preventDefault();
      r = r < 0 ? 0 : Math.max(0, Math.min(at.rows - 1, r + step[0]));
      c = c < 0 ? 0 : Math.max(0, Math.min(at.columns - 1, c + step[1]));
      const b = canvas.getBoundingClientRect();
      tell(b.left + (c + 1) * at.across, b.top + (r + 0.5) * at.down, true);
    });
  }
  draw();
  theme_changed.on(plot, draw);
  for (const a of [o.rows, o.columns]) on_move(plot, f, a, () => mark());
}
