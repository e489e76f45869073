"""The notebooks on Colab and Binder: their first cell, and the badges, for any address that pyproject.toml may state.

Colab is a runtime that has the libraries but not the course: here, one with these tests' libraries, less some that its
runtimes did not always have. What pip would fetch lies in a folder.
"""

import json
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import papermill
import pytest
import wheels
from stub_notebooks import SETTING, execute_at_once, write_notebook

from mnist_ae_utils import results
from mnist_ae_utils.report import notebooks, online, run
from mnist_ae_utils.report.folder import ReportError

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[0-9]*.ipynb"))
CHAPTER = "01_linear_autoencoder"
ADDRESS = "https://github.com/somebody/the-course"
MISSING = ("safetensors", "anywidget", "psygnal")  # which the first cell has to install
# What makes reports, books and slides, and what the tests need: no chapter may ask for it.
UNNEEDED = (
    "papermill", "jupytext", "jupyterlab", "sphinx", "myst-nb", "sphinx-book-theme", "sphinx-copybutton",
    "sphinx-revealjs", "mdit-py-plugins", "math-core", "ziamath", "pikepdf", "pytest", "selenium", "pypdfium2",
)  # fmt: skip


def first_code_cell(path):
    return next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_the_first_code_cell_installs_what_is_missing(path):
    cell = first_code_cell(path)
    assert cell.source == online.first_cell(online.address()), "run `make cells`"
    assert cell.metadata == online.SHOWN


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_where_all_is_there_it_says_and_does_nothing(address, capfd, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    exec(online.first_cell(address), {})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_elsewhere_than_on_colab_it_installs_nothing_and_says_what_to_do(address, tmp_path):
    code = online.first_cell(address)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ModuleNotFoundError: mnist_ae_utils is missing: open the notebook in the environment of")
    assert ("on Colab" in said) == (not address)


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A runtime like Colab's: its Python, for which "colab" is the name of the kernel."""
    python = tmp_path / "colab" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "colab"], check=True)
    absent = {"mnist_ae_utils", *(name for module in MISSING + UNNEEDED for name in top_level(module))}
    there = tmp_path / "there" / "site-packages"
    there.mkdir(parents=True)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name not in absent and not path.name.startswith(("__editable__", "mnist_ae_utils-")):
            (there / path.name).symlink_to(path)
    (tmp_path / "stub" / "google").mkdir(parents=True)
    (tmp_path / "stub" / "google" / "colab.py").touch()
    (site,) = (tmp_path / "colab").glob("lib/python*/site-packages")
    # as of another environment, from which this one's pip removes nothing
    (site / "colab.pth").write_text(f"{tmp_path / 'stub'}\n{there}\nimport google.colab\n")
    kernel = tmp_path / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return python


def top_level(distribution):
    return {path.parts[0] for path in metadata.distribution(distribution).files} - {".."}


