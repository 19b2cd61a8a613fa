// Points and paths in two or three dimensions on a canvas: turned, moved and enlarged by hand. Plain 2D drawing: 20,000 points take a few
// milliseconds in software, and a page may hold any number of such views, which WebGL contexts may not.

export interface dots { xyz: Float32Array; colour: string; size: number; alpha: number }
export interface path { xyz: Float32Array; colour: string; name: string; bold: boolean }
export interface label { x: number; y: number; text: string; colour: string; strong: boolean }

export class camera {
  /** Rows of the rotation, flattened. */
  turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  zoom = 1;
  shift: [number, number] = [0, 0];

  rotate(dx: number, dy: number): void {
    const a = dx * 0.008, b = dy * 0.008, ca = Math.cos(a), sa = Math.sin(a), cb = Math.cos(b), sb = Math.sin(b);
    const m = [ca, 0, sa, sa * sb, cb, -ca * sb, -sa * cb, sb, ca * cb];
    const t = this.turn;
    this.turn = [0, 1, 2].flatMap(r => [0, 1, 2].map(c => m[r * 3] * t[c] + m[r * 3 + 1] * t[3 + c] + m[r * 3 + 2] * t[6 + c]));
  }
}

/** Where points fall on a canvas of this size: x, y and depth of each. `scale`: pixels a unit before zooming. */
export function project(xyz: Float32Array, c: camera, centre: number[], scale: number, width: number, height: number, out?: Float32Array): Float32Array {
  const n = xyz.length / 3;
  const to = out && out.length === xyz.length ? out : new Float32Array(xyz.length);
  const [a, b, d, e, f, g, h, i, j] = c.turn, s = scale * c.zoom;
  for (let k = 0, p = 0; k < n; ++k, p += 3) {
    const x = xyz[p] - centre[0], y = xyz[p + 1] - centre[1], z = xyz[p + 2] - centre[2];
    to[p] = width / 2 + c.shift[0] + s * (a * x + b * y + d * z);
    to[p + 1] = height / 2 + c.shift[1] - s * (e * x + f * y + g * z);
    to[p + 2] = h * x + i * y + j * z;
  }
  return to;
}

export function draw_dots(g: CanvasRenderingContext2D, at: Float32Array, d: dots): void {
  g.fillStyle = d.colour;
  g.globalAlpha = d.alpha;
  const half = d.size / 2;
  for (let p = 0; p < at.length; p += 3) g.fillRect(at[p] - half, at[p + 1] - half, d.size, d.size);
  g.globalAlpha = 1;
}

/** A line that darkens from its first point to its last. */
export function draw_path(g: CanvasRenderingContext2D, at: Float32Array, colour: string, bold: boolean): void {
  const n = at.length / 3;
  g.strokeStyle = colour;
  g.fillStyle = colour;
  g.lineCap = 'round';
  for (let k = 1; k < n; ++k) {
    if (!Number.isFinite(at[3 * k]) || !Number.isFinite(at[3 * k - 3])) continue;
    g.globalAlpha = (bold ? 0.45 : 0.25) + (bold ? 0.55 : 0.45) * k / (n - 1);
    g.lineWidth = bold ? 2.4 : 1.4;
    g.beginPath();
    g.moveTo(at[3 * k - 3], at[3 * k - 2]);
    g.lineTo(at[3 * k], at[3 * k + 1]);
    g.stroke();
  }
  g.globalAlpha = 1;
}

/** Labels that don't cover each other: earlier ones win their place, others try beside it or are left out. */
export function place_labels(all: label[], width_of: (text: string) => number, width: number, height: number): (label & { dx: number })[] {
  const taken: [number, number, number, number][] = [];
  const out: (label & { dx: number })[] = [];
  for (const l of all) {
    const w = width_of(l.text);
    for (const [dx, dy] of [[7, 4], [-w - 7, 4], [-w / 2, -8], [-w / 2, 16]]) {
      const box: [number, number, number, number] = [l.x + dx - 2, l.y + dy - 11, l.x + dx + w + 2, l.y + dy + 3];
      if (box[0] < 0 || box[1] < 0 || box[2] > width || box[3] > height) continue;
      if (taken.some(t => t[0] < box[2] && box[0] < t[2] && t[1] < box[3] && box[1] < t[3])) continue;
      taken.push(box);
      out.push({ ...l, x: l.x + dx, y: l.y + dy, dx });
      break;
    }
  }
  return out;
}

/** The index of the point nearest to (x, y) within `reach` pixels, or -1. */
export function nearest(at: Float32Array, x: number, y: number, reach: number): number {
  let best = -1, least = reach * reach;
  for (let p = 0, k = 0; p < at.length; p += 3, ++k) {
    const dx = at[p] - x, dy = at[p + 1] - y, d = dx * dx + dy * dy;
    if (d < least) { least = d; best = k; }
  }
  return best;
}
