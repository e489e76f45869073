"""Chapter 9 on made-up results that must be supported, refuted, mixed and undecided, and with chapters missing."""

import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest

from mnist_ae_utils import data, results

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "09_answer.ipynb"
CHAPTERS = list(results.RULES["contrasts"])
ACCURACIES = {"04_hybrid_classification": "hybrid.accuracy", "06_few_labels": "few_labels.accuracy"}


SETTINGS = {"profile": "smoke", "dataset": "mnist-5000", "checksum": data.load("mnist-5000").checksum, "seeds": 2}


def execute(tmp_path):
    """Run the notebook on what lies in `tmp_path`."""
    papermill.execute_notebook(
        NOTEBOOK, tmp_path / "09.ipynb", {"profile": "smoke", "out": str(tmp_path)}, cwd=NOTEBOOK.parent,
        kernel_name="python3", progress_bar=False,
    )  # fmt: skip


def outputs(tmp_path):
    """What the cells of the executed notebook show, as text."""
    return json.dumps([cell.get("outputs") for cell in nbformat.read(tmp_path / "09.ipynb", as_version=4).cells])


def answer(tmp_path, differences, left_out=()):
    """Run the notebook on made-up results; its entries by id, and its text.

    `differences` are those of each primary contrast, by the letter of the claim that it decides, or by its id.
    """
    for name in set(CHAPTERS) - set(left_out):
        of_chapter = results.Results(name, SETTINGS, tmp_path)
        if name in ACCURACIES:
            n_labels = 10 if name.startswith("06") else 55_000
            of_chapter.add(ACCURACIES[name], [0.98, 0.981, 0.979], "fraction", n_labels=n_labels)
        for rule in of_chapter.rules:
            per_seed = differences.get(rule["id"], differences.get(rule.get("primary"), UP))
            for n in rule.get("n_labels", [None]):
                of_chapter.compare(rule["id"], per_seed, n_labels=55_000 if n == "all" else n)
        of_chapter.save()
    execute(tmp_path)
    entries = results.read(tmp_path)["09_answer"]
    return {entry["id"]: entry for entry in entries}, outputs(tmp_path)


UP, DOWN = [0.6, 0.601, 0.602, 0.599], [-0.6, -0.601, -0.602, -0.599]
BETWEEN, TINY = [0.6, -0.3, 0.4, 0.1], [1e-5, -1e-5, 2e-5, 0.0]


def test_claims_come_out_as_their_contrasts_do(tmp_path):
    differences = {"a": UP, "b": DOWN, "c": TINY, "d": DOWN, "batch_norm_stabilizes": UP, "g": BETWEEN, "i": UP,
                   "batch_norm_improves_reconstruction": DOWN}  # fmt: skip
    claims, text = answer(tmp_path, differences)
    expected = {"a": "supported", "b": "refuted", "c": "no difference that matters", "d": "refuted", "e": "supported",
                "f": "mixed", "g": "undecided", "h": "supported", "i": "supported"}  # fmt: skip
    assert {letter: claims[f"claim_{letter}"]["value"] for letter in expected} == expected
    assert claims["answer"]["value"] == "refuted" and "**No, not well.**" in claims["answer"]["claim"]
    assert "98.00%" in claims["answer"]["claim"] and "2 refuted" in claims["answer"]["claim"]
    assert "told how digits may be distorted, a student network is right on **98.00%**" in claims["answer"]["claim"]
    assert "4 of 10 planned seeds" in claims["claim_a"]["note"] or "4 of 10 planned seeds" in claims["claim_b"]["note"]
    assert re.search(r"about \d+ would decide it", claims["claim_g"]["note"]), "how many seeds it takes is said"
    assert "image/png" in text


def test_a_missing_chapter_is_named_and_the_rest_is_answered(tmp_path):
    left_out = ["05_variational_autoencoder", "07_robustness"]
    claims, text = answer(tmp_path, {}, left_out)
    assert all(f"{name} has left no results" in text for name in left_out)
    assert claims["claim_i"]["value"] == "undecided" and "05_variational_autoencoder" in claims["claim_i"]["note"]
    assert claims["claim_e"]["value"] == claims["claim_a"]["value"] == "supported"
    assert claims["answer"]["value"] == "supported" and "**Yes, as a hybrid.**" in claims["answer"]["claim"]


def test_without_any_chapter_every_claim_is_undecided_and_every_chapter_named(tmp_path):
    claims, text = answer(tmp_path, {}, CHAPTERS)
    assert all(f"{name} has left no results" in text for name in CHAPTERS)
    assert {claims[f"claim_{letter}"]["value"] for letter in "abcdefghi"} == {"undecided"}
    begins = "**Undecided.** Whether an autoencoder's codes are round clusters of the classes is undecided."
    assert claims["answer"]["claim"].startswith(begins)
    assert text.count("THIS IS NOT ALL OF MNIST") == 1


def test_a_chapter_run_with_other_settings_is_refused_before_anything_is_answered(tmp_path):
    of_chapter = results.Results("04_hybrid_classification", SETTINGS | {"seeds": 3}, tmp_path)
    of_chapter.add("hybrid.accuracy", [0.98, 0.981, 0.979], "fraction", n_labels=55_000)
    of_chapter.save()
    refused = r"holds results made with seeds 3 instead of 2 \(04_hybrid_classification.json\)"
    with pytest.raises(papermill.PapermillExecutionError, match=refused):
        execute(tmp_path)
    assert "98.00%" not in outputs(tmp_path) and not (tmp_path / "results" / "09_answer.json").exists()


def test_a_damaged_results_file_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "03_regularization.json"
    for damaged in ('[{"id": ', "[]", '{"results": []}'):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="03_regularization.json is damaged .* run notebook 03_regularization"):
            results.read(tmp_path)
    assert results.read(tmp_path / "nowhere") == {}
