"""Make a report: run the notebooks, collect what they measured, and put the whole in its folder."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from mnist_ae_utils import chapter, data, results
from mnist_ae_utils.report import book, collect, folder, kernel, notebooks, pages, verify
from mnist_ae_utils.report.folder import WORK, ReportError

ROOM = 2**26  # bytes: executed notebooks, networks, figures and book


def report(profile="quick", only=None, dataset="auto", seeds=None, device="auto", out=None,
           source=notebooks.NOTEBOOKS, start_timeout=300):  # fmt: skip
    """Run the notebooks; write ``results.json``, ``README.md``, the notebooks and the book into the report's folder.

    Parameters
    ----------
    profile : {"quick", "full"}
    only : list of str, optional
        Numbers of the notebooks to run, such as ["02", "04"]; the earlier results of the others are kept. One whose
        code and rules are as they ran gets the texts that it has now.
    dataset, seeds, device
        As in `chapter.begin`.
    out : path, optional
        Folder of the report: that of `chapter.report_folder`, but for the full profile `chapter.kept_folder`, unless
        told. It must be new, empty, or hold a report made with the same profile, seeds and data.
    source : path
        Folder of the notebooks.
    start_timeout : int
        Seconds that a kernel may take to start.

    Returns
    -------
    int
        0, or 1 if a notebook failed: it is named, and the others are run all the same. A report without failures is
        not replaced by one with some.

    Raises
    ------
    ReportError, data.DataError, OSError
        If no report can be made; so for seeds of `chapter.CONFIRMATION` and up while the rules have changes that are
        not committed. What was finished is kept for the next attempt.
    """
    begin = time.perf_counter()
    every, paths = notebooks.notebook_paths(source), notebooks.notebook_paths(source, only)
    header = {"profile": profile, **prepare(profile, dataset, seeds, device), **collect.environment()}
    header |= {"notebooks": {}, "failed": []}
    if chapter.seeds_of(header["seeds"])[-1] >= chapter.CONFIRMATION and header["rules"].endswith("changes"):
        raise ReportError(f"{collect.RULES} has changes: commit them before seeds like {header['seeds']} decide")
    if out is None:
        name = header["dataset"]["name"]
        out = chapter.report_folder(profile, name, header["seeds"])
        out = chapter.kept_folder(name) if out == chapter.report_folder("full", name) else out
    out = Path(out).resolve()
    work = out / WORK
    parameters = {"profile": profile, "dataset": header["dataset"]["name"], "seeds": seeds, "device": device}
    parameters["out"] = work.as_posix()
    for path in paths:
        notebooks.check_parameters(path, parameters)
    earlier_report(out, header, every)  # refused before the folder is made or locked
    with folder.locked(out), kernel.environment(len(paths)):
        folder.finish(out, lambda: update_readme(out))
        earlier = earlier_report(out, header, every)  # another command may have had it meanwhile
        for place in (out, Path(tempfile.gettempdir())):
            check_room(place)
        entries = _begin(out, header, earlier, paths, every)
        for number, path in enumerate(paths, start=1):
            label = f"[{number}/{len(paths)}] {path.stem}"
            if path.stem in header["notebooks"]:
                print(f"{label}: done before the interruption", flush=True)
                continue
            print(label, flush=True)
            entries[path.stem] = _chapter(path, out, header, parameters, start_timeout)
            executed = header["notebooks"][path.stem]
            if executed["error"]:
                print(f"FAILED {path.stem}: {executed['error']}", file=sys.stderr)
            print(f"{label}: {executed['seconds']:.0f} s", flush=True)
            _write(work, header, entries)
        print(f"{len(paths)} notebooks in {pages.duration(time.perf_counter() - begin)}")
        for name in header["failed"]:
            print(f"FAILED {name}: {header['notebooks'][name]['error']}", file=sys.stderr)
        if header["failed"] and earlier and not earlier["header"]["failed"]:
            print(f"The earlier report in {out} stays; what was made now is in {work}", file=sys.stderr)
            return 1
        content = _write(work, header, entries)
        (work / "README.md").write_text(pages.page(content), encoding="utf-8")
        for page in notebooks.pages(source):
            copy = work / "notebooks" / page.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(page, copy)
        if (work / "models").exists():
            (work / "models" / "README.md").write_text(verify.table(work / "models", content), encoding="utf-8")
        for name, image in book.tagged_figures(work / "notebooks").items():
            (work / "figures" / name).write_bytes(image)
        folder.publish(out, lambda: update_readme(out))
        print(f"report: {book.render(out)}")
    return 1 if header["failed"] else 0


def prepare(profile, dataset, seeds, device):
    """Load the data once, so that damage shows before any training; what the header says of data and hardware."""
    loaded = load_data(chapter.PROFILES[profile]["dataset"] if dataset == "auto" else dataset)
    print(data.describe(loaded), flush=True)
    return {
        "seeds": seeds or chapter.PROFILES[profile]["seeds"],
        "dataset": {key: getattr(loaded, key) for key in ("name", "source", "checksum", "notice")},
        "device": chapter.choose_device(device),
    }


def load_data(name):
    """`data.load`, whose warnings are printed as a line each; the notice is left to `data.describe`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = data.load(name)
    for warning in caught:
        if str(warning.message) != loaded.notice:
            print(f"Note: {warning.message}", file=sys.stderr)
    return loaded


