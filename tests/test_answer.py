"""Chapter 8 on made-up results that must be supported, refuted, mixed and undecided, and with a chapter missing."""

import json
from pathlib import Path

import pytest

from mnist_ae_utils import evaluation

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


def answer(tmp_path, differences, accuracy, left_out=()):
    """Run the notebook on made-up results; its entries by id, and its text.

    `differences` are those of each part's verdict, by the beginning of its id.
    """
    import papermill

    for name in PARTS.keys() - set(left_out):
        results = evaluation.Results(name, "mnist")
        if name in ACCURACIES:
            n_labels = 10 if name.startswith("06") else 55_000
            results.add(ACCURACIES[name], accuracy, "fraction", n_labels=n_labels)
        for id in PARTS[name]:
            (of_part,) = (values for beginning, values in differences.items() if id.startswith(beginning))
            results.verdict(id, "A claim.", "a rule", of_part)
        results.save(tmp_path)
    executed = papermill.execute_notebook(
        NOTEBOOK, tmp_path / "executed.ipynb", {"out": str(tmp_path)}, cwd=NOTEBOOK.parent, kernel_name="python3",
        progress_bar=False,
    )  # fmt: skip
    entries = json.loads((tmp_path / "results" / "08_answer.json").read_text())
    return {entry["id"]: entry for entry in entries}, json.dumps([cell.get("outputs") for cell in executed.cells])


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


def test_a_damaged_results_file_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "03_regularization.json").write_text('[{"id": ')
    with pytest.raises(ValueError, match="03_regularization.json is damaged .* run notebook 03_regularization again"):
        evaluation.read_results(tmp_path)
    assert evaluation.read_results(tmp_path / "nowhere") == {}
