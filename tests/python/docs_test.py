"""What the pages on show, export and Python tell people to paste does what it says: every block runs, in order, as in the checkout's top folder."""
import os
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PROGRAM, SOURCE

PAGES = ["show-and-export.md", "python.md"]
# What needs pip, or packages that Debian lacks.
LEFT_OUT = re.compile(r"^pip install|from bertviz import", re.M)


def blocks(page):
    text = (SOURCE / "docs" / page).read_text()
    return re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page, tmp_path):
    for name in ("runs", "tests"):
        (tmp_path / name).symlink_to(SOURCE / name)
    if page == "python.md":  # a dict's pipeline is written beside what it names
        (tmp_path / "runs").unlink()
        (tmp_path / "runs").mkdir()
        for one in (SOURCE / "runs").iterdir():
            (tmp_path / "runs" / one.name).symlink_to(one)
    env = {**os.environ, "PATH": f"{pathlib.Path(PROGRAM).parent}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("WAYFARER")
    ran = 0
    for kind, text in blocks(page):
        if LEFT_OUT.search(text):
            continue
        if kind == "python":
            text = text.replace(".plot()", "")
        command = ["bash", "-euc", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{page}:\n{text}\n{done.stdout}{done.stderr}"
        ran += 1
    assert ran >= 2
