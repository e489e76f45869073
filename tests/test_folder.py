"""What a report does to a folder: nobody's file is lost, and a report is there whole or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from stub_notebooks import KEEP, SETTING, contents, entry, execute_at_once, write_notebook

from mnist_ae_utils.report import book, check, collect, folder, notebooks, run


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Reports on stub notebooks, without data, kernels and books."""
    monkeypatch.setattr(run, "prepare", lambda profile, dataset, seeds, device: SETTING | {"seeds": seeds or 2})
    monkeypatch.setattr(notebooks, "execute", execute_at_once)
    monkeypatch.setattr(book, "render", lambda out: out / "html" / "index.html")


def make(tmp_path, **options):
    """Make a report of the stub notebooks into ``out/``, which is returned."""
    options = {"out": tmp_path / "out", "source": tmp_path / "notebooks"} | options
    assert run.report(**options) == 0
    return options["out"]


@pytest.fixture
def source(tmp_path):
    for name in ("01_a", "02_b"):
        write_notebook(tmp_path / "notebooks", name, entries=[entry(notebook=name)])
    return tmp_path / "notebooks"


def write(path, text="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---------------------------------------------------------------------------------------------- what is refused
SOMEBODYS = [
    {"thesis.txt": "mine"},
    {"notebooks/01_a.ipynb": "{}"},  # the course's own folder: --out .
    {"html/index.html": "mine", "README.md": "mine"},
    {"results.json": "[1, 2]"},
    {"results.json": '{"header": {}, "results": []}'},
    {"results/01_a.json": "mine"},
    {"results/07_other.json": '{"made_with": {"profile": "full"}, "results": []}'},
    {"models/mine.bin": "mine"},
    {"models/mine.safetensors": "mine"},
    {".git/config": "mine"},
]


@pytest.mark.parametrize("files", SOMEBODYS, ids=lambda files: " ".join(files))
def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(tmp_path, source, files):
    out = tmp_path / "out"
    for name, text in files.items():
        write(out / name, text)
    before = contents(out)
    with pytest.raises(folder.ReportError, match="name another folder|Move it away|delete it"):
        run.report(out=out, source=source)
    assert contents(out) == before and sorted(p.name for p in out.iterdir()) == sorted({n.split("/")[0] for n in files})


@pytest.mark.parametrize("name", ["README.md", "notebooks/01_a.ipynb", "results.json", "html/mine.html"])
def test_what_was_changed_in_a_report_is_not_replaced(tmp_path, source, name):
    out = make(tmp_path)
    text = (out / name).read_text() + " " if (out / name).exists() else "mine"
    write(out / name, text)
    before = contents(out)
    with pytest.raises(folder.ReportError, match=f"holds what no report left so: {name.split('/')[-1]}|{name}"):
        run.report(out=out, source=source)
    assert contents(out) == before


def test_a_report_of_another_kind_and_a_file_are_refused(tmp_path, source):
    out = make(tmp_path)
    before = contents(out)
    with pytest.raises(folder.ReportError, match="made with profile 'quick' instead of 'full': name another folder"):
        run.report("full", out=out, source=source)
    with pytest.raises(folder.ReportError, match="is a file: name a folder with --out"):
        run.report(out=out / "README.md", source=source)
    assert contents(out) == before


def test_new_empty_earlier_and_hand_run_folders_are_taken_and_others_files_stay(tmp_path, source):
    out = make(tmp_path)
    first = contents(out)
    write(out / "notes.txt")
    write(out / "notebooks" / "my_own.ipynb")
    make(tmp_path)
    assert contents(out) == first | {"notes.txt": b"mine", "notebooks/my_own.ipynb": b"mine"} | {
        name: content for name, content in contents(out).items() if name in ("results.json", "README.md", "files.json")
    }  # which state when the report was started
    (tmp_path / "empty").mkdir()
    make(tmp_path, out=tmp_path / "empty")
    by_hand = tmp_path / "reports" / "quick"
    values = {"out": str(by_hand), "dataset": "mnist"}
    (by_hand / "results").mkdir(parents=True)
    execute_at_once(source / "01_a.ipynb", tmp_path / "x.ipynb", values, by_hand, 300)
    make(tmp_path, out=by_hand)
    make(tmp_path, out=tmp_path / "reports")  # which holds nothing but other reports
    assert not [name for name in contents(tmp_path / "reports") if "kept" in name or ".unfinished" in name]


def test_a_chapter_that_is_no_more_leaves_with_its_files(tmp_path, source):
    out = make(tmp_path)
    (source / "02_b.ipynb").unlink()
    make(tmp_path)
    assert not [name for name in contents(out) if "02_b" in name] and check.problems(out) == []


def test_results_of_a_notebook_run_by_hand_meanwhile_stay_out_and_are_kept(tmp_path, source, monkeypatch, capsys):
    out = make(tmp_path)

    def meanwhile(path, target, parameters, *others):
        write(out / "results" / "01_a.json", "by hand")
        return execute_at_once(path, target, parameters, *others)

    monkeypatch.setattr(notebooks, "execute", meanwhile)
    make(tmp_path)
    assert (out / "results" / "01_a.json.kept1").read_text() == "by hand" and check.problems(out) == []
    assert "results/01_a.json in" in capsys.readouterr().err


def test_a_second_report_into_a_folder_is_refused(tmp_path, source, monkeypatch):
    out, refused = tmp_path / "out", []

    def second(path, target, parameters, *others):
        code = "import sys; from pathlib import Path; from mnist_ae_utils.report import folder\n" \
               "try:\n    folder.locked(Path(sys.argv[1])).__enter__()\n" \
               "except folder.ReportError as error:\n    print(error)"  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
        refused.append(done.stdout)
        return execute_at_once(path, target, parameters, *others)

    monkeypatch.setattr(notebooks, "execute", second)
    make(tmp_path)
    assert [said.startswith(f"another report is being made in {out}: wait") for said in refused] == [True, True]
    make(tmp_path)


# ------------------------------------------------------------------------------------------ whole or not at all
class Killed(BaseException):
    """As if the process ended here: nothing that catches errors sees it."""


@pytest.mark.parametrize("earlier", [True, False])
def test_a_report_killed_while_it_takes_its_place_is_finished_by_the_next(tmp_path, source, monkeypatch, earlier):
    """At each file that is moved, and before and after: the next command goes on with it, in a new folder too."""
    out = make(tmp_path) if earlier else tmp_path / "out"
    write_notebook(source, "02_b", entries=[entry(notebook="02_b", value=0.5)])
    write_notebook(source, "03_c", entries=[entry(notebook="03_c")])
    replace, steps, tried = type(out).replace, 0, 0
    while True:
        calls = 0

        def killed(path, target, steps=steps):
            nonlocal calls
            calls += folder.WORK in path.parts and folder.WORK not in target.parts
            if calls > steps:
                raise Killed
            return replace(path, target)

        monkeypatch.setattr(type(out), "replace", killed)
        try:
            if not earlier:
                shutil.rmtree(out, ignore_errors=True)
            run.report(out=out, source=source)
            break
        except Killed:
            pass
        finally:
            monkeypatch.setattr(type(out), "replace", replace)
        tried += 1
        if (out / "results.json").exists():
            assert check.problems(out), "a half-moved report is told from a whole one"
        run.rendered(out, book.render) if steps % 2 else make(tmp_path)
        assert check.problems(out) == []
        values = {e["notebook"]: e["value"] for e in collect.read(out / "results.json")["results"]}
        assert values == {"01_a": 0.98214, "02_b": 0.5, "03_c": 0.98214}
        steps += 1
    assert tried >= 8 and check.problems(out) == [] and not (out / folder.WORK).exists()


def interrupted_at(monkeypatch, *numbers):
    """Have the executions of these numbers interrupted; the list to which each one's notebook is added."""
    ran = []

    def execute(path, *others):
        ran.append(path.stem)
        if len(ran) in numbers:
            raise KeyboardInterrupt
        return execute_at_once(path, *others)

    monkeypatch.setattr(notebooks, "execute", execute)
    return ran


def test_a_report_interrupted_twice_in_a_chapter_keeps_the_chapters_before_it(tmp_path, source, monkeypatch):
    monkeypatch.setattr(collect, "commit", lambda: "abc")
    ran = interrupted_at(monkeypatch, 2, 3)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    make(tmp_path)
    assert ran == ["01_a", "02_b", "02_b", "02_b"]


def test_an_interrupted_report_goes_on_with_the_chapter_that_was_not_finished(tmp_path, source, monkeypatch, capsys):
    monkeypatch.setattr(collect, "commit", lambda: "abc")
    ran = interrupted_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    out = make(tmp_path)
    assert ran == ["01_a", "02_b", "02_b"] and "01_a: done before the interruption" in capsys.readouterr().out
    assert sorted(path.name for path in (out / "results").iterdir()) == ["01_a.json", "02_b.json"]
    undisturbed = make(tmp_path, out=tmp_path / "undisturbed")
    assert collect.read(out / "results.json")["results"] == collect.read(undisturbed / "results.json")["results"]
    make(tmp_path)
    assert ran[3:] == ["01_a", "02_b"] * 2, "a whole report is made anew"
    ran[:] = []
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, out=tmp_path / "other")
    make(tmp_path, out=tmp_path / "other", only=["02"])
    assert sorted(path.name for path in (tmp_path / "other" / "results").iterdir()) == ["02_b.json"]


