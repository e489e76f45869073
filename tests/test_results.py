"""Intervals, verdicts and the results store, against independent computations."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mnist_ae_utils import results
from mnist_ae_utils.results import Results

MADE_WITH = {"profile": "quick", "dataset": "mnist", "checksum": "abc", "seeds": 2}


@pytest.fixture
def store(tmp_path):
    return Results("01_x", MADE_WITH, tmp_path)


def test_confidence_interval_against_scipy():
    values = [0.91, 0.93, 0.92, 0.95, 0.90]
    mean, interval = results.confidence_interval(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values)) and interval == pytest.approx(expected)
    assert results.confidence_interval([0.9]) == (0.9, None)


@pytest.mark.parametrize(
    "differences, margin, verdict",
    [
        ([1.0, 1.1, 0.9], 0, "supported"),
        ([-1.0, -1.1, -0.9], 0, "refuted"),
        ([1.0, -1.1, 0.2], 0, "undecided"),
        ([1.0, 1.1, 0.9], 2, "refuted"),
        ([1.0, 1.1, 0.9], 1, "undecided"),
        ([5.0], 0, "undecided"),
        ([1.0, None, 1.1], 0, "undecided"),
        ([1.0, 1.0, 1.0], 0, "supported"),
    ],
)
def test_judge(differences, margin, verdict):
    assert results.judge(differences, margin) == verdict


@pytest.mark.parametrize(
    "verdicts, combined",
    [
        (["supported", "supported"], "supported"),
        (["supported", "refuted", "undecided"], "mixed"),
        (["supported", "undecided"], "undecided"),
        (["refuted"], "refuted"),
    ],
)
def test_combine(verdicts, combined):
    assert results.combine(verdicts) == combined


def test_p_value_agrees_with_the_interval():
    differences = [0.3, 0.1, 0.4, 0.2]
    mean, (low, high) = results.confidence_interval(differences)
    assert results.p_value(differences, low) == pytest.approx(0.05)
    assert results.p_value(differences, high) == pytest.approx(0.05)
    assert results.p_value(differences, mean) == pytest.approx(1)
    assert results.p_value([0.2, 0.2], 0.2) == results.p_value([1.0]) == results.p_value([1.0, None]) == 1
    assert results.p_value([0.2, 0.2], 0) == 0


def test_holm_on_a_published_example():
    # Aickin & Gensler (1996), "Adjusting for multiple testing when reporting research results: the Bonferroni vs Holm
    # methods": the step-down rule, worked out here by hand.
    assert results.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert results.holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_correction_spares_the_clear_verdicts_and_takes_back_the_close_ones(store):
    store.verdict("clear", "A claim.", "a rule", [1.0, 1.01, 0.99, 1.0])
    store.verdict("wrong", "A claim.", "a rule", [-1.0, -1.01, -0.99, -1.0])
    store.verdict("close", "A claim.", "a rule", [0.5, 1.2, 1.0, 0.4])
    store.verdict("nothing", "A claim.", "a rule", [0.5, -0.5, 0.1, 0.0])
    store.add("a", 1.0, "fraction")
    before = [e["value"] for e in store.entries[:4]]
    store.correct()
    after = {e["id"]: e["value"] for e in store.entries[:4]}
    assert before == ["supported", "refuted", "supported", "undecided"]
    assert after == {"clear": "supported", "wrong": "refuted", "close": "undecided", "nothing": "undecided"}
    p = results.p_value([0.5, 1.2, 1.0, 0.4])
    assert store.entries[2]["p"] == pytest.approx(2 * p) and "4 verdicts" in store.entries[2]["note"]


def test_results_are_written_in_the_schema(store):
    store.add("a.error", [4.0, 5.0], "squared error per image", reference=(3.0, "a paper"))
    store.add("a.error", [4.0, None], "squared error per image", split="validation")
    store.verdict("claim", "A claim.", "a rule", [1.0, 1.1])
    content = json.loads(store.save().read_text())
    error, diverged, verdict = content["results"]
    assert content["made_with"] == MADE_WITH
    assert error["value"] == 4.5 and error["per_seed"] == [4.0, 5.0] and error["ci"][0] < 4.5 < error["ci"][1]
    assert error["reference"] == {"value": 3.0, "source": "a paper"} and error["split"] == "test"
    assert diverged["value"] is None and diverged["note"] == "diverged in 1 of 2 seeds" and diverged["ci"] is None
    assert verdict["value"] == "supported" and verdict["unit"] == "verdict" and verdict["rule"] == "a rule"
    assert not list(store.out.rglob("*.part"))


def test_a_cell_that_is_run_again_replaces_what_it_recorded(store):
    store.add("a", 1.0, "fraction", n_labels=10)
    store.add("a", 1.0, "fraction", n_labels=100)
    store.add("a", 2.0, "fraction", n_labels=10)
    assert [(entry["n_labels"], entry["value"]) for entry in store.entries] == [(100, 1.0), (10, 2.0)]


def test_numbers_of_numpy_and_runs_that_diverged_can_be_recorded(store):
    assert store.add("a", np.array([1.0, np.nan]), "fraction")["per_seed"] == [1.0, None]
    assert store.verdict("b", "A claim.", "a rule", [np.int64(n) for n in (3, 4, 3, 4)])["value"] == "supported"
    pairs = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [0.5, 1.0, 1.0]})
    assert store.add("d", pairs["a"] - pairs["b"], "fraction")["per_seed"] == [0.5, None, 2.0]
    assert store.verdict("c", "A claim.", "a rule", [1.0, None])["value"] == "undecided"
    json.loads(store.save().read_text())


def test_one_verdict_for_several(store):
    store.verdict("low", "A claim.", "a rule", [1.0, 1.1], n_labels=10)
    store.verdict("high", "A claim.", "a rule", [-1.0, -1.1])
    entry = store.combined("both", "It holds throughout.", ["low", "high"])
    assert entry["value"] == "mixed" and entry["unit"] == "verdict" and "low, high" in entry["rule"]
    assert store.combined("one", "It holds.", ["low"])["value"] == "supported"


def test_a_headline_says_in_words_what_the_reports_table_shows(store):
    assert store.add("a", 1.0, "fraction", headline="Share of all")["headline"] == "Share of all"
    assert "headline" not in store.add("b", 1.0, "fraction")


def test_what_notebooks_left_is_read_if_it_goes_together(store, tmp_path):
    assert results.read(tmp_path) == {}
    store.add("a", 1.0, "fraction")
    store.save()
    other = Results("02_y", MADE_WITH | {"seeds": 5}, tmp_path / "elsewhere")
    other.add("b", 1.0, "fraction")
    other.save().rename(tmp_path / "results" / "02_y.json")
    assert [e["id"] for e in results.read(tmp_path)["02_y"]] == ["b"]
    with pytest.raises(
        ValueError, match=r"made with seeds 5 instead of 2 \(02_y.json\): name another folder with `out`"
    ):
        store.save()


@pytest.mark.parametrize("content", ['[{"id": ', "[]", '{"results": []}'])
def test_a_damaged_results_file_is_named(tmp_path, content):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "03_regularization.json").write_text(content)
    with pytest.raises(ValueError, match="03_regularization.json is damaged .* run notebook 03_regularization again"):
        results.read(tmp_path)


@pytest.mark.parametrize("values", [[0.3, 0.1, 0.4, 0.2, 0.15], [1.0, 1.0, 1.0], [13.87, 13.8702]])
def test_intervals_are_symmetric_about_the_mean(values):
    mean, (low, high) = results.confidence_interval(values)
    assert mean == pytest.approx((low + high) / 2) and low <= mean <= high
