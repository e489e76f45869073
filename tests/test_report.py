"""The report on stub notebooks: what it states, what it keeps, and what its first page says."""

import json
import os
import re
import subprocess
import sys

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from stub_notebooks import (
    SETTING,
    contents,
    contrast,
    entry,
    execute_at_once,
    made_with,
    verdict,
    without_imports,
    write_notebook,
)

from mnist_ae_utils import chapter, data
from mnist_ae_utils import results as measured
from mnist_ae_utils.report import book, check, collect, folder, kernel, notebooks, pages, run

HEADER = SETTING | {
    "profile": "quick", "notebooks": {}, "failed": [], "seconds_total": 3720, "started": "", "commit": "none",
    "versions": {}, "platform": "", "hardware": {"cpu": "", "cores": 2, "memory_gib": 24, "gpu": "H100"},
    "rules": "none",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def stub_setting():
    """No data are loaded for stub notebooks, and their kernels import nothing ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "START", without_imports(kernel.START))
        patch.setattr(run, "prepare", lambda profile, dataset, seeds, device: SETTING | {"seeds": seeds or 2})
        yield


@pytest.fixture
def at_once(monkeypatch):
    """Reports without kernels and without books."""
    monkeypatch.setattr(notebooks, "execute", execute_at_once)
    monkeypatch.setattr(book, "render", lambda out: out / "html" / "index.html")


def execute(tmp_path, cells, start_timeout=300):
    """Run a notebook of these cells, saved in ``notebooks/``, in a real kernel: (what is said of it, its cells)."""
    path = write_notebook(tmp_path / "notebooks", cells=cells)
    target = tmp_path / "work" / "notebooks" / path.name
    target.parent.mkdir(parents=True)
    with kernel.environment():
        done = notebooks.execute(path, target, {"out": str(tmp_path / "work")}, tmp_path, start_timeout)
    return done, target.exists() and nbformat.read(target, as_version=4).cells


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A report on a notebook that fails and one that does not: (exit code, its folder)."""
    source, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("report {out}")
    write_notebook(source, "01_fails", ["before = 1\nprint('ran before')", "limit = 3\nraise ValueError('boom')"])
    cells = ["import os\nprint(os.getcwd(), out, seeds)", "import warnings\nwarnings.warn('beware')"]
    cost = entry("trainings.seconds", "02_works", 3720.0, unit="seconds", ci=None, split="train", shown="cost")
    entries = [
        entry(notebook="02_works", n_labels=55000, reference={"value": 0.988, "source": "Makhzani & Frey 2014"}),
        entry("of_speed", "02_works", 6.4321, unit="ratio", ci=None, split="train", headline="Dense autoencoder",
              note="of 5", shown="speed"),
        entry("deep_ae.error", "02_works", 2.934, unit="squared error per image", ci=[2.9, 2.97], headline="Deep one"),
        {key: v for key, v in entry("not_shown", "02_works", 0.1234).items() if key not in ("headline", "shown")},
        entry("of_validation", "02_works", 0.2345, split="validation"),
        contrast(notebook="02_works"),
        {key: value for key, value in cost.items() if key != "headline"},
    ]  # fmt: skip
    write_notebook(source, "02_works", cells, entries=entries)
    return run.report(out=out, source=source), out


# ------------------------------------------------------------------------------------------------- what it states
def test_failing_notebook_is_named_kept_and_rendered_and_the_others_run(mixed):
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
    assert text == pages.page(results)
    assert "The last chapter draws it, which was not run yet." in text
    assert "| Frozen convolutional encoder + MLP, 55,000 labels | 98.21% (98.01% to 98.42%) | 2 | 98.80%, Makhz" in text
    table, speed = text.split("## Speed")
    assert "| Dense autoencoder | 6.4× | 2 | of 5 |" in speed and "6.4×" not in table
    assert "| Deep one: squared error per image | 2.93 (2.90 to 2.97)" in table
    assert table.index("Frozen convolutional") < table.index("Deep one"), "in the order of the entries"
    assert "12.34%" not in text and "23.45%" not in text
    assert "Codes classify better than pixels" not in text, "that stands at the end of its chapter"
    assert re.search(r"\[02_works\]\(notebooks/02_works.ipynb\) \| \d+ s \| 1 h 02 min \|", text)


def test_no_table_of_the_first_page_is_broken(mixed):
    lines = (mixed[1] / "README.md").read_text().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if before.startswith("|") and line.startswith("|"):
            bars = [re.sub(r"\\\|", "", row).count("|") for row in (before, line)]
            assert bars[0] == bars[1], line
    assert "\n\n\n" not in "\n".join(lines)


def test_a_bar_or_a_new_line_in_a_text_does_not_split_a_table():
    odd = entry(n_labels=100, note="one | two\nthree", headline="p(x | z)")
    text = pages.page({"header": HEADER, "results": [odd]})
    assert "| p(x \\| z), 100 labels (one \\| two three) | 98.21%" in text


def test_a_commit_with_changes_is_told_from_one_without():
    of_run = {"seconds": 9.0, "started": "", "error": None}
    commits = {"01_a": "0123456789ab", "02_b": "0123456789ab with local changes", "03_c": "none"}
    header = HEADER | {"notebooks": {name: of_run | {"commit": commit} for name, commit in commits.items()}}
    text = pages.page({"header": header, "results": []})
    assert [re.search(rf"\[{name}\].*`(.*)`", text)[1] for name in commits] == ["012345678", "012345678+", "none"]
    assert "## Speed" not in text and "(figures/" not in text


def test_other_data_than_mnist_are_announced():
    header = json.loads(json.dumps(HEADER))
    header["dataset"]["notice"] = "THIS IS NOT MNIST: digits"
    assert "> **THIS IS NOT MNIST: digits**\n" in pages.page({"header": header, "results": []})
    header["dataset"] |= {"notice": "", "name": "kmnist"}
    assert "THIS IS NOT MNIST but kmnist" in pages.page({"header": header, "results": []})
    assert "The repository keeps" not in pages.page({"header": header, "results": []})
    header["profile"] = "full"
    text = pages.page({"header": header, "results": []})
    assert "The repository keeps" in text and "--dataset kmnist --seeds 2 --out reports/kmnist\n```" in text


@pytest.mark.parametrize("seeds, says", [
    (5, "commit `012345678` of 2026-12-01, written after earlier results on the same seeds: the verdicts are prov"),
    ("1000-1009", "commit `012345678` of 2026-12-01; on the seeds of this report nothing was run before."),
])  # fmt: skip
def test_the_page_says_what_was_known_when_the_rules_were_written(seeds, says):
    header = HEADER | {"seeds": seeds, "rules": "0123456789abc of 2026-12-01"}
    assert says in pages.page({"header": header, "results": [verdict()]})
    assert "This report is being replaced" not in pages.page({"header": header, "results": []})
    of_old = {key: value for key, value in HEADER.items() if key != "rules"}
    assert "This report is being replaced" in pages.page({"header": of_old, "results": []})


def test_rules_with_changes_do_not_meet_the_seeds_that_decide(tmp_path, monkeypatch, at_once):
    write_notebook(tmp_path / "notebooks")
    monkeypatch.setattr(collect, "rules", lambda of_code: "abc of 2026-12-01 with changes")
    with pytest.raises(folder.ReportError, match="rules.toml has changes: commit them before seeds like 1000-1001"):
        run.report(seeds="1000-1001", out=tmp_path / "out", source=tmp_path / "notebooks")
    assert not (tmp_path / "out").exists()
    assert run.report(out=tmp_path / "out", source=tmp_path / "notebooks") == 0, "while they are written, all goes on"


def test_a_chapter_that_leaves_out_what_was_announced_has_failed(tmp_path, monkeypatch, at_once):
    announced = {"id": "codes_beat_pixels", "claim": "x", "contrast": "y", "unit": "fraction"}
    monkeypatch.setitem(measured.RULES["contrasts"], "01_stub", [announced])
    for entries, error in (
        ([entry()], "mnist_ae_utils/rules.toml announces codes_beat_pixels, which 01_stub does not compare"),
        ([entry(), contrast()], None),
    ):
        write_notebook(tmp_path / "notebooks", entries=entries)
        run.report(out=tmp_path / "out", source=tmp_path / "notebooks")
        assert collect.read(tmp_path / "out" / "results.json")["header"]["notebooks"]["01_stub"]["error"] == error


def test_the_last_chapters_answer_opens_the_page_and_the_readme():
    claim = verdict("mixed", note="[04](notebooks/04_hybrid.ipynb#a-figure): codes minus pixels")
    answer = verdict(id="answer", claim="**Yes, as a hybrid.**", shown="answer")
    results = {"header": HEADER, "results": [entry(), contrast(), claim, answer]}
    text = pages.page(results)
    row = "| c | Two stages are better. | **mixed** | [04](notebooks/04_hybrid.ipynb#a-figure): codes minus pixels |"
    figure = f"(figures/{claim['notebook']}.png)"
    assert text.index(figure) < text.index("**Yes, as a hybrid.**") < text.index(row) < text.index("## Results beside")
    assert text.count("Two stages are better.") == text.count("**Yes, as a hybrid.**") == 1
    readme = pages.readme_with("a\n<!-- results:begin -->\nold \\1\n<!-- results:end -->\nb\n", results)
    assert readme == "a\n<!-- results:begin -->\n\n**Yes, as a hybrid.**\n\n<!-- results:end -->\nb\n"
    assert pages.readme_with(readme, results) == readme
    results["header"] = HEADER | {"dataset": HEADER["dataset"] | {"notice": "THIS IS NOT MNIST: digits"}}
    assert "\n> **THIS IS NOT MNIST: digits**\n\n" in pages.readme_with(readme, results)
    with pytest.raises(folder.ReportError, match="put it back"):
        pages.readme_with("no marks", results)


def test_a_book_needs_no_home_and_what_stops_it_is_said_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "README.md").write_text("# A page")
    environments = []

    def sphinx(command, env, **options):
        environments.append(env)
        crash = "Traceback:\n  ...\nOSError: [Errno 28] No space left on device\nPlease report this"
        return subprocess.CompletedProcess(command, 1, "", crash)

    monkeypatch.setattr(book.subprocess, "run", sphinx)
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)  # as where no home is known
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(folder.ReportError, match=r"rendered: \[Errno 28\] No space left on device. Mend that and run"):
        book.render(tmp_path)
    assert environments[0]["HOME"] and environments[0]["LC_ALL"] == "C"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "results.json"]


