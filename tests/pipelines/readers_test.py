"""Opens a result file as a researcher would, with h5py and with xarray: readers_test.py RESULT.h5

Checks for every dataset that both see the same values, dimension names, coordinates, units and descriptions, that texts come back as
str, and that nothing is lost on the way.
"""
import json
import sys

import h5py
import numpy as np
import xarray as xr

path = sys.argv[1]


def check(condition, *what):
    if not condition:
        sys.exit("readers_test: " + " ".join(str(w) for w in what))


def values_of(dataset):
    return dataset.asstr()[()] if h5py.check_string_dtype(dataset.dtype) else dataset[()]


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "OSU" or b.dtype.kind in "OSU":
        return a.shape == b.shape and all(isinstance(x, str) for x in b.ravel()) and a.astype(str).tolist() == b.astype(str).tolist()
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def is_coordinate(dataset):
    return dataset.attrs.get("role") in ("index", "coordinate")


def is_scale(dataset):
    return h5py.h5ds.is_scale(dataset.id)


def check_group(name, group):
    """A group and all below it; returns how many datasets it holds."""
    with xr.open_dataset(path, group=name, engine="netcdf4", mask_and_scale=False, decode_times=False) as opened:
        opened.load()
    count = 0
    for key, item in group.items():
        where = name + "/" + key
        if isinstance(item, h5py.Group):
            count += check_group(where, item)
            continue
        check(key in opened.variables, where, "is lost in xarray")
        variable = opened[key]
        check(variable.shape == item.shape, where, "has another shape in xarray:", variable.shape, item.shape)
        check(same(values_of(item), variable.values), where, "has other values in xarray:", values_of(item), variable.values)
        if is_coordinate(item):
            check(is_scale(item), where, "is a coordinate but no dimension scale")
            continue
        count += 1
        if not is_scale(item):
            for axis, dim in enumerate(item.dims):
                check(dim.label, where, "has a dimension without a name")
                check(len(dim) == 1, where, "has no dimension scale for", dim.label)
                scale = dim[0]
                link = scale.name.rsplit("/", 1)[1]
                check(link == dim.label or link.startswith(dim.label + "_"), where, dim.label, "has scale", link)
                check(variable.dims[axis] == link, where, "has dimensions", variable.dims, "in xarray")
                if scale.parent.name == item.parent.name:
                    check(same(values_of(scale), opened[link].values), where, "lost the coordinate", link)
        for attribute in ("units", "description", "long_name"):
            text = item.attrs.get(attribute)
            check(text is None or isinstance(text, str), where, attribute, "is no str")
            check(text == variable.attrs.get(attribute), where, attribute, "differs in xarray")
        check(item.attrs.get("description") == item.attrs.get("long_name"), where, "has two descriptions")
    return count


with h5py.File(path, "r") as result:
    check(result.attrs["format"] == "wayfarer", "format")
    check(result.attrs["format_version"] == 1, "format_version")
    check(result.attrs["complete"] == 1, "complete")
    check(isinstance(result.attrs["title"], str), "title")
    nodes = [name for name in result if name != "_run"]
    check(nodes, "no nodes")
    for name in nodes:
        node = result[name]
        check(node.attrs["complete"] == 1, name, "complete")
        for attribute in ("plugin", "kind", "plugin_version", "build_id", "key"):
            check(isinstance(node.attrs[attribute], str), name, attribute)
        parameters = node["_parameters"].asstr()[()] if "_parameters" in node else node.attrs["parameters"]
        check(isinstance(json.loads(parameters), dict), name, "parameters")
    run = result["_run"]
    for text in ("pipeline", "plan", "started", "ended"):
        check(isinstance(run[text].asstr()[()], str), text)
    json.loads(run["plan"].asstr()[()])
    for number in ("threads", "peak_memory"):
        check(run[number][()] >= 0, number)
    check(len(run["seconds"]) == len(run["seconds"].dims[0][0]), "seconds")
    count = sum(check_group(name, result[name]) for name in result)
    print(f"{path}: {count} datasets of {len(nodes)} nodes open in h5py {h5py.__version__} and xarray {xr.__version__}")
