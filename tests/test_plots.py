"""Figures: a name that nobody foresaw, tables in either form, runs that diverged, one seed."""

import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from mnist_ae_utils import plots, results
from mnist_ae_utils.runs import Outcomes, Runs
from mnist_ae_utils.training import Diverged, History
from mnist_ae_utils.trainings import Trained


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def table(n_seeds=5, columns=(10, 100, 1000), seed=0):
    return pd.DataFrame(np.random.default_rng(seed).uniform(1, 2, (n_seeds, len(columns))), columns=list(columns))


def rows(table, cell="td"):
    """The texts of a table's cells, row by row."""
    found = re.findall(r"<tr>(.*?)</tr>", table._repr_html_(), re.DOTALL)
    texts = [re.findall(rf"<{cell}[^>]*>(.*?)</{cell}>", row, re.DOTALL) for row in found]
    return [[re.sub("<[^>]*>", "", text).strip() for text in row] for row in texts if row]


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_every_name_has_a_color_of_its_own():
    names = ["PCA", "my model", "mine too", "dense AE", *map(str, range(9))]
    found = plots.colors(names)
    assert list(found) == names and found["PCA"] == plots.METHOD_COLORS["PCA"]
    assert len(set(map(str, found.values()))) == len(names)
    assert found["my model"] == plots.colors(["my model"])["my model"], "the first unknown name of a figure"


def test_own_names_can_be_drawn_everywhere():
    names = ["my model", "PCA"]
    tables = {name: table(seed=i) for i, name in enumerate(names)}
    runs = Runs({name: Outcomes([Trained(None, History([1], [2], [3.0], [4.0]), {})], [0], [0.1]) for name in names})
    assert legend(plots.curves(tables, "labels", "error", log_x=True, log_y=True)) == names
    assert legend(plots.every_run(tables, "rate", "error")) == names
    assert legend(plots.histories(runs, "error")) == names
    plots.intervals({name: [1.0, 2.0, 1.5] for name in names}, "error")
    plots.comparison({"row": {name: [1.0, 2.0, 1.5] for name in names}}, "error")
    plots.training_against_validation({name: [("a", 1.0, 2.0), ("b", 1.1, 1.9)] for name in names})
    plots.learning_curves({name: runs[name] for name in names}, "error")


def test_a_table_with_two_levels_is_drawn_as_one_table_a_method():
    parts = {"b": table(seed=1), "a": table(columns=(10, 100), seed=2)}
    joined = pd.concat(parts, axis=1)
    found = plots.by_method(joined)
    assert list(found) == ["b", "a"] and list(found["a"].columns) == [10, 100]
    lines = {line.get_label(): line for line in plots.curves(joined, "labels", "error").axes[0].lines}
    assert lines["a"].get_xdata().tolist() == [10, 100]
    assert lines["b"].get_ydata() == pytest.approx(parts["b"].mean().to_numpy())


def test_curves_show_the_interval_and_of_few_seeds_the_seeds():
    many, few = (plots.curves({"x": table(n)}, "labels", "error").axes[0] for n in (5, 2))
    (band,) = many.collections
    low, high = results.confidence_interval(table(5)[10])[1]
    heights = band.get_paths()[0].vertices[:, 1]
    assert np.isclose(heights, low).any() and np.isclose(heights, high).any()
    assert not few.collections and len(few.lines) == 1 + 2


def test_runs_that_diverged_leave_a_mark_and_no_line():
    broken = table(2)
    broken.loc[1, 100] = np.nan
    assert legend(plots.every_run({"x": broken}, "rate", "error")) == ["x", "diverged"]
    runs = {"x": Outcomes([Diverged("nan"), Trained(None, History([1], [1], [2.0], [3.0]), {})], [0, 1], [0, 0])}
    assert legend(plots.histories(runs, "error")) == ["x (1 of 2 diverged)"]
    texts = [text.get_text() for text in plots.intervals({"x": [1.0, np.nan]}, "error").axes[0].texts]
    assert texts == ["diverged in 1 of 2 seeds"]