# ------------------------------------------------------------------------------------- the code that ran, and where
def test_the_commit_is_that_of_the_code_or_none(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "project").mkdir()
    (tmp_path / "code.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    monkeypatch.setattr(collect, "RULES", "code.py")
    monkeypatch.setattr(collect, "ROOT", tmp_path / "project")  # an archive unpacked in somebody's repository
    assert collect.commit() == collect.rules(collect.commit()) == "none"
    monkeypatch.setattr(collect, "ROOT", tmp_path)
    assert collect.commit() == git("rev-parse", "HEAD")
    (tmp_path / "other.py").write_text("y = 1\n")
    git("add", "other.py")
    git("commit", "--quiet", "-m", "two")
    assert collect.rules("abc") == f"{git('rev-parse', 'HEAD~1')} of {git('log', '-1', '--format=%cs', 'HEAD~1')}"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook
    assert collect.commit() == git("--git-dir", str(tmp_path / ".git"), "rev-parse", "HEAD")
    monkeypatch.delenv("GIT_DIR")
    (tmp_path / "code.py").write_text("x = 2\n")
    assert collect.commit().endswith(" with local changes") and collect.rules("abc").endswith(" with changes")
    (tmp_path / ".git" / "index").write_bytes(b"damaged")
    assert collect.commit().endswith(" with unknown changes")
    monkeypatch.setenv("PATH", "")
    assert collect.commit() == "none"


def test_a_commit_made_meanwhile_is_stated(tmp_path, monkeypatch, at_once):
    write_notebook(tmp_path / "notebooks")
    commits = iter(["aaa", "aaa", "bbb"])
    monkeypatch.setattr(collect, "commit", lambda: next(commits))
    assert run.report(out=tmp_path / "out", source=tmp_path / "notebooks") == 0
    header = collect.read(tmp_path / "out" / "results.json")["header"]
    assert header["notebooks"]["01_stub"]["commit"] == "aaa, then bbb"


def test_notebooks_run_in_this_python_with_this_package_and_nobodys_configuration(tmp_path, monkeypatch):
    """Another kernel and clone of that name, svg figures, another backend, start-up files: all are passed over."""
    home, clone = tmp_path / "home", tmp_path / "clone"
    spec = home / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    (clone / "mnist_ae_utils").mkdir(parents=True)
    (clone / "mnist_ae_utils" / "__init__.py").write_text("raise ImportError('another clone')")
    profile = home / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "ipython_config.py").write_text("c.InlineBackend.figure_formats = {'svg'}")
    (profile / "startup" / "x.py").write_text("raise SystemExit")
    (home / "start.py").write_text("print('mine')")
    (home / "matplotlibrc").write_text("backend: agg\nfigure.dpi: 11\n")
    for name, value in {
        "JUPYTER_PATH": home / "jupyter", "IPYTHONDIR": home / "ipython", "PYTHONPATH": clone, "MPLBACKEND": "agg",
        "PYTHONSTARTUP": home / "start.py", "MATPLOTLIBRC": home / "matplotlibrc",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    cells = [
        "import sys\nimport matplotlib\nimport matplotlib.pyplot as plt\nfrom mnist_ae_utils import plots",
        "print(sys.executable, plots.__file__, matplotlib.rcParamsDefault['figure.dpi'])",
        "import torch\nplots.digits(torch.rand(4, 1, 28, 28));",
    ]
    before = dict(os.environ)
    done, cells = execute(tmp_path, cells)
    assert done["error"] is None and dict(os.environ) == before
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs)
    assert said.startswith("<python>/bin/python") and "./mnist_ae_utils/plots.py 100" in said and "mine" not in said
    assert {kind for output in outputs for kind in output.get("data", ())} == {"image/png", "text/plain"}


