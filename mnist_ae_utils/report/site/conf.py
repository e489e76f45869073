"""Sphinx configuration of the report's book. It must open from a folder, without any network."""

import hashlib
import html
import json
import posixpath
import re
from base64 import b64decode
from pathlib import Path

import nbformat
from docutils import nodes
from pygments.formatters import HtmlFormatter
from sphinx.highlighting import PygmentsBridge
from sphinx.util import logging

from mnist_ae_utils.report import formulas

project = "Can an MNIST autoencoder learn ten-digit classification?"
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["conf.py"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # a notebook's own Markdown may hold tables, and links to headings
nb_ipywidgets_js = {}  # would be fetched from the network
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
suppress_warnings = [
    "myst.header",  # a notebook may begin below the first heading level
    "mystnb.unknown_mime_type",
]

html_theme = "sphinx_book_theme"
html_title = "MNIST autoencoders"
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the sidebar has a search field
    "footer_content_items": [],
}
# Where the project has an address, its notebooks open on Colab and Binder from their pages.
html_theme_options |= json.loads(Path(__file__).with_name("launch.json").read_text(encoding="utf-8"))
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
templates_path = ["."]  # search.html
html_static_path = ["book.css", "search.js", str(formulas.FONT)]
html_css_files = ["book.css"]
if LIVE := [name for name in ("live-data.js", "live.js", "live.css") if Path(__file__).with_name(name).exists()]:
    html_static_path += LIVE
    html_css_files += ["live.css"]
html_math_renderer = "mathml"
copybutton_selector = "div:not(.output) > div.highlight pre"


def write_math(translator, node, display):
    """Write a formula as MathML; one that math-core cannot read is shown as it is typed, with a warning."""
    latex = node.astext()
    try:
        text = formulas.mathml(latex, display)
    except ValueError as error:
        logging.getLogger(__name__).warning("formula %s: %s", latex, error, location=node)
        text = f"<code>{html.escape(latex)}</code>"
    # The word joiner keeps a comma on the formula's line.
    translator.body.append(f'<div class="math">{text}</div>' if display else f'<span class="math">{text}</span>&#8288;')
    raise nodes.SkipNode


class Lines(HtmlFormatter):
    """Code with each line in an element of its own: one that is too long goes on below, further in than it began."""

    def wrap(self, source):
        """The lines with their elements around them, in the usual frame."""
        return super().wrap((kind, _with_indent(line) if kind else line) for kind, line in source)


def _with_indent(line):
    text = html.unescape(re.sub(r"<[^>]*>", "", line))
    return f'<span class="line" style="--indent: {len(text) - len(text.lstrip(" "))}ch">{line}</span>'


PygmentsBridge.html_formatter = Lines


def mend_outputs(app, doctree):
    """Give a notebook's figures the texts that it has for them, and the links in its tables the pages of the book."""
    docname = app.env.docname
    path = Path(app.env.doc2path(docname))
    texts = _texts_of_figures(path) if path.suffix == ".ipynb" else {}
    for image in doctree.findall(nodes.image):
        image["alt"] = texts.get(Path(image["uri"]).stem, image.get("alt", ""))

    def to_page(link):
        page = posixpath.join(posixpath.dirname(docname), link[1])
        return f'href="{link[1]}.html{link[2]}"' if page in app.env.found_docs else ""

    for raw in list(doctree.findall(nodes.raw)):
        text = re.sub(r'href="([\w.-]+)\.(?:ipynb|md)(#[^"]*|)"', to_page, raw.astext())
        raw.replace_self(nodes.raw(text, text, **raw.attributes))


def _texts_of_figures(path):
    """{digest, by which the figure's file is named: its text} of a notebook."""
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if image := output.get("data", {}).get("image/png"):
                said = output.metadata.get("image/png", {}).get("alt", "")
                found[hashlib.sha256(b64decode(image)).hexdigest()] = said
    return found


def keep_sections(app, doctree, docname):
    """Keep what the search finds: each section with its title, text, the terms that it stresses, and its code."""
    kept = app.env.book_sections = getattr(app.env, "book_sections", {})
    kept[docname] = [_section(section) for section in doctree.findall(nodes.section)]


def _section(section):
    """The words of a section, without those of the sections in it."""
    title, *parts = (child for child in section.children if not isinstance(child, nodes.section))
    code = [block for part in parts for block in part.findall(nodes.literal_block)]
    within = {id(text) for block in code for text in block.findall(nodes.Text)}
    hidden = nodes.raw, nodes.math, nodes.math_block, nodes.comment
    prose = [
        text
        for part in parts
        for text in part.findall(nodes.Text)
        if id(text) not in within and not isinstance(text.parent, hidden)
    ]
    stressed = [
        node.astext() for part in parts for kind in (nodes.emphasis, nodes.strong) for node in part.findall(kind)
    ]
    return {
        "title": title.astext(),
        "id": section["ids"][0],
        "stressed": stressed,
        "text": " ".join(" ".join(prose).split()),
        "code": "\n".join(block.astext() for block in code),
    }


def write_sections(app, error):
    """Write the sections as a script, since a page that was opened from a folder may not fetch a file."""
    if error is None:
        pages = [
            {"page": f"{name}.html", "title": app.env.titles[name].astext(), "sections": sections}
            for name, sections in app.env.book_sections.items()
        ]
        text = f"const BOOK = {json.dumps(pages)};\n"
        Path(app.outdir, "_static", "sections.js").write_text(text, encoding="utf-8")


def setup(app):
    """Register the renderer of formulas, and what is done to each page."""
    app.connect("doctree-read", mend_outputs)
    app.connect("doctree-resolved", keep_sections)
    app.connect("build-finished", write_sections)
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: write_math(translator, node, False), None),
        (lambda translator, node: write_math(translator, node, True), None),
    )
