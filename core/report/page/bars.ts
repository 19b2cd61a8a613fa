// Bars for values with names, and histograms for many values without.
import { scaleLinear } from 'd3-scale';
import { pooled_axes } from './choose';
import { kinds } from './colour';
import { element, replace, svg } from './dom';
import { field } from './field';
import { grouped, short, visible } from './format';
import { sliders } from './linked';
import { bottom_axis, bounded, fitting, left_axis, text_width, ticks_of } from './plot';
import { each } from './table';
import { hide_tip, pair, read_by_arrows, show_tip } from './tip';

const most_bars = 60;

export function bars(host: HTMLElement, f: field, width: number, o: { along: number; error?: field }): void {
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot' });
  const index = sliders(controls, f, [o.along], () => draw());
  if (controls.childElementCount > 0) host.append(controls);
  host.append(plot);
  const n = Math.min(most_bars, f.axes[o.along].size);
  if (n < f.axes[o.along].size) host.append(element('p', { class: 'note' }, `The first ${n} of ${grouped(f.axes[o.along].size)}; the table has more.`));

  function draw(): void {
    const at = (i: number): number => {
      const here = index();
      here[o.along] = i;
      return f.offset(here);
    };
    const values = Array.from({ length: n }, (_, i) => f.numbers[at(i)]);
    const errors = values.map((_, i) => o.error ? o.error.numbers[at(i)] : NaN);
    const ends = values.flatMap((v, i) => Number.isFinite(errors[i]) ? [v - errors[i], v + errors[i]] : [v]).filter(Number.isFinite);
    const names = values.map((_, i) => visible(f.label(o.along, i)));
    const left = Math.min(220, 14 + Math.max(...names.map(text_width), text_width(f.axes[o.along].name)));
    const thick = 22, top = 18, height = n * thick;
    const texts = values.map(short);
    const margin = 14 + Math.max(...texts.map(text_width));
    const x = scaleLinear().domain(bounded(Math.min(0, ...ends), Math.max(0, ...ends))).clamp(true).range([left, Math.max(left + 40, width - margin)]);
    if (x.domain()[0] === x.domain()[1]) x.domain([0, 1]);
    const negative = x.domain()[0] < 0;
    if (negative) x.range([left + margin, width - margin]);
    const drawing = svg('svg', { width, height: top + height + 4, role: 'img', tabindex: 0, 'aria-label':
      `Bars of ${f.info.name} by ${f.axes[o.along].name}: ${names.slice(0, 12).map((t, i) => `${t} ${texts[i]}`).join(', ')}${n > 12 ? ', ...' : ''}` },
      svg('text', { class: 'name', x: left - 6, y: 12, 'text-anchor': 'end' }, f.axes[o.along].name));
    values.forEach((v, i) => {
      const y = top + i * thick;
      drawing.append(svg('text', { x: left - 6, y: y + 15, 'text-anchor': 'end', class: 'label' }, fitting(names[i], left - 8)));
      if (!Number.isFinite(v)) {
        drawing.append(svg('text', { x: x(0) + 6, y: y + 15, class: 'name' }, 'missing'));
        return;
      }
      drawing.append(svg('rect', { x: Math.min(x(0), x(v)), y: y + 4, width: Math.max(1, Math.abs(x(v) - x(0))), height: thick - 8, fill: v < 0 ? kinds[1] : kinds[0] }));
      if (Number.isFinite(errors[i])) drawing.append(svg('line', { class: 'error', x1: x(v - errors[i]), x2: x(v + errors[i]), y1: y + thick / 2, y2: y + thick / 2 }));
      const end = v < 0 ? Math.min(x(v), x(v - (errors[i] || 0))) - 5 : Math.max(x(v), x(v + (errors[i] || 0))) + 5;
      drawing.append(svg('text', { x: end, y: y + 15, 'text-anchor': v < 0 ? 'end' : 'start' }, texts[i]));
    });
    drawing.append(svg('line', { class: 'zero', x1: x(0), x2: x(0), y1: top, y2: top + height }));
    const tell = (i: number, x_at: number, y_at: number, say: boolean): void =>
      show_tip(x_at, y_at, [pair(f.axes[o.along].name, names[i]), pair('', f.exact(at(i)) + (f.info.units ? ` ${f.info.units}` : '')),
        ...(Number.isFinite(errors[i]) ? [pair('standard error', short(errors[i]))] : [])], say);
    drawing.addEventListener('pointermove', e =>
      tell(Math.max(0, Math.min(n - 1, Math.floor((e.clientY - drawing.getBoundingClientRect().top - top) / thick))), e.clientX, e.clientY, false));
    read_by_arrows(drawing, n, i => {
      const b = drawing.getBoundingClientRect();
      tell(i, b.left + left, b.top + top + i * thick, true);
    });
    drawing.addEventListener('pointerleave', hide_tip);
    replace(plot, drawing);
  }
  draw();
}

