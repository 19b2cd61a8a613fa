"""Takes the pictures of the tutorial from the report of its own pipeline:

    /usr/bin/python3 docs/report_figures.py build/dev/bin/wayfarer docs/images

Needs chromium-headless-shell. Writes tutorial-lens.png and tutorial-patching.png.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SOURCE / "tests" / "browser"))
from browser import browser  # noqa: E402

PICTURES = {"tutorial-lens": "lens/top_tokens", "tutorial-patching": "trace/resid_pre"}
BOX = """(async () => {
  document.querySelectorAll('details.node').forEach(d => { d.open = true; });
  await new Promise(r => setTimeout(r, 200));
  const f = document.querySelector('.figure[data-set="SET"]');
  f.scrollIntoView();
  while (!f.dataset.drawn) await new Promise(r => setTimeout(r, 20));
  await new Promise(r => setTimeout(r, 500));  // the figures above are drawn, and move it
  f.scrollIntoView();
  f.querySelector('.tools').style.visibility = 'hidden';
  const b = f.getBoundingClientRect(), drawn = [...f.querySelectorAll('.plot > *')].map(e => e.getBoundingClientRect().right);
  return { x: b.left + scrollX - 8, y: b.top + scrollY - 8, width: Math.max(420, Math.min(b.width, Math.max(...drawn) - b.left)) + 16, height: b.height + 8 };
})()"""

program, images = map(pathlib.Path, sys.argv[1:])
program, images = program.resolve(), images.resolve()
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "runs").symlink_to(SOURCE / "runs")
    (folder / "tutorial.yaml").write_text(re.search(r"^```yaml\n(.*?)^```$", (SOURCE / "docs" / "tutorial.md").read_text(), re.M | re.S)[1])
    for command in (["run", "tutorial.yaml", "--quiet", "--out", "tutorial.h5"], ["report", "tutorial.h5"]):
        subprocess.run([program, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with browser() as b:
        for name, dataset in PICTURES.items():
            page = b.open(folder / "tutorial.html")
            page.wait("document.documentElement?.dataset.ready === 'yes'")
            page.screenshot(images / f"{name}.png", page.evaluate(BOX.replace("SET", dataset)))
            page.close()
            print(images / f"{name}.png")
