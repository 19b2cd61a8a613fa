// From the kind of a figure to the module that draws it.
import { attention } from './attention';
import { curve_axes, map_axes } from './axes';
import { bars, histogram } from './bars';
import { figure } from './choose';
import { curves } from './curves';
import { field } from './field';
import { visible } from './format';
import { index_of } from './linked';
import { heatmap } from './heatmap';
import { lens } from './lens';
import { points } from './points';
import { series_of, sparks } from './sparks';
import { long_table } from './table';
import { tokens } from './tokens';

export function draw_view(host: HTMLElement, f: figure, whole: field, parts: Record<string, field>, width: number): void {
  const colours = f.options.colours === 'diverging' || f.options.colours === 'sequential' ? f.options.colours : undefined;
  switch (f.kind) {
    case 'curve': {
      const [along, lines] = curve_axes(whole, f.options);
      curves(host, whole, width, { along, lines, error: parts.error, log_x: f.options.log_x === true, log_y: f.options.log_y === true });
      return;
    }
    case 'bars':
      bars(host, whole, width, { along: Math.max(0, whole.axes.findIndex(a => a.size > 1)), error: parts.error });
      return;
    case 'histogram':
      histogram(host, whole, width, parts.edges);
      return;
    case 'heatmap': {
      if (whole.axes.length < 2) { curves(host, whole, width, { along: 0, lines: -1 }); return; }
      const [rows, columns] = map_axes(whole, f.options);
      heatmap(host, whole, width, { rows, columns, colours, names: token_names(whole, parts.tokens) });
      return;
    }
    case 'attention':
      attention(host, whole, parts.tokens, parts.key_tokens, width);
      return;
    case 'lens':
      lens(host, whole, parts.shade, parts.tokens, Object.keys(parts).filter(n => n.startsWith('beside ')).map(n => parts[n]), width);
      return;
    case 'points':
      points(host, whole, parts.cloud, width, typeof f.options.along === 'string' ? f.options.along : undefined);
      return;
    case 'tokens':
      tokens(host, whole, parts.texts);
      return;
    case 'sparks': {
      const along = (g: field): number => g.axes.findIndex(a => a.size > 1);
      sparks(host, Object.values(parts).map(g => series_of(g, along(g))), whole, along(whole));
      return;
    }
    default:
      host.append(long_table(whole));
  }
}

/** The tokens of the chosen item, for an axis of positions without labels of its own. */
function token_names(f: field, texts: field | undefined): ((axis: number, index: number) => string | undefined) | undefined {
  if (!texts) return undefined;
  const last = texts.axes.length - 1;
  return (a, i) => {
    if (f.axes[a].texts || f.axes[a].name !== texts.axes[last].name || i >= texts.axes[last].size) return undefined;
    return visible(texts.texts[texts.offset(texts.axes.map((t, k) => k === last ? i : index_of(f, Math.max(0, f.axis(t.name)))))]);
  };
}
