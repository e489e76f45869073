"""What stands in several places, and is written into all of them by this script from the one that holds it.

    python tests/cells.py

A code cell whose metadata say ``"source": ["models.DenseAutoencoder", ...]`` holds the sources of these definitions of
the package, each without its docstring but for the first line. A cell with ``"rules": "01_linear_autoencoder"`` holds
what ``rules.toml`` announces for that notebook, one with ``"exercises"`` the list of its exercises. One with
``"bootstrap": true``, the first code cell of each notebook, installs the course on Colab. It, the badges in README.md
and the address in CITATION.cff follow from the address that pyproject.toml states, if it does. Tests say where a place
does not hold what it should.
"""

import ast
import importlib
import inspect
from pathlib import Path

import build
import nbformat

from mnist_ae_utils import results
from mnist_ae_utils.report import online

LAST = "09_answer.ipynb"
ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def text(name):
    """The source of a definition such as "models.DenseAutoencoder", its docstrings cut to their first line."""
    module, _, attribute = name.rpartition(".")
    source = inspect.getsource(getattr(importlib.import_module(f"mnist_ae_utils.{module}"), attribute)).rstrip()
    lines = source.splitlines()
    for node in reversed([n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef | ast.FunctionDef)]):
        if ast.get_docstring(node) and (node.body[0].end_lineno > node.body[0].lineno):
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno
            lines[first:last] = [lines[first] + '"""']
    return "\n".join(lines)


def announced(notebook):
    """What a notebook's opening says that it compares."""
    decides = [
        "mean and interval. A letter says which claim of the article a line decides, by the rules that",
        f"[the last chapter]({LAST}#from-a-difference-to-a-verdict) explains; the other lines are estimates. All of",
        "them stand in `mnist_ae_utils/rules.toml`.",
    ]
    if not any("primary" in rule for rule in results.RULES["contrasts"][notebook]):
        decides = [
            "mean and interval. None of the lines decides a claim of the article: they are estimates. All of them",
            "stand in `mnist_ae_utils/rules.toml`.",
        ]
    lines = [
        "**What is compared.** For each line, the difference named is taken seed by seed; the chapter ends with its",
        *decides,
        "",
        "| what is asked | difference | labels | decides |",
        "| --- | --- | --- | --- |",
    ]
    for rule in results.RULES["contrasts"][notebook]:
        labels = ", ".join(f"{n:,}" if isinstance(n, int) else n for n in rule.get("n_labels", []))
        claim = f"[{rule['primary']}]({LAST}#verdicts)" if "primary" in rule else ""
        lines.append(f"| {rule['claim']} | {rule['contrast']} | {labels} | {claim} |")
    return "\n".join(lines)


def expected(cell):
    """What a cell must hold; None for one that is not held to the package."""
    if "bootstrap" in cell.metadata:
        return online.first_cell(online.address())
    if "rules" in cell.metadata:
        return announced(cell.metadata["rules"])
    if "exercises" in cell.metadata:
        return build.listed(cell.metadata["exercises"])
    names = cell.metadata.get("source")
    return "\n\n\n".join(map(text, names)) if names else None


def write():
    """Write what every place must hold."""
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = expected(cell) or cell.source
        nbformat.write(notebook, path)
    for name, written in (("README.md", online.with_badges), ("CITATION.cff", online.with_address)):
        path = ROOT / name
        path.write_text(written(path.read_text(encoding="utf-8"), online.address()), encoding="utf-8")
    build.write()  # whose notebooks have that first cell, too


if __name__ == "__main__":
    write()
