"""arrows_test.py SOURCE_DIR: includes between the folders of core/, sdk/ and plugins/ run one way (CONTRIBUTING.md).

Reads every #include of the C++ sources; prints each that runs against an arrow, with file and line, and fails if there is any.
"""
import os
import re
import sys
import tempfile

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
# The rooms of the SDK from the lowest floor up, and its headers, as docs/README.md lists them. A room includes its own headers and those of the rooms before it.
FLOORS = {
    "base": "error export layout packed_numbers progress stopping version",
    "numeric": "factored instruction_set masking ops parallel ragged random simd statistics tensor",
    "files": "array_file digest file json result_file run_files safetensors text_table utf8",
    "layers": "backward layers mixing optimizer packing rotary rows scan tape taps vocabulary",
    "interfaces": "accumulator config descriptor differentiable findings hooks metric model parameter_error plugin probe results snapshot_state source "
                  "testing tokenizer whole_texts",
    "checkpoint": "generate hf_config pretrained weights",
}
# What a file takes from a floor above its own, and why.
FROM_ABOVE = {
    ("array_file.cpp", "hooks"),  # did_you_mean
    ("taps.hpp", "hooks"), ("taps.hpp", "model"),  # a tap gives a request what it asks of a hook
}
KINDS = ("sources", "models", "probes", "metrics")
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
    core = os.path.join(root, "core")
    ours = {*ALLOWED, *FLOORS, *KINDS}  # angle brackets find these as well as quotes
    for path, number, quoted, name in includes(core):
        room = os.path.relpath(path, core).split(os.sep)[0]
        if room not in ALLOWED:
            yield path, number, f"core/{room} is no room that this test knows; add it with its arrows"
            continue
        target = os.path.join(os.path.dirname(path) if ".." in name.split("/") else core, name)
        other = os.path.relpath(target, core).split(os.sep)[0]
        if "/" in name and (quoted or other in ours) and other != room and other != "text" and other not in ALLOWED[room]:
            yield path, number, f"core/{room} may not include {name}"


def wrong_in_sdk(root):
    for path, number, quoted, name in includes(os.path.join(root, "sdk")):
        if ALLOWED.keys() & set(name.split("/")[:-1]):
            yield path, number, f"the SDK may not include {name}, which is the host's"
        if os.sep + "include" + os.sep in path and quoted:
            yield path, number, f"an installed header may not include \"{name}\", which is not installed"


def wrong_between_floors(root):
    floors = list(FLOORS)
    floor_of = {header: floor for floor, headers in FLOORS.items() for header in headers.split()}
    src, include = (os.path.join(root, "sdk", *parts) for parts in (("src",), ("include", "wayfarer")))
    for path, number, quoted, name in [*includes(src), *includes(include)]:
        if path.startswith(src):
            room = os.path.relpath(path, src).split(os.sep)[0]
        else:
            room = floor_of.get(os.path.splitext(os.path.basename(path))[0])
        if room not in FLOORS:
            yield path, number, "no room of the SDK that this test knows; add it to FLOORS"
        elif quoted and os.path.relpath(os.path.join(os.path.dirname(path), name), src).split(os.sep)[0] != room:
            yield path, number, f"a room of the SDK may not include \"{name}\", which is inside another"
        elif not quoted and name.startswith("wayfarer/"):
            header = os.path.splitext(name)[0].split("/", 1)[1]
            if header not in floor_of:
                yield path, number, f"<{name}> is on no floor; add it to FLOORS"
            elif floors.index(floor_of[header]) > floors.index(room) and (os.path.basename(path), header) not in FROM_ABOVE:
                yield path, number, f"the SDK's {room} may not include <{name}>, which is of its {floor_of[header]}"


def wrong_in_docs(root):
    path = os.path.join(root, "docs", "README.md")
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for floor, headers in FLOORS.items():
        row = f"| `{floor}` | {', '.join(f'`{header}`' for header in headers.split())} |"
        if row not in lines:
            yield path, 1, f"the SDK's headers are listed otherwise than here; write: {row}"


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
        if owner not in ([kind, plugin], [kind, "common"]) and owner[0] != "common":
            yield path, number, f"a plugin may include the SDK, its own folder, {kind}/common and plugins/common, not {name}"


def planted(place, line, check):
    """What `check` finds in a tree with this line in this file alone."""
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(os.path.join(root, os.path.dirname(place)))
        with open(os.path.join(root, place), "w", encoding="utf-8") as file:
            file.write(line + "\n")
        return [*check(root)]


def proves_itself():
    """Every arrow between two rooms of core/ is checked, however the include is written; so is what none of them may include."""
    for room, may in ALLOWED.items():
        place = f"core/{room}/x.cpp"
        for other in ALLOWED:
            good = other in may or other in (room, "text")
            for name in (f'"{other}/y.hpp"', f"<{other}/y.hpp>", f'"../{other}/y.hpp"'):
                if bool(planted(place, f"#include {name}", wrong_in_core)) == good:
                    yield place, 1, f"this test does not judge rightly of #include {name}"
        for name in ('"files/read_log.hpp"', "<files/read_log.hpp>", '"../../sdk/src/files/read_log.hpp"', '"probes/pca/pca.hpp"', "<probes/pca/pca.hpp>"):
            if not planted(place, f"#  include {name}", wrong_in_core):
                yield place, 1, f"this test does not find #include {name}"
        for name in ("<wayfarer/model.hpp>", "<vector>", '"y.hpp"', "<benchmark/benchmark.h>"):
            if planted(place, f"#include {name}", wrong_in_core):
                yield place, 1, f"this test refuses #include {name}"
        for name in (f'"{room}/y.hpp"', f"<{room}/y.hpp>", f'"../../../core/{room}/y.hpp"'):
            if not planted("sdk/src/files/x.cpp", f"#include {name}", wrong_in_sdk):
                yield "sdk/src/files/x.cpp", 1, f"this test does not find #include {name}"
    if not planted("core/attic/x.cpp", "#include <vector>", wrong_in_core):
        yield "core/attic/x.cpp", 1, "this test does not find a room that it does not know"


def main(root):
    wrong = [*proves_itself(), *wrong_in_core(root), *wrong_in_sdk(root), *wrong_between_floors(root), *wrong_in_docs(root), *wrong_in_plugins(root)]
    for path, number, why in wrong:
        print(f"{os.path.relpath(path, root)}:{number}: {why}")
    seen = sum(1 for folder in ("core", "sdk", "plugins") for _ in includes(os.path.join(root, folder)))
    print(f"{seen} includes, {len(wrong)} against an arrow")
    return 1 if wrong or seen < 1000 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