def earlier_report(out, header, every):
    """The results of the report that is in the folder `out`, as `collect.read` gives them; None if there is none.

    ReportError unless a report can be made there without anything of somebody else's being touched: the folder is new,
    empty, or holds a report, or what notebooks run by hand left, of the same kind; what will be replaced is as it was
    left.
    """
    if out.exists() and not out.is_dir():
        raise ReportError(f"{out} is a file: name a folder with --out")
    earlier = collect.read(out / "results.json")
    if earlier and collect.made_with(earlier["header"]) != collect.made_with(header):
        how = results.differing(collect.made_with(earlier["header"]), collect.made_with(header))
        raise ReportError(f"{out} holds a report made with {how}: name another folder with --out")
    half_moved = (out / WORK / folder.WHOLE).exists()  # then what is there is of two versions, both of them reports
    if not earlier and out.exists() and not half_moved:
        allowed = {WORK, folder.LOCK, "results", "models"}
        others = sorted({path.name for path in out.iterdir() if not (path / "results").is_dir()} - allowed)
        networks = [path for path in (out / "models").glob("*.safetensors") if verify.chapter_of(path)]
        others += [f"models/{path.name}" for path in (out / "models").glob("*") if path not in networks]
        if others:
            found = ", ".join(others[:3])
            raise ReportError(f"{out} is not empty and holds no report, but {found}: name another folder with --out")
    try:
        results.Results("", collect.made_with(header), out).check_folder()
    except ValueError as error:
        raise ReportError(str(error).replace("`out`", "--out")) from None
    if not half_moved:
        replaced = [out / "README.md", out / "results.json"]
        source = every[0].parent
        replaced += [out / "notebooks" / path.relative_to(source) for path in (*every, *notebooks.pages(source))]
        replaced += [out / "figures" / f"{path.stem}.png" for path in every]
        folder.refuse_files_of_others(out, replaced)
    if (out / "html").exists():
        folder.refuse_files_of_others(out / "html", folder.files_in(out / "html"))
    return earlier


def check_room(place):
    """Raise ReportError if a folder has no room for a report's files, or cannot be written to: before hours of work."""
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                os.posix_fallocate(file.fileno(), 0, ROOM)
            else:
                file.write(bytes(ROOM))
    except OSError as error:
        raise ReportError(f"{place}: {error.strerror}: {ROOM // 2**20} MiB are needed there") from None