@pytest.mark.parametrize("change", ["notebook", "commit", "local changes"])
def test_what_was_changed_since_the_interruption_is_run_again(tmp_path, source, monkeypatch, change):
    commits = {"commit": ["abc"] * 3 + ["def"] * 9, "local changes": ["abc with local changes"] * 9}
    commits = iter(commits.get(change, ["abc"] * 9))
    monkeypatch.setattr(collect, "commit", lambda: next(commits))
    ran = interrupted_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    if change == "notebook":
        write_notebook(source, "01_a", entries=[entry(notebook="01_a", value=0.1)])
    make(tmp_path)
    assert ran == ["01_a", "02_b", "01_a", "02_b"]


def test_a_disk_that_is_full_at_any_write_loses_nothing(tmp_path, source, monkeypatch):
    """Every write of a text in turn finds no space; the report before stays, and the command runs through then."""
    monkeypatch.setattr(collect, "commit", lambda: "abc")
    out, path_type = make(tmp_path), type(tmp_path)
    before, write_text, n = contents(out), path_type.write_text, 0
    while True:
        calls = 0

        def full(path, text, *arguments, n=n, **options):
            nonlocal calls
            calls += 1
            if calls == n + 1:
                write_text(path, text[: len(text) // 2], *arguments, **options)
                raise OSError(28, "No space left on device", str(path))
            return write_text(path, text, *arguments, **options)

        monkeypatch.setattr(path_type, "write_text", full)
        try:
            run.report(out=out, source=source)
            break
        except OSError:
            pass
        finally:
            monkeypatch.setattr(path_type, "write_text", write_text)
        left = {name: content for name, content in contents(out).items() if not name.startswith(folder.WORK)}
        assert left == before
        n += 1
    assert n >= 4 and check.problems(out) == []


def test_a_disk_without_room_is_told_before_anything_is_run(tmp_path, source, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run.os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(notebooks, "execute", None)
    with pytest.raises(folder.ReportError, match="out: No space left on device: 64 MiB are needed there"):
        make(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_no_process_of_a_report_outlives_it(tmp_path, number):
    import psutil

    # These tests themselves may run under nohup, which has SIGHUP ignored.
    waits = "from joblib import Parallel, delayed\nimport time, os\nopen('started', 'w').close()\ntime.sleep(600)"
    write_notebook(tmp_path / "notebooks", cells=[waits])
    write_notebook(tmp_path / "notebooks", "02_next", cells=["1"])  # its kernel's process is there already
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n" \
           "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import stub_notebooks\n" \
           "from mnist_ae_utils.report import command, kernel, run, notebooks\n" \
           "kernel.START = stub_notebooks.without_imports(kernel.START)\n" \
           "run.prepare = lambda *a: stub_notebooks.SETTING\nnotebooks.NOTEBOOKS = Path('notebooks').resolve()\n" \
           "report = run.report\nrun.report = lambda *a, **k: report(*a, source=notebooks.NOTEBOOKS, **k)\n" \
           "sys.exit(command.main(['report', '--out', 'out']))"  # fmt: skip
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, "-c", code, os.path.dirname(__file__)]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "notebooks" / "started").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2, (tmp_path / "log").read_text()
    process.send_signal(number)
    assert process.wait(30) == (-9 if number == signal.SIGKILL else 128 + number), (tmp_path / "log").read_text()
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    if number != signal.SIGKILL:
        last = (tmp_path / "log").read_text().rstrip().splitlines()[-1]
        assert last.startswith("interrupted: the same command goes on")


# ------------------------------------------------------------------------------------------------- its networks
def keeps(tmp_path, notebook, name, seed=0):
    """Write a stub notebook that keeps a network under that name."""
    cell = KEEP.format(notebook=notebook, name=name, seed=seed)
    write_notebook(tmp_path / "notebooks", notebook, [cell], entries=[entry(notebook=notebook)])


def networks(out):
    """{name: bytes} of a report's networks; those that its table names are the same."""
    lines = (out / "models" / "README.md").read_text().splitlines()
    found = {path.stem: path.read_bytes() for path in (out / "models").glob("*.safetensors")}
    assert [line.split(" | ")[0].strip("| ") for line in lines[6:]] == sorted(found)
    return found


def test_networks_stay_with_the_chapter_that_kept_them(tmp_path):
    keeps(tmp_path, "01_a", "first")
    keeps(tmp_path, "02_b", "second")
    out = make(tmp_path)
    before = networks(out)
    assert sorted(before) == ["first", "second"] and check.problems(out) == []
    again = make(tmp_path, out=tmp_path / "again")
    assert networks(again) == before, "the same bytes"
    keeps(tmp_path, "01_a", "unseen", seed=1)
    keeps(tmp_path, "02_b", "third", seed=1)
    make(tmp_path, only=["02"])
    assert networks(out).keys() == {"first", "third"} and networks(out)["first"] == before["first"]
    assert check.problems(out) == []
    (tmp_path / "notebooks" / "02_b.ipynb").unlink()
    make(tmp_path, only=["01"])
    assert networks(out).keys() == {"unseen"} and check.problems(out) == []


def test_networks_of_a_chapter_that_was_interrupted_are_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "commit", lambda: "abc")
    keeps(tmp_path, "01_a", "first")
    keeps(tmp_path, "02_b", "second")
    executed = []

    def execute(path, *others):
        executed.append(path.stem)
        done = execute_at_once(path, *others)
        if len(executed) == 2:  # at its end: the network is kept
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(notebooks, "execute", execute)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert sorted(path.stem for path in (tmp_path / "out" / folder.WORK / "models").iterdir()) == ["first", "second"]
    keeps(tmp_path, "02_b", "third")
    out = make(tmp_path)
    assert executed == ["01_a", "02_b", "02_b"] and networks(out).keys() == {"first", "third"}
    assert check.problems(out) == []


def test_networks_of_a_notebook_run_by_hand_are_neither_refused_nor_lost_nor_taken_for_the_reports(tmp_path, capsys):
    keeps(tmp_path, "01_a", "first", seed=1)
    out, by_hand = tmp_path / "out", {"dataset": "mnist", "out": str(tmp_path / "out")}
    execute_at_once(tmp_path / "notebooks" / "01_a.ipynb", tmp_path / "x.ipynb", by_hand, out, 300)
    theirs = (out / "models" / "first.safetensors").read_bytes()
    keeps(tmp_path, "01_a", "first")
    keeps(tmp_path, "02_b", "second")
    make(tmp_path)
    assert networks(out).keys() == {"first", "second"} and networks(out)["first"] != theirs
    assert (out / "models" / "first.safetensors.kept1").read_bytes() == theirs
    assert "models/first.safetensors in" in capsys.readouterr().err and check.problems(out) == []
    (out / "models" / "first.safetensors").write_bytes(theirs)
    make(tmp_path, only=["02"])  # of the report that chapter 1's numbers are of, its network is no more
    assert "models/first.safetensors is none of the report's networks" in "".join(check.problems(out))
    assert (out / "models" / "first.safetensors").read_bytes() == theirs


def test_a_check_names_a_network_that_was_changed_or_is_missing_or_foreign(tmp_path):
    keeps(tmp_path, "01_a", "first")
    out = make(tmp_path)
    path = out / "models" / "first.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert check.problems(out) == ["models/first.safetensors was changed since the report was made"]
    path.rename(out / "models" / "other.safetensors")
    assert check.problems(out) == [
        "models/first.safetensors is missing",
        "models/other.safetensors is none of the report's networks: was a notebook run by hand since?",
    ]
    (out / "models" / "other.safetensors").unlink()
    path.write_bytes(whole)
    (out / "models" / "README.md").write_text("mine")
    assert check.problems(out) == ["models/README.md was changed since the report was made"]


# ---------------------------------------------------------------------------------------------------- the check
def with_a_figure(path):
    """Show a figure, of 6 bytes, in a notebook, for the report's page."""
    notebook = nbformat.read(path, as_version=4)
    cell = nbformat.v4.new_code_cell("", metadata={"tags": ["readme-figure"]})
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K"})]
    notebook.cells.append(cell)
    nbformat.write(notebook, path)


def test_a_report_whose_executed_notebooks_are_not_kept_keeps_their_figures(tmp_path, source):
    with_a_figure(source / "01_a.ipynb")
    out = make(tmp_path)
    figure = (out / "figures" / "01_a.png").read_bytes()
    shutil.rmtree(out / "notebooks")
    make(tmp_path, only=["02"])
    assert (out / "figures" / "01_a.png").read_bytes() == figure and "figures/01_a.png" in folder.listed(out)


def test_a_check_names_what_does_not_belong_to_the_report(tmp_path, source):
    with_a_figure(source / "02_b.ipynb")
    out = make(tmp_path)
    assert check.problems(out) == []
    whole = contents(out)

    def found(name, text):
        for path, content in whole.items():
            (out / path).parent.mkdir(exist_ok=True)
            (out / path).write_bytes(content)
        (out / name).unlink() if text is None else (out / name).write_text(text)
        return "\n".join(check.problems(out))

    readme = whole["README.md"].decode()
    assert "README.md does not say what results.json says" in found("README.md", readme.replace("98.21%", "99.21%"))
    results = whole["results.json"].decode()
    said = found("results.json", results.replace("0.98214", "0.99214"))
    assert "results/01_a.json holds other results than results.json" in said and "README.md does not say" in said
    assert "results.json was changed" in said
    assert "notebooks/01_a.ipynb is missing" in found("notebooks/01_a.ipynb", None)
    assert "01_a.json is missing" in found("results/01_a.json", None)
    other = nbformat.reads(whole["notebooks/01_a.ipynb"].decode(), as_version=4)
    other.metadata["report"]["commit"] = "another"
    assert "01_a.ipynb is not the execution that results.json tells of" in found(
        "notebooks/01_a.ipynb", nbformat.writes(other)
    )
    other = whole["notebooks/02_b.ipynb"].decode().replace("iVBORw0K", "iVBORw0L")
    assert "figures/02_b.png is not the figure of the notebook beside it" in found("notebooks/02_b.ipynb", other)
    shutil.rmtree(out / "notebooks")  # not kept: what is there is looked at all the same
    assert check.absent(out) == ["notebooks"] and check.problems(out) == []
    (out / "figures" / "02_b.png").write_text("another")
    assert check.problems(out) == ["figures/02_b.png was changed since the report was made"]
    assert "01_a failed: boom" in found("results.json", results.replace('"error": null', '"error": "boom"', 1))
    for text in ("{", "[]", '{"header": {}}', results.replace("0.98214", "NaN")):
        (out / "results.json").write_text(text)
        with pytest.raises(folder.ReportError, match="results.json is damaged, or of another version"):
            check.problems(out)
    with pytest.raises(folder.ReportError, match="there is no report in .*: make one"):
        check.problems(tmp_path)
    (out / "files.json").write_text(json.dumps([]))
    with pytest.raises(folder.ReportError, match="files.json is damaged"):
        folder.listed(out)
