# %% [markdown]
# # Exercises to chapter 6: how few labels are enough?
#
# Read [chapter 6](../06_few_labels.ipynb) first; what these exercises need of it is defined anew below, so that this
# notebook runs by itself. For each, write the function asked for, run its cell, and run the check below it, whose code
# is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and profile. What
# is asked *in words* nobody checks but your teacher or you. The last exercise is an open problem: it has a floor that
# your answer must pass, and a figure that nobody here has beaten.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import itertools
import math

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import spectral_embedding
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph
from torch import nn
from torch.nn import functional as F

from mnist_ae_utils import checks, few_labels, metrics, models, results, training
from mnist_ae_utils import data as datasets
from mnist_ae_utils.chapter import begin, kept_folder

chapter = begin("06_exercises", profile, dataset, device=device)
train = chapter.data.train.first(min(2_000, len(chapter.data.train)))  # enough for what is asked here
validation = chapter.data.validation
images, labels = train.images, train.labels.cpu().numpy()

# %% [markdown]
# Nothing has to be trained: 20 principal components take the place of the encoder's codes and of their embedding. Their
# clusters are worse than the chapter's, so that there is more to see.

# %%
pca = PCA(20, random_state=0).fit(images.flatten(1).cpu().numpy())
codes = pca.transform(images.flatten(1).cpu().numpy())  # (n, 20)
found = few_labels.ask(codes, labels, seed=0)
print(f"{(found.labels == labels).mean():.1%} of {len(labels):,} pseudo-labels are right, from ten answers")

# %% [markdown]
# ## 6.1 Ten images drawn at random
#
# *compute, 10 min, easy*
#
# Labels that are drawn at random name one class twice before they name another once. How bad is that? Let the classes
# have the frequencies $p_1, \dots, p_k$, and let the draws be independent. Find two formulas by pencil: the probability
# that $k$ draws name each class once; and, after $n$ draws, the share of images whose class was never named. Whatever
# is made of such labels, these images can get their own only by elimination.


# %% tags=["answer"]
def all_named(frequencies):
    """The probability that as many draws as there are classes name each of them; `frequencies` is a list of p."""
    ### BEGIN SOLUTION
    return math.factorial(len(frequencies)) * math.prod(frequencies)
    ### END SOLUTION


def never_named(frequencies, n):
    """The share of images, from 0 to 1, whose class none of `n` draws names: its expectation."""
    ### BEGIN SOLUTION
    return sum(p * (1 - p) ** n for p in frequencies)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("6.1", all_named, never_named):
    for p in ([0.5, 0.5], [0.2, 0.8], [0.5, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]):
        for n in (2, 3, 5):
            drawn = list(itertools.product(range(len(p)), repeat=n))  # every sequence of draws, and its probability
            weights = [math.prod(p[c] for c in sequence) for sequence in drawn]
            missed = [sum(p[c] for c in set(range(len(p))) - set(sequence)) for sequence in drawn]
            expected = sum(w * m for w, m in zip(weights, missed, strict=True))
            checks.close(
                checks.number(never_named(p, n), f"never_named({p}, {n})", 0, 1), expected,
                f"never_named({p}, {n}) is not right.",
                {"That is the share of the classes that are missed. A frequent class has more images than a rare one.":
                     sum((1 - q) ** n for q in p) / len(p),
                 "That is the share of the images whose class was named.": 1 - expected},
            )  # fmt: skip
        drawn = itertools.product(range(len(p)), repeat=len(p))
        expected = sum(math.prod(p[c] for c in sequence) for sequence in drawn if len(set(sequence)) == len(p))
        checks.close(
            checks.number(all_named(p), f"all_named({p})", 0, 1), expected, f"all_named({p}) is not right.",
            {"That is the probability of one order of the classes. There are more.": math.prod(p),
             "That is right where all classes are equally frequent. They need not be.":
                 math.factorial(len(p)) / len(p) ** len(p)},
        )  # fmt: skip
    tenth = [0.1] * 10
    every, missed = checks.number(all_named(tenth), "all_named"), checks.number(never_named(tenth, 10), "never_named")
    print(f"Ten draws from ten equal classes name each of them with a probability of {every:.3%},")
    print(f"and {missed:.0%} of the images are of a class that was not named.")


# %% tags=["also-right"]
def all_named(frequencies):  # by inclusion and exclusion
    k, total = len(frequencies), 0.0
    for size in range(k + 1):
        for missed in itertools.combinations(frequencies, size):
            total += (-1) ** size * (1 - sum(missed)) ** k
    return total


def never_named(frequencies, n):
    p = np.array(frequencies)
    return (p * np.exp(n * np.log1p(-p))).sum()


# %% tags=["wrong"]
def all_named(frequencies):  # one order of the classes only
    return math.prod(frequencies)


# %% tags=["wrong"]
def all_named(frequencies):  # as if all were as frequent
    return math.factorial(len(frequencies)) / len(frequencies) ** len(frequencies)


# %% tags=["wrong"]
def never_named(frequencies, n):  # classes instead of images
    return sum((1 - p) ** n for p in frequencies) / len(frequencies)


