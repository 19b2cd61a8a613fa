"""lengths_test.py SOURCE_DIR: in the rooms below no function has more than 60 lines, and in core/conformance no file more than 350.

A function is a block in braces that is not within another function: lambdas count as part of what they are in. Prints each that is
longer, with file and line, and fails if there is any.
"""
import os
import re
import sys

# Folders, or single files.
ROOMS = ["core"]
LINES_OF_FUNCTION, LINES_OF_FILE = 60, 350
# What can hold a brace that is none: a comment, a raw text, a text, a character. An apostrophe in a number is no character.
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\s\\]*)\(.*?\)(?P=tag)"|"(?:[^"\\\n]|\\.)*"|(?<![0-9a-fA-F])\'(?:[^\'\\\n]|\\.)+\'', re.S)
# What opens a block that holds declarations. A function's head has parentheses.
HOLDS_DECLARATIONS = re.compile(r'\bnamespace\b|\bextern\s*$|\b(class|struct|union|enum)\b[^()=]*$')


def functions(text):
    """First line and number of lines of each function."""
    text = NO_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    text = re.sub(r"^[ \t]*#.*(?:\\\n.*)*", lambda found: re.sub(r"[^\n]", " ", found.group()), text, flags=re.M)
    depth, inside, start = 0, None, 0  # inside: the depth at which a function began; start: of the current declaration
    for at, sign in enumerate(text):
        if sign == "{":
            head = text[start:at]
            if inside is None and "(" in head and not HOLDS_DECLARATIONS.search(head):
                inside, first = depth, start + len(head) - len(head.lstrip())
            depth += 1
        elif sign == "}":
            depth -= 1
            if inside == depth:
                inside = None
                yield text.count("\n", 0, first) + 1, text.count("\n", first, at) + 1
        if sign in "{};" and inside is None:
            start = at + 1
    if depth != 0:
        raise ValueError("the braces do not match")


def proves_itself():
    """A function is found in a namespace and in a class, with what it contains, and nothing else is."""
    body = "  auto f = [] {\n    if (x) { y(\"}\"); }  // }\n  };\n"
    text = ("namespace a {\nenum class e { one };\nconstexpr int table[] = {1};\nstruct s : base {\n  int size = 1'000;\n"
            "  void member() const {\n" + body + "  }\n};\ntemplate <class T>\nstd::map<int, T> free(T x,\n    int y) {\n" +
            body + "  return {};\n}\n}\n")
    return list(functions(text)) == [(6, 5), (12, 8)]


def files(root):
    for room in ROOMS:
        if room.endswith(".cpp"):
            yield room
        for at, _, names in os.walk(os.path.join(root, room)):
            yield from (os.path.relpath(os.path.join(at, name), root) for name in sorted(names) if name.endswith((".cpp", ".hpp", ".inc")))


def main(root):
    wrong, seen = [] if proves_itself() else ["this test does not find the functions of its own example"], 0
    for name in files(root):
        with open(os.path.join(root, name), encoding="utf-8") as file:
            text = file.read()
        if (lines := text.count("\n")) > LINES_OF_FILE and name.startswith("core/conformance/"):
            wrong.append(f"{name}: {lines} lines; cut it into files by subject")
        for line, lines in functions(text):
            seen += 1
            if lines > LINES_OF_FUNCTION:
                wrong.append(f"{name}:{line}: a function of {lines} lines; give its parts names")
    print("\n".join([*wrong, f"{seen} functions, {len(wrong)} too long"]))
    return 1 if wrong or seen < 1500 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
