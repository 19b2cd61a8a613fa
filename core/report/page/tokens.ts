// The tokens of a text, coloured by a value that each of them has, and the most extreme of all texts.
import { legend } from './cells';
import { chip, breaks_after } from './chips';
import { scale_of } from './colour';
import { child, element, replace } from './dom';
import { field } from './field';
import { short, visible } from './format';
import { index_of, move, on_move, sliders, theme_changed } from './linked';
import { hide_tip, pair, show_tip } from './tip';

const most_shown = 2000, top = 12;

/** `f` over [..., item?, pos, ...] and `texts` over [item?, pos]. */
export function tokens(host: HTMLElement, f: field, texts: field): void {
  const pos_name = texts.axes[texts.axes.length - 1].name;
  const pos = f.axis(pos_name), item = texts.axes.length > 1 ? f.axis(texts.axes[0].name) : -1;
  const controls = element('div', { class: 'controls' });
  const plot = element('div', { class: 'plot chips' });
  const extremes = element('details', { class: 'extremes' }, element('summary', {}, 'Largest and smallest of all texts'));
  const index = sliders(controls, f, [pos], () => draw());
  const { least, most } = f.range();
  const colours = scale_of(least, most);
  controls.append(legend(colours, f.info.units, f.range().missing > 0));
  host.append(controls, plot, extremes);
  const text_at = (i: number, p: number): string => texts.texts[texts.axes.length > 1 ? texts.offset([i, p]) : p];

  function draw(): void {
    const at = index();
    const i = item < 0 ? 0 : at[item];
    const chips: child[] = [];
    for (let p = 0; p < Math.min(most_shown, f.axes[pos].size); ++p) {
      const text = text_at(i, p);
      at[pos] = p;
      const offset = f.offset(at), value = f.numbers[offset];
      if (text === '' && !Number.isFinite(value)) continue;
      chips.push(chip(text, { colour: Number.isFinite(value) ? colours.colour(value) : undefined, selected: index_of(f, pos) === p,
        act: () => move(f, pos, p), leave: hide_tip,
        hover: e => show_tip(e.clientX, e.clientY, [[element('b', {}, visible(text))], pair(f.info.name, f.exact(offset) + (f.info.units ? ` ${f.info.units}` : '')),
          pair(pos_name, String(p)), ...(item < 0 ? [] : [pair(texts.axes[0].name, f.label(item, i))])]) }));
      if (breaks_after(text)) chips.push(element('br'));
    }
    if (chips.length === 0) chips.push(element('p', { class: 'empty' }, 'Nothing here, because this text is empty.'));
    replace(plot, ...chips);
  }

  function show_extremes(): void {
    const all: { value: number; at: number }[] = [];
    for (let at = 0; at < f.count; ++at) if (Number.isFinite(f.numbers[at])) all.push({ value: f.numbers[at], at });
    all.sort((a, b) => a.value - b.value);
    const line = (one: { value: number; at: number }): HTMLElement => {
      const where = f.axes.map((a, k) => Math.floor(one.at / f.strides[k]) % a.size);
      const i = item < 0 ? 0 : where[item], p = where[pos];
      const around: child[] = [];
      for (let q = Math.max(0, p - 6); q <= Math.min(f.axes[pos].size - 1, p + 2); ++q)
        around.push(q === p ? chip(text_at(i, q), { colour: colours.colour(one.value) }) : element('span', { class: 'around' }, visible(text_at(i, q))));
      const rest = f.axes.map((a, k) => k === pos || a.size === 1 ? '' : `${a.name} ${f.label(k, where[k])}`).filter(t => t).join(', ');
      return element('li', {}, element('b', {}, short(one.value)), ' ', ...around, element('span', { class: 'quiet' }, rest ? ` ${rest}` : ''));
    };
    extremes.append(element('div', { class: 'two' },
      element('div', {}, element('h4', {}, 'Largest'), element('ol', {}, ...all.slice(-top).reverse().map(line))),
      element('div', {}, element('h4', {}, 'Smallest'), element('ol', {}, ...all.slice(0, top).map(line)))));
  }
  extremes.addEventListener('toggle', () => { if (extremes.open && extremes.childElementCount === 1) show_extremes(); });
  draw();
  on_move(plot, f, pos, () => {
    const chosen = index_of(f, pos);
    plot.querySelectorAll('.chip').forEach(c => { c.classList.remove('selected'); c.setAttribute('aria-pressed', 'false'); });
    const c = plot.querySelectorAll('.chip')[chosen];
    c?.classList.add('selected');
    c?.setAttribute('aria-pressed', 'true');
  });
  theme_changed.on(plot, draw);
}
