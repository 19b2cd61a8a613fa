"""What a notebook shows of a result and of a node: findings, numbers, and a figure for each dataset, as its `view` or shape asks.

Plain HTML and SVG without a script. Whatever the file holds is escaped, so that it shows as text.
"""
import html
import json
import math

import numpy as np

MOST_FIGURES, MOST_CELLS, MOST_TOKENS, MOST_ROWS, MOST_POINTS = 6, 64, 200, 20, 2000
_KINDS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_AMOUNTS = [(0, 34, 78), (24, 57, 112), (69, 82, 109), (99, 106, 113), (125, 124, 120), (155, 146, 119), (187, 171, 108), (221, 198, 85), (254, 232, 56)]
_SIGNS = [(18, 58, 128), (64, 124, 196), (160, 196, 232), (248, 248, 246), (250, 202, 140), (224, 130, 34), (140, 68, 4)]


def _text(x):
    return html.escape(str(x), quote=True)


def _number(x):
    return f"{x:.6g}" if isinstance(x, (float, np.floating)) else _text(x)


def _limits(values):
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _scale(values, colours=None):
    """least, most, and a colour for each value: amounts, or both signs around zero, by themselves or as the view asks."""
    least, most = _limits(values)
    signed = colours == "diverging" or (colours != "sequential" and least < 0 < most)
    if signed:
        most = max(-least, most)
        least = -most
    stops = _SIGNS if signed else _AMOUNTS

    def colour(x):
        share = 0.5 if most <= least else (x / 2 - least / 2) / (most / 2 - least / 2)
        at = min(max(share, 0.0), 1.0) * (len(stops) - 1)
        i = min(int(at), len(stops) - 2)
        return "rgb(%d,%d,%d)" % tuple(round(a + (b - a) * (at - i)) for a, b in zip(stops[i], stops[i + 1]))

    return least, most, colour


def _names(node, name, values):
    """Names of the indices of each dimension."""
    labels = node.labels(name)
    return [[str(x) for x in labels[dim]] if dim in labels else [str(i) for i in range(n)] for dim, n in zip(node.dims(name), values.shape)]


