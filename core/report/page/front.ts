// The front of the page: what the run is, how it did against what was expected, where it came from, how to repeat it.
import { child, element } from './dom';
import { file_size, grouped, seconds, short, visible } from './format';
import { column, manifest } from './manifest';
import { cell, number_cell, table } from './table';

/** The comment that a pipeline file opens with, without its marks. */
export function opening_comment(pipeline: string): string {
  const lines: string[] = [];
  for (const line of pipeline.split('\n')) {
    if (/^#/.test(line)) lines.push(line.replace(/^# ?/, ''));
    else if (line.trim() !== '' || lines.length > 0) break;
  }
  return lines.join('\n').trim();
}

/** Its first sentence. */
export function first_sentence(comment: string): string {
  const text = comment.split(/\n\s*\n/)[0].replace(/\s+/g, ' ').trim();
  const end = text.search(/[.?!:](\s|$)/);
  return end < 0 ? text : text.slice(0, end + 1).replace(/:$/, '.');
}

/** Paragraphs flow; lines that are set in by two or more blanks stay as they are. */
export function prose(comment: string): HTMLElement[] {
  return comment.split(/\n\s*\n/).flatMap(block => {
    const out: HTMLElement[] = [];
    let flow: string[] = [], fixed: string[] = [];
    const flush = (): void => {
      if (flow.length > 0) out.push(element('p', {}, flow.join(' ')));
      if (fixed.length > 0) out.push(element('pre', { tabindex: 0 }, fixed.join('\n')));
      flow = [];
      fixed = [];
    };
    for (const line of block.split('\n')) {
      if (/^\s{2,}/.test(line)) { if (flow.length > 0) flush(); fixed.push(line); }
      else { if (fixed.length > 0) flush(); flow.push(line.trim()); }
    }
    flush();
    return out;
  });
}

export const column_of = (all: column[], name: string): (string | number)[] => all.find(c => c.name === name)?.values ?? [];

export function expectations(m: manifest, link: (node: string, text: string) => Node): HTMLElement | null {
  const what = column_of(m.expectations, 'what'), measured = column_of(m.expectations, 'measured');
  if (what.length === 0) return null;
  const expected = column_of(m.expectations, 'expected'), source = column_of(m.expectations, 'source'), within = column_of(m.expectations, 'within');
  const word = (i: number): string => within[i] === 1 ? 'yes' : within[i] === 0 ? 'NO' : String(within[i] ?? '');
  const rows: cell[][] = what.map((w, i) => {
    const ok = /^yes/i.test(word(i));
    const mark = element('span', { class: ok ? 'yes' : /^no\b/i.test(word(i)) ? 'no' : 'quiet' },
      ok ? '\u2713 yes' : /^no\b/i.test(word(i)) ? '\u2717 no' : word(i));
    return [{ text: String(w), node: link(String(w).split('/')[0], visible(String(w))) }, number_cell(Number(measured[i])),
      { text: String(expected[i] ?? '') }, { text: word(i), node: mark }, { text: String(source[i] ?? '') }];
  });
  const good = what.filter((_, i) => /^yes/i.test(word(i))).length;
  const host = element('section', { class: 'card', id: 'expectations' }, element('h2', {}, 'Measured against what was expected'),
    element('p', { class: 'finding' }, `${good} of ${what.length} within the expectation`),
    table(['figure', 'measured', 'expected', 'within', 'source'], rows, 'Measured against what was expected'));
  // Links are cloned with their rows, so that clicks are caught here.
  return host;
}

const definition = (pairs: [string, child][]): HTMLElement =>
  element('dl', {}, ...pairs.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));

const rows_of = (all: column[], names: string[]): cell[][] => {
  const columns = names.map(n => column_of(all, n));
  return (columns[0] ?? []).map((_, i) => columns.map((c): cell => {
    const v = c[i];
    if (typeof v === 'number') return { text: grouped(v), value: v };
    return /^[0-9a-f]{64}$/.test(String(v)) ? { text: String(v).slice(0, 12) + '\u2026', title: String(v) } : { text: String(v ?? '') };
  }));
};

export function provenance(m: manifest): HTMLElement {
  const took = (Date.parse(m.ended) - Date.parse(m.started)) / 1000;
  // A reproducible run says neither when nor on what it ran.
  const timed: [string, string][] = m.started === '' ? [] : [
    ['run', `${m.started} to ${m.ended}${Number.isFinite(took) ? ` (${seconds(took)})` : ''}`],
    ['machine', `${grouped(Number(m.threads))} threads, at most ${file_size(Number(m.peak_memory))} of memory`]];
  const file = m.file;
  return element('section', { class: 'card', id: 'provenance' }, element('h2', {}, 'Where it came from'),
    definition([
      ['result file', `${file}, ${file_size(m.file_bytes)}`], ['seed', m.seed],
      ...timed, ['report', `wayfarer ${m.wayfarer}`]]),
    element('h3', {}, 'How to repeat it'),
    element('pre', { tabindex: 0 }, `wayfarer show ${file} _run/pipeline > again.yaml\nwayfarer run again.yaml --out again.h5\nwayfarer compare ${file} again.h5`),
    element('p', { class: 'note' }, 'Paths in the pipeline are relative to its own folder.'),
    element('details', {}, element('summary', {}, 'The pipeline file'), element('pre', { tabindex: 0 }, m.pipeline)),
    column_of(m.inputs, 'name').length > 0 && element('details', {}, element('summary', {}, `Input files (${column_of(m.inputs, 'name').length})`),
      table(['node', 'file', 'bytes', 'SHA-256'], rows_of(m.inputs, ['node', 'name', 'bytes', 'sha256']), 'Input files')),
    element('details', {}, element('summary', {}, 'Versions'), table(['what', 'version'], rows_of(m.versions, ['name', 'value']), 'Versions')),
    element('details', {}, element('summary', {}, 'Machine and build'), table(['what', 'value'], rows_of(m.environment, ['name', 'value']), 'Machine and build')),
    element('details', {}, element('summary', {}, 'Licences of what this page is made of'),
      element('pre', { tabindex: 0 }, (document.getElementById('licences') as HTMLTemplateElement | null)?.content.textContent ?? '')));
}

export function warnings(m: manifest): HTMLElement | null {
  return m.warnings.length === 0 ? null : element('section', { class: 'card warnings', id: 'warnings' },
    element('h2', {}, 'Warnings of the run'), element('ul', {}, ...m.warnings.map(w => element('li', {}, w))));
}

export const number_text = (v: number | string | undefined): string => typeof v === 'number' ? short(v) : String(v ?? '');
