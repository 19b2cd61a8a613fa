"""Reads Wayfarer's results and runs its pipelines.

    import wayfarer as wf
    r = wf.run("runs/gpt2-logit-lens.yaml")     # or wf.open("r.h5")
    r["lens"]["entropy"].mean("item").plot()    # an xarray dataset, with tokens as coordinates
    r.node("lens")                              # in a notebook: the node's finding and figures

h5py and numpy are needed, xarray for `Result.__getitem__`, the program `wayfarer` for `run` and `pipeline`.
"""
from .results import Node, Result, open
from .running import DataError, PluginError, ResourceError, UsageError, WayfarerError, Pipeline, pipeline, run

__all__ = ["open", "run", "pipeline", "Result", "Node", "Pipeline", "WayfarerError", "UsageError", "DataError", "PluginError", "ResourceError"]
__version__ = "0.1.0"
