# %% [markdown]
# # Exercises to chapter 5: a code with a probability
#
# Read [chapter 5](../05_variational_autoencoder.ipynb) first; what these exercises need of it is defined anew below,
# so that this notebook runs by itself. For each, write the function asked for, run its cell, and run the check below
# it, whose code is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set
# and profile; nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or
# you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_ae_utils import checks, corruptions, metrics, models, plots, training
from mnist_ae_utils.chapter import begin

chapter = begin("05_exercises", profile, dataset, device=device)
train = chapter.data.train.first(min(2_000, len(chapter.data.train)))  # enough for what is asked here
validation = chapter.data.validation.first(min(500, len(chapter.data.validation)))

# %% [markdown]
# A small variational autoencoder is trained on these images, with a code of eight numbers.


# %%
def trained_vae(latent_dim, passes):
    torch.manual_seed(0)
    vae = models.VariationalAutoencoder(latent_dim, hidden=100).to(chapter.device)
    training.train(vae, training.negative_elbo(), (train.images,), epochs=passes, batch_size=64, learning_rate=1e-2)
    return vae


vae = trained_vae(8, 20)
torch.manual_seed(0)
binary = corruptions.binarize(validation.images)  # (n, 1, 28, 28), each pixel 0 or 1
print(f"ELBO of the validation images: {metrics.elbo(vae, validation.images):.1f} nats")

# %% [markdown]
# ## 5.1 A bound that can be tight
#
# *compute, 25 min, hard*
#
# For a network $\log p(x)$ is out of reach. Here is a model for which it is not: a code of one number, $z \sim N(0,
# 1)$, and an image of one pixel, $x \sim N(w z, s)$, where $s$ is the *variance* of the noise. The encoder proposes
# $q(z \mid x) = N(m, v)$, $v$ its variance. Find by pencil the ELBO as a formula without any drawing, and the mean and
# the variance of the true posterior $p(z \mid x)$. (The mean of $(x - w z)^2$ over $q$ is more than $(x - w m)^2$. The
# logarithm of $p(x \mid z)\, p(z)$ is a parabola in $z$: where is its top, how narrow is it?) What is left between the
# ELBO and $\log p(x)$ if $q$ is the posterior? The check tells.


# %% tags=["answer"]
def elbo(x, w, s, m, v):
    """The evidence lower bound on log p(x) in nats, a number, for the proposal N(m, v)."""
    ### BEGIN SOLUTION
    log_likelihood = -(math.log(2 * math.pi * s) + ((x - w * m) ** 2 + w**2 * v) / s) / 2
    return log_likelihood - (m**2 + v - math.log(v) - 1) / 2
    ### END SOLUTION


def posterior(x, w, s):
    """Mean and variance of p(z | x): two numbers."""
    ### BEGIN SOLUTION
    return w * x / (w**2 + s), s / (w**2 + s)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.1", elbo, posterior):
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)  # a mean over N(0, 1), exact for polynomials
    weights = weights / weights.sum()
    for x, w, s, m, v in ((0.0, 1.0, 1.0, 0.0, 1.0), (2.0, 1.5, 0.3, 0.4, 0.2), (-1.0, 3.0, 2.0, -0.5, 0.7)):
        at = f"x = {x}, w = {w}, s = {s}, m = {m}, v = {v}"

        def normal(y, mean, variance):
            return -(np.log(2 * np.pi * variance) + (y - mean) ** 2 / variance) / 2

        z = m + math.sqrt(v) * nodes
        kl = float(weights @ (normal(z, m, v) - normal(z, 0.0, 1.0)))
        right = float(weights @ normal(x, w * z, s)) - kl
        constant = math.log(2 * math.pi) / 2
        checks.close(
            checks.number(elbo(x, w, s, m, v), "The ELBO"),
            right,
            f"The ELBO is not right for {at}.",
            {
                "Your code is always at its mean: the variance v makes the reconstruction worse, too.":
                    float(normal(x, w * m, s)) - kl,
                "A logarithm of 2 pi is lost: that of the normalizer of p(x | z).": right + constant,
                "The normalizer of p(x | z) is lost: the logarithm of 2 pi s, halved.":
                    right + constant + math.log(s) / 2,
                "The divergence should be taken away: a code that says more costs.": right + 2 * kl,
                "That is the reconstruction term alone.": right + kl,
                "That is the negative of it.": -right,
            },
            relative=1e-6,
        )  # fmt: skip
        answer = posterior(x, w, s)
        checks.several(answer, 2, "Return two numbers: mean and variance.")
        mean = checks.number(answer[0], "The posterior's mean")
        variance = checks.number(answer[1], "The posterior's variance", 0, 1)
        grid = np.linspace(-12, 12, 40_001)
        joint = np.exp(normal(x, w * grid, s) + normal(grid, 0.0, 1.0))
        joint /= joint.sum()
        true_mean = float(joint @ grid)
        true_variance = float(joint @ (grid - true_mean) ** 2)
        checks.close(
            mean,
            true_mean,
            f"The posterior's mean is not right for {at}.",
            {"That is the code which explains x best; the prior draws it towards 0.": x / w},
        )
        checks.close(
            variance,
            true_variance,
            f"The posterior's variance is not right for {at}.",
            {"That is its standard deviation.": math.sqrt(true_variance),
             "That is what x alone says; the prior narrows it further.": s / w**2},
        )  # fmt: skip
        evidence = float(normal(x, 0.0, w**2 + s))
        gaps = [evidence - checks.number(elbo(x, w, s, *of), "The ELBO") for of in ((m, v), (mean, variance))]
        print(f"{at}: log p(x) {evidence:.3f}; the ELBO is {gaps[0]:.3f} lower, "
              f"with the posterior as q {abs(gaps[1]):.3f}")  # fmt: skip


