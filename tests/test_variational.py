"""Variational autoencoders: every estimator against an exact or independent computation on a small case."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from mnist_ae_utils import data, evaluation, experiments, models, training


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
    return data.binarize(images)


def test_kl_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(2, 50, 7)
    expected = kl_divergence(gaussian(mean, log_variance), Normal(0, 1))
    assert torch.allclose(training.kl_from_prior(mean, log_variance), expected, atol=1e-5)


def test_binarization_is_dynamic_and_keeps_the_mean():
    image = torch.tensor([0.0, 0.3, 1.0]).repeat(20_000, 1)
    drawn = data.binarize(image)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(drawn, data.binarize(image))
    assert drawn.mean(0).tolist() == pytest.approx([0, 0.3, 1], abs=0.02)


def test_the_encoder_is_the_posteriors_mean_and_the_decoder_the_probability_of_ink(small_vae, images):
    mean, log_variance = small_vae.posterior(images)
    assert mean.shape == log_variance.shape == (5, 1)
    assert torch.equal(mean, small_vae.encoder(images))
    assert torch.allclose(small_vae.logits(mean).sigmoid(), small_vae.decoder(mean).flatten(1), atol=1e-6)


def test_the_elbos_terms_are_those_of_torchs_distributions(small_vae, images):
    binary = data.binarize(images)
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
    elbo = evaluation.elbo(small_vae, binary.repeat(100, 1, 1, 1))
    one, few, many = (
        evaluation.log_likelihood(small_vae, binary.repeat(repeats, 1, 1, 1), k).mean().item()
        for k, repeats in ((1, 100), (10, 20), (10_000, 1))
    )
    truth = exact_log_likelihood(small_vae, binary).mean().item()
    assert elbo + 1 < few < many - 0.5 and many < truth + 0.05
    assert many == pytest.approx(truth, abs=0.05)
    assert one == pytest.approx(elbo, rel=0.03), "with one code it is the ELBO"


def test_the_estimate_does_not_depend_on_how_the_codes_are_cut(small_vae, images, monkeypatch):
    expected = evaluation.log_likelihood(small_vae, images, 70)
    monkeypatch.setattr(evaluation, "BATCH", 32)
    assert torch.allclose(evaluation.log_likelihood(small_vae, images, 70), expected, rtol=1e-5)


def test_estimates_are_reproducible_and_leave_the_random_state_alone(small_vae, images):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = evaluation.elbo(small_vae, images), evaluation.log_likelihood(small_vae, images, 5)
    assert torch.equal(torch.rand(3), expected), "else every epoch would repeat the noise of the one before"
    assert evaluation.elbo(small_vae, images) == first[0] != evaluation.elbo(small_vae, images, seed=1)
    assert torch.equal(evaluation.log_likelihood(small_vae, images, 5), first[1])


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
    log_likelihood, _ = training.elbo_terms(small_vae, data.binarize(images))
    (-log_likelihood.mean()).backward()
    assert torch.allclose(without, small_vae.log_variance.bias.grad), "only the reconstruction pulls"


def test_the_frechet_distance_is_that_of_the_matrix_square_root():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(500, 4)) @ random.normal(size=(4, 4)), random.normal(1, 2, size=(300, 4))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * scipy.linalg.sqrtm(cov_a @ cov_b))
    assert evaluation.frechet_distance(torch.tensor(a), b) == pytest.approx(expected.real)
    assert evaluation.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert evaluation.frechet_distance(a, a + 3) == pytest.approx(36), "a shift adds its squared length"


def test_active_units_are_those_whose_mean_moves(images):
    vae = models.VariationalAutoencoder(latent_dim=6, hidden=8)
    with torch.no_grad():
        vae.encoder[-1].weight.mul_(100)
        vae.encoder[-1].weight[[1, 4]] = 0
    assert evaluation.active_units(vae, images) == 4


def precise_m2():
    """An M2 whose encoder and M1 leave nothing to chance, so that its bounds can be computed class by class."""
    torch.manual_seed(0)
    m2 = models.SemiSupervisedVAE(n_inputs=3, latent_dim=2, hidden=5)
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
    loss = training.semi_supervised_loss(inputs[:2], sure[:2], labels, n_images=8, label_weight=0.3)
    total = 0
    for x in inputs:
        q = m2.classifier(x).softmax(0)
        total -= sum(q[y] * (expected_bound(m2, x, y) - q[y].log()) for y in range(10)) / 4
    for x, y in zip(inputs[:2], labels, strict=True):
        total += 0.3 * -m2.classifier(x).log_softmax(0)[y] / 2 - expected_bound(m2, x, y) / 8
    assert loss(m2, inputs, sure).item() == pytest.approx(total.item(), rel=1e-4)


def test_a_labelled_bound_lies_below_the_exact_density():
    torch.manual_seed(0)
    m2, x = models.SemiSupervisedVAE(n_inputs=2, latent_dim=1, hidden=5), torch.randn(1, 2)
    with torch.no_grad():
        m2.decoder[0].weight.mul_(5)
        one_hot, codes = torch.eye(10)[[3]], torch.linspace(-8, 8, 4001)[:, None]
        mean, log_variance = m2.decoder(torch.cat([codes, one_hot.expand(4001, -1)], 1)).chunk(2, 1)
        log_joint = Normal(0, 1).log_prob(codes)[:, 0] + gaussian(mean, log_variance).log_prob(x).sum(1)
        truth = (log_joint.logsumexp(0) + math.log(16 / 4000) + math.log(0.1)).item()
        bound = training.labelled_bound(m2, x.expand(5000, -1), one_hot.expand(5000, -1)).mean().item()
    assert truth - 5 < bound < truth


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return experiments.begin("05_x", "smoke", device="cpu")


def test_variational_runs_are_scored_in_nats_and_classify(chapter):
    recipe = chapter.variational(6, hidden=32, epochs=8, likelihood_images=30, k=20)
    m2 = chapter.semi_supervised(recipe, 50, epochs=12)
    run, m2_run = (experiments.remembered_run(r, 0) for r in (recipe, m2))
    test = chapter.data.test
    assert run.scores["test"] == pytest.approx(evaluation.elbo(run.model(), test.images), rel=1e-5)
    assert run.scores["log_likelihood"] > evaluation.elbo(run.model(), test.images[:30])
    assert run.history.loss[-1] < run.history.loss[0] - 50
    codes = evaluation.encode(run.model(), test.images)
    assert m2_run.scores["test"] == evaluation.accuracy(m2_run.model(), codes, test.labels) > 0.3
    mlp = experiments.remembered_run(chapter.classifier("codes", recipe, n_labels=50), 0)
    assert mlp.scores["test"] > 0.2


def test_m2_on_a_diverged_m1_has_diverged(chapter):
    recipe = chapter.variational(2, hidden=8, learning_rate=1e12)
    run = experiments.remembered_run(chapter.semi_supervised(recipe, 20), 0)
    assert run.diverged.startswith("its variational autoencoder")


def test_settings_out_of_range_are_refused(chapter):
    for make in (lambda: chapter.variational(beta=-1), lambda: chapter.variational(k=0),
                 lambda: chapter.semi_supervised(chapter.variational(), 0)):  # fmt: skip
        with pytest.raises(ValueError, match="use a"):
            make()
