"""A result file: its nodes as xarray datasets, or array by array with h5py alone."""
import difflib
import json
import os
import re

import h5py
import numpy as np

from . import view

_TOKENS = ("tokens", "decoder_tokens", "encoder_tokens")
_HOOK = re.compile(r"(?:(?P<before>.*?)\.)?(?P<number>\d+)\.(?P<after>.+)")


def open(path):
    """Opens a result file. Values are read when they are asked for; close it, or use it in a `with`."""
    return Result(path)


def _near(wanted, known, what, where):
    close = difflib.get_close_matches(wanted, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "; it has " + ", ".join(map(repr, list(known)[:20]))
    return KeyError(f"{where} has no {what} {wanted!r}{hint}")


def _values(d, index=()):
    """Numbers as they are, texts as str."""
    if h5py.check_string_dtype(d.dtype):
        return np.asarray(d.asstr()[index], dtype=object)
    return np.asarray(d[index])


class Result:
    """`r["node"]` is an xarray dataset, `r.node("node")` the node itself."""

    def __init__(self, path):
        self.path = os.fspath(path)
        self._file = h5py.File(self.path, "r")
        told = self._file.attrs.get("format")
        if told != "wayfarer":
            self._file.close()
            raise ValueError(f"{self.path}: an HDF5 file, but not a Wayfarer result")
        if int(self._file.attrs["format_version"]) != 1:
            version = self._file.attrs["format_version"]
            self._file.close()
            raise ValueError(f"{self.path}: has format version {version}; this package reads version 1")

    title = property(lambda self: str(self._file.attrs["title"]))
    seed = property(lambda self: int(self._file.attrs["seed"]))
    pipeline = property(lambda self: self._file["_run/pipeline"].asstr()[()], doc="the pipeline file, as given")
    warnings = property(lambda self: list(_values(self._file["_run/warnings"])) if "_run/warnings" in self._file else [])

    @property
    def nodes(self):
        """Names, in the order in which the nodes ran."""
        return [n for n in self._file if n != "_run"]

    @property
    def expectations(self):
        """What was measured and what was expected: one dict a line of `expect:`."""
        if "_run/expectations" not in self._file:
            return []
        columns = {name: _values(d) for name, d in self._file["_run/expectations"].items() if "role" not in d.attrs}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]

    def node(self, name):
        if name == "_run" or name not in self.nodes:
            raise _near(name, self.nodes, "node", self.path)
        return Node(self._file[name], self)

    def __getitem__(self, name):
        return self.node(name).to_xarray()

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self):
        return len(self.nodes)

    def __contains__(self, name):
        return name in self.nodes

    def close(self):
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<wayfarer result {self.path!r}: {self.title!r}, nodes {', '.join(self.nodes)}>"

    def _repr_html_(self):
        return view.result_html(self)