def test_a_figure_that_is_missing_fails_its_chapter():
    def executed(source, *outputs):
        return new_notebook(cells=[new_code_cell(source, outputs=list(outputs), execution_count=3)])

    figure = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K"})
    vector = nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"})
    draws = "%time\nplots.curves({\n    1: 2}, 'x', 'y');"
    assert notebooks._missing_figure(executed(draws, figure)) is None
    assert notebooks._missing_figure(executed(draws, vector)) == "cell [3] calls plots.curves and shows no figure"
    for source in ("plots.verdict_table(results)", "x = plots.by_method(y)", "def show():\n    plots.curves(1)"):
        assert notebooks._missing_figure(executed(source)) is None


# ----------------------------------------------------------------------------------------- what is refused, or kept
def test_a_number_that_is_not_there_or_twice_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="there are no notebooks in .*: run this from a clone"):
        notebooks.notebook_paths(tmp_path)
    write_notebook(tmp_path)
    with pytest.raises(ValueError, match="no notebook 07: use one or more of 01"):
        notebooks.notebook_paths(tmp_path, ["07"])
    write_notebook(tmp_path, "01_copy")
    with pytest.raises(ValueError, match="two notebooks have the number 01: 01_copy.ipynb and 01_stub.ipynb"):
        notebooks.notebook_paths(tmp_path)


