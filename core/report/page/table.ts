// Tables that sort and copy.
import { announce, button, child, element, replace } from './dom';
import { field } from './field';
import { grouped, short, visible } from './format';

export interface cell { text: string; value?: number; title?: string; node?: Node }
const page_rows = 100;

export const number_cell = (x: number, full?: string): cell => ({ text: short(x), value: x, title: full ?? String(x) });

/** Rows of cells under a header; a click on a column sorts by it, another turns the order. */
export function table(header: string[], rows: cell[][], label: string): HTMLElement {
  let by = -1, down = false, shown = page_rows;
  const body = element('tbody');
  const more = button('', () => { shown *= 10; fill(); }, { class: 'quiet' });
  const heads = header.map((name, c) => {
    const numeric = rows.length > 0 && rows[0][c]?.value !== undefined;
    const head = element('th', { scope: 'col', class: numeric ? 'number' : null });
    head.append(button(name, () => {
      down = by === c ? !down : numeric;
      by = c;
      heads.forEach((h, i) => i === by ? h.setAttribute('aria-sort', down ? 'descending' : 'ascending') : h.removeAttribute('aria-sort'));
      fill();
    }, { class: 'sort' }));
    return head;
  });
  const order = (): cell[][] => {
    if (by < 0) return rows;
    const of = (r: cell[]): cell => r[by];
    const sorted = [...rows].sort((x, y) => {
      const a = of(x), b = of(y);
      if (a.value === undefined || b.value === undefined) return a.text < b.text ? -1 : a.text > b.text ? 1 : 0;
      if (Number.isNaN(a.value) || Number.isNaN(b.value)) return Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value));
      return down ? b.value - a.value : a.value - b.value;
    });
    return down && rows[0]?.[by]?.value === undefined ? sorted.reverse() : sorted;
  };
  const fill = (): void => {
    replace(body, ...order().slice(0, shown).map(row => element('tr', {}, ...row.map((c, i): child =>
      element(i === 0 ? 'th' : 'td', { scope: i === 0 ? 'row' : null, class: c.value !== undefined ? 'number' : c.text.length <= 20 ? 'keep' : null, title: c.title },
        c.node ? c.node.cloneNode(true) : c.text)))));
    more.hidden = rows.length <= shown;
    more.textContent = `Show more of ${grouped(rows.length)} rows`;
  };
  fill();
  const copy = button('Copy', () => {
    const lines = [header, ...order().map(r => r.map(c => c.value === undefined ? c.text : String(c.value)))];
    void copy_text(lines.map(l => l.map(t => t.replace(/[\t\n]/g, ' ')).join('\t')).join('\n'));
  }, { class: 'quiet' });
  return element('div', { class: 'table', role: 'region', 'aria-label': label, tabindex: 0 },
    element('table', {}, element('thead', {}, element('tr', {}, ...heads)), body), more, rows.length > 3 && copy);
}

export async function copy_text(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    announce('copied');
  } catch {
    // Pages opened from disk may not use the clipboard; the old way still works there.
    const area = element('textarea', { class: 'unseen', 'aria-label': 'text to copy' });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
    announce('copied');
  }
}

/** All elements of a dataset, one a row, with what its axes say. */
export function long_table(f: field): HTMLElement {
  const most = 20_000;
  const rows: cell[][] = [];
  each(f, most, (index, at) => {
    const cells: cell[] = index.map((i, a) => f.axes[a].texts ? { text: visible(f.label(a, i)) } : { text: f.label(a, i), value: f.coordinate(a, i) });
    cells.push(f.is_text ? { text: visible(f.texts[at]) } : number_cell(f.numbers[at], f.exact(at)));
    rows.push(cells);
  });
  const host = table([...f.axes.map(a => a.name), f.info.units || 'value'], rows, f.info.name);
  if (f.count > most) host.append(element('p', { class: 'note' }, `The first ${grouped(most)} of ${grouped(f.count)} values; CSV has all.`));
  return host;
}

/** Calls `act` for up to `most` elements in order, with their index along each axis. */
export function each(f: field, most: number, act: (index: number[], at: number) => void): void {
  const index = f.axes.map(() => 0);
  for (let at = 0; at < Math.min(f.count, most); ++at) {
    act(index, at);
    for (let a = index.length; a-- > 0;) {
      if (++index[a] < f.axes[a].size) break;
      index[a] = 0;
    }
  }
}
