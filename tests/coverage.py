"""coverage.py SUMMARY: prints what `gcovr --json-summary` found, by room, and the branches of each parser; fails below 90 % of all lines.

Branches that only an exception takes are not counted.
"""
import collections
import json
import sys

LEAST_LINES = 90
PARSERS = ("sdk/src/files/", "sdk/src/checkpoint/", "core/pipeline/", "core/store/")


def share(covered, total):
    return f"{100 * covered / total:6.1f} % of {total}" if total else "     -"


def main(path):
    with open(path, encoding="utf-8") as file:
        files = json.load(file)["files"]
    rooms = collections.defaultdict(lambda: [0, 0, 0, 0])
    for f in files:
        room = "/".join(f["filename"].split("/")[:3 if f["filename"].startswith("sdk") else 2])
        for at, key in enumerate(("line_covered", "line_total", "branch_covered", "branch_total")):
            rooms[room][at] += f[key]
            rooms["all"][at] += f[key]
    print(f"{'room':28} lines                 branches")
    for room, (lines, all_lines, branches, all_branches) in sorted(rooms.items()):
        print(f"{room:28} {share(lines, all_lines):21} {share(branches, all_branches)}")
    print("\nBranches of parsers:")
    for f in sorted(files, key=lambda f: f["filename"]):
        if f["filename"].startswith(PARSERS) and f["branch_covered"] < f["branch_total"]:
            print(f"{f['filename']:48} {share(f['branch_covered'], f['branch_total'])}")
    lines, all_lines = rooms["all"][:2]
    return 0 if all_lines and 100 * lines >= LEAST_LINES * all_lines else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
