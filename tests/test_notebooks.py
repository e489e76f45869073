"""Every notebook as a student gets it, and run from the first cell to the last."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from mnist_ae_utils import report

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"profile", "dataset", "seeds", "latent_dim", "device", "out"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stripped_and_readable(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs are stripped"
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    values = {}
    exec(parameters.source, values)
    assert set(values) - {"__builtins__"} == PARAMETERS
    assert values["profile"] == "quick" and values["seeds"] is None
    assert max(len(cell.source.splitlines()) for cell in code) <= 25
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("**The question of this chapter.**", "**What to expect.**", "**Run time**", "*Predict:*",
                 "**What to see.**", "## Verdicts", "## Exercises"):  # fmt: skip
        assert part in prose, f"{path.name} lacks {part}"
    assert any("solution" in cell.metadata.get("tags", []) for cell in code)


def test_every_notebook_runs_and_leaves_results_in_the_schema(smoke_report):
    results = json.loads((smoke_report / "results.json").read_text())
    header = results["header"]
    assert header["profile"] == "smoke" and header["dataset"]["name"] == "uci-digits" and not header["failed"]
    assert "NOT MNIST" in header["dataset"]["notice"]
    for path in NOTEBOOKS:
        entries = json.loads((smoke_report / "results" / f"{path.stem}.json").read_text())
        report.check_results(entries, path.stem)
        assert {entry["notebook"] for entry in entries} == {path.stem}
        assert any(entry["unit"] == "verdict" for entry in entries)
        assert header["notebooks"][path.stem]["seconds"] > 0
    assert (smoke_report / "html" / "index.html").exists()


def test_executed_notebooks_hold_no_errors_and_no_path_of_this_machine(smoke_report):
    for path in NOTEBOOKS:
        text = (smoke_report / "notebooks" / path.name).read_text()
        assert '"output_type": "error"' not in text
        for place in (str(ROOT), str(Path.home()), str(smoke_report)):
            assert place not in text or len(place) < 4, f"{path.name} names {place}"


def test_every_executed_notebook_shows_that_it_did_not_run_on_mnist(smoke_report):
    for path in NOTEBOOKS:
        notebook = nbformat.read(smoke_report / "notebooks" / path.name, as_version=4)
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert "NOT MNIST" in json.dumps(outputs), path.name


def test_the_answer_finds_what_the_chapters_leave_and_links_to_their_figures(smoke_report):
    entries = json.loads((smoke_report / "results" / "08_answer.json").read_text())
    claims = {entry["id"]: entry for entry in entries}
    assert {"same_classifier_dense", "same_classifier_convolutional", "same_classifier_variational"} <= claims.keys()
    assert all(claims[f"claim_{letter}"]["rule"].partition(": ")[2] for letter in "abcdefghi"), "every claim has parts"
    html = smoke_report / "html"
    for page in (html / "index.html", html / "notebooks" / "08_answer.html"):
        rows = re.findall(r"<tr[^>]*>.*?</tr>", page.read_text(), re.DOTALL)
        links = [link for row in rows for link in re.findall(r'href="([^"]+\.html#[^"]+)"', row)]
        assert len(links) == 9, page.name
        for target, _, anchor in (link.partition("#") for link in links):
            assert f'id="{anchor}"' in (page.parent / target).read_text(), f"{page.name} links to #{anchor}"


def test_committed_reports_are_small():
    built = ("html", "quick", "smoke", "full-")
    kept = [path for path in (ROOT / "reports").glob("*") if not path.name.startswith(built)]
    files = [file for path in kept for file in [path, *path.rglob("*")] if file.is_file()]
    if not files:
        pytest.skip("no full report yet")
    assert sum(file.stat().st_size for file in files) < 15e6


def test_a_notebook_runs_with_other_parameters(tmp_path, smoke_report, monkeypatch):
    import papermill

    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))

    path = ROOT / "notebooks" / "01_linear_autoencoder.ipynb"
    chosen = {"profile": "smoke", "seeds": 1, "latent_dim": 8, "device": "cpu", "out": str(tmp_path)}
    papermill.execute_notebook(
        path, tmp_path / path.name, chosen, cwd=path.parent, kernel_name="python3", progress_bar=False
    )
    entries = json.loads((tmp_path / "results" / f"{path.stem}.json").read_text())
    assert all(len(entry["per_seed"]) == 1 for entry in entries)
    assert {entry["value"] for entry in entries if entry["unit"] == "verdict"} == {"undecided"}, (
        "one seed decides nothing"
    )
    usual = json.loads((smoke_report / "results" / f"{path.stem}.json").read_text())
    chosen, usual = ({entry["id"]: entry["per_seed"][0] for entry in each} for each in (entries, usual))
    assert chosen["basic_ae.reconstruction_error"] != usual["basic_ae.reconstruction_error"], "latent_dim counts"
    assert chosen["dense_ae_16.reconstruction_error"] == pytest.approx(usual["dense_ae_16.reconstruction_error"])
