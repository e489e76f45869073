"""What several chapters train, as functions: each is an experiment (see `runs`) once all but the seed is bound.

They draw from torch's random state in a fixed order: initial weights first, then what `training.train` draws.
"""

import functools
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.semi_supervised import LabelSpreading
from threadpoolctl import threadpool_limits
from torch import nn

from mnist_ae_utils import data as datasets
from mnist_ae_utils import metrics, models, runs, training

SCALED_BY = 2_000  # training images, by whose inputs those of a classifier are standardized


@dataclass
class Trained:
    """A trained model in evaluation mode, its history, and its score by split: "train", "validation", "test".

    `right` (n,) says of a classifier which test images it gets right.
    """

    model: nn.Module
    history: training.History
    scores: dict
    right: np.ndarray = None


def fit_classifier(model, loss, tensors, splits, **settings):
    """`fit` with the accuracy as score; it is also kept which test images are right."""
    inputs, labels = splits["test"]
    others = {name: split for name, split in splits.items() if name != "test"}
    trained = fit(model, loss, tensors, others, metrics.accuracy, **settings)
    right = metrics.predict(trained.model, inputs) == labels
    trained.scores["test"], trained.right = right.float().mean().item(), right.cpu().numpy()
    return trained


def fit(model, loss, tensors, splits, score, *, seed, epochs, batch_size, learning_rate, weight_decay, transform=None):
    """Train a model as `training.train` does, and score it: a `Trained`; `Diverged` if a loss or score is not finite.

    `splits` has, by name, the tuple of tensors that ``score(model, *split)`` takes to return a float; "validation" must
    be one of them.
    """
    history = training.train(
        model, loss, tensors, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        weight_decay=weight_decay, seed=seed, transform=transform,
        validate=lambda model: score(model, *splits["validation"]),
    )  # fmt: skip
    scores = {name: score(model, *split) for name, split in splits.items()}
    if not all(map(math.isfinite, scores.values())):
        raise training.Diverged(f"the scores after the last step are {scores}")
    return Trained(model.to(memory_format=torch.contiguous_format), history, scores)


def autoencoder(make, data, *, seed, n_images=None, loss=None, score=None, transform=None, epochs, batch_size=128,
                learning_rate=2e-3, weight_decay=0.0):  # fmt: skip
    """Train an autoencoder on the first `n_images` training images (all unless told), without labels.

    `make()` returns the network, with the weights it starts from: a class, or a partial of one. `data` is a `Dataset`.
    ``loss(model, images)`` is `training.reconstruction_loss` unless told, ``score(model, images)``
    `metrics.reconstruction_error`, the one for training images taken on as many as there are for validation. The rest
    is as in `training.train`; with no epochs the network stays as it was initialized.
    """
    images = data.train.first(n_images or len(data.train)).images
    torch.manual_seed(seed)
    model = make().to(images.device)
    seen, held_out = images[: len(data.validation)], data.validation.images
    splits = {"train": (seen,), "validation": (held_out,), "test": (data.test.images,)}
    return fit(
        model, loss or training.reconstruction_loss, (images,), splits, score or metrics.reconstruction_error,
        seed=seed, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay,
        transform=transform,
    )  # fmt: skip


# What a classifier on fixed inputs sees. Each of these functions takes the data and a seed, and returns the function
# from images (n, 1, 28, 28) to inputs (n, n_inputs).


def pixels(data, seed):
    """The 784 pixels."""
    return lambda images: images.flatten(1)


def pca(data, seed, n_components):
    """The first principal components of the training images."""
    train = data.train.images.flatten(1)
    fitted = PCA(n_components, random_state=0).fit(train.cpu().numpy())
    mean, components = (torch.tensor(a, device=train.device) for a in (fitted.mean_, fitted.components_))
    return lambda images: (images.flatten(1) - mean) @ components.T


def codes(data, seed, autoencoder):
    """The codes of the experiment `autoencoder`, run with the same seed; if that diverged, so does what rests on it."""
    return functools.partial(metrics.encode, runs.recall(autoencoder, seed).model)


