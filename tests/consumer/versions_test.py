#!/usr/bin/env python3
"""versions_test.py PROGRAM HEADERS LIBRARIES WORK COMPILER [CASE...]: plugins that were compiled with other headers than the program.

Each case changes a copy of the SDK's headers as another version of them would differ: a field or a virtual function that is not
there, or one more, or in another place, or of another type. Plugins of all four kinds are compiled with the copy and run by the
program. Each must give right numbers, or be refused with exit code 4 and words that name what differs.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

program, headers, libraries, work = (Path(p).resolve() for p in sys.argv[1:5])
compiler, wanted = sys.argv[5], sys.argv[6:]
here = Path(__file__).resolve().parent / "versions"
kinds = ["source", "model", "probe", "metric"]
# Three items of 2, 3 and 4 tokens, two numbers of 2 at each.
right = {"probe/vocabulary": 11, "probe/hooks": 2, "probe/sum": 2 * 2 * (2 + 3 + 4), "probe/attended": 5, "metric/twice": 22}
version = {n: int(re.search(rf"#define WAYFARER_SDK_{n} (\d+)", (headers / "wayfarer/version.hpp").read_text())[1])
           for n in ("MAJOR", "MINOR")}


def change(text, old, new):
    """Replaces one place, and only one: a case whose place is gone must fail, not pass."""
    if text.count(old) != 1:
        raise SystemExit(f"{old!r} occurs {text.count(old)} times in the header, not once; adapt the case")
    return text.replace(old, new)


def listed(text, type_, edit):
    """Changes the list of a type at its header's end."""
    entry = re.search(rf"^WAYFARER_(?:ENUM_|INTERFACE_)?LAYOUT\({re.escape(type_)}\b[^;]*\);", text, re.M)
    if not entry:
        raise SystemExit(f"no list of {type_}; adapt the case")
    return text[:entry.start()] + edit(entry[0]) + text[entry.end():]


def drop(name):
    def edit(entry):
        out, n = re.subn(rf",\s*{name}(?=\s*[,)])", "", entry)
        if n != 1:
            raise SystemExit(f"{name} is not in {entry}; adapt the case")
        return out
    return edit


def add(name):
    return lambda entry: entry[:-2] + ", " + name + ");"


def without(type_, member, declaration, replacement=""):
    """A member that is not there: neither in the type nor in its list."""
    return lambda text: listed(change(text, declaration, replacement), type_, drop(member))


def having(type_, member, before, declaration):
    return lambda text: listed(change(text, before, declaration + before), type_, add(member))


def replaced(old, new):
    return lambda text: change(text, old, new)


