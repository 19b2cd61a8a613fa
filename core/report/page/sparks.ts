// Many small curves over one axis, each with its name and its value where the slider stands.
import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import { kinds } from './colour';
import { element, replace, svg } from './dom';
import { field } from './field';
import { short, spaced, visible } from './format';
import { index_of, move, on_move, slider } from './linked';
import { bounded } from './plot';
import { hide_tip, pair, show_tip } from './tip';

export interface series { name: string; about: string; units: string; values: number[]; exact: (i: number) => string }

/** One series for each field; all axes but `along(f)` have one index, or stand where `at(f)` says. */
export function series_of(f: field, along: number, at: number[] = f.axes.map(() => 0)): series {
  const offset = (i: number): number => f.offset(at.map((v, a) => a === along ? i : v));
  return { name: f.info.name, about: f.info.about, units: f.info.units, exact: i => f.exact(offset(i)),
    values: Array.from({ length: f.axes[along].size }, (_, i) => f.numbers[offset(i)]) };
}

/** `like` gives the axis: its coordinates, and the index that is shared with the other views. */
export function sparks(host: HTMLElement, all: series[], like: field, along: number, with_slider = true): void {
  const controls = element('div', { class: 'controls' });
  if (with_slider) controls.append(slider(like, along));
  const plot = element('div', { class: 'plot sparks' });
  if (with_slider) host.append(controls);
  host.append(plot);
  const n = like.axes[along].size, width = 150, height = 34;
  const x = scaleLinear().domain([0, Math.max(1, n - 1)]).range([4, width - 4]);
  const cells = all.map(s => {
    const finite = s.values.filter(Number.isFinite);
    let least = Math.min(...finite), most = Math.max(...finite);
    if (!(most > least)) least -= 1, most += 1;
    const y = scaleLinear().domain(bounded(least, most)).range([height - 4, 4]).clamp(true);
    const dot = svg('circle', { r: 3, fill: kinds[0] });
    const drawing = svg('svg', { width, height, role: 'img', 'aria-label': `${s.name}: ${s.values.slice(0, 24).map(short).join(', ')}` });
    if (least < 0 && most > 0) drawing.append(svg('line', { class: 'grid', x1: 4, x2: width - 4, y1: y(0), y2: y(0) }));
    drawing.append(svg('path', { d: path(s.values, x, y), fill: 'none', stroke: kinds[0], 'stroke-width': 1.6 }), dot);
    const value = element('b', {});
    const cell = element('div', { class: 'spark', title: s.about }, element('span', { class: 'name' }, spaced(s.name)), drawing, value,
      s.units && element('span', { class: 'quiet' }, ` ${s.units}`));
    drawing.addEventListener('pointermove', e => {
      const i = Math.max(0, Math.min(n - 1, Math.round(x.invert(e.clientX - drawing.getBoundingClientRect().left))));
      show_tip(e.clientX, e.clientY, [pair(like.axes[along].name, visible(like.label(along, i))), pair(spaced(s.name), s.exact(i) + (s.units ? ` ${s.units}` : ''))]);
    });
    drawing.addEventListener('pointerleave', hide_tip);
    drawing.addEventListener('click', e => move(like, along, x.invert(e.clientX - drawing.getBoundingClientRect().left)));
    const stand = (): void => {
      const i = index_of(like, along), v = s.values[i];
      value.textContent = short(v);
      value.title = s.exact(i);
      dot.setAttribute('visibility', Number.isFinite(v) ? 'visible' : 'hidden');
      dot.setAttribute('cx', String(x(i)));
      dot.setAttribute('cy', String(Number.isFinite(v) ? y(v) : 0));
    };
    stand();
    return { cell, stand };
  });
  replace(plot, ...cells.map(c => c.cell));
  on_move(plot, like, along, () => cells.forEach(c => c.stand()));
}

function path(values: number[], x: (i: number) => number, y: (v: number) => number): string {
  const points = values.map((v, i) => ({ v, i }));
  return line<{ v: number; i: number }>().x(p => x(p.i)).y(p => y(p.v)).defined(p => Number.isFinite(p.v))(points) ?? '';
}
