// How a dataset is looked at: as its `view` says where its shape allows that, or else as shape, dimension names and labels suggest.
import { with_layers_together } from './layers';
import { axis, node_info, set_info } from './manifest';

export type view_kind = 'curve' | 'bars' | 'heatmap' | 'attention' | 'lens' | 'points' | 'tokens' | 'histogram' | 'sparks' | 'table';
export interface figure {
  kind: view_kind; title: string; set: set_info; options: Record<string, unknown>;
  /** Other datasets that the view reads: "error", "edges", "tokens", "texts", "shade". */
  with: Record<string, set_info>;
}

export const sequences = ['step', 'layer', 'block', 'state', 'update', 'snapshot', 'epoch', 'distance', 'rel_pos', 'angle', 'rank', 'stage', 'k'];
const crowds = ['token', 'item', 'pair', 'document', 'vocabulary', 'point', 'sample', 'd_model', 'feature', 'coordinate'];
const flat_axes = ['component', 'coordinate', 'axis', 'dimension', 'xy', 'xyz'];

/** The view that a plugin asked for. Anything that is no JSON object counts as none. */
export function asked(set: set_info): Record<string, unknown> {
  try {
    const view: unknown = set.view ? JSON.parse(set.view) : null;
    return view !== null && typeof view === 'object' && !Array.isArray(view) ? view as Record<string, unknown> : {};
  } catch {
    return {};
  }
}

const kinds: view_kind[] = ['curve', 'bars', 'heatmap', 'attention', 'lens', 'points', 'tokens', 'histogram', 'table'];

/** The kind that a plugin asked for, if the page knows it. */
const asked_kind = (s: set_info): view_kind | undefined => kinds.find(k => k === asked(s).kind);

const last = (s: set_info, back = 1): string => s.axes[s.axes.length - back]?.name ?? '';
export const base = (name: string): string => name.replace(/_\d+$/, '');
const size_of = (s: set_info): number => s.axes.reduce((n, a) => n * a.size, 1);
const same_shape = (a: set_info, b: set_info): boolean =>
  a.axes.length === b.axes.length && a.axes.every((x, i) => x.name === b.axes[i].name && x.size === b.axes[i].size);

/** The axes that have more than one index. */
const wide_axes = (s: set_info): axis[] => s.axes.filter(a => a.full > 1);

function is_pairwise(s: set_info): boolean {
  const wide = wide_axes(s), q = wide[wide.length - 2]?.name ?? '', k = wide[wide.length - 1]?.name ?? '';
  return wide.length >= 2 && (/quer|(^|_)q(_|$)|_pos$|^pos/.test(q) && /key|(^|_)k(_|$)/.test(k));
}

/** One number, however many axes it has. */
export const is_single = (s: set_info): boolean => s.axes.every(a => a.full === 1);

/** The kind that shape and names suggest. */
export function suggested(s: set_info): view_kind {
  const wide = wide_axes(s), rank = wide.length;
  if (s.type === 'text' || rank === 0) return 'table';
  const n = wide[rank - 1].size;
  if (is_pairwise(s) && s.axes.some(a => a.name === 'head')) return 'attention';
  if (rank >= 2 && flat_axes.includes(base(last(s))) && (n === 2 || n === 3) && size_of(s) / n >= 3) return 'points';
  if (rank === 1) {
    const a = wide[0];
    if (a.labels !== undefined && a.size <= 60 && !sequences.includes(base(a.name)) && base(a.name) !== 'pos') return 'bars';
    if (crowds.includes(base(a.name)) && a.size > 40) return 'histogram';
    return a.size <= (sequences.includes(base(a.name)) || a.numbers !== undefined ? 2 : 4) ? 'bars' : 'curve';
  }
  if (is_pairwise(s)) return 'heatmap';
  if (rank === 2) {
    const [a, b] = wide;
    const along = [b, a].find(x => x.numbers !== undefined || sequences.includes(base(x.name)));
    const other = along === a ? b : a;
    if (along && along.size >= 3 && other.size <= 6 && (along.numbers !== undefined || along.size > 6)) return 'curve';
    if (b.size >= 24 && a.size <= 6 && b.labels === undefined && !crowds.includes(base(b.name))) return 'curve';
  }
  return 'heatmap';
}

/** What lies beside a dataset and belongs to it: the values that colour its texts, and the texts of its positions. */
export interface companions { shade?: set_info; texts?: set_info }
const most_bars = 60, most_lines = 12, fewest_pooled = 40;

/** Over which axes a histogram counts together: the last, and those before it whose indices have neither names nor an order. */
export function pooled_axes(axes: { name: string; size: number; named: boolean }[]): number[] {
  const wide = axes.map((_, a) => a).filter(a => axes[a].size > 1);
  return wide.filter((a, k) => k === wide.length - 1 || !(axes[a].named || sequences.includes(base(axes[a].name))));
}

const is_named = (a: axis): boolean => a.labels !== undefined || a.numbers !== undefined;

