// The report's page without a browser: decoding, numbers, colours, choice of views, layout.
import assert from 'node:assert/strict';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { mean_entropy } from '../../core/report/page/attention';
import { asked, drawn_as, figures_of, fits, pooled_axes, suggested, view_kind } from '../../core/report/page/choose';
import { camera, nearest, place_labels, project } from '../../core/report/page/cloud';
import { cividis, diverging, ink_on, scale_of } from '../../core/report/page/colour';
import { field } from '../../core/report/page/field';
import { exact, file_size, grouped, short, shortened, visible } from '../../core/report/page/format';
import { joined, with_layers_together } from '../../core/report/page/layers';
import { first_sentence, opening_comment } from '../../core/report/page/front';
import { axis, from_base64, from_planes, gunzip, node_info, set_info } from '../../core/report/page/manifest';
import { layout } from '../../core/report/page/pipeline';
import { csv_of } from '../../core/report/page/save';

const set = (name: string, axes: axis[], more: Partial<set_info> = {}): set_info =>
  ({ name, type: 'f32', stored: 'float32', about: '', units: '', missing: '', view: '', axes, block: 0, ...more });
const ax = (name: string, size: number, more: Partial<axis> = {}): axis => ({ name, size, full: size, ...more });
const node = (datasets: set_info[]): node_info => ({ name: 'n', plugin: 'p', kind: 'probe', version: '1', parameters: '{}', key: '', seconds: 0,
  summary: '', taken: true, left_out: 0, inputs: [], datasets });

test('blocks are unpacked to the numbers that were packed', async () => {
  const numbers = Float32Array.of(1.5, -2, NaN, Infinity, 3e-20);
  const bytes = new Uint8Array(numbers.buffer), planes = new Uint8Array(bytes.length);
  for (let i = 0; i < 5; ++i) for (let k = 0; k < 4; ++k) planes[k * 5 + i] = bytes[i * 4 + k];
  const text = btoa(String.fromCharCode(...gzipSync(planes)));
  assert.deepEqual(from_planes(await gunzip(from_base64(text)), 'f32'), numbers);
  assert.deepEqual(from_planes(Uint8Array.of(1, 2), 'u8'), Uint8Array.of(1, 2));
  await assert.rejects(gunzip(Uint8Array.of(1, 2, 3)));
});

test('numbers are short for people and exact on demand', () => {
  assert.equal(short(3.14159), '3.142');
  assert.equal(short(-0.5), '\u22120.5');
  assert.equal(short(187907), '187,907');
  assert.equal(short(1e-7), '1e\u22127');
  assert.equal(short(1.23456e9 + 0.5), '1.235e9');
  assert.equal(short(123456.7), '123457');
  assert.equal(short(NaN), 'NaN');
  assert.equal(exact(Math.fround(0.1), 'f32'), '0.1');
  assert.equal(exact(Math.fround(1 / 3), 'f32'), '0.33333334');
  assert.equal(exact(1 / 3, 'f64'), '0.3333333333333333');
  assert.equal(exact(NaN, 'f32'), 'NaN');
  assert.equal(grouped(-1234567), '\u22121,234,567');
  assert.equal(file_size(219136), '214 KiB');
  assert.equal(shortened('abcdef', 4), 'abc\u2026');
});

test('tokens show their blanks and hide no control character', () => {
  assert.equal(visible(' a b \n'), '\u00b7a b \u21b5');
  assert.equal(visible('  '), '\u00b7\u00b7');
  assert.equal(visible('\u202ea\u0000'), '\\u202ea\\u0000');
});

test('colours keep their ends, their centre and readable ink', () => {
  assert.deepEqual(cividis(0), [0, 32, 81]);
  assert.ok(cividis(1)[0] > 245 && cividis(1)[2] < 90);
  assert.deepEqual(diverging(0), [248, 248, 246]);
  const s = scale_of(-1, 3);
  assert.equal(s.least, -3);
  assert.deepEqual(s.colour(0), diverging(0));
  assert.ok(s.colour(-3)[2] > s.colour(-3)[0] && s.colour(3)[0] > s.colour(3)[2]);
  assert.equal(scale_of(2, 2).most, 4);
  assert.equal(ink_on([255, 255, 255]), '#000');
  assert.equal(ink_on([0, 32, 77]), '#fff');
});

test('a view that a plugin asks for is heard, anything else is not', () => {
  assert.equal(asked(set('x', [], { view: '{"kind": "heatmap"}' })).kind, 'heatmap');
  for (const view of ['', 'null', '[1]', '{', '"x"']) assert.deepEqual(asked(set('x', [], { view })), {});
  const f = figures_of(node([set('x', [ax('layer', 12), ax('head', 12)], { view: '{"kind": "constructor"}' })]));
  assert.equal(f[0].kind, 'heatmap');
  assert.equal(figures_of(node([set('x', [ax('a', 30), ax('b', 3)], { view: '{"kind": "curve", "x": "a"}' })]))[0].kind, 'curve');
});

