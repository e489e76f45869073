"""The book: Sphinx renders the first page and the executed notebooks of a report, without running anything."""

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mnist_ae_utils.report import folder, kernel, live_page
from mnist_ae_utils.report.folder import ReportError

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


def sources(out):
    """The files of a report that its book is made of."""
    return [out / "README.md", out / "results.json", *sorted((out / "notebooks").glob("*.ipynb"))]


def render(out):
    """Write ``<out>/html`` from the report in the folder `out`; return the path of its first page.

    It takes the place of the earlier book at once, when it is whole. Raises ReportError if there is no report, Sphinx
    fails, or ``html`` holds files of somebody else.
    """
    if not (out / "results.json").exists():
        raise folder.missing(out)
    with folder.rebuilt(out, "html") as new, tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"
        shutil.copytree(SITE, source)
        (source / "notebooks").mkdir()
        first, results, *chapters = sources(out)
        shutil.copy(results, source)  # which the first page links to
        if (figures := out / "figures").exists():
            shutil.copytree(figures, source / "figures")
        for path in (*chapters, *(out / "notebooks").glob("*.md")):  # the references, to which the chapters link
            shutil.copy(path, source / "notebooks")
        listed = [f"notebooks/{path.stem}" for path in sorted((source / "notebooks").iterdir())]
        if live_page.write(out, source):
            listed.insert(len(chapters), "live")  # after the answer, before the references
        contents = "\n".join(listed)
        index = f"{first.read_text(encoding='utf-8')}\n```{{toctree}}\n:hidden:\n\n{contents}\n```\n"
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
    return out / "html" / "index.html"