# %% [markdown]
# ## 6.2 What an answer is worth
#
# *compute, 15 min, medium*
#
# A cluster holds images of several classes, and one image of it is asked for; all of them take the answer. If *any*
# image of the cluster may be asked for, each as likely, how many pseudo-labels will be right? And if it is an image of
# the cluster's commonest class? The difference is what the choice within a cluster can be worth. It is 0 for a pure
# cluster. Let a cluster have two classes, of the shares $p \geq 1/2$ and $1 - p$: for which $p$ is the difference
# largest?


# %% tags=["answer"]
def by_any(counts):
    """The expected share of right pseudo-labels, from 0 to 1, if any image of each cluster is asked for.

    `counts` is an array (n_clusters, n_classes): how many images of each class a cluster holds.
    """
    ### BEGIN SOLUTION
    return (counts**2 / counts.sum(1, keepdims=True)).sum() / counts.sum()
    ### END SOLUTION


def by_typical(counts):
    """The same, if an image of each cluster's commonest class is asked for."""
    ### BEGIN SOLUTION
    return counts.max(1).sum() / counts.sum()
    ### END SOLUTION


def costliest_share():
    """The p, from 1/2 to 1, for which asking any image of a cluster of two classes costs most: a number."""
    ### BEGIN SOLUTION
    return 3 / 4  # p - (p^2 + (1 - p)^2) = -2 p^2 + 3 p - 1 is largest where 3 = 4 p
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("6.2", by_any, by_typical, costliest_share):
    for counts in (np.array([[3, 1]]), np.array([[4, 1, 1], [0, 2, 0]]), np.array([[5, 3, 0], [1, 1, 2], [0, 1, 0]])):
        of_each = [np.repeat(np.arange(counts.shape[1]), row) for row in counts]  # the labels of each cluster's images
        right = [[(of == answer).sum() for answer in of] for of in of_each]  # for every image that may be asked for
        chance, best = (sum(map(how, right)) / counts.sum() for how in (np.mean, max))
        purities = counts.max(1) / counts.sum(1)
        for function, expected in ((by_any, chance), (by_typical, best)):
            checks.close(
                checks.number(function(counts), f"{function.__name__} of {counts.tolist()}", 0, 1), expected,
                f"{function.__name__} is not right for {counts.tolist()}.",
                {f"{function.__name__} counts small clusters as much as large ones.":
                     np.mean([how(each) / len(each) for how, each in
                              zip([np.mean if function is by_any else max] * len(right), right, strict=True)]),
                 "That is right if the answer is the commonest one. Any image may be asked for.":
                     best if function is by_any else -1,
                 "That is the probability of asking for an image of the commonest class; answers of the others are "
                 "right for some images, too.": (purities**2 * counts.sum(1)).sum() / counts.sum()},
            )  # fmt: skip
    grid = np.linspace(0.5, 1, 2001)
    lost = grid - grid**2 - (1 - grid) ** 2
    checks.close(checks.number(costliest_share(), "costliest_share()", 0.5, 1), grid[lost.argmax()],
                 f"Another p costs more: up to {lost.max():.3f} of the pseudo-labels. Where is the difference's "
                 "derivative 0?")  # fmt: skip
    counts = pd.crosstab(found.clusters, labels).to_numpy()
    chance, best = (checks.number(function(counts), function.__name__) for function in (by_any, by_typical))
    print(f"The clusters above: {chance:.1%} of pseudo-labels right if any image is asked for, "
          f"{best:.1%} if a typical one is; it was {(found.labels == labels).mean():.1%}.")  # fmt: skip


# %% tags=["also-right"]
def by_any(counts):
    right = 0.0
    for row in counts:
        for n in row:
            right += n * n / sum(row)
    return right / sum(map(sum, counts))


def by_typical(counts):
    return sum(max(row) for row in counts) / np.sum(counts)


def costliest_share():
    p = np.linspace(0.5, 1, 100_001)
    return p[(p - p**2 - (1 - p) ** 2).argmax()]


# %% tags=["wrong"]
def by_any(counts):  # every cluster counts alike
    return ((counts / counts.sum(1, keepdims=True)) ** 2).sum(1).mean()


# %% tags=["wrong"]
def by_any(counts):  # as if the answer were always the commonest
    return counts.max(1).sum() / counts.sum()


# %% tags=["wrong"]
def costliest_share():  # where the answer is least sure, but next to nothing depends on it
    return 1 / 2


# %% [markdown] tags=["in-words"]
# At one half the answer is as likely one as the other, but both are right for as many images. Towards 1 a wrong answer
# costs more and more images and becomes rarer and rarer. Most is lost in between.

# %% [markdown]
# ## 6.3 Ask whom the neighbors trust
#
# *change, 20 min, medium*
#
# The chapter asks for the image that a component holds for most probable. There is another idea: ask for the one that
# can be trusted most, because its neighbors lie in the same cluster. Many images are trusted alike, so a second rule
# has to decide among them: take the one nearest the mean of its cluster's points. Write this as a function that
# `few_labels.ask` takes for its argument `cluster`. Does it get other answers than the chapter's?


