"""What a notebook defines in its cells, for tests: its classes and functions, without running the notebook."""

import ast
import types
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def definitions(notebook_number, *names):
    """Classes, functions and constants that the cells of a notebook define at their top level, by name.

    Only these and the cells' imports are executed, in their order. What one of them uses of the notebook has to be
    named too; if a name is defined more than once, the last holds.

    Parameters
    ----------
    notebook_number : int
        5 for ``notebooks/05_*.ipynb``.
    names : str

    Returns
    -------
    types.SimpleNamespace
        With an attribute for each name; NameError for one that the notebook does not define.
    """
    (path,) = NOTEBOOKS.glob(f"{notebook_number:02d}_*.ipynb")
    scope = {"__name__": "__main__"}  # where a kernel defines them, so that workers get them by value
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            chosen = [node for node in ast.parse(cell.source).body if _is_wanted(node, names)]
            exec(compile(ast.Module(chosen, type_ignores=[]), path.name, "exec"), scope)
    if missing := [name for name in names if name not in scope]:
        raise NameError(f"{path.name} does not define {', '.join(missing)}")
    return types.SimpleNamespace(**{name: scope[name] for name in names})


def _is_wanted(node, names):
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.ClassDef() | ast.FunctionDef():
            return node.name in names
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in names
    return False
