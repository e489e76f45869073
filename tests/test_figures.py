"""How figures leave a notebook: as fine as a modern screen, small, and with a text that says what they show."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from mnist_ae_utils import figures, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def table(*means, columns=(10, 100, 1000)):
    return pd.DataFrame([list(means)] * 3, columns=list(columns))


def drawn(figure):
    figure.canvas.draw()
    return figures.description(figure)


def test_a_png_is_twice_as_fine_as_it_is_shown_and_small():
    figure = plots.curves({"PCA": table(3, 2, 1)}, "labels", "error", title="A title")
    image, metadata = figures.png(figure)
    width, height = Image.open(io.BytesIO(image)).size
    assert (metadata["width"], metadata["height"]) == (width // 2, height // 2)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi, bbox_inches="tight")
    assert width >= 2 * Image.open(file).size[0] - 2 and len(image) < 1.5 * len(file.getvalue())
    assert metadata["alt"].startswith("A title: lines, error against labels")


def test_every_figure_of_a_notebook_is_shown_so_whoever_draws_it(monkeypatch):
    class Shell:
        display_formatter = DisplayFormatter()

    monkeypatch.setattr(figures, "get_ipython", lambda: Shell)
    figures.show_fine()
    axes = pd.Series([1.0, 3.0, 2.0]).plot(xlabel="step", ylabel="rate", title="One cycle")
    data, metadata = Shell.display_formatter.format(axes.figure)
    assert metadata["image/png"]["alt"] == "One cycle: lines, rate against step: from 1 to 2, most 3."
    width = metadata["image/png"]["width"]
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size[0] == pytest.approx(2 * width, abs=1)
    assert "image/png" not in Shell.display_formatter.format(plt.figure())[0], "an empty figure is no picture"


def test_outside_of_a_notebook_nothing_is_registered(monkeypatch):
    monkeypatch.setattr(figures, "get_ipython", lambda: None)
    figures.show_fine()


def test_a_drawing_that_it_does_not_know_is_shown_all_the_same(monkeypatch):
    def fail(figure):
        raise ValueError("an axis of dates")

    monkeypatch.setattr(figures, "description", fail)
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    figure.suptitle("By month")
    image, metadata = figures.png(figure)
    assert image.startswith(b"\x89PNG") and metadata["alt"] == "By month"


def test_lines_are_told_by_their_ends_what_lies_beyond_and_levels():
    tables = {"PCA": table(3, 2, 1), "mine": table(2, 0.5, 1)}
    text = drawn(plots.curves(tables, "labels", "error (%)", log_x=True, references={"chance": 4.0}, title="Errors"))
    axes = "lines, error (%) against labels (logarithmic)"
    assert text == f"Errors: {axes}: PCA from 3 to 1; mine from 2 to 1, least 0.5; chance at 4."


def test_rows_are_told_by_their_names_and_means_also_where_panels_share_them():
    figure, axes = plt.subplots(1, 2, sharey=True)
    for ax, xlabel in zip(axes, ("gap", "accuracy (%)"), strict=True):
        plots.intervals({"none": [1.0, 2.0, 3.0], "dropout": [1.0, 1.0, 1.0]}, xlabel, ax=ax)
    text = drawn(figure)
    assert text == "Values by row, gap: none 2.00; dropout 1.00. Values by row, accuracy (%): none 2.00; dropout 1.00."


def test_images_are_told_by_their_rows_and_what_stands_above_them():
    images = torch.rand(4, 1, 28, 28)
    text = drawn(plots.rows_of_images({"original": images, "PCA": images / 2}, errors_against="original", title="Ten"))
    error = ((images / 2) ** 2).sum((1, 2, 3)).mean()
    assert text == f"Ten. 8 images in rows: original; PCA {error:.1f}."
    text = drawn(plots.digits(images, ["4, taken\nfor 9", "", "5", "4, taken\nfor 9"]))
    assert text == "4 images; above them: 4, taken for 9; 5; 4, taken for 9."


def test_maps_are_told_by_rows_columns_and_range():
    grid = pd.DataFrame([[3.0, 1.0], [4.0, 2.5]], index=[0.1, 0.2], columns=[1, 2])
    grid = grid.rename_axis(index="rate", columns="strength")
    text = drawn(plots.error_grids({"dropout": grid}, title="Validation error"))
    said = "Dropout: heat map, rate against strength: rows 0.1, 0.2; columns 1, 2; numbers from 1 to 4."
    assert text == f"Validation error. {said}"
    labels = torch.tensor([0, 1, 1, 1])
    text = drawn(plots.confusion(labels, torch.tensor([0, 1, 0, 0]), ["cat", "dog"]))
    assert text == "Heat map, true against predicted: rows cat, dog; columns cat, dog; numbers from 2 to 2."


def test_points_are_counted_and_their_colors_named():
    codes = np.random.default_rng(0).normal(size=(20, 2))
    text = drawn(plots.codes_2d({"PCA: 40% right": codes}, np.arange(20) % 2, ["cat", "dog", *"abcdefgh"], "Codes"))
    assert text == "Codes. PCA: 40% right: 20 points. Legend: cat, dog, a, b, c, d, e, f, g, h."


def test_differences_are_told_with_their_verdicts():
    entry = {"unit": "fraction", "above": 0.0, "primary": "a", "claim": "A claim", "n_labels": 100, "value": 0.02,
             "ci": [0.01, 0.03], "verdict": "supported"}  # fmt: skip
    assert drawn(plots.effects([entry])[0].figure) == "Difference: a A claim, 100 labels; supported +2 points."


def test_bars_and_many_panels():
    assert drawn(plots.bars([3.0, 2.0, 1.0], "dimension", "nats")) == "3 bars, nats against dimension: from 3 to 1."
    figure, axes = plt.subplots(1, 5, sharey=True)
    for i, ax in enumerate(axes):
        ax.plot([1, 2, 3], [i, 2, 1], label="PCA")
        ax.set(title=f"kind {i}", xlabel="strength")
    axes[0].set_ylabel("accuracy")
    figure.legend(*axes[0].get_legend_handles_labels())
    text = drawn(figure)
    assert "kind 4: lines, accuracy against strength." in text.lower() and text.endswith("Legend: PCA.")
    assert " from " not in text, "more values than anybody wants to hear"
