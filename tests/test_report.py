"""The report on stub notebooks: what is kept, what is refused, what the first page says; a real one killed midway."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell
from stub_notebooks import SETTING, entry, made_with, verdict, write_notebook

from mnist_ae_utils import data
from mnist_ae_utils.report import book, collect, command, notebooks, page


@pytest.fixture(scope="module", autouse=True)
def stub_setting():
    """No data are loaded for stub notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "prepare", lambda profile, dataset, seeds, device: SETTING | {"seeds": seeds or 2})
        yield


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A report on a notebook that fails and one that does not: (exit code, its folder)."""
    folder, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("report")
    write_notebook(folder, "01_fails", ["before = 1\nprint('ran before')", "limit = 3\nraise ValueError('boom')"])
    cells = ["import os\nprint(os.getcwd(), out, seeds)", "import warnings\nwarnings.warn('beware')"]
    entries = [
        entry(notebook="02_works", n_labels=55000, reference={"value": 0.988, "source": "Makhzani & Frey 2014"}),
        entry("speed.dense_ae", "02_works", 6.4321, unit="ratio", ci=None, split="train", headline="Dense autoencoder"),
        entry("deep_ae.error", "02_works", 2.934, unit="squared error per image", ci=[2.9, 2.97], headline="Deep one"),
        {key: value for key, value in entry("of_no_headline", "02_works", 0.1234).items() if key != "headline"},
        entry("of_validation", "02_works", 0.2345, split="validation"),
        verdict(notebook="02_works"),
    ]
    write_notebook(folder, "02_works", cells, entries=entries)
    return command.run(out=out, folder=folder), out


def test_failing_notebook_is_named_kept_and_rendered_and_the_others_run(mixed, capsys):
    code, out = mixed
    header = json.loads((out / "results.json").read_text())["header"]
    error = header["notebooks"]["01_fails"]["error"]
    assert code == 1
    assert header["failed"] == ["01_fails"]
    assert re.search(r"cell \[4\] `limit = 3`: ValueError: boom", error)
    assert header["notebooks"]["02_works"]["error"] is None
    html = (out / "html" / "notebooks" / "01_fails.html").read_text()
    assert "ran before" in html and "boom" in html
    assert f"**01_fails failed**, so its results are missing or incomplete: {error}" in (out / "README.md").read_text()
    assert "01_fails failed" in (out / "html" / "index.html").read_text()


def test_header_states_what_a_reader_needs(mixed):
    header = json.loads((mixed[1] / "results.json").read_text())["header"]
    assert header["profile"] == "quick" and header["seeds"] == 2 and header["device"] == "cpu"
    assert header["dataset"] == SETTING["dataset"]
    assert header["versions"].keys() >= {"python", "torch", "scikit-learn", "papermill"}
    assert header["hardware"]["cpu"] and header["hardware"]["cores"] >= 1 and header["hardware"]["memory_gib"] > 0
    assert header["commit"] and header["platform"] and header["started"].endswith("+00:00")
    assert header["seconds_total"] == pytest.approx(sum(n["seconds"] for n in header["notebooks"].values()), abs=0.11)
    assert all(run["seconds"] > 0 and run["started"] for run in header["notebooks"].values())


def test_first_page_comes_from_the_results(mixed):
    results = json.loads((mixed[1] / "results.json").read_text())
    text = (mixed[1] / "README.md").read_text()
    assert text == page.page(results)
    assert "drawn by chapter 8 from what the others measure: run it" in text
    assert "| Frozen convolutional encoder + MLP, 55,000 labels | 98.21% (98.01% to 98.42%) | 2 | 98.80%, Makhz" in text
    table, speed = text.split("## Speed")
    assert "| Dense autoencoder | 6.4× | 2 |" in speed and "6.4×" not in table
    assert "| Deep one: squared error per image | 2.93 (2.90 to 2.97)" in table
    assert table.index("Frozen convolutional") < table.index("Deep one"), "in the order of the entries"
    assert "12.34%" not in text and "23.45%" not in text
    assert (
        "| [02](notebooks/02_works.ipynb) | Codes classify better than pixels. | **supported** (0.01 to 0.02) | 0.01 |"
        in text
    )
    assert "Claims put to the test so far: 1 supported." in text


def test_a_commit_with_local_changes_is_told_from_one_without():
    run = {"seconds": 9.0, "started": "", "error": None}
    commits = {"01_a": "0123456789ab", "02_b": "0123456789ab with local changes", "03_c": "none"}
    header = HEADER | {"notebooks": {name: run | {"commit": commit} for name, commit in commits.items()}}
    text = page.page({"header": header, "results": []})
    assert [re.search(rf"\[{name}\].*`(.*)`", text)[1] for name in commits] == ["012345678", "012345678+", "none"]
    assert "## Speed" not in text


def test_other_data_than_mnist_are_announced():
    header = json.loads(json.dumps(HEADER))
    header["dataset"]["notice"] = "THIS IS NOT MNIST: digits"
    assert page.page({"header": header, "results": []}).splitlines()[2] == "> **THIS IS NOT MNIST: digits**"
    header["dataset"] |= {"notice": "", "name": "kmnist"}
    assert "THIS IS NOT MNIST but kmnist" in page.page({"header": header, "results": []})


HEADER = SETTING | {
    "profile": "quick", "notebooks": {}, "failed": [], "seconds_total": 3720, "started": "", "commit": "none",
    "versions": {}, "platform": "", "hardware": {"cpu": "", "cores": 2, "memory_gib": 24, "gpu": "H100"},
}  # fmt: skip


def test_unknown_parameter_is_an_error_before_anything_runs(tmp_path):
    write_notebook(tmp_path / "notebooks", parameters='profile = "quick"\nout = "."\ndataset = "auto"\nseed = None')
    with pytest.raises(notebooks.ReportError, match="01_stub.ipynb has no parameter 'seeds'; declared: profile, out"):
        command.run(out=tmp_path / "out", folder=tmp_path / "notebooks")
    assert not list((tmp_path / "out" / "notebooks").iterdir())


def test_a_notebook_without_parameters_is_an_error(tmp_path):
    path = write_notebook(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata = {}
    nbformat.write(notebook, path)
    with pytest.raises(notebooks.ReportError, match="is the cell tagged"):
        notebooks.check_parameters(path, {"profile": "quick"})


def test_only_runs_what_is_asked_and_keeps_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(book, "render", lambda *args: None)
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    for name in ("01_a", "02_b"):
        of_both = entry("trainings.seconds", name)  # every chapter leaves an entry of this id
        write_notebook(folder, name, entries=[entry(f"{name}.x", name), of_both])
    assert command.run(out=out, folder=folder) == 0
    first = json.loads((out / "results.json").read_text())
    by_hand = {"made_with": made_with(), "results": [entry("01_a.x", "01_a", 0.5)]}  # of another `latent_dim`
    (out / "results" / "01_a.json").write_text(json.dumps(by_hand))
    assert command.run(only=["2"], out=out, folder=folder) == 0
    second = json.loads((out / "results.json").read_text())
    assert [e["id"] for e in second["results"]] == ["01_a.x", "trainings.seconds", "02_b.x", "trainings.seconds"]
    assert second["results"] == first["results"]
    assert second["header"]["notebooks"]["01_a"] == first["header"]["notebooks"]["01_a"]

    capsys.readouterr()
    assert command.run(only=["02"], seeds=3, out=out, folder=folder) == 0
    third = json.loads((out / "results.json").read_text())
    assert [e["id"] for e in third["results"]] == ["02_b.x", "trainings.seconds"]
    assert list(third["header"]["notebooks"]) == ["02_b"]
    said = capsys.readouterr().err
    assert "left out" in said and "removed, because made with another profile, seeds or data: 01_a.json" in said
    assert [path.name for path in (out / "results").iterdir()] == ["02_b.json"], "chapters save beside their like only"


@pytest.mark.parametrize("missing", ["profile", "dataset", "notebooks"])
def test_results_of_an_older_version_are_left_alone(tmp_path, capsys, missing):
    header = json.loads(json.dumps(HEADER))
    header["notebooks"]["01_a"] = {"seconds": 9.0, "started": "", "commit": "none", "error": None}
    results = {"header": header, "results": [entry(notebook="01_a")]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert collect.earlier_results(tmp_path, HEADER, ["01_a"]) == results
    del header[missing]
    nothing = {"header": {"notebooks": {}}, "results": []}
    for older in (results, [results], {"header": header | {"seeds": 7}, "results": []}):
        (tmp_path / "results.json").write_text(json.dumps(older))
        assert collect.earlier_results(tmp_path, HEADER, ["01_a"]) == nothing
        assert capsys.readouterr().err.startswith("Note: ")
    (tmp_path / "results.json").unlink()
    assert collect.earlier_results(tmp_path, HEADER, ["01_a"]) == nothing
    assert not capsys.readouterr().err


def test_seconds_are_those_of_the_longest_execution_by_the_same_code():
    header = HEADER | {"commit": "abc"}
    earlier = header | {"notebooks": {"01_a": {"seconds": 700.0, "seconds_again": 5.0, "commit": "abc"}}}
    executed = {"seconds": 30.0, "commit": "abc", "error": None}
    expected = executed | {"seconds": 700.0, "seconds_again": 30.0}
    assert collect.with_longest(executed, "01_a", header, earlier) == expected
    slower = executed | {"seconds": 900.0}
    assert collect.with_longest(slower, "01_a", header, earlier) == slower | {"seconds_again": 900.0}
    assert collect.with_longest(executed, "02_b", header, earlier) == executed
    assert collect.with_longest(executed, "01_a", header | {"commit": "abd"}, earlier) == executed
    assert collect.with_longest(executed, "01_a", header | {"device": "cuda"}, earlier) == executed
    assert collect.with_longest(executed, "01_a", header, {"notebooks": {}}) == executed


def test_a_second_report_keeps_the_seconds_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "render", lambda *args: None)
    write_notebook(tmp_path / "notebooks")
    runs = []
    for seconds in (700.0, 30.0):
        executed = {"seconds": seconds, "started": "", "error": None}
        (tmp_path / "out" / "results").mkdir(parents=True, exist_ok=True)
        left = {"made_with": made_with(), "results": [entry()]}
        (tmp_path / "out" / "results" / "01_stub.json").write_text(json.dumps(left))
        monkeypatch.setattr(notebooks, "execute", lambda *args, executed=executed: executed)
        assert command.run(out=tmp_path / "out", folder=tmp_path / "notebooks") == 0
        runs.append(json.loads((tmp_path / "out" / "results.json").read_text())["header"])
    assert [header["seconds_total"] for header in runs] == [700.0, 700.0]
    assert runs[1]["notebooks"]["01_stub"]["seconds_again"] == 30.0


@pytest.mark.parametrize(
    "other", [{"profile": "full"}, {"seeds": 3}, {"dataset": "kmnist"}, {"checksum": "def456"}], ids=str
)
def test_results_made_with_something_else_fail_their_chapter(tmp_path, monkeypatch, other):
    monkeypatch.setattr(book, "render", lambda *args: None)
    write_notebook(tmp_path / "notebooks", "01_stub")
    write_notebook(tmp_path / "notebooks", "02_other", **other)
    assert command.run(out=tmp_path / "out", folder=tmp_path / "notebooks") == 1
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    ((key, value),) = other.items()
    error = f"02_other.json: made with {key} {value!r} instead of {made_with()[key]!r}"
    assert results["header"]["failed"] == ["02_other"] and results["header"]["notebooks"]["02_other"]["error"] == error
    assert [e["notebook"] for e in results["results"]] == ["01_stub"]


@pytest.mark.parametrize("content", [[], {"results": []}, {"made_with": [], "results": []}, {"made_with": {}}])
def test_a_file_of_results_in_another_form_is_refused(tmp_path, content):
    path = tmp_path / "01_stub.json"
    path.write_text(json.dumps(content))
    with pytest.raises(notebooks.ReportError, match="01_stub.json: .* is expected"):
        collect.read_results(path)


@pytest.mark.parametrize(
    "profile, dataset, seeds, folder",
    [
        ("quick", "mnist", 2, "reports/quick"),
        ("quick", "kmnist", 2, "reports/quick-kmnist"),
        ("quick", "mnist", 3, "reports/quick-3-seeds"),
        ("full", "mnist", 5, "reports"),
        ("full", "mnist", 2, "reports/full-2-seeds"),
        ("full", "fashion-mnist", 5, "reports/full-fashion-mnist"),
        ("smoke", "uci-digits", 2, "reports/smoke-uci-digits"),
    ],
)
def test_profile_data_and_seeds_decide_where_the_report_goes(tmp_path, monkeypatch, profile, dataset, seeds, folder):
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(book, "render", lambda *args: None)
    of_data = SETTING | {"dataset": SETTING["dataset"] | {"name": dataset}, "seeds": seeds}
    monkeypatch.setattr(command, "prepare", lambda *args: of_data)
    monkeypatch.setattr(notebooks, "execute", lambda *args: {"seconds": 1.0, "started": "", "error": "not run"})
    write_notebook(tmp_path / "notebooks")
    assert command.run(profile, folder=tmp_path / "notebooks") == 1
    assert [path.parent for path in tmp_path.rglob("results.json")] == [tmp_path / folder]


def test_a_log_holds_few_states_of_a_progress_bar_and_every_other_line():
    file, seconds = io.StringIO(), iter(range(0, 1000, 2))
    log = notebooks.Log(file, every=30, now=lambda: next(seconds) / 2)  # it looks at the clock about twice a redrawing
    log.write("before\nnot ended ")
    log.write("yet\r\n")
    for percent in range(100):
        log.write(f"\r{percent:3}% of it  ")
        log.flush()
    log.write("\r100% of it\nafter\n\n")
    log.write("\r 0%\r100%\r")
    log.write("\n\r   \r")
    log.write("the end")
    log.close()
    shown = file.getvalue()
    assert "\r" not in shown and shown.startswith("before\nnot ended yet\n")
    states = re.findall(r"^ *(\d+)% of it$", shown, re.MULTILINE)
    assert states[-1] == "100" and 3 <= len(states) <= 7
    assert shown.endswith("100% of it\nafter\n\n100%\nthe end\n")


def test_the_last_state_of_a_bar_is_written_once():
    file = io.StringIO()
    log = notebooks.Log(file, every=0)
    log.write("\r100%")
    log.write("\r100%\n")
    log.close()
    assert file.getvalue() == "100%\n"


def test_a_terminal_gets_all_that_a_notebook_writes(capsys, monkeypatch):
    with notebooks.log(sys.stdout) as log:
        assert isinstance(log, notebooks.Log)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with notebooks.log(sys.stdout) as log:
        log.write("\r1%\r2%")
    assert capsys.readouterr().out == "\r1%\r2%" and not sys.stdout.closed


def test_the_commands_output_holds_a_notebooks_bar_as_a_line(tmp_path, capsys):
    bar = "for i in range(4):\n    print(f'\\r{i} of 3', end='', flush=True)\nprint()\nprint('done')"
    path = write_notebook(tmp_path, cells=[bar])
    (tmp_path / "notebooks").mkdir()
    parameters = {"out": str(tmp_path)}
    assert notebooks.execute(path, tmp_path, parameters)["error"] is None
    assert capsys.readouterr().out == "3 of 3\ndone\n"


def project_with_reports(tmp_path, monkeypatch):
    """A project of its own, whose report is made of one stub notebook: (its folder of reports, of notebooks)."""
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(book, "render", lambda *args: None)
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    cell = new_code_cell("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", metadata={"tags": ["readme-figure"]})
    write_notebook(tmp_path / "notebooks", cells=[cell])
    return tmp_path / "reports", tmp_path / "notebooks"


def test_the_full_report_on_mnist_goes_into_the_readme(tmp_path, monkeypatch):
    out, folder = project_with_reports(tmp_path, monkeypatch)
    assert command.run("quick", out=out, folder=folder) == 0
    assert command.run("full", out=tmp_path / "elsewhere", folder=folder) == 0
    assert "98.21%" not in (tmp_path / "README.md").read_text() and not (out / "figures").exists()
    assert command.run("full", out=out, folder=folder) == 0
    assert "98.21%" in (tmp_path / "README.md").read_text()
    assert (out / "figures" / "01_stub.png").read_bytes().startswith(b"\x89PNG")


def test_a_full_report_with_a_failed_notebook_does_not_go_into_the_readme(tmp_path, monkeypatch):
    out, folder = project_with_reports(tmp_path, monkeypatch)
    write_notebook(folder, "02_fails", ["raise ValueError('boom')"])
    assert command.run("full", out=out, folder=folder) == 1
    assert "98.21%" not in (tmp_path / "README.md").read_text() and not (out / "figures").exists()


def test_other_data_than_mnist_do_not_go_over_the_committed_results(tmp_path, monkeypatch):
    out, folder = project_with_reports(tmp_path, monkeypatch)
    dataset = SETTING["dataset"] | {"name": "uci-digits", "notice": "THIS IS NOT MNIST"}
    monkeypatch.setattr(command, "prepare", lambda *args: SETTING | {"dataset": dataset})
    with pytest.raises(notebooks.ReportError, match="measured on MNIST, and these data are uci-digits: name another"):
        command.run("full", out=out, folder=folder)
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_an_old_book_that_cannot_be_removed_is_an_error(tmp_path, monkeypatch):
    results = {"header": HEADER, "results": []}
    book.render(tmp_path, results)
    (tmp_path / "html" / "old").touch()
    book.render(tmp_path, results)
    assert (tmp_path / "html" / "index.html").exists() and not (tmp_path / "html" / "old").exists()

    remove = shutil.rmtree

    def refuse(path, ignore_errors=False, **options):
        if path == tmp_path / "html" and not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))
        if path != tmp_path / "html":
            remove(path, ignore_errors, **options)

    monkeypatch.setattr(book.shutil, "rmtree", refuse)
    with pytest.raises(PermissionError):
        book.render(tmp_path, results)
    assert not (tmp_path / "html" / "html").exists()


def test_only_names_the_notebooks_there_are(tmp_path):
    write_notebook(tmp_path)
    with pytest.raises(ValueError, match="no notebook 07: use one or more of 01"):
        notebooks.notebook_paths(tmp_path, ["07"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ci": [2.0, 1.0]}, r"ci \[2.0, 1.0\] is not null"),
        ({"split": "tset"}, "split 'tset' is none of train, validation, test"),
        ({"valeu": 1}, "has unknown keys: valeu"),
        ({"value": float("nan")}, "value nan is not a finite number"),
        ({"value": None}, "has no value and no note"),
        ({"per_seed": 0.5}, "per_seed is not a list"),
        ({"n_labels": 0}, "n_labels 0 is not null or a count"),
        ({"reference": {"value": 1.0}}, "reference is not null or"),
        ({"unit": ""}, "a text is empty"),
        ({"headline": ""}, "a text is empty"),
        ({"unit": "verdict"}, "lacks claim, margin, p, rule"),
    ],
)
def test_entries_out_of_the_schema_are_named(change, message):
    with pytest.raises(notebooks.ReportError, match=f"01_stub.json: entry hybrid.accuracy {message}"):
        collect.check_results([entry(**change)], "01_stub.json")


def test_schema_knows_verdicts_twins_and_divergence():
    collect.check_results([entry(), entry(n_labels=100), verdict("mixed")], "x")
    collect.check_results([entry(value=None, ci=None, per_seed=[1.0, None], note="diverged in 1 of 2 seeds")], "x")
    with pytest.raises(notebooks.ReportError, match="is none of supported"):
        collect.check_results([verdict("maybe")], "x")
    with pytest.raises(notebooks.ReportError, match="is there twice"):
        collect.check_results([entry(), entry()], "x")
    missing = entry()
    del missing["unit"]
    with pytest.raises(notebooks.ReportError, match="lacks unit"):
        collect.check_results([missing], "x")


def test_results_out_of_the_schema_fail_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "render", lambda *args: None)
    write_notebook(tmp_path / "notebooks", entries=[entry(split="tset")])
    write_notebook(tmp_path / "notebooks", "02_silent", [new_code_cell("import sys; sys.exit(0)")])
    assert command.run(out=tmp_path / "out", folder=tmp_path / "notebooks") == 1
    header = json.loads((tmp_path / "out" / "results.json").read_text())["header"]
    assert header["notebooks"]["01_stub"]["error"].startswith("01_stub.json: entry hybrid.accuracy split 'tset'")
    assert "left no results" in header["notebooks"]["02_silent"]["error"]


def test_a_kernel_that_dies_is_a_failed_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "render", lambda *args: None)
    write_notebook(tmp_path / "notebooks", cells=["import os\nos._exit(9)"])
    assert command.run(out=tmp_path / "out", folder=tmp_path / "notebooks") == 1
    header = json.loads((tmp_path / "out" / "results.json").read_text())["header"]
    assert "DeadKernelError" in header["notebooks"]["01_stub"]["error"]


def test_executed_notebooks_do_not_name_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_DATA_DIR", "/data/of mine")
    out = notebooks.ROOT / "reports" / "quick"
    monkeypatch.setattr(sys, "prefix", "/opt/python")
    text = f"{notebooks.ROOT}/mnist_ae_utils/data.py: bad; {out} /opt/python/lib; /data/of mine/MNIST"
    expected = "./mnist_ae_utils/data.py: bad; ../reports/quick <python>/lib; $MNIST_DATA_DIR/MNIST"
    assert notebooks.scrub(text, out) == expected
    assert notebooks.scrub("/var/x/ipykernel_12/345.py:1: UserWarning", out) == "<cell>:1: UserWarning"
    assert notebooks.scrub("  0%|\r 50%|\r100%|\nnext\r\n", out) == "100%|\nnext\r\n"
    assert notebooks.scrub("\n 0%|\r 50%|\r", out) == "\n 50%|"
    picture = {"image/png": str(notebooks.ROOT), "text/plain": [str(notebooks.ROOT)]}
    assert notebooks.scrub(picture, out) == {"image/png": str(notebooks.ROOT), "text/plain": ["."]}


@pytest.mark.parametrize("line", ["x" * 300_000, "x" * 300_000 + "\r\n", "/" * 300_000, "50%|\r" * 60_000 + "done"])
def test_a_long_line_is_scrubbed_at_once(line, tmp_path):
    begin = time.monotonic()
    scrubbed = notebooks.scrub(line, tmp_path)
    assert time.monotonic() - begin < 2  # a search from every letter on takes minutes
    assert scrubbed == ("done" if "50%" in line else line)


def test_readme_block_is_replaced_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- results:begin -->\nold \\1\n<!-- results:end -->\nb\n")
    results = {"header": HEADER, "results": [entry(n_labels=100)]}
    page.update_readme(readme, results)
    page.update_readme(readme, results)
    text = readme.read_text()
    assert text.startswith("a\n<!-- results:begin -->\n") and text.endswith("<!-- results:end -->\nb\n")
    assert "98.21%" in text and "old" not in text and "NOT MNIST" not in text
    results["header"] = HEADER | {"dataset": HEADER["dataset"] | {"notice": "THIS IS NOT MNIST: digits"}}
    assert page.readme_block(results).startswith("\n> **THIS IS NOT MNIST: digits**\n\n")


def test_readme_of_the_project_says_what_the_committed_results_say():
    path = notebooks.ROOT / "reports" / "results.json"
    if not path.exists():
        pytest.skip("no full report yet")
    results = json.loads(path.read_text())
    collect.check_results(results["results"], "reports/results.json")
    text = (notebooks.ROOT / "README.md").read_text()
    assert page.readme_block(results) == re.search(r"results:begin -->\n(.*)<!-- results:end", text, re.DOTALL)[1]
    assert (notebooks.ROOT / "reports" / "README.md").read_text() == page.page(results)


def test_figures_of_tagged_cells_are_saved_for_the_readme(tmp_path):
    cell = new_code_cell("", metadata={"tags": ["readme-figure"]})
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K", "text/plain": "a figure"})]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[new_code_cell(""), cell]), tmp_path / "notebooks" / "01_x.ipynb")
    cell = new_code_cell("", metadata={"tags": ["readme-figure"]})
    cell.outputs = [nbformat.v4.new_output("stream", text="no figure")]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks" / "02_x.ipynb")
    book.save_tagged_figures(tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["01_x.png"]
    assert (tmp_path / "figures" / "01_x.png").read_bytes() == b"\x89PNG\r\n"


def test_every_picture_and_link_of_the_readme_exists():
    text = (notebooks.ROOT / "README.md").read_text()
    if not (notebooks.ROOT / "reports" / "results.json").exists():
        pytest.skip("no full report yet")
    targets = re.findall(r"\]\(([^):#]+)[^):]*\)", text)
    assert len(targets) >= 3
    for target in targets:
        assert (notebooks.ROOT / target).exists(), target


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_a_report_killed_midway_goes_on_where_it_was(tmp_path):
    """A real report on a real notebook is killed when its first training is finished; the second run reuses it."""
    number = notebooks.notebook_paths()[0].name[:2]
    cache, out = tmp_path / "cache", tmp_path / "out"
    arguments = [sys.executable, "-m", "mnist_ae_utils", "report", "--profile", "smoke", "--only", number, "--out", out]
    environment = os.environ | {"MNIST_AE_CACHE": str(cache), "LOKY_MAX_CPU_COUNT": "1"}
    with open(tmp_path / "log", "w") as log:
        first = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, start_new_session=True)
        finished, deadline = {}, time.monotonic() + 300
        while not finished and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            finished = {path: path.stat().st_mtime_ns for path in cache.rglob("*.run")}
        first.kill()
        assert first.wait() == -signal.SIGKILL and finished, (tmp_path / "log").read_text()
    for process in psutil.process_iter():  # the workers, which would end by themselves after some minutes
        with contextlib.suppress(psutil.Error):
            if process.environ().get("MNIST_AE_CACHE") == str(cache):
                process.kill()
    assert not (out / "results.json").exists()
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    results = json.loads((out / "results.json").read_text())
    assert results["results"] and not results["header"]["failed"]
    assert (out / "html" / "index.html").exists()


def test_the_last_chapters_answer_opens_the_page_and_the_readme():
    claim = verdict("mixed", id="claim_c", claim="Two stages are better.", notebook="08_answer", ci=None, p=None)
    claim["note"] = "[04](notebooks/04_hybrid.ipynb#a-figure): 1 supported, 1 refuted"
    answer = verdict(id="answer", claim="**Yes, as a hybrid.**", notebook="08_answer", ci=None, p=None)
    header = collect.environment() | SETTING | {"profile": "full", "started": "now", "seconds_total": 60}
    results = {"header": header | {"failed": [], "notebooks": {}}, "results": [entry(), verdict(), claim, answer]}
    text, readme = page.page(results), page.readme_block(results)
    row = (
        "| c | Two stages are better. | **mixed** | [04](notebooks/04_hybrid.ipynb#a-figure): 1 supported, 1 refuted |"
    )
    assert text.index("**Yes, as a hybrid.**") < text.index(row) < text.index("Codes classify better than pixels.")
    assert text.count("Two stages are better.") == text.count("**Yes, as a hybrid.**") == 1
    assert "**Yes, as a hybrid.**" in readme and row.replace("notebooks/", "reports/notebooks/") in readme
