// Which axes of a dataset a view shows: as its options say, or the likeliest.
import { base, sequences } from './choose';
import { field } from './field';

/** Which axes a map shows, from its options or the last two. */
export function map_axes(f: field, options: Record<string, unknown>): [number, number] {
  const named = (key: string): number => typeof options[key] === 'string' ? f.axis(options[key] as string) : -1;
  let rows = named('rows'), columns = named('columns');
  const rank = f.axes.length;
  // An axis of one index is no side of a map as long as there are others.
  const wide = f.axes.map((_, a) => a).filter(a => f.axes[a].size > 1);
  const rest = wide.length >= 2 ? wide : f.axes.map((_, a) => a);
  if (columns < 0) columns = rest.filter(a => a !== rows).pop() ?? rank - 1;
  if (rows < 0 || rows === columns) rows = rest.filter(a => a !== columns).pop() ?? 0;
  return [rows, columns];
}

/** The axis that a curve runs along, and the one whose indices are its lines (-1: none). */
export function curve_axes(f: field, options: Record<string, unknown>): [number, number] {
  const given = typeof options.x === 'string' ? f.axis(options.x) : -1;
  const order = f.axes.map((_, a) => a).reverse();
  const along = given >= 0 ? given : order.find(a => f.axes[a].values && f.axes[a].size > 1) ??
    order.find(a => sequences.includes(base(f.axes[a].name)) && f.axes[a].size > 1) ?? order.find(a => f.axes[a].size > 1) ?? 0;
  const lines = order.find(a => a !== along && f.axes[a].size > 1 && f.axes[a].size <= 12) ?? -1;
  return [along, lines];
}
