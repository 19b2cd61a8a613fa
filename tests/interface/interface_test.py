#!/usr/bin/python3
"""interface_test.py WHAT SOURCE BUILD [--write]: what others rely on, against the golden file WHAT.txt beside this script.

layouts  size, fields and virtual functions of each type that crosses between plugin and host, from the debugging data of a file
         that includes every header; and whether the headers' own lists (layout.hpp), which the host compares, say the same
symbols  the functions, virtual tables and type names that the SDK's library exports
hooks    the hooks of each model, of small checkpoints of every architecture

A change that is meant: `ninja -C BUILD golden_interface` writes the files again. Say in CHANGELOG.md what others have to do.
"""
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

what, source, build = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
headers = source / "sdk/include/wayfarer"

# Types that never cross: their code is in the header, so that each side uses its own alone.
stay = {
    "tensor_view": "made and used by the side that asks for it",
    "random_stream": "made and used by one side",
    "packed_numbers": "made and used by one side",
    "reader": "of packed_numbers",
    "iterator": "of json_elements and json_members: made and used by one side",
    "strings": "a way to write the descriptor", "integers": "a way to write the descriptor", "reals": "a way to write the descriptor",
    "param": "a way to write the descriptor", "port": "a way to write the descriptor", "plugin_table": "a way to write the descriptor",
    "model_limits": "constants", "free_context": "an empty class", "bool_tag": "an empty class", "number_tag": "an empty class",
    "lane_list": "of simd.hpp, in an unnamed namespace", "make_lanes": "of simd.hpp, in an unnamed namespace",
    "fixed_source": "for tests of plugins", "fixed_model": "for tests of plugins",
}
# The descriptor and its tables have sizes and a version of their own, which the host checks first.
apart = {"descriptor.hpp", "layout.hpp"}


def fail(text):
    sys.exit(text)


# ---- layouts ----

def lists_of(text):
    """The lists at a header's end: {type: (kind, members)}, in order."""
    text = text.replace("\\\n", " ")
    text = re.sub(r"^WAYFARER_INNER_LAYOUT\((\w+), \d+, ", r"WAYFARER_LAYOUT(\1::", text, flags=re.M)
    return {m[2]: (m[1] or "", re.findall(r"\w+", m[3])) for m in
            re.finditer(r"^WAYFARER_(ENUM_|INTERFACE_)?LAYOUT\(([\w:<>]+)([^;]*)\);", text, re.M)}


def types_of(text):
    """Names of the types that a header defines."""
    return re.findall(r"^ *(?:struct|class|enum class) (?:WAYFARER_API )?(\w+)(?: final)?(?: : [^;{]*)? \{", text, re.M)


def compiled(folder):
    """The debugging data of a file that includes every header. It is the same whatever this build's own options are."""
    out = folder / "layouts.o"
    subprocess.run(["g++", "-std=c++20", "-g", "-femit-class-debug-always", "-O0", "-I", headers.parent, "-c", source / "sdk/src/checkpoint/layouts.cpp", "-o", out], check=True)
    return out


class types:
    """The types of namespace wayfarer in the debugging data."""

    def __init__(self, path):
        from elftools.elf.elffile import ELFFile
        self.file = open(path, "rb")
        self.all = {}
        for unit in ELFFile(self.file).get_dwarf_info().iter_CUs():
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_namespace" and self.name(die) == "wayfarer":
                    self.walk(die, "")

    @staticmethod
    def name(die):
        at = die.attributes.get("DW_AT_name")
        return at.value.decode() if at else ""

    @staticmethod
    def value(die, what, otherwise=0):
        return die.attributes[what].value if what in die.attributes else otherwise

    def walk(self, parent, prefix):
        for die in parent.iter_children():
            if die.tag in ("DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_enumeration_type") and "DW_AT_byte_size" in die.attributes:
                name = prefix + self.name(die)
                if not name.startswith(("layout_of<", "after_all_of<")):
                    self.all[name] = die
                    if die.tag != "DW_TAG_enumeration_type":
                        self.walk(die, name + "::")

    @staticmethod
    def short(name):
        """Without the arguments that containers are given by themselves."""
        name = re.sub(r"std::__cxx11::basic_string<char, [^<]*<char>, [^<]*<char> >", "std::string", name)
        while (at := re.search(r", std::(allocator|default_delete)<", name)):
            depth, end = 1, at.end()
            while depth:
                depth += {"<": 1, ">": -1}.get(name[end], 0)
                end += 1
            name = name[:at.start()] + name[end:]
        return name.replace(" >", ">")

    def described(self, die):
        """A type as people write it."""
        target = die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None
        return self.spelled(target)

    def spelled(self, die):
        if die is None:
            return "void"
        tail = {"DW_TAG_pointer_type": "*", "DW_TAG_reference_type": "&", "DW_TAG_const_type": " const"}.get(die.tag)
        return self.described(die) + tail if tail is not None else self.short(self.name(die))

    def members(self, die):
        """(name, place, description) of fields, virtual functions or enumerators."""
        if die.tag == "DW_TAG_enumeration_type":
            return [(self.name(c), self.value(c, "DW_AT_const_value"), "") for c in die.iter_children()]
        fields, functions = [], []
        for c in die.iter_children():
            name = self.name(c)
            if c.tag == "DW_TAG_member" and "DW_AT_data_member_location" in c.attributes and not name.startswith("_vptr"):
                fields.append((name, self.value(c, "DW_AT_data_member_location"), self.described(c)))
            if c.tag == "DW_TAG_subprogram" and "DW_AT_vtable_elem_location" in c.attributes and not name.startswith("~"):
                # DW_OP_constu, LEB128
                place = sum((b & 127) << 7 * i for i, b in enumerate(self.value(c, "DW_AT_vtable_elem_location")[1:]))
                parameters = [self.described(p) for p in c.iter_children() if p.tag == "DW_TAG_formal_parameter"]
                functions.append((name, place, f"({', '.join(parameters[1:])}) -> {self.described(c)}"))
        return functions or fields