def _begin(out, header, earlier, paths, every):
    """Make the folder of the next version, with what need not be run; {notebook: its entries} of that.

    These are the chapters that are not asked for, from the earlier report, and those that an interrupted one ended.
    """
    work, unfinished = out / WORK, None
    with contextlib.suppress(ReportError):
        unfinished = collect.read(work / "results.json")
    asked, there = {path.stem for path in paths}, {path.stem for path in every}
    done = collect.goes_on(unfinished, header, paths)
    parts = {"notebooks": ".ipynb", "results": ".json"}  # an interruption of the lines below may have left one of both
    done = {n: run for n, run in done.items() if all((work / part / (n + end)).exists() for part, end in parts.items())}
    for left in [path for path in work.rglob("*.*") if path.is_file() and verify.chapter_of(path) not in done]:
        if left != work / "results.json":  # as long as it is not written anew, of use after the next interruption
            left.unlink()
    for part in ("notebooks", "results", "figures"):
        (work / part).mkdir(parents=True, exist_ok=True)
    kept = {} if not earlier else {n: r for n, r in earlier["header"]["notebooks"].items() if n in there - asked}
    now = {path.stem: path for path in every}
    entries = {name: _entries(unfinished, name) for name in done} | {name: _entries(earlier, name) for name in kept}
    for name in kept:
        results.write(work, name, collect.made_with(header), entries[name])
        notebook, figure = out / "notebooks" / f"{name}.ipynb", out / "figures" / f"{name}.png"
        if notebook.exists():
            copy = shutil.copy(notebook, work / "notebooks")
            if kept[name]["source"] != (digest := folder.digest(now[name])) and notebooks.renew_texts(copy, now[name]):
                kept[name] |= {"source": digest, "texts": header["commit"]}
        elif figure.exists():  # the notebook was not kept: `check` tells of it
            shutil.copy(figure, work / "figures")
    networks = [path for path in (out / "models").glob("*.safetensors") if verify.chapter_of(path) in kept]
    by_hand = folder.of_others(out, networks)  # left by a notebook, since
    for path in networks:
        if f"models/{path.name}" not in by_hand:
            (work / "models").mkdir(exist_ok=True)
            shutil.copy(path, work / "models")
    speed = out / "results" / "benchmark.json"
    if speed.exists():
        made_with = {key: collect.made_with(header)[key] for key in ("dataset", "checksum")}
        entries["benchmark"] = collect.read_chapter(speed, made_with, "benchmark")
        shutil.copy(speed, work / "results")
    header["notebooks"] = dict(sorted((kept | done).items()))
    return entries


def _entries(content, name):
    return [entry for entry in content["results"] if entry["notebook"] == name]


def _chapter(path, out, header, parameters, start_timeout):
    """Run a notebook, put what there is to say of it into the header, and return its entries."""
    target, left = out / WORK / "notebooks" / path.name, out / WORK / "results" / f"{path.stem}.json"
    left.unlink(missing_ok=True)  # an older run's numbers must not pass for these
    before = collect.commit()
    executed = notebooks.execute(path, target, parameters, out, start_timeout)
    after = collect.commit()  # if somebody changes the code meanwhile, it is said
    executed["commit"] = before if after == before else f"{before}, then {after}"
    header["notebooks"][path.stem] = executed
    entries = []
    try:
        if left.exists() or not executed["error"]:
            entries = collect.read_chapter(left, collect.made_with(header), path.stem)
            collect.check_announced(entries, path.stem, header["dataset"]["name"])
    except ReportError as error:
        executed["error"] = executed["error"] or str(error)
    if target.exists():
        notebooks.state(target, collect.of_notebook(header, path.stem))
    return entries


def _write(work, header, entries):
    """Write the header and all entries to the next version's ``results.json``, and return them."""
    header["seconds_total"] = round(sum(run["seconds"] for run in header["notebooks"].values()), 1)
    header["failed"] = sorted(name for name, run in header["notebooks"].items() if run["error"])
    names = sorted(entries, key=lambda name: (name == "benchmark", name))
    content = {"header": header, "results": [entry for name in names for entry in entries[name]]}
    part = work / "results.part"
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(work / "results.json")
    return content


def rendered(out, render):
    """What a report is shown as, by ``render(out)`` of `book` or `slides`; return the path of its first page.

    `out` is the report's folder, which no other command shall touch meanwhile. Nothing is run. Raises ReportError if
    there is no report, and as `render`.
    """
    if not out.is_dir():
        raise folder.missing(out)
    with folder.locked(out):
        folder.finish(out, lambda: update_readme(out))
        return render(out)


def update_readme(out):
    """If it is the report of which the project's README tells, let that say what the results say."""
    if out == pages.COMMITTED and not (content := collect.read(out / "results.json"))["header"]["failed"]:
        path = out.parent / "README.md"
        text = pages.readme_with(path.read_text(encoding="utf-8"), content)
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
