// The card of a node: its finding, its single numbers, its figures.
import { figures_of, is_single } from './choose';
import { button, element } from './dom';
import { figure_card, shape_text } from './figure';
import { number_text } from './front';
import { grouped, plural, seconds, spaced } from './format';
import { node_info, set_info } from './manifest';
import { cell, table } from './table';

const open_figures = 6;

/** Single numbers, with a standard error beside the number that it belongs to. */
export function number_rows(sets: set_info[]): cell[][] {
  const single = sets.filter(is_single);
  const by_name = new Map(single.map(s => [s.name, s]));
  return single.filter(s => !(s.name.endsWith('_standard_error') && by_name.has(s.name.replace(/_standard_error$/, '')))).map(s => {
    const error = by_name.get(`${s.name}_standard_error`);
    const value = s.type === 'text' ? undefined : Number(s.value);
    return [{ text: spaced(s.name), title: s.name },
      { text: (value === undefined ? String(s.value) : number_text(value)) + (error ? ` \u00b1 ${number_text(Number(error.value))}` : ''), value, title: String(s.value) },
      { text: s.units }, { text: s.about }];
  });
}

export function node_card(node: node_info, id: string, open: boolean, file: string): HTMLElement {
  const body = element('div', { class: 'inside' });
  const card = element('details', { class: 'card node', id, open },
    element('summary', {}, element('h2', {}, node.name), element('span', { class: `kind ${['source', 'model', 'probe', 'metric'].includes(node.kind) ? node.kind : ''}` },
      `${node.kind} ${node.plugin} ${node.version}`), node.summary && element('span', { class: 'finding' }, node.summary)), body);
  let filled = false;
  const fill = (): void => {
    if (filled || !card.open) return;
    filled = true;
    contents(body, node, file);
  };
  card.addEventListener('toggle', fill);
  if (open) fill();
  return card;
}

function contents(body: HTMLElement, node: node_info, file: string): void {
  const rows = number_rows(node.datasets);
  if (rows.length > 0) body.append(table(['number', 'value', 'unit', 'what it is'], rows, `Single numbers of ${node.name}`));
  const all = figures_of(node);
  const grid = element('div', { class: 'figures' });
  const rest = element('div', { class: 'rest' });
  all.forEach((f, i) => {
    if (i < open_figures) { grid.append(figure_card(f, node.name, file)); return; }
    const row = element('details', { class: 'more' }, element('summary', {}, element('b', {}, spaced(f.title)), ` ${shape_text(f.set)} `,
      element('span', { class: 'quiet' }, f.set.about)));
    row.addEventListener('toggle', () => { if (row.open && row.childElementCount === 1) row.append(figure_card(f, node.name, file)); });
    rest.append(row);
  });
  body.append(grid);
  if (rest.childElementCount > 0) body.append(element('h3', { class: 'more' }, `${plural(rest.childElementCount, 'more dataset')}`), rest);
  if (node.left_out > 0) body.append(element('p', { class: 'note' }, `${grouped(node.left_out)} more datasets are left out of the page.`));
  if (rows.length === 0 && all.length === 0)
    body.append(element('p', { class: 'empty' }, !node.taken ? 'Nothing here, because the report was made for other nodes (--node).' :
      node.kind === 'source' || node.kind === 'model' ? `Nothing here, because a ${node.kind} leaves no datasets: others read it.` : 'Nothing here, because the node left no datasets.'));
  const took = Number(node.seconds);
  body.append(element('details', { class: 'parameters' }, element('summary', {}, 'Parameters, and the command that made it'),
    element('pre', { tabindex: 0 }, pretty(node.parameters)),
    element('p', { class: 'note' }, `Took ${Number.isFinite(took) ? seconds(took) : '?'}; key `, element('code', {}, node.key.slice(0, 16)), '. ',
      'At the terminal: ', element('code', {}, `wayfarer show ${file} ${node.name}`))));
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 1);
  } catch {
    return json;
  }
}

/** For the head of the page. */
export const fold_all = (open: boolean): HTMLButtonElement => button(open ? 'Unfold all' : 'Fold all', () => {
  for (const d of document.querySelectorAll<HTMLDetailsElement>('details.node')) d.open = open;
}, { class: 'quiet' });