def features(data, seed, autoencoder):
    """The inputs of the encoder's last layer: the feature maps before the bottleneck, flattened; else as `codes`."""
    return functools.partial(metrics.in_batches, runs.recall(autoencoder, seed).model.encoder[:-1])


def labelled(data, n_labels, wrong_labels, seed):
    """The training images whose labels are shown, a share of them wrong, and the other two splits, by name."""
    chosen = datasets.labelled_subset(data.train.labels, n_labels or len(data.train), seed)
    labels = datasets.mislabel(data.train.labels[chosen], wrong_labels, torch.Generator().manual_seed(seed))
    shown = datasets.Split(data.train.images[chosen], labels)
    return {"train": shown, "validation": data.validation, "test": data.test}


def on_inputs(inputs, data, *, seed, head=None, loss=None, n_labels=None, wrong_labels=0.0, epochs, batch_size=128,
              learning_rate=1e-2, weight_decay=0.1):  # fmt: skip
    """Train a classifier on fixed inputs, of which the labelled images' are standardized by one common scale.

    The model of the `Trained` that is returned takes inputs, not images.

    Parameters
    ----------
    inputs : ``inputs(data, seed)`` returns the function from images to inputs (n, n_inputs): `pixels`, or a partial of
        `pca` or `codes`, or another.
    data : a `Dataset`.
    head : ``head(n_inputs)`` returns the classifier; `models.MLPClassifier` unless told.
    loss : ``loss(model, inputs, labels)``; `training.classification_loss` unless told.
    n_labels : all training images unless told; drawn anew for each seed, equally many per class.
    wrong_labels : share, in [0, 1), of the training labels that are wrong (`data.mislabel`). The training score then
        counts agreement with the labels given, wrong ones included; validation and test labels stay right.
    epochs, batch_size, learning_rate, weight_decay : as in `training.train`.
    """
    to_inputs, splits = inputs(data, seed), labelled(data, n_labels, wrong_labels, seed)
    n_inputs = to_inputs(data.test.images[:1]).shape[1]
    torch.manual_seed(seed)
    head = (head or models.MLPClassifier)(n_inputs)
    model = nn.Sequential(models.Standardize(n_inputs), head).to(data.test.images.device)
    model[0].fit(to_inputs(data.train.images[:SCALED_BY]))
    tensors = {name: (to_inputs(split.images), split.labels) for name, split in splits.items()}
    return fit_classifier(
        model, loss or training.classification_loss, tensors["train"], tensors, seed=seed, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay,
    )  # fmt: skip


def network(make, data, *, seed, start=None, loss=None, reconstruction_weight=None, transform=None, n_labels=None,
            wrong_labels=0.0, epochs, batch_size=128, learning_rate=1e-2, weight_decay=0.1):  # fmt: skip
    """Train a classifier that sees images, all of its layers.

    Parameters
    ----------
    make : ``make()`` returns the network; an `EncoderClassifier` where one of the next two is asked for.
    start : an experiment, the autoencoder whose weights encoder and decoder start from; the classifier's first layer is
        then fitted to the codes.
    reconstruction_weight : of the squared error per image beside the cross-entropy; with it, an epoch is a pass over
        all training images, labelled or not. Without it, they are not reconstructed.
    transform : ``transform(images, progress)`` returns what is seen in place of each batch, as in `training.train`.
    data, loss, n_labels, wrong_labels, epochs, batch_size, learning_rate, weight_decay : as in `on_inputs`.
    """
    pretrained = runs.recall(start, seed).model if start else None
    splits = labelled(data, n_labels, wrong_labels, seed)
    torch.manual_seed(seed)
    model = make().to(data.test.images.device)
    if pretrained:
        model.encoder, model.decoder = pretrained.encoder, pretrained.decoder
        model.classifier[0].fit(metrics.encode(pretrained, data.train.images[:SCALED_BY]))
    tensors = {name: (split.images, split.labels) for name, split in splits.items()}
    loss, trained_on = loss or training.classification_loss, tensors["train"]
    if reconstruction_weight is not None:
        loss = training.joint_loss(*trained_on, reconstruction_weight, batch_size)
        trained_on = (data.train.images,)
    return fit_classifier(
        model, loss, trained_on, tensors, seed=seed, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, weight_decay=weight_decay, transform=transform,
    )  # fmt: skip