def test_unknown_parameter_is_an_error_before_anything_runs(tmp_path):
    write_notebook(tmp_path / "notebooks", parameters='profile = "quick"\nout = "."\ndataset = "auto"\nseed = None')
    with pytest.raises(folder.ReportError, match="01_stub.ipynb has no parameter 'seeds'; declared: profile, out"):
        run.report(out=tmp_path / "out", source=tmp_path / "notebooks")
    assert not (tmp_path / "out").exists()


def test_a_notebook_without_parameters_is_an_error(tmp_path):
    path = write_notebook(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata = {}
    nbformat.write(notebook, path)
    with pytest.raises(folder.ReportError, match="is the cell tagged"):
        notebooks.check_parameters(path, {"profile": "quick"})


def test_only_runs_what_is_asked_and_keeps_the_rest(tmp_path, at_once):
    source, out = tmp_path / "notebooks", tmp_path / "out"
    for name in ("01_a", "02_b"):
        of_both = entry("trainings.seconds", name)  # every chapter leaves an entry of this id
        write_notebook(source, name, entries=[entry(f"{name}.x", name), of_both])
    assert run.report(out=out, source=source) == 0
    first = collect.read(out / "results.json")
    by_hand = {"made_with": made_with(), "results": [entry("01_a.x", "01_a", 0.5)]}  # of another `latent_dim`
    (out / "results" / "01_a.json").write_text(json.dumps(by_hand))
    other = "results/01_a.json holds other results than results.json: was it run by hand since?"
    assert check.problems(out)[1:] == [other]
    assert run.report(only=["2"], out=out, source=source) == 0
    second = collect.read(out / "results.json")
    assert [e["id"] for e in second["results"]] == ["01_a.x", "trainings.seconds", "02_b.x", "trainings.seconds"]
    assert second["results"] == first["results"]
    assert second["header"]["notebooks"]["01_a"] == first["header"]["notebooks"]["01_a"]
    assert json.loads((out / "results" / "01_a.json.kept1").read_text()) == by_hand, "somebody made it"
    assert check.problems(out) == []
    with pytest.raises(folder.ReportError, match="holds a report made with seeds 2 instead of 3: name another"):
        run.report(only=["02"], seeds=3, out=out, source=source)


def test_a_word_is_mended_without_training_and_code_is_shown_as_it_ran(tmp_path, at_once):
    source, out = tmp_path / "notebooks", tmp_path / "out"
    paths = [write_notebook(source, name, ["1 + 1"], entries=[entry(f"{name}.x", name)]) for name in ("01_a", "02_b")]
    run.report(out=out, source=source)
    executed = out / "notebooks" / "01_a.ipynb"
    before, page = nbformat.read(executed, as_version=4), (out / "README.md").read_text(encoding="utf-8")
    for changes, mended in ({"settles": "measures"}, True), ({"measures": "proves", "1 + 1": "1 + 2"}, False):
        for word, new in changes.items():
            paths[0].write_text(paths[0].read_text(encoding="utf-8").replace(word, new), encoding="utf-8")
        run.report(only=["02"], out=out, source=source)
        after = nbformat.read(executed, as_version=4)
        assert after.cells[0].source == "# Chapter 01_a\n\nWhat a stub measures."
        assert [cell.source for cell in after.cells[1:]] == [cell.source for cell in before.cells[1:]]
        assert after.metadata == before.metadata, "of the same execution"
        stated = collect.read(out / "results.json")["header"]["notebooks"]["01_a"]
        assert stated["texts"] == collect.commit() and (stated["source"] == folder.digest(paths[0])) == mended
        assert check.problems(out) == []
    assert "texts of" not in page and "`, texts of `" in (out / "README.md").read_text(encoding="utf-8")


def test_texts_come_between_what_ran_with_its_outputs_and_the_parameters_it_got(tmp_path):
    of_code = [new_code_cell("a = 1", outputs=[new_output("stream", text="said")]), new_code_cell("b = 2")]
    given = new_code_cell("a = 3", metadata={"tags": ["injected-parameters"]})
    ran, now, executed = [of_code[0], given, new_markdown_cell("old"), of_code[1]], tmp_path / "now", tmp_path / "ran"
    nbformat.write(new_notebook(cells=ran), executed)
    texts = [new_markdown_cell(text) for text in ("first", "new", "last")]
    nbformat.write(new_notebook(cells=[texts[0], new_code_cell("a = 1"), *texts[1:], new_code_cell("b = 2")]), now)
    assert notebooks.renew_texts(executed, now)
    assert nbformat.read(executed, as_version=4).cells == [texts[0], *of_code[:1], given, *texts[1:], of_code[1]]


def test_a_chapter_goes_on_to_announce_the_rules_by_which_it_was_judged(tmp_path):
    for name, rule in {"ran": "above 0", "now": "above 1"}.items():
        announced = new_markdown_cell(rule, metadata={"rules": "01_a"})
        nbformat.write(new_notebook(cells=[new_markdown_cell(name), announced]), tmp_path / name)
    before = (tmp_path / "ran").read_bytes()
    assert not notebooks.renew_texts(tmp_path / "ran", tmp_path / "now")
    assert (tmp_path / "ran").read_bytes() == before


@pytest.mark.parametrize(
    "other", [{"profile": "full"}, {"seeds": 3}, {"dataset": "kmnist"}, {"checksum": "def456"}], ids=str
)
def test_results_made_with_something_else_fail_their_chapter(tmp_path, at_once, other):
    write_notebook(tmp_path / "notebooks", "01_stub")
    write_notebook(tmp_path / "notebooks", "02_other", **other)
    assert run.report(out=tmp_path / "out", source=tmp_path / "notebooks") == 1
    results = collect.read(tmp_path / "out" / "results.json")
    ((key, value),) = other.items()
    error = f"02_other.json: made with {key} {value!r} instead of {made_with()[key]!r}"
    assert results["header"]["failed"] == ["02_other"] and results["header"]["notebooks"]["02_other"]["error"] == error
    assert [e["notebook"] for e in results["results"]] == ["01_stub"]


def test_results_out_of_the_schema_missing_or_of_another_fail_the_report(tmp_path, at_once):
    source, out = tmp_path / "notebooks", tmp_path / "out"
    write_notebook(source, entries=[entry(split="tset")])
    write_notebook(source, "02_thief", entries=[entry(notebook="01_stub")])
    for name, last in {"03_odd": "Path(out, 'results', '03_odd.json').write_text('no')", "04_silent": "pass"}.items():
        notebook = nbformat.read(path := write_notebook(source, name), as_version=4)
        notebook.cells[-1].source = f"from pathlib import Path\n{last}"
        nbformat.write(notebook, path)
    assert run.report(out=out, source=source) == 1
    errors = [run["error"] for run in collect.read(out / "results.json")["header"]["notebooks"].values()]
    assert errors[0].startswith("01_stub.json: entry hybrid.accuracy: split: 'tset' is not one of")
    assert errors[1] == "02_thief.json: entries of 01_stub" and "03_odd.json is damaged" in errors[2]
    assert errors[3] == "it left no results: 04_silent.json is missing in results/"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"value": "good"}, "value: 'good' is not of type 'number', 'null'"),
        ({"value": None}, "has no value and no note"),
        ({"ci": [0.9, 0.8]}, r"ci \[0.9, 0.8\] is upside down"),
        ({"ci": [0.9]}, "ci: "),
        ({"per_seed": [0.9, "x"]}, "per_seed: 1: 'x' is not of type"),
        ({"per_seed": 0.9}, "per_seed: 0.9 is not of type 'array'"),
        ({"split": "tset"}, "split: 'tset' is not one of"),
        ({"n_labels": 0}, "n_labels: 0 is less than the minimum"),
        ({"reference": {"value": 1.0}}, "reference: "),
        ({"unit": ""}, "unit: '' should be non-empty"),
        ({"headline": ""}, "headline: '' should be non-empty"),
        ({"shown": "there"}, "shown: 'there' is not one of"),
        ({"unit": "verdict"}, "is a required property|is not one of"),
        ({"above": 0.0}, "'claim' is a dependency of 'above'"),
        ({"extra": 1}, "Additional properties are not allowed"),
    ],
)
def test_entries_out_of_the_schema_are_named(change, message):
    with pytest.raises(folder.ReportError, match=f"01_stub.json: entry hybrid.accuracy:? .*({message})"):
        collect.check_entries([entry(**change)], "01_stub.json")


