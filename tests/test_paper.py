"""The book as a PDF, printed by headless Chromium, of stub notebooks and of the course: see `books`."""

import html
import re
import shutil
from pathlib import Path

import nbformat
import pikepdf
import pypdfium2
import pytest
from books import pages
from chromium import visit
from once import made_once

from mnist_ae_utils.report import paper
from mnist_ae_utils.report.folder import ReportError

PAPER = {"width": 681, "height": 1000, "deviceScaleFactor": 1, "mobile": False}


@pytest.fixture(scope="module")
def printed(book, tmp_path_factory):
    """The book's PDF, and the page that it was printed from."""

    def make(folder):
        copy = Path(shutil.copytree(book, folder / "html"))
        paper.print_book(copy, paper.browser())
        (copy / paper.JOINED).write_text(paper.joined(copy), encoding="utf-8")

    copy = made_once(tmp_path_factory, f"printed {book.parent.name}", make) / "html"
    return copy / paper.NAME, copy / paper.JOINED


def test_the_pdf_holds_all_code_formulas_figures_and_an_outline(book, printed):
    path, joined = printed
    pdf = pypdfium2.PdfDocument(path)
    texts = [page.get_textpage().get_text_range() for page in pdf]
    text = re.sub(r"\s", "", "".join(texts)).replace("\ufffe", "-")  # so a hyphen at the end of a line comes out
    for chapter in (page for page in pages(book) if page.stem[:2].isdigit()):
        notebook = nbformat.read(book.parent / "notebooks" / f"{chapter.stem}.ipynb", as_version=4)
        lines = (line for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines())
        for line in sorted(lines, key=len)[-3:]:
            assert re.sub(r"\s", "", line) in text, f"{chapter.stem}: {line}"
        for folded in re.findall(r"<details>.*?</details>", chapter.read_text(encoding="utf-8"), re.DOTALL):
            shown = re.findall(r"<td[^>]*>([^<]+)</td>", folded)  # what a click unfolds on a screen is there, too
            for words in sorted(shown, key=len)[-3:]:
                assert re.sub(r"\s", "", html.unescape(words)) in text, f"{chapter.stem}: {words}"
    assert all(str(number) in text.split() for number, text in enumerate(texts, start=1)), "page numbers"
    outline = [(of.level, of.get_title(), of.get_dest().get_index()) for of in pdf.get_toc()]
    assert sum(level == 0 for level, _, _ in outline) == len([page for page in pages(book) if page.stem != "live"])
    for _, title, page in outline:  # or at the end of the page before, if the heading would have been its last line
        assert re.sub(r"\W|_", "", title) in re.sub(r"\W|_", "", "".join(texts[page : page + 2])), title
    with pikepdf.open(path) as document:
        shown = [image for page in document.pages for image in page.get_images(recursive=False)]
        links = [note.get("/A", {}) for page in document.pages for note in page.get("/Annots", [])]
        assert links and not [link for link in links if str(link.get("/URI", "http")).startswith("file")]
    images = set(re.findall(r'<img [^>]*src="([^"]*)"', joined.read_text(encoding="utf-8")))
    assert len(shown) >= len(images) >= 1


def test_on_paper_nothing_is_wider_than_the_page(printed, browser):
    _, joined = printed
    wide = "return [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > 681)" \
           ".map(e => e.outerHTML.slice(0, 200))"  # fmt: skip
    visit(browser, joined)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    # 180 mm between the margins, in pixels of 1/96 inch
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PAPER)
    try:
        assert browser.execute_script(wide) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_where_no_browser_is_installed_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(paper.shutil, "which", lambda name: None)
    monkeypatch.setattr(paper, "ELSEWHERE", ())
    with pytest.raises(ReportError, match=r"printed by Chromium or Chrome.*apt install chromium.*book --pdf"):
        paper.browser()
