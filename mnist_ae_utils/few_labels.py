"""From codes without labels to labels for all images: find clusters, ask for a few labels, spread them.

Nothing in this module sees a label but the answers to what it asks for.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

N_CLASSES = 10
STARTS = 10  # of the fit of a mixture: the likeliest of them is kept


@dataclass
class Labeling:
    """Labels asked for and spread.

    Attributes
    ----------
    asked : array (n_asked,)
        Indices of the images whose label was asked for, in that order.
    clusters : array (n,)
        The cluster of each image.
    labels : array (n,)
        The pseudo-label of each image: the answer that was given for its cluster.
    mended : bool
        Whether a digit that no answer named was found by elimination.
    """

    asked: np.ndarray
    clusters: np.ndarray
    labels: np.ndarray
    mended: bool = False


def nearest_codes(codes, k):
    """Indices and Euclidean distances, both (n, k), of each code's nearest ones; the first is the code itself."""
    distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(codes).kneighbors(codes)
    return indices, distances


def mixture(points, n_components, seed, starts=STARTS):
    """A Gaussian mixture fitted to `points` (n, d): the likeliest of `starts` fits from different starting points.

    A single fit may end where two components share a class and another class has none. Such a fit is less likely, and
    no label is needed to see that.
    """
    with threadpool_limits(1):  # the matrices are small: threads would spend their time waiting for each other
        return GaussianMixture(n_components, n_init=starts, random_state=seed).fit(points)


def ask(points, labels, seed):
    """Find ten clusters, ask for the label of the image nearest each one's mean, and give it to the whole cluster.

    Parameters
    ----------
    points : array (n, d)
        Embedding, codes or pixels.
    labels : array (n,)
        The oracle: looked at only at the ten images asked for.
    seed : int

    Returns
    -------
    Labeling
        A digit that is named twice shows that another one shares a component: see `mend`.
    """
    fitted = mixture(points, N_CLASSES, seed)
    asked = np.array([nearest(points, mean) for mean in fitted.means_])
    answers = labels[asked]
    if len(set(answers)) < N_CLASSES:
        return mend(points, asked, answers, seed)
    clusters = fitted.predict(points)
    return Labeling(asked, clusters, answers[clusters])


def ask_at_random(points, labels, n_labels, seed):
    """The same clusters, but chance chooses the `n_labels` images asked for: a cluster takes its commonest answer.

    A cluster without an answer takes that of the image asked for that is nearest its mean. Returns a `Labeling`.
    """
    fitted = mixture(points, N_CLASSES, seed)
    clusters = fitted.predict(points)
    asked = np.random.RandomState(seed).choice(len(points), n_labels, replace=False)
    names = np.array([labels[asked[nearest(points[asked], mean)]] for mean in fitted.means_])
    for component in set(clusters[asked]):
        names[component] = np.bincount(labels[asked[clusters[asked] == component]]).argmax()
    return Labeling(asked, clusters, names[clusters])


def nearest(points, center):
    """Index of the point nearest to `center` (Euclidean)."""
    return int(np.square(points - center).sum(1).argmin())


def mend(points, asked, answers, seed):
    """Clusters for a digit that was asked for twice and another that never was, without asking again.

    Mixtures are fitted from new starting points, with one component more if need be. A component that holds images
    already asked for takes the label of the one nearest its mean; if then just one component is without label, and one
    digit, they belong together. Where no fit works out so, unlabelled components take the nearest label.
    """
    for n_components in (N_CLASSES, N_CLASSES + 1):
        fitted = mixture(points, n_components, seed + 1)
        clusters = fitted.predict(points)
        names = np.full(n_components, -1)
        for component in set(clusters[asked]):
            inside = np.flatnonzero(clusters[asked] == component)
            names[component] = answers[inside[nearest(points[asked[inside]], fitted.means_[component])]]
        unlabelled, missing = np.flatnonzero(names < 0), set(range(N_CLASSES)) - set(names)
        if len(unlabelled) == len(missing) == 1:
            names[unlabelled] = missing.pop()
            return Labeling(asked, clusters, names[clusters], mended=True)
    for component in unlabelled:
        names[component] = answers[nearest(points[asked], fitted.means_[component])]
    return Labeling(asked, clusters, names[clusters])


def agreement(labels, neighbors):
    """Fraction (n,) of each image's neighbors that have its label, in [0, 1]: how far a pseudo-label can be trusted.

    `neighbors` are the indices (n, k) that `nearest_codes` returns, the image itself first.
    """
    return (labels[neighbors[:, 1:]] == labels[:, None]).mean(1)