def test_the_least_error_of_a_grid_is_framed_and_a_diverged_setting_is_not():
    grid = pd.DataFrame([[3.0, 1.0], [np.nan, 2.0]], index=[0.1, 0.2], columns=[1, 2])
    figure = plots.error_grids({"x": grid.rename_axis(index="rate", columns="strength")})
    (frame,) = [patch for patch in figure.axes[0].patches if patch.get_linewidth() == 3]
    assert frame.get_xy() == (1, 0)


def test_paired_differences_are_colored_where_the_interval_excludes_zero():
    differences = {"better": pd.DataFrame({10: [1.0, 1.1, 0.9]}), "open": pd.DataFrame({10: [1.0, -1.0, 0.1]})}
    (mesh,) = plots.paired_differences(differences, "labels").axes[0].collections
    assert mesh.get_array().ravel().tolist() == [1, 0]


def test_images_are_shown_as_they_are():
    images = torch.rand(4, 1, 28, 28)
    for figure in (
        plots.digits(images, columns=4),
        plots.rows_of_images({"a": images}),
        plots.feature_maps(images[:, 0:1], images),
    ):
        shown = [ax.images[0].get_array() for ax in figure.axes if ax.images]
        assert any(np.allclose(a, b[0]) for a, b in itertools.product(shown, images))


def test_long_titles_of_images_do_not_run_into_each_other():
    figure = plots.digits(torch.rand(10, 1, 28, 28), ["T-shirt/top, cluster\nsaid Ankle boot"] * 10)
    figure.canvas.draw()
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert plots.digits(torch.rand(1, 1, 28, 28), ["4, cluster\nsaid 9"]).axes[0].title.get_fontsize() == 9


def test_tables_show_entries_and_contrasts_beside_those_of_the_committed_report(tmp_path, monkeypatch):
    rule = {"id": "b", "claim": "A claim.", "contrast": "a minus b", "unit": "fraction", "n_labels": ["all"]}
    rule["primary"] = "c"
    monkeypatch.setitem(results.RULES["contrasts"], "01_x", [rule])
    monkeypatch.setattr(results.data, "PROJECT_ROOT", tmp_path)
    store = results.Results("01_x", {"dataset": "mnist", "profile": "quick"}, tmp_path)
    store.add("a", [1.0, 2.0, np.nan], "fraction", n_labels=100, reference=(0.977, "Burda et al. 2015, table 1"))
    store.compare("b", [0.01, 0.011, 0.009], n_labels=600)
    store.add("basic_ae.knn_accuracy", [0.971, 0.972], "fraction", split="train")
    store.add("sgd_0.1.steps", [2.0], "ratio", split="validation")
    (diverged, accuracy, ratio), columns = rows(plots.results_table(store)), rows(plots.results_table(store), "th")[0]
    assert plots.results_table(store).data.startswith("<details><summary>All 3 results of this chapter</summary><style")
    assert columns[:4] == ["what was measured", "images", "labels", "mean (95% interval)"]
    assert columns[4:] == ["unit", "interval over", "published"]
    assert diverged == ["a", "test", "100", "diverged", "%", "3 seeds", "97.70, Burda et al. 2015, table 1"]
    assert accuracy == [
        "basic AE: accuracy of nearest neighbors",
        "training",
        "",
        "97.15 (96.51 to 97.79)",
        "%",
        "2 seeds",
        "",
    ]
    assert ratio == ["sgd 0.1: steps", "validation", "", "2.00", "", "1 seed", ""]
    assert 'href="REFERENCES.md#b">Burda et al. 2015</a>, table 1' in plots.results_table(store).data
    store.compare("b", [0.02, 0.021, 0.019], n_labels=700)
    first, second = rows(plots.contrast_table(store))
    assert first == ["A claim.", "a minus b", "600", "+1 (+0.752 to +1.25) points", "0.0033", "claim c"]
    assert second[:4] == ["", "", "700", "+2 (+1.75 to +2.25) points"], "what is asked is said once"
    table = plots.contrast_table(store).to_html()
    assert 'href="09_answer.ipynb#verdicts">claim c</a>' in table and "committed" not in table
    full = results.Results("01_x", {"dataset": "mnist", "profile": "full"}, tmp_path)
    full.compare("b", [0.02, 0.021, 0.019], n_labels=55_000)
    (tmp_path / "reports").mkdir()
    committed = {"header": {"dataset": {"name": "mnist"}}, "results": full.entries}
    (tmp_path / "reports" / "results.json").write_text(json.dumps(committed))
    assert "+2 (+1.75 to +2.25) points" in plots.contrast_table(store).to_html(), "at all labels, however many"
    assert "committed" not in plots.contrast_table(full).to_html()


