"""One training loop for every model of the course: minibatches indexed out of tensors that live on the device."""

import contextvars
import math
import time
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from mnist_ae_utils import corruptions

WATCH = contextvars.ContextVar("watch", default=None)  # called with (epoch, epochs) after each epoch
RECORDS = 20  # entries in a history at most


class Diverged(RuntimeError):
    """The training loss became infinite or not a number; the message says in which epoch."""


@dataclass
class History:
    """What a training run left behind, at evenly spaced epochs: `RECORDS` of them, or fewer if the run is short.

    `epoch` counts the epochs passed and `step` the optimizer's steps, `loss` is the mean training loss over the
    minibatches of that epoch, `validation` what the caller's `validate` returned after it, `seconds` the duration of
    the whole run.
    """

    epoch: list = field(default_factory=list)
    step: list = field(default_factory=list)
    loss: list = field(default_factory=list)
    validation: list = field(default_factory=list)
    seconds: float = 0.0


def squared_error(reconstructions, images):
    """Squared error summed over pixels, averaged over images: the course's reconstruction error (a scalar tensor)."""
    return (reconstructions - images).square().flatten(1).sum(1).mean()


def reconstruction_loss(autoencoder, images):
    """`squared_error` of the autoencoder's reconstructions of `images`."""
    return squared_error(autoencoder(images), images)


def denoising_loss(std):
    """A loss that shows the autoencoder noisy images and asks for the clean ones (Vincent et al. 2008).

    The noise is Gaussian, its standard deviation `std` in units of pixel intensity.
    """

    def loss(autoencoder, images):
        # Not clamped to [0, 1]: on blank paper, clamped noise could only add ink, and its mean would not be zero.
        return squared_error(autoencoder(images + std * torch.randn_like(images)), images)

    return loss


def restoring_loss(distort):
    """A loss that shows the autoencoder distorted images and asks for the originals: denoising, of another noise.

    `distort` takes images and returns them distorted at random.
    """

    def loss(autoencoder, images):
        return squared_error(autoencoder(distort(images)), images)

    return loss


def draw_codes(mean, log_variance):
    """Sample codes from Gaussians, so that gradients reach mean and variance ("reparameterization trick")."""
    return mean + torch.exp(log_variance / 2) * torch.randn_like(mean)


def kl_from_prior(mean, log_variance):
    """KL divergence in nats of each Gaussian N(mean, variance) from the standard normal, one number per dimension."""
    return (mean.square() + log_variance.exp() - log_variance - 1) / 2


def elbo_terms(vae, binary_images):
    """The two terms of the evidence lower bound, in nats, estimated with one code drawn per image.

    The first (n,) is log p(x | z): how probable the decoder holds the image, given the code. The second
    (n, latent_dim) is the KL divergence of q(z | x) from the prior, dimension by dimension; exact.
    """
    mean, log_variance = vae.posterior(binary_images)
    logits = vae.logits(draw_codes(mean, log_variance))
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, binary_images.flatten(1), reduction="none").sum(1)
    return log_likelihood, kl_from_prior(mean, log_variance)


def negative_elbo(beta=1.0):
    """The loss of a variational autoencoder in nats per image, on images that it binarizes anew at each step.

    `beta`, 0 or more (else ValueError), weighs the KL divergence: 1 gives the bound itself. Source: Higgins et al.
    (2017), "beta-VAE".
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta {beta!r}: use a number that is not negative")

    def loss(vae, images):
        log_likelihood, kl = elbo_terms(vae, corruptions.binarize(images))
        return (beta * kl.sum(1) - log_likelihood).mean()

    return loss


def classification_loss(model, inputs, labels):
    """Cross-entropy between the model's logits for `inputs` and the integer `labels`."""
    return F.cross_entropy(model(inputs), labels)


def smoothed_classification_loss(model, inputs, labels):
    """Cross-entropy with a tenth of each label spread over all classes: doubt about labels that may be wrong.

    Source: Szegedy et al. (2016), "Rethinking the inception architecture for computer vision".
    """
    return F.cross_entropy(model(inputs), labels, label_smoothing=0.1)


