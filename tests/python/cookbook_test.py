"""What the cookbook and the tutorial show is what their pipelines print: every block of YAML runs, and every command below it says what the page says."""
import os
import pathlib
import re
import subprocess

import pytest
from conftest import PROGRAM, SOURCE

NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?|[-+]?\d+e[-+]?\d+")


def recipes(page):
    """(heading, YAML, [(command, lines)]) for each block of YAML and the console blocks up to the next one."""
    text = (SOURCE / "docs" / page).read_text()
    out, heading = [], page
    for kind, body, title in re.findall(r"^```(\w*)\n(.*?)^```$|^## ([^\n]*)$", text, re.M | re.S):
        if title:
            heading = title
        elif kind == "yaml":
            out.append((heading, body, []))
        elif body.startswith("$ ") and out:
            for one in re.split(r"^\$ ", body, flags=re.M)[1:]:
                command, *lines = one.rstrip("\n").split("\n")
                out[-1][2].append((command, lines))
    return out


RECIPES = [(page, *r) for page in ("cookbook.md", "tutorial.md") for r in recipes(page)]


def same_line(shown, said):
    """Texts are equal, numbers nearly: another processor may round the last digits otherwise."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", said).split():
        return False
    return all(abs(float(a) - float(b)) <= 1e-6 + 2e-3 * abs(float(b)) for a, b in zip(NUMBER.findall(shown), NUMBER.findall(said)))


def test_the_cookbook_has_twenty_recipes_that_show_something():
    cookbook = [r for r in RECIPES if r[0] == "cookbook.md"]
    assert [int(heading.split(".")[0]) for _, heading, _, _ in cookbook] == list(range(1, 21))
    assert all(commands and all(lines for _, lines in commands) for *_, commands in cookbook)


@pytest.mark.parametrize("page,heading,yaml,commands", RECIPES, ids=[f"{r[0]}: {r[1]}" for r in RECIPES])
def test_a_recipe_prints_what_the_page_shows(page, heading, yaml, commands, tmp_path):
    for name in ("runs", "tests"):
        (tmp_path / name).symlink_to(SOURCE / name)
    env = {**os.environ, "PATH": f"{pathlib.Path(PROGRAM).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    file = "recipe" if page == "cookbook.md" else page.removesuffix(".md")
    (tmp_path / f"{file}.yaml").write_text(yaml)
    done = subprocess.run([PROGRAM, "run", f"{file}.yaml", "--quiet", "--out", f"{file}.h5"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for command, lines in commands:
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1) and not done.stderr, f"{command}: {done.stderr}"
        shown = done.stdout.splitlines()
        found = any(all(same_line(a, b) for a, b in zip(shown[i:], lines)) for i in range(len(shown) - len(lines) + 1))
        assert found, f"{command} prints\n{done.stdout}and not\n" + "\n".join(lines)