class Node:
    """One node of a result: what made it, what it found, its datasets."""

    def __init__(self, group, result=None):
        self._group, self._result = group, result
        self.name = group.name.strip("/")
        for attribute in ("plugin", "kind", "plugin_version", "key", "summary"):
            setattr(self, attribute, str(group.attrs.get(attribute, "")))

    @property
    def parameters(self):
        if "_parameters" in self._group:
            return json.loads(self._group["_parameters"].asstr()[()])
        return json.loads(self._group.attrs["parameters"])

    @property
    def datasets(self):
        """Names, coordinates of dimensions left out; in the order in which they were written."""
        found = []

        def walk(group, before):
            for name, d in group.items():
                if isinstance(d, h5py.Group):
                    walk(d, before + name + "/")
                elif "role" not in d.attrs and before + name != "_parameters":
                    found.append(before + name)

        walk(self._group, "")
        return found

    def h5(self, name):
        """The h5py dataset, of which parts can be read: `node.h5("states")[0, :5]`."""
        if name not in self._group or not isinstance(self._group[name], h5py.Dataset):
            raise _near(name, self.datasets, "dataset", self.name)
        return self._group[name]

    def array(self, name):
        """All values, as numpy has them; texts as str."""
        return _values(self.h5(name))

    def dims(self, name):
        """Names of the dimensions. Where one name stands for two sizes in a node, the second is called name_2."""
        names = []
        for axis in self.h5(name).dims:
            dim = axis[0].name.rsplit("/", 1)[-1] if len(axis) else axis.label
            while dim in names:  # a matrix over (topic, topic)
                dim = "other_" + dim
            names.append(dim)
        return tuple(names)

    def labels(self, name):
        """Coordinates of a dataset's dimensions that have some: {dimension: texts or numbers}."""
        d = self.h5(name)
        return {dim: _values(axis[0]) for dim, axis in zip(self.dims(name), d.dims)
                if len(axis) and axis[0].attrs.get("role") != "index" and axis[0].name != d.name}

    def attrs(self, name):
        """units, description, missing, view: what there is of them."""
        return {k: str(v) for k, v in self.h5(name).attrs.items() if k in ("units", "description", "long_name", "missing", "view")}

    def to_xarray(self, stack=True):
        """All datasets as one xarray.Dataset.

        Tokens are coordinates of their positions. Datasets that differ only in a layer's number, such as those of
        `blocks.*.hook_resid_post`, are stacked over a dimension `layer`, unless `stack` is false.
        """
        try:
            import xarray
        except ImportError as missing:
            raise ImportError("Result[...] and Node.to_xarray give xarray datasets, and xarray is not installed: install it "
                              "(python3-xarray), or read arrays with Result.node(name).array(dataset)") from missing
        arrays = {}
        for name in self.datasets:
            arrays[name] = xarray.DataArray(self.array(name), dims=self.dims(name), coords={
                dim: (dim, values) for dim, values in self.labels(name).items()}, attrs=self.attrs(name))
        if stack:
            arrays = _stacked(arrays, xarray)
        out = xarray.Dataset(arrays, attrs={"plugin": self.plugin, "kind": self.kind, "summary": self.summary, "node": self.name})
        return _with_tokens(out)

    def __repr__(self):
        return f"<node {self.name!r}: {self.kind} {self.plugin}; datasets {', '.join(self.datasets)}>"

    def _repr_html_(self):
        return view.node_html(self)


def _stacked(arrays, xarray):
    groups = {}
    for name, a in arrays.items():
        # The number of a layer is the one between two dots, or between the beginning and a dot.
        found = _HOOK.fullmatch(name)
        if found:
            key = (found["before"], found["after"], a.dims, a.shape, str(a.dtype))
            groups.setdefault(key, []).append((int(found["number"]), name))
    out, gone = {}, {}
    for (before, after, *_), members in groups.items():
        if len(members) < 2 or any("layer" in arrays[n].dims for _, n in members):
            continue
        members.sort()
        gone.update({n: (f"{before}.{after}" if before else after, members) for _, n in members})
    # One dimension `layer` for all groups of the same layers; another set of layers gets a name of its own.
    layers = {}
    if any("layer" in a.dims for a in arrays.values()):
        layers["layer"] = None
    for name, a in arrays.items():
        if name not in gone:
            out[name] = a
            continue
        to, members = gone[name]
        if to in out or members[0][1] != name:
            continue
        numbers = tuple(n for n, _ in members)
        dim = next((d for d, have in layers.items() if have == numbers), None)
        if dim is None:
            dim = "layer" if "layer" not in layers else f"layer_of_{to}"
            layers[dim] = numbers
        whole = xarray.concat([arrays[n] for _, n in members], dim=xarray.DataArray(list(numbers), dims=dim, name=dim), combine_attrs="override")
        out[to] = whole
    return out


def _with_tokens(ds):
    texts = [n for n in ds.data_vars if str(n).rsplit("/", 1)[-1] in _TOKENS and ds[n].dtype == object]
    ds = ds.set_coords(texts)
    # Attention is over queries and keys, which are positions of a text: the one that is as long, if only one is.
    for dim in list(ds.dims):
        fitting = [n for n in texts if ds[n].ndim and ds[n].shape[-1] == ds.sizes[dim]]
        if re.match(r"(query|key)(_|$)", str(dim)) and len(fitting) == 1:
            tokens = ds[fitting[0]]
            ds = ds.assign_coords({f"{dim}_tokens": ((*tokens.dims[:-1], dim), tokens.values)})
    return ds
