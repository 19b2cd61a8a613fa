// Colours that a colour-blind reader can tell apart: cividis for amounts, blue to orange for signs, Okabe and Ito's for kinds.

export type rgb = [number, number, number];

/** Cividis, t from 0 to 1, by the polynomial that d3-scale-chromatic uses. */
export function cividis(t: number): rgb {
  t = Math.max(0, Math.min(1, t));
  const byte = (x: number): number => Math.max(0, Math.min(255, Math.round(x)));
  return [
    byte(-4.54 - t * (35.34 - t * (2381.73 - t * (6402.7 - t * (7024.72 - t * 2710.57))))),
    byte(32.49 + t * (170.73 + t * (52.82 - t * (131.46 - t * (176.58 - t * 67.37))))),
    byte(81.24 + t * (442.36 - t * (2482.43 - t * (6167.24 - t * (6614.94 - t * 2475.67))))),
  ];
}

const signs: rgb[] = [[18, 58, 128], [64, 124, 196], [160, 196, 232], [248, 248, 246], [250, 202, 140], [224, 130, 34], [140, 68, 4]];
/** Blue, white, orange; t from -1 to 1. */
export function diverging(t: number): rgb {
  const x = (Math.max(-1, Math.min(1, t)) + 1) / 2 * (signs.length - 1);
  const i = Math.min(signs.length - 2, Math.floor(x)), f = x - i;
  return signs[i].map((c, k) => Math.round(c + (signs[i + 1][k] - c) * f)) as rgb;
}

export const kinds = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#8c6d00', '#7a7a7a'];

export const css = (c: rgb): string => `rgb(${c[0]},${c[1]},${c[2]})`;
/** Black or white, whichever reads better on the colour. */
export const ink_on = (c: rgb): string => {
  const [r, g, b] = c.map(x => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff';
};

export interface scale {
  least: number; most: number; signed: boolean; table: Uint8Array;
  /** Where a value stands, from 0 to 1. Halves, because the difference of two huge numbers may be infinite. */
  share(x: number): number;
  colour(x: number): rgb;
  colour_at(share: number): rgb;
}

/** Signed data get limits that are symmetric around zero. `at`: a fixed range, such as [0, 1] of probabilities. */
export function scale_of(least: number, most: number, wants?: 'sequential' | 'diverging'): scale {
  const signed = wants ? wants === 'diverging' : least < 0 && most > 0;
  if (signed) {
    const limit = Math.max(Math.abs(least), Math.abs(most)) || 1;
    least = -limit;
    most = limit;
  } else if (!(most > least)) {
    most = least + (Math.abs(least) || 1);
    if (!Number.isFinite(most)) most = least, least = 0;
  }
  const at = (t: number): rgb => signed ? diverging(2 * t - 1) : cividis(t);
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; ++i) table.set(at(i / 255), i * 3);
  const share = (x: number): number => Math.max(0, Math.min(1, (x / 2 - least / 2) / (most / 2 - least / 2) || 0));
  return { least, most, signed, table, share, colour: x => at(share(x)), colour_at: at };
}