def test_schema_knows_contrasts_verdicts_twins_and_divergence():
    collect.check_entries([entry(), entry(n_labels=100), contrast(), verdict("no difference that matters")], "x")
    collect.check_entries([entry(value=None, ci=None, per_seed=[1.0, None], note="diverged in 1 of 2 seeds")], "x")
    with pytest.raises(folder.ReportError, match="'maybe' is not one of"):
        collect.check_entries([verdict("maybe")], "x")
    with pytest.raises(folder.ReportError, match="is there twice"):
        collect.check_entries([entry(), entry()], "x")
    with pytest.raises(folder.ReportError, match="'unit' is a required property"):
        collect.check_entries([{key: value for key, value in entry().items() if key != "unit"}], "x")
    with pytest.raises(folder.ReportError, match="a list of entries is expected"):
        collect.check_entries({}, "x")


@pytest.mark.parametrize(
    "profile, dataset, seeds, name",
    [
        ("quick", "mnist", 2, "reports/quick"),
        ("quick", "kmnist", 2, "reports/quick-kmnist"),
        ("quick", "mnist", 3, "reports/quick-3-seeds"),
        ("full", "mnist", "1000-", "reports"),
        ("full", "mnist", 2, "reports/full-2-seeds"),
        ("full", "fashion-mnist", "1000-", "reports/fashion-mnist"),
        ("full", "fashion-mnist", 3, "reports/full-fashion-mnist-3-seeds"),
        ("smoke", "mnist-5000", 2, "reports/smoke-mnist-5000"),
    ],
)
def test_profile_data_and_seeds_decide_where_it_goes(tmp_path, monkeypatch, at_once, profile, dataset, seeds, name):
    monkeypatch.setattr(pages, "COMMITTED", tmp_path / "reports")
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path)
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    of_data = SETTING | {"dataset": SETTING["dataset"] | {"name": dataset}, "seeds": seeds}
    monkeypatch.setattr(run, "prepare", lambda *args: of_data)
    monkeypatch.setattr(collect, "rules", lambda of_code: "abc of 2026-12-01")
    write_notebook(tmp_path / "notebooks", seeds=seeds)
    assert run.report(profile, source=tmp_path / "notebooks") == 0
    assert [path.parent for path in tmp_path.rglob("results.json")] == [tmp_path / name]


