"""Opens reports in headless Chromium as a reader would. Usage: report_test.py WAYFARER SOURCE WORK SCREENSHOTS quick|all|runs

quick: two small runs and a hostile file; all: every run that takes seconds; runs: what the test run left as results beside WORK.
Exit code 77 if there is no browser, no h5py, or no result.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import browser as chromium  # noqa: E402

try:
    import h5py
    import numpy
except ImportError as missing:
    print(f"left out: {missing}")
    sys.exit(77)

QUICK = ["gpt2-logit-lens", "gpt2-patching"]
ALL = QUICK + ["topic-values", "topic-attention", "similarity-maps", "t5-attention-kernels", "walks", "traveling-words-small", "gpt2-activations"]
ATTACK = "</script><script>window.pwned=1</script><img src=x onerror=\"window.pwned=2\">"
READY = "document.documentElement?.dataset.ready === 'yes'"


class failures(list):
    def check(self, good, what):
        if not good:
            print(f"FAILED: {what}", flush=True)
            self.append(what)
        return good


bad = failures()


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def open_all(page, lists=True):
    """Unfolds every card and its list of further datasets, and scrolls through all of it until everything is drawn."""
    page.evaluate("document.querySelectorAll('details.node').forEach(d => { d.open = true; })")
    time.sleep(0.1)
    if lists:
        page.evaluate("document.querySelectorAll('details.more').forEach(d => { d.open = true; })")
    page.evaluate("""(async () => {
      const pause = () => new Promise(r => requestAnimationFrame(() => setTimeout(r, 5)));
      for (let y = 0; y < document.documentElement.scrollHeight; y += 700) { scrollTo(0, y); await pause(); }
      scrollTo(0, 0);
    })()""", 120)
    page.wait("[...document.querySelectorAll('.figure')].every(f => f.dataset.drawn)", 60, "all figures drawn")


# What each figure shows: text, and something that is drawn. Canvases are read back; a drawing must cover some area.
SEEN = """[...document.querySelectorAll('.figure')].map(f => {
  const inked = c => {
    if (c.width * c.height === 0) return false;
    const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    for (let i = 3; i < d.length; i += 4) if (d[i] !== 0) return true;
    return false;
  };
  const canvases = [...f.querySelectorAll('.plot canvas')];
  const shapes = [...f.querySelectorAll('.plot svg path, .plot svg rect, .plot svg circle')].filter(s => { const b = s.getBBox(); return b.width + b.height > 0; });
  return { set: f.dataset.set, kind: f.dataset.kind, drawn: f.dataset.drawn, text: f.innerText.trim().length,
    empty: !!f.querySelector('.empty'), canvases: canvases.length, inked: canvases.filter(inked).length, shapes: shapes.length,
    chips: f.querySelectorAll('.chip').length, rows: f.querySelectorAll('tbody tr').length };
})"""


def check_page(page, name):
    figures = page.evaluate(SEEN)
    for f in figures:
        what = f"{name}: {f['set']} as {f['kind']}"
        bad.check(f["drawn"] == "yes", f"{what} is not drawn")
        bad.check(f["text"] > 0, f"{what} has no text")
        if not f["empty"]:
            bad.check(f["inked"] == f["canvases"], f"{what}: a canvas is blank")
            bad.check(f["canvases"] + f["shapes"] + f["chips"] + f["rows"] > 0, f"{what} shows nothing")
    bad.check(page.errors == [], f"{name}: errors in the console: {page.errors}")
    bad.check(page.requests == [], f"{name}: requests: {page.requests}")
    return figures


def box(page, selector):
    """A box in the window, after scrolling it to the middle."""
    return page.evaluate(f"""(() => {{
      const e = document.querySelector({json.dumps(selector)});
      if (!e) return null;
      e.scrollIntoView({{ block: 'center' }});
      const b = e.getBoundingClientRect();
      return {{ x: b.left, y: b.top, width: b.width, height: b.height }};
    }})()""")


TIP = "document.querySelector('.tip')?.style.display === 'block' ? [...document.querySelectorAll('.tip div')].map(d => d.textContent) : null"


def same(text, value):
    """Whether a text stands for exactly this number of the dataset."""
    try:
        shown = float(text)
    except ValueError:
        return False
    if numpy.isnan(value):
        return numpy.isnan(shown)
    return value.dtype.type(shown) == value


def indices(page, figure, dataset):
    """Where the sliders of a figure stand, by dimension."""
    said = page.evaluate(f"""[...document.querySelectorAll({json.dumps(figure + ' .control')})].filter(c => c.querySelector('input[type=range]'))
      .map(c => [c.querySelector('label').textContent, Number(c.querySelector('input').value)])""")
    return dict(said)


class layers:
    """Datasets of all layers as the page puts them together: blocks.0.attn.hook_pattern, blocks.1..., as blocks.attn.hook_pattern."""

    def __init__(self, parts):
        self.parts = parts
        self.shape = (len(parts), *parts[0].shape)
        self.labels = ["layer", *[x.label for x in parts[0].dims]]
        self.attrs = parts[0].attrs

    def __getitem__(self, index):
        return self.parts[index[0]][index[1:]]


def hover_map(page, file, name):
    """The value under the pointer on a heat map is the dataset's."""
    with h5py.File(file) as f:
        node, bare = name.split("/", 1)
        together = [f[node][n] for n in f[node] if "." in n and n.split(".")[1].isdigit() and n.replace("." + n.split(".")[1], "", 1) == bare]
        d = f[name] if name in f else layers(together)
        dims = d.labels if isinstance(d, layers) else [x.label for x in d.dims]
        figure = f".figure[data-set={json.dumps(name)}]"
        b = box(page, f"{figure} .plot > canvas")
        if not bad.check(b is not None, f"{name}: no map"):
            return
        stand = indices(page, figure, d)
        wide = [i for i, n in enumerate(d.shape) if n > 1]
        rows, columns = wide[-2:]
        # The page leaves out positions beyond the item's end.
        shown = numpy.array(d[tuple(stand.get(n, 0) if i not in (rows, columns) else slice(None) for i, n in enumerate(dims))])
        R, C = (int(numpy.nonzero(numpy.isfinite(shown).any(axis=a))[0].max()) + 1 for a in (1, 0))
        for r, c in ((0, 0), (R - 1, C // 2), (R // 2, C - 1)):
            page.mouse(b["x"] + (c + 0.5) * b["width"] / C, b["y"] + (r + 0.5) * b["height"] / R)
            at = [stand.get(n, 0) for n in dims]
            at[rows], at[columns] = r, c
            tip = page.evaluate(TIP)
            bad.check(tip is not None and same(tip[-1].split(" ")[0], d[tuple(at)]), f"{name}{at}: the page says {tip}, the file {d[tuple(at)]!r}")


def linked(page):
    """A click on one map marks the same position and state on another; a slider moves all views of its dimension."""
    b = box(page, '.figure[data-set="lens/entropy"] .plot > canvas')
    page.click(b["x"] + b["width"] * 0.5, b["y"] + b["height"] * 0.5)
    bad.check(page.evaluate("document.querySelectorAll('.figure[data-set=\"lens/divergence\"] .chosen path').length") == 2, "a chosen cell is not marked on the other maps")
    moved = page.evaluate("""(() => {
      const of = set => document.querySelector(`.figure[data-set="${set}"] input[type=range]`), one = of('lens/entropy');
      one.value = 2;
      one.dispatchEvent(new Event('input'));
      const other = of('lens/divergence').value;
      one.value = 0;
      one.dispatchEvent(new Event('input'));
      return other;
    })()""")
    bad.check(moved == "2", "a slider does not move the others of its dimension")


def zoom_map(page, file, name):
    """A drag zooms to its cells, whose values stay the dataset's; Escape shows the whole map again."""
    with h5py.File(file) as f:
        d = f[name]
        figure = f".figure[data-set={json.dumps(name)}]"
        said = f"document.querySelector({json.dumps(figure + ' .plot > canvas')}).getAttribute('aria-label')"
        whole = page.evaluate(said)
        shown = numpy.isfinite(d[0]).any(axis=0).sum()
        b = box(page, f"{figure} .plot > canvas")
        x, y = (lambda c: b["x"] + (c + 0.5) * b["width"] / shown), (lambda r: b["y"] + (r + 0.5) * b["height"] / d.shape[1])
        page.drag(x(4), y(1), x(6), y(2))
        bad.check(", 2 state by 3 pos" in page.evaluate(said), f"{name}: after a drag it is {page.evaluate(said)}")
        b = box(page, f"{figure} .plot > canvas")
        page.mouse(b["x"] + 2.5 * b["width"] / 3, b["y"] + 0.5 * b["height"] / 2)
        tip = page.evaluate(TIP)
        bad.check(tip is not None and same(tip[-1].split(" ")[0], d[0, 1, 6]), f"{name}, zoomed: the page says {tip}, the file {d[0, 1, 6]!r}")
        page.evaluate(f"document.querySelector({json.dumps(figure + ' .plot > canvas')}).focus()")
        page.key("Escape")
        bad.check(page.evaluate(said) == whole, f"{name}: Escape does not show the whole map")


def hover_curve(page, file, name):
    with h5py.File(file) as f:
        d = f[name]
        b = box(page, f".figure[data-set={json.dumps(name)}] .plot > svg")
        if not bad.check(b is not None, f"{name}: no curve"):
            return
        for share in (0.15, 0.5, 0.8):
            page.mouse(b["x"] + share * b["width"], b["y"] + 60)
            tip = page.evaluate(TIP)
            shown = [t.split(" ")[-1 if not d.attrs.get("units") else -2] for t in tip[1:]]
            bad.check(all(any(same(s, v) for v in d[...].flat) for s in shown), f"{name}: the page says {tip}, which the file has not")


def chosen_item(page, figure, dims):
    """The indices at which the sliders of a figure stand."""
    stand = indices(page, figure, None)
    return [stand.get(n, 0) for n in dims]


def hover_tokens(page, file, name):
    """The value of a token is the dataset's, and the token the one that stands there."""
    with h5py.File(file) as f:
        d, texts = f[name], f[name.split("/")[0] + "/tokens"].asstr()
        figure = f".figure[data-set={json.dumps(name)}]"
        at = chosen_item(page, figure, [x.label for x in d.dims])
        shown = numpy.nonzero([t != "" for t in texts[at[0]]])[0]
        for k in (1, len(shown) // 2, len(shown) - 1):
            b = page.evaluate(f"""(() => {{ const c = document.querySelectorAll({json.dumps(figure + ' .plot .chip')})[{k}]; c.scrollIntoView({{ block: 'center' }});
              const b = c.getBoundingClientRect(); return {{ x: b.left + b.width / 2, y: b.top + b.height / 2 }}; }})()""")
            page.mouse(b["x"], b["y"])
            tip = page.evaluate(TIP)
            value = d[(at[0], shown[k])]
            bad.check(tip is not None and tip[0] == texts[at[0], shown[k]].replace(" ", "\u00b7") and any(same(w, value) for w in tip[1].split()),
                      f"{name}, token {k}: the page says {tip}, the file {texts[at[0], shown[k]]!r} {value!r}")


def hover_bars(page, file, name):
    """A bar says the dataset's value and its label."""
    with h5py.File(file) as f:
        values = f[name][...].ravel()
        b = box(page, f".figure[data-set={json.dumps(name)}] .plot > svg")
        if not bad.check(b is not None, f"{name}: no bars"):
            return
        seen = set()
        for share in numpy.linspace(0.02, 0.98, 60):
            for y in (0.3, 0.55, 0.8):
                page.mouse(b["x"] + share * b["width"], b["y"] + y * b["height"])
                tip = page.evaluate(TIP)
                if tip:
                    words = [w for line in tip for w in line.split()]
                    here = [i for i, v in enumerate(values) if any(same(w, v) for w in words)]
                    bad.check(here != [], f"{name}: the page says {tip}, the file {values}")
                    seen.update(here)
        bad.check(len(seen) >= min(2, len(values)), f"{name}: only {len(seen)} of {len(values)} bars say anything")


def hover_points(page, file, name):
    """The pointer on the last step of a word's way says where it is, as far as it is written."""
    with h5py.File(file) as f:
        d = f[name]
        b = box(page, f".figure[data-set={json.dumps(name)}] canvas")
        if not bad.check(b is not None, f"{name}: no points"):
            return
        found = 0
        for x in range(10, int(b["width"]), 12):
            for y in range(10, int(b["height"]), 12):
                page.mouse(b["x"] + x, b["y"] + y)
                tip = page.evaluate(TIP)
                if tip and len(tip) == 3 and found < 12:
                    found += 1
                    told = [float(t.replace("\u2212", "-").replace(",", "")) for t in tip[2].removeprefix("at").split(", ")]
                    near = numpy.abs(d[...].reshape(-1, d.shape[-1]) - told).max(axis=1).min()
                    bad.check(near <= 1e-3 * max(1, numpy.abs(told).max()), f"{name}: the page says {tip}; nothing of the file is there")
            if found >= 12:
                return
        bad.check(found > 0, f"{name}: no point says where it is")


def hover_lens(page, file, name):
    """The likeliest tokens and their probabilities, of the first item's last state."""
    with h5py.File(file) as f:
        tokens, shade = f[name], f[name.replace("tokens", "probabilities")]
        b = box(page, f".figure[data-set={json.dumps(name)}] .plot > svg")
        labels = page.evaluate(f"[...document.querySelectorAll({json.dumps('.figure[data-set=' + json.dumps(name) + '] .plot rect')})].slice(0, 1).map(r => [r.x.baseVal.value, r.width.baseVal.value])")
        left, cell = labels[0][0], labels[0][1] + 1
        page.mouse(b["x"] + left + 2.5 * cell, b["y"] + 22 + 5)  # top row: the last state; third position
        tip = page.evaluate(TIP) or []
        state = tokens.shape[1] - 1
        expected = [(tokens.asstr()[0, state, 2, k].replace(" ", "\u00b7", 1), shade[0, state, 2, k]) for k in range(tokens.shape[3])]
        lines = [t.rsplit(" ", 1) for t in tip[2:2 + len(expected)]]
        bad.check(len(lines) == len(expected) and all(a == t and same(v, p) for (a, v), (t, p) in zip(lines, expected)),
                  f"{name}: the page says {tip}, the file {expected}")


def walk_by_keyboard(page, name):
    """Tab reaches everything that can be used, in order, and gets out again; arrows read a figure."""
    page.evaluate("scrollTo(0, 0); document.activeElement.blur(); window.reached = new Set(); addEventListener('focusin', e => reached.add(e.target));")
    wanted = page.evaluate("""(window.wanted = [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
      .filter(e => e.checkVisibility({ checkVisibilityCSS: true }) && !e.disabled)).length""")
    for _ in range(wanted // 20 + 1):
        page.key("Tab", 20)
        if page.evaluate("wanted.every(e => reached.has(e) || !e.isConnected)"):
            break
    missed = page.evaluate("wanted.filter(e => e.isConnected && !reached.has(e) && e.checkVisibility()).map(e => e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 40))")
    bad.check(missed == [], f"{name}: not reached by Tab: {missed[:5]}")


def read_by_arrows(page, name):
    """Of each kind of view one is read by arrows: what they reach is said."""
    for kind in page.evaluate("[...new Set([...document.querySelectorAll('.figure')].map(f => f.dataset.kind))]"):
        if kind in ("table", "tokens", "sparks", "points"):  # read as text; points are turned by the arrows
            continue
        drawn = f".figure.{kind} .plot :is(canvas, svg)[tabindex]"
        if not page.evaluate(f"(() => {{ const c = document.querySelector({json.dumps(drawn)}); if (!c) return false; c.scrollIntoView({{ block: 'center' }}); c.focus(); return true; }})()"):
            bad.check(False, f"{name}: nothing of a {kind} can be focused")
            continue
        page.evaluate("document.querySelector('[role=status]')?.replaceChildren()")
        page.key("ArrowRight", 2)
        page.key("ArrowDown")
        page.evaluate("new Promise(r => setTimeout(r, 120))")
        bad.check(page.evaluate("document.querySelector('[role=status]')?.textContent.length > 0"), f"{name}: arrow keys on a {kind} say nothing")


def accessible(page, name, axe):
    if axe is None:
        return
    page.evaluate(axe + "; true")
    found = page.evaluate("""axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))
      .map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(' | ')))""", 120)
    bad.check(found == [], f"{name}: axe-core finds {found}")


def find_axe(source, work):
    if shutil.which("npm") is None:
        print("left out: the accessibility check, because npm is not here")
        return None
    folder = work / "axe"
    script = folder / "node_modules/axe-core/axe.min.js"
    if not script.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / "tests/browser" / name, folder)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=90,
                              env={**os.environ, "HOME": str(folder)})
        if done.returncode != 0:
            print(f"left out: the accessibility check, because npm could not install axe-core: {done.stderr.strip().splitlines()[-1:]}")
            return None
    return script.read_text()


def downloads(owner, page, file, work, name):
    """CSV, SVG and PNG of one map, by their buttons."""
    folder = work / "downloads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    owner.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    figure = f".figure[data-set={json.dumps(name)}]"
    for kind in ("CSV", "SVG", "PNG"):
        page.evaluate(f"[...document.querySelectorAll({json.dumps(figure + ' .tool')})].find(b => b.textContent === '{kind}').click()")
        until = time.monotonic() + 10
        while not [p for p in folder.iterdir() if p.suffix == f".{kind.lower()}"]:
            if time.monotonic() > until:
                bad.check(False, f"{name}: no {kind} was saved")
                return
            owner.pump(time.monotonic() + 0.05)
    saved = {p.suffix: p for p in folder.iterdir()}
    with h5py.File(file) as f:
        d = f[name]
        lines = saved[".csv"].read_text().splitlines()
        bad.check(len(lines) == d.size + 1, f"{name}: the CSV has {len(lines)} lines for {d.size} values")
        bad.check(all(same(l.rsplit(",", 1)[1], v) for l, v in zip(lines[1:], d[...].flat)), f"{name}: the CSV holds other values")
    drawing = xml.etree.ElementTree.parse(saved[".svg"]).getroot()
    bad.check(len(list(drawing.iter("{http://www.w3.org/2000/svg}image"))) == 1, f"{name}: the SVG has no picture of the cells")
    bad.check(saved[".png"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and saved[".png"].stat().st_size > 2000, f"{name}: the PNG is no picture")


def hostile(wayfarer, work, result):
    """A result with script in every text, and with values that are no numbers."""
    file = work / "hostile.h5"
    shutil.copy(result, file)
    with h5py.File(file, "r+") as f:
        f.attrs["title"] = ATTACK
        f["lens"].attrs["summary"] = ATTACK
        f["lens"].attrs["plugin"] = ATTACK
        f["lens"].attrs["parameters"] = ATTACK
        for name in ("entropy", "top_tokens", "top_probabilities", "mean_entropy"):
            f["lens"][name].attrs["description"] = ATTACK
            f["lens"][name].attrs["units"] = ATTACK
        f["lens/entropy"].attrs["view"] = '{"kind": "' + ATTACK.replace('"', "'") + '"}'
        f["lens/divergence"].attrs["view"] = '{"kind": "heatmap", "rows": "__proto__", "columns": 5}'
        for name in ("lens/tokens", "lens/top_tokens"):
            f[name][...] = numpy.full(f[name].shape, ATTACK, dtype=object)
        values = f["lens/entropy"][...]
        values[:] = numpy.nan
        f["lens/entropy"][...] = values
        wild = f["lens/next_log_probability"][...]
        wild.flat[:4] = [numpy.inf, -numpy.inf, numpy.nan, 1e308]
        f["lens/next_log_probability"][...] = wild
        far = f["lens/mean_next_log_probability"]
        far[...] = [1.7e308, -1.7e308, numpy.nan][: far.size]
        f["lens/mean_divergence"][...] = [numpy.inf, 1e-320, -1e-320][: far.size]
        empty = f["lens"].create_dataset("empty", (0, 3), dtype="<f8")
        huge = f["lens"].create_dataset("huge", data=numpy.random.default_rng(0).standard_normal((900, 4000)), dtype="<f8")
        for d, names in ((empty, ("none", "few")), (huge, (ATTACK.replace("/", "|"), "column"))):
            for i, n in enumerate(names):
                d.dims[i].label = n
        f.move("blame", ATTACK.replace("/", "|"))
        del f["_run/pipeline"]
        f["_run"].create_dataset("pipeline", data=f"# {ATTACK}\ntitle: x\n", dtype=h5py.string_dtype())
    out = work / "hostile.html"
    print(run(wayfarer, "report", file, "--out", out, "--max-size", "8MB"), end="")
    bad.check(out.stat().st_size <= 8 << 20, "the hostile page is larger than it may be")
    return out


def crowd(wayfarer, work, result):
    """20,000 points, and a page of 20 MB."""
    file = work / "crowd.h5"
    shutil.copy(result, file)
    draw = numpy.random.default_rng(1)
    with h5py.File(file, "r+") as f:
        points = draw.standard_normal((20000, 3)).astype("<f4")
        d = f["lens"].create_dataset("points", data=points / numpy.linalg.norm(points, axis=1, keepdims=True))
        noise = f["lens"].create_dataset("noise", data=draw.standard_normal((12, 12, 300, 300)).astype("<f4"))
        for d, names in ((d, ("token", "component")), (noise, ("layer", "head", "query", "key"))):
            for i, n in enumerate(names):
                d.dims[i].label = n
    out = work / "crowd.html"
    print(run(wayfarer, "report", file, "--out", out), end="")
    return out


def main():
    wayfarer, source, work, shots, which = sys.argv[1], *map(pathlib.Path, sys.argv[2:5]), sys.argv[5]
    if chromium.find() is None:
        print("left out: no chromium-headless-shell")
        sys.exit(77)
    work.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in {"quick": QUICK, "all": ALL, "runs": []}[which]:
        results[name] = work / f"{name}.h5"
        run(wayfarer, "run", source / f"runs/{name}.yaml", "--quiet", "--out", results[name])
    if which == "runs":
        results = {file.stem: file for file in sorted(work.parent.glob("*.h5")) if file.stem not in ALL}
        if not results:
            print("left out: no run has left a result")
            sys.exit(77)
    axe = find_axe(source, work)
    with chromium.browser() as owner:
        for name, file in results.items():
            started = time.monotonic()
            out = work / f"{name}.html"
            run(wayfarer, "report", file, "--out", out)
            page = owner.open(out)
            page.wait(READY, 20)
            first = page.evaluate("performance.now()") / 1000
            if which != "quick":
                page.screenshot(shots / f"{name}.png")
            if name in ("traveling-words-small", "t5-attention-kernels"):
                open_all(page, lists=False)
                accessible(page, name, axe)
            open_all(page)
            figures = check_page(page, name)
            kinds = sorted({f["kind"] for f in figures})
            read_by_arrows(page, name)
            if name == "gpt2-logit-lens":
                hover_map(page, file, "lens/entropy")
                hover_map(page, file, "blame/head")
                zoom_map(page, file, "lens/entropy")
                hover_lens(page, file, "lens/top_tokens")
                linked(page)
                downloads(owner, page, file, work, "lens/entropy")
                walk_by_keyboard(page, name)
                accessible(page, name, axe)
                page.size(400, 800)
                time.sleep(0.3)
                bad.check(page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name}: a narrow page scrolls sideways")
                page.screenshot(shots / "narrow.png")
            if name == "gpt2-activations":
                hover_map(page, file, "patterns/blocks.attn.hook_pattern")
                hover_tokens(page, file, "loss/log_probability")
                bad.check(page.evaluate("document.querySelectorAll('.figure[data-set=\"patterns/blocks.attn.hook_pattern\"] .head').length") == 8, "not every head of every layer has its small map")
                walk_by_keyboard(page, name)
                accessible(page, name, axe)
            if name == "traveling-words-small":
                hover_bars(page, file, "norms/mean_distance")
                hover_points(page, file, "flat/points")
            if name == "topic-values":
                accessible(page, name, axe)
                hover_map(page, file, "structure/value_blocks")
                hover_curve(page, file, "learner/loss")
            if which == "all":
                height = page.evaluate("document.documentElement.scrollHeight")
                page.screenshot(shots / f"{name}-whole.png", {"x": 0, "y": 0, "width": 1280, "height": min(height, 8000)})
            page.close()
            print(f"{name}: {len(figures)} figures ({', '.join(kinds)}), first view {first:.2f} s, all {time.monotonic() - started:.1f} s", flush=True)

        if which == "runs":
            print(f"{len(bad)} failures; screenshots in {shots}")
            sys.exit(1 if bad else 0)
        page = owner.open(hostile(wayfarer, work, results["gpt2-logit-lens"]))
        page.wait(READY)
        open_all(page)
        check_page(page, "hostile")
        bad.check(page.evaluate("typeof window.pwned") == "undefined", "hostile: a script of the file ran")
        bad.check(page.evaluate("document.querySelectorAll('img').length") == 0, "hostile: a picture of the file is in the page")
        bad.check(page.evaluate("document.body.innerText.includes('<script>window.pwned=1</script>')"), "hostile: the texts are not shown")
        bad.check(page.evaluate("document.body.innerText.includes('Nothing here, because the dataset is empty')"), "hostile: the empty dataset is not told of")
        bad.check(page.evaluate("document.body.innerText.includes('Only part is in this page')"), "hostile: the cut is not told of")
        page.screenshot(shots / "hostile.png")
        page.close()

        if which == "all":
            big = crowd(wayfarer, work, results["gpt2-logit-lens"])
            times = []
            for _ in range(3):
                page = owner.open(big)
                page.wait(READY)
                times.append(page.evaluate("performance.now()") / 1000)
                if len(times) < 3:
                    page.close()
            print(f"a page of {big.stat().st_size / 2**20:.1f} MiB: first view {min(times):.2f} s")
            bad.check(min(times) < 3, f"a page of 20 MB takes {min(times):.2f} s to its first view")
            page.evaluate("document.querySelector('.figure[data-set=\"lens/points\"]').scrollIntoView({ block: 'center' })")
            page.wait("document.querySelector('.figure[data-set=\"lens/points\"] canvas')")
            frame = page.evaluate("""(async () => {
              const c = document.querySelector('.figure[data-set="lens/points"] canvas'), b = c.getBoundingClientRect(), times = [];
              const send = (type, x) => c.dispatchEvent(new PointerEvent(type, { clientX: b.left + x, clientY: b.top + 100, pointerId: 1, bubbles: true }));
              c.setPointerCapture = () => {};
              send('pointerdown', 100);
              for (let i = 0; i < 40; ++i) {
                const start = performance.now();
                send('pointermove', 100 + 3 * i);
                await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));
                times.push((performance.now() - start) / 2);
              }
              send('pointerup', 220);
              return times.sort((x, y) => x - y)[20];
            })()""")
            print(f"20,000 points, drawn in software: {frame:.1f} ms a frame, {1000 / frame:.0f} frames a second")
            bad.check(frame < 100, f"20,000 points take {frame:.0f} ms a frame")
            page.screenshot(shots / "points.png")
            page.close()
            page = owner.open(work / "traveling-words-small.html", dark=True)
            page.wait(READY)
            time.sleep(0.5)
            page.screenshot(shots / "dark.png")
            page.call("Emulation.setEmulatedMedia", media="print")
            page.screenshot(shots / "print.png")
            page.close()
    print(f"{len(bad)} failures; screenshots in {shots}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