def test_a_chapter_runs_on_colab_whose_libraries_stay_as_they_are(colab, smoke_report, tmp_path, monkeypatch):
    """And with other parameters than in the report."""
    address, packages, content = tmp_path / "the-course", tmp_path / "packages", tmp_path / "content"
    for name in ("setuptools", *MISSING):
        wheels.pack(packages, name)
    (address / "archive").mkdir(parents=True)
    with zipfile.ZipFile(address / "archive" / "main.zip", "w") as archive:
        files = ("pyproject.toml", "README.md", "LICENSE*", "mnist_ae_utils/**/*.*")
        for path in (path for name in files for path in ROOT.glob(name)):
            archive.write(path, Path("the-course-main") / path.relative_to(ROOT))
    content.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packages)}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(ROOT / "notebooks" / f"{CHAPTER}.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if "bootstrap" in cell.metadata)
    cell.source = online.first_cell(str(address))
    nbformat.write(notebook, tmp_path / f"{CHAPTER}.ipynb")
    chosen = {"profile": "smoke", "seeds": 1, "latent_dim": 8, "device": "cpu"}
    papermill.execute_notebook(
        tmp_path / f"{CHAPTER}.ipynb", tmp_path / "executed.ipynb", chosen, cwd=content, kernel_name="colab",
        progress_bar=False,
    )  # fmt: skip
    entries = results.read(content / "reports" / "smoke-mnist-5000-1-seeds")[CHAPTER]
    assert all(len(entry["per_seed"]) == 1 for entry in entries)
    assert all(entry["ci"] is None for entry in entries), "one seed has no interval"
    found, usual = ({entry["id"]: entry["per_seed"][0] for entry in each}
                    for each in (entries, results.read(smoke_report)[CHAPTER]))  # fmt: skip
    assert found["basic_ae.reconstruction_error"] != usual["basic_ae.reconstruction_error"], "latent_dim counts"
    assert found["dense_ae_16.reconstruction_error"] == pytest.approx(usual["dense_ae_16.reconstruction_error"])
    assert any((content / ".cache").glob("*.run"))
    listed = subprocess.run([colab, "-m", "pip", "list", "--local", "--format=json"], capture_output=True, check=True)
    installed = {package["name"].replace("_", "-").lower() for package in json.loads(listed.stdout)}
    assert installed - {"setuptools"} == {"pip", "mnist-ae-utils", *MISSING}  # Python 3.11 brings it with pip


def test_badges_follow_from_the_one_address():
    readme, citation = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CITATION.cff"))
    assert readme == online.with_badges(readme, online.address()), "run `make cells`"
    assert citation == online.with_address(citation, online.address()), "run `make cells`"
    with_one, cited = online.with_badges(readme, ADDRESS), online.with_address(citation, ADDRESS)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert with_one.count(f"/github/somebody/the-course/blob/main/notebooks/{path.name})") == 1
    assert with_one.count("https://mybinder.org/v2/gh/somebody/the-course/main?urlpath=lab/tree/notebooks") == 1
    assert f"\nrepository-code: {ADDRESS}\n" in cited
    assert online.with_badges(with_one, ADDRESS) == with_one and online.with_address(cited, ADDRESS) == cited
    assert ADDRESS not in online.with_address(cited, "")
    without = online.with_badges(with_one, "")
    assert "colab.research" not in without and "mybinder" not in without


def test_a_chapter_in_the_book_opens_on_colab_and_binder(tmp_path, monkeypatch):
    write_notebook(tmp_path / "notebooks")
    monkeypatch.setattr(run, "prepare", lambda *arguments: SETTING)
    monkeypatch.setattr(notebooks, "execute", execute_at_once)
    monkeypatch.setattr(online, "address", lambda: ADDRESS)
    run.report(out=tmp_path / "out", source=tmp_path / "notebooks")
    page = (tmp_path / "out" / "html" / "notebooks" / "01_stub.html").read_text(encoding="utf-8")
    for address in (
        "https://colab.research.google.com/github/somebody/the-course/blob/main/notebooks/01_stub.ipynb",
        "https://mybinder.org/v2/gh/somebody/the-course/main?urlpath=lab/tree/notebooks/01_stub.ipynb",
    ):
        assert f'href="{address}"' in page


@pytest.mark.parametrize("address", ["http://github.com/a/b", "https://github.com/a", "https://example.org/a/b", "a/b"])
def test_an_address_that_badges_cannot_use_is_refused(tmp_path, monkeypatch, address):
    (tmp_path / "pyproject.toml").write_text(f'[project]\n[project.urls]\nRepository = "{address}"\n')
    monkeypatch.setattr(online, "ROOT", tmp_path)
    with pytest.raises(ReportError, match="use https://github.com/ and owner/name"):
        online.address()


def test_the_address_is_the_one_that_the_project_states(tmp_path, monkeypatch):
    monkeypatch.setattr(online, "ROOT", tmp_path)
    assert online.address() == ""  # an installed copy of the package
    (tmp_path / "pyproject.toml").write_text(f'[project]\n[project.urls]\nRepository = "{ADDRESS}"\n')
    assert online.address() == ADDRESS