def project_with_reports(tmp_path, monkeypatch):
    """A project of its own, whose report is made of one stub notebook: (its folder of reports, of notebooks)."""
    monkeypatch.setattr(pages, "COMMITTED", tmp_path / "reports")
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    write_notebook(tmp_path / "notebooks")
    return tmp_path / "reports", tmp_path / "notebooks"


def test_the_full_report_on_mnist_goes_into_the_readme(tmp_path, monkeypatch, at_once):
    out, source = project_with_reports(tmp_path, monkeypatch)
    assert run.report("full", out=tmp_path / "elsewhere", source=source) == 0
    assert "The last chapter" not in (tmp_path / "README.md").read_text()
    assert run.report("full", out=out, source=source) == 0
    assert "The last chapter" in (tmp_path / "README.md").read_text() and check.problems(out) == []
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n99.9%<!-- results:end -->\n")
    assert check.problems(out) == ["the project's README.md does not say what results.json says"]


def test_a_failed_report_replaces_no_whole_one(tmp_path, monkeypatch, at_once, capsys):
    out, source = project_with_reports(tmp_path, monkeypatch)
    assert run.report("full", out=out, source=source) == 0
    before, readme = contents(out), (tmp_path / "README.md").read_text()
    write_notebook(source, "02_fails", ["raise ValueError('boom')"])
    assert run.report("full", out=out, source=source) == 1
    after = {name: content for name, content in contents(out).items() if not name.startswith(folder.WORK)}
    assert after == before and (tmp_path / "README.md").read_text() == readme
    assert f"The earlier report in {out} stays" in capsys.readouterr().err
    first = tmp_path / "first"
    assert run.report("full", out=first, source=source) == 1
    assert "**02_fails failed**" in (first / "README.md").read_text(), "where there was none, it is shown"


