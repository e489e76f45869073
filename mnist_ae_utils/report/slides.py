"""Slides: the executed notebooks of a report as presentations by reveal.js, which open from their folder, offline.

A cell's metadata say where it goes, as JupyterLab writes them: ``"slideshow": {"slide_type": ...}``, where ``slide``
begins a slide, ``subslide`` one below it, ``-`` goes on, ``fragment`` appears at a key, ``notes`` is what the speaker
sees, and ``skip`` or nothing is left out. A code cell shows its code, and what it drew on a slide of its own below;
``"show": "code"`` or ``"output"`` beside the type leaves out the other. slides.js makes what is too large fit.
"""

import base64
import html
import re
import shutil
import struct
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import jinja2
import matplotlib
import nbformat
import pygments
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from mnist_ae_utils.report import collect, folder, formulas, pages
from mnist_ae_utils.report.folder import ReportError

HERE = Path(__file__).resolve().parent / "templates"
FORMATTER = HtmlFormatter(nowrap=True, style="tango")
PREDICT = "*Predict:*"  # how a cell begins that asks the reader for a guess
SHORT_CELL = re.compile(r"(<t[dh]\b[^>]*)>([^<]{1,12})<")  # a number, say, which is not to be broken


@dataclass
class Slide:
    """One slide, in HTML: its heading, or the one that it goes on with; what is below, in parts; what is not shown."""

    heading: str
    kind: str = "goes-on"  # under the heading of an earlier slide; "title", "predict", or "" with a heading of its own
    parts: list = field(default_factory=list)
    notes: list = field(default_factory=list)


def render(out):
    """Write ``<out>/slides`` from the report in the folder `out`; return the path of its first page.

    It holds a page for each chapter that says what is on its slides, and all that they load. It takes the place of the
    earlier one as the book does. Raises ReportError if there is no report, or no chapter has slides.
    """
    results = collect.read(out / "results.json")
    if results is None:
        raise folder.missing(out)
    notebooks = {p.stem: nbformat.read(p, as_version=4) for p in sorted((out / "notebooks").glob("*.ipynb"))}
    shown = {name: of for name, of in notebooks.items() if any("slideshow" in cell.metadata for cell in of.cells)}
    if not shown:
        raise ReportError(f"the notebooks of {out} do not say what is on their slides: run `mnist-ae report` again")
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined,
                                   trim_blocks=True, lstrip_blocks=True, autoescape=True)  # fmt: skip
    templates.filters |= {"short": pages.short, "seeds": pages.seeds}
    about = {"header": results["header"], "notice": pages.notice(results)}
    decks = {}
    with folder.rebuilt(out, "slides") as new:
        for name, notebook in shown.items():
            stacks = Deck(notebook, shown).stacks
            decks[name] = text_of(stacks[0][0].heading) or name
            page = templates.get_template("slides.html.j2").render(about, title=decks[name], stacks=stacks)
            (new / f"{name}.html").write_text(page, encoding="utf-8")
        index = templates.get_template("slides_index.html.j2").render(about, decks=decks)
        (new / "index.html").write_text(index, encoding="utf-8")
        _copy_files(new / "files")
        shutil.copy(out / "results.json", new)  # by which `check` knows of what they are
    return out / "slides" / "index.html"