# %% tags=["also-right"]
def elbo(x, w, s, m, v):  # log p(x) minus the divergence of q from the posterior
    mean, variance = posterior(x, w, s)
    evidence = -math.log(2 * math.pi * (w**2 + s)) / 2 - x**2 / (w**2 + s) / 2
    return torch.tensor([evidence - (math.log(variance / v) + (v + (m - mean) ** 2) / variance - 1) / 2]).double()


def posterior(x, w, s):
    precision = 1 + w**2 / s
    return [w * x / s / precision, 1 / precision]


# %% tags=["wrong"]
def elbo(x, w, s, m, v):  # the code is not drawn
    return -(math.log(2 * math.pi * s) + (x - w * m) ** 2 / s) / 2 - (m**2 + v - math.log(v) - 1) / 2


# %% tags=["wrong"]
def elbo(x, w, s, m, v):  # the normalizer is lost
    return -((x - w * m) ** 2 + w**2 * v) / s / 2 - (m**2 + v - math.log(v) - 1) / 2


# %% tags=["wrong"]
def posterior(x, w, s):  # without the prior
    return x / w, s / (w**2 + s)


# %% tags=["wrong"]
def posterior(x, w, s):  # a standard deviation
    return w * x / (w**2 + s), math.sqrt(s / (w**2 + s))


# %% [markdown] tags=["in-words"]
# Nothing is left: the gap is the divergence of $q$ from the posterior. Here the posterior is a Gaussian, so an encoder
# can hit it. A decoder with hidden layers has posteriors of other shapes, and then no Gaussian closes the gap.

# %% [markdown]
# ## 5.2 Two ways past the die
#
# *compute, 20 min, medium*
#
# With $z \sim N(\mu, \sigma^2)$, which way does the mean of $f(z) = z^2$ change with $\mu$ and with $\sigma$? Two
# estimates of this gradient, each from one code $z = \mu + \sigma \epsilon$. The *reparameterization trick* moves the
# code: it takes the derivatives of $f(\mu + \sigma \epsilon)$, with $\epsilon$ held fast. The *score function* leaves
# the code where it is, and asks how much more often it would be drawn: $f(z)$ times the derivatives of $\log q(z)$,
# with $z$ held fast. Find both by pencil. Both are right on average; which would you rather train with?


# %% tags=["answer"]
def reparameterized(mu, sigma, epsilon):
    """Estimates of the derivative by mu and of that by sigma, from each of `epsilon` (n,): two tensors (n,)."""
    ### BEGIN SOLUTION
    z = mu + sigma * epsilon
    return 2 * z, 2 * z * epsilon
    ### END SOLUTION


def by_score(mu, sigma, epsilon):
    """The same from the score function: two tensors (n,)."""
    ### BEGIN SOLUTION
    z = mu + sigma * epsilon
    return z**2 * epsilon / sigma, z**2 * (epsilon**2 - 1) / sigma
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.2", reparameterized, by_score):
    torch.manual_seed(0)
    for mu, sigma in ((1.5, 0.5), (-0.7, 2.0)):
        epsilon = torch.randn(20_000).double()
        ends = [torch.full_like(epsilon, value).requires_grad_() for value in (mu, sigma)]
        moved = ends[0] + ends[1] * epsilon
        held = moved.detach()
        score = torch.distributions.Normal(*ends).log_prob(held)
        right = {
            "reparameterized": torch.autograd.grad(moved.square().sum(), ends),
            "by_score": [held**2 * of for of in torch.autograd.grad(score.sum(), ends)],
        }
        for (name, expected), function in zip(right.items(), (reparameterized, by_score), strict=True):
            answer = function(mu, sigma, epsilon)
            checks.several(answer, 2, f"{name} should return two tensors.")
            for end, found, of, value in zip(("mu", "sigma"), answer, expected, (2 * mu, 2 * sigma), strict=True):
                what = f"{name}: the derivative by {end}"
                checks.tensor(found, what, (len(epsilon),))
                checks.close(
                    found,
                    of,
                    f"{what} is not right for mu = {mu}, sigma = {sigma}.",
                    {
                        f"{what}: that is the true value, which nobody knows in training. Estimate it from each code.":
                            torch.full_like(of, value),
                        f"{what}: sigma multiplies epsilon in z, so epsilon comes in by the chain rule.": 2 * held,
                        f"{what} lacks the factor f(z).": of / held**2,
                        f"{what}: log q(z) also holds - log sigma, which has a derivative.": of + held**2 / sigma,
                        f"{what}: the derivative of log q(z) by mu is epsilon over sigma.": of * sigma,
                    },
                )  # fmt: skip
                mean, spread = found.mean().item(), found.std().item()
                print(f"mu {mu:g}, sigma {sigma:g}; {what}: {mean:.2f} (true: {value:g}), spread {spread:.2f}")


# %% tags=["also-right"]
def reparameterized(mu, sigma, epsilon):
    by_mu = 2 * mu + 2 * sigma * epsilon
    return [by_mu, epsilon * by_mu]


