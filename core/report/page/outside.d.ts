// What the page uses of d3, whose Debian packages bring no types, and of browsers newer than the compiler's library.
declare module 'd3-scale' {
  export interface continuous {
    (x: number): number;
    invert(y: number): number;
    domain(): number[];
    domain(d: number[]): this;
    range(): number[];
    range(r: number[]): this;
    nice(count?: number): this;
    clamp(on: boolean): this;
    ticks(count?: number): number[];
    copy(): this;
  }
  export function scaleLinear(): continuous;
  export function scaleLog(): continuous;
}
declare module 'd3-shape' {
  export interface line<T> {
    (points: T[]): string | null;
    x(f: (d: T) => number): this;
    y(f: (d: T) => number): this;
    defined(f: (d: T) => boolean): this;
  }
  export interface area<T> {
    (points: T[]): string | null;
    x(f: (d: T) => number): this;
    y0(f: (d: T) => number): this;
    y1(f: (d: T) => number): this;
    defined(f: (d: T) => boolean): this;
  }
  export function line<T>(): line<T>;
  export function area<T>(): area<T>;
}
declare module 'd3-quadtree' {
  export interface quadtree<T> {
    x(f: (d: T) => number): this;
    y(f: (d: T) => number): this;
    addAll(all: T[]): this;
    find(x: number, y: number, radius?: number): T | undefined;
  }
  export function quadtree<T>(): quadtree<T>;
}
declare class DecompressionStream {
  constructor(format: 'gzip');
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}
