"""`wayfarer show` and `export` give back what h5py reads, and say what is wrong with a slice."""
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios

import h5py
import numpy as np
import pytest
from conftest import PROGRAM, RUNS, run_program


def datasets_of(path):
    """Every dataset of every node: (node, name, values, dimension names); coordinates of dimensions left out."""
    with h5py.File(path) as f:
        for node in f:
            if node == "_run":
                continue
            found = []
            f[node].visititems(lambda name, d: found.append(name) if isinstance(d, h5py.Dataset) and "role" not in d.attrs else None)
            for name in found:
                d = f[node][name]
                values = d.asstr()[()] if h5py.check_string_dtype(d.dtype) else d[()]
                yield node, name, np.asarray(values), [axis.label for axis in d.dims]


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    if b.dtype.kind in "OSU":
        return a.shape == b.shape and a.astype(str).tolist() == b.astype(str).tolist()
    return a.shape == b.shape and np.array_equal(a.astype(b.dtype), b, equal_nan=b.dtype.kind == "f")


def file_name(name):
    return name.replace("/", "__")


def from_text(text, dtype):
    return text if dtype.kind == "O" else dtype.type(text)


@pytest.mark.parametrize("run", RUNS)
def test_exports_equal_what_h5py_reads(run, results, tmp_path):
    nodes = {}
    for node, name, values, dims in datasets_of(results[run]):
        nodes.setdefault(node, []).append((name, values, dims))
    assert nodes
    seen = 0
    for node, all_of_it in nodes.items():
        # Python would read millions of numbers as text for a minute; their bytes are compared all the same.
        as_text = sum(values.size for _, values, _ in all_of_it) < 150_000
        for form in ("csv", "json", "npy", "safetensors") if as_text else ("npy", "safetensors"):
            run_program("export", results[run], node, "--to", form, tmp_path / f"{node}.{form}")
        tensors, metadata = read_safetensors(tmp_path / f"{node}.safetensors" / f"{node}.safetensors")
        for name, values, dims in all_of_it:
            what = f"{run}: {node}/{name}"
            assert same(np.load(tmp_path / f"{node}.npy" / f"{file_name(name)}.npy"), values), what
            if values.dtype.kind == "O":
                assert same(np.array(json.loads(metadata["text:" + name])).reshape(values.shape), values), what
            else:
                assert same(tensors[name], values), what
            seen += 1
            if not as_text:
                continue
            told = json.loads((tmp_path / f"{node}.json" / f"{file_name(name)}.json").read_text())
            assert told["dimensions"] == dims and told["shape"] == list(values.shape), what
            if values.dtype.kind == "f":
                read = np.array(told["values"], dtype=float)  # null becomes NaN
                assert same(read.astype(values.dtype), np.where(np.isfinite(values), values, np.nan).astype(values.dtype)), what
            else:
                assert same(np.array(told["values"]).reshape(values.shape), values), what
            rows = list(csv.reader(io.StringIO((tmp_path / f"{node}.csv" / f"{file_name(name)}.csv").read_text())))
            assert rows[0] == dims + [name.split("/")[-1]], what
            read = np.array([from_text(r[-1], values.dtype) for r in rows[1:]], dtype=values.dtype).reshape(values.shape)
            assert same(read, values), what
    assert seen >= 10


def read_safetensors(path):
    """As the format's description says: 8 bytes of length, a JSON header, the data."""
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    metadata = header.pop("__metadata__")
    types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        out[name] = np.frombuffer(raw[8 + n + begin:8 + n + end], types[t["dtype"]]).reshape(t["shape"])
    return out, metadata


