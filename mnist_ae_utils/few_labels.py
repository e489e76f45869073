"""From codes without labels to labels for all images: find clusters, ask for a few labels, spread them.

Nothing in this module sees a label but the answers to what it asks for.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import entropy
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

N_CLASSES = 10
STARTS = 10  # of the fit of a mixture: the most even of them is kept


@dataclass
class Labeling:
    """Labels asked for and spread.

    `asked` (n_asked,) are the indices of the images whose label was asked for, in that order; `clusters` (n,) and
    `labels` (n,) each image's cluster and pseudo-label, which is the answer that was given for its cluster; `mended`
    says whether a digit that no answer named was found by elimination.
    """

    asked: np.ndarray
    clusters: np.ndarray
    labels: np.ndarray
    mended: bool = False


def fits(points, n_components, seed, starts=STARTS):
    """Gaussian mixtures fitted to `points` (n, d) from as many different starting points: a list."""
    random = np.random.RandomState(seed)  # which every fit draws its start from
    with threadpool_limits(1):  # the matrices are small: threads would spend their time waiting for each other
        return [GaussianMixture(n_components, random_state=random).fit(points) for _ in range(starts)]


def mixture(points, n_components, seed, starts=STARTS):
    """A Gaussian mixture fitted to `points` (n, d): the most even of `starts` fits from different starting points.

    A single fit may end where two components share a class and two classes share a component. The sizes of its
    components betray it, if the classes are about equally frequent. Its likelihood need not: a class that falls apart
    in two, and two that touch, are described best just so.
    """
    return max(fits(points, n_components, seed, starts), key=lambda fitted: evenness(fitted.weights_))


def evenness(sizes):
    """How equal `sizes` (k,) are, in [0, 1]: their entropy as a share of that of k equal ones, which is 1."""
    return float(entropy(sizes) / np.log(len(sizes)))


def most_probable(points, fitted):
    """Index (n_components,) of the point that each component of a mixture holds for most probable.

    It is the one nearest the mean, measured with the component's covariance: where a cluster is long and bent, the
    point that is nearest in plain distance may be a stranger beside it.
    """
    of_components = zip(fitted.means_, fitted.precisions_cholesky_, strict=True)
    return np.array([int(np.square((points - mean) @ root).sum(1).argmin()) for mean, root in of_components])


def by_mixture(points, seed):
    """The cluster (n,) of each of `points` (n, d), and for each cluster (n_clusters,) the point to ask for: indices."""
    fitted = mixture(points, N_CLASSES, seed)
    return fitted.predict(points), most_probable(points, fitted)


def ask(points, labels, seed, cluster=None):
    """Find clusters, ask for the label of one image in each, and give it to the whole cluster.

    `points` (n, d) are an embedding, codes or pixels; `labels` (n,) the oracle, looked at only at the images asked for.
    ``cluster(points, seed)``, `by_mixture` unless told, returns the cluster (n,) of each point, counted from 0, and for
    each cluster the index (n_clusters,) of the point to ask for. Returns a `Labeling`; a digit that is named twice
    shows that another one shares a component of the mixture: see `mend`.
    """
    clusters, asked = map(np.asarray, (cluster or by_mixture)(points, seed))
    return Labeling(asked, clusters, labels[asked][clusters])


def nearest(points, center):
    """Index of the point nearest to `center` (Euclidean)."""
    return int(np.square(points - center).sum(1).argmin())


def mend(points, asked, answers, seed):
    """Clusters for a digit that was asked for twice and another that never was, without asking again.

    Mixtures are fitted from new starting points, with as many components and with one more. A component that holds
    images already asked for takes the label of the one nearest its mean; if then just one component is without label,
    and one digit, they may belong together. Of the fits that work out so, that is taken which makes the ten labels most
    equally frequent. Returns a `Labeling`, or None where no fit works out so, or no digit is missing.
    """
    if len(set(answers)) == N_CLASSES:
        return None
    found = []
    for fitted in (fit for extra in (0, 1) for fit in fits(points, N_CLASSES + extra, seed + 1, STARTS)):
        clusters = fitted.predict(points)
        names = np.full(fitted.n_components, -1)
        for component in set(clusters[asked]):
            inside = np.flatnonzero(clusters[asked] == component)
            names[component] = answers[inside[nearest(points[asked[inside]], fitted.means_[component])]]
        unlabelled, missing = np.flatnonzero(names < 0), set(range(N_CLASSES)) - set(names)
        if len(unlabelled) == len(missing) == 1:
            names[unlabelled] = missing.pop()
            found.append(Labeling(asked, clusters, names[clusters], mended=True))
    return max(found, key=lambda labeling: evenness(np.bincount(labeling.labels, minlength=N_CLASSES)), default=None)


def agreement(labels, neighbors):
    """Fraction (n,) of each image's neighbors that have its label, in [0, 1]: how far a pseudo-label can be trusted.

    `neighbors` are the indices (n, k) that `metrics.nearest_codes` returns, the image itself first.
    """
    return (labels[neighbors[:, 1:]] == labels[:, None]).mean(1)