def as_debugged(name):
    """A listed name as the debugging data has it."""
    text = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > "
    return name.replace("std::int32_t", "int").replace("std::string", text)


def layouts():
    found, wrong, lines = None, [], []
    with tempfile.TemporaryDirectory() as folder:
        found = types(compiled(Path(folder)))
        included = (source / "sdk/src/checkpoint/layouts.cpp").read_text()
        for header in sorted(headers.glob("*.hpp")):
            if header.name in apart:
                continue
            text = header.read_text()
            lists = lists_of(text)
            if lists and f"#include <wayfarer/{header.name}>" not in included:
                wrong.append(f"sdk/src/checkpoint/layouts.cpp does not include {header.name}: the host would not know its types")
            known = {re.sub("<.*", "", n).split("::")[-1] for n in lists}
            for name in types_of(text):
                if name not in known and name not in stay:
                    wrong.append(f"{header.name}: {name} has no list; write WAYFARER_LAYOUT({name}, ...) at the header's end (layout.hpp)")
            for name, (kind, members) in lists.items():
                die = found.all.get(as_debugged(name))
                if die is None:
                    wrong.append(f"{header.name}: no debugging data of {name}")
                    continue
                real = found.members(die)
                if kind == "INTERFACE_" or not any("(" in r[2] for r in real):  # of a final class others call nothing by its place
                    if [r[0] for r in real] != members:
                        wrong.append(f"{header.name}: the list of {name} is {', '.join(members) or 'empty'}, and the type has "
                                     f"{', '.join(r[0] for r in real) or 'nothing'}; correct the list at the header's end")
                size = found.value(die, "DW_AT_byte_size")
                lines.append(f"{header.name} {name}: {size} bytes")
                lines += [f"  {place} {member}{': ' + about if about and not about.startswith('(') else about}" for member, place, about in real]
    if wrong:
        fail("\n".join(wrong))
    return lines


# ---- symbols ----

