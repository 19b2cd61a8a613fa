"""Runs every notebook of this folder and writes it back with what its cells show: ./dev notebooks

Needs python3-nbclient, python3-ipykernel, python3-matplotlib, python3-h5py and python3-xarray; WAYFARER names the program, and PYTHONPATH the
folder `python` of the checkout.
"""
import os
import pathlib

import nbformat
from nbclient import NotebookClient

os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a debugger that nobody asked for warns in every notebook
FOLDER = pathlib.Path(__file__).resolve().parent

for path in sorted(FOLDER.glob("*.ipynb")):
    notebook = nbformat.read(path, as_version=4)
    metadata = dict(notebook.metadata)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}, record_timing=False).execute()
    # What differs from machine to machine, and what nobody reads, would only make noise.
    notebook.metadata = nbformat.from_dict(metadata)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"] = {"image/png": output["data"]["image/png"]}
                output["metadata"] = {}
    nbformat.write(notebook, path)
    print(path.name, path.stat().st_size, "bytes")
