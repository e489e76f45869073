"""Variational autoencoders: every estimator against an exact or independent computation on a small case."""

import math
import re
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from from_notebook import definitions
from torch.distributions import Bernoulli, Normal, kl_divergence

from mnist_ae_utils import corruptions, metrics, models, training, trainings
from mnist_ae_utils.chapter import begin
from mnist_ae_utils.runs import recall

of_chapter = definitions(
    5, "draw_codes", "kl_from_prior", "active_units", "log_bernoulli", "log_weights", "log_likelihood", "likelihood",
    "negative_bound", "fine_tuned", "frechet_distance", "SemiSupervisedVAE", "labelled_bound", "semi_supervised_loss",
    "head_start_loss", "semi_supervised",
)  # fmt: skip


@pytest.fixture
def small_vae():
    """A VAE with a one-dimensional code whose images depend on it strongly, so that the bounds are far from tight."""
    torch.manual_seed(0)
    vae = models.VariationalAutoencoder(latent_dim=1, hidden=8)
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(2)
        vae.log_variance.bias.zero_()  # wide enough to cover the exact posterior
    return vae.eval()


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(5, 1, 28, 28)


def exact_log_likelihood(vae, binary):
    """log p(x) by a fine sum over the one-dimensional code."""
    codes = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        ink = Bernoulli(vae.double().decoder(codes).flatten(1))  # (codes, 784)
        vae.float()
        log_joint = [Normal(0, 1).log_prob(codes)[:, 0] + ink.log_prob(x.flatten()).sum(1) for x in binary.double()]
        return torch.stack(log_joint).logsumexp(1) + math.log(16 / 4000)  # times the width of a step


def gaussian(mean, log_variance):
    return Normal(mean, (log_variance / 2).exp())


def seeded_binary(images, seed=0):
    torch.manual_seed(seed)
    return corruptions.binarize(images)


def test_kl_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(2, 50, 7)
    expected = kl_divergence(gaussian(mean, log_variance), Normal(0, 1))
    assert torch.allclose(training.kl_from_prior(mean, log_variance), expected, atol=1e-5)


def test_binarization_is_dynamic_and_keeps_the_mean():
    image = torch.tensor([0.0, 0.3, 1.0]).repeat(20_000, 1)
    drawn = corruptions.binarize(image)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(drawn, corruptions.binarize(image))
    assert drawn.mean(0).tolist() == pytest.approx([0, 0.3, 1], abs=0.02)


def test_the_encoder_is_the_posteriors_mean_and_the_decoder_the_probability_of_ink(small_vae, images):
    mean, log_variance = small_vae.posterior(images)
    assert mean.shape == log_variance.shape == (5, 1)
    assert torch.equal(mean, small_vae.encoder(images))
    assert torch.allclose(small_vae.logits(mean).sigmoid(), small_vae.decoder(mean).flatten(1), atol=1e-6)


def test_the_elbos_terms_are_those_of_torchs_distributions(small_vae, images):
    binary = corruptions.binarize(images)
    torch.manual_seed(3)
    log_likelihood, kl = training.elbo_terms(small_vae, binary)
    mean, log_variance = small_vae.posterior(binary)
    torch.manual_seed(3)
    codes = gaussian(mean, log_variance).rsample()
    expected = Bernoulli(small_vae.double().decoder(codes.double())).log_prob(binary.double()).flatten(1).sum(1)
    assert torch.allclose(log_likelihood.double(), expected, rtol=1e-4)
    assert torch.allclose(kl, kl_divergence(gaussian(mean, log_variance), Normal(0, 1)), atol=1e-5)


def test_the_bounds_rise_to_the_exact_likelihood(small_vae, images):
    binary = seeded_binary(images)
    elbo = metrics.elbo(small_vae, binary.repeat(100, 1, 1, 1))
    one, few, many = (
        of_chapter.log_likelihood(small_vae, binary.repeat(repeats, 1, 1, 1), k).mean().item()
        for k, repeats in ((1, 100), (10, 20), (10_000, 1))
    )
    truth = exact_log_likelihood(small_vae, binary).mean().item()
    assert elbo + 1 < few < many - 0.5 and many < truth + 0.05
    assert many == pytest.approx(truth, abs=0.05)
    assert one == pytest.approx(elbo, rel=0.03), "with one code it is the ELBO"


def test_importance_weights_are_those_of_torchs_distributions(small_vae, images):
    binary = seeded_binary(images)
    torch.manual_seed(3)
    found = of_chapter.log_weights(small_vae, binary, 7)
    mean, log_variance = small_vae.posterior(binary)
    q = gaussian(mean, log_variance)
    torch.manual_seed(3)
    codes = q.rsample((7,))  # (k, n, 1)
    ink = Bernoulli(small_vae.decoder(codes.flatten(0, 1)).unflatten(0, (7, -1)))
    expected = ink.log_prob(binary).flatten(2).sum(2) + (Normal(0, 1).log_prob(codes) - q.log_prob(codes)).sum(-1)
    # the prior's and the proposal's normalizers, sqrt(2 pi), cancel
    assert torch.allclose(found, expected, rtol=1e-4)


