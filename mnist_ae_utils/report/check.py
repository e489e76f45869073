"""Whether a report's parts belong together: results, networks, pages, figures, executed notebooks and book."""

import json

import nbformat

from mnist_ae_utils.report import book, collect, folder, pages
from mnist_ae_utils.report.folder import ReportError


def absent(out):
    """Names of the folders ``notebooks`` and ``models`` that a report was made with and that are not there as a whole.

    A repository may keep a report's page, figures and results alone.
    """
    parts = {name.split("/")[0] for name in folder.listed(out)} & {"notebooks", "models"}
    return sorted(part for part in parts if not (out / part).exists())


def problems(out):
    """What is wrong with the report in the folder `out`, a line each; none if its parts belong together.

    What would be in folders that are `absent` is left out: figures are then held against the list of files alone.
    Raises ReportError if there is no report, or its results cannot be read.
    """
    results = collect.read(out / "results.json")
    if results is None:
        raise folder.missing(out)
    header, names = results["header"], [path.name for path in book.sources(out)[2:]]
    found, not_here = [], absent(out)
    if (out / folder.WORK / folder.WHOLE).exists():
        found.append(f"a report was killed while it took its place in {out}: run `mnist-ae book` or it again")
    listed = folder.listed(out)
    for name, digest in listed.items():
        if name.split("/")[0] in not_here:
            continue
        if (now := folder.digest(out / name)) != digest:
            found.append(f"{name} is missing" if now is None else f"{name} was changed since the report was made")
    for path in sorted((out / "models").glob("*.safetensors")):
        if f"models/{path.name}" not in listed:
            found.append(f"models/{path.name} is none of the report's networks: was a notebook run by hand since?")
    for name, run in header["notebooks"].items():
        if run["error"]:
            found.append(f"{name} failed: {run['error']}")
        if f"{name}.ipynb" not in names and "notebooks" not in not_here:
            found.append(f"notebooks/{name}.ipynb is missing")
        try:
            left = collect.read_chapter(out / "results" / f"{name}.json", collect.made_with(header), name)
            if left != [entry for entry in results["results"] if entry["notebook"] == name]:
                found.append(f"results/{name}.json holds other results than results.json: was it run by hand since?")
            if "rules" in header:
                collect.check_announced(left, name, header["dataset"]["name"])
        except ReportError as error:
            found.append(str(error))
    for path in book.sources(out)[2:]:
        stated = nbformat.read(path, as_version=4).metadata.get("report")
        if stated != collect.of_notebook(header, path.stem):
            found.append(f"notebooks/{path.name} is not the execution that results.json tells of: {json.dumps(stated)}")
    if (out / "README.md").read_text(encoding="utf-8") != pages.page(results):
        found.append("README.md does not say what results.json says")
    figures = book.tagged_figures(out / "notebooks")
    there = {path.name for path in (out / "figures").glob("*.png")}
    for name in [] if "notebooks" in not_here else sorted(figures.keys() | there):
        path = out / "figures" / name
        if not path.exists() or path.read_bytes() != figures.get(name):
            found.append(f"figures/{name} is not the figure of the notebook beside it")
    if out == pages.COMMITTED:
        text = (out.parent / "README.md").read_text(encoding="utf-8")
        if text != pages.readme_with(text, results):
            found.append("the project's README.md does not say what results.json says")
    for name, what, command in (("html", "the book", "book"), ("slides", "slides", "slides")):
        if (built := out / name).exists():
            found += [f"{name}/{changed} was changed" for changed in folder.of_others(built, folder.files_in(built))]
            if folder.digest(built / "results.json") != folder.digest(out / "results.json"):
                found.append(f"{name}/ is {what} of other results: run `mnist-ae {command}`")
    return found
