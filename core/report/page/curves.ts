// Curves over an axis, with bands of the standard error, log axes by a click, and direct labels.
import { continuous, scaleLinear, scaleLog } from 'd3-scale';
import { area, line } from 'd3-shape';
import { kinds } from './colour';
import { button, element, replace, svg } from './dom';
import { field } from './field';
import { short, visible } from './format';
import { index_of, move, on_move, sliders } from './linked';
import { bottom_axis, bounded, fitting, left_axis, text_width, ticks_of } from './plot';
import { hide_tip, pair, show_tip } from './tip';

export interface curve_options { along: number; lines: number; error?: field; several?: field[]; log_x?: boolean; log_y?: boolean }
interface curve { name: string; points: { x: number; y: number; e: number; i: number }[]; of: field; exact: (i: number) => string }
const most_lines = 12;

export function curves(host: HTMLElement, f: field, width: number, o: curve_options): void {
  let log_x = o.log_x ?? false, log_y = o.log_y ?? false;
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot' });
  const shown = o.lines < 0 ? [o.along] : [o.along, o.lines];
  const index = sliders(controls, f, shown, () => draw());
  const x_at = (i: number): number => f.coordinate(o.along, i);
  const n = f.axes[o.along].size;
  const toggle = (label: string, get: () => boolean, set: (on: boolean) => void): HTMLButtonElement => {
    const b = button(label, () => { set(!get()); b.setAttribute('aria-pressed', String(get())); draw(); }, { class: 'quiet', 'aria-pressed': get() });
    b.setAttribute('aria-pressed', String(get()));
    return b;
  };
  const all = [f, ...(o.several ?? [])];
  const range = { least: Math.min(...all.map(g => g.range().least)), most: Math.max(...all.map(g => g.range().most)) };
  if (n > 2 && x_at(0) >= 0 && !f.axes[o.along].texts) controls.append(toggle('log x', () => log_x, on => { log_x = on; }));
  if (range.least > 0 && range.most > range.least) controls.append(toggle('log y', () => log_y, on => { log_y = on; }));
  if (controls.childElementCount > 0) host.append(controls);
  host.append(plot);

  /** A line's label, or the axis and the number. */
  const line_name = (l: number): string => f.axes[o.lines].texts ? visible(f.label(o.lines, l)) : `${f.axes[o.lines].name} ${f.label(o.lines, l)}`;

  function curves_now(): curve[] {
    const at = index();
    const lines = o.lines < 0 ? [-1] : Array.from({ length: Math.min(most_lines, f.axes[o.lines].size) }, (_, i) => i);
    return all.flatMap(g => lines.map(l => {
      const offset = (i: number): number => {
        const here = [...at];
        here[o.along] = i;
        if (l >= 0) here[o.lines] = l;
        return g.offset(here);
      };
      const points = [];
      for (let i = 0; i < n; ++i) points.push({ x: x_at(i), y: g.missing(g.numbers[offset(i)]) ? NaN : g.numbers[offset(i)], e: g === f && o.error ? o.error.numbers[offset(i)] : NaN, i });
      return { name: l >= 0 ? line_name(l) : all.length > 1 ? g.info.name : '', points, of: g, exact: (i: number) => g.exact(offset(i)) };
    }));
  }

  function draw(): void {
    const lines = curves_now();
    const ys = lines.flatMap(c => c.points.flatMap(p => Number.isFinite(p.e) ? [p.y - p.e, p.y + p.e] : [p.y]))
      .filter(y => Number.isFinite(y) && (!log_y || y > 0));
    let least = Math.min(...ys), most = Math.max(...ys);
    if (ys.length === 0) least = 0, most = 1;
    if (least === most) least -= Math.abs(least) * 0.1 || 1, most += Math.abs(most) * 0.1 || 1;
    const height = 220, top = 12, bottom = top + height;
    const y: continuous = (log_y ? scaleLog() : scaleLinear()).domain(bounded(least, most)).range([bottom, top]).nice(5).clamp(true);
    const marks = ticks_of(y, 5, log_y);
    const left = 14 + Math.max(...marks.map(m => text_width(m.text)), 20);
    const labels = lines.length > 1 ? Math.min(150, 16 + Math.max(...lines.map(c => text_width(c.name)))) : 12;
    const right = Math.max(left + 80, width - labels);
    const x0 = x_at(0), shift = log_x && x0 <= 0 ? 1 - x0 : 0;
    const x: continuous = (log_x ? scaleLog() : scaleLinear()).domain([x0 + shift, x_at(n - 1) + shift]).range([left + 4, right - 4]);
    if (n === 1) x.domain([x0 + shift - 0.5, x0 + shift + 0.5]);
    const px = (p: { x: number }): number => x(p.x + shift);
    const ok = (p: { y: number }): boolean => Number.isFinite(p.y) && (!log_y || p.y > 0);
    const named = f.axes[o.along].texts;
    const bottom_marks = named ? named.map((t, i) => ({ at: px({ x: i }), text: fitting(visible(t), 110) })) :
      ticks_of(x, Math.max(2, Math.min(8, Math.floor((right - left) / 70))), log_x).filter(m => n > 8 || log_x || !/\./.test(m.text));
    const drawing = svg('svg', { width, height: bottom + 38, role: 'img', tabindex: 0, 'aria-label':
      `Curve of ${all.map(g => g.info.name).join(', ')} along ${f.axes[o.along].name}, from ${short(least)} to ${short(most)}. Left and right arrows read values.` });
    drawing.append(left_axis(marks, left, right),
      bottom_axis(bottom_marks, bottom, left, right, f.axes[o.along].name + (shift ? ` + ${shift}` : '')));
    if (least < 0 && most > 0 && !log_y) drawing.append(svg('line', { class: 'zero', x1: left, x2: right, y1: y(0), y2: y(0) }));
    const ends: { at: number; text: string; colour: string }[] = [];
    lines.forEach((c, k) => {
      const colour = kinds[k % kinds.length];
      if (c.points.some(p => Number.isFinite(p.e)))
        drawing.append(svg('path', { d: area<curve['points'][0]>().x(px).y0(p => y(Math.max(p.y - p.e, log_y ? least : -Infinity))).y1(p => y(p.y + p.e))
          .defined(p => ok(p) && Number.isFinite(p.e))(c.points), fill: colour, 'fill-opacity': 0.22 }));
      drawing.append(svg('path', { d: line<curve['points'][0]>().x(px).y(p => y(p.y)).defined(ok)(c.points), fill: 'none', stroke: colour, 'stroke-width': 1.8,
        'stroke-dasharray': k >= kinds.length ? '5 3' : null }));
      if (n <= 40) for (const p of c.points) if (ok(p)) drawing.append(svg('circle', { cx: px(p), cy: y(p.y), r: 2.6, fill: colour }));
      const last = [...c.points].reverse().find(ok);
      if (lines.length > 1 && last) ends.push({ at: y(last.y), text: c.name, colour });
    });
    place(ends, top, bottom);
    for (const e of ends) drawing.append(svg('rect', { x: right + 2, y: e.at - 4, width: 6, height: 6, fill: e.colour }),
      svg('text', { class: 'end', x: right + 11, y: e.at + 3 }, fitting(e.text, labels - 12)));
    const rule = svg('line', { class: 'rule', y1: top, y2: bottom });
    drawing.append(rule);
    const stand = (): void => {
      const i = index_of(f, o.along);
      rule.setAttribute('x1', String(px({ x: x_at(i) })));
      rule.setAttribute('x2', String(px({ x: x_at(i) })));
    };
    stand();
    on_move(rule, f, o.along, stand);
    replace(plot, drawing);
    interact(drawing, lines, px, y);
  }

  function interact(drawing: SVGSVGElement, lines: curve[], px: (p: { x: number }) => number, y: continuous): void {
    const tell = (i: number, at_y: number, say: boolean): void => {
      const b = drawing.getBoundingClientRect();
      const error = (c: curve): string => Number.isFinite(c.points[i].e) ? ` \u00b1 ${short(c.points[i].e)}` : '';
      show_tip(b.left + px(lines[0].points[i]), at_y, [pair(f.axes[o.along].name, visible(f.label(o.along, i))),
        ...lines.map(c => pair(c.name, c.exact(i) + error(c) + (f.info.units ? ` ${f.info.units}` : '')))], say);
    };
    const nearest = (x: number): number => {
      let best = 0;
      for (let i = 1; i < n; ++i) if (Math.abs(px({ x: x_at(i) }) - x) < Math.abs(px({ x: x_at(best) }) - x)) best = i;
      return best;
    };
    drawing.addEventListener('pointermove', e => tell(nearest(e.clientX - drawing.getBoundingClientRect().left), e.clientY, false));
    drawing.addEventListener('pointerleave', hide_tip);
    drawing.addEventListener('blur', hide_tip);
    drawing.addEventListener('click', e => move(f, o.along, nearest(e.clientX - drawing.getBoundingClientRect().left)));
    drawing.addEventListener('keydown', e => {
      if (e.key !== 'ArrowLeft' && e.key !== 'ArrowRight') return;
      e.preventDefault();
      move(f, o.along, index_of(f, o.along) + (e.key === 'ArrowLeft' ? -1 : 1));
      const p = lines[0].points[index_of(f, o.along)];
      tell(p.i, drawing.getBoundingClientRect().top + (Number.isFinite(p.y) ? y(p.y) : 20), true);
    });
  }
  draw();
}

/** Moves labels apart so that they can be read. */
function place(ends: { at: number }[], top: number, bottom: number): void {
  ends.sort((a, b) => a.at - b.at);
  const gap = 13;
  for (let i = 0; i < ends.length; ++i) ends[i].at = Math.max(ends[i].at, i === 0 ? top : ends[i - 1].at + gap);
  for (let i = ends.length; i-- > 0;) ends[i].at = Math.min(ends[i].at, i === ends.length - 1 ? bottom : ends[i + 1].at - gap);
}