export interface bin { from: number; to: number; share: number; text: string }

/** Bins that a probe counted, or that the page counts itself, one histogram for each index of the axes that have names or an order. */
export function histogram(host: HTMLElement, f: field, width: number, edges?: field): void {
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot' });
  const along = f.axes.length - 1;
  const pooled = edges ? [along] : pooled_axes(f.axes.map(a => ({ ...a, named: a.texts !== undefined || a.values !== undefined })));
  const index = sliders(controls, f, pooled, () => draw());
  if (controls.childElementCount > 0) host.append(controls);
  host.append(plot);

  function bins(): bin[] {
    if (edges) {
      const n = f.axes[along].size;
      const start = index();
      const from = f.offset(start);
      const before = edges.axes.length === f.axes.length ? edges.offset(start) : 0;
      return Array.from({ length: n }, (_, i) => ({ from: edges.numbers[before + i], to: edges.numbers[before + i + 1],
        share: f.numbers[from + i], text: f.exact(from + i) }));
    }
    const { finite, ...range } = f.range();
    if (finite === 0) return [];
    const [least, most] = bounded(range.least, range.most);
    const n = Math.max(1, Math.min(40, Math.ceil(Math.sqrt(finite * pooled.reduce((k, a) => k * f.axes[a].size, 1) / f.count))));
    const step = (most - least) / n || 1;
    const counts = new Array<number>(n).fill(0);
    const here = index(), fixed = here.map((_, a) => a).filter(a => !pooled.includes(a));
    each(f, f.count, (i, at) => {
      const x = f.numbers[at];
      if (Number.isFinite(x) && fixed.every(a => i[a] === here[a])) ++counts[Math.max(0, Math.min(n - 1, Math.floor((x - least) / step)))];
    });
    return counts.map((c, i) => ({ from: least + i * step, to: least + (i + 1) * step, share: c, text: grouped(c) }));
  }

  function draw(): void {
    const all = bins();
    if (all.length === 0) { replace(plot, element('p', { class: 'empty' }, 'Nothing to draw: no value is a finite number.')); return; }
    const top = 10, bottom = 170;
    const y = scaleLinear().domain([0, Math.max(...all.map(b => b.share)) || 1]).range([bottom, top]).nice(4);
    const marks = ticks_of(y, 4, false);
    const left = 14 + Math.max(...marks.map(m => text_width(m.text)));
    const x = scaleLinear().domain([all[0].from, all[all.length - 1].to]).range([left, width - 12]);
    const drawing = svg('svg', { width, height: bottom + 38, role: 'img', tabindex: 0, 'aria-label':
      `Histogram of ${f.info.name}, ${all.length} bins from ${short(all[0].from)} to ${short(all[all.length - 1].to)}` },
      left_axis(marks, left, width - 12),
      ...all.map(b => svg('rect', { x: x(b.from) + 0.5, width: Math.max(0.5, x(b.to) - x(b.from) - 1), y: y(b.share), height: bottom - y(b.share), fill: kinds[0] })),
      bottom_axis(ticks_of(x, Math.floor(width / 90), false), bottom, left, width - 12, f.info.units || 'value'));
    const tell = (b: bin, x_at: number, y_at: number, say: boolean): void =>
      show_tip(x_at, y_at, [pair('from', short(b.from)), pair('to', short(b.to)), pair(edges ? 'share' : 'values', b.text)], say);
    drawing.addEventListener('pointermove', e => {
      const at = x.invert(e.clientX - drawing.getBoundingClientRect().left);
      const b = all.find(one => at >= one.from && at < one.to);
      if (b) tell(b, e.clientX, e.clientY, false);
    });
    read_by_arrows(drawing, all.length, i => {
      const b = drawing.getBoundingClientRect();
      tell(all[i], b.left + x(all[i].from), b.top + y(all[i].share), true);
    });
    drawing.addEventListener('pointerleave', hide_tip);
    replace(plot, drawing);
  }
  draw();
}
