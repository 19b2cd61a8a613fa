"""The notebooks: they are run, small, and their cells still print what they show."""
import json
import os
import subprocess
import sys

import pytest
from conftest import PROGRAM, SOURCE
from cookbook_test import same_line

NOTEBOOKS = sorted((SOURCE / "docs" / "notebooks").glob("*.ipynb"))
BREAK = "---- the next cell ----"


def cells(path):
    """Code and stored outputs of each cell of code."""
    told = json.loads(path.read_text())
    return [("".join(c["source"]), c) for c in told["cells"] if c["cell_type"] == "code"]


def printed(cell):
    return "".join("".join(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")


def test_each_paper_has_one():
    text = " ".join(p.read_text() for p in NOTEBOOKS)
    assert len(NOTEBOOKS) == 3 and all(paper in text for paper in ("2303.04245", "2309.07315", "2308.10874"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_a_notebook_is_whole_and_small(path):
    all_of_it = cells(path)
    assert [c["execution_count"] for _, c in all_of_it] == list(range(1, len(all_of_it) + 1)), "run ./dev notebooks"
    kinds = [o["output_type"] for _, c in all_of_it for o in c["outputs"]]
    assert "error" not in kinds and any("image/png" in o.get("data", {}) for _, c in all_of_it for o in c["outputs"])
    assert not any(o.get("name") == "stderr" for _, c in all_of_it for o in c["outputs"])
    assert path.stat().st_size < 300_000 and "/home/" not in path.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_its_cells_print_what_it_shows(path, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir(parents=True)
    (tmp_path / "runs").symlink_to(SOURCE / "runs")
    script = f"\nprint({BREAK!r})\n".join(code for code, _ in cells(path))
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=250,
                          env={**os.environ, "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path), "WAYFARER": PROGRAM})
    assert done.returncode == 0, done.stderr
    shown = done.stdout.split(BREAK + "\n")
    for (code, cell), now in zip(cells(path), shown, strict=True):
        then = printed(cell).splitlines()
        assert len(then) == len(now.splitlines()) and all(same_line(a, b) for a, b in zip(now.splitlines(), then)), (
            f"{code}\nprints\n{now}and not\n{printed(cell)}; ./dev notebooks runs all of them again")