def _copy_files(target):
    """What every page loads: reveal.js and its fonts, those for code and formulas, our style and script."""
    reveal = Path(find_spec("sphinx_revealjs").origin).parent / "_static" / "revealjs"
    scripts = [reveal / name for name in ("LICENSE", "dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js")]
    fonts = [*(reveal / "dist/theme/fonts/source-sans-pro").glob("*.woff"), formulas.FONT]
    fonts += [Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"]
    target.mkdir()
    for path in (*scripts, *fonts, HERE / "slides.js"):
        shutil.copy(path, target)
    style = (HERE / "slides.css").read_text(encoding="utf-8") + FORMATTER.get_style_defs("pre") + "\n"
    (target / "slides.css").write_text(style, encoding="utf-8")


def text_of(markup):
    """The text of a piece of HTML."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


class Deck:
    """The slides of an executed notebook: `stacks`, lists of `Slide`, one below the other.

    `chapters` are the names of the notebooks that have slides, to which links lead; other links are left out.
    """

    def __init__(self, notebook, chapters):
        self.chapters = chapters
        self.markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        self.markdown.use(dollarmath_plugin, renderer=_formula)
        self.markdown.core.ruler.push("links", self._links)
        self.stacks, self.section = [], ""
        for cell in notebook.cells:
            how = cell.metadata.get("slideshow", {})
            kind = how.get("slide_type", "skip")
            if kind == "skip" or "injected-parameters" in cell.metadata.get("tags", []):
                continue
            if kind in ("slide", "subslide") or not self.stacks:
                self._begin(below=kind == "subslide")
            parts = [self._text(cell, kind)] if cell.cell_type == "markdown" else self._code(cell, how.get("show"))
            slide = self.stacks[-1][-1]
            if kind == "notes":
                slide.notes += parts
            else:
                slide.parts += [f'<div class="fragment">{part}</div>' if kind == "fragment" else part for part in parts]

    def _begin(self, below):
        """Begin a slide, under the heading of the one that it lies below, else under that of the section."""
        if below and self.stacks:
            self.stacks[-1].append(Slide(self.stacks[-1][-1].heading))
        else:
            self.stacks.append([Slide(self.section)])

    def _text(self, cell, kind):
        """A cell's Markdown as HTML; a heading that it begins with becomes that of the slide."""
        slide, (first, _, rest) = self.stacks[-1][-1], cell.source.partition("\n")
        if kind == "notes" or not (level := re.match(r"#+ ", first)):
            question = cell.source.startswith(PREDICT)
            if question and not slide.parts:
                slide.kind = "predict"
            return f'<div class="{"question" if question else "text"}">{self.markdown.render(cell.source)}</div>'
        slide.heading = self.markdown.renderInline(first[level.end() :])
        slide.kind = "title" if level[0] == "# " else ""
        if level[0] in ("# ", "## "):
            self.section = slide.heading
        return f'<div class="text">{self.markdown.render(rest)}</div>'

    def _code(self, cell, show):
        """The parts of a code cell; a figure or table below code, or one too many, is on a slide below."""
        parts = [] if show == "output" else [_highlighted(cell.source)]
        outputs = [] if show == "code" else [part for output in cell.outputs for part in self._output(output)]
        filled = 1.0 if parts else 0.0  # a code and a figure are too much
        for part in outputs:
            room = _room(part)
            if room and filled and filled + room > 0.6:
                self.stacks[-1][-1].parts += parts
                self._begin(below=True)
                parts, filled = [], 0.0
            parts.append(part)
            filled += room
        return parts

    def _output(self, output):
        """What a cell left, as a list of HTML, empty if there is nothing to see."""
        if output.output_type == "stream":
            text = html.escape(output.text.rstrip().strip("\n"))  # what is aligned by blanks stays so
            return [f'<pre class="printed">{text}</pre>'] if output.name == "stdout" and text else []
        data = output.get("data", {})
        if "image/png" in data:
            image = re.sub(r"\s", "", data["image/png"])
            says = html.escape(output.metadata.get("image/png", {}).get("alt", ""))
            return [f'<div class="figure"><img alt="{says}" src="data:image/png;base64,{image}"></div>']
        if "text/html" in data:
            table = SHORT_CELL.sub(r'\1 style="white-space: nowrap">\2<', data["text/html"])
            return [f'<div class="table">{table}</div>']
        if "text/markdown" in data:
            return [f'<div class="text">{self.markdown.render(data["text/markdown"])}</div>']
        return [f'<pre class="printed">{html.escape(data["text/plain"])}</pre>'] if "text/plain" in data else []

    def _links(self, state):
        """Of the links in Markdown, lead those to chapters with slides there, and take out the others."""
        for block in state.tokens:
            kept, opened = [], []
            for token in block.children or []:
                if token.type == "link_open":
                    name = re.sub(r"\.ipynb(#.*)?$", "", token.attrs["href"])
                    opened.append(name in self.chapters)
                    token.attrs["href"] = f"{name}.html"
                if token.type not in ("link_open", "link_close") or opened[-1]:
                    kept.append(token)
                if token.type == "link_close":
                    opened.pop()
            block.children = kept if block.children is not None else None


def _room(part):
    """How much of a slide a part fills, more or less: that of a figure is its height as a multiple of its width."""
    if found := re.search("base64,(.{32})", part):
        width, height = struct.unpack(">16x2I", base64.b64decode(found[1]))  # the first bytes of a PNG
        return height / width
    return 0.5 if "<table" in part else 0.0


def _formula(latex, options):
    """A formula as MathML, or as it is typed if it cannot be read."""
    try:
        return formulas.mathml(latex, options["display_mode"])
    except ValueError:
        return f"<code>{html.escape(latex)}</code>"


def _highlighted(source):
    """Code as HTML, a line each, indented further where it has to be broken."""
    lines = pygments.highlight(source, PythonLexer(), FORMATTER).rstrip("\n").split("\n")
    indents = [len(line) - len(line.lstrip()) + 4 for line in source.rstrip("\n").split("\n")]
    lines = [f'<span style="--indent: {i}ch">{line or " "}</span>' for i, line in zip(indents, lines, strict=True)]
    return f"<pre>{''.join(lines)}</pre>"
