// The words beside a picture of points: which are drawn, what each is nearest to, how far it moved.
import { kinds } from './colour';
import { element, replace } from './dom';
import { field } from './field';
import { plural, short, visible } from './format';

export const most_paths = 24;
export interface words {
  f: field; cloud?: field; path: number; who: number; step: number;
  /** [point, step, 3] and [cloud point, 3]. */
  own: Float32Array; behind: Float32Array;
  name: (i: number) => string; chosen: Set<number>; changed: () => void; over: (i: number) => void;
}

/** The text of the k-th point of a cloud, where it has texts. */
export function cloud_name(cloud: field, k: number): string | undefined {
  const a = cloud.axes.findIndex(x => x.texts);
  return a < 0 ? undefined : visible(cloud.label(a, Math.floor(k * cloud.axes[cloud.axes.length - 1].size / cloud.strides[a]) % cloud.axes[a].size));
}

export function words_panel(host: HTMLElement, w: words): void {
  const N = w.who < 0 ? 1 : w.f.axes[w.who].size, S = w.path < 0 ? 1 : w.f.axes[w.path].size, D = w.f.axes[w.f.axes.length - 1].size;
  if (w.path < 0) {
    replace(host, element('p', { class: 'quiet' }, `${plural(N, w.who < 0 ? 'point' : w.f.axes[w.who].name)}. ${D === 3 ? 'Drag to turn.' : 'Drag to move.'}`));
    return;
  }
  const at = (i: number, s: number): Float32Array => w.own.subarray(3 * (i * S + s), 3 * (i * S + s) + 3);
  const apart = (a: ArrayLike<number>, b: ArrayLike<number>): number => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  const in_cloud = w.cloud !== undefined && cloud_name(w.cloud, 0) !== undefined;
  const near = (i: number): string => {
    let best = -1, least = Infinity;
    const here = at(i, w.step), n = in_cloud ? w.behind.length / 3 : N;
    for (let k = 0; k < n; ++k) {
      if (!in_cloud && k === i) continue;
      const d = apart(here, in_cloud ? w.behind.subarray(3 * k, 3 * k + 3) : at(k, w.step));
      if (d < least) { least = d; best = k; }
    }
    return best < 0 ? '' : in_cloud ? cloud_name(w.cloud!, best)! : w.name(best);
  };
  replace(host, element('p', { class: 'quiet' }, `${w.f.axes[w.path].name} ${w.f.label(w.path, w.step)}: nearest ${in_cloud ? 'of the others' : ''} in this picture, and how far it moved`),
    element('ul', {}, ...Array.from({ length: Math.min(N, most_paths) }, (_, i) => {
      const box: HTMLInputElement = element('input', { type: 'checkbox', checked: w.chosen.has(i), change: () => { if (box.checked) w.chosen.add(i); else w.chosen.delete(i); w.changed(); } });
      const mark = element('i', { class: 'mark' });
      mark.style.background = kinds[i % kinds.length];
      return element('li', { pointerenter: () => w.over(i), pointerleave: () => w.over(-1) },
        element('label', {}, box, mark, element('b', {}, w.name(i)), ` ${near(i)} `, element('span', { class: 'quiet' }, w.step > 0 ? short(apart(at(i, w.step), at(i, w.step - 1))) : '')));
    })));
}
