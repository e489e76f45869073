"""How a figure leaves a notebook: as a PNG twice as fine as it is shown, with a text that says what it shows."""

import base64
import importlib
import io
import re

import matplotlib
import numpy as np
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import AxLine, Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FixedFormatter, FuncFormatter
from PIL import Image

FINE = 2  # pixels of the PNG for one on the page
FEW = 4  # of so many panels at most, the text tells values


def show_fine():
    """In a notebook, have every figure shown as `png` makes it, whoever draws it; elsewhere, do nothing."""
    shell = get_ipython()
    if shell is None:
        return
    if "inline" in matplotlib.get_backend(auto_select=False):
        importlib.import_module("matplotlib_inline.backend_inline")  # which registers its own when it is first loaded
    shell.display_formatter.formatters["image/png"].for_type(Figure, _for_notebook)


def _for_notebook(figure):
    if not figure.axes:
        return None
    image, metadata = png(figure)
    return base64.b64encode(image).decode(), metadata


def png(figure):
    """A figure as the bytes of a PNG, and what a notebook says of it: width and height in pixels on the page, alt.

    It has 256 colors: no eye misses the others here, and they would double its size.
    """
    drawn = print_figure(figure, dpi=FINE * figure.dpi, pil_kwargs={"compress_level": 1})  # packed well below
    image = Image.open(io.BytesIO(drawn)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    width, height = (side // FINE for side in image.size)
    try:
        alt = description(figure)
    except Exception:  # a drawing of some kind that it does not know is shown all the same
        alt = figure.get_suptitle() or "A figure."
    return file.getvalue(), {"width": width, "height": height, "alt": alt}


def description(figure):
    """What a figure shows, in sentences: its titles, and for each panel the kind of drawing, axes, names and values.

    It is computed from the figure, which must have been drawn, so that no figure is without such a text.
    """
    axes = [ax for ax in figure.axes if ax.has_data() and ax.get_label() != "<colorbar>"]
    pictures = [ax for ax in axes if ax.images and not ax.get_xlabel()]
    panels = [ax for ax in axes if ax not in pictures]
    parts = [figure.get_suptitle(), _of_pictures(pictures)]
    parts += [_listed((ax.get_title(), _of_panel(ax, len(panels) <= FEW)), ": ") for ax in panels]
    parts += [_listed((figure.get_supylabel(), figure.get_supxlabel()), " against ")]
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    told = all(re.search(rf"{re.escape(name)} (from|at) ", " ".join(parts)) for name in names)
    parts += ["" if told else f"Legend: {_listed(names)}"]
    return " ".join(f"{part[0].upper()}{part[1:].rstrip('.:')}." for part in map(_line, parts) if part)


def _line(text):
    return " ".join(text.split())


def _listed(texts, by=", "):
    return by.join(dict.fromkeys(_line(text) for text in texts if text))


def _of_pictures(axes):
    """Images without axes: how many, what their rows are called, and what stands above them."""
    rows = _listed((ax.get_ylabel() for ax in axes), "; ")
    titles = "; ".join(_line(ax.get_title()) for ax in axes if ax.get_title())  # in order: two may be the same
    text = f"{len(axes)} images" if len(axes) > 1 else "An image" if axes else ""
    return text + (f" in rows: {rows}" if rows else "") + (f"; above them: {titles}" if titles else "")


def _of_panel(ax, with_values):
    """A panel without its title: the kind of drawing, its axes, and what is drawn there."""
    y_axis, x_axis = _labelled(ax, "y"), _labelled(ax, "x")
    rows, notes = _names(y_axis), [text for text in ax.texts if text.get_text()]
    points = sum(len(of.get_offsets()) for of in ax.collections if isinstance(of, PathCollection))
    named = [(_series(*of, with_values), of[1]) for of in zip(*ax.get_legend_handles_labels(), strict=True)]
    what = [series for series, name in named if series != name or not ax.figure.legends]  # which tell the names
    if any(isinstance(of, QuadMesh) for of in ax.collections):
        numbers = [
            float(text) for text in (note.get_text() for note in notes) if re.fullmatch(r"[-+]?\d+(\.\d+)?", text)
        ]
        kind, what = "heat map", [f"rows {_listed(rows.values())}", f"columns {_listed(_names(x_axis).values())}"]
        what += [f"numbers from {min(numbers):g} to {max(numbers):g}"] if numbers else []
    elif ax.images:
        kind = "image"
    elif bars := [bar for of in ax.containers if isinstance(of, BarContainer) for bar in of]:
        kind, what = f"{len(bars)} bars", [f"from {bars[0].get_height():.3g} to {bars[-1].get_height():.3g}"]
    elif isinstance(y_axis.get_major_formatter(), FixedFormatter | FuncFormatter):  # its places have names
        beside = {y: [n.get_text() for n in notes if isinstance(n, Annotation) and n.xy[1] == y] for y in rows}
        kind, what = "values by row", [_listed((name, *beside[y]), " ") for y, name in rows.items()] + what
    elif notes and not rows:  # one of several differences, with its name and verdict beside it
        kind, what = "difference", [note.get_text() for note in notes]
    elif points:
        kind, what = f"{points:,} points", []
    else:
        joined = any(line.get_linestyle() != "None" and line.get_transform() is ax.transData for line in ax.lines)
        kind, what = "lines" if joined else "points", what or [_series(line, "", with_values) for line in ax.lines]
    about = _listed(map(_label, (y_axis, x_axis)), " against ")
    return _listed((_listed((kind, about)), _listed(what, "; ")), ": ")


def _labelled(ax, name):
    """An axis, or the one that it shares, where only the outer panels of a figure are labelled."""
    axes = [ax, *getattr(ax, f"get_shared_{name}_axes")().get_siblings(ax)]
    axis = [getattr(of, f"{name}axis") for of in axes]
    return next((of for of in axis if of.get_label_text() or _names(of)), axis[0])


def _label(axis):
    text = axis.get_label_text()
    return f"{text} (logarithmic)" if text and axis.get_scale() == "log" else text


def _names(axis):
    """{place: text} of the ticks of an axis that are labelled."""
    labels = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
    return {place: label.get_text() for place, label in labels if label.get_text()}


def _series(drawn, name, with_values):
    """What is drawn under a name: of a line its first and last value and any beyond, of a reference its level."""
    if not (with_values and isinstance(drawn, Line2D)):
        return name
    x, y = (values[np.isfinite(drawn.get_xydata()).all(1)] for values in drawn.get_xydata().T)
    if len(y) < 2 or isinstance(drawn, AxLine):
        return name
    if drawn.get_transform() is not drawn.axes.transData:  # across the whole panel
        return f"{name} at {y[0] if y[0] == y[-1] else x[0]:.4g}"
    (low, high), text = sorted((y[0], y[-1])), f"{name} from {y[0]:.3g} to {y[-1]:.3g}"
    return (
        text + (f", least {y.min():.3g}" if y.min() < low else "") + (f", most {y.max():.3g}" if y.max() > high else "")
    )