def by_score(mu, sigma, epsilon):
    z = torch.addcmul(torch.full_like(epsilon, mu), epsilon, torch.full_like(epsilon, sigma))
    by_mu = z.square() * (z - mu) / sigma**2
    return by_mu, by_mu * epsilon - z.square() / sigma


# %% tags=["wrong"]
def reparameterized(mu, sigma, epsilon):  # the mean itself
    return torch.full_like(epsilon, 2 * mu), torch.full_like(epsilon, 2 * sigma)


# %% tags=["wrong"]
def reparameterized(mu, sigma, epsilon):  # without the chain rule
    z = mu + sigma * epsilon
    return 2 * z, 2 * z


# %% tags=["wrong"]
def by_score(mu, sigma, epsilon):  # the normalizer of q is forgotten
    z = mu + sigma * epsilon
    return z**2 * epsilon / sigma, z**2 * epsilon**2 / sigma


# %% tags=["wrong"]
def by_score(mu, sigma, epsilon):  # the score alone
    return epsilon / sigma, (epsilon**2 - 1) / sigma


# %% [markdown] tags=["in-words"]
# The score function hears of $f$ only by its value, and has to find out from many codes where it rises; so its
# estimates scatter much more. The reparameterized one uses the slope of $f$ at the code, as a decoder can give it. The
# score function needs no slope, and so is what is left where the code is discrete.

# %% [markdown]
# ## 5.3 A loss with three mistakes
#
# *debug, 20 min, medium*
#
# This is meant to be the negative ELBO of a batch of gray images. It runs, it trains, and it has three mistakes. Find
# them, and write it anew without them. (What is an image that this likelihood can be given to? What does
# `log_variance` have to do with the width of a Gaussian? Over what is the divergence summed, over what is it
# averaged?)


# %% tags=["given"]
def broken_loss(vae, images):
    mean, log_variance = vae.posterior(images)
    codes = mean + log_variance * torch.randn_like(mean)
    logits, pixels = vae.logits(codes), images.flatten(1)
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(1)
    divergence = (mean.square() + log_variance.exp() - log_variance - 1) / 2
    return (divergence.mean(1) - log_likelihood).mean()


# %% tags=["answer"]
def loss(vae, images):
    """The negative ELBO in nats per image, a scalar tensor: images (n, 1, 28, 28) binarized anew, one code for each.

    `vae.posterior(binary_images)` returns mean and log variance (n, latent_dim), `vae.logits(codes)` log odds (n, 784).
    """
    ### BEGIN SOLUTION
    pixels = corruptions.binarize(images)
    mean, log_variance = vae.posterior(pixels)
    codes = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    logits = vae.logits(codes)
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, pixels.flatten(1), reduction="none").sum(1)
    divergence = (mean.square() + log_variance.exp() - log_variance - 1) / 2
    return (divergence.sum(1) - log_likelihood).mean()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.3", loss):

    class Witness(nn.Module):
        """Remembers what it is asked; its decoder knows the image that its encoder was shown, almost for sure."""

        mean = torch.tensor([1.0, -2.0, 0.0, 0.5], device=chapter.device)
        log_variance = torch.tensor([-2.0, 0.5, 1.5, -1.0], device=chapter.device)

        def posterior(self, images):
            self.shown = images
            return self.mean.expand(len(images), -1), self.log_variance.expand(len(images), -1)

        def logits(self, codes):
            self.codes = codes
            return 8 * self.shown.flatten(1) - 4

    torch.manual_seed(0)
    gray, witness = torch.full((2_000, 1, 28, 28), 0.3).to(chapter.device), Witness()
    value = loss(witness, gray)
    checks.tensor(value, "The loss", ())
    shown, codes = witness.shown, witness.codes
    checks.require(
        set(shown.unique().tolist()) <= {0.0, 1.0},
        "The encoder is shown gray pixels. Each has to be drawn as ink or paper first.",
    )
    checks.require(
        abs(shown.mean().item() - 0.3) < 0.01,
        "Pixels that are ink by 0.3 should be drawn as ink three times of ten: by chance, not by a threshold.",
    )
    checks.require(codes.shape == (2_000, 4), "Draw one code for each image.")
    offsets = codes - witness.mean
    checks.require(offsets.std(0).min() > 1e-3, "The codes are not drawn: they are all at their means.")
    width, wide = offsets.std(0), witness.log_variance
    for hint, of in (("The codes have the variance where a standard deviation belongs.", wide.exp()),
                     ("The codes have the log variance where a standard deviation belongs.", wide.abs()),
                     ("The codes scatter by the root of the log variance.", wide.abs().sqrt())):  # fmt: skip
        checks.require(not torch.allclose(width, of, rtol=0.1), hint)
    checks.require(
        torch.allclose(width, (wide / 2).exp(), rtol=0.1) and offsets.mean(0).abs().max() < 0.2,
        "The codes should scatter around their means with the standard deviation that belongs to `log_variance`.",
    )
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(witness.mean, (wide / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    known = 784 * math.log1p(math.exp(-4))  # what the decoder leaves to say, if it is asked about the image shown
    # two drawings of a pixel differ in 2 x 0.3 x 0.7 of all cases, each of which costs 4 nats, the log odds
    others = known + 784 * 4 * 2 * 0.3 * 0.7
    total, mean = divergence.sum().item(), divergence.mean().item()
    checks.close(
        value,
        known + total,
        "What the encoder is shown and the codes are right, but the loss is not: add both terms, each summed over its "
        "dimensions, and average over images.",
        {
            "The divergence is averaged over the dimensions of the code. The bound has their sum.": known + mean,
            "The likelihood is averaged over the pixels. The bound has their sum.": known / 784 + total,
            "Encoder and likelihood should have one and the same binary image: binarize once.": others + total,
            "The divergence has the wrong sign: it is a cost.": known - total,
            "That is the reconstruction term alone.": known,
        },
        relative=5e-3,
    )
    loss(witness, gray)
    checks.require(not torch.equal(shown, witness.shown), "It binarizes the images in the same way each time.")


# %% tags=["also-right"]
def loss(vae, images):
    log_likelihood, divergence = training.elbo_terms(vae, torch.bernoulli(images))
    return divergence.sum(1).mean() - log_likelihood.mean()


# %% tags=["also-right"]
def loss(vae, images):
    shown = (torch.rand_like(images) < images).float()
    mean, log_variance = vae.posterior(shown)
    q = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    ink = torch.distributions.Bernoulli(logits=vae.logits(q.rsample()))
    divergence = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    return -(ink.log_prob(shown.flatten(1)).sum() - divergence.sum()) / len(images)


# %% tags=["wrong"]
loss = broken_loss


# %% tags=["wrong"]
def loss(vae, images):  # the log variance as a width
    pixels = corruptions.binarize(images)
    mean, log_variance = vae.posterior(pixels)
    logits = vae.logits(mean + log_variance * torch.randn_like(mean))
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, pixels.flatten(1), reduction="none").sum(1)
    return (training.kl_from_prior(mean, log_variance).sum(1) - log_likelihood).mean()


# %% tags=["wrong"]
def loss(vae, images):  # averaged over dimensions
    log_likelihood, divergence = training.elbo_terms(vae, corruptions.binarize(images))
    return (divergence.mean(1) - log_likelihood).mean()


# %% tags=["wrong"]
def loss(vae, images):  # a threshold is no chance
    log_likelihood, divergence = training.elbo_terms(vae, (images > 0.5).float())
    return (divergence.sum(1) - log_likelihood).mean()


# %% tags=["wrong"]
def loss(vae, images):  # binarized twice
    mean, log_variance = vae.posterior(corruptions.binarize(images))
    logits = vae.logits(training.draw_codes(mean, log_variance))
    pixels = corruptions.binarize(images).flatten(1)
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(1)
    return (training.kl_from_prior(mean, log_variance).sum(1) - log_likelihood).mean()


# %% tags=["wrong"]
def loss(vae, images):  # the variance as a width
    pixels = corruptions.binarize(images)
    mean, log_variance = vae.posterior(pixels)
    logits = vae.logits(mean + log_variance.exp() * torch.randn_like(mean))
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, pixels.flatten(1), reduction="none").sum(1)
    return (training.kl_from_prior(mean, log_variance).sum(1) - log_likelihood).mean()