def joint_loss(labelled_images, labels, reconstruction_weight, batch_size):
    """A loss for an `EncoderClassifier`: reconstruct the images given, and classify some labelled ones.

    Of the labelled ones `batch_size` are drawn at each step, with replacement, for the cross-entropy; beside it the
    squared error per image has the `reconstruction_weight`.
    """

    def loss(model, images):
        drawn = torch.randint(len(labels), (batch_size,)).to(labels.device)
        cross_entropy = classification_loss(model, labelled_images[drawn], labels[drawn])
        return cross_entropy + reconstruction_weight * squared_error(model.decoder(model.encoder(images)), images)

    return loss


def distorted(images, progress):
    """A `transform` for `train`: each image is distorted anew every time it is seen (`corruptions.distort`)."""
    return corruptions.distort(images)


def tell(epoch, epochs):
    """Call the function in `WATCH`, if there is one; a copy of `train` in a notebook reaches it in a worker too."""
    if (watch := WATCH.get()) is not None:
        watch(epoch, epochs)


def epochs_between_records(epochs, n_batches):
    """With few images an epoch takes less time than its validation: 30 steps are between two, but five are kept."""
    return math.ceil(epochs / min(RECORDS, max(5, epochs * n_batches // 30)))


def one_epoch(model, loss, tensors, n_batches, optimizer, schedule, transform=None):
    """Pass over the tensors once, in random order, a step of the optimizer for each batch: the mean of their losses.

    The arguments are as in `train`; `schedule` counts the steps.
    """
    model.train()
    device = tensors[0].device
    total = torch.zeros((), device=device)
    for batch in torch.randperm(len(tensors[0])).to(device).tensor_split(n_batches):
        inputs, *others = (tensor[batch] for tensor in tensors)
        if transform is not None:
            inputs = transform(inputs, schedule.last_epoch / (schedule.total_steps - 1))
        value = loss(model, inputs, *others)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        total += value.detach()
    return total.item() / n_batches


def train(model, loss, tensors, *, epochs, batch_size=128, learning_rate=1e-3, weight_decay=0.0, seed=0, transform=None,
          validate=None):  # fmt: skip
    """Train `model` in place with AdamW and a one-cycle learning rate.

    The tensors are indexed directly: no DataLoader, no transforms, no copies between processes. Returns the `History`;
    raises `Diverged` if the loss of an epoch is infinite or not a number. Source of the schedule: Smith & Topin (2019),
    "Super-convergence".

    Parameters
    ----------
    model : its parameters that require gradients are trained.
    loss : ``loss(model, *batch)`` returns a scalar tensor.
    tensors : a tuple of them, of equal length, on the model's device; a batch holds the same rows of each.
    epochs, batch_size : an epoch is cut into batches of nearly equal size, none larger than `batch_size`.
    learning_rate : the peak of the one-cycle schedule.
    weight_decay : AdamW's, decoupled from the gradient.
    seed : of the order of the images, of dropout and of noise.
    transform : ``transform(batch, progress)`` returns what is used in place of each batch of the first tensor;
        `progress` rises from 0 at the first step to 1 after the last.
    validate : ``validate(model)``, with the model in evaluation mode, returns a float for the history.
    """
    torch.manual_seed(seed)
    if tensors[0].device.type in ("cpu", "cuda") and any(isinstance(module, nn.Conv2d) for module in model.modules()):
        model.to(memory_format=torch.channels_last)  # convolutions run faster so
    n_batches = math.ceil(len(tensors[0]) / batch_size)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * n_batches + 1)
    history, start = History(), time.perf_counter()
    for epoch in range(1, epochs + 1):
        mean_loss = one_epoch(model, loss, tensors, n_batches, optimizer, schedule, transform)
        if not math.isfinite(mean_loss):
            raise Diverged(f"the loss is {mean_loss} in epoch {epoch}: lower the learning rate")
        tell(epoch, epochs)
        if epoch % epochs_between_records(epochs, n_batches) == 0 or epoch == epochs:
            history.epoch.append(epoch)
            history.step.append(epoch * n_batches)
            history.loss.append(mean_loss)
            if validate is not None:
                history.validation.append(float(validate(model.eval())))
    history.seconds = time.perf_counter() - start
    model.eval()
    return history
