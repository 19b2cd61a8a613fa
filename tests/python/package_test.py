"""The package `wayfarer`: results equal to h5py's numbers, runs, pipelines with the program's errors, and what a notebook shows."""
import pathlib
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
import xarray
from conftest import PROGRAM, RUNS, SOURCE, run_program

import wayfarer as wf


@pytest.mark.parametrize("run", RUNS)
def test_all_that_a_result_holds_is_there(run, results):
    with wf.open(results[run]) as r, h5py.File(results[run]) as f:
        assert r.nodes == [n for n in f if n != "_run"] and r.title == f.attrs["title"]
        for name in r:
            node = r.node(name)
            whole = node.to_xarray(stack=False)
            for d in node.datasets:
                raw = f[name][d]
                wanted = raw.asstr()[()] if raw.dtype.kind == "O" else raw[()]
                got = whole[d]
                assert got.shape == raw.shape and got.attrs.get("units", "") == raw.attrs.get("units", "")
                assert len(set(got.dims)) == len(got.dims)
                if raw.dtype.kind == "O":
                    assert np.array_equal(got.values, wanted)
                else:
                    assert got.dtype == raw.dtype and np.array_equal(got.values, wanted, equal_nan=raw.dtype.kind == "f")
                for axis, dim in zip(raw.dims, got.dims):
                    if axis[0].attrs["role"] == "coordinate" and axis[0].name != raw.name:
                        scale = axis[0].asstr()[()] if axis[0].dtype.kind == "O" else axis[0][()]
                        assert np.array_equal(whole[dim].values, scale)
            assert isinstance(r[name], xarray.Dataset)


def test_hooks_are_stacked_and_tokens_are_coordinates(results):
    with wf.open(results["gpt2-activations"]) as r, h5py.File(results["gpt2-activations"]) as f:
        states = r["states"]
        got = states["blocks.hook_resid_post"]
        assert got.dims == ("layer", "item", "pos", "d_model") and got["layer"].values.tolist() == [0, 1]
        for layer in (0, 1):
            assert np.array_equal(got.sel(layer=layer).values, f[f"states/blocks.{layer}.hook_resid_post"][()], equal_nan=True)
        assert "blocks.0.hook_resid_post" not in states and "ln_final.hook_out" in states
        assert got.isel(item=0)["tokens"].values[:3].tolist() == ["Then", " Anna", " and"]
        patterns = r["patterns"]["blocks.attn.hook_pattern"]
        assert patterns.isel(item=1)["key_tokens"].values[1] == " Hugo" == patterns.isel(item=1)["query_tokens"].values[1]
        assert r["means"]["blocks.mlp.hook_post"].dims == ("layer", "d_mlp")


def test_two_stacks_name_their_own_positions(results):
    with wf.open(results["two-stacks"]) as r:
        cross = r["patterns"]["decoder.cross_attn.hook_pattern"].isel(item=0)
        assert cross["key_tokens"].values[0] == r["patterns"]["tokens"].values[0, 0]
        assert cross.dims[:2] == ("layer", "head") and "<pad>" in cross[f"{cross.dims[2]}_tokens"].values


def test_names_that_are_not_there_get_near_ones(results):
    with wf.open(results["gpt2-logit-lens"]) as r:
        with pytest.raises(KeyError, match="did you mean 'lens'"):
            r["lense"]
        with pytest.raises(KeyError, match="did you mean 'entropy'"):
            r.node("lens").array("entropi")
    with pytest.raises(OSError):
        wf.open(SOURCE / "runs" / "walks.yaml")
    assert r.node is not None


def test_another_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f["a"] = 1
    with pytest.raises(ValueError, match="not a Wayfarer result"):
        wf.open(tmp_path / "x.h5")


def test_five_lines_from_nothing_to_a_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    r = wf.run(SOURCE / "runs" / "gpt2-logit-lens.yaml", set={"lens.k": 3, "seed": 1})
    lens = r["lens"]
    assert lens["top_ids"].shape[-1] == 3 and r.seed == 1 and (tmp_path / "gpt2-logit-lens.h5").exists()
    assert lens["entropy"].mean("item").dims == ("state", "pos")
    assert "datasets" in capsys.readouterr().out  # the run's own lines
    r.close()
    with wf.run(SOURCE / "runs" / "gpt2-logit-lens.yaml", out=tmp_path / "quiet.h5", progress=False) as quiet:
        assert quiet.seed == 0
    assert capsys.readouterr().out == ""


PIPELINE = {"title": "from a dict", "nodes": {
    "prompts": {"source": "text", "texts": ["Then Anna and Ben went to Rome.", "A \"quoted\" {text}: #1"]},
    "gpt2": {"model": "gpt2", "path": "data/tiny-gpt2"},
    "loss": {"probe": "language_loss", "model": "gpt2", "source": "prompts"}}}