/** Whether a view of this kind can show a dataset of this shape: an axis that it runs along has more than one or two indices, ... */
export function fits(kind: view_kind, s: set_info, beside: companions = {}): boolean {
  const options = asked(s), wide = wide_axes(s), rank = s.axes.length;
  const size = (name: unknown): number => s.axes.find(a => a.name === name)?.full ?? 0;
  if (kind === 'table') return true;
  if (kind === 'lens') return s.type === 'text' && rank >= 2 && beside.shade !== undefined;
  if (s.type === 'text' || wide.length === 0) return false;
  switch (kind) {
    case 'curve': {
      const along = wide.filter(a => a.full > 2 && (options.x === undefined || a.name === options.x));
      // With one other axis there is no slider: all its curves must go into one figure.
      return along.length > 0 && (wide.length !== 2 || along.some(x => wide.every(a => a === x || a.full <= most_lines)));
    }
    case 'bars': return wide.length === 1 && wide[0].full <= most_bars;
    case 'heatmap': return wide.length >= 2 && [options.rows, options.columns].every(name => name === undefined || size(name) > 1);
    case 'histogram': return pooled_axes(s.axes.map(a => ({ ...a, named: is_named(a) }))).reduce((n, a) => n * s.axes[a].full, 1) > fewest_pooled;
    case 'attention': return rank >= 3 && s.axes.some(a => a.name === 'head') && s.axes.slice(-2).every(a => a.full > 1);
    case 'points': return rank >= 2 && [2, 3].includes(s.axes[rank - 1].full) && size_of(s) / s.axes[rank - 1].size >= 3;
    case 'tokens': return beside.texts !== undefined;
    default: return false;
  }
}

/** How a dataset is drawn: as asked if that fits, else what comes nearest to it. */
export function drawn_as(s: set_info, beside: companions = {}): view_kind {
  const kind = asked_kind(s);
  if (kind === undefined) return suggested(s);
  if (fits(kind, s, beside)) return kind;
  if (kind === 'lens') return 'table';
  // A few values are told one by one.
  const wide = wide_axes(s);
  if (kind === 'histogram' && wide.length === 1 && wide[0].numbers === undefined && !sequences.includes(base(wide[0].name))) return 'bars';
  return suggested(s);
}

