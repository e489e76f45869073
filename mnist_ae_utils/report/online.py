"""The course in the browser, on Colab and Binder: what stands in several places and follows from the project's address.

The address is stated in ``pyproject.toml``, as soon as there is one, and nowhere else.
"""

import ast
import json
import re
import textwrap
import tomllib

from mnist_ae_utils.report.folder import ReportError
from mnist_ae_utils.report.kernel import ROOT

COLAB, BINDER = "https://colab.research.google.com", "https://mybinder.org"
# The distributions that carry the modules which have another name.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "umap": "umap-learn", "IPython": "ipython", "myst_nb": "myst-nb",
    "jupyter_client": "jupyter-client", "math_core": "math-core", "markdown_it": "markdown-it-py",
    "mdit_py_plugins": "mdit-py-plugins", "PIL": "pillow",
}  # fmt: skip
# How a notebook's first code cell is shown: on Colab by its title, in JupyterLab folded, in the book not at all.
SHOWN = {"bootstrap": True, "cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["remove-cell"]}
# Its text. pip leaves alone what is there, in whatever version, so that Colab keeps its own.
INSTALLS = """# @title Run this first on Colab: it installs the course. Elsewhere it does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mnist_ae_utils") is None:
    if "google.colab" not in sys.modules:
        raise ModuleNotFoundError("mnist_ae_utils is missing: open the notebook in the environment of README.md")
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    needed = \"\"\"
        {needed}
    \"\"\"
    subprocess.run([*pip, *needed.split()], check=True)
    subprocess.run([*pip, "--no-deps", "{archive}"], check=True)
    importlib.invalidate_caches()"""
SAYS_HOW = """# @title Run this first. It does nothing where the course is installed.
import importlib.util

if importlib.util.find_spec("mnist_ae_utils") is None:
    raise ModuleNotFoundError(
        "mnist_ae_utils is missing: open the notebook in the environment of README.md; on Colab, first install the "
        "course with `%pip install --no-deps` from the address of its archive, which this copy does not know"
    )"""


def address():
    """The project's address on GitHub; "" as long as none is stated. ReportError for one that is not on GitHub."""
    stated = _project().get("urls", {}).get("Repository", "")
    if stated and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", stated):
        raise ReportError(f"Repository in pyproject.toml is {stated!r}: use https://github.com/ and owner/name")
    return stated


def _project():
    """What pyproject.toml says of the project; {} in an installed copy of the package, which lacks it."""
    path = ROOT / "pyproject.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"] if path.exists() else {}


def first_cell(address):
    """The text of each notebook's first code cell, for a project at an address; "": for one without."""
    if not address:
        return SAYS_HOW
    names = textwrap.fill(" ".join(needed()), 100, subsequent_indent=" " * 8, break_on_hyphens=False)
    return INSTALLS.format(needed=names, archive=f"{address}/archive/main.zip")


def needed():
    """Names of the direct dependencies that notebooks need, none of which makes a report."""
    package = [path for path in (ROOT / "mnist_ae_utils").rglob("*.py") if "report" not in path.parts]
    modules = imported([*package, *(ROOT / "notebooks").rglob("*.ipynb")])
    found = {DISTRIBUTIONS.get(module, module) for module in modules}
    return sorted(found & {pin.partition("==")[0] for pin in _project()["dependencies"]})


def imported(paths):
    """Top-level modules that Python files and notebooks import, or read files of."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            code = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
            text = re.sub(r"^[%!].*", "", "\n".join(code), flags=re.MULTILINE)
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Import():
                    yield from (alias.name.split(".")[0] for alias in node.names)
                case ast.ImportFrom(level=0):
                    yield node.module.split(".")[0]
                case ast.Call(func=ast.Name(id="files"), args=[ast.Constant(value=str(module))]):
                    yield module


def theme_options(address):
    """What the book's theme is told, so that each page of a notebook has links to Binder and Colab; "": nothing."""
    if not address:
        return {}
    links = {"notebook_interface": "jupyterlab", "binderhub_url": BINDER, "colab_url": COLAB}
    return {"repository_url": address, "repository_branch": "main", "launch_buttons": links}


def with_badges(readme, address):
    """The text of README.md with badges that open the course on Binder and each chapter on Colab; "": without."""
    name = address.removeprefix("https://github.com/")
    binder = f"[![Binder]({BINDER}/badge_logo.svg)]({BINDER}/v2/gh/{name}/main?urlpath=lab/tree/notebooks)"
    shown = f"\n{binder}\n\n" if address else ""
    text = re.sub(r"(<!-- binder:begin -->\n).*?(?=<!-- binder:end -->)", rf"\g<1>{shown}", readme, flags=re.DOTALL)
    colab = rf"[![Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/{name}/blob/main/\2)"
    shown = rf"\1 {colab} |" if address else r"\1 |"
    return re.sub(r"^(\| \[\d\d\]\((notebooks/\S+)\))[^|]* \|", shown, text, flags=re.MULTILINE)


def with_address(citation, address):
    """The text of CITATION.cff with the address of the code; "": without."""
    line = f"repository-code: {address}\n" if address else ""
    return re.sub(r"^(repository-code: .*\n)?(?=license: )", line, citation, count=1, flags=re.MULTILINE)
