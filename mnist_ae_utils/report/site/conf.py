"""Sphinx configuration of the report's book. It must open from a folder, without any network."""

import html
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

from mnist_ae_utils.report import formulas

project = "Can an MNIST autoencoder learn ten-digit classification?"
extensions = ["myst_nb"]
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
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # summaries are fetched, which a browser forbids to a page opened from a folder
html_static_path = ["book.css", str(formulas.FONT)]
html_css_files = ["book.css"]
if LIVE := [name for name in ("live-data.js", "live.js", "live.css") if Path(__file__).with_name(name).exists()]:
    html_static_path += LIVE
    html_css_files += ["live.css"]
html_math_renderer = "mathml"


def write_math(translator, node, display):
    """Write a formula as MathML; one that math-core cannot read is shown as it is typed, with a warning."""
    latex = node.astext()
    try:
        text = formulas.mathml(latex, display)
    except ValueError as error:
        logging.getLogger(__name__).warning("formula %s: %s", latex, error, location=node)
        text = f"<code>{html.escape(latex)}</code>"
    tag = "div" if display else "span"
    translator.body.append(f'<{tag} class="math">{text}</{tag}>')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer of formulas."""
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: write_math(translator, node, False), None),
        (lambda translator, node: write_math(translator, node, True), None),
    )
