"""arrows_test.py SOURCE_DIR: includes between the folders of core/, sdk/ and plugins/ run one way (CONTRIBUTING.md).

Reads every #include of the C++ sources; prints each that runs against an arrow, with file and line, and fails if there is any.
"""
import os
import re
import sys

# What each room of core/ may include, besides itself, `text` and the SDK.
ALLOWED = {
    "text": set(),
    "registry": set(),
    "pipeline": {"registry"},
    "store": set(),
    "engine": {"pipeline", "registry", "store"},
    "conformance": {"engine", "pipeline", "registry", "store"},
    "bench": {"conformance", "engine", "pipeline", "registry", "store"},
    "report": {"engine", "pipeline", "registry", "store"},
    "export": {"report", "store"},
    "cli": {"export", "report", "bench", "conformance", "engine", "pipeline", "registry", "store"},
}
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def includes(folder):
    for at, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.endswith((".cpp", ".hpp", ".inc")):
                path = os.path.join(at, name)
                with open(path, encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        if found := INCLUDE.match(line):
                            yield path, number, found.group(1) == '"', found.group(2)


def wrong_in_core(root):
    for path, number, quoted, name in includes(os.path.join(root, "core")):
        room = os.path.relpath(path, os.path.join(root, "core")).split(os.sep)[0]
        if room not in ALLOWED:
            yield path, number, f"core/{room} is no room that this test knows; add it with its arrows"
            continue
        other = name.split("/")[0]
        if quoted and "/" in name and other != room and other != "text" and other not in ALLOWED[room]:
            yield path, number, f"core/{room} may not include {name}"


def wrong_in_sdk(root):
    rooms = tuple(room + "/" for room in ALLOWED)
    for path, number, quoted, name in includes(os.path.join(root, "sdk")):
        if quoted and name.startswith(rooms):
            yield path, number, f"the SDK may not include {name}, which is the host's"
        if os.sep + "include" + os.sep in path and quoted:
            yield path, number, f"an installed header may not include \"{name}\", which is not installed"


def wrong_in_plugins(root):
    top = os.path.join(root, "plugins")
    for path, number, quoted, name in includes(top):
        kind, plugin = os.path.relpath(path, top).split(os.sep)[:2]
        target = os.path.normpath(os.path.join(top, name) if "/" in name else os.path.join(os.path.dirname(path), name))
        if not quoted or not os.path.exists(target):
            if quoted and not os.path.exists(os.path.join(os.path.dirname(path), name)):
                yield path, number, f"a plugin may include the SDK, its own folder and {kind}/common, not {name}"
            continue
        owner = os.path.relpath(target, top).split(os.sep)[:2]
        if owner not in ([kind, plugin], [kind, "common"]):
            yield path, number, f"a plugin may include the SDK, its own folder and {kind}/common, not {name}"


def main(root):
    wrong = [*wrong_in_core(root), *wrong_in_sdk(root), *wrong_in_plugins(root)]
    for path, number, why in wrong:
        print(f"{os.path.relpath(path, root)}:{number}: {why}")
    seen = sum(1 for folder in ("core", "sdk", "plugins") for _ in includes(os.path.join(root, folder)))
    print(f"{seen} includes, {len(wrong)} against an arrow")
    return 1 if wrong or seen < 1000 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
