// What the tests use of node, whose types Debian's compiler does not bring.
declare module 'node:test' {
  export default function test(name: string, body: () => void | Promise<void>): void;
}
declare module 'node:assert/strict' {
  const assert: {
    equal(a: unknown, b: unknown, message?: string): void;
    deepEqual(a: unknown, b: unknown, message?: string): void;
    ok(a: unknown, message?: string): void;
    rejects(a: Promise<unknown>, e?: RegExp): Promise<void>;
  };
  export default assert;
}
declare module 'node:zlib' {
  export function gzipSync(bytes: Uint8Array): Uint8Array;
}