test('a view is shown where the shape allows it, and gives way where not', () => {
  const like = (view: object, axes: axis[], more: Partial<set_info> = {}) => set('x', axes, { view: JSON.stringify(view), ...more });
  const check = (view: { kind: view_kind; x?: string; rows?: string; columns?: string }, axes: axis[], wanted: boolean, drawn: view_kind, more: Partial<set_info> = {}) => {
    const s = like(view, axes, more), what = `${s.view} over ${JSON.stringify(axes)}`;
    assert.equal(fits(view.kind, s), wanted, what);
    assert.equal(drawn_as(s), drawn, what);
  };
  const step = ax('step', 9, { numbers: 1 }), layer = ax('layer', 12), head = ax('head', 12), one = ax('layer', 1), q = ax('query', 7), k = ax('key', 7);
  check({ kind: 'curve' }, [ax('layer', 3)], true, 'curve');
  check({ kind: 'curve' }, [ax('layer', 2)], false, 'bars');
  check({ kind: 'curve', x: 'layer' }, [step, one], false, 'curve');
  check({ kind: 'curve', x: 'layer' }, [layer, head], true, 'curve');
  check({ kind: 'curve', x: 'pos' }, [layer, head], false, 'heatmap');
  check({ kind: 'curve', x: 'n' }, [ax('item', 12), ax('n', 4, { numbers: 1 })], true, 'curve');
  check({ kind: 'curve', x: 'n' }, [ax('item', 13), ax('n', 4, { numbers: 1 })], false, 'heatmap');
  check({ kind: 'curve' }, [ax('a', 13), ax('b', 14)], false, 'heatmap');
  check({ kind: 'curve', x: 'n' }, [ax('item', 13), ax('walk', 2), ax('n', 4)], true, 'curve');
  check({ kind: 'bars' }, [ax('matrix', 3)], true, 'bars');
  check({ kind: 'bars' }, [ax('word', 61)], false, 'curve');
  check({ kind: 'bars' }, [step, ax('matrix', 3)], false, 'curve');
  check({ kind: 'heatmap' }, [layer, head], true, 'heatmap');
  check({ kind: 'heatmap' }, [one, head], false, 'curve');
  check({ kind: 'heatmap', rows: 'layer', columns: 'head' }, [step, one, ax('head', 4)], false, 'curve');
  check({ kind: 'heatmap', rows: 'layer', columns: 'head' }, [step, layer, head], true, 'heatmap');
  check({ kind: 'histogram' }, [ax('item', 41)], true, 'histogram');
  check({ kind: 'histogram' }, [ax('item', 12)], false, 'bars');
  check({ kind: 'histogram' }, [step, ax('item', 1)], false, 'curve');
  check({ kind: 'histogram' }, [ax('item', 10), ax('pair', 10)], true, 'histogram');
  check({ kind: 'histogram' }, [step, ax('item', 10)], false, 'heatmap');
  check({ kind: 'attention' }, [head, q, k], true, 'attention');
  check({ kind: 'attention' }, [head, ax('query', 1), ax('key', 1)], false, 'curve');
  check({ kind: 'attention' }, [ax('item', 2), q, k], false, 'heatmap');
  check({ kind: 'points' }, [ax('point', 50), ax('component', 3)], true, 'points');
  check({ kind: 'points' }, [ax('point', 50), ax('component', 8)], false, 'heatmap');
  check({ kind: 'points' }, [ax('point', 2), ax('component', 2)], false, 'heatmap');
  check({ kind: 'tokens' }, [ax('item', 2), ax('pos', 7)], false, 'heatmap');
  check({ kind: 'lens' }, [layer, ax('rank', 5)], false, 'table', { type: 'text' });
  check({ kind: 'table' }, [layer, head], true, 'table');
  check({ kind: 'heatmap' }, [layer, head], false, 'table', { type: 'text' });
  const values = like({ kind: 'tokens' }, [step, ax('item', 2), ax('pos', 7)]), texts = set('tokens', values.axes.slice(1), { type: 'text' });
  assert.ok(fits('tokens', values, { texts }));
  assert.ok(fits('lens', { ...texts, view: '{"kind": "lens"}' }, { shade: set('p', texts.axes) }));
  assert.equal(drawn_as(set('x', [layer, head])), suggested(set('x', [layer, head])));
});

