// Frames of plots: axes of numbers, axes of labels that are thinned and never turned, widths of texts.
import { continuous } from 'd3-scale';
import { svg } from './dom';
import { short, shortened } from './format';

let ruler: CanvasRenderingContext2D | null = null;
export const font = '12px system-ui, sans-serif';

export function text_width(text: string): number {
  ruler ??= document.createElement('canvas').getContext('2d');
  if (!ruler) return text.length * 7;
  ruler.font = font;
  return ruler.measureText(text).width;
}

/** Limits whose difference can be computed with: neither infinite, even when rounded up, nor denormal. */
export function bounded(least: number, most: number): [number, number] {
  const tiny = most - least < 1e-290 ? 1e-290 : 0;
  return [Math.max(least - tiny, -4e307), Math.min(most + tiny, 4e307)];
}

export interface ticks { at: number; text: string }

/** Few round ticks; of a log axis the powers of ten, or all if there are few. */
export function ticks_of(scale: continuous, count: number, log: boolean): ticks[] {
  let all = scale.ticks(count);
  if (log) {
    const tens = all.filter(t => Math.abs(Math.log10(t) - Math.round(Math.log10(t))) < 1e-9);
    if (tens.length >= 2) all = tens.filter((_, i) => i % Math.ceil(tens.length / count) === 0);
    else all = all.filter((_, i) => i % Math.ceil(all.length / count) === 0);
  }
  return all.map(t => ({ at: scale(t), text: short(t) }));
}

export function bottom_axis(marks: ticks[], y: number, from: number, to: number, name: string): SVGGElement {
  return svg('g', { class: 'axis' },
    svg('line', { x1: from, x2: to, y1: y, y2: y }),
    ...thinned(marks).flatMap(m => [
      svg('line', { x1: m.at, x2: m.at, y1: y, y2: y + 4 }),
      end_text(m, y + 16, to + 10)]),
    svg('text', { class: 'name', x: to, y: y + 32, 'text-anchor': 'end' }, name));
}

/** The text of a mark, moved so that it ends before `most`. */
const end_text = (m: ticks, y: number, most: number): SVGTextElement => {
  const late = m.at + text_width(m.text) / 2 > most;
  return svg('text', { x: late ? most : m.at, y, 'text-anchor': late ? 'end' : 'middle' }, m.text);
};

/** Marks whose texts don't touch. */
export function thinned(marks: ticks[]): ticks[] {
  for (let step = 1; step < marks.length; ++step) {
    const some = marks.filter((_, i) => i % step === 0);
    if (some.every((m, i) => i === 0 || m.at - some[i - 1].at >= (text_width(m.text) + text_width(some[i - 1].text)) / 2 + 8)) return some;
  }
  return marks.slice(0, 1);
}

export function left_axis(marks: ticks[], x: number, right: number): SVGGElement {
  return svg('g', { class: 'axis' }, ...marks.flatMap(m => [
    svg('line', { class: 'grid', x1: x, x2: right, y1: m.at, y2: m.at }),
    svg('text', { x: x - 6, y: m.at + 4, 'text-anchor': 'end' }, m.text)]));
}

/** Numbers are thinned to every 2nd, 5th, 10th and so on, and a little more than they must be. */
function sparse(labels: string[], step: number, more: number): number {
  if (step === 1 || !labels.every(l => /^[\d,.\u2212]+$/.test(l))) return step;
  for (let ten = 1; ; ten *= 10) for (const k of [1, 2, 5]) if (k * ten >= step * more) return k * ten;
}

/** Labels beside the cells of a map: every n-th, so that they don't touch. `cell` is their distance in pixels. */
export function side_labels(labels: string[], cell: number, x: number, y: number): SVGGElement {
  const step = sparse(labels, Math.max(1, Math.ceil(14 / cell)), 1);
  return svg('g', { class: 'labels' }, ...labels.map((l, i) => i % step === 0 &&
    svg('text', { x, y: y + (i + 0.5) * cell + 4, 'text-anchor': 'end' }, l)));
}
export function top_labels(labels: string[], cell: number, x: number, y: number): SVGGElement {
  const widest = Math.min(90, Math.max(1, ...labels.map(text_width)));
  const step = sparse(labels, Math.max(1, Math.ceil((widest + 6) / cell)), 2);
  const room = step * cell - 4;
  return svg('g', { class: 'labels' }, ...labels.map((l, i) => {
    if (i % step !== 0) return false;
    const text = fitting(l, room), middle = x + (i + 0.5) * cell;
    // The first may be wider than its cell, and the rows' names stand to the left.
    const early = middle - text_width(text) / 2 < x;
    return svg('text', { x: early ? x : middle, y, 'text-anchor': early ? 'start' : 'middle' }, text);
  }));
}

export function fitting(text: string, room: number): string {
  if (text_width(text) <= room) return text;
  let n = [...text].length;
  while (n > 1 && text_width(shortened(text, n)) > room) --n;
  return shortened(text, n);
}
