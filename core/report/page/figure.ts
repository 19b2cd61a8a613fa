// One figure of a node: what it is, the view itself, its numbers, and ways to take them along. Drawn when it comes into view.
import { figure } from './choose';
import { button, element, replace } from './dom';
import { field, load } from './field';
import { grouped, spaced } from './format';
import { csv_of, png_of, save, svg_text } from './save';
import { long_table } from './table';
import { draw_view } from './views';

/** Calls `act` once, as soon as the element is near the window. */
const watcher = typeof IntersectionObserver === 'undefined' ? null : new IntersectionObserver(seen => {
  for (const s of seen)
    if (s.isIntersecting) {
      watcher!.unobserve(s.target);
      waiting.get(s.target)?.();
      waiting.delete(s.target);
    }
}, { rootMargin: '300px' });
const waiting = new Map<Element, () => void>();
export function when_near(host: Element, act: () => void): void {
  if (!watcher) { act(); return; }
  waiting.set(host, act);
  watcher.observe(host);
}
/** Draws everything that waits, for printing. */
export function draw_all(): void {
  for (const [host, act] of [...waiting]) {
    if (!(host as HTMLElement).offsetParent) continue;
    watcher!.unobserve(host);
    waiting.delete(host);
    act();
  }
}

export const shape_text = (f: { axes: { name: string; size: number; full: number }[] }): string =>
  f.axes.map(a => `${a.name} ${grouped(a.full)}`).join(' \u00d7 ');

/** "the first 83 of 1,024 query" for what was cut. */
export function cut_note(axes: { name: string; size: number; full: number }[]): string {
  const cut = axes.filter(a => a.size < a.full);
  return cut.length === 0 ? '' : 'Only part is in this page: the first ' +
    cut.map(a => `${grouped(a.size)} of ${grouped(a.full)} ${a.name}`).join(', the first ') + '. A larger --max-size takes more.';
}

/** Maps that are as well half as wide. */
function is_small_map(f: figure): boolean {
  if (f.kind !== 'heatmap') return false;
  const wide = f.set.axes.filter(a => a.size > 1);
  const columns = wide[wide.length - 1];
  return wide.length >= 2 && columns.size <= 128 && (columns.labels === undefined || columns.size <= 16) && f.with.tokens === undefined;
}

const safe_name = (text: string): string => text.replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100) || 'view';

export function figure_card(f: figure, node: string, file: string): HTMLElement {
  const body = element('div', { class: 'body' });
  const tools = element('div', { class: 'tools' });
  const note = cut_note(f.set.axes);
  const many = f.kind === 'sparks';
  const host = element('section', { class: `figure ${f.kind}${is_small_map(f) ? ' half' : ''}`, 'data-set': `${node}/${f.set.name}`, 'data-kind': f.kind },
    element('div', { class: 'caption' },
      element('h3', {}, spaced(f.kind === 'sparks' ? `${Object.keys(f.with).length} figures ${f.title}` : f.title).replace(/\//g, ' / '), f.set.units && !many && element('span', { class: 'units' }, ` ${f.set.units}`)), tools,
      f.set.about && !many && element('p', { class: 'about' }, f.set.about), note && element('p', { class: 'note cut' }, note)),
    body);
  body.style.minHeight = '120px';
  when_near(host, () => void start());

  async function start(): Promise<void> {
    try {
      const whole = await load(f.set);
      const parts: Record<string, field> = {};
      for (const [name, set] of Object.entries(f.with)) parts[name] = await load(set);
      tool_buttons(many ? Object.values(parts) : [whole]);
      body.style.minHeight = '';
      draw(whole, parts);
      host.setAttribute('data-drawn', 'yes');
    } catch (e) {
      body.style.minHeight = '';
      replace(body, element('p', { class: 'empty' }, `This can't be drawn: ${e instanceof Error ? e.message : String(e)}`));
      host.setAttribute('data-drawn', 'failed');
      console.error(e);
    }
  }

  function draw(whole: field, parts: Record<string, field>): void {
    replace(body);
    const why = many ? '' : empty_because(whole);
    if (why) {
      body.append(element('p', { class: 'empty' }, why));
      if (whole.count > 0 && whole.axes.length > 0) body.append(folded_table(whole));
      return;
    }
    const width = Math.max(240, body.clientWidth || 600);
    draw_view(body, f, whole, parts, width);
    const missing = many || f.kind === 'table' || f.kind === 'lens' ? 0 : whole.range().missing;
    if (missing > 0) body.append(element('p', { class: 'note' }, `${grouped(missing)} of ${grouped(whole.count)} values are missing and not drawn${f.set.missing ? `: ${f.set.missing}` : ''}.`));
    let drawn = width;
    new ResizeObserver(() => {
      if (Math.abs(body.clientWidth - drawn) < 24 || body.clientWidth === 0) return;
      drawn = body.clientWidth;
      replace(body);
      draw_view(body, f, whole, parts, Math.max(240, drawn));
    }).observe(body);
  }

  function tool_buttons(all: field[]): void {
    const name = safe_name(`${node}-${f.set.name}`);
    const plot = (): HTMLElement | null => body.querySelector('.plot');
    const about = `${node}/${f.set.name}`;
    if (f.kind !== 'table') tools.append(
      button('SVG', () => { const p = plot(); if (p) save(`${name}.svg`, 'image/svg+xml', svg_text(p)); }, { class: 'tool', 'aria-label': `Save ${about} as SVG` }),
      button('PNG', () => { const p = plot(); if (p) void png_of(p).then(b => save(`${name}.png`, 'image/png', b)); }, { class: 'tool', 'aria-label': `Save ${about} as PNG` }));
    tools.append(button('CSV', () => save(`${name}.csv`, 'text/csv', csv_of(all[0], ...all.slice(1))), { class: 'tool', 'aria-label': `Save the numbers of ${about} as CSV` }));
    const table_button = button('Numbers', () => {
      const open = host.querySelector('.numbers');
      if (open) open.remove();
      else host.append(element('div', { class: 'numbers' }, ...all.map(g => element('div', {}, many && element('h4', {}, spaced(g.info.name)), long_table(g))),
        element('p', { class: 'note' }, 'At the terminal: ', element('code', {}, `wayfarer show ${file} ${many ? node : f.set.parts ? `${node}/${f.set.parts[0].name}` : about}`))));
      table_button.setAttribute('aria-expanded', String(!open));
    }, { class: 'tool', 'aria-expanded': 'false', 'aria-label': `Numbers of ${about}` });
    if (f.kind !== 'table') tools.append(table_button);
  }
  return host;
}

function folded_table(f: field): HTMLElement {
  return element('details', {}, element('summary', {}, 'Its values'), long_table(f));
}

/** Why there is nothing to see, or "". */
function empty_because(f: field): string {
  if (f.axes.some(a => a.full === 0)) return `Nothing here, because the dataset is empty: ${shape_text(f)}.`;
  if (!f.is_text && f.range().finite === 0) return 'Nothing here, because no value is a finite number.';
  return '';
}
