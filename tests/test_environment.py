"""pyproject.toml, environment.yml and requirements.lock name the same packages and versions, and no address."""

import ast
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import mnist_ae_utils

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
CONDA = (ROOT / "environment.yml").read_text(encoding="utf-8")
# The distributions that carry the modules which have another name.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "umap": "umap-learn", "IPython": "ipython", "myst_nb": "myst-nb",
    "jupyter_client": "jupyter-client", "math_core": "math-core", "markdown_it": "markdown-it-py",
    "mdit_py_plugins": "mdit-py-plugins", "PIL": "pillow",
}  # fmt: skip


def pins(lines):
    """{name: version} of lines such as "torch==2.14.1 ; marker"."""
    found = [re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line.strip()) for line in lines]
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


EXTRAS = PROJECT["optional-dependencies"]
DIRECT = pins(PROJECT["dependencies"] + EXTRAS["test"])
INSTALLER = pins(EXTRAS["install"])


def test_every_direct_dependency_is_pinned_and_says_why_it_is_there():
    assert len(DIRECT | INSTALLER) == len(PROJECT["dependencies"] + EXTRAS["test"] + EXTRAS["install"])
    lines = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if re.match(r'  "[\w.-]+==', line)]
    assert len(lines) == len(DIRECT | INSTALLER)
    assert all(re.search(r'", +# \w+', line) for line in lines)


def test_lock_holds_every_direct_dependency_with_hashes():
    locked = pins(LOCK.splitlines())
    assert {name: locked.get(name) for name in DIRECT | INSTALLER} == DIRECT | INSTALLER
    for requirement in re.split(r"\n(?=[a-z0-9])", LOCK)[1:]:
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_conda_environment_is_the_same():
    assert pins(line.removeprefix("      - ") for line in CONDA.splitlines()) == DIRECT
    assert "- python=3.11\n" in CONDA and "- -e .\n" in CONDA
    assert PROJECT["requires-python"] == ">=3.11"


@pytest.mark.parametrize(
    "name",
    ["pyproject.toml", "environment.yml", "requirements.lock", "Makefile", ".ci/run", ".github/workflows/pages.yml"],
)
def test_no_file_of_the_environment_names_an_address(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(
        r"://|(?<!\w)--(extra-)?index|find-links|\S+==\S*\+|@ file", text.replace("--no-emit-index-url", "")
    )


def test_the_installer_names_no_address_either():
    assert "://" not in (ROOT / "install.py").read_text(encoding="utf-8")


def test_installed_versions_are_the_pinned_ones():
    assert {name: metadata.version(name).split("+")[0] for name in DIRECT} == DIRECT


def test_the_version_is_the_same_wherever_it_stands():
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {version} - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert mnist_ae_utils.__version__ == version


def imported_modules():
    """Top-level modules that the package, the tests and the notebooks import."""
    places = "mnist_ae_utils/**/*.py", "tests/*.py", "exercises/*.py"
    sources = [path.read_text(encoding="utf-8") for place in places for path in ROOT.glob(place)]
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        sources += [re.sub(r"^[%!].*", "", cell, flags=re.MULTILINE) for cell in code]
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]


def test_what_is_imported_is_a_direct_dependency():
    own = {"mnist_ae_utils"} | {path.stem for folder in ("tests", "exercises") for path in (ROOT / folder).glob("*.py")}
    third_party = set(imported_modules()) - set(sys.stdlib_module_names) - own
    assert {DISTRIBUTIONS.get(module, module) for module in third_party} <= set(DIRECT)
