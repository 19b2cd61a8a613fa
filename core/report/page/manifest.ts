// What the program wrote into the page: the manifest and the blocks. Mirrors core/report/report.cpp.

export interface axis { name: string; size: number; full: number; labels?: number; numbers?: number }
export interface set_info {
  name: string; type: 'f64' | 'f32' | 'i32' | 'u8' | 'text'; stored: string;
  about: string; units: string; missing: string; view: string; axes: axis[]; block?: number; value?: number | string;
  /** Of a dataset that the page puts together: what it consists of, along its first axis, and the names of that axis. */
  parts?: set_info[]; layers?: number[];
}
export interface node_info {
  name: string; plugin: string; kind: string; version: string; parameters: string; key: string; seconds: number | string;
  summary: string; taken: boolean; left_out: number; inputs: { port: string; from: string }[]; datasets: set_info[];
}
export interface column { name: string; values: (string | number)[] }
export interface manifest {
  format: number; wayfarer: string; file: string; file_bytes: number; title: string; seed: string; started: string; ended: string;
  threads: number | null; peak_memory: number | null; pipeline: string; warnings: string[]; versions: column[]; environment: column[];
  inputs: column[]; expectations: column[]; nodes: node_info[];
}
export type numbers = Float64Array | Float32Array | Int32Array | Uint8Array;

const bytes_each = { f64: 8, f32: 4, i32: 4, u8: 1 } as const;

export function from_base64(text: string): Uint8Array {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; ++i) out[i] = raw.charCodeAt(i);
  return out;
}

export async function gunzip(bytes: Uint8Array): Promise<Uint8Array> {
  if (typeof DecompressionStream === 'undefined')
    throw new Error('this browser is too old to unpack the report: it takes Chrome 80, Firefox 113 or Safari 16.4');
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip') as any);
  return new Uint8Array(await new Response(unpacked as any).arrayBuffer());
}

/** Undoes in_planes of core/report/encode.hpp: all first bytes, all second bytes, ... */
export function from_planes(planes: Uint8Array, type: 'f64' | 'f32' | 'i32' | 'u8'): numbers {
  const each = bytes_each[type];
  const count = planes.length / each;
  const bytes = new Uint8Array(planes.length);
  for (let k = 0; k < each; ++k)
    for (let i = 0, at = k, from = k * count; i < count; ++i, at += each) bytes[at] = planes[from + i];
  const buffer = bytes.buffer;
  if (type === 'f64') return new Float64Array(buffer);
  if (type === 'f32') return new Float32Array(buffer);
  return type === 'i32' ? new Int32Array(buffer) : bytes;
}

const kept = new Map<string, Promise<Uint8Array>>();
function block(id: string): Promise<Uint8Array> {
  let found = kept.get(id);
  if (!found) {
    const text = document.getElementById(id)?.textContent;
    if (typeof text !== 'string') throw new Error(`the page has no ${id}; was the file cut?`);
    found = gunzip(from_base64(text));
    kept.set(id, found);
  }
  return found;
}

export async function read_texts(number: number): Promise<string[]> {
  return JSON.parse(new TextDecoder().decode(await block(`block${number}`)));
}
export async function read_numbers(number: number, type: 'f64' | 'f32' | 'i32' | 'u8'): Promise<numbers> {
  return from_planes(await block(`block${number}`), type);
}
export async function read_manifest(): Promise<manifest> {
  return JSON.parse(new TextDecoder().decode(await block('manifest')));
}
