"""pyproject.toml, environment.yml and requirements.lock name the same packages and versions, and no address."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import mnist_ae_utils
from mnist_ae_utils.report import online

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
BINDER = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
CONDA = (ROOT / "environment.yml").read_text(encoding="utf-8")


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
    ["pyproject.toml", "environment.yml", "requirements.lock", "Makefile", ".ci/run", ".github/workflows/pages.yml",
     "binder/environment.yml", "binder/postBuild"],
)  # fmt: skip
def test_no_file_of_the_environment_names_an_address(name):
    text = (ROOT / name).read_text(encoding="utf-8").replace(f'Repository = "{online.address()}"', "")
    assert not re.search(
        r"://|(?<!\w)--(extra-)?index|find-links|\S+==\S*\+|@ file", text.replace("--no-emit-index-url", "")
    )


def test_binder_gets_the_locked_packages_with_the_cpu_build_of_torch(monkeypatch):
    """Its own environment.yml brings Python alone, of the same version; the script is run with nothing installed."""
    python = re.findall(r"  - (python=.+)", CONDA)
    assert re.findall(r"  - (.+)", BINDER) == ["conda-forge", "nodefaults", *python, "pip"]
    commands, files = [], []

    def run(command, check, cwd):
        assert check and cwd == ROOT
        commands.append(" ".join(map(str, command)))
        files.extend(path.read_text(encoding="utf-8") for path in command if isinstance(path, Path) and path.is_file())

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)
    runpy.run_path(str(ROOT / "binder" / "postBuild"))
    uv, packages = files
    assert pins(uv.splitlines()) == INSTALLER and "--require-hashes" in commands[0]
    assert "--torch-backend=cpu" in commands[1] and all(f"--python {sys.executable}" in c for c in commands[1:3])
    found = pins(packages.splitlines())
    assert {name: found.get(name) for name in DIRECT} == DIRECT
    assert not [name for name in found if name.startswith(("nvidia", "cuda", "triton"))]
    assert commands[2].endswith(f"--no-build-isolation --editable {ROOT}") and commands[3].endswith(" data")


def test_the_installer_names_no_address_either():
    assert "://" not in (ROOT / "install.py").read_text(encoding="utf-8")


def test_installed_versions_are_the_pinned_ones():
    assert {name: metadata.version(name).split("+")[0] for name in DIRECT} == DIRECT


def test_the_version_is_the_same_wherever_it_stands():
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {version} - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert mnist_ae_utils.__version__ == version


def test_what_is_imported_is_a_direct_dependency():
    own = {"mnist_ae_utils", "install", "build"} | {path.stem for path in ROOT.glob("tests/*.py")}
    places = ("mnist_ae_utils/**/*.py", "tests/*.py", "exercises/*.py", "notebooks/**/*.ipynb")
    found = online.imported(path for place in places for path in ROOT.glob(place))
    third_party = set(found) - set(sys.stdlib_module_names) - own
    assert {online.DISTRIBUTIONS.get(module, module) for module in third_party} <= set(DIRECT)