# ------------------------------------------------------------------------------------------- executed notebooks
def test_the_commands_output_holds_a_notebooks_bar_as_lines(tmp_path, capsys):
    bar = "import tqdm, sys, os\nfor i in tqdm.trange(4, file=sys.stdout, ascii=True):\n    pass\nprint('done')"
    assert execute(tmp_path, [bar])[0]["error"] is None
    said = capsys.readouterr().out
    assert "\r" not in said and "| 4/4 [" in said and said.endswith("\ndone\n") and len(said.splitlines()) <= 4


@pytest.mark.parametrize("cell, error", [
    ("import os\nos._exit(9)", "the kernel died: it ended by itself with exit code 9"),
    pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "it was killed: by the system, if memory",
                 marks=pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")),
])  # fmt: skip
def test_a_kernel_that_dies_is_a_failed_notebook_that_says_why(tmp_path, monkeypatch, cell, error):
    monkeypatch.setattr(book, "render", lambda out: None)
    write_notebook(tmp_path / "notebooks", cells=["print('so far it came')", cell])
    assert run.report(out=tmp_path / "out", source=tmp_path / "notebooks") == 1
    header = collect.read(tmp_path / "out" / "results.json")["header"]
    assert error in header["notebooks"]["01_stub"]["error"]
    kept = nbformat.read(tmp_path / "out" / "notebooks" / "01_stub.ipynb", as_version=4)
    assert ["so far it came\n"] == [output.text for cell in kept.cells for output in cell.get("outputs", [])]


def test_a_kernel_that_starts_too_slowly_says_how_to_allow_more(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "START", "import time; time.sleep(60)")
    done, cells = execute(tmp_path, ["1"], start_timeout=1)
    assert done["error"] == "the kernel did not answer within 1 s: allow more with --start-timeout"


def test_the_next_kernel_is_started_while_a_notebook_runs_and_none_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "render", lambda out: None)
    asks = "import os, psutil\nparent = psutil.Process().parent()\n" \
           "print(os.getpid(), *[child.pid for child in parent.children() if child.pid != os.getpid()])"  # fmt: skip
    for name in ("01_first", "02_next"):
        write_notebook(tmp_path / "notebooks", name, cells=[asks])
    before = {str(child.pid) for child in psutil.Process().children()}  # workers of other tests
    run.report(out=tmp_path / "out", source=tmp_path / "notebooks")
    read = [nbformat.read(path, as_version=4) for path in sorted((tmp_path / "out" / "notebooks").iterdir())]
    said = [next(c.outputs[0].text.split() for c in notebook.cells if c.get("source") == asks) for notebook in read]
    (_, waiting), (second, *others) = ([pid for pid in pids if pid not in before] for pids in said)
    assert second == waiting and not others
    assert kernel.Process.ahead is None


