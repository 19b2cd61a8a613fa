"""Runs the program `wayfarer`; its errors become exceptions with the same message."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from .results import Result


class WayfarerError(Exception):
    """What the program said when it failed; `exit_code` is its own."""

    exit_code = None


class UsageError(WayfarerError):
    """The pipeline or a setting is wrong."""


class DataError(WayfarerError):
    """A file is malformed, truncated or missing."""


class PluginError(WayfarerError):
    """A plugin can't be loaded, or broke its contract."""


class ResourceError(WayfarerError):
    """Memory, disk or another resource ran out."""


_ERRORS = {2: UsageError, 3: DataError, 4: PluginError, 5: ResourceError}


def _program(given):
    found = given or os.environ.get("WAYFARER") or shutil.which("wayfarer")
    if not found:
        raise FileNotFoundError("the program 'wayfarer' is not on the PATH; install it, or name it: program=..., or the environment "
                                "variable WAYFARER")
    return os.fspath(found)


def _settings(values):
    out = []
    for key, value in (values or {}).items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, str):
            text = value
        else:
            text = json.dumps(value)
        out += ["--set", f"{key}={text}"]
    return out


def _call(arguments, show, cwd=None):
    """Runs the program, shows its lines as they come if `show`, and raises what it failed with."""
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=cwd)
    lines = []
    try:
        for line in child.stdout:
            lines.append(line)
            if show:
                print(line, end="", file=sys.stdout, flush=True)
    except BaseException:  # an interrupt of the notebook ends the run, too
        child.terminate()
        child.wait()
        raise
    code = child.wait()
    if code not in (0, 1):
        text = "".join(lines)
        at = text.rfind("\nwayfarer: ")
        message = text[at + len("\nwayfarer: "):] if at >= 0 else text.removeprefix("wayfarer: ")
        error = _ERRORS.get(code, WayfarerError)(message.strip() or f"wayfarer ended with {code}")
        error.exit_code = code
        raise error
    return "".join(lines)


def run(pipeline, set=None, out=None, *, progress=True, resume=False, threads=None, program=None):  # noqa: A002
    """Runs a pipeline file and opens its result.

    `set` changes settings, as --set does: {"lens.k": 3, "seed": 1}. `out` is the result file; without it, the pipeline's name
    with .h5 in this folder. A file there is replaced only if it is an earlier result.
    """
    out = os.fspath(out) if out else os.path.splitext(os.path.basename(os.fspath(pipeline)))[0] + ".h5"
    arguments = [_program(program), "run", os.fspath(pipeline), "--out", out, *_settings(set)]
    if resume:
        arguments.append("--resume")
    if threads is not None:
        arguments += ["--threads", str(threads)]
    if not progress:
        arguments.append("--quiet")
    _call(arguments, progress)
    return Result(out)


class Pipeline:
    """A pipeline that a dict describes. `yaml` is its text; paths in it are relative to `folder`."""

    def __init__(self, what, folder=".", program=None):
        self.what, self.folder, self._given = what, os.fspath(folder), program
        lines = []
        for key, value in what.items():
            if key in ("nodes", "expect") and isinstance(value, dict) and value:
                lines.append(f"{key}:")
                lines += [f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items()]
            else:
                lines.append(f"{key}: {json.dumps(value)}")
        self.yaml = "\n".join(lines) + "\n"

    def save(self, path):
        with open(path, "x", encoding="utf-8") as f:
            f.write(self.yaml)

    def _with_file(self, use):
        handle, path = tempfile.mkstemp(prefix=".pipeline-", suffix=".yaml", dir=self.folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as f:
                f.write(self.yaml)
            return use(path)
        except WayfarerError as error:
            # The reader never saw this file: it is the dict that is wrong.
            renamed = type(error)(str(error).replace(path, "pipeline").replace(os.path.basename(path), "pipeline"))
            renamed.exit_code = error.exit_code
            raise renamed from None
        finally:
            os.unlink(path)

    def check(self, set=None):  # noqa: A002
        """Raises UsageError that names every problem, with the line and column of `yaml`."""
        self._with_file(lambda path: _call([_program(self._given), "check", path, *_settings(set)], False))
        return self

    def run(self, out, set=None, *, progress=True, threads=None):  # noqa: A002
        """Runs it and opens the result, which is written to `out`."""
        return self._with_file(lambda path: run(path, set, out, progress=progress, threads=threads, program=self._given))

    def __repr__(self):
        return self.yaml


def pipeline(what, folder=".", program=None):
    """A checked pipeline from a dict, such as {"title": "mine", "nodes": {"text": {"source": "text", "texts": ["one"]}}}."""
    return Pipeline(what, folder, program).check()