/** What goes on the figures of a node, in order; single numbers are left to the table of numbers. */
export function figures_of(node: node_info): figure[] {
  const sets = with_layers_together(node.datasets, s => drawn_as(s) === 'attention');
  const find = (name: string): set_info | undefined => sets.find(s => s.name === name);
  const used = new Set<set_info>();
  const out: figure[] = [];
  const add = (kind: view_kind, set: set_info, parts: Record<string, set_info | undefined> = {}, options: Record<string, unknown> = {}): void => {
    const given = Object.fromEntries(Object.entries(parts).filter(([, v]) => v !== undefined)) as Record<string, set_info>;
    out.push({ kind, title: set.name, set, with: given, options });
  };
  const tokens_end = /(tokens|texts|text)$/;
  for (const s of sets) {
    if (is_single(s)) continue;
    const stem = s.name.replace(/[^/]*$/, '');
    const bare = s.name.slice(stem.length);
    if (/_standard_error$/.test(bare)) {
      const of = find(s.name.replace(/_standard_error$/, ''));
      if (of && same_shape(of, s)) continue;
    }
    if (/_edges$/.test(bare) && find(s.name.replace(/_edges$/, ''))) continue;
    const error = find(`${s.name}_standard_error`);
    const parts = { error: error && same_shape(error, s) ? error : undefined };
    const wanted = asked_kind(s);
    const edges = find(`${s.name}_edges`);
    if (edges && s.type !== 'text') { add('histogram', s, { edges }); continue; }
    // Tables of the likeliest tokens, coloured by their probabilities.
    const shade = tokens_end.test(s.name) ? ['probabilities', 'logits', 'products', 'scores'].map(n => find(s.name.replace(tokens_end, n))).find(x => x) : undefined;
    if (s.type === 'text' && shade && same_shape(shade, s) && fits('lens', s, { shade }) && (!wanted || wanted === 'lens')) {
      // What else is known by position and layer, for the curves of a chosen position.
      const beside = sets.filter(t => t.type !== 'text' && t.axes.length === s.axes.length - 1 && t.name.replace(/[^/]*$/, '') === stem &&
        !/ids?$/.test(t.name) && t.axes.every((a, i) => a.name === s.axes[i].name && a.size === s.axes[i].size));
      add('lens', s, { shade, tokens: token_texts(sets, s, stem), ...Object.fromEntries(beside.map(t => [`beside ${t.name}`, t])) });
      for (const n of ['ids', 'probabilities', 'logits', 'products', 'scores']) used.add(find(s.name.replace(tokens_end, n)) ?? s);
      used.delete(s);
      continue;
    }
    const texts = token_texts(sets, s, stem);
    let kind = drawn_as(s, { texts });
    // Of a view that does not fit, what is said of the values stays; the axes that it names are not there.
    const said = asked(s), view = wanted && fits(wanted, s, { texts }) ? said : { colours: said.colours, log_y: said.log_y };
    if (!wanted && texts !== undefined && same_shape(texts, s) && s.type !== 'text' && !/ids?$/.test(bare) && ['curve', 'heatmap', 'histogram'].includes(kind)) kind = 'tokens';
    if (kind === 'tokens') { add('tokens', s, { texts, ...parts }, view); continue; }
    if (kind === 'points') {
      const cloud = points_pair(sets, s);
      // The smaller of the two is the way, the larger what it leads through.
      if (cloud && size_of(cloud) < size_of(s)) continue;
      add(kind, s, { cloud }, view);
    } else if (kind === 'attention') {
      const of = (side: axis, decoder: boolean): set_info | undefined => {
        const all = sets.filter(t => t.type === 'text' && /(^|\/|_)tokens?$/.test(t.name) && !/^(top|nearest|predicted|next)/.test(t.name.replace(/^.*\//, '')) &&
          t.axes.length > 0 && t.axes[t.axes.length - 1].full === side.full && t.axes.slice(0, -1).every(a => s.axes.some(b => b.name === a.name)));
        return all.find(t => /decoder/.test(t.name) === decoder) ?? all[0];
      };
      // Of cross attention the queries are the decoder's and the keys the encoder's.
      const cross = /cross/.test(s.name), decoder = cross || /decoder/.test(s.name);
      add(kind, s, { tokens: of(s.axes[s.axes.length - 2], decoder), key_tokens: of(s.axes[s.axes.length - 1], decoder && !cross) }, view);
    } else add(kind, s, kind === 'heatmap' ? { tokens: texts } : parts, view);
  }
  gather_sparks(out);
  const rank_of = (f: figure): number => f.kind === 'attention' || f.kind === 'points' || (f.kind === 'lens' && /probabilit/.test(f.with.shade.name)) ? -1 : f.kind === 'lens' ? 1 : used.has(f.set) ? 9 : /(^|_)ids?$/.test(f.title) ? 8 : f.kind === 'table' ? 5 : f.set.axes.some(a => /^(d_model|feature|coordinate)$/.test(a.name) && a.full > 3) ? 4 :
      f.kind !== 'tokens' && f.kind !== 'histogram' && f.set.axes.some(a => crowds.includes(base(a.name)) && a.full > 40) ? 3 : 0;
  return out.map((f, i) => ({ f, i })).sort((x, y) => rank_of(x.f) - rank_of(y.f) || x.i - y.i).map(x => x.f);
}

/** Many short curves over one axis become one figure. */
function gather_sparks(out: figure[]): void {
  const along = (s: set_info): string => {
    const wide = s.axes.filter(a => a.full > 1);
    return wide.length === 1 && s.type !== 'text' && wide[0].size <= 200 && !asked(s).log_x && !asked(s).log_y ? `${wide[0].name}:${wide[0].size}` : '';
  };
  const groups = new Map<string, figure[]>();
  for (const f of out) {
    const key = along(f.set);
    if (key !== '' && ['curve', 'bars'].includes(f.kind)) groups.set(key, [...(groups.get(key) ?? []), f]);
  }
  for (const [key, all] of groups) {
    if (all.length < 5) continue;
    const axis = key.replace(/:\d+$/, '');
    const at = out.indexOf(all[0]);
    for (const f of all) out.splice(out.indexOf(f), 1);
    out.splice(Math.min(at, out.length), 0, { kind: 'sparks', title: `along ${axis}`, set: all[0].set, options: { axis }, with: Object.fromEntries(all.map(f => [f.set.name, f.set])) });
  }
}

/** points and also_points of a node: one picture. */
function points_pair(sets: set_info[], s: set_info): set_info | undefined {
  const other = /(^|\/)also_/.test(s.name) ? s.name.replace(/also_/, '') : s.name.replace(/([^/]*)$/, 'also_$1');
  const found = sets.find(t => t.name === other);
  return found && found.axes.length >= 2 && found.axes[found.axes.length - 1].size === s.axes[s.axes.length - 1].size ? found : undefined;
}

/** The texts of the positions that a dataset runs over: a dataset of texts over [item, pos] with the same sizes. */
function token_texts(sets: set_info[], s: set_info, stem: string): set_info | undefined {
  const fits = (t: set_info): boolean => t.type === 'text' && t !== s && /(^|\/|_)(tokens?|token_texts?|texts?)$/.test(t.name) &&
    !/^(top|nearest|predicted)/.test(t.name.replace(/^.*\//, '')) && /(^|_)(pos|position|token|step)(_\d+)?$/.test(last(t)) &&
    t.axes.length > 0 && t.axes.length <= 2 && t.axes.every(a => s.axes.some(b => b.name === a.name && b.size === a.size));
  return sets.find(t => t.name.startsWith(stem) && fits(t)) ?? sets.find(fits);
}
