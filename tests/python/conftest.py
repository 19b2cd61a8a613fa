"""The results that these tests read: small runs, made once. WAYFARER names the program, WAYFARER_SOURCE the checkout."""
import os
import pathlib
import subprocess

import pytest

PROGRAM = os.environ["WAYFARER"]
SOURCE = pathlib.Path(os.environ["WAYFARER_SOURCE"])
RUNS = ["gpt2-activations", "gpt2-logit-lens", "gpt2-patching", "similarity-maps", "walks", "t5-attention-kernels"]


def run_program(*arguments, check=True, env=None, cwd=None):
    """What the program printed on standard output; with check=False also how it ended and what it complained of."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if check:
        assert done.returncode == 0, done.stderr
        return done.stdout
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """The path of each run's result, by name."""
    folder = tmp_path_factory.mktemp("results")
    for name in RUNS:
        run_program("run", SOURCE / "runs" / f"{name}.yaml", "--quiet", "--out", folder / f"{name}.h5")
    return {name: folder / f"{name}.h5" for name in RUNS}
