"""The book on paper: its pages joined to a single one, which Chromium prints to a PDF."""

import html
import os
import posixpath
import re
import shutil
import subprocess
import tempfile

import pikepdf

from mnist_ae_utils.report.folder import ReportError

NAME = "book.pdf"
JOINED = "book.html"  # while it is printed
ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
ELSEWHERE = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"%ProgramFiles%\Google\Chrome\Application\chrome.exe",
    r"%ProgramFiles(x86)%\Microsoft\Edge\Application\msedge.exe",
)
SECONDS = 600  # in which a book is printed


def browser():
    """Path of a Chromium, Chrome or Edge; ReportError if there is none."""
    found = [*map(shutil.which, ON_PATH), *filter(os.path.exists, map(os.path.expandvars, ELSEWHERE))]
    if path := next(filter(None, found), None):
        return path
    raise ReportError("the PDF is printed by Chromium or Chrome, and neither is installed here: install one "
                      "(Debian, Ubuntu: apt install chromium) and run `mnist-ae book --pdf` again")  # fmt: skip


def print_book(book, browser):
    """Print all pages of the book in the folder `book` to ``book.pdf`` in it; ReportError if the browser fails."""
    page, pdf = book / JOINED, book / NAME
    page.write_text(joined(book), encoding="utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={profile}", "--no-pdf-header-footer",
            f"--print-to-pdf={pdf}", page.as_uri(),
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # which Chromium asks of the superuser, in a container for instance
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
            said = done.stderr.strip().splitlines()
        except subprocess.TimeoutExpired:
            said = [f"it took more than {SECONDS} s"]
    page.unlink()
    if not pdf.exists():
        raise ReportError(f"{browser} did not print the book: {said[-1] if said else 'it did not say why'}")
    _add_outline(pdf, _articles(book))


def _add_outline(pdf, articles):
    """Give a PDF the headings of the pages in it as an outline. (The browser's own joins words where lines broke.)"""
    with pikepdf.open(pdf, allow_overwriting_input=True) as document:
        places, above = document.Root.Dests, {}
        with document.open_outline() as outline:
            for id, level, title in (heading for article in articles for heading in _headings(article)):
                item = pikepdf.OutlineItem(html.unescape(title), places[f"/{id}"])
                siblings = above[level - 1].children if level - 1 in above else outline.root
                siblings.append(item)
                above[level] = item
        document.save(pdf)


def _articles(book):
    """What stands on each page of a book, from the first to the last, but for that on which networks run.

    An id gets its page's name before it, since several pages have the same one, and links lead there.
    """
    first = (book / "index.html").read_text(encoding="utf-8")
    sidebar = first.partition("bd-sidebar-primary")[2]
    links = re.findall(r'class="reference internal" href="([\w./-]+)\.html"', sidebar)
    names = ["index", *(name for name in dict.fromkeys(links) if name != "live")]
    return [_article(book, name, names) for name in names]


def joined(book):
    """The whole book in one page, as HTML: the contents, and what stands on its pages."""
    articles = _articles(book)
    first = (book / "index.html").read_text(encoding="utf-8")
    styles = "\n".join(dict.fromkeys(re.findall(r'<link [^>]*rel="stylesheet"[^>]*>', first)))
    headings = (heading for article in articles for heading in _headings(article))
    contents = "\n".join(f'<p class="level-{level}"><a href="#{id}">{title}</a></p>' for id, level, title in headings)
    articles = "\n".join(f'<article class="bd-article">{article}</article>' for article in articles)
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
{re.search("<title>.*?</title>", first, re.DOTALL)[0]}
{styles}
</head>
<body class="paper">
<main class="bd-main"><div class="bd-content"><div class="bd-article-container">
<nav>
<h1>Contents</h1>
{contents}
</nav>
{articles}
</div></div></main>
</body>
</html>
"""


def _article(book, name, names):
    """What stands on a page, with ids, links and files as the joined page has them."""
    text = (book / f"{name}.html").read_text(encoding="utf-8")
    text = re.search(r'<article class="bd-article">(.*?)</article>', text, re.DOTALL)[1]
    at = posixpath.dirname(name)

    def place(page, id=""):
        return f"{page.replace('/', '-')}--{id}"

    def link(found):
        path, _, id = found[1].partition("#")
        if re.match(r"\w+:", path):  # to the network
            return found[0]
        page = posixpath.normpath(posixpath.join(at, path)).removesuffix(".html") if path else name
        return f' href="#{place(page, id)}"' if page in names else ""

    def tag(found):
        text = re.sub(r' id="(?!T_)([^"]*)"', lambda id: f' id="{place(name, id[1])}"', found[0])  # T_: of a table
        text = re.sub(r' href="([^"]*)"', link, text)
        text = re.sub(r' src="([^":]*)"', lambda of: f' src="{posixpath.normpath(posixpath.join(at, of[1]))}"', text)
        return text.replace(' loading="lazy"', "").replace("<details", "<details open")  # nobody unfolds paper

    text = re.sub(r"<[a-z][^>]*>", tag, text)
    return f'<a id="{place(name)}"></a>{text}'


def _headings(article):
    """The headings of an article that have a place in the contents: [(id, level 1 or 2, title)]."""
    heading = re.compile(r'<section id="([^"]*)">\s*(?:<span id="[^"]*"></span>)*<h([12])>(.*?)<a class="headerlink"')
    return [(id, int(level), re.sub("<[^>]*>", "", text)) for id, level, text in heading.findall(article)]
