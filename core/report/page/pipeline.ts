// The pipeline as a small drawing: one box a node, arrows from what feeds it. Boxes lead to the nodes' cards.
import { svg } from './dom';
import { node_info } from './manifest';
import { fitting } from './plot';

const box_width = 148, box_height = 42, gap_x = 44, gap_y = 16;
export interface place { x: number; y: number }

/** Columns by the longest way from a node without inputs; within a column, near the middle of what feeds it. */
export function layout(nodes: { name: string; inputs: { from: string }[] }[]): { places: place[]; width: number; height: number } {
  const at = new Map(nodes.map((n, i) => [n.name, i]));
  const before = nodes.map(n => [...new Set(n.inputs.map(i => at.get(i.from.split('/')[0])).filter((i): i is number => i !== undefined))]);
  const depth = nodes.map(() => 0);
  // As often as there are nodes at most: a crafted plan may have cycles.
  for (let round = 0, changed = true; changed && round < nodes.length; ++round) {
    changed = false;
    before.forEach((list, i) => {
      const d = Math.min(nodes.length - 1, Math.max(0, ...list.map(j => j === i ? 0 : depth[j] + 1)));
      if (d > depth[i]) { depth[i] = d; changed = true; }
    });
  }
  const columns: number[][] = [];
  nodes.forEach((_, i) => (columns[depth[i]] ??= []).push(i));
  const rows = nodes.map(() => 0);
  let tallest = 0;
  for (let d = 0; d < columns.length; ++d) {
    const column = columns[d] ?? [];
    const wish = (i: number): number => before[i].length === 0 ? rows[i] : before[i].reduce((s, j) => s + rows[j], 0) / before[i].length;
    const order = d === 0 ? column : [...column].sort((a, b) => wish(a) - wish(b) || a - b);
    order.forEach((i, k) => { rows[i] = k; });
    tallest = Math.max(tallest, order.length);
  }
  const places = nodes.map((_, i) => {
    const column = columns[depth[i]];
    return { x: 2 + depth[i] * (box_width + gap_x), y: 2 + (rows[i] + (tallest - column.length) / 2) * (box_height + gap_y) };
  });
  return { places, width: columns.length * (box_width + gap_x) - gap_x + 4, height: tallest * (box_height + gap_y) - gap_y + 4 };
}

export function draw_pipeline(nodes: node_info[], id_of: (node: number) => string): SVGSVGElement {
  const { places, width, height } = layout(nodes);
  const at = new Map(nodes.map((n, i) => [n.name, i]));
  const out = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': 'The pipeline' });
  const arrows = new Set<string>();
  nodes.forEach((n, i) => {
    for (const input of n.inputs) {
      const j = at.get(input.from.split('/')[0]);
      if (j === undefined || j === i || arrows.has(`${j}>${i}`)) continue;
      arrows.add(`${j}>${i}`);
      const x1 = places[j].x + box_width, y1 = places[j].y + box_height / 2, x2 = places[i].x, y2 = places[i].y + box_height / 2;
      const bend = Math.max(20, (x2 - x1) / 2);
      out.append(svg('path', { class: 'arrow', d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}` }),
        svg('path', { class: 'head', d: `M${x2},${y2} l-6,-3.5 v7 z` }));
    }
  });
  nodes.forEach((n, i) => {
    const { x, y } = places[i];
    out.append(svg('a', { href: `#${id_of(i)}`, 'aria-label': `${n.kind} ${n.name}, plugin ${n.plugin}` },
      svg('rect', { class: `box ${['source', 'model', 'probe', 'metric'].includes(n.kind) ? n.kind : ''}`, x, y, width: box_width, height: box_height, rx: n.kind === 'source' ? 14 : 3 }),
      svg('text', { class: 'node', x: x + box_width / 2, y: y + 18, 'text-anchor': 'middle' }, fitting(n.name, box_width - 12)),
      svg('text', { class: 'plugin', x: x + box_width / 2, y: y + 33, 'text-anchor': 'middle' }, fitting(`${n.kind} ${n.plugin}`, box_width - 12)),
      svg('title', {}, n.summary || `${n.kind} ${n.plugin}`)));
  });
  return out;
}