# Slices as numpy reads them, and the same by dimension.
SLICES = [
    ("gpt2-logit-lens", "lens/top_tokens", "[0,:,:,0]", np.s_[0, :, :, 0]),
    ("gpt2-logit-lens", "lens/top_probabilities", "[item=1,pos=5:9]", np.s_[1:2, :, 5:9, :][0]),
    ("gpt2-logit-lens", "lens/top_probabilities", "[-1,...,-2:]", np.s_[-1, ..., -2:]),
    ("gpt2-logit-lens", "lens/entropy", "[state='after block 0']", np.s_[:, 1]),
    ("gpt2-logit-lens", "lens/entropy", "[0,:,pos=' gave']", np.s_[0, :, 9]),
    ("gpt2-logit-lens", "lens/next_rank", "[2:,1]", np.s_[2:, 1]),
    ("gpt2-activations", "states/ln_final.hook_out", "[3,:4]", np.s_[3, :4]),
    ("gpt2-activations", "patterns/blocks.1.attn.hook_pattern", "[1,2,query=14,key=3]", np.s_[1, 2, 14, 3]),
    ("gpt2-activations", "patterns/blocks.1.attn.hook_pattern", "[item=0,head=-1]", np.s_[0, -1]),
    ("gpt2-activations", "loss/log_probability", "[:,0:0]", np.s_[:, 0:0]),
]


@pytest.mark.parametrize("run,name,text,index", [s for s in SLICES if "item=1" not in s[2]])
def test_a_slice_is_what_numpy_takes(run, name, text, index, results, tmp_path):
    with h5py.File(results[run]) as f:
        d = f[name]
        wanted = np.asarray(d.asstr()[()] if h5py.check_string_dtype(d.dtype) else d[()])[index]
    run_program("show", results[run], name + text, "--npy", tmp_path / "a.npy")
    assert same(np.load(tmp_path / "a.npy"), wanted)
    told = json.loads(run_program("show", results[run], name + text, "--json"))
    assert told["shape"] == list(wanted.shape)
    rows = list(csv.reader(io.StringIO(run_program("show", results[run], name + text, "--csv"))))
    assert len(rows) == 1 + wanted.size
    shown = run_program("show", results[run], name + text)
    assert shown.splitlines()[1] == name + text
    # Another file isn't replaced unless that is asked for.
    code, _, complaint = run_program("show", results[run], name + text, "--npy", tmp_path / "a.npy", check=False)
    assert code == 2 and "--force" in complaint
    run_program("show", results[run], name + text, "--npy", tmp_path / "a.npy", "--force")


def test_a_slice_by_name_takes_one_item(results):
    told = json.loads(run_program("show", results["gpt2-logit-lens"], "lens/top_probabilities[item=1,pos=5:9]", "--json"))
    with h5py.File(results["gpt2-logit-lens"]) as f:
        assert same(np.array(told["values"], dtype="f4"), f["lens/top_probabilities"][1, :, 5:9, :])
    assert told["taken"] == {"item": 1} and told["dimensions"] == ["state", "pos", "rank"]
    assert told["coordinates"]["state"] == ["embedding", "after block 0", "after block 1"]


@pytest.mark.parametrize("text,says", [
    ("lens/entropy[stat=0]", "no dimension 'stat'; did you mean 'state'?; it has item 4 x state 3 x pos 13"),
    ("lens/entropy[9]", "index 9 is outside: dimension 'item' has 4: 0 to 3"),
    ("lens/entropy[-5]", "index -5 is outside: dimension 'item' has 4: 0 to 3"),
    ("lens/entropy[0,1:7]", "range 1:7 is outside: dimension 'state' has 3: 0 to 2"),
    ("lens/entropy[0,2:1]", "range 2:1 ends before it begins"),
    ("lens/entropy[0,0,0,0]", "the slice has 4 items, and it has item 4 x state 3 x pos 13"),
    ("lens/entropy[0,item=1]", "two items for dimension 'item'"),
    ("lens/entropy[state=embeding]", "no 'embeding' in dimension 'state'; did you mean 'embedding'?"),
    ("lens/entropy[rank=x]", "no dimension 'rank'"),
    ("lens/entropy[0,:,pos=' Ben']", "stands more than once in dimension 'pos', at 3, 8; give an index"),
    ("lens/entropy[0,x:2]", "character 16: a range goes from an index to an index"),
    ("lens/entropy[0,0:4:2]", "a range has no step"),
    ("lens/entropy[0", "character 15: the slice has no ']' at its end"),
    ("lens/entropy[]", "the slice is empty"),
    ("lens/entropy[0,,1]", "character 16: an index, a range or a label is missing"),
    ("lens/entropy[state='x]", "the quote has no end"),
    ("lens/entropy[0]x", "nothing may follow the ']'"),
    ("lens[0]", "here is only a node"),
    ("lens/entropi[0]", "did you mean 'entropy'?"),
])
def test_a_bad_slice_is_explained(text, says, results):
    code, out, complaint = run_program("show", results["gpt2-logit-lens"], text, check=False)
    assert code in (2, 3) and out == ""
    assert says in complaint