# %% tags=["answer"]
def by_trust(points, seed):
    """Clusters as by `few_labels.by_mixture`, and for each the image to ask for: most trusted, then nearest the mean.

    `points` is an array (n, d). Trust is the share of an image's 19 nearest other images, among all points, that lie in
    its cluster. Returns two arrays of integers: each point's cluster (n,), and for each cluster an index into the
    points (10,).
    """
    ### BEGIN SOLUTION
    clusters, _ = few_labels.by_mixture(points, seed)
    trust = few_labels.agreement(clusters, metrics.nearest_codes(points, 20)[0])
    asked = []
    for cluster in range(few_labels.N_CLASSES):
        members = np.flatnonzero(clusters == cluster)
        most = members[trust[members] == trust[members].max()]
        asked.append(most[few_labels.nearest(points[most], points[members].mean(0))])
    return clusters, np.array(asked)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("6.3", by_trust):
    for seed in (0, 1):
        made = np.random.RandomState(seed)
        centers = made.randn(10, 4) * 3
        points = np.concatenate([center + made.randn(40, 4) * made.uniform(0.3, 1.2, 4) for center in centers])
        clusters, asked = by_trust(points, seed)
        checks.require(np.shape(clusters) == (400,) and np.shape(asked) == (10,),
                       "For 400 points it should return 400 clusters and ten indices.")  # fmt: skip
        checks.require((np.asarray(clusters) == few_labels.by_mixture(points, seed)[0]).all(),
                       "The clusters should be those of `few_labels.by_mixture`, with the same seed.")  # fmt: skip
        apart = np.square(points[:, None] - points).sum(2)
        near = apart.argsort(1)[:, 1:20]  # without the point itself
        trust = (clusters[near] == clusters[:, None]).mean(1)
        for cluster, index in enumerate(asked):
            inside = np.flatnonzero(clusters == cluster)
            checks.require(clusters[index] == cluster, f"Image {index} is asked for as one of cluster {cluster}, but "
                           f"lies in {clusters[index]}. Indices count all points, not those of a cluster.")  # fmt: skip
            checks.require(trust[index] > trust[inside].max() - 1e-9,
                           f"In cluster {cluster}, another image has more trust than the one asked for.")  # fmt: skip
            alike = inside[trust[inside] > trust[inside].max() - 1e-9]
            checks.require(np.square(points[index] - points[inside].mean(0)).sum() <
                           np.square(points[alike] - points[inside].mean(0)).sum(1).min() + 1e-9,
                           f"In cluster {cluster} {len(alike)} images are trusted most; the one asked for is not the "
                           "nearest of them to the mean of all points of the cluster.")  # fmt: skip
    trusted = few_labels.ask(codes, labels, seed=0, cluster=by_trust)
    other = (labels[trusted.asked] != labels[found.asked]).sum()
    print(f"{other} of ten answers differ; right pseudo-labels: {(trusted.labels == labels).mean():.1%}, and by the "
          f"most probable image {(found.labels == labels).mean():.1%}.")  # fmt: skip


# %% tags=["also-right"]
def by_trust(points, seed):
    clusters, _ = few_labels.by_mixture(points, seed)
    apart = ((points[:, None] - points[None]) ** 2).sum(2)
    means = pd.DataFrame(points).groupby(clusters).mean().to_numpy()
    table = pd.DataFrame({"cluster": clusters})
    table["same"] = (clusters[np.argsort(apart, 1)[:, 1:20]] == clusters[:, None]).sum(1)
    table["away"] = np.linalg.norm(points - means[clusters], axis=1)
    ordered = table.sort_values(["same", "away"], ascending=[False, True])
    return clusters, ordered.groupby("cluster").head(1).sort_values("cluster").index.to_numpy()


# %% tags=["wrong"]
def by_trust(points, seed):  # the first of those trusted alike
    clusters, _ = few_labels.by_mixture(points, seed)
    trust = few_labels.agreement(clusters, metrics.nearest_codes(points, 20)[0])
    return clusters, np.array([np.where(clusters == k, trust, -1).argmax() for k in range(10)])


# %% tags=["wrong"]
def by_trust(points, seed):  # indices that count within a cluster
    clusters, _ = few_labels.by_mixture(points, seed)
    trust = few_labels.agreement(clusters, metrics.nearest_codes(points, 20)[0])
    return clusters, np.array([trust[clusters == k].argmax() for k in range(10)])


# %% tags=["wrong"]
def by_trust(points, seed):  # nearest the mean, whatever its neighbors say
    clusters, _ = few_labels.by_mixture(points, seed)
    means = [points[clusters == k].mean(0) for k in range(10)]
    return clusters, np.array([few_labels.nearest(points, mean) for mean in means])


# %% [markdown] tags=["in-words"]
# Deep inside a cluster nearly every image has only neighbors of its own, so the second rule decides. Both rules avoid
# the border, where the strangers are, and so they mostly get the same answers.

# %% [markdown]
# ## 6.4 Ten labels, it says
#
# *debug, 15 min, medium*
#
# This function is said to need ten labels. Its pseudo-labels look good, and no wonder: in two places it looks at the
# labels of all images. Write it anew so that it does the same work with ten answers and no other look. The
# check hands it labels that are told one by one and counts.


