"""Small notebooks and results, made by hand, on which the report is tested without any training."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnist_ae_utils.report.folder import digest

PARAMETERS = """profile = "quick"  # how much to spend
dataset = "auto"
seeds = None
latent_dim = 32
device = "auto"
out = None
"""

SAVE = """import json
from pathlib import Path

made_with = {{"profile": profile, "dataset": dataset, "checksum": "abc123", "seeds": seeds or 2}}
left = {{"made_with": made_with | {other}, "results": {entries}}}
Path(out, "results").mkdir(parents=True, exist_ok=True)
Path(out, "results", "{name}.json").write_text(json.dumps(left))"""

# A cell that keeps a network, of weights that its `seed` draws. What it states is of no account here.
KEEP = """import torch
from functools import partial
from mnist_ae_utils import models, results
left = results.Results("{notebook}", {{"dataset": "mnist"}}, out)
left.add("linear.reconstruction_error", [1.0], "squared error per image")
torch.manual_seed({seed})
left.keep("{name}", models.LinearAutoencoder(2), partial(models.LinearAutoencoder, 2), "linear.reconstruction_error",
          seed={seed}, score="reconstruction_error")"""

SETTING = {
    "seeds": 2,
    "dataset": {"name": "mnist", "source": "IDX files in data/MNIST/raw", "checksum": "abc123", "notice": ""},
    "device": "cpu",
}


def entry(id="hybrid.accuracy", notebook="01_stub", value=0.98214, **changes):
    """A valid entry of results, with `changes`."""
    valid = {
        "id": id, "notebook": notebook, "value": value, "ci": [0.9801, 0.9842], "per_seed": [0.9810, 0.9833],
        "unit": "fraction", "split": "test", "dataset": "mnist", "n_labels": None, "reference": None,
        "headline": "Frozen convolutional encoder + MLP", "shown": "results",
    }  # fmt: skip
    return valid | changes


def made_with(**changes):
    """What the stub notebooks of a quick report are made with, with `changes`."""
    return {"profile": "quick", "dataset": "mnist", "checksum": "abc123", "seeds": 2} | changes


def contrast(**changes):
    """A valid entry that compares two methods."""
    texts = {"claim": "Codes classify better than pixels", "rule": "codes minus pixels", "above": 0.0, "labels": ""}
    compared = entry("codes_beat_pixels", value=0.015, ci=[0.01, 0.02], per_seed=[0.014, 0.016]) | texts | changes
    return {key: value for key, value in compared.items() if key not in ("headline", "shown")}


def verdict(value="supported", **changes):
    """A valid entry that judges a claim."""
    texts = {"claim": "Two stages are better.", "rule": "by its contrasts", "shown": "claims", "headline": "c"}
    return entry("claim_c", value=value, unit="verdict", ci=None, per_seed=[]) | texts | changes


def write_notebook(folder, name="01_stub", cells=(), parameters=PARAMETERS, entries=None, **other):
    """Write ``<folder>/<name>.ipynb``: a heading, the parameters, `cells` and a cell that saves `entries`.

    `other` is what they claim to be made with other than it is.
    """
    entries = [entry(notebook=name)] if entries is None else entries
    folder.mkdir(parents=True, exist_ok=True)
    content = [
        new_markdown_cell(f"# Chapter {name}\n\nWhat a stub settles."),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(cell if not isinstance(cell, str) else new_code_cell(cell) for cell in cells),
        new_code_cell(SAVE.format(entries=repr(json.loads(json.dumps(entries))), name=name, other=other)),
    ]
    notebook = new_notebook(cells=content)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def execute_at_once(path, target, parameters, out, start_timeout):
    """In place of `notebooks.execute`, which starts a kernel: the cells are run here, and the notebook is copied."""
    notebook, values = nbformat.read(path, as_version=4), {}
    error = None
    for cell in notebook.cells:
        if cell.cell_type == "code" and error is None:
            try:
                exec(cell.source, values)
            except ValueError as failure:
                error = f"ValueError: {failure}"
            if "parameters" in cell.metadata.get("tags", []):
                values |= parameters
    nbformat.write(notebook, target)
    return {"source": digest(path), "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "error": error}


def without_imports(start):
    """The code that starts a report's kernel, less what it imports ahead of the course's notebooks."""
    return start.replace("import sklearn.manifold, torch\n", "")


def contents(folder):
    """{path: bytes} of all files in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
