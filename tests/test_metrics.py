"""Numbers from models, codes and clusters, each against an independent computation."""

import itertools

import numpy as np
import pytest
import torch

from mnist_ae_utils import metrics, models


def test_reconstruction_error_is_the_squared_error_per_image():
    torch.manual_seed(0)
    model, images = models.DenseAutoencoder(4), torch.rand(2500, 1, 28, 28)  # more than one batch, the last one short
    with torch.no_grad():
        expected = np.square((model(images) - images).numpy()).reshape(2500, -1).sum(1).mean()
    assert metrics.reconstruction_error(model, images) == pytest.approx(expected, rel=1e-5)


def test_encode_uses_evaluation_mode():
    model, images = models.ConvAutoencoder(4, channels=(2, 2)), torch.rand(5, 1, 28, 28)
    model.train()
    together = metrics.encode(model, images)
    alone = torch.cat([metrics.encode(model, image[None]) for image in images])
    torch.testing.assert_close(together, alone)


def test_accuracy_counts_hits():
    logits = torch.eye(10)[[0, 1, 2, 3]]
    assert metrics.accuracy(torch.nn.Identity(), logits, torch.tensor([0, 1, 5, 5])) == 0.5


def test_clustering_accuracy_against_every_assignment():
    random = np.random.default_rng(0)
    labels, clusters = random.integers(0, 5, 60), random.integers(0, 5, 60)
    best = max(np.mean(np.array(p)[clusters] == labels) for p in itertools.permutations(range(5)))
    assert metrics.clustering_accuracy(labels, clusters) == pytest.approx(best)
    assert metrics.clustering_accuracy(labels, (labels + 3) % 5) == 1


def test_mutual_information_of_the_same_and_of_unrelated_clusters():
    labels = np.repeat(range(4), 50)
    assert metrics.mutual_information(labels, 3 - labels) == pytest.approx(1)
    assert metrics.mutual_information(labels, np.tile(range(4), 50)) == pytest.approx(0, abs=0.01)


def blobs(seed, centers=None):
    random = np.random.default_rng(seed)
    labels = np.repeat(range(10), 30)
    return torch.tensor(10 * np.eye(10)[labels] + random.normal(size=(300, 10))).float(), torch.tensor(labels)


def test_probes_and_clusters_on_separated_classes():
    train, test = blobs(0), blobs(1)
    assert metrics.linear_probe(*train, *test) > 0.99
    assert metrics.nearest_neighbors(*train, *test) > 0.99
    assert metrics.clustering_accuracy(test[1], metrics.cluster(test[0])) > 0.99
    shuffled = train[1][torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    assert metrics.linear_probe(train[0], shuffled, *test) < 0.3


def test_principal_angles_of_shared_and_foreign_directions():
    basis = np.eye(6)
    angles = metrics.principal_angles(basis[:, :3], basis[:, [0, 1, 5]] @ np.diag([2, 3, 1]))
    assert angles == pytest.approx([90, 0, 0], abs=1e-6)


def test_umap_is_the_same_for_the_same_seed_and_keeps_neighbors():
    codes, _ = blobs(0)
    embedding = metrics.umap_embedding(codes, seed=3)
    assert embedding.shape == (300, 2) and np.array_equal(embedding, metrics.umap_embedding(codes, seed=3))
    kept = metrics.embedding_trustworthiness(codes, embedding)
    shuffled = np.random.default_rng(0).permutation(embedding)
    assert kept > 0.8 > metrics.embedding_trustworthiness(codes, shuffled)
