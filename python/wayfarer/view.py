"""What a notebook shows of a result and of a node: findings, numbers, and a figure for each dataset, as its `view` or shape asks.

Plain HTML and SVG without a script. Whatever the file holds is escaped, so that it shows as text.
"""
import html
import json
import math

import numpy as np

MOST_FIGURES, MOST_CELLS, MOST_TOKENS, MOST_ROWS = 6, 64, 200, 20
_AMOUNTS = [(0, 34, 78), (24, 57, 112), (69, 82, 109), (99, 106, 113), (125, 124, 120), (155, 146, 119), (187, 171, 108), (221, 198, 85), (254, 232, 56)]
_SIGNS = [(18, 58, 128), (64, 124, 196), (160, 196, 232), (248, 248, 246), (250, 202, 140), (224, 130, 34), (140, 68, 4)]


def _text(x):
    return html.escape(str(x), quote=True)


def _number(x):
    return f"{x:.6g}" if isinstance(x, (float, np.floating)) else _text(x)


def _scale(values):
    """least, most, and a colour for each value: amounts, or both signs around zero."""
    finite = values[np.isfinite(values)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    signed = least < 0 < most
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


def _heat_map(values, rows, columns):
    shown = values[:MOST_CELLS, :MOST_CELLS]
    least, most, colour = _scale(shown)
    size = max(4, min(18, 480 // max(shown.shape)))
    cells = "".join(
        f'<rect x="{c * size}" y="{r * size}" width="{size}" height="{size}" fill="{colour(float(x))}"><title>{_text(rows[r])}, {_text(columns[c])}: '
        f'{_number(float(x))}</title></rect>'
        for r, line in enumerate(shown) for c, x in enumerate(line) if math.isfinite(x))
    cut = "" if shown.shape == values.shape else f"; the first {shown.shape[0]} x {shown.shape[1]} of {values.shape[0]} x {values.shape[1]}"
    return (f'<svg role="img" width="{shown.shape[1] * size}" height="{shown.shape[0] * size}">{cells}</svg>'
            f'<div>{_number(least)} to {_number(most)}{cut}</div>')


def _curve(values, names):
    width, height = 360, 120
    finite = np.isfinite(values)
    least, most, _ = _scale(values)
    least, most = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (least, most)
    span = most - least or 1.0
    step = width / max(1, len(values) - 1)
    line = " ".join(f"{i * step:.1f},{height - (float(x) - least) / span * height:.1f}" for i, x in enumerate(values) if math.isfinite(x))
    return (f'<svg role="img" width="{width}" height="{height + 4}"><polyline points="{line}" fill="none" stroke="#0072b2" stroke-width="1.5"/></svg>'
            f"<div>{_text(names[0])} to {_text(names[-1])}; {_number(least)} to {_number(most)}</div>")


def _tokens(texts, values):
    _, _, colour = _scale(values)
    return "".join(f'<span style="background:{colour(float(x)) if math.isfinite(x) else "none"};color:{"#fff" if math.isfinite(x) else "inherit"};'
                   f'text-shadow:0 0 2px #000" title="{_number(float(x))}">{_text(t)}</span>'
                   for t, x in zip(texts[:MOST_TOKENS], values[:MOST_TOKENS]) if t != "")


def _table(header, rows):
    head = "".join(f"<th>{_text(h)}</th>" for h in header)
    return f"<table><tr>{head}</tr>" + "".join("<tr>" + "".join(f"<td>{_number(x)}</td>" for x in row) + "</tr>" for row in rows) + "</table>"


def _figure(node, name):
    d = node.h5(name)
    shape, dims = d.shape, node.dims(name)
    if 0 in shape:
        return "nothing here: it has no values"
    # The first index of all dimensions but the last two: one matrix, one line or one text is read, whatever the size.
    before = len(shape) - 2 if len(shape) > 2 else 0
    index = (0,) * before
    values = np.asarray(d.asstr()[index] if d.dtype.kind == "O" else d[index])
    said = ", ".join(f"{dim} 0" for dim in dims[:before])
    names = _names(node, name, np.empty(shape, dtype="u1"))[before:] if sum(shape) < 100_000 else [[str(i) for i in range(n)] for n in shape[before:]]
    if values.dtype.kind in "OU":
        rows = values.reshape(1, -1) if values.ndim < 2 else values
        figure = _table([dims[-2] if values.ndim > 1 else "", *names[-1][:MOST_ROWS]],
                        [[names[0][r] if values.ndim > 1 else "", *line[:MOST_ROWS]] for r, line in enumerate(rows[:MOST_ROWS])])
    else:
        values = values.astype(float)
        kind = _asked(d)
        texts = node._group.get("tokens")
        if texts is not None and texts.dtype.kind == "O" and texts.shape == shape and len(shape) in (1, 2):
            figure = _tokens(texts.asstr()[(0,) * (len(shape) - 1)], values[0] if values.ndim == 2 else values)
            said = f"{dims[0]} 0" if len(shape) == 2 else ""
        elif values.ndim == 1 or kind == "curve" and 1 in values.shape:
            figure = _curve(values.ravel(), names[-1] if values.ndim == 1 else names[int(np.argmax(values.shape))])
        else:
            figure = _heat_map(values, *names)
    return (f"<div>{_text(said)}</div>" if said else "") + figure


def _asked(d):
    try:
        told = json.loads(d.attrs.get("view", "{}"))
    except ValueError:
        return ""
    return told.get("kind", "") if isinstance(told, dict) else ""


def node_html(node):
    out = f"<h3>{_text(node.name)}</h3><p>{_text(node.kind)} {_text(node.plugin)}" + (f": {_text(node.summary)}" if node.summary else "") + "</p>"
    names = node.datasets
    single = [n for n in names if int(np.prod(node.h5(n).shape)) == 1]
    if single:
        out += _table(["", "value", "units", "what it is"],
                      [[n, node.array(n).ravel()[0], node.attrs(n).get("units", ""), node.attrs(n).get("description", "")] for n in single])
    figures = [n for n in names if n not in single and n.rsplit("/", 1)[-1] not in ("tokens", "token_ids", "length")]
    # Those that say how they want to be looked at come first.
    figures.sort(key=lambda n: _asked(node.h5(n)) == "")
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
