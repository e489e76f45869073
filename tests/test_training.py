"""The training loop, against scikit-learn and against what must not happen silently."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from mnist_ae_utils import data, metrics, models, training


@pytest.fixture(scope="module")
def digits():
    return data.load("uci-digits")


def trained(seed, images, epochs=2):
    torch.manual_seed(seed)
    model = models.DenseAutoencoder(4, hidden=(16,))
    history = training.train(model, training.reconstruction_loss, (images,), epochs=epochs, seed=seed)
    return model, history


def test_a_linear_autoencoder_ends_at_pca(digits):
    images = digits.train.images
    pca = PCA(4).fit(images.flatten(1).numpy())
    projected = pca.inverse_transform(pca.transform(images.flatten(1).numpy()))
    pca_error = np.square(projected - images.flatten(1).numpy()).sum(1).mean()
    torch.manual_seed(0)
    model = models.LinearAutoencoder(4)
    training.train(model, training.reconstruction_loss, (images,), epochs=200, learning_rate=2e-2, batch_size=64)
    error = metrics.reconstruction_error(model, images)
    assert pca_error <= error * 1.0001, "PCA is the floor"
    assert error < 1.01 * pca_error
    angles = subspace_angles(model.decoder[0].weight.detach().numpy(), pca.components_.T)
    assert np.degrees(angles).max() < 10


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(digits):
    images = digits.train.images[:200]
    (first, first_history), (again, again_history), (other, _) = (trained(s, images) for s in (0, 0, 1))
    assert first_history.loss == again_history.loss
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_a_diverging_run_is_reported_with_the_epoch_and_the_cure(digits):
    torch.manual_seed(0)
    model = models.LinearAutoencoder(8)
    with pytest.raises(training.Diverged, match=r"epoch \d+: lower the learning rate"):
        training.train(
            model, training.reconstruction_loss, (digits.train.images,), epochs=20, learning_rate=1e12, batch_size=32
        )


@pytest.mark.parametrize(("epochs", "entries"), [(4, 4), (103, 5), (300, 10), (1200, 20)])  # of one step each
def test_a_history_has_few_entries_where_an_epoch_is_short_and_ends_with_the_last(digits, epochs, entries):
    calls = []

    def validate(model):
        assert not model.training
        calls.append(len(calls))
        return calls[-1]

    model = models.LinearAutoencoder(2)
    history = training.train(
        model, training.reconstruction_loss, (digits.train.images[:20],), epochs=epochs, validate=validate
    )
    assert history.epoch[-1] == epochs and len(history.epoch) == entries
    assert history.validation == calls and len(history.loss) == len(history.epoch)
    assert history.seconds > 0 and not model.training


def test_every_image_is_seen_once_per_epoch_and_rows_stay_together():
    inputs, labels = torch.arange(10.0)[:, None], torch.arange(10)
    seen = []

    def loss(model, x, y):
        assert len(x) in (3, 4)
        assert torch.equal(x[:, 0].long(), y)
        seen.extend(y.tolist())
        return model(x).sum()

    training.train(torch.nn.Linear(1, 1), loss, (inputs, labels), epochs=2, batch_size=4)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:], "the order is drawn anew"


def test_weight_decay_shrinks_weights_that_nothing_else_moves():
    def no_signal(model, x):
        return 0 * model(x).sum()

    norms = []
    for decay in (0.0, 1.0):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 3)
        before = model.weight.norm().item()
        training.train(model, no_signal, (torch.ones(64, 3),), epochs=50, weight_decay=decay, learning_rate=1e-2)
        norms.append(model.weight.norm().item() / before)
    assert norms[0] == pytest.approx(1) and norms[1] < 0.9


def test_losses_against_numpy():
    torch.manual_seed(0)
    images, reconstructions = torch.rand(6, 1, 28, 28), torch.rand(6, 1, 28, 28)
    expected = np.square(images.numpy() - reconstructions.numpy()).reshape(6, -1).sum(1).mean()
    assert training.squared_error(reconstructions, images).item() == pytest.approx(expected, rel=1e-5)
    logits, labels = torch.randn(6, 10), torch.arange(6)
    by_hand = -np.log(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True))[range(6), range(6)].mean()
    loss = training.classification_loss(lambda x: x, logits, labels)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_denoising_loss_shows_noise_and_asks_for_the_clean_image():
    torch.manual_seed(0)
    images, shown = torch.rand(200, 1, 28, 28), []

    def copy(x):
        shown.append(x)
        return x

    loss = training.denoising_loss(0.5)(copy, images)
    noise = shown[0] - images
    assert noise.std().item() == pytest.approx(0.5, rel=0.02) and abs(noise.mean().item()) < 0.01
    assert loss.item() == pytest.approx(784 * 0.25, rel=0.03), "a network that copies is charged the noise"


def test_the_joint_loss_adds_both_terms_and_uses_only_the_labelled_images_for_classes():
    torch.manual_seed(0)
    model = models.EncoderClassifier(models.DenseAutoencoder(4, hidden=(8,)), models.MLPClassifier(4)).eval()
    labelled, unlabelled, label = torch.rand(1, 1, 28, 28), torch.rand(9, 1, 28, 28), torch.tensor([3])
    value = training.joint_loss(labelled, label, 0.25, 16)(model, unlabelled)
    expected = training.classification_loss(model, labelled, label)
    expected = expected + 0.25 * training.squared_error(model.decoder(model.encoder(unlabelled)), unlabelled)
    torch.testing.assert_close(value, expected)


def test_a_transform_sees_every_batch_and_the_progress_of_the_training():
    seen = []

    def transform(batch, progress):
        seen.append(progress)
        return batch + 100

    def loss(model, x, y):
        assert torch.equal(x[:, 0], y + 100), "only the first tensor is transformed"
        return model(x).sum()

    training.train(
        torch.nn.Linear(1, 1), loss, (torch.arange(8.0)[:, None], torch.arange(8.0)),
        epochs=2, batch_size=2, transform=transform,
    )  # fmt: skip
    assert seen == [step / 8 for step in range(8)]
