// Numbers and sizes for people.

/** Four significant digits; the exact value is for hovering. */
export function short(x: number): string {
  if (Number.isNaN(x)) return 'NaN';
  if (!Number.isFinite(x)) return x > 0 ? '\u221e' : '\u2212\u221e';
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e7) return grouped(x);
  let text: string;
  if (size >= 1e6 || size < 1e-4) text = x.toExponential(3).replace(/\.?0+e/, 'e').replace('e+', 'e');
  else text = x.toPrecision(4).includes('e') ? String(Math.round(x)) : trimmed(x.toPrecision(4));
  return text.replace('-', '\u2212');
}
const trimmed = (text: string): string => text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text;

export function grouped(n: number): string {
  const text = String(Math.abs(n)).replace(/\B(?=(\d{3})+$)/g, ',');
  return n < 0 ? '\u2212' + text : text;
}

/** The shortest text that stands for exactly this number of this type. */
export function exact(x: number, type: string): string {
  if (type !== 'f32' || !Number.isFinite(x)) return String(x);
  for (let digits = 1; digits <= 9; ++digits) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return String(Number(text));
  }
  return String(x);
}

export function file_size(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  for (; bytes >= 1024 && u < 4; ++u) bytes /= 1024;
  return `${u === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toPrecision(3)} ${units[u]}`;
}

export const seconds = (x: number): string => x < 60 ? `${x.toFixed(1)} s` : `${Math.floor(x / 60)} min ${Math.round(x % 60)} s`;

/** Blanks at the ends of a token made visible: a middle dot; anywhere: a return sign, an arrow for tabs. */
export function visible(token: string): string {
  return token.replace(/^ +| +$/g, blanks => '\u00b7'.repeat(blanks.length)).replace(/\n/g, '\u21b5').replace(/\t/g, '\u21e5').replace(/\r/g, '\u240d')
    // Controls, and marks that turn the direction of the text around them.
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
      c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

export const plural = (n: number, one: string): string => `${grouped(n)} ${one}${n === 1 ? '' : 's'}`;
/** "mean_step_length" as people write it. */
export const spaced = (name: string): string => name.replace(/_/g, ' ');
/** At most `most` characters. */
export const shortened = (text: string, most: number): string =>
  [...text].length <= most ? text : [...text].slice(0, most - 1).join('') + '\u2026';