def test_contrasts_stand_in_the_order_of_the_rules_and_empty_columns_are_left_out(tmp_path, monkeypatch):
    rule = {"id": "b", "claim": "A claim.", "contrast": "a minus b", "unit": "fraction", "n_labels": [100, 600]}
    following = rule | {"id": "c", "claim": "... and more", "primary": "a", "seeds": 3}
    monkeypatch.setitem(results.RULES["contrasts"], "01_x", [rule, following])
    monkeypatch.setattr(results.data, "PROJECT_ROOT", tmp_path)
    store = results.Results("01_x", {"dataset": "mnist", "profile": "quick"}, tmp_path)
    for n_labels, id in itertools.product((600, 100), "cb"):
        store.compare(id, [0.01, 0.0101, 0.0099], n_labels=n_labels)
    found = rows(plots.contrast_table(store))
    assert [(row[0], row[2], row[4], row[5]) for row in found] == [
        ("A claim.", "100", "below 0.001", ""), ("", "600", "below 0.001", ""),
        ("... and more", "100", "below 0.001", "claim a"), ("", "600", "below 0.001", "claim a"),
    ]  # fmt: skip
    store.entries = [entry for entry in store.entries if entry["id"] == "b"]
    assert rows(plots.contrast_table(store), "th")[0][-1] == "p", "none decides a claim"


@pytest.mark.parametrize("id, unit, per_seed, shown", [
    ("joint.accuracy", "fraction", [0.2, 0.99], "59.50 (0.00 to 100.00)"),
    ("foreign.softmax.auroc.blank", "fraction", [0.9, 0.99], "94.50 (37.32 to 100.00)"),
    ("weight_decay.reconstruction_error", "squared error per image", [1.0, 90.0], "45.50 (0.00 to 610.93)"),
    ("classifies_better_by", "fraction", [-0.01, 0.03], "1.00 (-24.41 to 26.41)"),
])  # fmt: skip
def test_an_interval_ends_where_a_score_does(id, unit, per_seed, shown, tmp_path):
    store = results.Results("01_x", {"dataset": "mnist", "profile": "quick"}, tmp_path)
    assert results.mean_text(store.add(id, per_seed, unit)) == shown


def test_effects_have_a_row_each_on_its_own_scale_also_where_a_run_diverged():
    entry = {"unit": "fraction", "above": 0.0, "primary": "a", "claim": "A claim", "n_labels": 100}
    shown = [entry | {"value": 0.02, "ci": [0.01, 0.03], "verdict": "supported", "matters": 0.002},
             entry | {"value": None, "ci": None, "verdict": "undecided"},
             entry | {"value": -3.0, "ci": None, "verdict": "undecided", "unit": "nats"}]  # fmt: skip
    axes = plots.effects(shown)
    texts = ["\n".join(text.get_text() for text in ax.texts) for ax in axes]
    assert "supported\n+2 points" in texts[0] and "diverged" in texts[1] and "-3 nats" in texts[2]
    assert any(list(line.get_xdata()) == [1.0, 3.0] for line in axes[0].lines), "its interval"
    assert len(plots.effects([])) == 1
