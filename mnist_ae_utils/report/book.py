"""The book: Sphinx renders the first page and the executed notebooks of a report, without running anything."""

import ast
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mnist_ae_utils.report import folder, kernel, live_page, online, paper
from mnist_ae_utils.report.folder import ReportError
from mnist_ae_utils.report.notebooks import pages as pages_beside

SITE = Path(__file__).resolve().parent / "site"


def tagged_figures(notebooks):
    """{file name: PNG} of the cells tagged `readme-figure` in the executed notebooks of a folder, one a notebook."""
    import nbformat

    figures = {}
    for path in sorted(notebooks.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "readme-figure" in cell.metadata.get("tags", []):
                for image in (o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})):
                    figures.setdefault(f"{path.stem}.png", base64.b64decode(image))
    return figures


def one_parameter_cell(notebook):
    """Write the values that papermill injected into the notebook's own cell of parameters, which explains them."""
    for own, injected in itertools.pairwise(list(notebook.cells)):
        if "injected-parameters" in injected.metadata.get("tags", []):
            text = injected.source
            values = {node.targets[0].id: ast.get_source_segment(text, node.value) for node in ast.parse(text).body}
            lines = own.source.splitlines()
            for node in ast.parse(own.source).body:  # assignments of a line each
                if (name := node.targets[0].id) in values:
                    line, value = lines[node.lineno - 1], node.value
                    lines[node.lineno - 1] = line[: value.col_offset] + values[name] + line[value.end_col_offset :]
            own.source = "\n".join(lines)
            notebook.cells.remove(injected)


def sources(out):
    """The files of a report that its book is made of."""
    return [out / "README.md", out / "results.json", *sorted((out / "notebooks").glob("*.ipynb"))]


def render(out, pdf=False):
    """Write ``<out>/html`` from the report in the folder `out`; return the path of its first page, or that of its PDF.

    The whole book is printed to ``html/book.pdf`` too if `pdf` says so. It takes the place of the earlier book at once,
    when it is whole. Raises ReportError if there is no report, Sphinx fails, no browser is there that prints, or
    ``html`` holds files of somebody else.
    """
    import nbformat

    if not (out / "results.json").exists():
        raise folder.missing(out)
    browser = paper.browser() if pdf else None  # if there is none, that is said at once
    with folder.rebuilt(out, "html") as new, tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"
        shutil.copytree(SITE, source)
        (source / "notebooks").mkdir()
        first, results, *chapters = sources(out)
        shutil.copy(results, source)  # which the first page links to
        if (figures := out / "figures").exists():
            shutil.copytree(figures, source / "figures")
        (source / "launch.json").write_text(json.dumps(online.theme_options(online.address())), encoding="utf-8")
        for path in chapters:
            notebook = nbformat.read(path, as_version=4)
            one_parameter_cell(notebook)
            nbformat.write(notebook, source / "notebooks" / path.name)
        listed = {"": [path.stem for path in chapters], "Exercises": [], "Beside the chapters": []}
        for path in pages_beside(out / "notebooks"):  # to which the chapters link
            inside = path.relative_to(out / "notebooks")
            (source / "notebooks" / inside).parent.mkdir(exist_ok=True)
            shutil.copy(path, source / "notebooks" / inside)
            listed["Exercises" if path.suffix == ".ipynb" else "Beside the chapters"].append(inside.with_suffix(""))
        tried = ["/live"] if live_page.write(out, source) else []  # after the answer
        index = first.read_text(encoding="utf-8")
        for caption, names in listed.items():
            if contents := "\n".join([*(f"notebooks/{name}" for name in names), *(() if caption else tried)]):
                named = f":caption: {caption}\n" * bool(caption)
                index += f"\n```{{toctree}}\n:hidden:\n{named}\n{contents}\n```\n"
        if pdf:  # below the title
            index = index.replace("\n\n", f'\n\n<p class="noprint"><a href="{paper.NAME}">as a PDF</a></p>\n\n', 1)
        (source / "index.md").write_text(index, encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", f"{temporary}/doctrees", source, new]
        # Sphinx stops at a locale that is not installed, and without a home; it needs neither.
        neutral = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "1", "PYTHONPATH": kernel.python_path()}
        neutral |= {"HOME": temporary} if os.path.expanduser("~") == "~" else {}
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", env=neutral)
        messages = done.stderr.replace(str(source) + os.sep, "").strip()
        if done.returncode != 0:
            # Of an exception, Sphinx prints a whole crash report.
            why = re.findall(r"^\s*(?:\w+\.)*\w*(?:Error|Exception): *(.+)$", messages, re.MULTILINE)
            said = why[-1] if why else messages or done.stdout.strip()
            raise ReportError(f"the book could not be rendered: {said.rstrip('.')}. Mend that and run `mnist-ae book`")
        if messages:
            print(messages, file=sys.stderr)
        (new / ".nojekyll").touch()  # else GitHub's pages lack the folders that begin with an underscore
        shutil.copy(results, new / "results.json")
        if pdf:
            paper.print_book(new, browser)
    return out / "html" / (paper.NAME if pdf else "index.html")