@pytest.mark.parametrize("text, expected", [
    ("/repo/reports in /repo", "./reports in ."),
    ("my/repo, /repository, /repo-2, /repo.git, repo", "my/repo, /repository, /repo-2, /repo.git, repo"),
    ("at /repo. Or '/repo', or (/repo/x.py:3)", "at .. Or '.', or (./x.py:3)"),
    ("file:///repo/a%20b, /data/of%20mine/x, /data/of mine/x", "file://./a%20b, $DATA/x, $DATA/x"),
    (r"C:\Users\me\course\x 'C:\\Users\\me\\course\\x' C:/Users/me/course", r"<course>\x '<course>\\x' <course>"),
    ("/var/x/ipykernel_12/345.py:1: UserWarning", "<cell>:1: UserWarning"),
    ("  0%|\r 50%|\r100%|\nnext\r\n", "100%|\nnext\r\n"),
    ("first\n  0%|  | 0/2\r100%|██| 2/2\n\nnext\r\n", "first\nnext\r\n"),
    ("100%|██| 2/2 runs [00:01]\n100%|██| 4/4 runs [00:01]\nnext, 100%|", "next, 100%|"),
    ("\n 0%|\r 50%|\r", "\n 50%|"),
])  # fmt: skip
def test_paths_of_this_machine_are_replaced_and_nothing_else(text, expected):
    places = {r"C:\Users\me\course": "<course>", "/data/of mine": "$DATA", "/repo": "."}
    assert notebooks.scrub(text, places) == expected
    output = {"image/png": text, "text/plain": [text]}
    assert notebooks.scrub(output, places) == {"image/png": text, "text/plain": [expected]}


def test_the_places_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_DATA_DIR", "/data/of mine/")
    monkeypatch.setattr(sys, "prefix", "/opt/python")
    out = notebooks.ROOT / "reports" / "quick"
    text = f"{notebooks.ROOT}/mnist_ae_utils/data.py: bad; {out} /opt/python/lib; /data/of mine/MNIST {out}/.unfinished"
    expected = "./mnist_ae_utils/data.py: bad; ../reports/quick <python>/lib; $MNIST_DATA_DIR/MNIST ../reports/quick"
    assert notebooks.scrub(text, notebooks._places(out / ".unfinished", out)) == expected
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)  # as where no home is known
    assert "~" not in notebooks._places(tmp_path, tmp_path)


def test_code_is_never_changed(tmp_path):
    code = f"where = '{tmp_path}'\nprint(where)"
    _, after = execute(tmp_path, [code])
    before = nbformat.read(tmp_path / "notebooks" / "01_stub.ipynb", as_version=4).cells
    own = [cell.source for cell in after if "injected-parameters" not in cell.metadata.get("tags", [])]
    assert own == [cell.source for cell in before]
    assert after[3].outputs[0].text == f"{tmp_path.name}\n" and f'out = "{tmp_path.name}"' in after[2].source


@pytest.mark.parametrize("line", ["x" * 300_000, "x" * 300_000 + "\r\n", "/" * 300_000, "50%|\r" * 60_000 + "done"])
def test_a_long_line_is_scrubbed_at_once(line, tmp_path):
    done = subprocess.run(  # in a process that can be ended: a search from every letter on takes minutes
        [sys.executable, "-c", "import sys; from mnist_ae_utils.report import notebooks\n"
         "line = sys.stdin.buffer.read().decode()\n"
         "sys.stdout.buffer.write(notebooks.scrub(line, {'/a/place': 'x'}).encode())"],
        input=line.encode(), capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.decode() == ("done" if "50%" in line else line)


# -------------------------------------------------------------------------------------------- the committed report
def test_the_committed_report_belongs_together():
    assert check.problems(pages.COMMITTED) == [] and check.absent(pages.COMMITTED) == []


@pytest.mark.parametrize("dataset", sorted(data.TORCHVISION.keys() - {"mnist"}))
def test_a_committed_report_on_other_data_belongs_together(dataset):
    """Page, figures and results: the repository does not keep the executed notebooks and the networks."""
    if not (out := chapter.kept_folder(dataset)).exists():
        pytest.skip("there is none")
    assert check.problems(out) == []


def test_every_picture_and_link_of_the_readme_exists():
    text = (notebooks.ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^):#]+)[^):]*\)", text)
    assert len(targets) >= 3
    for target in targets:
        assert (notebooks.ROOT / target).exists(), target
