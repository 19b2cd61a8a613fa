// The cells of a map on a canvas, and the bar that says what their colours mean.
import { css, scale } from './colour';
import { element } from './dom';
import { short } from './format';

/** Cells on a canvas at device pixels; what is missing is hatched. */
export function paint(canvas: HTMLCanvasElement, width: number, height: number, rows: number, columns: number,
  value: (r: number, c: number) => number, colours: scale): void {
  const density = Math.min(2, devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.max(1, Math.round(height * density));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const small = document.createElement('canvas');
  small.width = columns;
  small.height = rows;
  const cells = new ImageData(columns, rows);
  const missing: [number, number][] = [];
  for (let r = 0, p = 0; r < rows; ++r)
    for (let c = 0; c < columns; ++c, p += 4) {
      const x = value(r, c);
      if (!Number.isFinite(x)) {
        missing.push([r, c]);
        continue;
      }
      const at = Math.round(colours.share(x) * 255) * 3;
      cells.data[p] = colours.table[at];
      cells.data[p + 1] = colours.table[at + 1];
      cells.data[p + 2] = colours.table[at + 2];
      cells.data[p + 3] = 255;
    }
  small.getContext('2d')!.putImageData(cells, 0, 0);
  const g = canvas.getContext('2d')!;
  // Under what is missing: thin strokes in the colour of the text.
  if (missing.length > 0) {
    g.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue('--rule') || '#bbb';
    g.lineWidth = density;
    g.save();
    g.beginPath();
    const w = canvas.width / columns, h = canvas.height / rows;
    for (const [r, c] of missing) g.rect(c * w, r * h, w, h);
    g.clip();
    g.beginPath();
    for (let x = -canvas.height; x < canvas.width; x += 6 * density) g.moveTo(x, canvas.height), g.lineTo(x + canvas.height, 0);
    g.stroke();
    g.restore();
  }
  g.imageSmoothingEnabled = columns > canvas.width || rows > canvas.height;
  g.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** A bar of the colours with its limits. */
export function legend(s: scale, units: string, missing = false): HTMLElement {
  const bar = element('canvas', { width: 120, height: 10, 'aria-hidden': 'true' });
  const g = bar.getContext('2d')!;
  for (let x = 0; x < 120; ++x) {
    g.fillStyle = css(s.colour_at((x + 0.5) / 120));
    g.fillRect(x, 0, 1, 10);
  }
  return element('div', { class: 'legend' }, short(s.least), bar, short(s.most), units && ` ${units}`,
    s.signed && element('span', { class: 'quiet' }, 'white is 0'), missing && element('span', { class: 'hatched' }, 'missing'));
}