def in_one_piece(experiment, seed):
    """The network that an experiment trained; a classifier on `codes` or `features` with the encoder: images in."""
    model = runs.recall(experiment, seed).model
    inputs = experiment.args[0] if getattr(experiment, "func", None) is on_inputs else None
    if getattr(inputs, "func", None) not in (codes, features):
        return model
    encoder = runs.recall(inputs.keywords["autoencoder"], seed).model
    return models.EncoderClassifier(encoder, model, before=int(inputs.func is features))


@dataclass
class Read:
    """What a classifier that is not a network came to: which test images it gets right (n,), and its score by split.

    `labels` (n,), of the training images, are what `spread` gave them.
    """

    right: np.ndarray
    scores: dict
    labels: np.ndarray = None


def estimator(inputs, make, data, *, seed, n_labels=None):
    """Fit a classifier of scikit-learn, which ``make()`` returns, to the inputs of the labelled images: a `Read`.

    `inputs` and `data` are as in `on_inputs`; the inputs are taken as they are.
    """
    to_inputs, splits = inputs(data, seed), labelled(data, n_labels, 0.0, seed)
    of = {name: (to_inputs(split.images).cpu().numpy(), split.labels.cpu().numpy()) for name, split in splits.items()}
    with threadpool_limits(1):
        fitted = make().fit(*of.pop("train"))
        right = {name: fitted.predict(points) == labels for name, (points, labels) in of.items()}
    return Read(right["test"], {name: float(each.mean()) for name, each in right.items()})


def neighborhoods(inputs, data, *, seed, k=15):
    """For each image of a split, by its name, the indices (n, k) of the nearest training images by their inputs."""
    to_inputs = inputs(data, seed)
    of = {name: to_inputs(getattr(data, name).images).cpu().numpy() for name in ("train", "validation", "test")}
    with threadpool_limits(1):
        nearest = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(of["train"])
        return {name: nearest.kneighbors(points, return_distance=False).astype("int32") for name, points in of.items()}


def spread(inputs, data, *, seed, n_labels=None, k=15, alpha=0.99, steps=60):
    """Spread the labels along the graph of neighboring inputs of all training images, labelled or not: a `Read`.

    An image is joined to its `k` nearest (itself among them) and to those that have it among theirs. In each step it
    takes the share `alpha` of its label from its neighbors; classes are then weighed to have the same mass. Validation
    and test images take part in nothing: each takes the label of its own `k` neighbors. `inputs`, `data` and `n_labels`
    are as in `on_inputs`. Source: Zhou et al. (2004), "Learning with local and global consistency"; the class masses:
    Zhu, Ghahramani & Lafferty (2003), "Semi-supervised learning using Gaussian fields and harmonic functions".
    """
    nearest, train = runs.recall(functools.partial(neighborhoods, inputs, data, k=k), seed), data.train
    graph = {name: _graph(indices, len(train)) for name, indices in nearest.items()}
    joined = graph["train"].maximum(graph["train"].T)
    known = np.full(len(train), -1)
    chosen = datasets.labelled_subset(train.labels, n_labels or len(train), seed).cpu().numpy()
    known[chosen] = train.labels.cpu().numpy()[chosen]
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last of many steps change no label
        fitted = LabelSpreading(kernel=lambda *_: joined, alpha=alpha, max_iter=steps)
        fitted.fit(np.zeros((len(train), 1)), known)  # whose place the graph takes
    mass = fitted.label_distributions_ / fitted.label_distributions_.sum(0)
    right = {}
    for name in ("validation", "test"):
        taken = fitted.classes_[np.asarray(graph[name] @ mass).argmax(1)]
        right[name] = taken == getattr(data, name).labels.cpu().numpy()
    labels = fitted.classes_[mass.argmax(1)].astype("int8")
    return Read(right["test"], {name: float(each.mean()) for name, each in right.items()}, labels)


def _graph(indices, n):
    """A sparse matrix (len(indices), n), 1 where a column is among a row's indices."""
    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    return csr_array((np.ones(indices.size), (rows, indices.ravel())), shape=(len(indices), n))