def test_tables_fit_the_terminal(results):
    name = "lens/top_tokens[0,:,:,0]"
    for columns in (40, 80, 200):
        shown = run_program("show", results["gpt2-logit-lens"], name, env={"COLUMNS": str(columns)})
        assert max(map(len, shown.splitlines()[4:])) <= columns
        assert shown.count("state \\ pos") == {40: 5, 80: 2, 200: 1}[columns]
        assert "9  gave" in shown  # a token, not only its number
        assert "\033" not in shown
    with h5py.File(results["gpt2-logit-lens"]) as f:
        wanted = f["lens/top_tokens"].asstr()[0, :, :, 0]
    row = [line for line in run_program("show", results["gpt2-logit-lens"], name, env={"COLUMNS": "300"}).splitlines() if line.startswith("embedding")][0]
    assert row.split() == ["embedding"] + [t.strip() for t in wanted[0]]


def test_all_shows_every_value(results):
    name = "states/ln_final.hook_out"
    shown = run_program("show", results["gpt2-activations"], "states", "--all")
    with h5py.File(results["gpt2-activations"]) as f:
        d = f[name][()]
    numbers = re.findall(r"(?:(?<=\s)|^)-?(?:\d[\d.e+-]*|nan)(?=\s|$)", shown, re.M)
    assert len(numbers) > d.size and f"{float(d[3, 0, 0]):.6g}" in numbers and f"{float(d[0, 14, 31]):.6g}" in numbers


def test_large_datasets_are_cut_and_say_so(results):
    """Of a node 2,000 values each, of a dataset 20,000; vectors without labels go in lines of ten."""
    with h5py.File(results["similarity-maps"]) as f:
        d = f["maps/hook_embed/cosine"]
        rows, columns = d.shape[1:]
        alone = run_program("show", results["similarity-maps"], "maps/hook_embed/cosine")
        assert f"values; --all shows all" in alone and f"of {d.size:,} values" in alone
        assert f"{float(d[0, 19, 0]):.6g}" in alone
    node = run_program("show", results["gpt2-activations"], "states")
    assert f"of {4 * 22 * 32:,} values; --all shows all" in node and "corner" not in node
    with h5py.File(results["gpt2-activations"]) as f:
        name, d = "means/blocks.0.mlp.hook_post", f["means/blocks.0.mlp.hook_post"][()]
        shown = run_program("show", results["gpt2-activations"], name)
        lines = {l.split()[0]: l.split()[1:] for l in shown.splitlines() if re.match(r" *\d+ ", l)}
        assert d.ndim == 1 and d.size > 40
        assert lines["120"] == [f"{float(x):.6g}" for x in d[120:128]]


def test_a_part_keeps_the_places_of_the_whole(results):
    """Positions 5 to 8 are called 5 to 8, in tables, CSV and JSON."""
    lens, part = results["gpt2-logit-lens"], "lens/entropy[0,:,5:9]"
    shown = run_program("show", lens, part)
    assert re.search(r"5  to +6  Rome +7 \. +8  Ben", shown)
    rows = list(csv.reader(io.StringIO(run_program("show", lens, part, "--csv"))))
    assert [r[1] for r in rows[1:5]] == ["5", "6", "7", "8"]
    assert json.loads(run_program("show", lens, part, "--json"))["first"] == [0, 5]


