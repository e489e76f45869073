"""Intervals, verdicts and the results store, against independent computations."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mnist_ae_utils import results
from mnist_ae_utils.results import Results

MADE_WITH = {"profile": "quick", "dataset": "mnist", "checksum": "abc", "seeds": 2}


RULES = {
    "claims": {"a": "A claim.", "b": "Another."},
    "contrasts": {"01_x": [
        {"id": "seen", "claim": "A claim.", "contrast": "a minus b", "unit": "fraction", "above": 0.5,
         "n_labels": [100, 1000], "seeds": 10, "primary": "a"},
        {"id": "other", "claim": "Another.", "contrast": "c minus d", "unit": "degrees"},
        {"id": "everywhere", "claim": "Everywhere.", "contrast": "c minus d", "unit": "fraction",
         "n_labels": [100, "all"], "seeds": 10, "primary": "b"},
        {"id": "second", "claim": "Too.", "contrast": "e minus f", "unit": "fraction", "seeds": 10, "primary": "b"},
    ]},
}  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RULES", copy.deepcopy(RULES))
    return Results("01_x", MADE_WITH, tmp_path)


def test_confidence_interval_against_scipy():
    values = [0.91, 0.93, 0.92, 0.95, 0.90]
    mean, interval = results.confidence_interval(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values)) and interval == pytest.approx(expected)
    assert results.confidence_interval([0.9]) == (0.9, None)


def contrast(differences, above=0.0, matters=None, primary="a", id="x"):
    """A primary contrast as `Results.compare` records it."""
    value = float("nan") if None in differences else float(np.mean(differences))
    return {"id": id, "per_seed": differences, "value": value, "above": above, "matters": matters, "primary": primary}


@pytest.mark.parametrize(
    "differences, above, matters, verdict",
    [
        ([1.0, 1.1, 0.9], 0, None, "supported"),
        ([-1.0, -1.1, -0.9], 0, None, "refuted"),
        ([1.0, -1.1, 0.2], 0, None, "undecided"),
        ([1.0, 1.1, 0.9], 2, None, "refuted"),
        ([1.0, 1.1, 0.9], 1, None, "undecided"),
        ([5.0], 0, None, "undecided"),
        ([1.0, float("nan"), 1.1], 0, None, "undecided"),
        ([1.0, 1.0, 1.0], 0, None, "supported"),
        ([0.01, 0.02, -0.01, 0.01], 0, 0.1, "no difference that matters"),
        ([0.1, 0.11, 0.1, 0.09], 0, 1.0, "no difference that matters"),  # there, and too small to matter
        ([0.9, 1.1, 1.0, 1.2], 0, 1.0, "supported"),
        ([0.5, -0.5, 0.1, 0.0], 0, 0.1, "undecided"),
    ],
)
def test_judge(differences, above, matters, verdict):
    assert results.judge([contrast(differences, above, matters)])[0][0] == verdict


def test_contrasts_are_judged_as_one_family():
    clear, close = [1.0, 1.01, 0.99, 1.0], [0.5, 1.2, 1.0, 0.4]
    family = [contrast(clear), contrast([-x for x in clear]), contrast(close), contrast([0.5, -0.5, 0.1, 0.0])]
    assert [verdict for verdict, _ in results.judge(family)] == ["supported", "refuted", "undecided", "undecided"]
    assert results.judge([contrast(close)])[0][0] == "supported", "alone it would do"
    assert results.judge(family)[2][1] == pytest.approx(2 * results.p_value(close))
    assert results.judge([contrast(close)], missing=3) == [("undecided", pytest.approx(4 * results.p_value(close)))]
    near = contrast([0.05, -0.05, 0.04, -0.04], matters=0.1)
    p = results.p_equal(near["per_seed"], 0.1)
    assert results.judge([near])[0] == ("no difference that matters", p) and 0.05 / 4 < p < 0.05
    assert results.judge([near, contrast(close, matters=0.1)] * 2)[0][0] == "undecided", "equality is corrected too"
    assert results.judge([near], missing=3)[0][0] == "undecided"


@pytest.mark.parametrize(
    "verdicts, combined",
    [
        (["supported", "supported"], "supported"),
        (["supported", "refuted", "undecided"], "mixed"),
        (["supported", "no difference that matters"], "mixed"),
        (["supported", "undecided"], "undecided"),
        (["refuted"], "refuted"),
        ([], "undecided"),
    ],
)
def test_combine(verdicts, combined):
    assert results.combine(verdicts) == combined


def part(verdict, id="x", ci=(0.4, 0.6), matters=0.5):
    return {"id": id, "labels": "", "verdict": verdict, "ci": ci, "matters": matters}


@pytest.mark.parametrize(
    "here, there, holds",
    [
        ([part("supported")], [part("supported")], "yes"),
        ([part("supported")], [part("refuted")], "no"),
        ([part("supported")], [part("undecided")], "undecided"),
        ([part("supported")], [], "undecided"),
        ([], [], "undecided"),
        # both mixed, but the other way round; an undecided part beside one that holds
        ([part("supported"), part("refuted", "y")], [part("refuted"), part("supported", "y")], "no"),
        ([part("supported"), part("refuted", "y")], [part("supported"), part("undecided", "y")], "undecided"),
        ([part("supported"), part("refuted", "y")], [part("refuted", "y"), part("supported")], "yes"),
        # a difference between 0.4 and 0.6 may be one of 0.45, which does not matter; one between 0.6 and 0.8 may not
        ([part("supported")], [part("no difference that matters", ci=(0.1, 0.45))], "undecided"),
        ([part("supported", ci=(0.6, 0.8))], [part("no difference that matters", ci=(0.1, 0.45))], "no"),
        ([part("no difference that matters")], [part("refuted", ci=(-0.6, -0.4))], "undecided"),
        ([part("no difference that matters")], [part("no difference that matters")], "yes"),
    ],
)
def test_a_claim_holds_if_all_its_parts_do(here, there, holds):
    assert results.holds(here, there) == holds


def test_two_one_sided_tests_agree_with_the_90_percent_interval():
    differences = [0.3, 0.1, 0.4, 0.2]
    _, (low, high) = results.confidence_interval(differences, level=0.9)
    assert results.p_equal(differences, high) == pytest.approx(0.05)
    assert results.p_equal([-x for x in differences], high) == pytest.approx(0.05)
    assert results.p_equal([1.0], 5) == results.p_equal([1.0, float("nan")], 5) == 1
    assert results.p_equal([0.1, 0.1], 0.2) == 0 and results.p_equal([0.2, 0.2], 0.2) == 1


def test_seeds_needed_against_a_published_table():
    # Cohen (1988), table 2.4.1: a paired t test, two-sided 0.05, power 0.90, d = 0.5 needs 44 pairs; d = 1.0 needs 13.
    for effect, n in ((0.5, 44), (1.0, 13)):
        differences = np.array([-1.0, 1.0]) * np.sqrt(0.5) + effect  # standard deviation 1
        assert abs(results.seeds_needed(differences) - n) <= 1
    assert results.seeds_needed([1.0]) is None and results.seeds_needed([1.0, float("nan")]) is None
    assert results.seeds_needed([1.0, -1.0]) is None, "no effect, no number"


def test_an_interval_over_seeds_and_images_covers_as_often_as_it_says():
    rng, covered, narrow = np.random.default_rng(0), 0, 0
    for _ in range(400):
        hard, luck = rng.normal(0, 1, 200), rng.normal(0, 0.1, (5, 1))
        outcomes = 2 + hard + luck + rng.normal(0, 0.5, (5, 200))
        _, (low, high) = results.interval_over_images(outcomes)
        covered += low < 2 < high
        _, (low, high) = results.confidence_interval(outcomes.mean(1))
        narrow += low < 2 < high
    assert covered >= 0.94 * 400 and narrow < 0.9 * 400, "that over seeds alone forgets the images"
    assert results.interval_over_images(np.ones((1, 5))) == (1.0, (1.0, 1.0))


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "below 0.001"), (0.0123, "0.012"), (0.0498, "just below 0.05"), (0.05, "0.05")]
)
def test_a_p_that_decides_is_not_shown_as_one_that_does_not(p, text):
    assert results.p_text(p) == text


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


def test_results_are_written_in_the_schema(store):
    store.add("a.error", [4.0, 5.0], "squared error per image", reference=(3.0, "a paper"))
    store.add("a.error", [4.0, None], "squared error per image", split="validation")
    store.compare("seen", [1.0, 1.1], n_labels=100)
    content = json.loads(store.save().read_text())
    error, diverged, seen = content["results"]
    assert content["made_with"] == MADE_WITH
    assert error["value"] == 4.5 and error["per_seed"] == [4.0, 5.0] and error["ci"][0] < 4.5 < error["ci"][1]
    assert error["reference"] == {"value": 3.0, "source": "a paper"} and error["split"] == "test"
    assert diverged["value"] is None and diverged["note"] == "diverged in 1 of 2 seeds" and diverged["ci"] is None
    assert seen["value"] == pytest.approx(1.05) and seen["rule"] == "a minus b" and seen["unit"] == "fraction"
    assert (seen["above"], seen["labels"], seen["primary"], seen["seeds_planned"]) == (0.5, 100, "a", 10)
    assert "matters" not in seen
    assert not list(store.out.rglob("*.part"))


def test_a_cell_that_is_run_again_replaces_what_it_recorded(store):
    store.add("a", 1.0, "fraction", n_labels=10)
    store.add("a", 1.0, "fraction", n_labels=100)
    store.add("a", 2.0, "fraction", n_labels=10)
    assert [(entry["n_labels"], entry["value"]) for entry in store.entries] == [(100, 1.0), (10, 2.0)]


def test_numbers_of_numpy_and_runs_that_diverged_can_be_recorded(store):
    assert store.add("a", np.array([1.0, np.nan]), "fraction")["per_seed"] == [1.0, None]
    assert store.compare("other", [np.int64(n) for n in (3, 4, 3, 4)])["value"] == 3.5
    pairs = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [0.5, 1.0, 1.0]})
    assert store.add("d", pairs["a"] - pairs["b"], "fraction")["per_seed"] == [0.5, None, 2.0]
    assert store.compare("other", [1.0, None])["value"] is None
    json.loads(store.save().read_text())


def test_only_what_was_announced_is_compared(store):
    with pytest.raises(ValueError, match="announces no contrast 'mine' for 01_x, but seen, other, everywhere, second"):
        store.compare("mine", [1.0, 1.1])
    for n_labels in (None, 10):
        with pytest.raises(ValueError, match="seen: rules.toml announces it for .*, not"):
            store.compare("seen", [1.0, 1.1], n_labels=n_labels)
    with pytest.raises(ValueError, match="announces it for no number of labels, not 10"):
        store.compare("other", [1.0, 1.1], n_labels=10)
    assert store.compare("everywhere", [1.0, 1.1], n_labels=600)["labels"] == "all"
    assert store.compare("everywhere", [1.0, 1.1], n_labels=100)["labels"] == 100


def test_a_contrast_is_left_out_if_it_is_at_one_of_its_numbers_of_labels(store):
    def left_out(*compared, most):
        store.entries = []
        store.add("hybrid.accuracy", 0.9, "fraction", n_labels=most)
        for id, n_labels in compared:
            store.compare(id, [1.0, 1.1], n_labels=n_labels)
        return results.left_out("01_x", store.entries, "mnist")

    rest = ("other", None), ("second", None)
    whole = ("seen", 100), ("seen", 1000), ("everywhere", 100), ("everywhere", 55_000)
    assert left_out(*rest, *whole, most=55_000) == []
    assert left_out(*rest, *whole[1:], most=55_000) == [("seen", 100)]
    assert left_out(*rest, *whole[:3], most=55_000) == [("everywhere", 55_000)]
    fewer = ("seen", 100), ("everywhere", 100), ("everywhere", 600)
    assert left_out(*rest, *fewer, most=600) == [], "a dataset of 600 images has no 1,000 labels"
    assert left_out(*whole, most=55_000) == [("other", None), ("second", None)]
    store.rules[1]["dataset"] = "kmnist"
    assert left_out(*whole, rest[1], most=55_000) == [], "it is announced for other data"


def test_claims_are_decided_by_their_primary_contrasts(store):
    up, down = [1.0, 1.01, 0.99, 1.0], [-1.0, -1.01, -0.99, -1.0]
    store.compare("seen", up, n_labels=100)
    store.compare("other", down)
    found = dict((entry["headline"], (entry["value"], len(parts))) for entry, parts in store.claims(store.entries))
    assert found == {"a": ("supported", 1), "b": ("undecided", 0)}, "what b rests on was not compared"
    store.compare("everywhere", down, n_labels=600)
    store.compare("everywhere", down, n_labels=100)
    assert store.claims(store.entries)[1][0]["value"] == "undecided", "its second contrast is missing"
    store.compare("second", down)
    (_, _), (claim, parts) = store.claims(store.entries)
    assert claim["id"] == "claim_b" and claim["value"] == "refuted" and claim["shown"] == "claims"
    assert parts[0]["verdict"] == "refuted" and 0 < parts[0]["p"] < 0.05


def test_the_rate_of_failures_has_its_exact_interval(store):
    entry = store.add_failures("chain.failures", [False] * 5, split="train")
    assert entry["value"] == 0 and entry["ci"][1] == pytest.approx(1 - 0.025 ** (1 / 5)) and entry["split"] == "train"
    assert entry["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 5))
    assert store.add_failures("none.of.60", [False] * 60)["note"].endswith(f"no more than {1 - 0.05 ** (1 / 60):.1%}")
    assert store.add_failures("all.of.4", [True] * 4)["note"].endswith(f"no less than {0.05 ** (1 / 4):.1%}")
    assert store.add_failures("chain.failures", [False] * 3 + [True])["value"] == 0.25


def test_every_contrast_is_announced_once_and_every_claim_decided_by_some():
    rules = [(notebook, rule) for notebook, of in results.RULES["contrasts"].items() for rule in of]
    assert len({(notebook, rule["id"]) for notebook, rule in rules}) == len(rules)
    known = {"id", "claim", "contrast", "unit", "above", "matters", "n_labels", "seeds", "primary", "dataset"}
    assert all({"id", "claim", "contrast", "unit"} <= set(rule) <= known for _, rule in rules)
    primary = [rule for _, rule in rules if "primary" in rule]
    assert {rule["primary"] for rule in primary} == set(results.RULES["claims"])
    assert all("seeds" in rule for rule in primary), "the number of seeds is planned"
    assert all("primary" in rule for _, rule in rules if "matters" in rule)


def test_a_headline_says_in_words_what_the_reports_table_shows(store):
    assert store.add("a", 1.0, "fraction", headline="Share of all")["headline"] == "Share of all"
    assert not {"headline", "shown"} & store.add("b", 1.0, "fraction", headline=None).keys()


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


def test_an_id_has_a_name_in_words():
    names = {
        "basic_ae.knn_accuracy": "basic AE: accuracy of nearest neighbors", "dense_ae_16.reconstruction_error":
        "dense AE, 16 numbers: reconstruction error", "vae_beta_0.1.kl": "VAE beta 0.1: KL divergence",
        "conv_no_bn_lr_0.003.reconstruction_error":
        "convolutional without batch norm at learning rate 0.003: reconstruction error",
        "end_to_end.skill_lost.blur.running": "end to end: share of skill lost, blur, running averages",
        "anomaly.ink.auroc.0.seen": "class left out: ink, AUROC, 0, class seen", "mine": "mine",
    }  # fmt: skip
    assert {id: results.name(id) for id in names} == names


def test_a_mean_is_shown_in_percent_or_in_its_unit():
    entry = {"id": "hybrid.accuracy", "value": 0.98214, "ci": [0.98, 1.01], "unit": "fraction"}
    assert results.mean_text(entry) == "98.21 (98.00 to 100.00)" and results.unit(entry) == "%"
    small = {"id": "hybrid.gain", "value": 0.00052, "ci": None, "unit": "fraction"}
    assert results.mean_text(small) == "0.052" and results.mean_text(small | {"value": None}) == "diverged"
    nats = {"id": "vae.elbo", "value": -86.76, "ci": [-87.0, -86.5], "unit": "nats"}
    assert results.mean_text(nats) == "-86.76 (-87.00 to -86.50)" and results.unit(nats) == "nats"
    assert results.unit({"unit": "weight_decay"}) == ""


@pytest.mark.parametrize("source, linked", [
    ("Makhzani & Frey 2015, table 2", '<a href="REFERENCES.md#m">Makhzani &amp; Frey 2015</a>, table 2'),
    ("as reported by Shinoda et al. 2017", 'as reported by <a href="REFERENCES.md#s">Shinoda et al. 2017</a>'),
    ("Gilmer 1999: a < b", '<a href="REFERENCES.md#g">Gilmer 1999</a>: a &lt; b'),
    ("measured elsewhere", "measured elsewhere"),
])  # fmt: skip
def test_a_work_that_is_named_is_a_link_into_the_bibliography(source, linked):
    assert results.cited(source) == linked
