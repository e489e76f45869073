"""The book: Sphinx renders the first page and the executed notebooks; some of their figures go into the README."""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mnist_ae_utils.report import page
from mnist_ae_utils.report.notebooks import ReportError

SITE = Path(__file__).resolve().parent / "site"


def save_tagged_figures(out):
    """Write the figures of the cells tagged `readme-figure` to ``<out>/figures/<notebook>.png``, for the README."""
    import nbformat

    (out / "figures").mkdir(exist_ok=True)
    for path in sorted((out / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "readme-figure" in cell.metadata.get("tags", []):
                images = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
                if images:
                    (out / "figures" / f"{path.stem}.png").write_bytes(base64.b64decode(images[0]))


def render(out, results):
    """Write ``<out>/README.md``, and ``<out>/html`` from it and the executed notebooks (Sphinx, in a work folder)."""
    front = page.page(results)
    (out / "README.md").write_text(front, encoding="utf-8")
    with tempfile.TemporaryDirectory() as work:
        source, html = Path(work) / "source", Path(work) / "html"
        shutil.copytree(SITE, source)
        (source / "notebooks").mkdir()
        paths = [out / "notebooks" / f"{name}.ipynb" for name in sorted(results["header"]["notebooks"])]
        paths = [path for path in paths if path.exists()]
        for path in paths:
            shutil.copy(path, source / "notebooks")
        chapters = "\n".join(f"notebooks/{path.stem}" for path in paths)
        (source / "index.md").write_text(f"{front}\n```{{toctree}}\n:hidden:\n\n{chapters}\n```\n", encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", str(Path(work) / "doctrees"), source, html]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        messages = done.stderr.replace(str(source) + os.sep, "").strip()
        if done.returncode != 0:
            raise ReportError(f"the book could not be rendered: {messages or done.stdout.strip()}")
        if messages:
            print(messages, file=sys.stderr)
        if (out / "html").exists():  # what cannot be removed is an error: the new book would be moved into the old one
            shutil.rmtree(out / "html")
        shutil.move(html, out / "html")