def test_a_pipeline_from_a_dict_runs(tmp_path):
    p = wf.pipeline(PIPELINE, folder=SOURCE / "runs")
    with p.run(tmp_path / "r.h5", progress=False) as r:
        assert r.title == "from a dict" and r.node("prompts").parameters["texts"] == PIPELINE["nodes"]["prompts"]["texts"]
        assert r["loss"]["log_probability"].shape[0] == 2
    assert not list((SOURCE / "runs").glob(".pipeline-*"))
    p.save(tmp_path / "saved.yaml")
    assert (tmp_path / "saved.yaml").read_text() == p.yaml


def test_a_wrong_pipeline_gets_the_programs_errors(tmp_path):
    wrong = {"nodes": {"a": {"source": "txt"}, "b": {"probe": "logit_lenz", "model": "a"}}}
    with pytest.raises(wf.UsageError) as told:
        wf.pipeline(wrong)
    for part in ("no plugin 'txt'; did you mean 'text'?", "no plugin 'logit_lenz'; did you mean 'logit_lens'?", "2 errors", "pipeline:2:"):
        assert part in str(told.value)
    assert told.value.exit_code == 2
    with pytest.raises(wf.UsageError, match="did you mean"):
        wf.run(SOURCE / "runs" / "gpt2-logit-lens.yaml", set={"lens.kk": 1}, out=tmp_path / "x.h5", progress=False)
    with pytest.raises(wf.DataError):
        wf.run(tmp_path / "none.yaml", out=tmp_path / "x.h5", progress=False)
    with pytest.raises(wf.UsageError, match="--force"):
        (tmp_path / "mine.h5").write_text("mine")
        wf.run(SOURCE / "runs" / "gpt2-logit-lens.yaml", out=tmp_path / "mine.h5", progress=False)


class tags(HTMLParser):
    """The elements of a page; complains of those that have no end."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("rect", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag


@pytest.mark.parametrize("run", RUNS)
def test_a_notebook_shows_every_node(run, results):
    with wf.open(results[run]) as r:
        assert r.title in r._repr_html_()
        tags(r._repr_html_())
        figures = 0
        for name in r:
            shown = r.node(name)._repr_html_()
            seen = tags(shown).seen
            assert "script" not in seen
            figures += seen.count("svg") + seen.count("span") + seen.count("table")
        assert figures > 0


def test_a_heat_map_says_each_value(results):
    with wf.open(results["gpt2-activations"]) as r:
        shown = r.node("patterns")._repr_html_()
        first = r.node("patterns").h5("blocks.0.attn.hook_pattern")[0, 0]
    titles = re.findall("<title>(\\d+), (\\d+): ([^<]*)</title>", shown)
    assert len(titles) >= 2 * int(np.isfinite(first).sum())
    for q, k, value in titles[:int(np.isfinite(first).sum())]:
        assert f"{float(first[int(q), int(k)]):.6g}" == value


def test_what_a_file_says_is_only_text(results, tmp_path):
    import shutil
    shutil.copy(results["gpt2-activations"], tmp_path / "evil.h5")
    attack = "</title></svg><script>alert(1)</script>"
    with h5py.File(tmp_path / "evil.h5", "r+") as f:
        f.attrs["title"] = attack
        f["loss"].attrs["summary"] = attack
        f["loss/tokens"][0, 0] = attack
        f["loss/loss"].attrs["description"] = attack
        f["loss/log_probability"].attrs["view"] = '{"kind": ["' + attack + '"]}'
        f["states/ln_final.hook_out"].attrs["view"] = "[[["
    with wf.open(tmp_path / "evil.h5") as r:
        shown = r._repr_html_() + "".join(r.node(n)._repr_html_() for n in r)
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_without_xarray_arrays_are_there(results):
    code = ("import sys; sys.modules['xarray'] = None\nimport wayfarer as wf\nr = wf.open(sys.argv[1])\n"
            "assert r.node('lens').array('entropy').shape == (4, 3, 13)\n"
            "try:\n    r['lens']\nexcept ImportError as e:\n    assert 'python3-xarray' in str(e)\nelse:\n    raise SystemExit('no error')")
    done = subprocess.run([sys.executable, "-B", "-c", code, str(results["gpt2-logit-lens"])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_builds_with_debians_tools(tmp_path):
    pytest.importorskip("setuptools")
    pytest.importorskip("wheel")
    import shutil
    shutil.copytree(SOURCE / "python", tmp_path / "python", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "python", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel = next(tmp_path.glob("wayfarer-*.whl"))
    with zipfile.ZipFile(wheel) as z:
        inside = {pathlib.PurePath(n).name for n in z.namelist() if n.startswith("wayfarer/")}
        metadata = z.read(next(n for n in z.namelist() if n.endswith("METADATA"))).decode()
    assert inside == {"__init__.py", "results.py", "running.py", "view.py"}
    assert "Requires-Dist: h5py" in metadata and f"Version: {wf.__version__}" in metadata


def test_the_packages_version_is_the_programs():
    assert run_program("--version").split()[1] == wf.__version__
    assert PROGRAM
