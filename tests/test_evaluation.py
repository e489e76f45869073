"""Every number against an independent computation."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import stats

from mnist_ae_utils import evaluation, models


def test_reconstruction_error_is_the_squared_error_per_image():
    torch.manual_seed(0)
    model, images = models.DenseAutoencoder(4), torch.rand(2500, 1, 28, 28)  # more than one batch, the last one short
    with torch.no_grad():
        expected = np.square((model(images) - images).numpy()).reshape(2500, -1).sum(1).mean()
    assert evaluation.reconstruction_error(model, images) == pytest.approx(expected, rel=1e-5)


def test_encode_uses_evaluation_mode():
    model, images = models.ConvAutoencoder(4, channels=(2, 2)), torch.rand(5, 1, 28, 28)
    model.train()
    together = evaluation.encode(model, images)
    alone = torch.cat([evaluation.encode(model, image[None]) for image in images])
    torch.testing.assert_close(together, alone)


def test_accuracy_counts_hits():
    logits = torch.eye(10)[[0, 1, 2, 3]]
    assert evaluation.accuracy(torch.nn.Identity(), logits, torch.tensor([0, 1, 5, 5])) == 0.5


def test_clustering_accuracy_against_every_assignment():
    random = np.random.default_rng(0)
    labels, clusters = random.integers(0, 5, 60), random.integers(0, 5, 60)
    best = max(np.mean(np.array(p)[clusters] == labels) for p in itertools.permutations(range(5)))
    assert evaluation.clustering_accuracy(labels, clusters) == pytest.approx(best)
    assert evaluation.clustering_accuracy(labels, (labels + 3) % 5) == 1


def test_mutual_information_of_the_same_and_of_unrelated_clusters():
    labels = np.repeat(range(4), 50)
    assert evaluation.mutual_information(labels, 3 - labels) == pytest.approx(1)
    assert evaluation.mutual_information(labels, np.tile(range(4), 50)) == pytest.approx(0, abs=0.01)


def blobs(seed, centers=None):
    random = np.random.default_rng(seed)
    labels = np.repeat(range(10), 30)
    return torch.tensor(10 * np.eye(10)[labels] + random.normal(size=(300, 10))).float(), torch.tensor(labels)


def test_probes_and_clusters_on_separated_classes():
    train, test = blobs(0), blobs(1)
    assert evaluation.linear_probe(*train, *test) > 0.99
    assert evaluation.nearest_neighbors(*train, *test) > 0.99
    assert evaluation.clustering_accuracy(test[1], evaluation.cluster(test[0])) > 0.99
    shuffled = train[1][torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    assert evaluation.linear_probe(train[0], shuffled, *test) < 0.3


def test_confidence_interval_against_scipy():
    values = [0.91, 0.93, 0.92, 0.95, 0.90]
    mean, interval = evaluation.confidence_interval(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values)) and interval == pytest.approx(expected)
    assert evaluation.confidence_interval([0.9]) == (0.9, None)


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
    assert evaluation.judge(differences, margin) == verdict


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
    assert evaluation.combine(verdicts) == combined


def test_p_value_agrees_with_the_interval():
    differences = [0.3, 0.1, 0.4, 0.2]
    mean, (low, high) = evaluation.confidence_interval(differences)
    assert evaluation.p_value(differences, low) == pytest.approx(0.05)
    assert evaluation.p_value(differences, high) == pytest.approx(0.05)
    assert evaluation.p_value(differences, mean) == pytest.approx(1)
    assert evaluation.p_value([0.2, 0.2], 0.2) == evaluation.p_value([1.0]) == evaluation.p_value([1.0, None]) == 1
    assert evaluation.p_value([0.2, 0.2], 0) == 0


def test_holm_on_a_published_example():
    # Aickin & Gensler (1996), "Adjusting for multiple testing when reporting research results: the Bonferroni vs Holm
    # methods": the step-down rule, worked out here by hand.
    assert evaluation.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert evaluation.holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_correction_spares_the_clear_verdicts_and_takes_back_the_close_ones():
    results = evaluation.Results("01_x", "mnist")
    results.verdict("clear", "A claim.", "a rule", [1.0, 1.01, 0.99, 1.0])
    results.verdict("wrong", "A claim.", "a rule", [-1.0, -1.01, -0.99, -1.0])
    results.verdict("close", "A claim.", "a rule", [0.5, 1.2, 1.0, 0.4])
    results.verdict("nothing", "A claim.", "a rule", [0.5, -0.5, 0.1, 0.0])
    results.add("a", 1.0, "fraction")
    before = [e["value"] for e in results.entries[:4]]
    results.correct()
    after = {e["id"]: e["value"] for e in results.entries[:4]}
    assert before == ["supported", "refuted", "supported", "undecided"]
    assert after == {"clear": "supported", "wrong": "refuted", "close": "undecided", "nothing": "undecided"}
    p = evaluation.p_value([0.5, 1.2, 1.0, 0.4])
    assert results.entries[2]["p"] == pytest.approx(2 * p) and "4 verdicts" in results.entries[2]["note"]


def test_principal_angles_of_shared_and_foreign_directions():
    basis = np.eye(6)
    angles = evaluation.principal_angles(basis[:, :3], basis[:, [0, 1, 5]] @ np.diag([2, 3, 1]))
    assert angles == pytest.approx([90, 0, 0], abs=1e-6)


def test_umap_is_the_same_for_the_same_seed_and_keeps_neighbors():
    codes, _ = blobs(0)
    embedding = evaluation.umap_embedding(codes, seed=3)
    assert embedding.shape == (300, 2) and np.array_equal(embedding, evaluation.umap_embedding(codes, seed=3))
    kept = evaluation.embedding_trustworthiness(codes, embedding)
    shuffled = np.random.default_rng(0).permutation(embedding)
    assert kept > 0.8 > evaluation.embedding_trustworthiness(codes, shuffled)


def test_results_are_written_in_the_schema(tmp_path):
    results = evaluation.Results("01_x", "mnist")
    results.add("a.error", [4.0, 5.0], "squared error per image", reference=(3.0, "a paper"))
    results.add("a.error", [4.0, None], "squared error per image", split="validation")
    results.verdict("claim", "A claim.", "a rule", [1.0, 1.1])
    error, diverged, verdict = json.loads(results.save(tmp_path).read_text())
    assert error["value"] == 4.5 and error["per_seed"] == [4.0, 5.0] and error["ci"][0] < 4.5 < error["ci"][1]
    assert error["reference"] == {"value": 3.0, "source": "a paper"} and error["split"] == "test"
    assert diverged["value"] is None and diverged["note"] == "diverged in 1 of 2 seeds" and diverged["ci"] is None
    assert verdict["value"] == "supported" and verdict["unit"] == "verdict" and verdict["rule"] == "a rule"
    assert not list(tmp_path.rglob("*.part"))


def test_a_cell_that_is_run_again_replaces_what_it_recorded():
    results = evaluation.Results("01_x", "mnist")
    results.add("a", 1.0, "fraction", n_labels=10)
    results.add("a", 1.0, "fraction", n_labels=100)
    results.add("a", 2.0, "fraction", n_labels=10)
    assert [(entry["n_labels"], entry["value"]) for entry in results.entries] == [(100, 1.0), (10, 2.0)]


def test_numbers_of_numpy_and_runs_that_diverged_can_be_recorded(tmp_path):
    results = evaluation.Results("01_x", "mnist")
    assert results.add("a", np.array([1.0, np.nan]), "fraction")["per_seed"] == [1.0, None]
    assert results.verdict("b", "A claim.", "a rule", [np.int64(n) for n in (3, 4, 3, 4)])["value"] == "supported"
    assert evaluation.differences([1.0, None, 3.0], [0.5, 1.0, 1.0]) == [0.5, None, 2.0]
    assert results.verdict("c", "A claim.", "a rule", [1.0, None])["value"] == "undecided"
    json.loads(results.save(tmp_path).read_text())


def test_one_verdict_for_several():
    results = evaluation.Results("01_x", "mnist")
    results.verdict("low", "A claim.", "a rule", [1.0, 1.1], n_labels=10)
    results.verdict("high", "A claim.", "a rule", [-1.0, -1.1])
    entry = results.combined("both", "It holds throughout.", ["low", "high"])
    assert entry["value"] == "mixed" and entry["unit"] == "verdict" and "low, high" in entry["rule"]
    assert results.combined("one", "It holds.", ["low"])["value"] == "supported"
