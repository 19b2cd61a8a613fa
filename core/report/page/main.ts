// Puts the page together: rail, front, pipeline, one card a node.
import { button, element, replace } from './dom';
import { draw_all } from './figure';
import { expectations, first_sentence, opening_comment, prose, provenance, warnings } from './front';
import { theme_changed } from './linked';
import { manifest, read_manifest } from './manifest';
import { fold_all, node_card } from './node_card';
import { draw_pipeline } from './pipeline';
import { visible } from './format';

/** Axes without labels take those of the same axis in what the node read: a metric's points are its input's words. */
function inherit_labels(m: manifest): void {
  const by_name = new Map(m.nodes.map(n => [n.name, n]));
  for (const n of m.nodes)
    for (const s of n.datasets)
      for (const a of s.axes) {
        if (a.labels !== undefined || a.numbers !== undefined || a.full === 1) continue;
        const found = n.inputs.flatMap(i => by_name.get(i.from.split('/')[0])?.datasets ?? []).flatMap(t => t.axes)
          .find(b => b.name === a.name && b.full === a.full && b.size === a.size && (b.labels !== undefined || b.numbers !== undefined));
        if (found) Object.assign(a, { labels: found.labels, numbers: found.numbers });
      }
}

const unfolded = 3;
const id_of = (node: number): string => `node-${node}`;

function jump(id: string): void {
  const target = document.getElementById(id);
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView({ block: 'start' });
}

function themes(): HTMLElement {
  const root = document.documentElement;
  const dark = (): boolean => root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  const b = button(dark() ? 'Light' : 'Dark', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    b.textContent = dark() ? 'Light' : 'Dark';
    theme_changed.ring();
  }, { class: 'quiet' });
  return b;
}

function rail(m: manifest, comment: string): HTMLElement {
  const list = element('ol', {}, ...m.nodes.map((n, i) => element('li', {},
    element('a', { href: `#${id_of(i)}` }, element('b', {}, n.name), element('span', { class: 'finding' }, n.summary || `${n.kind} ${n.plugin}`)))));
  const menu = element('details', { class: 'menu', open: true }, element('summary', {}, 'Contents'), element('nav', { 'aria-label': 'Nodes' },
    element('ul', { class: 'front' }, ...([['expectations', 'Expected'], ['pipeline', 'Pipeline'], ['warnings', 'Warnings'], ['provenance', 'Where it came from']] as const)
      .filter(([id]) => id !== 'expectations' || m.expectations.length > 0).filter(([id]) => id !== 'warnings' || m.warnings.length > 0)
      .map(([id, text]) => element('li', {}, element('a', { href: `#${id}` }, text)))), list));
  if (matchMedia('(max-width: 900px)').matches) menu.open = false;
  return element('aside', { class: 'rail', 'aria-label': 'Contents' }, element('p', { class: 'title' }, m.title || m.file),
    element('p', { class: 'sentence' }, first_sentence(comment)), element('div', { class: 'controls' }, themes(), fold_all(true), fold_all(false)), menu);
}

async function main(): Promise<void> {
  const page = document.getElementById('page')!;
  const m = await read_manifest();
  inherit_labels(m);
  const comment = opening_comment(m.pipeline);
  const number = new Map(m.nodes.map((n, i) => [n.name, i]));
  const link = (node: string, text: string): Node => {
    const i = number.get(node);
    return i === undefined ? document.createTextNode(text) : element('a', { href: `#${id_of(i)}` }, text);
  };
  const told = element('div', { class: 'told' }, ...prose(visible(comment).replace(/\u21b5/g, '\n')));
  // Cards with findings are unfolded first; what a source made is no finding.
  let open = 0;
  const cards = m.nodes.map((n, i) => node_card(n, id_of(i), n.kind !== 'source' && n.datasets.length > 0 && open++ < unfolded, m.file));
  const main_column = element('main', {},
    element('header', {}, element('h1', {}, m.title || m.file), told),
    expectations(m, link),
    warnings(m),
    element('section', { class: 'card', id: 'pipeline' }, element('h2', {}, 'The pipeline'),
      m.nodes.length === 0 ? element('p', { class: 'empty' }, 'Nothing here, because the run has no nodes.') :
        element('div', { class: 'scrolled', tabindex: 0, role: 'region', 'aria-label': 'The pipeline' }, draw_pipeline(m.nodes, id_of))),
    ...cards, provenance(m));
  replace(page, element('a', { class: 'skip', href: '#main' }, 'To the results'), rail(m, comment), main_column);
  main_column.id = 'main';
  page.addEventListener('click', e => {
    const a = (e.target as Element).closest('a[href^="#"]');
    if (a) jump(a.getAttribute('href')!.slice(1));
  });
  addEventListener('beforeprint', draw_all);
  if (location.hash.length > 1) jump(decodeURIComponent(location.hash.slice(1)));
  document.documentElement.dataset.ready = 'yes';
}

main().catch((e: unknown) => {
  const page = document.getElementById('page')!;
  replace(page, element('p', { class: 'empty' }, `The report can't be shown: ${e instanceof Error ? e.message : String(e)}`));
  console.error(e);
});
