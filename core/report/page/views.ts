// From the kind of a figure to the module that draws it.
import { bars, histogram } from './bars';
import { curve_axes, figure, map_axes } from './choose';
import { curves } from './curves';
import { field } from './field';
import { heatmap } from './heatmap';
import { long_table } from './table';

export function draw_view(host: HTMLElement, f: figure, whole: field, parts: Record<string, field>, width: number): void {
  const colours = f.options.colours === 'diverging' || f.options.colours === 'sequential' ? f.options.colours : undefined;
  switch (f.kind) {
    case 'curve': {
      const [along, lines] = curve_axes(whole, f.options);
      curves(host, whole, width, { along, lines, error: parts.error, log_x: f.options.log_x === true, log_y: f.options.log_y === true });
      return;
    }
    case 'bars':
      bars(host, whole, width, { along: whole.axes.length - 1, error: parts.error });
      return;
    case 'histogram':
      histogram(host, whole, width, parts.edges);
      return;
    case 'heatmap': {
      if (whole.axes.length < 2) { curves(host, whole, width, { along: 0, lines: -1 }); return; }
      const [rows, columns] = map_axes(whole, f.options);
      heatmap(host, whole, width, { rows, columns, colours });
      return;
    }
    default:
      host.append(long_table(whole));
  }
}
