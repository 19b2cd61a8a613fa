// A dataset in memory: values with named axes, their labels, and numbers over it.
import { axis, numbers, read_numbers, read_texts, set_info } from './manifest';
import { exact, short } from './format';
import { joined } from './layers';

export interface side extends axis { texts?: string[]; values?: numbers }
export interface range { least: number; most: number; missing: number; finite: number }

export class field {
  readonly strides: number[] = [];
  private range_: range | null = null;

  constructor(readonly info: set_info, readonly axes: side[], readonly values: numbers | string[]) {
    this.counted = info.type === 'i32' && /(rank|ids?|count|length|token)$/.test(info.name);
    let stride = 1;
    for (let a = axes.length; a-- > 0;) {
      this.strides[a] = stride;
      stride *= axes[a].size;
    }
  }

  get is_text(): boolean { return this.info.type === 'text'; }
  get count(): number { return this.values.length; }
  get numbers(): numbers { return this.values as numbers; }
  get texts(): string[] { return this.values as string[]; }
  /** Whether only part of the dataset is in the page. */
  get cut(): boolean { return this.axes.some(a => a.size < a.full); }

  offset(index: number[]): number {
    let at = 0;
    for (let a = 0; a < index.length; ++a) at += index[a] * this.strides[a];
    return at;
  }
  axis(name: string): number { return this.axes.findIndex(a => a.name === name); }

  /** The name of an index: its label, its coordinate, or its number. */
  label(a: number, i: number): string {
    const one = this.axes[a];
    if (one.texts) return one.texts[i];
    return one.values ? short(one.values[i]) : String(i);
  }
  /** A coordinate as a number, where there is one. */
  coordinate(a: number, i: number): number {
    const one = this.axes[a];
    return one.values ? one.values[i] : i;
  }
  /** An element in full. */
  exact(at: number): string {
    return this.is_text ? this.texts[at] : exact(this.numbers[at], this.info.type);
  }

  /** Not finite; or -1 among ranks and ids, which says that there is none. */
  missing(x: number): boolean {
    return !Number.isFinite(x) || (x === -1 && this.counted);
  }
  private readonly counted: boolean;

  /** Limits that hold this share of the values, by a sample of 20,000. */
  middle(share: number): [number, number] {
    const some: number[] = [];
    const step = Math.max(1, Math.floor(this.count / 20_000));
    for (let i = 0; i < this.count; i += step) if (!this.missing(this.numbers[i])) some.push(this.numbers[i]);
    some.sort((a, b) => a - b);
    const cut = Math.floor(some.length * (1 - share) / 2);
    return some.length === 0 ? [0, 1] : [some[cut], some[some.length - 1 - cut]];
  }

  range(): range {
    if (this.range_) return this.range_;
    let least = Infinity, most = -Infinity, missing = 0, finite = 0;
    if (!this.is_text)
      for (const x of this.numbers) {
        if (this.missing(x)) { ++missing; continue; }
        ++finite;
        if (x < least) least = x;
        if (x > most) most = x;
      }
    return (this.range_ = { least, most, missing, finite });
  }
}

const loaded = new Map<set_info, Promise<field>>();

/** Unpacks a dataset, once. */
export function load(info: set_info): Promise<field> {
  let found = loaded.get(info);
  if (!found) loaded.set(info, (found = unpack(info)));
  return found;
}

async function unpack(info: set_info): Promise<field> {
  if (info.parts) {
    const parts = await Promise.all(info.parts.map(load));
    const layer: side = { ...info.axes[0], values: Float64Array.from(info.layers ?? parts.map((_, i) => i)) };
    return new field(info, [layer, ...parts[0].axes], joined(parts.map(p => p.numbers)));
  }
  const axes: side[] = await Promise.all(info.axes.map(async a => ({
    ...a,
    texts: a.labels === undefined ? undefined : await read_texts(a.labels),
    values: a.numbers === undefined ? undefined : await read_numbers(a.numbers, 'f64'),
  })));
  if (info.block === undefined) {
    const value = info.value ?? '';
    return new field(info, axes, info.type === 'text' ? [String(value)] : Float64Array.of(Number(value)));
  }
  return new field(info, axes, info.type === 'text' ? await read_texts(info.block) : await read_numbers(info.block, info.type));
}

/** A field of the same axes with other values, for what a view computes. */
export function computed(like: field, name: string, axes: side[], values: numbers, about: string): field {
  return new field({ ...like.info, name, about, axes, type: 'f64', view: '' }, axes, values);
}
