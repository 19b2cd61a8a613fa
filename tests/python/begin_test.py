"""`wayfarer init` makes a project whose commands run as printed; `wayfarer watch` sees a run of another process."""
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import PROGRAM, SOURCE, run_program

TRAINING = """
title: A run that nobody waits for
seed: 0
nodes:
  documents: {source: lda, documents: 2000}
  learner: {model: topic_transformer, train: {source: documents, epochs: 100000}}
  states: {probe: topic_blocks, model: learner}
"""


@pytest.mark.parametrize("name", ["first", "with a space"])
def test_a_new_project_runs_as_it_says(name, tmp_path):
    told = run_program("init", name, cwd=tmp_path)
    commands = [line.strip() for line in told.split("look at it:")[1].splitlines() if line.strip()]
    assert len(commands) == 3
    env = {**os.environ, "NO_COLOR": "1"}
    out = []
    for command in commands:
        if " report " in command and not (SOURCE / "core" / "report").exists():
            continue
        done = subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        if " report " in command and "built without the page" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        out.append(done.stdout)
    assert "after block 1" in out[1] and "0 Then" in out[1]
    assert {p.name for p in (tmp_path / name).iterdir()} >= {"pipeline.yaml", "texts.txt", "notes.md", "model", "first.h5"}
    # What the notes tell people to paste is there, too.
    for line in (tmp_path / name / "notes.md").read_text().splitlines():
        if line.startswith("- `wayfarer show"):
            words = line.split("`")[1].split(" ", 3)
            run_program("show", "first.h5", words[3].strip("'"), cwd=tmp_path / name)


def test_init_writes_only_into_nothing(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    code, _, complaint = run_program("init", tmp_path / "full", check=False)
    assert code == 2 and "exists already" in complaint and [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    run_program("init", tmp_path / "empty")
    assert (tmp_path / "empty" / "notes.md").exists()


def start(folder):
    (folder / "p.yaml").write_text(TRAINING)
    child = subprocess.Popen([PROGRAM, "run", folder / "p.yaml", "--quiet", "--threads", "1", "--out", folder / "r.h5"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while time.monotonic() < until and child.poll() is None:
        code, out, _ = run_program("watch", folder / "r.h5", "--once", check=False)
        if code == 0 and "loss" in out and "at first" in out:
            return child, out
        time.sleep(0.2)
    child.kill()
    raise AssertionError(f"the run was never seen at work: {child.poll()}")


def test_watch_sees_progress_and_the_end(tmp_path):
    code, _, complaint = run_program("watch", tmp_path / "r.h5", check=False)
    assert code == 3 and "no run writes" in complaint
    child, out = start(tmp_path)
    try:
        assert "r.h5: " in out and "parts done" in out and "learner" in out and " of " in out
        # A run that is killed leaves a file without a lock.
        child.send_signal(signal.SIGKILL)
        child.wait()
        code, _, complaint = run_program("watch", tmp_path / "r.h5", check=False)
        assert code == 3 and "ended before its result was complete" in complaint
        # The next run removes that, and so does a run that is stopped.
        child, _ = start(tmp_path)
        assert len(list(tmp_path.glob(".r.h5.progress.*"))) == 1
        watcher = subprocess.Popen([PROGRAM, "watch", tmp_path / "r.h5", "--interval", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watcher.stdout.readline().startswith("r.h5: ")
        child.send_signal(signal.SIGTERM)
        child.wait()
        _, complaint = watcher.communicate(timeout=300)
        assert watcher.returncode == 3 and "ended without a result" in complaint
        assert not list(tmp_path.glob(".r.h5.progress.*"))
    finally:
        child.kill()
        child.wait()


def test_watch_knows_a_whole_result(results, tmp_path):
    assert "is complete" in run_program("watch", results["gpt2-logit-lens"])
    assert not list(pathlib.Path(results["gpt2-logit-lens"]).parent.glob(".*"))
    (tmp_path / "x.h5").write_text("no result")
    code, _, complaint = run_program("watch", tmp_path / "x.h5", check=False)
    assert code == 3 and "not a Wayfarer result" in complaint