# %% tags=["given"]
def broken_pseudo_labels(points, labels, seed):
    random, best = np.random.RandomState(seed), 0.0
    for _ in range(10):
        fitted = GaussianMixture(10, random_state=random).fit(points)
        accuracy = metrics.clustering_accuracy(labels, fitted.predict(points))
        if accuracy > best:
            best, clusters = accuracy, fitted.predict(points)
    names = np.array([np.bincount(labels[clusters == k]).argmax() for k in range(10)])
    return names[clusters]


# %% tags=["answer"]
def pseudo_labels(points, labels, seed):
    """A label (n,) for each of `points` (n, d), an array of integers: the answer that its cluster was given.

    Of ten fits the one is kept whose clusters look best without a label. `labels[i]` and `labels[[i, j]]`, or with an
    array of indices, ask; ten answers are to be had.
    """
    ### BEGIN SOLUTION
    fitted = max(few_labels.fits(points, 10, seed), key=lambda fit: few_labels.evenness(fit.weights_))
    answers = labels[few_labels.most_probable(points, fitted)]
    return answers[fitted.predict(points)]
    ### END SOLUTION


# %% tags=["check"]
class Asked:
    """Labels that tell up to ten answers, and refuse every other look."""

    def __init__(self, labels):
        self.labels, self.answers = labels, 0

    def __getitem__(self, which):
        told = self.labels[which]
        self.answers += np.size(told)
        checks.require(self.answers <= 10, f"It has asked for {self.answers} labels, and may go on. Ten are to be had, "
                       "one for each cluster.")  # fmt: skip
        return told

    def refuse(self, *_):
        raise checks.NotYet("It looks at the labels of all images at once. Which fit is best must be told without any.")

    def __len__(self):
        return len(self.labels)

    __array__ = __eq__ = __ne__ = __iter__ = refuse
    __hash__ = None


with checks.exercise("6.4", pseudo_labels):
    made = np.random.RandomState(0)
    centers = made.permutation(np.eye(10)) * 30
    places, true = np.repeat(centers, 30, 0) + made.randn(300, 10), np.repeat(made.permutation(10), 30)
    for points, of in ((places, true), (codes, labels)):
        oracle = Asked(of)
        given = np.asarray(pseudo_labels(points, oracle, 0))
        checks.require(given.shape == of.shape, f"For {len(of)} points it returns an array of the shape {given.shape}.")
        checks.require(oracle.answers, "It asks for no label. Where do the names of the clusters come from?")
        if of is true:
            checks.require((given == of).all(), f"Of ten clusters that lie far apart {(given == of).mean():.0%} of the "
                           "images get the right label. Is each cluster named by one of its own images, and is the "
                           "fit the most even of several?")  # fmt: skip
    honest, peeking = ((pseudo == labels).mean() for pseudo in (given, broken_pseudo_labels(codes, labels, 0)))
    print(f"Right pseudo-labels: {honest:.1%} with ten answers, {peeking:.1%} with all labels looked at.")


# %% tags=["also-right"]
def pseudo_labels(points, labels, seed):
    best = -1.0
    for start in range(10):
        fitted = GaussianMixture(10, random_state=seed + start).fit(points)
        shares = np.bincount(fitted.predict(points), minlength=10) / len(points)
        if shares.min() > best:
            best, kept = shares.min(), fitted
    belongs = kept.predict_proba(points)
    given = np.zeros(len(points), dtype=int)
    for cluster in range(10):
        middle = np.linalg.norm(points - kept.means_[cluster], axis=1).argmin()
        given[belongs.argmax(1) == cluster] = labels[int(middle)]
    return given


# %% tags=["wrong"]
pseudo_labels = broken_pseudo_labels


# %% tags=["wrong"]
def pseudo_labels(points, labels, seed):  # the fit is chosen honestly, the names are not
    clusters = few_labels.mixture(points, 10, seed).predict(points)
    return np.array([np.bincount(labels[clusters == k]).argmax() for k in range(10)])[clusters]


# %% tags=["wrong"]
def pseudo_labels(points, labels, seed):  # the names are honest, the choice of the fit is not
    fits = few_labels.fits(points, 10, seed)
    best = max(fits, key=lambda fit: metrics.clustering_accuracy(labels, fit.predict(points)))
    return labels[few_labels.most_probable(points, best)][best.predict(points)]


# %% tags=["wrong"]
def pseudo_labels(points, labels, seed):  # asks the first ten images, whichever clusters they are in
    clusters = few_labels.mixture(points, 10, seed).predict(points)
    return labels[np.arange(10)][clusters]


# %% [markdown] tags=["in-words"]
# The choice of the fit by its accuracy, and the names by the commonest label. The second is what a published clustering
# accuracy does, and says so; neither may be called "ten labels". A choice among ten fits by their accuracy is a peek as
# well if every fit alone is honest.

# %% [markdown]
# ## 6.5 A little doubt
#
# *compute, 15 min, medium*
#
# Label smoothing takes a share $\varepsilon$ of the target away from the label and spreads it evenly over all $k$
# classes, the label's own among them. So a network is not asked to be sure. How sure is it asked to be? Let it give
# the label a logit that lies by $g$ above that of all other classes, which are equal. Find by pencil the $g$ for which
# the cross-entropy is least. (When does a softmax have the least cross-entropy with given targets?)