def test_the_estimate_does_not_depend_on_how_the_images_are_cut(small_vae, images, monkeypatch):
    expected = of_chapter.log_likelihood(small_vae, images, 10_000)
    monkeypatch.setattr(metrics, "BATCH", 30_000)  # three images at a time, and other dice
    assert torch.allclose(of_chapter.log_likelihood(small_vae, images, 10_000), expected, atol=0.3)


def test_the_loss_of_the_fine_tuning_is_the_elbo_with_one_code_and_the_estimate_with_several(small_vae, images):
    def loss(k):
        torch.manual_seed(0)
        return of_chapter.negative_bound(k)(small_vae, images.repeat(200, 1, 1, 1)).item()

    assert loss(1) == pytest.approx(-metrics.elbo(small_vae, images.repeat(200, 1, 1, 1)), rel=0.02)
    assert loss(1) > loss(5) + 0.5 > loss(50) + 0.5
    torch.manual_seed(0)
    binary = corruptions.binarize(images)
    weights = of_chapter.log_weights(small_vae, binary, 4)
    torch.manual_seed(0)
    of_loss = of_chapter.negative_bound(4)(small_vae, images)
    assert of_loss.item() == pytest.approx(-weights.double().exp().mean(0).log().mean().item(), rel=1e-5)


def test_estimates_are_reproducible_and_leave_the_random_state_alone(small_vae, images):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = metrics.elbo(small_vae, images), of_chapter.log_likelihood(small_vae, images, 5)
    assert torch.equal(torch.rand(3), expected), "else every epoch would repeat the noise of the one before"
    assert metrics.elbo(small_vae, images) == first[0] != metrics.elbo(small_vae, images, seed=1)
    assert torch.equal(of_chapter.log_likelihood(small_vae, images, 5), first[1])


def test_beta_weighs_the_divergence_and_zero_removes_it(small_vae, images):
    small_vae, images = small_vae.double(), images.double()  # the divergence is small beside the reconstruction

    def loss(beta):
        torch.manual_seed(4)
        return training.negative_elbo(beta)(small_vae, images)

    _, kl = training.elbo_terms(small_vae, seeded_binary(images, 4))
    assert (loss(3) - loss(1)).item() == pytest.approx(2 * kl.sum(1).mean().item(), rel=1e-6)
    loss(0).backward()
    without = small_vae.log_variance.bias.grad.clone()
    small_vae.zero_grad()
    torch.manual_seed(4)
    log_likelihood, _ = training.elbo_terms(small_vae, corruptions.binarize(images))
    (-log_likelihood.mean()).backward()
    assert torch.allclose(without, small_vae.log_variance.bias.grad), "only the reconstruction pulls"


def test_the_frechet_distance_is_that_of_the_matrix_square_root():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(500, 4)) @ random.normal(size=(4, 4)), random.normal(1, 2, size=(300, 4))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * scipy.linalg.sqrtm(cov_a @ cov_b))
    assert of_chapter.frechet_distance(torch.tensor(a), b) == pytest.approx(expected.real)
    assert of_chapter.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert of_chapter.frechet_distance(a, a + 3) == pytest.approx(36), "a shift adds its squared length"


def test_active_units_are_those_whose_mean_moves(images):
    vae = models.VariationalAutoencoder(latent_dim=6, hidden=8)
    with torch.no_grad():
        vae.encoder[-1].weight.mul_(100)
        vae.encoder[-1].weight[[1, 4]] *= torch.tensor([[0], [1e-3]])  # one does not move, one hardly does
    assert of_chapter.active_units(vae, images) == 4
    assert 0 < metrics.encode(vae, images).var(0)[4] < 0.01


def precise_m2():
    """An M2 whose encoder and M1 leave nothing to chance, so that its bounds can be computed class by class."""
    torch.manual_seed(0)
    m2 = of_chapter.SemiSupervisedVAE(n_inputs=3, latent_dim=2, hidden=5)
    with torch.no_grad():
        m2.encoder[-1].weight[2:] = 0
        m2.encoder[-1].bias[2:] = -40  # log variance of z
    return m2


def expected_bound(m2, x, y):
    """log p(x | y, z) + log p(y) - KL for one input and one class."""
    one_hot = torch.eye(10)[y]
    mean, log_variance = m2.encoder(torch.cat([x, one_hot])).chunk(2)
    x_mean, x_log_variance = m2.decoder(torch.cat([mean, one_hot])).chunk(2)
    kl = kl_divergence(gaussian(mean, log_variance), Normal(0, 1)).sum()
    return gaussian(x_mean, x_log_variance).log_prob(x).sum() - kl + math.log(0.1)