# %% [markdown] tags=["in-words"]
# None of the three stops the training. The likelihood is a probability of ink or paper: for a gray pixel the formula
# still gives a number, but one that bounds no image's probability. A divergence that is averaged is one that is weighed
# by a small beta: the reconstructions look better than they should, and new images worse. A negative width scatters as
# a positive one does, so nothing complains; but a log variance near 0, which should mean the prior's width, means no
# noise at all.

# %% [markdown]
# ## 5.4 Twice as many numbers
#
# *predict, 20 min, medium*
#
# A VAE whose code has 24 numbers uses some of them; the others are idle. Give it 48 and train it as long. What becomes
# of the number of those in use? Say so first. Then write how they are counted: a dimension is in use if it says
# something, that is, if its divergence from the prior, averaged over the images, is above a threshold in nats. The
# check trains both networks.


# %% tags=["answer"]
def predicted():
    """What becomes of the dimensions in use: "about twice as many", "hardly any more", or "fewer"."""
    ### BEGIN SOLUTION
    return "hardly any more"
    ### END SOLUTION


def in_use(vae, binary_images, threshold=0.1):
    """How many dimensions of the code have a mean divergence from the prior above `threshold` nats: an int.

    `vae.posterior(binary_images)` returns mean and log variance, each (n, latent_dim).
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        divergence = training.kl_from_prior(*vae.posterior(binary_images))
    return int((divergence.mean(0) > threshold).sum())
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.4", predicted, in_use):
    options = "about twice as many", "hardly any more", "fewer"
    checks.option(predicted(), options)

    class Stated(nn.Module):
        """Its posteriors are given: nine dimensions, some of which speak of single images only, or by their width."""

        def posterior(self, images):
            n = len(images)
            mean, log_variance = torch.zeros(n, 9), torch.zeros(n, 9)
            mean[:, 0] = torch.linspace(-2, 2, n)
            mean[: n // 10, 1] = 1.0  # 0.05 nats: loud for a few, silent on average
            mean[: n // 2, 2] = 1.0  # 0.25 nats
            mean[:, 3] = 1.5  # the same for each image, and not the prior's
            log_variance[:, 4] = -1.5  # narrower than the prior
            mean[:, 5] = torch.linspace(-0.4, 0.4, n)  # varies by more than 0.01, but 0.03 nats
            mean[: n // 3, 6], log_variance[: n // 3, 6] = 3.0, -2.0
            log_variance[:, 7] = -1.0
            return mean.to(images.device), log_variance.to(images.device)

    found = checks.number(in_use(Stated(), binary), "The number of dimensions", 0)
    checks.require(found == int(found), "A number of dimensions is a whole one.")
    mean, log_variance = (of.cpu() for of in Stated().posterior(binary))
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    nats = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    right = int((nats.mean(0) > 0.1).sum())
    checks.close(
        found,
        right,
        f"Of nine dimensions that the check made up, {right} say more than 0.1 nats on average.",
        {
            "That counts dimensions whose mean varies. A dimension can also speak by its width.":
                (mean.var(0) > 0.01).sum(),
            "That counts dimensions that say enough of some image. Average over the images first.":
                (nats > 0.1).any(0).sum(),
            "That is a number for each image, not for each dimension: average over the images.": (nats > 0.1).sum(),
            "That counts the idle ones.": 9 - right,
        },
    )  # fmt: skip
    checks.require(in_use(Stated(), binary, 1.0) == int((nats.mean(0) > 1.0).sum()), "It does not heed the threshold.")
    counts = {}
    for d in (24, 48):
        wide = trained_vae(d, 5 * chapter.budget["epochs"])
        counts[d] = in_use(wide, binary)
        print(f"{d} numbers: {counts[d]} in use, ELBO {metrics.elbo(wide, validation.images):.1f} nats")
    ratio = counts[48] / max(counts[24], 1)
    it = options[0] if ratio > 1.5 else options[2] if ratio < 0.8 else options[1]
    print(f"It is {it}; you said {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "fewer"


def in_use(vae, binary_images, threshold=0.1):
    mean, log_variance = metrics.in_batches(lambda x: torch.stack(vae.posterior(x), 1), binary_images).unbind(1)
    nats = 0.5 * (mean**2 + torch.expm1(log_variance) - log_variance)
    return sum(value > threshold for value in nats.mean(0).tolist())


# %% tags=["wrong"]
def in_use(vae, binary_images, threshold=0.1):  # active by the mean's variance
    return int((vae.posterior(binary_images)[0].var(0) > 0.01).sum())


# %% tags=["wrong"]
def in_use(vae, binary_images, threshold=0.1):  # not averaged over images
    return int((training.kl_from_prior(*vae.posterior(binary_images)) > threshold).any(0).sum())


# %% tags=["wrong"]
def in_use(vae, binary_images, threshold=0.1):  # the threshold is typed in
    return int((training.kl_from_prior(*vae.posterior(binary_images)).mean(0) > 0.1).sum())


# %% tags=["wrong"]
def predicted():
    return "twice"


# %% [markdown] tags=["in-words"]
# How many dimensions are worth their price is decided by the images and the decoder, not by how many there are to
# choose from: a further one has to save more nats of reconstruction than it costs. (After a very short training, idle
# ones have not fallen silent yet.) A plain autoencoder, to which codes cost nothing, uses as many as it is given.

# %% [markdown]
# ## 5.5 From the ELBO to the likelihood
#
# *change, 20 min, medium*
#
# With $k$ codes an image, the bound is the logarithm of the *mean* of $k$ importance weights. Given are the logarithms
# of `K` weights for each of `n` images, a tensor `(K, n)`. Estimate the bound of every smaller $k$ from the same codes:
# cut them into groups of $k$ consecutive rows, so that the first group is the first $k$ rows, take the bound of each
# group, and average over groups and images. The weights themselves are numbers such as $e^{-200}$, which single
# precision does not know; so mind how their mean is taken. Why can the result only rise, if $k$ is doubled?


# %% tags=["given"]
def log_weights(vae, binary_images, n_codes):
    """log p(x, z) - log q(z | x) in nats (n_codes, n), for codes drawn from q(z | x)."""
    with torch.no_grad():
        mean, log_variance = vae.posterior(binary_images)
        codes = training.draw_codes(mean.expand(n_codes, -1, -1), log_variance)  # (n_codes, n, latent_dim)
        log_prior, log_q = -codes.square() / 2, -((codes - mean) ** 2 / log_variance.exp() + log_variance) / 2
        logits = vae.logits(codes.flatten(0, 1)).unflatten(0, (n_codes, -1))
        pixels = binary_images.flatten(1).expand_as(logits)
        log_likelihood = -F.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(-1)
    return log_likelihood + (log_prior - log_q).sum(-1)


# %% tags=["answer"]
def bound(log_weights, k):
    """The bound of `k` codes in nats, a number: the mean over groups of k consecutive rows and over images.

    `log_weights` is a tensor (K, n), where K is a multiple of k.
    """
    ### BEGIN SOLUTION
    groups = log_weights.unflatten(0, (-1, k))  # (K / k, k, n)
    largest = groups.amax(1, keepdim=True)
    return (largest.squeeze(1) + (groups - largest).exp().mean(1).log()).mean().item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.5", bound):
    torch.manual_seed(0)
    near = torch.randn(12, 30) * 2
    exact = near.double().exp()
    for k in (1, 3, 12):
        right = exact.unflatten(0, (-1, k)).mean(1).log().mean().item()
        checks.close(
            checks.number(bound(near.to(chapter.device), k), f"The bound with k = {k}"),
            right,
            f"With k = {k} it is not right: the mean weight of each group of k, its logarithm, then the mean of these.",
            {
                "Is the mean taken, or the sum? A sum of k weights lacks - log k.": right + math.log(k),
                "That is a mean of logarithms: for every k the ELBO.": near.mean(),
                "The logarithm comes last there: average over groups and images after it.": exact.mean().log(),
                "That is the bound with all K codes, whatever k is.": exact.mean(0).log().mean(),
                "That takes only the first k codes, and leaves out the others.": exact[:k].mean(0).log().mean(),
                "Rows of a group should be consecutive. In yours they lie K / k rows apart.":
                    exact.unflatten(0, (k, -1)).mean(0).log().mean(),
            },
        )  # fmt: skip
    for shift in (-2_000.0, 800.0):
        value = float(bound((near + shift).to(chapter.device), 3))
        checks.require(
            math.isfinite(value),
            f"Right for weights near 1, but for weights around e^{shift:g} it is {value}: exp leaves the range of "
            "numbers. Factor the largest weight out before.",
        )
        right = exact.unflatten(0, (-1, 3)).mean(1).log().mean().item() + shift
        checks.close(
            value, right, f"It is right for weights near 1, but not for weights around e^{shift:g}.", relative=1e-5
        )
    apart = near.clone()
    apart[:, 15:] -= 300.0  # images that differ much in how probable they are
    value = float(bound(apart.to(chapter.device), 3))
    hint = "Factor out the largest weight of each group, not one for all images."
    checks.require(math.isfinite(value), hint)
    checks.close(value, apart.double().exp().unflatten(0, (-1, 3)).mean(1).log().mean(), hint, relative=1e-5)
    torch.manual_seed(0)
    of_vae = log_weights(vae, binary[:100], 64)
    bounds = {k: checks.number(bound(of_vae, k), f"The bound with k = {k}") for k in (1, 4, 16, 64)}
    print("bound by number of codes:", ", ".join(f"{k}: {value:.2f}" for k, value in bounds.items()), "nats")


# %% tags=["also-right"]
def bound(log_weights, k):
    groups = log_weights.split(k)
    return torch.stack([group.logsumexp(0) for group in groups]).mean().view(1) - math.log(k)


# %% tags=["also-right"]
def bound(log_weights, k):
    weights = log_weights.cpu().double().numpy().reshape(-1, k, log_weights.shape[1])
    return np.mean(np.logaddexp.reduce(weights, axis=1) - np.log(k))


# %% tags=["wrong"]
def bound(log_weights, k):  # overflows
    return log_weights.unflatten(0, (-1, k)).exp().mean(1).log().mean().item()


# %% tags=["wrong"]
def bound(log_weights, k):  # a sum
    return log_weights.unflatten(0, (-1, k)).logsumexp(1).mean().item()


# %% tags=["wrong"]
def bound(log_weights, k):  # the ELBO, whatever k
    return log_weights.unflatten(0, (-1, k)).mean(1).mean().item()


# %% tags=["wrong"]
def bound(log_weights, k):  # one factor for all images
    largest = log_weights.max()
    return ((log_weights - largest).exp().unflatten(0, (-1, k)).mean(1).log().mean() + largest).item()


# %% tags=["wrong"]
def bound(log_weights, k):  # the same, kept from log 0 and so finite
    largest = log_weights.max()
    weights = (log_weights - largest).exp().unflatten(0, (-1, k)).mean(1)
    return (weights.clamp_min(1e-30).log().mean() + largest).item()


# %% tags=["wrong"]
def bound(log_weights, k):  # groups of rows that are not consecutive
    return (log_weights.reshape(k, -1, log_weights.shape[1]).logsumexp(0) - math.log(k)).mean().item()


# %% [markdown] tags=["in-words"]
# Doubling $k$ joins two groups. The logarithm of the mean of both is at least the mean of their logarithms: Jensen's
# inequality once more, the same by which the ELBO lies below. So with the same codes the estimate cannot fall.

# %% [markdown]
# ## 5.6 New images of one class
#
# *change, 15 min, easy*
#
# The prior gives images of any class, and of none. For new images of one class, fit a Gaussian to the codes of its
# images, with their mean and their full covariance, and draw from that. Mind that there may be fewer codes than they
# have numbers, or a number that never changes: then the covariance has no inverse. The check shows what the decoder
# makes of yours.


# %% tags=["answer"]
def new_codes(codes, n):
    """`n` codes, a tensor (n, d), from the Gaussian with mean and covariance of `codes` (m, d), on the same device."""
    ### BEGIN SOLUTION
    variances, directions = torch.linalg.eigh(codes.T.cov())
    noise = torch.randn(n, codes.shape[1], device=codes.device)
    return noise * variances.clamp(min=0).sqrt() @ directions.T + codes.mean(0)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.6", new_codes):
    torch.manual_seed(0)
    mixed = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [-0.5, 0.2, 0.1]])
    codes = (torch.randn(400, 3) @ mixed.T + torch.tensor([3.0, -1.0, 0.0])).to(chapter.device)
    kept = codes.clone()
    drawn = checks.tensor(new_codes(codes, 20_000), "What it draws", (20_000, 3)).to(codes.dtype)
    checks.require(torch.equal(codes, kept), "The given codes were changed.")
    again = new_codes(codes, 20_000).to(codes.dtype)
    checks.require(not torch.equal(drawn, again), "It draws the same codes each time.")
    checks.require(
        len(torch.unique(drawn.round(decimals=4), dim=0)) > 10_000,
        "These are codes that were there already. Draw new ones from the Gaussian.",
    )
    size = codes.std(0)
    checks.require(
        ((drawn.mean(0) - codes.mean(0)).abs() < 0.05 * size).all(),
        "The mean of what it draws is not that of the codes.",
    )
    correlations = {name: of.T.corrcoef()[0, 1].item() for name, of in (("codes", codes), ("drawn", drawn))}
    checks.require(
        abs(correlations["drawn"]) > 0.1,
        "Each number is drawn for itself, but in the given codes they vary together: a covariance has more than its "
        "diagonal.",
    )
    ratio = (drawn.std(0) / size).cpu()
    checks.require(
        not (torch.allclose(ratio, size.cpu(), rtol=0.1) or torch.allclose(ratio, 1 / size.cpu(), rtol=0.1)),
        "The widths are off by a square or a root: the covariance holds variances.",
    )
    off = (drawn.T.cov() - codes.T.cov()).abs() / size.outer(size)
    checks.require((off < 0.08).all(), "The covariance of what it draws is not that of the codes.")
    flat = torch.randn(50, 2) @ torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]) + 1
    for name, hard in {"fewer codes than numbers": torch.randn(20, 40), "a number that never changes": flat}.items():
        hard = hard.to(chapter.device)
        try:
            drawn = new_codes(hard, 20_000)
        except Exception as error:
            raise checks.NotYet(
                f"With {name} it raises {type(error).__name__}: the covariance has no inverse."
            ) from error
        drawn = checks.tensor(drawn, f"With {name}, what it draws", (20_000, hard.shape[1])).to(hard.dtype)
        size = hard.std(0).clamp_min(0.5)  # a little noise, where a number never changes, does no harm
        off = (drawn.T.cov() - hard.T.cov()).abs() / size.outer(size)  # by 1 / 20, if n and not n - 1 divides
        checks.require((off.diagonal() < 0.15).all(), f"With {name}, what it draws scatters otherwise than the codes.")
        checks.require((off < 0.15).all(), f"With {name}, its numbers do not vary together as those of the codes do.")
    of_class = metrics.encode(vae, train.images[train.labels == 3])
    drawn = metrics.in_batches(vae.decoder, new_codes(of_class, 20).to(of_class.dtype))
    plots.digits(drawn, title=f"New images of class {chapter.data.class_names[3]}")


# %% tags=["also-right"]
def new_codes(codes, n):  # each a random mixture of what sets the codes apart from their mean
    apart = codes - codes.mean(0)
    mixture = torch.randn(n, len(codes), device=codes.device) / (len(codes) - 1) ** 0.5
    return codes.mean(0) + mixture @ apart


# %% tags=["also-right"]
def new_codes(codes, n):
    covariance = codes.T.cov() + 1e-4 * torch.eye(codes.shape[1]).to(codes)
    return torch.distributions.MultivariateNormal(codes.mean(0), covariance).sample((n,))


# %% tags=["also-right"]
random = np.random.default_rng(0)


def new_codes(codes, n):  # in double precision, with n in the covariance's denominator
    mean, covariance = codes.mean(0).cpu().numpy(), np.cov(codes.cpu().numpy(), rowvar=False, bias=True)
    return torch.from_numpy(random.multivariate_normal(mean, covariance, n, check_valid="ignore")).to(codes.device)


# %% tags=["wrong"]
def new_codes(codes, n):  # without covariances where they have no inverse
    try:
        return torch.distributions.MultivariateNormal(codes.mean(0), codes.T.cov()).sample((n,))
    except (ValueError, RuntimeError):
        return codes.mean(0) + codes.std(0) * torch.randn(n, codes.shape[1], device=codes.device)


# %% tags=["wrong"]
def new_codes(codes, n):  # without covariances
    return codes.mean(0) + codes.std(0) * torch.randn(n, codes.shape[1], device=codes.device)


# %% tags=["wrong"]
def new_codes(codes, n):  # old ones
    return codes[torch.randint(len(codes), (n,))]


# %% tags=["wrong"]
def new_codes(codes, n):  # fails for a singular covariance
    return torch.distributions.MultivariateNormal(codes.mean(0), codes.T.cov()).sample((n,))


# %% tags=["wrong"]
def new_codes(codes, n):  # the prior
    return torch.randn(n, codes.shape[1], device=codes.device)


# %% [markdown]
# ## 5.7 Halfway between two codes
#
# *change, 15 min, medium*
#
# Draw two codes $a$, $b$ from the prior and walk from one to the other in a straight line. Halfway, at $(a + b)/2$,
# stands a code that the prior hardly ever gives: each of its numbers has half the variance. The decoder is asked where
# few codes are. Write a walk that stays where the codes are: if $a$ and $b$ are independent codes from the prior, so
# is each step, and the ends are still $a$ and $b$. (What is the variance of $(1 - t)\, a + t\, b$?)


# %% tags=["answer"]
def walk(a, b, weights):
    """Codes (k, n, d) on the way from `a` (n, d), at weight 0, to `b` (n, d), at weight 1; `weights` is a tensor (k,).

    If a and b come from the prior, independently, the codes at each weight do, too, or at least have its length.
    """
    ### BEGIN SOLUTION
    t = weights[:, None, None]
    return ((1 - t) * a + t * b) / ((1 - t) ** 2 + t**2).sqrt()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.7", walk):
    torch.manual_seed(0)
    a, b = torch.randn(2, 3_000, 20).to(chapter.device)
    weights = torch.linspace(0, 1, 5, device=chapter.device)
    codes = checks.tensor(walk(a, b, weights), "The walk", (5, 3_000, 20))
    for end, code, other in (("begin at a", codes[0], a), ("end at b", codes[-1], b)):
        checks.close(code, other, f"The walk should {end}.", {
            f"The walk should {end}: it goes the other way round.": b if end == "begin at a" else a,
            f"The walk should {end}, not at a code of the same direction and another length.":
                other / other.norm(dim=1, keepdim=True) * 20**0.5,
        }, absolute=1e-4)  # fmt: skip
    straight = torch.lerp(a, b, weights[:, None, None])
    along = F.cosine_similarity(codes, straight, dim=2).mean(1)
    checks.require(
        (along > 0.95).all() and codes[2].mean(0).abs().max() < 0.2,
        "Between its ends the walk leaves the way from a to b: only the lengths have to change, hardly the directions.",
    )
    lengths = codes.square().mean((1, 2)).tolist()
    at = ", ".join(f"{length:.2f}" for length in lengths)
    halved = straight.square().mean((1, 2)).tolist()
    checks.require(
        abs(lengths[2] - halved[2]) > 0.05, "Halfway, its numbers still have half the variance of the prior."
    )
    checks.require(
        all(abs(length - 1) < 0.06 for length in lengths),
        f"From a to b, the variance of its numbers should stay at 1, but goes {at}.",
    )
    torch.manual_seed(2)
    a, b = torch.randn(2, 1, 8).to(chapter.device)
    steps = torch.linspace(0, 1, 9, device=chapter.device)
    rows = {"straight": torch.lerp(a, b, steps[:, None]), "yours": walk(a, b, steps)[:, 0]}
    rows = {name: metrics.in_batches(vae.decoder, codes) for name, codes in rows.items()}
    plots.rows_of_images(rows, title="Between two codes from the prior")


# %% tags=["also-right"]
def walk(a, b, weights):  # a quarter of a circle
    t = weights[:, None, None] * math.pi / 2
    return t.cos() * a + t.sin() * b


# %% tags=["also-right"]
def walk(a, b, weights):  # along the sphere
    angle = F.cosine_similarity(a, b).clamp(-1, 1).arccos()[:, None]
    return torch.stack(
        [((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b for t in weights]
    )


# %% tags=["wrong"]
def walk(a, b, weights):  # the straight line
    return torch.lerp(a, b, weights[:, None, None])


# %% tags=["wrong"]
def walk(a, b, weights):  # all steps to the same length, the ends included
    steps = torch.lerp(a, b, weights[:, None, None])
    return steps / steps.norm(dim=2, keepdim=True) * a.shape[1] ** 0.5


# %% tags=["wrong"]
def walk(a, b, weights):  # divided by the variance
    t = weights[:, None, None]
    return torch.lerp(a, b, t) / ((1 - t) ** 2 + t**2)


# %% tags=["wrong"]
def walk(a, b, weights):  # from b to a
    t = weights[:, None, None]
    return (t * a + (1 - t) * b) / (t**2 + (1 - t) ** 2).sqrt()


# %% [markdown] tags=["in-words"]
# In many dimensions nearly all codes of a standard normal have nearly the same length, the root of their number of
# numbers. The straight line cuts through the inside of that shell. With a code of two numbers it would hardly matter:
# there the middle is where most codes are.

# %% [markdown]
# ## 5.8 True or false?
#
# *explain, 15 min, medium*
#
# Judge each statement. Then say in words what is lost if beta is made very large, and what if it is made very small.
#
# - **a** An ELBO that is estimated with one code for each image can come out above $\log p(x)$ of an image.
# - **b** If the divergence is zero in every dimension and for every image, all images have the same reconstruction
#   from their mean codes.
# - **c** A decoder that reconstructs all test images well draws good images from codes of the prior, too.
# - **d** Give a trained encoder a full covariance matrix, and leave the decoder as it is: then the ELBO may rise, and
#   $\log p(x)$ stays as it was.
# - **e** With beta 4 the loss is the negative of a tighter bound on $\log p(x)$ than the ELBO.
# - **f** A network that is trained on images binarized once can learn their edge pixels by heart; drawn anew at each
#   step, it cannot.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": True, "b": True, "c": False, "d": True, "e": False, "f": True}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("5.8", judgments):
    checks.judged(
        judgments(),
        "5.8",
        {"a": "57c008ef", "b": "c748668d", "c": "72f5d9c6", "d": "d3400043", "e": "5b4e4d9c", "f": "56717dcf"},
    )


# %% tags=["also-right"]
def judgments():
    return {statement: statement not in "ce" for statement in "abcdef"}


# %% tags=["wrong"]
def judgments():
    return dict.fromkeys("abcdef", True)


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": True, "c": False, "d": False, "e": False, "f": True}


# %% tags=["wrong"]
def judgments():
    return [True, True, False, True, False, True]


# %% [markdown] tags=["in-words"]
# a: the ELBO is a mean over codes; a single code can be a lucky one. b: each mean code is then the prior's, 0. c: the
# codes of images need not fill the prior, and between them the decoder was never trained: holes. d: $\log p(x)$ is a
# matter of decoder and prior alone. e: it is a bound, since more is taken away, but a looser one. f: what is drawn
# anew cannot be learned.
#
# Where beta is very large no dimension is worth its price: the posterior collapses onto the prior, and the decoder
# draws the mean of all images. Where it is very small the code may say anything: reconstructions are sharp, but the
# codes of images leave the prior, and what is drawn from it falls into holes.