# %% tags=["answer"]
def best_gap(smoothing, n_classes):
    """The gap between the label's logit and the others' for which the smoothed cross-entropy is least: a number."""
    ### BEGIN SOLUTION
    other = smoothing / n_classes  # the softmax should say what the target says
    return math.log((1 - smoothing + other) / other)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("6.5", best_gap):
    for smoothing, k in ((0.1, 10), (0.3, 10), (0.2, 2), (0.5, 4)):
        gap = checks.number(best_gap(smoothing, k), f"best_gap({smoothing}, {k})")
        logits = torch.zeros(1, k, dtype=torch.float64)

        def loss(of_label, logits=logits, smoothing=smoothing):
            logits = torch.cat([of_label.view(1, 1), logits[:, 1:]], 1)
            return F.cross_entropy(logits, torch.tensor([0]), label_smoothing=smoothing)

        at = torch.zeros((), dtype=torch.float64, requires_grad=True)
        for _ in range(200):  # Newton's steps to the lowest point, no longer than 1
            (slope,) = torch.autograd.grad(loss(at), at, create_graph=True)
            (bend,) = torch.autograd.grad(slope, at)
            at = (at - (slope / bend).clamp(-1, 1)).detach().requires_grad_()
        checks.close(
            gap, at.item(), f"For a smoothing of {smoothing} and {k} classes another gap has less cross-entropy.",
            {"The share is spread over all classes: the label gets its own part of it back.":
                 math.log((1 - smoothing) * (k - 1) / smoothing),
             "The label keeps more than that: it gets its own part of the share back.":
                 math.log((1 - smoothing) * k / smoothing),
             "That is the logarithm of the label's target, not the gap between two logits.":
                 math.log(1 - smoothing + smoothing / k)},
        )  # fmt: skip
    here, small = (checks.number(best_gap(smoothing, 10), "best_gap") for smoothing in (0.1, 0.001))
    print(f"At the chapter's smoothing a network is asked for a gap of {here:.2f} and no more.")
    print(f"At a thousandth it is {small:.2f}, and without smoothing no gap is large enough.")


# %% tags=["also-right"]
def best_gap(smoothing, n_classes):
    return math.log1p(n_classes * (1 - smoothing) / smoothing)


# %% tags=["wrong"]
def best_gap(smoothing, n_classes):  # as if it were spread over the other classes
    return math.log((1 - smoothing) * (n_classes - 1) / smoothing)


# %% tags=["wrong"]
def best_gap(smoothing, n_classes):  # the label's part of what is spread is forgotten
    return math.log((1 - smoothing) / (smoothing / n_classes))


# %% tags=["wrong"]
def best_gap(smoothing, n_classes):  # one logarithm of the two
    return math.log(1 - smoothing + smoothing / n_classes)


# %% [markdown]
# ## 6.6 Errors with and without a system
#
# *predict, 20 min, medium*
#
# A student learns from labels of which a third are wrong. Once chance chose which, and what is said instead. Once the
# errors have a system that strokes can show: in each class, it is the images with the most ink that carry the name of
# the *next* class. There are as many of them. Which kind of errors does the student repair more of, and which does it
# repeat? Say so first; then write the labels with a system. The check teaches a network each of the two.


# %% tags=["answer"]
def predicted():
    """Of which errors the student repairs more: "those of chance" or "those with a system"."""
    ### BEGIN SOLUTION
    return "those of chance"
    ### END SOLUTION


