"""Chapter 8 on made-up results that must be supported, refuted, mixed and undecided, and with chapters missing."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest

from mnist_ae_utils import data, results

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "08_answer.ipynb"
PARTS = {
    "01_linear_autoencoder": (),
    "02_conv_autoencoder_batchnorm": ("convolutions_reconstruct_better", "batch_norm_stabilizes"),
    "03_regularization": ("limited_dropout_shrinks_gap", "limited_weight_decay_shrinks_gap"),
    "04_hybrid_classification": (
        "codes_are_not_organized_by_class", "hybrid_beats_mlp_random_encoder", "hybrid_beats_end_to_end_tuned",
    ),
    "05_variational_autoencoder": ("vae_codes_classify_better",),
    "06_few_labels": (),
    "07_robustness": (
        "hybrid_less_sensitive", "hybrid_less_sensitive_to_blur", "hybrid_more_accurate_on_corrupted_digits",
    ),
}  # fmt: skip
ACCURACIES = {
    "01_linear_autoencoder": "basic_hybrid.accuracy",
    "04_hybrid_classification": "hybrid.accuracy",
    "05_variational_autoencoder": "vae_mlp.accuracy",
    "06_few_labels": "few_labels.accuracy",
}


SETTINGS = {"profile": "smoke", "dataset": "mnist-5000", "checksum": data.load("mnist-5000").checksum, "seeds": 2}


def execute(tmp_path):
    """Run the notebook on what lies in `tmp_path`."""
    papermill.execute_notebook(
        NOTEBOOK, tmp_path / "08.ipynb", {"profile": "smoke", "out": str(tmp_path)}, cwd=NOTEBOOK.parent,
        kernel_name="python3", progress_bar=False,
    )  # fmt: skip


def outputs(tmp_path):
    """What the cells of the executed notebook show, as text."""
    return json.dumps([cell.get("outputs") for cell in nbformat.read(tmp_path / "08.ipynb", as_version=4).cells])


def answer(tmp_path, differences, accuracy, left_out=()):
    """Run the notebook on made-up results; its entries by id, and its text.

    `differences` are those of each part's verdict, by the beginning of its id.
    """
    for name in PARTS.keys() - set(left_out):
        of_chapter = results.Results(name, SETTINGS, tmp_path)
        if name in ACCURACIES:
            n_labels = 10 if name.startswith("06") else 55_000
            of_chapter.add(ACCURACIES[name], accuracy, "fraction", n_labels=n_labels)
        for id in PARTS[name]:
            (of_part,) = (values for beginning, values in differences.items() if id.startswith(beginning))
            of_chapter.verdict(id, "A claim.", "a rule", of_part)
        of_chapter.save()
    execute(tmp_path)
    entries = results.read(tmp_path)["08_answer"]
    return {entry["id"]: entry for entry in entries}, outputs(tmp_path)


UP, DOWN, BETWEEN = [0.1, 0.11, 0.1], [-0.1, -0.11, -0.1], [0.1, -0.1, 0.05]


def test_claims_come_out_as_their_parts_do(tmp_path):
    differences = {"conv": UP, "batch": DOWN, "limited_d": UP, "limited_w": BETWEEN, "codes": UP, "vae": DOWN,
                   "hybrid_beats_m": UP, "hybrid_beats_e": UP, "hybrid_less": DOWN, "hybrid_more": UP}  # fmt: skip
    claims, _ = answer(tmp_path, differences, [0.98, 0.981, 0.979])
    expected = {"a": "supported", "b": "supported", "c": "mixed", "d": "refuted", "e": "supported", "f": "refuted",
                "g": "undecided", "h": "supported", "i": "refuted"}  # fmt: skip
    assert {letter: claims[f"claim_{letter}"]["value"] for letter in expected} == expected
    assert claims["answer"]["value"] == "supported" and "**Yes, as a hybrid.**" in claims["answer"]["claim"]
    assert "98.00%" in claims["answer"]["claim"] and "3 refuted" in claims["answer"]["claim"]


def test_a_missing_chapter_is_named_and_the_rest_is_answered(tmp_path):
    differences = dict.fromkeys(("conv", "batch", "limited", "codes", "hybrid", "vae"), UP)
    left_out = ["05_variational_autoencoder", "07_robustness"]
    claims, text = answer(tmp_path, differences, [0.95, 0.951, 0.949], left_out)
    assert all(f"{name} has left no results" in text for name in left_out)
    assert claims["claim_i"]["value"] == "undecided" and "05_variational_autoencoder" in claims["claim_i"]["note"]
    assert claims["claim_h"]["value"] == "undecided", "one of its three encoders is missing"
    assert claims["claim_c"]["value"] == "undecided", "chapter 4 alone does not decide it"
    assert claims["claim_e"]["value"] == claims["claim_a"]["value"] == "supported"
    assert claims["answer"]["value"] == "refuted" and "**No, not well.**" in claims["answer"]["claim"]


def test_without_any_chapter_every_claim_is_undecided_and_every_chapter_named(tmp_path):
    claims, text = answer(tmp_path, {}, [], PARTS)
    assert all(f"{name} has left no results" in text for name in PARTS)
    assert {claims[f"claim_{letter}"]["value"] for letter in "abcdefghi"} == {"undecided"}
    begins = "**Undecided.** Whether an autoencoder's codes are organized by class is undecided."
    assert claims["answer"]["claim"].startswith(begins)
    assert text.count("THIS IS NOT ALL OF MNIST") == 1


def test_a_chapter_run_with_other_settings_is_refused_before_anything_is_answered(tmp_path):
    of_chapter = results.Results("04_hybrid_classification", SETTINGS | {"seeds": 3}, tmp_path)
    of_chapter.add("hybrid.accuracy", [0.98, 0.981, 0.979], "fraction", n_labels=55_000)
    of_chapter.save()
    refused = r"holds results made with seeds 3 instead of 2 \(04_hybrid_classification.json\)"
    with pytest.raises(papermill.PapermillExecutionError, match=refused):
        execute(tmp_path)
    assert "98.00%" not in outputs(tmp_path) and not (tmp_path / "results" / "08_answer.json").exists()


def test_a_damaged_results_file_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "03_regularization.json"
    for damaged in ('[{"id": ', "[]", '{"results": []}'):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="03_regularization.json is damaged .* run notebook 03_regularization"):
            results.read(tmp_path)
    assert results.read(tmp_path / "nowhere") == {}