def on_terminal(arguments, env, columns=90, keys=b""):
    """What the program writes to a terminal, with the keys that are pressed once it waits."""
    try:
        here, there = pty.openpty()
    except OSError as error:
        pytest.skip(f"this machine has no pseudo-terminals: {error}")
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "COLORTERM", "LC_ALL", "PAGER", "WAYFARER_PAGER", "LESS")}
    child = subprocess.Popen([PROGRAM, *map(str, arguments)], stdin=there, stdout=there, stderr=there, env={**clean, "PAGER": "cat", **env},
                             start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(there)
    out = b""
    while True:
        if not select.select([here], [], [], 1.0)[0]:
            if keys:
                os.write(here, keys)
            keys = b""
            continue
        try:
            piece = os.read(here, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(here)
    assert child.wait(60) == 0
    return out.decode()


def test_pictures_only_where_a_terminal_can(results):
    arguments = ["show", results["gpt2-activations"], "patterns/blocks.1.attn.hook_pattern[0,1]"]
    good = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    shown = on_terminal(arguments, good)
    assert "\u2580" in shown and "\033[0;38;5;" in shown
    assert max(len(re.sub("\033\\[[0-9;]*m", "", line)) for line in shown.splitlines()[3:]) <= 90
    assert "\033[0;38;2;" in on_terminal(arguments, {**good, "COLORTERM": "truecolor"})
    line = on_terminal(["show", results["gpt2-logit-lens"], "lens/entropy[0,0]"], good)
    assert re.search("[\u2581-\u2588]{13}", line)
    for without in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}):
        assert not re.search("[\u2580-\u2588]", on_terminal(arguments, {**good, **without})), without
    assert "\033" not in on_terminal(arguments, {**good, "NO_COLOR": "1"})
    assert "\033" not in run_program(*arguments) and "\u2580" not in run_program(*arguments)