test('a histogram counts together what has neither names nor an order', () => {
  const pooled = (...axes: [string, number, boolean][]) => pooled_axes(axes.map(([name, size, named]) => ({ name, size, named })));
  assert.deepEqual(pooled(['item', 9, false], ['pair', 9, false]), [0, 1]);
  assert.deepEqual(pooled(['step', 9, true], ['item', 9, false]), [1]);
  assert.deepEqual(pooled(['layer', 9, false], ['item', 9, false]), [1]);
  assert.deepEqual(pooled(['score', 5, true], ['token', 99, true]), [1]);
  assert.deepEqual(pooled(['pair', 9, true], ['one', 1, false]), [0]);
});

test('what a view asks for reaches the figure, its options only where it fits', () => {
  const figure = (s: set_info) => figures_of(node([s]))[0];
  const curve = figure(set('x', [ax('step', 9, { numbers: 1 }), ax('layer', 1)], { view: '{"kind": "curve", "x": "layer", "log_y": true}' }));
  assert.deepEqual([curve.kind, curve.options.x, curve.options.log_y], ['curve', undefined, true]);
  assert.equal(figure(set('x', [ax('layer', 9)], { view: '{"kind": "curve", "log_y": true}' })).options.log_y, true);
  assert.equal(figure(set('x', [ax('step', 9, { numbers: 1 }), ax('layer', 1), ax('head', 12)], { view: '{"kind": "heatmap", "rows": "layer", "colours": "diverging"}' })).options.colours, 'diverging');
  const curves = (view: string) => figures_of(node(Array.from({ length: 6 }, (_, i) => set(`m${i}`, [ax('layer', 4)], { view })))).map(f => f.kind);
  assert.deepEqual(curves('{"kind": "curve"}'), ['sparks']);
  assert.deepEqual(curves('{"kind": "curve", "log_y": true}'), Array(6).fill('curve'));
  assert.deepEqual(curves('{"kind": "table"}'), Array(6).fill('table'));
});

test('without a view, shape and names decide', () => {
  assert.equal(suggested(set('w', [ax('item', 2), ax('layer', 2), ax('head', 4), ax('query', 9), ax('key', 9)])), 'attention');
  assert.equal(suggested(set('w', [ax('pos', 9), ax('other_pos', 9)])), 'heatmap');
  assert.equal(suggested(set('loss', [ax('step', 50, { numbers: 1 })])), 'curve');
  assert.equal(suggested(set('share', [ax('setting', 4, { labels: 1 })])), 'bars');
  assert.equal(suggested(set('length', [ax('token', 5000)])), 'histogram');
  assert.equal(suggested(set('points', [ax('token', 500), ax('component', 3)])), 'points');
  assert.equal(suggested(set('note', [ax('note', 1)], { type: 'text' })), 'table');
});

test('datasets that belong together make one figure', () => {
  const pos = [ax('item', 2), ax('state', 3), ax('pos', 5)];
  const all = figures_of(node([
    set('tokens', [ax('item', 2), ax('pos', 5)], { type: 'text' }), set('entropy', pos),
    set('top_ids', [...pos, ax('rank', 4)], { type: 'i32' }), set('top_probabilities', [...pos, ax('rank', 4)]),
    set('top_tokens', [...pos, ax('rank', 4)], { type: 'text' }),
    set('curve', [ax('step', 9)]), set('curve_standard_error', [ax('step', 9)]),
    set('histogram', [ax('bin', 9)]), set('histogram_edges', [ax('edge', 10)])]));
  const by = (name: string) => all.find(f => f.set.name === name)!;
  assert.equal(by('top_tokens').kind, 'lens');
  assert.equal(by('top_tokens').with.shade.name, 'top_probabilities');
  assert.equal(by('top_tokens').with.tokens.name, 'tokens');
  assert.ok(by('top_tokens').with['beside entropy']);
  assert.equal(by('curve').with.error.name, 'curve_standard_error');
  assert.equal(by('histogram').kind, 'histogram');
  assert.equal(by('curve_standard_error'), undefined);
  assert.ok(all.indexOf(by('top_probabilities')) > all.indexOf(by('top_tokens')));
  const many = figures_of(node(Array.from({ length: 6 }, (_, i) => set(`m${i}`, [ax('step', 4, { numbers: 1 })]))));
  assert.equal(many.length, 1);
  assert.equal(many[0].kind, 'sparks');
  assert.equal(Object.keys(many[0].with).length, 6);
});

test('attention names its queries and its keys by their own tokens', () => {
  const item = ax('item', 2);
  const all = figures_of(node([
    set('tokens', [item, ax('pos', 7)], { type: 'text' }), set('decoder_tokens', [item, ax('decoder_pos', 7)], { type: 'text' }),
    set('decoder.0.cross_attn.hook_pattern', [item, ax('head', 2), ax('query', 7), ax('key', 7)]),
    set('decoder.0.attn.hook_pattern', [item, ax('head', 2), ax('query', 7), ax('key', 7)]),
    set('encoder.0.attn.hook_pattern', [item, ax('head', 2), ax('query', 7), ax('key', 7)])])).filter(f => f.kind === 'attention');
  assert.deepEqual(all.map(f => [f.with.tokens.name, f.with.key_tokens.name]),
    [['decoder_tokens', 'tokens'], ['decoder_tokens', 'decoder_tokens'], ['tokens', 'tokens']]);
});

