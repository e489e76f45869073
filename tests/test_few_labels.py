"""Clusters, questions, pseudo-labels and students, on points whose classes are known."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.metrics import pairwise_distances

from mnist_ae_utils import evaluation, experiments, few_labels, training


@pytest.fixture(scope="module")
def blobs():
    """Ten well separated classes of 60 points each."""
    centers = 20 * np.random.default_rng(0).permutation(np.eye(10))
    return make_blobs(600, centers=centers, random_state=0)


class Oracle(np.ndarray):
    """Labels that note which of them were looked at."""

    def __getitem__(self, index):
        self.asked.append(np.asarray(index))
        return np.asarray(self)[index]


def oracle(labels):
    watched = labels.view(Oracle)
    watched.asked = []
    return watched


def test_nearest_codes_against_all_distances():
    codes = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    indices, distances = few_labels.nearest_codes(codes, 5)
    expected = pairwise_distances(codes)
    assert np.array_equal(indices, expected.argsort(1)[:, :5]) and (indices[:, 0] == np.arange(50)).all()
    assert distances == pytest.approx(np.sort(expected, 1)[:, :5], abs=1e-3)


def test_ten_answers_name_ten_clusters_and_nothing_else_is_looked_at(blobs):
    points, labels = blobs
    watched = oracle(labels)
    found = few_labels.ask(points, watched, seed=0)
    assert np.concatenate([np.atleast_1d(a) for a in watched.asked]).size == 10
    assert sorted(labels[found.asked]) == list(range(10)) and not found.mended
    assert (found.labels == labels).all() and evaluation.clustering_accuracy(labels, found.clusters) == 1


def test_the_most_even_of_ten_fits_has_the_classes_where_a_single_one_may_not():
    random = np.random.default_rng(0)
    centers, spread = random.uniform(-10, 10, (10, 3)), random.uniform(0.3, 1.2, 10)
    points, labels = make_blobs([100] * 10, centers=centers, cluster_std=spread, random_state=0)
    single = [few_labels.mixture(points, 10, seed, starts=1) for seed in range(12)]
    accuracy = np.array([evaluation.clustering_accuracy(labels, fit.predict(points)) for fit in single])
    even, good = np.array([few_labels.evenness(fit.weights_) for fit in single]), accuracy > 0.97
    assert 0 < good.sum() < 12, "some starts fail, some do not"
    assert even[good].min() > even[~good].max(), "the sizes tell them apart"
    for seed in np.flatnonzero(~good)[:2]:
        best = few_labels.mixture(points, 10, int(seed))
        assert evaluation.clustering_accuracy(labels, best.predict(points)) > 0.97


def test_evenness_of_equal_and_unequal_sizes():
    assert few_labels.evenness([7, 7, 7]) == pytest.approx(1) and few_labels.evenness([5, 0, 0]) == 0
    assert few_labels.evenness([1, 3]) == pytest.approx(-(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)))


def test_the_image_asked_for_is_most_probable_in_its_component_not_nearest_its_mean():
    random = np.random.default_rng(0)
    half = np.column_stack([random.uniform(2, 20, 200), random.normal(size=200) * 0.1])
    points = np.vstack([half, -half, [[0, 0.9]], random.normal(size=(50, 2)) * 0.1 + (0, 30)])
    fitted = few_labels.mixture(points, 2, seed=0)
    row = fitted.means_[:, 1].argmin()
    nearest, chosen = few_labels.nearest(points, fitted.means_[row]), few_labels.most_probable(points, fitted)[row]
    density = multivariate_normal(fitted.means_[row], fitted.covariances_[row]).logpdf(points)
    assert points[nearest].tolist() == [0, 0.9], "a stranger beside the row"
    assert chosen == density.argmax() != nearest


@pytest.mark.parametrize("twice, never", [(0, 1), (7, 3)])
def test_a_digit_that_no_answer_named_is_found_by_elimination(blobs, twice, never):
    points, labels = blobs
    asked = np.array([np.flatnonzero(labels == d)[0] for d in range(10) if d != never])
    asked = np.append(asked, np.flatnonzero(labels == twice)[1])
    found = few_labels.mend(points, asked, labels[asked], seed=0)
    assert found.mended and (found.labels == labels).all() and set(found.asked) == set(asked)


def test_of_two_ways_to_mend_the_one_with_equally_frequent_labels_is_taken(blobs, monkeypatch):
    points, labels = blobs
    asked = np.array([np.flatnonzero(labels == d)[0] for d in (*range(9), 0)])  # 9 never named

    class Fit:
        n_components, means_ = 10, np.array([points[labels == d].mean(0) for d in range(10)])

        def __init__(self, clusters):
            self.clusters = clusters

        def predict(self, points):
            return self.clusters

    half = np.where(labels == 9, 8, labels)  # the 9s hide among the 8s, and some 1s have a component of their own
    half[np.flatnonzero(labels == 1)[40:]] = 9
    monkeypatch.setattr(few_labels, "_fits", lambda *_: [Fit(half), Fit(labels), Fit(half)])
    assert (few_labels.mend(points, asked, labels[asked], seed=0).labels == labels).all()


def test_where_two_digits_are_missing_nothing_is_mended(blobs):
    points, labels = blobs
    asked = np.array([np.flatnonzero(labels == d)[0] for d in (0, 0, 1, 2, 3, 4, 5, 6, 7, 7)])  # 8 and 9 never named
    assert few_labels.mend(points, asked, labels[asked], seed=0) is None


def test_random_questions_name_a_cluster_by_its_commonest_answer(blobs):
    points, labels = blobs
    watched = oracle(labels)
    found = few_labels.ask_at_random(points, watched, 200, seed=0)
    assert (found.labels == labels).all() and len(set(found.asked)) == 200
    few = few_labels.ask_at_random(points, labels, 10, seed=0)
    known = np.isin(labels, labels[few.asked])
    assert (few.labels[known] == labels[known]).all() and set(few.labels) == set(labels[few.asked])


def test_agreement_counts_the_neighbors_with_the_same_label():
    neighbors = np.array([[0, 1, 2], [1, 0, 2], [2, 3, 1], [3, 2, 0]])
    labels = np.array([5, 5, 6, 6])
    assert few_labels.agreement(labels, neighbors).tolist() == [0.5, 0.5, 0.5, 0.5]
    assert few_labels.agreement(np.zeros(4), neighbors).tolist() == [1, 1, 1, 1]


def test_the_target_of_a_restoring_loss_is_the_original():
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    loss = training.restoring_loss(lambda x: x + 0.5)
    assert loss(lambda x: x, images).item() == pytest.approx(784 * 0.25, rel=1e-5)
    assert loss(lambda x: x - 0.5, images).item() == pytest.approx(0, abs=1e-6)


def test_the_smoothed_loss_is_a_tenth_of_the_mean_over_all_classes():
    logits, labels = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    logs = logits.log_softmax(1)
    expected = -(0.9 * logs[torch.arange(6), labels] + 0.1 * logs.mean(1)).mean()
    assert training.smoothed_classification_loss(lambda x: x, logits, labels).item() == pytest.approx(expected.item())


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return experiments.begin("06_x", "smoke", device="cpu")


def test_the_chain_from_pixels_to_a_student_and_what_more_labels_add(chapter):
    points = chapter.embedding(None, umap=False)
    state = experiments.remembered_run(points, 0).state
    assert torch.equal(state["points"], chapter.data.train.images.flatten(1)) and state["neighbors"].shape == (600, 20)
    taught = chapter.labeling(points, n_random=300)
    first = chapter.student(taught, share=0.9, channels=(8, 16, 16), epochs=5)
    second = chapter.student(first, share=1.0, channels=(8, 16, 16), epochs=10)
    informed = chapter.student(first, share=1.0, channels=(8, 16, 16), epochs=10, n_more=600)
    runs = {name: experiments.remembered_run(recipe, 0) for name, recipe in
            {"taught": taught, "first": first, "second": second, "informed": informed}.items()}  # fmt: skip
    assert second["teacher"] == informed["teacher"], "the first student is asked for its opinion once"
    assert runs["taught"].scores["train"] > 0.5 and runs["first"].scores["test"] > 0.5
    labels, trust = experiments.teach(runs["first"], chapter.data.train.images)
    assert (labels == chapter.data.train.labels).float().mean() > 0.5 and 0 < trust.min() <= trust.max() <= 1
    assert runs["informed"].scores["test"] > max(0.85, runs["second"].scores["test"]), "all its labels are true"


def test_a_chain_on_some_images_clusters_labels_and_teaches_with_these_alone(chapter):
    points = chapter.embedding(None, umap=False, n_images=200)
    taught = chapter.labeling(points)
    first = chapter.student(taught, share=0.9, channels=(8, 16, 16))
    second = chapter.student(first, share=1.0, channels=(8, 16, 16))
    state = experiments.remembered_run(points, 0).state
    assert torch.equal(state["points"], chapter.data.train.images[:200].flatten(1)) and state["neighbors"].max() < 200
    assert experiments.remembered_run(taught, 0).state["labels"].shape == (200,)
    for student in (first, second):
        assert experiments.remembered_run(student["teacher"], 0).state["labels"].shape == (200,)
        assert not experiments.remembered_run(student, 0).diverged
    assert chapter.embedding(None, n_images=10**6) == chapter.embedding(None), "no more than there are"
    with pytest.raises(ValueError, match="n_images 0"):
        chapter.embedding(None, n_images=0)


def test_what_stands_on_a_diverged_autoencoder_has_diverged(chapter):
    broken = chapter.autoencoder("LinearAutoencoder", 4, learning_rate=1e15, epochs=5)
    student = chapter.student(chapter.labeling(chapter.embedding(broken)), share=0.9, channels=(8, 16, 16))
    run = experiments.remembered_run(student, 0)
    assert "its autoencoder" in run.diverged and set(run.scores.values()) == {None}
