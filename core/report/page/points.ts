// Trajectories and clouds: words as points, their way through the blocks as lines, in three dimensions or flat.
import { kinds } from './colour';
import { camera, dots, draw_dots, draw_path, label, nearest, place_labels, project } from './cloud';
import { button, element } from './dom';
import { field } from './field';
import { grouped, plural, short, visible } from './format';
import { begin_at, index_of, move, on_move, sliders, slider, theme_changed } from './linked';
import { font, text_width } from './plot';
import { cloud_name, most_paths, words_panel } from './words';
import { hide_tip, pair, show_tip } from './tip';

const along = /^(state|stage|layer|block|step)(_\d+)?$/;

/** `f` over [..., path axis?, point axis, 2 or 3 components]; `cloud`: points behind it, such as a vocabulary. */
export function points(host: HTMLElement, f: field, cloud: field | undefined, width: number, way?: string): void {
  const c = f.axes.length - 1, D = f.axes[c].size;
  const path = f.axes.findIndex((a, k) => k < c && a.size > 1 && (way === undefined ? along.test(a.name) : a.name === way));
  const who = f.axes.map((_, a) => a).filter(a => a < c && a !== path).sort((a, b) => f.axes[a].size - f.axes[b].size).pop() ?? -1;
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot cloud' });
  const side = element('div', { class: 'near' });
  const index = sliders(controls, f, path < 0 ? [who, c] : [path, who, c], () => { gather(); draw(); });
  const N = who < 0 ? 1 : f.axes[who].size, S = path < 0 ? 1 : f.axes[path].size;
  const name = (i: number): string => who < 0 ? '' : f.axes[who].texts ? visible(f.label(who, i)) : `${f.axes[who].name} ${i}`;
  const named = who >= 0 && f.axes[who].texts !== undefined;
  const chosen = new Set<number>(path >= 0 ? Array.from({ length: Math.min(N, most_paths) }, (_, i) => i) : []);
  let search = '', hover = -1;
  const find: HTMLInputElement = element('input', { type: 'search', placeholder: 'find a word', 'aria-label': 'find a word', input: () => { search = find.value; draw(); } });
  if (path >= 0) {
    begin_at(f, path, S - 1);  // where words are apart
    controls.append(slider(f, path), button('Next step', () => move(f, path, (index_of(f, path) + 1) % S), { class: 'quiet' }));
    on_move(controls, f, path, () => draw());
  }
  if (named || cloud?.axes.some(a => a.texts)) controls.append(find);
  const view = new camera();
  if (D === 3) view.rotate(60, 40);
  const zooms = [button('+', () => { view.zoom *= 1.3; draw(); }, { class: 'quiet', 'aria-label': 'enlarge' }), button('\u2212', () => { view.zoom /= 1.3; draw(); }, { class: 'quiet', 'aria-label': 'reduce' }),
    button('Reset', () => { Object.assign(view, new camera()); if (D === 3) view.rotate(60, 40); draw(); }, { class: 'quiet' })];
  controls.append(...zooms);
  host.append(controls, element('div', { class: 'beside' }, plot, side));

  // Coordinates of all: [point, step, 3], two dimensions lie in a plane.
  let own = new Float32Array(0);
  const triple = (g: field, from: number, stride: number, to: Float32Array, at: number, d: number): void => {
    for (let k = 0; k < 3; ++k) to[at + k] = k < d ? g.numbers[from + k * stride] : 0;
  };
  const behind = new Float32Array(cloud ? cloud.count / cloud.axes[cloud.axes.length - 1].size * 3 : 0);
  if (cloud) for (let k = 0; k < behind.length / 3; ++k) triple(cloud, k * cloud.axes[cloud.axes.length - 1].size, 1, behind, 3 * k, Math.min(3, cloud.axes[cloud.axes.length - 1].size));
  function gather(): void {
    own = new Float32Array(N * S * 3);
    const at = index();
    for (let i = 0; i < N; ++i)
      for (let s = 0; s < S; ++s) {
        if (who >= 0) at[who] = i;
        if (path >= 0) at[path] = s;
        at[c] = 0;
        triple(f, f.offset(at), f.strides[c], own, 3 * (i * S + s), D);
      }
  }
  gather();
  // The frame that holds all of it at any turn.
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (const all of [own, behind])
    for (let p = 0; p < all.length; ++p) if (Number.isFinite(all[p])) { low[p % 3] = Math.min(low[p % 3], all[p]); high[p % 3] = Math.max(high[p % 3], all[p]); }
  const centre = low.map((l, k) => Number.isFinite(l) ? (l + high[k]) / 2 : 0);
  const radii: number[] = [];
  for (const all of [own, behind])
    for (let p = 0; p < all.length; p += 3) {
      const r = Math.hypot(all[p] - centre[0], all[p + 1] - centre[1], all[p + 2] - centre[2]);
      if (Number.isFinite(r)) radii.push(r);
    }
  radii.sort((a, b) => a - b);
  const reach = Math.max(radii[radii.length - 1] ?? 1, 1e-30);
  const wide = Math.min(width, Math.max(300, width > 700 ? width - 230 : width)), tall = Math.min(520, Math.max(320, wide * 0.72));
  const scale = Math.min(wide, tall) * 0.47 / reach;
  const canvas = element('canvas', { tabindex: 0, role: 'img' });
  const density = Math.min(2, devicePixelRatio || 1);
  canvas.width = wide * density;
  canvas.height = tall * density;
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${tall}px`;
  plot.style.height = `${tall}px`;
  plot.append(canvas);
  canvas.setAttribute('aria-label', `${plural(N, who < 0 ? 'point' : f.axes[who].name)} in ${D} dimensions${path >= 0 ? `, each along ${S} of ${f.axes[path].name}` : ''}${
    cloud ? `, before ${grouped(behind.length / 3)} others` : ''}. Arrow keys turn it.`);
  let at_own: Float32Array = own, at_behind: Float32Array = behind;

  function draw(): void {
    paint();
    words_panel(side, { f, cloud, own, behind, path, who, step: path >= 0 ? index_of(f, path) : 0, name, chosen, changed: draw, over: i => { hover = i; draw_soon(); } });
  }

  function paint(): void {
    const g = canvas.getContext('2d')!;
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue('--ink') || '#000', soft = style.getPropertyValue('--soft') || '#777', paper = style.getPropertyValue('--paper') || '#fff';
    g.setTransform(density, 0, 0, density, 0, 0);
    g.clearRect(0, 0, wide, tall);
    at_own = project(own, view, centre, scale, wide, tall, at_own === own ? undefined : at_own);
    if (cloud) at_behind = project(behind, view, centre, scale, wide, tall, at_behind === behind ? undefined : at_behind);
    if (D === 3) frame(g, soft);
    const thin: dots = { xyz: behind, colour: soft, size: behind.length > 15000 ? 1.5 : 2, alpha: 0.45 };
    if (cloud) draw_dots(g, at_behind, thin);
    const step = path >= 0 ? index_of(f, path) : 0;
    const labels: label[] = [];
    const wanted = (text: string): boolean => search !== '' && text.toLowerCase().includes(search.toLowerCase().replace(/ /g, '\u00b7'));
    if (path < 0) {
      draw_dots(g, at_own, { xyz: own, colour: kinds[0], size: N > 3000 ? 2 : 4, alpha: N > 3000 ? 0.6 : 0.8 });
      if (named) for (let i = 0; i < N && labels.length < 400; ++i) if (wanted(name(i)) || (search === '' && N <= 120)) labels.push({ x: at_own[3 * i], y: at_own[3 * i + 1], text: name(i), colour: ink, strong: wanted(name(i)) });
    } else {
      for (let i = 0; i < N; ++i) {
        if (!chosen.has(i)) continue;
        const line = at_own.subarray(3 * i * S, 3 * (i + 1) * S), colour = kinds[i % kinds.length];
        draw_path(g, line, colour, i === hover || wanted(name(i)) || (hover < 0 && search === '' && chosen.size <= 8));
        g.fillStyle = paper;
        g.strokeStyle = colour;
        g.lineWidth = 2;
        g.beginPath();
        g.arc(line[3 * step], line[3 * step + 1], i === hover ? 6 : 4.5, 0, 7);
        g.fill();
        g.stroke();
        labels.push({ x: line[3 * step], y: line[3 * step + 1], text: name(i), colour: ink, strong: i === hover || wanted(name(i)) });
      }
    }
    if (cloud && search !== '') {
      for (let k = 0; k < behind.length / 3 && labels.length < 400; ++k) {
        const text = cloud_name(cloud, k) ?? '';
        if (wanted(text)) labels.push({ x: at_behind[3 * k], y: at_behind[3 * k + 1], text, colour: soft, strong: false });
      }
    }
    labels.sort((x, y) => Number(y.strong) - Number(x.strong));
    g.font = font;
    g.lineJoin = 'round';
    for (const l of place_labels(labels, text_width, wide, tall)) {
      g.font = l.strong ? `bold ${font}` : font;
      g.strokeStyle = paper;
      g.lineWidth = 3;
      g.strokeText(l.text, l.x, l.y);
      g.fillStyle = l.colour;
      g.fillText(l.text, l.x, l.y);
    }
  }

  /** Three short axes in a corner, so that one sees how it is turned. */
  function frame(g: CanvasRenderingContext2D, soft: string): void {
    const axes = project(Float32Array.of(0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1), Object.assign(new camera(), { turn: view.turn }), [0, 0, 0], 26, 76, 2 * tall - 76);
    g.strokeStyle = g.fillStyle = soft;
    g.lineWidth = 1;
    g.font = '10px system-ui, sans-serif';
    for (let k = 1; k < 4; ++k) {
      g.beginPath();
      g.moveTo(axes[0], axes[1]);
      g.lineTo(axes[3 * k], axes[3 * k + 1]);
      g.stroke();
      g.fillText(f.axes[c].texts ? f.label(c, k - 1) : String(k), axes[3 * k] + 2, axes[3 * k + 1] - 2);
    }
  }

  let waiting = 0;
  function draw_soon(): void {
    if (waiting) return;
    waiting = requestAnimationFrame(() => { waiting = 0; paint(); });
  }

  let held: [number, number] | null = null;
  canvas.addEventListener('pointerdown', e => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener('pointerup', () => { held = null; });
  canvas.addEventListener('pointermove', e => {
    if (held) {
      const dx = e.clientX - held[0], dy = e.clientY - held[1];
      held = [e.clientX, e.clientY];
      if (D === 3 && !e.shiftKey) view.rotate(dx, dy);
      else view.shift = [view.shift[0] + dx, view.shift[1] + dy];
      hide_tip();
      draw_soon();
      return;
    }
    const b = canvas.getBoundingClientRect(), x = e.clientX - b.left, y = e.clientY - b.top;
    const k = nearest(at_own, x, y, 12), q = k < 0 && cloud ? nearest(at_behind, x, y, 7) : -1;
    if (k >= 0) {
      const i = Math.floor(k / S), s = k % S;
      show_tip(e.clientX, e.clientY, [[element('b', {}, name(i))], ...(path >= 0 ? [pair(f.axes[path].name, f.label(path, s))] : []),
        pair('at', Array.from({ length: D }, (_, d) => short(own[3 * k + d])).join(', '))]);
    } else if (q >= 0 && cloud) {
      const text = cloud_name(cloud, q);
      show_tip(e.clientX, e.clientY, [text !== undefined ? [element('b', {}, text)] : pair(cloud.axes[0].name, String(q)),
        pair('at', [0, 1, 2].slice(0, D).map(d => short(behind[3 * q + d])).join(', '))]);
    } else hide_tip();
  });
  canvas.addEventListener('pointerleave', hide_tip);
  canvas.addEventListener('keydown', e => {
    const turn = ({ ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] } as Record<string, number[]>)[e.key];
    if (e.key === '+') view.zoom *= 1.2;
    else if (e.key === '-') view.zoom /= 1.2;
    else if (!turn) return;
    e.preventDefault();
    if (turn && D === 3) view.rotate(turn[0], turn[1]);
    else if (turn) view.shift = [view.shift[0] + 2 * turn[0], view.shift[1] + 2 * turn[1]];
    draw_soon();
  });
  draw();
  theme_changed.on(plot, draw);
}
