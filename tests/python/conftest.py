"""The results that these tests read: small runs, made once. WAYFARER names the program, WAYFARER_SOURCE the checkout."""
import os
import pathlib
import subprocess

import pytest

PROGRAM = os.environ["WAYFARER"]
SOURCE = pathlib.Path(os.environ["WAYFARER_SOURCE"])
RUNS = ["gpt2-activations", "gpt2-logit-lens", "gpt2-patching", "similarity-maps", "walks", "t5-attention-kernels"]

TWO_STACKS = """title: attention of an encoder and a decoder
seed: 0
nodes:
  prompt: {{source: text, texts: ["apple banana", "red blue apple"]}}
  model: {{model: t5, path: {}}}
  patterns: {{probe: activations, model: model, source: prompt, hooks: ["*.attn.hook_pattern", "*.cross_attn.hook_pattern"]}}
"""


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
    (folder / "t5.yaml").write_text(TWO_STACKS.format(SOURCE / "runs" / "data" / "tiny-t5"))
    run_program("run", folder / "t5.yaml", "--quiet", "--out", folder / "two-stacks.h5")
    return {name: folder / f"{name}.h5" for name in [*RUNS, "two-stacks"]}