def test_show_names_the_view_and_follows_it(results, tmp_path):
    lens, good = results["gpt2-logit-lens"], {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    lines = {l.split()[0]: l for l in run_program("show", lens, env={"COLUMNS": "300"}).splitlines() if l.strip()}
    assert "view" in lines["dataset"] and "lens" in lines["top_tokens"].split() and "table" in lines["top_ids"].split()
    assert "float64, in nat, view heatmap: entropy of" in run_program("show", lens, "lens/entropy[0]")
    assert not re.search("[\u2580-\u2588]", on_terminal(["show", lens, "lens/top_ids[0,:,:,0]"], good))  # ids have no picture
    with h5py.File(lens) as f:
        states = f["lens/entropy"].dims[1][0].asstr()[()]
    for view, curves in (('{"kind": "curve", "x": "pos"}', True), ('{"kind": "curve", "x": "none"}', True), ('{"kind": "heatmap"}', False),
                         ('{"kind": ["curve"]}', False), ("[[[", False)):
        shutil.copy(lens, tmp_path / "other.h5")
        with h5py.File(tmp_path / "other.h5", "r+") as f:
            f["lens/entropy"].attrs["view"] = view
        shown = on_terminal(["show", tmp_path / "other.h5", "lens/entropy[0]"], good)
        drawn = re.findall("^ *(\\S.*) \033\\[36m[ \u2581-\u2588]{13}\033", shown, re.M)
        assert drawn == (list(states) if curves else []), view
        assert ("\u2580" in shown) == (not curves), view
    with h5py.File(tmp_path / "other.h5", "r+") as f:
        values = np.concatenate([np.zeros(90), np.ones(10)])
        d = f["lens"].create_dataset("many", data=values)
        d.dims[0].label = "one"
        d.attrs["view"] = '{"kind": "histogram"}'
    assert re.search("\033\\[36m\u2588\u2581{8}\u2581\033", on_terminal(["show", tmp_path / "other.h5", "lens/many"], good))


def test_what_is_longer_than_the_terminal_goes_through_a_pager(results, tmp_path):
    arguments = ["show", results["gpt2-activations"], "states"]
    terminal = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    whole = on_terminal(arguments, terminal)  # PAGER=cat
    # The pager gets all of it, for this terminal's width and with its colours.
    assert on_terminal(arguments, {**terminal, "PAGER": f"cat > {tmp_path}/seen"}) == ""
    seen = (tmp_path / "seen").read_text()
    assert seen == whole.replace("\r\n", "\n") and "\033[" in seen
    # WAYFARER_PAGER goes first; --no-pager, a simple terminal and a pipe have none.
    assert on_terminal(arguments, {**terminal, "PAGER": "false", "WAYFARER_PAGER": f"cat > {tmp_path}/own"}) == ""
    assert (tmp_path / "own").read_text() == seen
    poisoned = {**terminal, "PAGER": f"touch {tmp_path}/wrong"}
    on_terminal([*arguments, "--no-pager"], poisoned)
    on_terminal(arguments, {**poisoned, "TERM": "dumb"})
    run_program(*arguments, env=poisoned)
    assert not (tmp_path / "wrong").exists()
    # To leave a pager before the end is no mistake; what goes wrong is said as ever.
    on_terminal(["show", results["similarity-maps"], "maps"], {**terminal, "PAGER": "head -n 1"})
    with pytest.raises(AssertionError):
        on_terminal(["show", results["gpt2-activations"], "none"], {**terminal, "PAGER": "cat -"})


@pytest.mark.skipif(shutil.which("less") is None, reason="less is not here")
def test_less_shows_a_screen_and_ends_by_itself_where_all_fits(results):
    terminal = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PAGER": "less"}
    first = on_terminal(["show", results["gpt2-activations"], "states"], terminal, keys=b"q")
    assert 20 <= first.count("\n") <= 60 and "blocks.0.hook_resid_post" in first and "ln_final" not in first.split("missing:")[1]
    short = on_terminal(["show", results["gpt2-logit-lens"], "lens/entropy[0]"], terminal)
    assert "lens/entropy[0]" in short


def test_a_lens_is_coloured_by_its_probabilities(results):
    name, good = "lens/top_tokens[0,:,:,0]", {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLORTERM": "truecolor"}
    shown = on_terminal(["show", results["gpt2-logit-lens"], name], good, columns=200)
    with h5py.File(results["gpt2-logit-lens"]) as f:
        p, tokens = f["lens/top_probabilities"][0, :, :13, 0], f["lens/top_tokens"].asstr()[0, :, :13, 0]
    assert f"coloured by top_probabilities: {float(np.nanmin(p)):.6g} " in shown
    painted = re.findall("\033\\[0;38;2;(\\d+);\\d+;\\d+;48;2;(\\d+;\\d+;\\d+)m([^\033]*)", shown)
    assert [t.strip() for _, _, t in painted] == [t.strip() for t in tokens.ravel()]
    ends = {"254;232;56": p.max(), "0;34;78": p.min()}  # the two ends of cividis
    for colour, value in ends.items():
        assert any(c == colour and q == value for (_, c, _), q in zip(painted, p.ravel())), colour
    # White on dark, black on bright.
    assert all((ink == "0") == (sum(int(x) * w for x, w in zip(c.split(";"), (0.299, 0.587, 0.114))) > 128) for ink, c, _ in painted)
    assert "48;2;" not in on_terminal(["show", results["gpt2-logit-lens"], name], {**good, "NO_COLOR": "1"})


def test_nodes_of_one_file_can_be_compared(results):
    lens = results["gpt2-logit-lens"]
    assert "no difference in 39 datasets" in run_program("compare", f"{lens}/lens", f"{lens}/lens")
    code, out, _ = run_program("compare", f"{lens}/lens", f"{lens}/blame", check=False)
    assert code == 1 and "plugin 'logit_lens' against 'logit_attribution'" in out
    code, out, _ = run_program("compare", f"{lens}/lens/entropy[0]", f"{lens}/lens/entropy[1]", check=False)
    with h5py.File(lens) as f:
        a, b = f["lens/entropy"][0], f["lens/entropy"][1]
    assert code == 1 and f"{int((a != b).sum())} of {a.size} values differ" in out and f"{np.abs(a - b).max():.6g}" in out
    code, _, complaint = run_program("compare", lens, f"{lens}/lens", check=False)
    assert code == 2 and "compare two files, two nodes, or two datasets" in complaint


# ---- what other programs read ----

def test_the_projector_finds_what_its_config_names(results, tmp_path):
    run_program("export", results["gpt2-activations"], "states", "--to", "embedding-projector", tmp_path / "p")
    config = json.loads((tmp_path / "p" / "config.json").read_text())
    assert len(config["embeddings"]) == 3
    with h5py.File(results["gpt2-activations"]) as f:
        for e in config["embeddings"]:
            assert set(e) == {"tensorName", "tensorShape", "tensorPath", "metadataPath"}
            d = f[e["tensorName"]][()]
            at = np.argwhere(np.isfinite(d).all(-1))
            vectors = np.loadtxt(tmp_path / "p" / e["tensorPath"], delimiter="\t", dtype="f4")
            assert list(vectors.shape) == e["tensorShape"] and np.array_equal(vectors, d[tuple(at.T)])
            labels = [line.split("\t") for line in (tmp_path / "p" / e["metadataPath"]).read_text().splitlines()]
            assert labels[0] == ["token", "item", "pos"] and len(labels) == 1 + len(vectors)
            tokens = f["states/tokens"].asstr()[()]
            assert labels[1:] == [[tokens[i, p], str(i), str(p)] for i, p in at]
    # One column of labels has no header: the projector takes it for a label otherwise.
    run_program("export", results["gpt2-activations"], "states/ln_final.hook_out[0]", "--to", "embedding-projector", tmp_path / "one")
    assert len((tmp_path / "one" / "ln_final.hook_out.metadata.tsv").read_text().splitlines()) == 15


def test_bertviz_and_circuitsvis_get_tokens_and_weights(results, tmp_path):
    run_program("export", results["gpt2-activations"], "patterns", "--item", 0, "--to", "bertviz", tmp_path / "b")
    run_program("export", results["gpt2-activations"], "patterns", "--item", 0, "--to", "circuitsvis", tmp_path / "c")
    told = json.loads((tmp_path / "b" / "bertviz.json").read_text())
    with h5py.File(results["gpt2-activations"]) as f:
        n = int(f["patterns/length"][0])
        tokens = f["patterns/tokens"].asstr()[0][:n].tolist()
        assert told["tokens"] == tokens
        weights = np.array(told["attention"])
        assert weights.shape == (2, 4, n, n)  # layer, head, query, key
        for layer in (0, 1):
            wanted = f[f"patterns/blocks.{layer}.attn.hook_pattern"][0, :, :n, :n]
            assert np.array_equal(weights[layer].astype("f2"), wanted)
            one = json.loads((tmp_path / "c" / f"blocks.{layer}.attn.hook_pattern.json").read_text())
            assert set(one) == {"tokens", "attention"} and one["tokens"] == tokens
            assert np.array_equal(np.array(one["attention"], dtype="f2"), wanted)
    for form in ("bertviz", "circuitsvis"):
        code, _, complaint = run_program("export", results["gpt2-activations"], "patterns", "--to", form, tmp_path / "no", check=False)
        assert code == 2 and "--item 0" in complaint
        code, _, complaint = run_program("export", results["gpt2-activations"], "states", "--to", form, tmp_path / "no", check=False)
        assert code == 2 and "hook_pattern" in complaint
    assert not (tmp_path / "no").exists()


def test_two_stacks_have_tokens_of_their_own(results, tmp_path):
    run_program("export", results["two-stacks"], "patterns", "--item", 1, "--to", "bertviz", tmp_path / "b")
    told = json.loads((tmp_path / "b" / "bertviz.json").read_text())
    with h5py.File(results["two-stacks"]) as f:
        n, m = int(f["patterns/length"][1]), int(f["patterns/decoder_length"][1])
        assert told["encoder_tokens"] == f["patterns/tokens"].asstr()[1][:n].tolist()
        assert told["decoder_tokens"] == f["patterns/decoder_tokens"].asstr()[1][:m].tolist()
        for stack, hook, q, k in (("encoder", "encoder.{}.attn", n, n), ("decoder", "decoder.{}.attn", m, m), ("cross", "decoder.{}.cross_attn", m, n)):
            weights = np.array(told[f"{stack}_attention"])
            assert weights.shape == (2, 4, q, k)
            for layer in (0, 1):
                assert np.array_equal(weights[layer].astype("f4"), f[f"patterns/{hook.format(layer)}.hook_pattern"][1, :, :q, :k])
    # CircuitsVis shows attention of a text to itself.
    run_program("export", results["two-stacks"], "patterns", "--item", 1, "--to", "circuitsvis", tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [f"{s}.{i}.attn.hook_pattern.json" for s in ("decoder", "encoder") for i in (0, 1)]


def test_neuronpedia_gets_a_value_for_each_token(results, tmp_path):
    run_program("export", results["gpt2-activations"], "loss", "--to", "neuronpedia", tmp_path / "n")
    told = json.loads((tmp_path / "n" / "log_probability.json").read_text())
    with h5py.File(results["gpt2-activations"]) as f:
        values, tokens = f["loss/log_probability"][()], f["loss/tokens"].asstr()[()]
    assert len(told["activations"]) == 4 and told["index"] == "log_probability"
    for i, a in enumerate(told["activations"]):
        there = np.isfinite(values[i])
        assert a["values"] == values[i][there].tolist() and a["tokens"] == tokens[i][there].tolist()
        assert a["maxValue"] == max(a["values"]) == a["values"][a["maxValueTokenIndex"]] and a["minValue"] == min(a["values"])
    run_program("export", results["gpt2-logit-lens"], "lens/entropy[:,state=1]", "--to", "neuronpedia", tmp_path / "slice")
    assert len(json.loads((tmp_path / "slice" / "entropy.json").read_text())["activations"]) == 4


def test_export_replaces_nothing_and_says_what_is_left_out(results, tmp_path):
    lens = results["gpt2-logit-lens"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tokens.csv").write_text("mine")
    code, _, complaint = run_program("export", lens, "lens", "--to", "csv", tmp_path / "own", check=False)
    assert code == 2 and "--force" in complaint
    assert [p.name for p in (tmp_path / "own").iterdir()] == ["tokens.csv"] and (tmp_path / "own" / "tokens.csv").read_text() == "mine"
    run_program("export", lens, "lens", "--to", "csv", tmp_path / "own", "--force")
    assert len(list((tmp_path / "own").iterdir())) == 39
    code, _, complaint = run_program("export", lens, "lens", "--to", "parquet", tmp_path / "no", check=False)
    assert code == 2 and "Debian 12 has no library that writes it" in complaint
    code, _, complaint = run_program("export", lens, "lens", "--to", "bertwiz", tmp_path / "no", check=False)
    assert code == 2 and "did you mean 'bertviz'?" in complaint
    code, _, complaint = run_program("export", lens, "lense", "--to", "csv", tmp_path / "no", check=False)
    assert code == 3 and "did you mean 'lens'?" in complaint