# name: (header, change, words that a refusal must hold)
cases = {
    # The measured one: such a probe printed another vocabulary and another number of hooks, and exit code 0.
    "model_info_field": ("model.hpp", without("model_info", "decoder_layers", "  std::size_t decoder_layers = 0;", "  "),
                         ["'model_info'", "model.hpp", "lacks the field 'decoder_layers'"]),
    "run_request_field": ("model.hpp", without("run_request", "edits", "  std::vector<hook_edit> edits;\n"),
                          ["'run_request'", "model.hpp", "lacks the field 'edits'"]),
    "batch_field": ("model.hpp", without("batch", "encoder_states", "  tensor encoder_states;\n"),
                    ["'batch'", "model.hpp", "lacks the field 'encoder_states'"]),
    "hook_info_field": ("hooks.hpp", without("hook_info", "about", "  std::string about{};"),
                        ["'hook_info'", "hooks.hpp", "lacks the field 'about'"]),
    "item_block_field": ("source.hpp", without("item_block", "seconds", "  std::vector<std::string> seconds;"),
                         ["'item_block'", "source.hpp", "lacks the field 'seconds'"]),
    "attend_options_field": ("layers.hpp", without("attend_options", "causal", "  bool causal = false;"),
                             ["'attend_options'", "layers.hpp", "lacks the field 'causal'"]),
    "source_info_field": ("source.hpp", without("source_info", "notes", "  std::vector<std::string> notes;"),
                          ["'source_info'", "source.hpp", "lacks the field 'notes'"]),
    "model_function": ("model.hpp", without("model", "text_tokenizer",
                                            "  virtual tokenizer const* text_tokenizer() const { return nullptr; }\n"),
                       ["'model'", "model.hpp", "lacks the virtual function 'text_tokenizer'"]),
    "probe_function": ("probe.hpp", without("probe", "merge", "  virtual void merge(accumulator& into, accumulator const& from) "
                                                              "const { into.append(from); }\n"),
                       ["'probe'", "probe.hpp", "lacks the virtual function 'merge'"]),
    "source_function": ("source.hpp", without("source", "info", "  virtual source_info const& info() const = 0;\n"),
                        ["'source'", "source.hpp", "lacks the virtual function 'info'"]),
    "metric_function": ("metric.hpp", without("metric", "over_steps", "  virtual bool over_steps() const { return false; }\n"),
                        ["'metric'", "metric.hpp", "lacks the virtual function 'over_steps'"]),
    "continued_run_function": ("model.hpp", without("continued_run", "length",
                                                    "  virtual std::size_t length(std::size_t item) const noexcept = 0;\n"),
                               ["'continued_run'", "model.hpp", "lacks the virtual function 'length'"]),
    "more_fields": ("model.hpp", having("model_info", "experts", "  std::vector<hook_info> hooks;\n", "  std::size_t experts = 0;\n"),
                    ["'model_info'", "has the field 'experts'"]),
    # A version whose makers forgot the list.
    "more_fields_unlisted": ("model.hpp", replaced("  std::size_t kv_heads = 0;\n", "  std::size_t kv_heads = 0, experts = 0;\n"),
                             ["'model_info'", "bytes"]),
    "more_functions": ("metric.hpp", having("metric", "more", "  virtual void measure(", "  virtual void more() const {}\n"),
                       ["'metric'", "has the virtual function 'more'"]),
    "more_functions_unlisted": ("metric.hpp", replaced("results&) const = 0;\n", "results&) const = 0;\n  virtual void more() const {}\n"),
                                ["'metric'", "another number of virtual functions"]),
    "fields_reordered": ("model.hpp", replaced("heads = 0, d_model = 0,", "d_model = 0, heads = 0,"),
                         ["'model_info'", "the field 'heads' is at byte"]),
    "functions_reordered": ("metric.hpp", replaced(
        "  virtual bool over_steps() const { return false; }\n  virtual void measure(metric_input const&, results&) const = 0;\n",
        "  virtual void measure(metric_input const&, results&) const = 0;\n  virtual bool over_steps() const { return false; }\n"),
                            ["'metric'", "is in another place"]),
    "field_of_another_type": ("model.hpp", replaced("  double norm_epsilon = 0;", "  std::int64_t norm_epsilon = 0;"),
                              ["'model_info'", "'norm_epsilon' has another type"]),
    "element_of_another_type": ("model.hpp", replaced("  std::vector<double> attention_scales{};", "  std::vector<std::int64_t> attention_scales{};"),
                                ["'model_info'", "'attention_scales' has another type"]),
    "function_of_other_parameters": ("metric.hpp", replaced("virtual bool over_steps() const", "virtual bool over_steps(int = 0) const"),
                                     ["'metric'", "'over_steps' has other parameters"]),
    "enumerators_reordered": ("tensor.hpp", replaced("{ f32, f64,", "{ f64, f32,"), ["'dtype'", "tensor.hpp", "the enumerator 'f32' is 1"]),
    # Versions, of the same structs.
    "older_minor": ("version.hpp", replaced(f"MINOR {version['MINOR']}", f"MINOR {version['MINOR'] - 1}"), None),
    "newer_minor": ("version.hpp", replaced(f"MINOR {version['MINOR']}", f"MINOR {version['MINOR'] + 1}"),
                    [f"SDK {version['MAJOR']}.{version['MINOR'] + 1}", "newer than this host's"]),
    "newer_major": ("version.hpp", replaced(f"MAJOR {version['MAJOR']}", f"MAJOR {version['MAJOR'] + 1}"),
                    [f"SDK {version['MAJOR'] + 1}.{version['MINOR']}", "the major versions must be equal"]),
}
if version["MINOR"] == 0:  # the first minor version of its major: there is no older one
    del cases["older_minor"]


flags = ["-std=c++20", "-O0", "-fPIC", "-fvisibility=hidden"]
standard = work / "standard.hpp"


