"""Clusters, questions, pseudo-labels and students, on points whose classes are known."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from from_notebook import definitions
from scipy.stats import multivariate_normal, zscore
from sklearn.datasets import make_blobs
from sklearn.metrics import pairwise_distances

from mnist_ae_utils import few_labels, metrics, models, training
from mnist_ae_utils.chapter import begin
from mnist_ae_utils.data import Split
from mnist_ae_utils.runs import recall

chapter_6 = definitions(
    6, "fits", "mixture", "evenness", "most_probable", "by_mixture", "ask", "ask_at_random", "mend", "agreement",
    "smoothed_classification_loss", "embedding", "labeling", "mended_labeling", "opinion_of_clusters", "most_trusted",
    "student", "opinion_of_network", "mlp_on_codes",
)  # fmt: skip


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
    indices, distances = metrics.nearest_codes(codes, 5)
    expected = pairwise_distances(codes)
    assert np.array_equal(indices, expected.argsort(1)[:, :5]) and (indices[:, 0] == np.arange(50)).all()
    assert distances == pytest.approx(np.sort(expected, 1)[:, :5], abs=1e-3)


def test_ten_answers_name_ten_clusters_and_nothing_else_is_looked_at(blobs):
    points, labels = blobs
    watched = oracle(labels)
    found = few_labels.ask(points, watched, seed=0)
    assert np.concatenate([np.atleast_1d(a) for a in watched.asked]).size == 10
    assert sorted(labels[found.asked]) == list(range(10)) and not found.mended
    assert (found.labels == labels).all() and metrics.clustering_accuracy(labels, found.clusters) == 1


def test_the_most_even_of_ten_fits_has_the_classes_where_a_single_one_may_not():
    random = np.random.default_rng(0)
    centers, spread = random.uniform(-10, 10, (10, 3)), random.uniform(0.3, 1.2, 10)
    points, labels = make_blobs([100] * 10, centers=centers, cluster_std=spread, random_state=0)
    single = [few_labels.mixture(points, 10, seed, starts=1) for seed in range(12)]
    accuracy = np.array([metrics.clustering_accuracy(labels, fit.predict(points)) for fit in single])
    even, good = np.array([few_labels.evenness(fit.weights_) for fit in single]), accuracy > 0.97
    assert 0 < good.sum() < 12, "some starts fail, some do not"
    assert even[good].min() > even[~good].max(), "the sizes tell them apart"
    for seed in np.flatnonzero(~good)[:2]:
        best = few_labels.mixture(points, 10, int(seed))
        assert metrics.clustering_accuracy(labels, best.predict(points)) > 0.97


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
    monkeypatch.setattr(few_labels, "fits", lambda *_: [Fit(half), Fit(labels), Fit(half)])
    assert (few_labels.mend(points, asked, labels[asked], seed=0).labels == labels).all()


def test_where_two_digits_are_missing_nothing_is_mended(blobs):
    points, labels = blobs
    asked = np.array([np.flatnonzero(labels == d)[0] for d in (0, 0, 1, 2, 3, 4, 5, 6, 7, 7)])  # 8 and 9 never named
    assert few_labels.mend(points, asked, labels[asked], seed=0) is None


def test_where_no_digit_is_missing_nothing_is_fitted_again(blobs, monkeypatch):
    points, labels = blobs
    monkeypatch.delattr(few_labels, "fits")
    asked = np.array([np.flatnonzero(labels == d)[0] for d in range(10)])
    assert few_labels.mend(points, asked, labels[asked], seed=0) is None


def test_a_mixture_put_in_its_place_is_used_by_what_rests_on_it(blobs, monkeypatch):
    points, labels = blobs
    fitted = few_labels.mixture(points[:300], 10, seed=0)
    monkeypatch.setattr(few_labels, "mixture", lambda points, n_components, seed: fitted)
    found = few_labels.ask(points, labels, seed=0)
    assert (found.clusters == fitted.predict(points)).all()
    assert (found.asked == few_labels.most_probable(points, fitted)).all()


def test_random_questions_name_a_cluster_by_its_commonest_answer(blobs):
    points, labels = blobs
    watched = oracle(labels)
    found = chapter_6.ask_at_random(points, watched, 0, 200)
    assert (found.labels == labels).all() and len(set(found.asked)) == 200
    few = chapter_6.ask_at_random(points, labels, 0, 10)
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
def chapter(tmp_path, monkeypatch, more_images):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return begin("06_x", "smoke", "uci-digits", device="cpu")  # a mixture of so few pixels needs blurred ones


@pytest.fixture
def bad_clusters(blobs):
    """Clusters of the blobs that hold 8 and 9 together, and a 0 to ask for twice."""
    points, labels = blobs
    asked = np.array([np.flatnonzero(labels == d)[0] for d in (*range(9), 0)])
    return lambda points, seed: (np.where(labels == 9, 8, labels), asked)


def test_the_chain_from_pixels_to_a_student_and_what_more_labels_add(chapter, tmp_path):
    data = chapter.data
    points, neighbors = chapter_6.embedding(None, data, seed=0, umap=False)
    assert np.array_equal(points, data.train.images.flatten(1)) and neighbors.shape == (600, 20)
    at = partial(chapter_6.embedding, chapter.autoencoder(models.LinearAutoencoder, 16, effort=40), data, umap=False)
    taught = partial(chapter_6.labeling, at, data, ask=chapter_6.ask_at_random, n_labels=300)
    learn = partial(chapter_6.student, channels=(8, 16, 16))
    first = partial(learn, partial(chapter_6.opinion_of_clusters, taught, at), data, share=0.9, epochs=10)
    by_first = partial(chapter_6.opinion_of_network, first, data)
    second = partial(learn, by_first, data, share=1.0, epochs=20)
    informed = partial(learn, by_first, data, share=1.0, epochs=2, n_more=600)
    runs = {name: recall(experiment, 0) for name, experiment in
            {"taught": taught, "first": first, "second": second, "informed": informed}.items()}  # fmt: skip
    assert len(list((tmp_path / "cache").glob("*.run"))) == 8, "the first student is asked for its opinion once"
    assert (runs["taught"].labels == data.train.labels.numpy()).mean() > 0.5 and runs["first"].scores["test"] > 0.5
    labels, trust = recall(by_first, 0)
    assert (labels == data.train.labels.numpy()).mean() > 0.5 and 0 < trust.min() <= trust.max() <= 1
    assert runs["informed"].scores["test"] > max(0.85, runs["second"].scores["test"]), "all its labels are true"


def test_a_chain_on_some_images_clusters_labels_and_teaches_with_these_alone(chapter):
    some, encoder = chapter.data.first(200), chapter.autoencoder(models.LinearAutoencoder, 8, effort=5)
    at = partial(chapter_6.embedding, encoder, some, umap=False)
    taught = partial(chapter_6.mended_labeling, at, some)
    by_clusters = partial(chapter_6.opinion_of_clusters, taught, at)
    first = partial(chapter_6.student, by_clusters, some, share=0.9, channels=(8, 16, 16), epochs=5)
    by_first = partial(chapter_6.opinion_of_network, first, some)
    second = partial(chapter_6.student, by_first, some, share=1.0, channels=(8, 16, 16), epochs=5)
    points, neighbors = recall(at, 0)
    codes = metrics.encode(recall(encoder, 0).model, chapter.data.train.images[:200])
    assert points == pytest.approx(zscore(codes.numpy(), ddof=1), abs=1e-4) and neighbors.max() < 200
    assert recall(taught, 0).labels.shape == (200,)
    for opinion, student in ((by_clusters, first), (by_first, second)):
        assert [said.shape for said in recall(opinion, 0)] == [(200,), (200,)]
        assert 0 <= recall(student, 0).scores["test"] <= 1
    for n in (0, 10**6):
        with pytest.raises(ValueError, match="n must be between 1 and the 600 images"):
            chapter.data.first(n)


def test_what_stands_on_a_diverged_autoencoder_has_diverged(chapter):
    broken = chapter.autoencoder(models.LinearAutoencoder, 4, learning_rate=1e15, effort=5)
    at = partial(chapter_6.embedding, broken, chapter.data)
    teacher = partial(chapter_6.opinion_of_clusters, partial(chapter_6.mended_labeling, at, chapter.data), at)
    student = partial(chapter_6.student, teacher, chapter.data, share=0.9, channels=(8, 16, 16), epochs=1)
    found = chapter.run({"autoencoder": broken, "student": student}, [0])
    assert str(found["student"][0]) == str(found["autoencoder"][0]) and "the loss is" in str(found["student"][0])
    assert isinstance(found["student"][0], training.Diverged)
    assert found["student"].scores("test").isna().all() and found["student"].scores("validation").isna().all()


def test_bad_clusters_of_a_mixture_are_mended_and_those_of_the_reader_are_kept(
    chapter, blobs, bad_clusters, monkeypatch
):
    points, labels = blobs
    data = replace(chapter.data, train=Split(torch.zeros(600, 1, 28, 28), torch.from_numpy(labels)))

    def at(*, seed):
        return points, None

    clusters, asked = bad_clusters(points, 0)
    own = recall(partial(chapter_6.labeling, at, data, cluster=bad_clusters), 0)
    assert not own.mended and (own.clusters == clusters).all() and (own.asked == asked).all()
    assert (own.labels == np.where(labels == 9, 8, labels)).all()
    monkeypatch.setitem(chapter_6.ask.__globals__, "by_mixture", bad_clusters)
    mended = recall(partial(chapter_6.mended_labeling, at, data), 0)
    assert mended.mended and (mended.labels == labels).all() and (mended.asked == asked).all()
    assert not recall(partial(chapter_6.labeling, at, data), 0).mended, "the step before"


def test_labels_from_elsewhere_teach_and_stay_as_they_were(chapter):
    data, n = chapter.data, len(chapter.data.train)
    true, trust = data.train.labels.numpy(), np.linspace(1, 0, n)
    said = np.where(trust > 0.5, true, (true + 1) % 10)  # wrong where it is not trusted

    def elsewhere(*, seed):
        return said, trust

    before, learn = said.copy(), partial(chapter_6.student, elsewhere, data, channels=(8, 16, 16))
    more = learn(seed=0, share=1.0, epochs=2, n_more=n // 2).scores["test"]
    assert np.array_equal(said, before) and trust.max() == 1
    half, all_of_them = (recall(partial(learn, share=share, epochs=10), 0).scores["test"] for share in (0.5, 1.0))
    assert half > 0.5 and half > all_of_them + 0.1, "the half that is right is learned alone"
    assert more > all_of_them + 0.1, "those trusted least are asked for"


def test_a_student_sees_distorted_images_and_its_loss_can_be_another(chapter, monkeypatch):
    data, strengths = chapter.data, []

    def distort(images, strength):
        strengths.append(strength)
        return images

    def teacher(*, seed):
        return data.train.labels.numpy(), np.ones(len(data.train), dtype=int)

    def loss(model, images, labels):
        return training.classification_loss(model, images, labels)

    monkeypatch.setattr("mnist_ae_utils.corruptions.distort", distort)
    learn = partial(chapter_6.student, teacher, data, seed=0, share=0.9, channels=(8, 16, 16), epochs=1)
    smoothed, weak, plain = learn(), learn(distortion=0.5), learn(loss=loss)
    assert strengths == [1.0] * 5 + [0.5] * 5 + [1.0] * 5, "540 images make five batches"
    assert smoothed.history.loss == weak.history.loss != plain.history.loss


def test_an_mlp_learns_the_most_trusted_labels_from_the_codes(chapter):
    data = chapter.data
    encoder = chapter.autoencoder(models.ConvAutoencoder, 8, channels=(4, 8), effort=10)
    true, trust = data.train.labels.numpy(), np.linspace(1, 0, len(data.train))

    def teacher(*, seed):
        return np.where(trust > 0.5, true, 0), trust

    learn = partial(chapter_6.mlp_on_codes, teacher, encoder, data, epochs=40)
    half, whole = (recall(partial(learn, share=share), 0) for share in (0.5, 1.0))
    assert half.scores["test"] > 0.5 and half.scores["test"] > whole.scores["test"] + 0.1
    codes = metrics.encode(recall(encoder, 0).model, data.test.images)
    assert metrics.accuracy(half.model, codes, data.test.labels) == half.scores["test"]
