"""Every page of docs/ is listed in docs/README.md, and no link between pages, or to a file of the tree, is broken."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
pages = sorted(root.glob("docs/*.md")) + [root / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
faults = []


def targets(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", t)]


for page in pages:
    for target in targets(page):
        if not (page.parent / target.split("#")[0]).exists():
            faults.append(f"{page.relative_to(root)}: the link {target} leads nowhere")
listed = {(root / "docs" / t.split("#")[0]).resolve() for t in targets(root / "docs/README.md")}
for page in root.glob("docs/*.md"):
    if page.name != "README.md" and page.resolve() not in listed:
        faults.append(f"docs/README.md: {page.name} is missing; say what it is about, at its place in the order")
print("\n".join(faults) or "every page is listed, and every link leads somewhere")
sys.exit(bool(faults))