def test_the_semi_supervised_loss_is_the_papers():
    m2, inputs, labels = precise_m2(), torch.randn(4, 3), torch.tensor([7, 2])
    sure = torch.full_like(inputs, -40)  # log variance of x
    loss = of_chapter.semi_supervised_loss(inputs[:2], sure[:2], labels, n_images=8, label_weight=0.3)
    total = 0
    for x in inputs:
        q = m2.classifier(x).softmax(0)
        total -= sum(q[y] * (expected_bound(m2, x, y) - q[y].log()) for y in range(10)) / 4
    for x, y in zip(inputs[:2], labels, strict=True):
        total += 0.3 * -m2.classifier(x).log_softmax(0)[y] / 2 - expected_bound(m2, x, y) / 8
    assert loss(m2, inputs, sure).item() == pytest.approx(total.item(), rel=1e-4)


def test_a_labelled_bound_lies_below_the_exact_density():
    torch.manual_seed(0)
    m2, x = of_chapter.SemiSupervisedVAE(n_inputs=2, latent_dim=1, hidden=5), torch.randn(1, 2)
    with torch.no_grad():
        m2.decoder[0].weight.mul_(5)
        one_hot, codes = torch.eye(10)[[3]], torch.linspace(-8, 8, 4001)[:, None]
        mean, log_variance = m2.decoder(torch.cat([codes, one_hot.expand(4001, -1)], 1)).chunk(2, 1)
        log_joint = Normal(0, 1).log_prob(codes)[:, 0] + gaussian(mean, log_variance).log_prob(x).sum(1)
        truth = (log_joint.logsumexp(0) + math.log(16 / 4000) + math.log(0.1)).item()
        bound = of_chapter.labelled_bound(m2, x.expand(5000, -1), one_hot.expand(5000, -1)).mean().item()
    assert truth - 5 < bound < truth


@pytest.fixture
def chapter(tmp_path, monkeypatch, more_images):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return begin("05_x", "smoke", device="cpu", out=tmp_path)


def variational(chapter, *args, **settings):
    settings = {"learning_rate": 1e-2} | settings
    loss = training.negative_elbo()
    return chapter.autoencoder(models.VariationalAutoencoder, *args, loss=loss, score=metrics.elbo, **settings)


def test_variational_runs_are_scored_in_nats_and_classify(chapter):
    data, vae = chapter.data, variational(chapter, 6, hidden=32, effort=8)
    m2 = partial(of_chapter.semi_supervised, vae, data, 50, epochs=chapter.epochs(12))
    run, m2_run = recall(vae, 0), recall(m2, 0)
    images, labels = data.test.images, data.test.labels
    assert run.scores["test"] == pytest.approx(metrics.elbo(run.model, images), rel=1e-5)
    estimates = recall(partial(of_chapter.likelihood, vae, data, 30, 20), 0)
    assert estimates == pytest.approx(of_chapter.log_likelihood(run.model, images[:30], 20).cpu().numpy(), rel=1e-6)
    assert estimates.shape == (30,) and estimates.mean() > metrics.elbo(run.model, images[:30])
    tuned = recall(partial(of_chapter.fine_tuned, vae, data, 5, epochs=chapter.epochs(1)), 0)
    assert of_chapter.log_likelihood(tuned.model, images[:300], 50).mean() > (
        of_chapter.log_likelihood(run.model, images[:300], 50).mean()
    )
    assert metrics.elbo(recall(vae, 0).model, images) == run.scores["test"], "the start stays as it was"
    assert run.history.loss[-1] < run.history.loss[0] - 50
    codes = metrics.encode(run.model, images)
    assert m2_run.scores["test"] == metrics.accuracy(m2_run.model, codes, labels) > 0.3
    teacher = chapter.spread(trainings.codes, autoencoder=vae, n_labels=50)
    spread = recall(teacher, 0)
    agreement = (spread.labels == data.train.labels.numpy()).mean()
    assert agreement == pytest.approx(spread.scores["test"], abs=0.1) and agreement > 0.5
    started = recall(partial(m2, epochs=1, teacher=teacher, head_start=20), 0)
    assert started.scores["test"] == pytest.approx(agreement, abs=0.15)
    mlp = recall(chapter.on_inputs(trainings.codes, autoencoder=vae, n_labels=50), 0)
    assert mlp.scores["test"] > 0.2


def test_what_rests_on_a_diverged_vae_has_diverged(chapter):
    vae = variational(chapter, 2, hidden=8, learning_rate=1e12)
    with pytest.raises(training.Diverged) as of_vae:
        recall(vae, 0)
    for experiment in (
        partial(of_chapter.semi_supervised, vae, chapter.data, 20, epochs=1),
        partial(of_chapter.likelihood, vae, chapter.data, 30, 20),
        partial(of_chapter.fine_tuned, vae, chapter.data, 5, epochs=1),
    ):
        with pytest.raises(training.Diverged, match=re.escape(str(of_vae.value))):
            recall(experiment, 0)


def test_settings_out_of_range_are_refused(chapter, small_vae, images):
    for beta in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="use a"):
            training.negative_elbo(beta)
    with pytest.raises(ValueError, match="n_labels must be"):
        recall(partial(of_chapter.semi_supervised, variational(chapter, hidden=8), chapter.data, 0, epochs=1), 0)