test('a pipeline is laid out from left to right, also a crafted one with a cycle', () => {
  const from = (...names: string[]) => names.map(n => ({ from: n }));
  const { places } = layout([{ name: 'a', inputs: [] }, { name: 'b', inputs: from('a') }, { name: 'c', inputs: from('a', 'b/x') }]);
  assert.ok(places[0].x < places[1].x && places[1].x < places[2].x);
  const cycle = layout([{ name: 'a', inputs: from('b') }, { name: 'b', inputs: from('a') }]);
  assert.ok(Number.isFinite(cycle.width));
});

test('the opening comment is what stands before the pipeline', () => {
  assert.equal(opening_comment('# What it is. More\n#  and more\ntitle: x\n# not this\n'), 'What it is. More\n and more');
  assert.equal(opening_comment('title: x\n'), '');
  assert.equal(first_sentence('What it is. More'), 'What it is.');
  assert.equal(first_sentence('Topics (R2): blocks\nagain'), 'Topics (R2).');
});

test('CSV holds every value in full, and quotes what needs it', () => {
  const f = new field(set('v', [ax('t', 2), ax('k', 2)]), [{ ...ax('t', 2), texts: ['a,b', 'c"d'] }, ax('k', 2)], Float32Array.of(0.1, NaN, 1, 2));
  assert.equal(csv_of(f), 't,k,v\r\n"a,b",0,0.1\r\n"a,b",1,NaN\r\n"c""d",0,1\r\n"c""d",1,2\r\n');
  assert.deepEqual(f.range(), { least: Math.fround(0.1), most: 2, missing: 1, finite: 3 });
});

test('points turn without changing their distances, and are found again', () => {
  const c = new camera();
  c.rotate(80, -30);
  const at = project(Float32Array.of(1, 2, 3, -2, 0, 1), c, [0, 0, 0], 1, 0, 0);
  const d = Math.hypot(at[0] - at[3], at[1] - at[4], at[2] - at[5]);
  assert.ok(Math.abs(d - Math.hypot(3, 2, 2)) < 1e-5);
  assert.equal(nearest(at, at[3] + 1, at[4], 3), 1);
  assert.equal(nearest(at, 1e3, 1e3, 3), -1);
  const l = { x: 50, y: 50, text: 'one', colour: '', strong: false };
  const placed = place_labels([l, l, l, l, l, l], () => 30, 200, 200);
  assert.ok(placed.length >= 2 && placed.length <= 4);
  assert.ok(placed[0].dx > 0 && placed[1].dx < 0);
});

test('entropy of attention is that of its rows', () => {
  assert.ok(Math.abs(mean_entropy(() => 0.25, 3, 4) - Math.log(4)) < 1e-12);
  assert.equal(mean_entropy((q, k) => q === k ? 1 : 0, 3, 3), 0);
  assert.ok(Number.isNaN(mean_entropy(() => NaN, 2, 2)));
});

test('attention of all layers is one dataset, and nothing else is put together', () => {
  const pattern = (name: string, keys = 5, more: Partial<set_info> = {}): set_info => set(name, [ax('item', 2), ax('head', 3), ax('query', 5), ax('key', keys)], more);
  const sets = [pattern('blocks.10.attn.hook_pattern'), pattern('blocks.2.attn.hook_pattern'), pattern('decoder.0.cross_attn.hook_pattern', 7), pattern('decoder.1.cross_attn.hook_pattern', 8),
    set('blocks.0.hook_resid_post', [ax('item', 2), ax('pos', 5), ax('d_model', 8)]), set('blocks.1.hook_resid_post', [ax('item', 2), ax('pos', 5), ax('d_model', 8)])];
  const all = with_layers_together(sets, s => suggested(s) === 'attention');
  assert.deepEqual(all.map(s => s.name), ['blocks.attn.hook_pattern', ...sets.slice(2).map(s => s.name)]);
  assert.deepEqual(all[0].parts, [sets[1], sets[0]]);
  assert.deepEqual(all[0].layers, [2, 10]);
  assert.deepEqual(all[0].axes.map(a => [a.name, a.size]), [['layer', 2], ['item', 2], ['head', 3], ['query', 5], ['key', 5]]);
  assert.deepEqual(joined([Float32Array.of(1, 2), Float32Array.of(3)]), Float32Array.of(1, 2, 3));
  const figures = figures_of(node(sets));
  assert.equal(figures.filter(f => f.kind === 'attention').length, 3);
});