def symbols():
    library = build / "lib/libwayfarer_sdk.so"
    listed = subprocess.run(["nm", "-D", "--defined-only", "-C", library], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = set()
    for line in listed.splitlines():
        kind, name = line[17:].split(" ", 1)
        # Weak ones come and go with what a compiler inlines, but for templates whose code is in the library alone.
        if kind in "TDBR" or kind == "V" and name.startswith(("vtable for wayfarer::", "typeinfo for wayfarer::")) or \
                re.search(r"wayfarer::(scan|adamw_step|norm_of)<", name):
            if "wayfarer::" in name and "{lambda" not in name:
                lines.add(name)
    return sorted(lines)


# ---- hooks ----

llama = dict(vocab_size=29, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=24, intermediate_size=14,
             max_position_embeddings=24)
gpt = dict(vocab_size=29, n_layer=2, n_head=4, n_embd=24, n_inner=14, n_positions=24)
neox = dict(vocab_size=29, num_hidden_layers=2, num_attention_heads=4, hidden_size=24, intermediate_size=14, max_position_embeddings=24)
decoders = {
    "llama": llama, "mistral": llama, "qwen2": llama, "qwen3": llama, "phi3": llama, "olmo2": llama, "starcoder2": llama, "smollm3": llama,
    "gemma": llama, "gemma2": llama | dict(query_pre_attn_scalar=9, sliding_window=3, attn_logit_softcapping=1.5, final_logit_softcapping=2.0),
    "stablelm": llama | dict(partial_rotary_factor=0.34), "granite": llama, "cohere": llama | dict(logit_scale=0.3), "glm4": llama | dict(head_dim=6, partial_rotary_factor=0.7), "internlm2": llama,
    "gpt_neox": neox | dict(rotary_pct=0.7), "phi": neox | dict(partial_rotary_factor=0.7),
    "opt": dict(vocab_size=29, num_hidden_layers=2, num_attention_heads=4, hidden_size=24, ffn_dim=14, max_position_embeddings=24), "bloom": dict(vocab_size=29, n_layer=2, n_head=4, hidden_size=24),
    "falcon": dict(vocab_size=29, num_hidden_layers=2, num_attention_heads=4, hidden_size=24, new_decoder_architecture=True, num_kv_heads=2),
    "gptj": gpt | dict(rotary_dim=4), "gpt_bigcode": gpt,
    **{f"wayfarer_decoder, mixer {mixer}": llama | dict(position=position, norm=norm, activation="gelu", mixer=mixer, **more) for mixer, position, norm, more in (
        ("attention", "rotary", "rms", dict(gated=True)), ("mean", "learned", "layer", {}), ("window", "none", "layer", dict(window=5)),
        ("conv", "none", "rms", dict(window=5)), ("position", "none", "layer", {}))},
    "gpt_neo": dict(vocab_size=29, num_layers=2, num_heads=4, hidden_size=24, intermediate_size=14, max_position_embeddings=24, window_size=5,
                    attention_types=[[["global", "local"], 1]]),
}
folders = {
    "gpt2": ["gpt2-odd"], "t5": ["t5-gated", "t5-relu"], "bert": ["bert-small", "roberta-small", "albert-small", "distilbert-small", "electra-small"],
    "bart": ["bart-small"], "rwkv": ["rwkv4-small", "rwkv5.1-small", "rwkv5.2-small", "rwkv6-small", "rwkv7-small"],
    "mamba": ["mamba-small", "mamba2-small", "falcon-mamba-small"], "aft": ["aft-conv-small", "aft-full-small", "aft-local-small", "aft-simple-small"],
}


def program(*arguments):
    environment = {k: v for k, v in os.environ.items() if k != "WAYFARER_PLUGIN_PATH"}
    done = subprocess.run([build / "bin/wayfarer", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail(f"wayfarer {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def hooks_of(plugin, path=None):
    """Names and dimensions, the same of all blocks together."""
    counts = {}
    for hook in json.loads(program("model", "hooks", plugin, "--json", *(["--path", path] if path else []))):
        dims = re.sub(r" \d+", "", hook["shape"])
        block = re.search(r"\bblocks\.(\d+)\.", hook["name"])
        line = re.sub(r"\bblocks\.\d+\.", "blocks.#.", hook["name"]) + " " + dims
        counts.setdefault(line, []).append(block[1] if block else "")
    return [f"  {line}{' of ' + ', '.join(blocks) if blocks[0] else ''}" for line, blocks in counts.items()]


def hooks():
    lines = []
    for plugin, names in folders.items():
        for name in names:
            lines += [f"{plugin}, tests/data/{name}"] + hooks_of(plugin, source / "tests/data" / name)
    with tempfile.TemporaryDirectory() as folder:
        for family, sizes in decoders.items():
            Path(folder, "config.json").write_text(json.dumps({"model_type": family.split(",")[0]} | sizes))
            lines += [f"decoder, {family}"] + hooks_of("decoder", folder)
    for plugin in ("gpt2_trained", "language_model_trained"):
        lines += [plugin] + hooks_of(plugin)
    return lines


golden = Path(__file__).resolve().parent / f"{what}.txt"
lines = {"layouts": layouts, "symbols": symbols, "hooks": hooks}[what]()
if sys.argv[4:] == ["--write"]:
    golden.write_text("\n".join(lines) + "\n")
else:
    difference = list(difflib.unified_diff(golden.read_text().splitlines(), lines, f"tests/interface/{what}.txt", "this build", lineterm="", n=1))
    if difference:
        fail("\n".join(difference) + f"\n\nOthers' plugins and pipelines rely on these {what}. If the change is meant, write the file again with\n"
             f"  ninja -C {build} golden_interface\nand say in CHANGELOG.md what changes for them.")