def wrong_by_ink(images, labels, share):
    """The labels, but of each class the share with the most ink has the next class's label (of the last, the first's).

    `images` (n, 1, 28, 28) and `labels` (n,), in 0..9, are tensors on one device; so is what is returned, a new tensor
    (n,). `share`, from 0 to 1, of each class's images is rounded to whole images.
    """
    ### BEGIN SOLUTION
    changed, ink = labels.clone(), images.flatten(1).sum(1)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        most = ink[members].argsort(descending=True)[: round(share * len(members))]
        changed[members[most]] = (label + 1) % 10
    return changed
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("6.6", predicted, wrong_by_ink):
    checks.option(predicted(), ("those of chance", "those with a system"))
    given = train.labels.clone()
    spoiled = wrong_by_ink(images, given, 1 / 3)
    checks.require((given == train.labels).all(), "It changes the labels that it was given: work on a copy.")
    checks.tensor(spoiled, "What it returns", (len(images),))
    wrong, ink = spoiled != train.labels, images.sum((1, 2, 3))
    checks.require((spoiled[wrong] == (train.labels[wrong] + 1) % 10).all(), "A wrong label should be that of the next "
                   "class; after the last one comes the first.")  # fmt: skip
    for label in range(10):
        of = train.labels == label
        checks.require(abs(wrong[of].sum() - of.sum() / 3) < 1, f"Of class {label}, {wrong[of].sum()} of {of.sum()} "
                       "labels are wrong, not a third.")  # fmt: skip
        checks.require(ink[of & wrong].min() >= ink[of & ~wrong].max() - 1e-3, f"In class {label}, an image with a "
                       "right label has more ink than one with a wrong label.")  # fmt: skip
    of_chance = datasets.mislabel(train.labels, 1 / 3, torch.Generator().manual_seed(0))
    repaired = {}
    for name, taught in {"those of chance": of_chance, "those with a system": spoiled}.items():
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), models.MLPClassifier(784)).to(images.device)
        training.train(student, training.smoothed_classification_loss, (images, taught), epochs=20, batch_size=64,
                       learning_rate=5e-3, weight_decay=0.3)  # fmt: skip
        says, wrong = metrics.predict(student, images), taught != train.labels
        repaired[name] = (says == train.labels)[wrong].float().mean().item()
        new = metrics.accuracy(student, validation.images, validation.labels)
        print(f"Errors, {name}: {repaired[name]:.0%} are repaired and {(says == taught)[wrong].float().mean():.0%} "
              f"repeated; right on new images: {new:.1%}.")  # fmt: skip
    print(f"More are repaired of {max(repaired, key=repaired.get)}; you said {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "those with a system"


def wrong_by_ink(images, labels, share):
    wrong = torch.zeros_like(labels, dtype=torch.bool)
    for label in range(10):
        ink = torch.where(labels == label, images.mean((1, 2, 3)), -1.0)
        wrong[ink.topk(round(share * int((labels == label).sum()))).indices] = True
    return torch.where(wrong, (labels + 1).remainder(10), labels)


# %% tags=["wrong"]
def predicted():
    return "both"


# %% tags=["wrong"]
def wrong_by_ink(images, labels, share):  # of all images, not of each class
    changed = labels.clone()
    most = images.flatten(1).sum(1).argsort(descending=True)[: round(share * len(labels))]
    changed[most] = (labels[most] + 1) % 10
    return changed


# %% tags=["wrong"]
def wrong_by_ink(images, labels, share):  # after the last class comes an eleventh
    changed, ink = labels.clone(), images.flatten(1).sum(1)
    for label in range(10):
        members = (labels == label).nonzero()[:, 0]
        changed[members[ink[members].argsort(descending=True)[: round(share * len(members))]]] = label + 1
    return changed


# %% tags=["wrong"]
def wrong_by_ink(images, labels, share):  # the labels that were given are changed
    ink = images.flatten(1).sum(1)
    for label, members in [(label, (labels == label).nonzero()[:, 0]) for label in range(10)]:
        labels[members[ink[members].argsort(descending=True)[: round(share * len(members))]]] = (label + 1) % 10
    return labels


# %% [markdown] tags=["in-words"]
# Those of chance. Nothing in an image tells that its label was drawn wrongly, so they can only be learned by heart,
# while right labels agree with each other. Errors with a system can be read off the images, and a student that learns
# faithfully learns them too: this is the confirmation bias of self-training, and a second student does not cure it. The
# chapter's clusters and its students go by different things, neighborhoods and strokes; as far as a cluster's errors
# are none that strokes show, they are like those of chance.

# %% [markdown]
# ## 6.7 True or false?
#
# *explain, 10 min, easy*
#
# Judge each statement, then say in words why, for one that is true and one that is false.
#
# - **a** The answers to the ten questions are all that the chapter's test accuracy owes to labels.
# - **b** Of two fits of a mixture, the one that describes the images better has the better clusters.
# - **c** If two runs of the chain give many images different labels, at least one of them is wrong about many images.
# - **d** If two runs of the chain give all images the same labels, these are right.
# - **e** A published clustering accuracy, under the best naming of the clusters, has used all labels of the images on
#   which it is measured.
# - **f** A student can be right about an image that it was taught under a wrong label.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": False, "b": False, "c": True, "d": False, "e": True, "f": True}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("6.7", judgments):
    checks.judged(
        judgments(),
        "6.7",
        {
            "a": "1f5cf54c",
            "b": "72bee819",
            "c": "c823cf2c",
            "d": "26f291ad",
            "e": "f06dcb31",
            "f": "bf8d9e7f",
        },
    )


# %% tags=["also-right"]
def judgments():
    return dict.fromkeys("abd", False) | dict.fromkeys("cef", True)


# %% tags=["wrong"]
def judgments():
    return {"a": True, "b": True, "c": True, "d": False, "e": True, "f": True}


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": False, "c": True, "d": False, "e": True}


# %% tags=["wrong"]
def judgments():
    return dict.fromkeys("abcdef", "no")


# %% [markdown] tags=["in-words"]
# a: the settings were chosen by the accuracy on labelled validation images; with ten labels nobody can do that. b: if
# one class falls apart in two and two others touch, the bad fit describes the images better. c: where two labels of an
# image differ, one is wrong. d: both runs rest on the same neighborhoods and may share their errors. e: the naming is
# chosen to fit them; ten names can be told from few labels, so it is a small help, but it is one. f: the network has to
# draw one line for thousands of images, and cannot bend it around single ones.

# %% [markdown]
# ## 6.8 Beat the ten-label figure
#
# *open problem, 180 min, hard*
#
# Write a function that gets all training images of this profile, without labels, and an oracle that answers ten
# questions. It returns a classifier. The check measures it on the test images, which your function never sees. These
# are the rules:
#
# - `ask(index)` returns the label of one training image. An eleventh question is refused, and so is a look at this
#   notebook's own labels. Images and names of classes are in another order than in the data. Whoever loads the labels
#   anew is not found out, and has solved another problem.
# - The classifier judges each image by itself, not by the images that come along with it.
# - Whatever you know of images, such as how they may be distorted, you may use. Settings that you choose by the
#   accuracy that the check prints are chosen on test images: tell what you tried.
#
# To be accepted, an answer must pass the chapter's first steps taken alone: a mixture of ten Gaussians, on 20 principal
# components, ten questions, and for a new image the label of the nearest training image. Above that stands the figure
# of the full report, which had an encoder, UMAP, three students and all training images. With the profile `full` you
# have as many images as it had. Can they be beaten? Can they with fewer?
#
# Tried for the chapter on development seeds, and no better: to teach only the labels trusted most, or soft ones; to
# erase parts of images or to bend them like rubber; finer clusters, fewer neighbors; to ask by clusters of pixels. What
# stayed wrong were mostly 1s with a foot, which lie among the 2s, and whatever is taught by them believes it.


# %% tags=["answer"]
def with_ten_answers(images, ask):
    """A classifier: a function from images (m, 1, 28, 28) to their labels (m,), in 0..9, a tensor or an array.

    `images` (n, 1, 28, 28) are the training images; ``ask(index)``, an integer from 0 to n - 1, returns the label of
    one of them, and answers ten times. Images that the classifier gets are on the same device.
    """

    ### BEGIN SOLUTION
    # A start, not the answer: slant and place are taken out by hand, then clusters in a graph of neighbors.
    def straight(images):
        at = torch.arange(28.0, device=images.device) - 13.5
        share = images[:, 0] / images.sum((2, 3)).clamp_min(1e-6)[:, :, None]  # of an image's ink, in each pixel
        x, y = (share.sum(1) * at).sum(1), (share.sum(2) * at).sum(1)
        right, down = at - x[:, None], at - y[:, None]  # of the center of the ink, (n, 28)
        slant = torch.einsum("nij,nj,ni->n", share, right, down) / (share.sum(2) * down**2).sum(1).clamp_min(1e-6)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        maps = torch.stack([torch.stack([one, slant, x / 14], 1), torch.stack([zero, one, y / 14], 1)], 1)
        grid = F.affine_grid(maps, images.shape, align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    def features(images):
        return F.avg_pool2d(straight(images), 2).flatten(1).cpu().numpy()

    points = features(images)
    graph = kneighbors_graph(points, 12)  # classes are what is joined, not what is round
    embedded = spectral_embedding(graph.maximum(graph.T), n_components=10, random_state=0)
    clusters, asked = few_labels.by_mixture(embedded, seed=0)
    near = KNeighborsClassifier(5).fit(points, np.array([ask(index) for index in asked])[clusters])
    return lambda new: near.predict(features(new))
    ### END SOLUTION


# %% tags=["check"]
import operator

from scipy.stats import binomtest


class Hidden:
    """What takes the place of the variables that hold labels, while an answer to the open problem runs."""

    def look(self, *_):
        raise checks.NotYet("Your function looks into one of this notebook's variables that hold labels or other "
                            "images. It may use what it is given: `images` and `ask`.")  # fmt: skip

    __getattr__ = __getitem__ = __len__ = __iter__ = __array__ = __eq__ = look
    __hash__ = None


def measure(answer):
    """Check an answer and print what it reaches. The labels are locals: the answer finds none in the notebook."""
    made, all_train, test = np.random.RandomState(8), chapter.data.train, chapter.data.test
    order, names, asked = made.permutation(len(all_train)), torch.tensor(made.permutation(10)), []
    seen, told = all_train.images[order], names[all_train.labels.cpu()[order]].tolist()

    def ask(index):
        asked.append(operator.index(index))
        checks.require(len(asked) <= 10, "That was an eleventh question: ten answers are to be had.")
        return told[asked[-1]]

    def answers(classifier, images):
        """What a classifier says of images, an array (n,)."""
        says = classifier(images.clone())
        says = np.asarray(says.detach().cpu() if isinstance(says, torch.Tensor) else says)
        checks.require(says.shape == (len(images),), f"For {len(images)} images your classifier returns an array of "
                       f"the shape {says.shape}. Asked for is one label for each.")  # fmt: skip
        return says

    held = {name: globals()[name] for name in ("chapter", "train", "validation", "labels", "found")}
    globals().update(dict.fromkeys(held, Hidden()))
    try:
        classifier = answer(seen.clone(), ask)
        checks.require(callable(classifier), "Return a function that takes images: the classifier.")
        few = np.concatenate([answers(classifier, image[None]) for image in test.images[:20]])
        says = answers(classifier, test.images)
    finally:
        globals().update(held)
    checks.require(len(asked) <= 10, f"It asked {len(asked)} questions: ten answers are to be had.")
    checks.require((few == says[:20]).mean() >= 0.9, "Your classifier says something else of an image alone than of "
                   "the same image among others. It has to judge each by itself (`eval()`?).")  # fmt: skip
    right = says == names[test.labels.cpu()].numpy()

    space = PCA(20, random_state=0).fit(seen.flatten(1).cpu().numpy())
    points, new = (space.transform(of.flatten(1).cpu().numpy()) for of in (seen, test.images))
    of_steps = [KNeighborsClassifier(1).fit(points, few_labels.ask(points, np.array(told), seed).labels).predict(new)
                for seed in range(2)]  # fmt: skip
    floor = np.mean([steps == names[test.labels.cpu()].numpy() for steps in of_steps])
    checks.require(right.mean() > floor, f"It is right on {right.mean():.1%} of the test images. The chapter's first "
                   f"steps alone, with principal components for codes, are on {floor:.1%}.")  # fmt: skip
    low, high = binomtest(int(right.sum()), len(right)).proportion_ci()
    print(f"{right.mean():.2%} of {len(right):,} test images ({low:.2%} to {high:.2%}), by {len(asked)} questions and "
          f"{len(seen):,} images; the first steps alone, {floor:.2%}.")  # fmt: skip
    reported = [entry for entry in results.read(kept_folder(chapter.data.name)).get("06_few_labels", [])
                if (entry["id"], entry["n_labels"], entry["split"]) == ("few_labels.accuracy", 10, "test")]  # fmt: skip
    if reported and reported[0]["value"]:
        value = reported[0]["value"]
        verdict = "is better" if low > value else "is worse" if high < value else "cannot be told from it"
        print(f"The full report on {chapter.data.name} has {value:.2%}, from all its images: yours {verdict}.")
    else:
        print(f"There is no full report on {chapter.data.name} to compare with.")


with checks.exercise("6.8", with_ten_answers):
    measure(with_ten_answers)


# %% tags=["also-right"]
def with_ten_answers(images, ask):  # images as they are, and a student that sees them distorted
    joined = kneighbors_graph(F.avg_pool2d(images, 2).flatten(1).cpu().numpy(), 12)
    places = spectral_embedding(joined.maximum(joined.T), n_components=10, random_state=0)
    groups = few_labels.mixture(places, 10, seed=0)
    names = [ask(int(index)) for index in few_labels.most_probable(places, groups)]
    pseudo = np.array(names)[groups.predict(places)]
    torch.manual_seed(0)
    student = models.ConvClassifier((8, 16, 32)).to(images.device)
    epochs = math.ceil(80 / math.ceil(len(images) / 64))  # eighty steps, or one pass
    taught = images, torch.tensor(pseudo, device=images.device)
    training.train(student, training.smoothed_classification_loss, taught, epochs=epochs, batch_size=64,
                   learning_rate=1e-2, weight_decay=0.1, transform=training.distorted)  # fmt: skip
    return lambda new: metrics.predict(student, new)


# %% tags=["wrong"]
def with_ten_answers(images, ask):  # a constant
    label = ask(0)
    return lambda new: np.full(len(new), label)


# %% tags=["wrong"]
def with_ten_answers(images, ask):  # ten random questions, and a nearest neighbor on pixels
    drawn = np.random.RandomState(0).choice(len(images), 10, replace=False)
    near = KNeighborsClassifier(1).fit(images[drawn].flatten(1).cpu().numpy(), [ask(index) for index in drawn])
    return lambda new: near.predict(new.flatten(1).cpu().numpy())


# %% tags=["wrong"]
def with_ten_answers(images, ask):  # a question for each of twelve clusters
    points = PCA(20, random_state=0).fit_transform(images.flatten(1).cpu().numpy())
    fitted = few_labels.mixture(points, 12, seed=0)
    names = np.array([ask(index) for index in few_labels.most_probable(points, fitted)])
    near = KNeighborsClassifier(5).fit(points, names[fitted.predict(points)])
    return lambda new: near.predict(new.flatten(1).cpu().numpy())


# %% tags=["wrong"]
def with_ten_answers(images, ask):  # the labels that answer the questions
    near = KNeighborsClassifier(1).fit(images.flatten(1).cpu(), globals()["told"])
    return lambda new: near.predict(new.flatten(1).cpu().numpy())


# %% tags=["wrong"]
def with_ten_answers(images, ask):  # labels from elsewhere
    near = KNeighborsClassifier(1).fit(chapter.data.train.images.flatten(1).cpu(), chapter.data.train.labels.cpu())
    return lambda new: near.predict(new.flatten(1).cpu().numpy())


# %% tags=["wrong"]
def with_ten_answers(images, ask):  # dropout and batch norm stay as in training
    clusters, asked = few_labels.by_mixture(PCA(20, random_state=0).fit_transform(images.flatten(1).cpu().numpy()), 0)
    pseudo = torch.tensor([ask(index) for index in asked], device=images.device)[clusters]
    student = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), models.MLPClassifier(784)).to(images.device)
    training.train(student, training.classification_loss, (images, pseudo), epochs=4, batch_size=64, learning_rate=1e-2)
    return lambda new: student.train()(new).argmax(1)


# %% [markdown] tags=["in-words"]
# The solution above is a start that passes the floor, and is far from the figure. Ways to go on: students that see
# distorted images; a restoring encoder in place of moments, which know nothing of clothes; an embedding in place of
# components; questions that wait for the answers before them, such as where two clusters may be one class. What counts
# beside the figure is how it was found: on how many seeds, and with settings chosen on which images?
