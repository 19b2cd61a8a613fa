// Attention patterns of all layers as one dataset. The probe `activations` writes one for each hook, blocks.0.attn.hook_pattern and so on;
// together they can be seen layer by head.
import { numbers, set_info } from './manifest';

const hook = /^(?:(.*?)\.)?(\d+)\.(.+)$/;

/** `sets` with those that differ only in a layer's number, and of which `wanted` says yes, in one: its `parts`, along an axis `layer`. */
export function with_layers_together(sets: set_info[], wanted: (s: set_info) => boolean): set_info[] {
  const groups = new Map<string, { layer: number; set: set_info }[]>();
  const key_of = (s: set_info): string | undefined => {
    const found = hook.exec(s.name);
    if (!found || s.type === 'text' || s.axes.some(a => a.name === 'layer') || !wanted(s)) return undefined;
    return JSON.stringify([found[1] ?? '', found[3], s.type, s.axes.map(a => [a.name, a.size, a.full])]);
  };
  for (const s of sets) {
    const key = key_of(s);
    if (key !== undefined) groups.set(key, [...(groups.get(key) ?? []), { layer: Number(hook.exec(s.name)![2]), set: s }]);
  }
  return sets.flatMap(s => {
    const all = groups.get(key_of(s) ?? '');
    if (!all || all.length < 2) return [s];
    if (all[0].set !== s) return [];
    const found = hook.exec(s.name)!;
    const ordered = [...all].sort((a, b) => a.layer - b.layer);
    return [{ ...s, name: (found[1] ? `${found[1]}.` : '') + found[3], parts: ordered.map(p => p.set), layers: ordered.map(p => p.layer),
      axes: [{ name: 'layer', size: all.length, full: all.length }, ...s.axes] }];
  });
}

/** The values of all parts, one after the other. */
export function joined(parts: numbers[]): numbers {
  const whole = new (parts[0].constructor as new (n: number) => numbers)(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    whole.set(p as never, at);
    at += p.length;
  }
  return whole;
}