def precompile():
    """The standard headers that the SDK's include: the same in all cases, and most of what a compiler reads."""
    names = sorted({name for h in (headers / "wayfarer").glob("*.hpp") for name in re.findall(r"^#include <([a-z_]+)>$", h.read_text(), re.M)})
    standard.write_text("".join(f"#include <{name}>\n" for name in names))
    subprocess.run([compiler, *flags, "-x", "c++-header", standard, "-o", f"{standard}.gch"], check=True)


def library(folder, kind):
    return folder / f"wayfarer_crossing_{kind}.so"


def compile_plugin(include, folder, kind):
    """The files that it read, without their folder."""
    out = library(folder, kind)
    subprocess.run([compiler, *flags, "-shared", "-include", standard, "-MMD", "-MF", f"{out}.d", "-I", include,
                    here / f"crossing_{kind}.cpp", "-o", out, "-L", libraries, "-lwayfarer_sdk"], check=True)
    return set(re.findall(r"/wayfarer/(\w+\.hpp)", Path(f"{out}.d").read_text()))


def run(folder, odd=None):
    """Runs all four, those of `folder`, or only its `odd` one and the others as they should be. Exit code, words, numbers."""
    pipeline, result = folder / f"{odd or 'all'}.yaml", folder / f"{odd or 'all'}.h5"
    pipeline.write_text("seed: 1\nnodes:\n  source: {source: crossing_source}\n  model: {model: crossing_model}\n"
                        "  probe: {probe: crossing_probe, model: model, source: source}\n"
                        "  metric: {metric: crossing_metric, of: probe/vocabulary}\n")
    mixed = folder / f"with_{odd or 'all'}"
    mixed.mkdir(exist_ok=True)
    for kind in kinds:
        shutil.copy(library(folder if odd in (None, kind) else work / "same", kind), library(mixed, kind))
    environment = {k: v for k, v in os.environ.items() if k != "WAYFARER_PLUGIN_PATH"} | {"NO_COLOR": "1"}
    done = subprocess.run([program, "run", pipeline, "--quiet", "--out", result, "--force", "--plugin-path", mixed], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    numbers = {}
    if done.returncode == 0:
        for name in right:
            shown = subprocess.run([program, "show", result, name, "--json"], env=environment, stdout=subprocess.PIPE, text=True, check=True)
            values = json.loads(shown.stdout)["values"]
            while isinstance(values, list):
                values, = values
            numbers[name] = values
    return done.returncode, done.stdout, numbers


def check(name):
    """What is wrong with a case: a list of lines."""
    header, edit, words = cases[name]
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(headers / "wayfarer", folder / "include/wayfarer")
    copy = folder / "include/wayfarer" / header
    copy.write_text(edit(copy.read_text()))
    wrong, touched = [], [k for k in kinds if header in read[k]]
    if not touched:
        wrong.append(f"no plugin includes {header}")
    for kind in touched:  # the others would be the same bytes
        compile_plugin(folder / "include", folder, kind)
        code, said, numbers = run(folder, kind)
        if words is None and (code != 0 or numbers != right):
            wrong.append(f"{kind}: exit code {code}, numbers {numbers}, not {right}:\n{said}")
        if words is not None and (code != 4 or not all(w in said for w in words + [f"crossing_{kind}.so"])):
            wrong.append(f"{kind}: exit code {code}, numbers {numbers}, expected a refusal that says {words}:\n{said}")
    print(f"{name}: {'; '.join(touched)}: {'ok' if not wrong else 'WRONG'}", flush=True)
    return [f"{name}: {w}" for w in wrong]


same = work / "same"
same.mkdir(parents=True, exist_ok=True)
precompile()
with ThreadPoolExecutor(os.cpu_count()) as pool:
    read = dict(zip(kinds, pool.map(lambda kind: compile_plugin(headers, same, kind), kinds)))
    code, said, numbers = run(same)
    if code != 0 or numbers != right:
        sys.exit(f"plugins compiled with the program's own headers: exit code {code}, {numbers}, not {right}\n{said}")
    wrong = [line for lines in pool.map(check, wanted or cases) for line in lines]
sys.exit("\n".join(wrong) if wrong else 0)