def _heat_map(values, rows, columns, colours=None):
    shown = values[:MOST_CELLS, :MOST_CELLS]
    least, most, colour = _scale(shown, colours)
    size = max(4, min(18, 480 // max(shown.shape)))
    cells = "".join(
        f'<rect x="{c * size}" y="{r * size}" width="{size}" height="{size}" fill="{colour(float(x))}"><title>{_text(rows[r])}, {_text(columns[c])}: '
        f'{_number(float(x))}</title></rect>'
        for r, line in enumerate(shown) for c, x in enumerate(line) if math.isfinite(x))
    cut = "" if shown.shape == values.shape else f"; the first {shown.shape[0]} x {shown.shape[1]} of {values.shape[0]} x {values.shape[1]}"
    return (f'<svg role="img" width="{shown.shape[1] * size}" height="{shown.shape[0] * size}">{cells}</svg>'
            f'<div>{_number(least)} to {_number(most)}{cut}</div>')


def _curve(lines, names, labels):
    """`lines` [line, along]: one curve each, of which those after the first eight are left out."""
    width, height = 360, 120
    shown = lines[:len(_KINDS)]
    least, most = _limits(shown)
    span = most - least or 1.0
    step = width / max(1, shown.shape[1] - 1)
    drawn = "".join(
        '<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>' % (
            " ".join(f"{i * step:.1f},{height - (float(x) - least) / span * height:.1f}" for i, x in enumerate(line) if math.isfinite(x)), colour)
        for line, colour in zip(shown, _KINDS))
    told = f"{_text(names[0])} to {_text(names[-1])}; {_number(least)} to {_number(most)}"
    if len(lines) > 1:
        told += "; " + ", ".join(f'<span style="color:{colour}">{_text(label)}</span>' for label, colour in zip(labels, _KINDS))
    if len(lines) > len(shown):
        told += f"; the first {len(shown)} of {len(lines)}"
    return f'<svg role="img" width="{width}" height="{height + 4}">{drawn}</svg><div>{told}</div>'


def _bars(values, names):
    """A horizontal bar for each value, with its name and itself."""
    least, most = _limits(values)
    least, most = min(0.0, least), max(0.0, most)
    span = most - least or 1.0
    rows = "".join(
        f'<tr><td>{_text(name)}</td><td><svg width="200" height="12"><rect x="{(min(x, 0.0) - least) / span * 200:.1f}" y="1" height="10" '
        f'width="{abs(x) / span * 200:.1f}" fill="#0072b2"/></svg></td><td>{_number(x)}</td></tr>'
        for name, x in zip(names[:MOST_ROWS], (float(x) for x in values[:MOST_ROWS])) if math.isfinite(x))
    cut = f"<div>the first {MOST_ROWS} of {len(values)}</div>" if len(values) > MOST_ROWS else ""
    return f"<table>{rows}</table>{cut}"


def _histogram(values):
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return "nothing here: no value is a finite number"
    counts, edges = np.histogram(finite, bins=max(1, min(MOST_ROWS, int(math.sqrt(finite.size)))))
    return _bars(counts.astype(float), [f"{_number(float(a))} to {_number(float(b))}" for a, b in zip(edges, edges[1:])])


def _points(values, names):
    """The first two components of [point, component]; a third is not shown."""
    size, shown = 280, values[:MOST_POINTS, :2]
    (left, right), (low, high) = _limits(shown[:, 0]), _limits(shown[:, 1])
    span = max(right - left, high - low) or 1.0
    dots = "".join(f'<circle cx="{(x - left) / span * size + 4:.1f}" cy="{size - (y - low) / span * size + 4:.1f}" r="2.5" fill="#0072b2" '
                   f'fill-opacity="0.7"><title>{_text(name)}</title></circle>'
                   for name, (x, y) in zip(names, shown.astype(float)) if math.isfinite(x) and math.isfinite(y))
    cut = "" if len(shown) == len(values) else f"<div>the first {len(shown)} of {len(values)}</div>"
    return f'<svg role="img" width="{size + 8}" height="{size + 8}">{dots}</svg>{cut}'


def _tokens(texts, values):
    _, _, colour = _scale(values)
    return "".join(f'<span style="background:{colour(float(x)) if math.isfinite(x) else "none"};color:{"#fff" if math.isfinite(x) else "inherit"};'
                   f'text-shadow:0 0 2px #000" title="{_number(float(x))}">{_text(t)}</span>'
                   for t, x in zip(texts[:MOST_TOKENS], values[:MOST_TOKENS]) if t != "")


def _table(header, rows):
    head = "".join(f"<th>{_text(h)}</th>" for h in header)
    return f"<table><tr>{head}</tr>" + "".join("<tr>" + "".join(f"<td>{_number(x)}</td>" for x in row) + "</tr>" for row in rows) + "</table>"


def _asked(d):
    """What the view of a dataset says; {} if it has none, or one that is no JSON object. The file may say anything."""
    try:
        told = json.loads(d.attrs.get("view", "{}"))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _axis(asked, option, dims):
    """Which dimension an option names, or -1."""
    name = asked.get(option)
    return dims.index(name) if isinstance(name, str) and name in dims else -1


def _kind(asked, shape, dims, text, tokens):
    """The kind that is drawn: what the view asks for where the shape allows it, else what the shape suggests."""
    kind, wide = asked.get("kind"), [n for n in shape if n > 1]
    if text:
        return "table"
    x, sides = _axis(asked, "x", dims), [_axis(asked, side, dims) for side in ("rows", "columns")]
    along = x if x >= 0 else max((a for a, n in enumerate(shape) if n > 1), default=0)
    fits = {"table": True, "tokens": tokens, "bars": len(wide) == 1, "histogram": len(wide) == 1 and wide[0] > 40,
            "curve": bool(wide) and shape[along] > 2 and (len(wide) != 2 or all(n <= 12 for a, n in enumerate(shape) if a != along)),
            "heatmap": len(wide) >= 2 and all(side < 0 or shape[side] > 1 for side in sides), "attention": len(wide) >= 2,
            "points": len(shape) >= 2 and shape[-1] in (2, 3)}
    if isinstance(kind, str) and fits.get(kind):
        return kind
    if kind == "histogram" and len(wide) == 1:
        return "bars"
    return "tokens" if tokens and not kind else "curve" if len(wide) < 2 else "heatmap"


def _axes(kind, asked, shape, dims):
    """Which one or two dimensions a figure shows; of the others it shows the first index."""
    rank = len(shape)
    wide = [a for a in range(rank) if shape[a] > 1] or list(range(rank))
    if kind == "curve":
        x = _axis(asked, "x", dims)
        x = x if x >= 0 else wide[-1]
        return ([a for a in wide if a != x and shape[a] <= 12][-1:] if kind == asked.get("kind") else []) + [x]
    if kind == "heatmap":
        rows, columns = _axis(asked, "rows", dims), _axis(asked, "columns", dims)
        columns = columns if columns >= 0 else [a for a in wide if a != rows][-1]
        return [rows if rows >= 0 else [a for a in wide if a != columns][-1], columns]
    if kind in ("bars", "histogram"):
        return wide[-1:]
    return list(range(rank))[-2:]


def _figure(node, name):
    d = node.h5(name)
    shape, dims = d.shape, list(node.dims(name))
    if 0 in shape:
        return "nothing here: it has no values"
    asked, is_text = _asked(d), d.dtype.kind == "O"
    texts = node._group.get("tokens")
    tokens = texts is not None and texts.dtype.kind == "O" and not is_text and texts.shape == shape and len(shape) in (1, 2)
    labels = [axis.label for axis in d.dims]  # what a view calls the dimensions
    kind = _kind(asked, shape, labels, is_text, tokens)
    if is_text and asked.get("kind") == "lens" and len(shape) > 2:
        axes = [len(shape) - 3, len(shape) - 2]  # the likeliest token of each state and position
    else:
        axes = _axes(kind, asked if kind == asked.get("kind") else {}, shape, labels)
    # Only what is shown is read, whatever the size.
    index = tuple(slice(None) if a in axes else 0 for a in range(len(shape)))
    values = np.asarray(d.asstr()[index] if is_text else d[index])
    if len(axes) == 2 and axes[0] > axes[1]:
        values = values.T
    said = ", ".join(f"{dims[a]} 0" for a in range(len(shape)) if a not in axes and shape[a] > 1)
    all_names = _names(node, name, np.empty(shape, dtype="u1")) if sum(shape) < 100_000 else [[str(i) for i in range(n)] for n in shape]
    names = [all_names[a] for a in axes]
    return (f"<div>{_text(said)}</div>" if said else "") + _drawn(kind, asked, values, names, dims[axes[0]] if len(axes) == 2 else "", texts)


def _drawn(kind, asked, values, names, rows_of, texts):
    """`values` over one or two dimensions with these names."""
    lines = values.reshape(1, -1) if values.ndim < 2 else values
    row_names = names[0] if values.ndim == 2 else [""]
    if kind == "table":
        return _table([rows_of, *names[-1][:MOST_ROWS]], [[row_names[r], *line[:MOST_ROWS]] for r, line in enumerate(lines[:MOST_ROWS])])
    values, lines = values.astype(float), lines.astype(float)
    if kind == "tokens":
        return _tokens(texts.asstr()[(0,) * (values.ndim - 1)], lines[0])
    if kind == "curve":
        return _curve(lines, names[-1], [f"{rows_of} {n}" for n in row_names])
    if kind == "bars":
        return _bars(values, names[-1])
    if kind == "histogram":
        return _histogram(values)
    if kind == "points":
        return _points(values, row_names)
    return _heat_map(values, *names, asked.get("colours"))


def node_html(node):
    out = f"<h3>{_text(node.name)}</h3><p>{_text(node.kind)} {_text(node.plugin)}" + (f": {_text(node.summary)}" if node.summary else "") + "</p>"
    names = node.datasets
    single = [n for n in names if int(np.prod(node.h5(n).shape)) == 1]
    if single:
        out += _table(["", "value", "units", "what it is"],
                      [[n, node.array(n).ravel()[0], node.attrs(n).get("units", ""), node.attrs(n).get("description", "")] for n in single])
    figures = [n for n in names if n not in single and n.rsplit("/", 1)[-1] not in ("tokens", "token_ids", "length")]
    # Those that say how they want to be looked at come first, tables last.
    figures.sort(key=lambda n: _asked(node.h5(n)).get("kind") in (None, "table"))
    for n in figures[:MOST_FIGURES]:
        told = node.attrs(n)
        out += f"<h4>{_text(n)} <small>{_text(' x '.join(f'{d} {s}' for d, s in zip(node.dims(n), node.h5(n).shape)))}</small></h4>"
        out += f"<p>{_text(told.get('description', ''))}{' (' + _text(told['units']) + ')' if told.get('units') else ''}</p>{_figure(node, n)}"
    if len(figures) > MOST_FIGURES:
        out += f"<p>Not shown: {_text(', '.join(figures[MOST_FIGURES:]))}</p>"
    return f'<div class="wayfarer">{out}</div>'


def result_html(result):
    nodes = [result.node(n) for n in result.nodes]
    out = f"<h3>{_text(result.title)}</h3>" + _table(["node", "kind", "plugin", "finding"], [[n.name, n.kind, n.plugin, n.summary] for n in nodes])
    lines = result.expectations
    if lines:
        out += _table(list(lines[0]), [list(line.values()) for line in lines])
    return f'<div class="wayfarer">{out}' + "".join(f"<p>warning: {_text(w)}</p>" for w in result.warnings) + "</div>"
