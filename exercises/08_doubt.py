# %% [markdown]
# # Exercises to chapter 8: does the model know what it does not know?
#
# Read [chapter 8](../08_doubt.ipynb) first; what these exercises need of it is defined anew below, so that this
# notebook runs by itself. For each, write the functions asked for, run their cell, and run the check below it, whose
# code is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and
# profile; nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or
# you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import math

import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from mnist_ae_utils import checks, metrics, models, training
from mnist_ae_utils.chapter import begin

chapter = begin("08_exercises", profile, dataset, device=device)
wanted = (chapter.data.train, 2_000), (chapter.data.validation, 500)  # enough for what is asked here
train, validation = (split.first(min(n, len(split))) for split, n in wanted)
names = chapter.data.class_names

# %% [markdown]
# `autoencoder` has never seen the class with the least ink, `lightest`; `is_strange` says which of the validation
# images belong to it. `told(scores)` is the AUROC with which scores of the validation images, large for a strange
# one, tell it from the others.

# %%
ink = {c: train.images[train.labels == c].sum((1, 2, 3)).mean().item() for c in train.labels.unique().tolist()}
lightest = min(ink, key=ink.get)
seen = train.labels != lightest
torch.manual_seed(0)
autoencoder = models.DenseAutoencoder(16).to(chapter.device)
training.train(autoencoder, training.reconstruction_loss, (train.images[seen],), epochs=15, learning_rate=5e-3)
is_strange = validation.labels == lightest


def told(scores):
    return roc_auc_score(is_strange.cpu(), torch.as_tensor(scores).cpu())


errors = metrics.image_errors(metrics.reconstruct(autoencoder, validation.images), validation.images)  # (n,)
print(f"never seen: {names[lightest]}; the reconstruction error tells it with an AUROC of {told(errors):.2f}")

# %% [markdown]
# ## 8.1 A share of pairs
#
# *compute, 10 min, easy*
#
# AUROC needs no threshold and no curve. Draw one strange image and one familiar image: in what share of all such
# pairs does the strange one have the larger score? Of a pair with equal scores, each takes one half. Write it from
# the two lists of scores.


# %% tags=["answer"]
def auroc(of_strange, of_familiar):
    """The AUROC, a number from 0 to 1. Both are tensors of scores, (n,) and (m,): n and m need not be equal."""
    ### BEGIN SOLUTION
    ahead = of_strange[:, None] - of_familiar  # (n, m), a number for each pair
    return ((ahead > 0).float() + (ahead == 0).float() / 2).mean().item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("8.1", auroc):
    generator = torch.Generator().manual_seed(0)
    of_strange = torch.randint(1, 7, (40,), generator=generator).float()
    of_familiar = torch.randint(0, 6, (70,), generator=generator).float()
    labels, scores = torch.cat([torch.ones(40), torch.zeros(70)]), torch.cat([of_strange, of_familiar])
    expected = roc_auc_score(labels, scores)
    nudge = 0.5 * labels  # decides every tie for the strange image; the other way round, against it
    checks.close(
        checks.number(auroc(of_strange, of_familiar), "auroc(...)", 0, 1), expected,
        "It is not the share of pairs in which the strange image has the larger score.",
        {"A pair with equal scores counts as won. It should count one half.": roc_auc_score(labels, scores + nudge),
         "A pair with equal scores counts as lost. It should count one half.": roc_auc_score(labels, scores - nudge),
         "That is the share of pairs in which the familiar image has the larger score.": 1 - expected},
    )  # fmt: skip
    for score, same in (("error", errors), ("error's square", errors**2), ("error's logarithm", errors.log())):
        found = checks.number(auroc(same[is_strange], same[~is_strange]), "auroc(...)", 0, 1)
        checks.close(found, told(same), "It does not hold for the errors of the autoencoder.")
        print(f"{names[lightest]}, by the {score}: {found:.3f}")


# %% tags=["also-right"]
def auroc(of_strange, of_familiar):  # by ranks: how many familiar scores lie below each strange one (Mann and Whitney)
    ordered = of_familiar.sort().values
    below = torch.searchsorted(ordered, of_strange, side="left")
    not_above = torch.searchsorted(ordered, of_strange, side="right")
    return (below + not_above).sum().item() / (2 * len(of_strange) * len(of_familiar))


# %% tags=["wrong"]
def auroc(of_strange, of_familiar):  # a tie is lost
    return (of_strange[:, None] > of_familiar).float().mean().item()


# %% tags=["wrong"]
def auroc(of_strange, of_familiar):  # the other way round
    ahead = of_familiar[:, None] - of_strange
    return ((ahead > 0).double() + (ahead == 0).double() / 2).mean().item()


# %% tags=["wrong"]
def auroc(of_strange, of_familiar):  # compared with the mean of the others only
    return (of_strange > of_familiar.mean()).float().mean().item()


# %% [markdown] tags=["in-words"]
# Only which of two scores is larger counts, so every function that keeps the order (a square of positive numbers, a
# logarithm) leaves the AUROC as it is. And it is a share of pairs: ten times as many familiar images give ten times
# as many pairs of each kind, and the same share.

# %% [markdown]
# ## 8.2 The best and the worst order
#
# *compute, 15 min, medium*
#
# A classifier gets a share $e$ of very many test images wrong. Its answers are given in some order, and the risk at
# coverage $c$ is the share of errors among the first $c$. The area under that curve, the AURC, lies between that of
# the ideal order, with all errors last, and that of the worst, with all errors first. Find both by pencil: what is
# the risk at each coverage, and what is its integral from 0 to 1?


# %% tags=["answer"]
def ideal_area(e):
    """The AURC of the ideal order, a number, for a share e of errors with 0 < e < 1."""
    ### BEGIN SOLUTION
    return e + (1 - e) * math.log(1 - e)
    ### END SOLUTION


def worst_area(e):
    """The AURC of the worst order, a number."""
    ### BEGIN SOLUTION
    return e - e * math.log(e)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("8.2", ideal_area, worst_area):
    n = 400_000
    coverage = torch.arange(1, n + 1).double() / n
    for e in (0.02, 0.2, 0.7):
        wrong = torch.arange(n) >= round(n * (1 - e))  # the ideal order; flipped, the worst
        best, worst = ((order.double().cumsum(0) / n / coverage).mean().item() for order in (wrong, wrong.flip(0)))
        found = [checks.number(area(e), f"{area.__name__}({e})", 0, 1) for area in (ideal_area, worst_area)]
        checks.require(found[0] <= found[1], f"For e = {e} your ideal order is worse than your worst one.")
        of_all = (
            f"For e = {e} the area of the {{}} order is that of errors over the number of *all* images. Risk is their "
            "share among the images that are answered."
        )
        random = f"For e = {e} that is the area of a random order, whose risk is e everywhere."
        checks.close(
            found[0], best, f"The area of the ideal order does not hold for e = {e}.",
            {random: e, of_all.format("ideal"): e**2 / 2}, absolute=2e-5,
        )  # fmt: skip
        checks.close(
            found[1], worst, f"The area of the worst order does not hold for e = {e}.",
            {random: e, of_all.format("worst"): e - e**2 / 2}, absolute=2e-5,
        )  # fmt: skip
        print(f"{e:.0%} errors: the AURC lies between {best:.2%} and {worst:.2%}")


# %% tags=["also-right"]
def ideal_area(e):  # no risk up to the coverage 1 - e, then 1 - (1 - e) / c, summed up in narrow steps
    c = 1 - e + e * (torch.arange(10**6).double() + 0.5) / 10**6
    return (e * (1 - (1 - e) / c).mean()).item()


def worst_area(e):
    return e * (1 + math.log(1 / e))


# %% tags=["wrong"]
def ideal_area(e):  # a random order
    return e


def worst_area(e):
    return e


# %% tags=["wrong"]
def ideal_area(e):  # errors divided by all images, not by those answered
    return e**2 / 2


def worst_area(e):
    return e - e**2 / 2


# %% tags=["wrong"]
def worst_area(e):  # as if no right answer followed
    return 1.0


# %% [markdown] tags=["in-words"]
# Ideal: up to the coverage 1 - e there is no error; after it the risk is (c - (1 - e)) / c = 1 - (1 - e) / c, whose
# integral from 1 - e to 1 is e + (1 - e) ln(1 - e), about e²/2 where e is small. Worst: the risk is 1 up to the
# coverage e and e / c after it: e - e ln e. So even the ideal order has an area, and one that grows with the errors:
# a network with fewer errors has a smaller AURC although it may know less about which they are.

# %% [markdown]
# ## 8.3 An error per ink
#
# *predict, 10 min, easy*
#
# The class with the least ink is cheap to draw, so that its reconstruction error may be small although no network has
# shown it. Divide the ink out: take the reconstruction error of each image *per ink*, its error divided by the sum of
# its pixels. Will the AUROC of `lightest`, printed above, rise or fall? Say so first.


# %% tags=["answer"]
def predicted():
    """What the AUROC of the class with the least ink does when the ink is divided out: "rises" or "falls"."""
    ### BEGIN SOLUTION
    return "rises"
    ### END SOLUTION


def per_ink(images):
    """The reconstruction error of `autoencoder` per ink: a tensor (n,). Images are (n, 1, 28, 28), none is blank."""
    ### BEGIN SOLUTION
    restored = metrics.reconstruct(autoencoder, images)
    return metrics.image_errors(restored, images) / images.sum((1, 2, 3))
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("8.3", predicted, per_ink):
    checks.option(predicted(), ("rises", "falls"))
    found = checks.tensor(per_ink(validation.images), "per_ink(images)", (len(validation.images),))
    amounts, restored = validation.images.sum((1, 2, 3)), metrics.reconstruct(autoencoder, validation.images)
    checks.close(
        found, errors / amounts, "It is not each image's squared error over the sum of its pixels.",
        {"That is the error itself: the ink is not divided out.": errors,
         "Each image has ink of its own. Yours are divided by one number for all.": errors / amounts.mean(),
         "That is the error per *pixel*. Ink is the sum of the pixels.": errors / models.PIXELS,
         "That is divided by the ink of the reconstruction. The image's own is asked for.":
             errors / restored.sum((1, 2, 3))},
    )  # fmt: skip
    before, after = told(errors), told(found)
    print(f"AUROC of {names[lightest]}: {before:.2f} by the error, {after:.2f} by the error per ink")
    print(f"It {'rises' if after > before else 'falls'}; you said that it {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "falls"


def per_ink(images):
    with torch.no_grad():
        differences = autoencoder.eval()(images) - images
    return torch.stack([(d * d).sum() / image.sum() for d, image in zip(differences, images, strict=True)])


# %% tags=["wrong"]
def per_ink(images):  # one number for all images
    return metrics.image_errors(metrics.reconstruct(autoencoder, images), images) / images.sum((1, 2, 3)).mean()


# %% tags=["wrong"]
def per_ink(images):  # per pixel
    return (metrics.reconstruct(autoencoder, images) - images).square().flatten(1).mean(1)


# %% tags=["wrong"]
def per_ink(images):  # the mean over images
    restored = metrics.reconstruct(autoencoder, images)
    return (metrics.image_errors(restored, images) / images.sum((1, 2, 3))).mean()


# %% tags=["wrong"]
def predicted():
    return "it rises"


# %% [markdown] tags=["in-words"]
# It says something else now: not how much is drawn wrongly, but how much of what there is to draw. Where images
# differ much in ink, that is a larger share for the class with the least, which no longer hides behind it, and the
# AUROC rises. But ink that is divided out counts against every thin image of every class, too: the score is no purer,
# it has another bias, and where ink was not what disturbed, the AUROC may fall.

# %% [markdown]
# ## 8.4 One ellipsoid for each class
#
# *change, 20 min, medium*
#
# The chapter's Mahalanobis distance takes all codes for one ellipsoid. But the codes of each class lie elsewhere, and
# between two classes there may be a gap right in the middle of that ellipsoid. Give each class a mean and a
# covariance of its own, and take the distance to the nearest class: $\min_c \sqrt{(z - \mu_c)^\top \Sigma_c^{-1} (z -
# \mu_c)}$. Which knowledge does it use that the chapter's lacks?


# %% tags=["answer"]
def to_nearest_class(known, labels, asked):
    """How far each code asked for (m, d) is from the nearest class, in units of that class's spread: a tensor (m,).

    `known` (n, d) are codes of training images, `labels` (n,) their classes: any integers, not each of 0 to 9.
    """
    ### BEGIN SOLUTION
    distances = []
    for label in labels.unique():
        codes = known[labels == label]
        away = asked - codes.mean(0)
        distances.append((away * torch.linalg.solve(codes.T.cov(), away.T).T).sum(1).sqrt())
    return torch.stack(distances).min(0).values
    ### END SOLUTION


# %% tags=["check"]
from sklearn.covariance import EmpiricalCovariance

with checks.exercise("8.4", to_nearest_class):
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randn(3, 4, 4, generator=generator)
    labels = torch.tensor([0, 3, 4]).repeat(200)
    means = 4 * torch.randn(3, 4, generator=generator)
    known = torch.randn(200, 3, 1, 4, generator=generator) @ shapes + means[:, None]  # 200 codes of each class
    known = known.flatten(0, 2)
    asked = 4 * torch.randn(50, 4, generator=generator)

    def mahalanobis(codes, points):
        return torch.tensor(EmpiricalCovariance().fit(codes.numpy()).mahalanobis(points.numpy())).sqrt()

    of_class = torch.stack([mahalanobis(known[labels == c], asked) for c in (0, 3, 4)])
    away = torch.stack([asked - known[labels == c].mean(0) for c in (0, 3, 4)])
    of_all = torch.stack([mahalanobis(known - known.mean(0), points) for points in away])
    centered = torch.cat([known[labels == c] - known[labels == c].mean(0) for c in (0, 3, 4)])
    of_both = torch.stack([mahalanobis(centered, points) for points in away])
    found = to_nearest_class(known, labels, asked)
    has_all = not isinstance(found, torch.Tensor) or found.isfinite().all()
    hint = (
        "Some distances are infinite or not a number. The labels here are 0, 3 and 4: has one of your classes no codes?"
    )
    checks.require(has_all, hint)
    checks.tensor(found, "to_nearest_class(known, labels, asked)", (50,))
    checks.close(
        found, of_class.min(0).values, "It is not the distance to the nearest class, in units of that class's spread.",
        {"That is the chapter's distance: one mean and one covariance for all codes.": mahalanobis(known, asked),
         "All classes have the same covariance in yours, that of all codes. Each should have its own.":
             of_all.min(0).values,
         "All classes have the same covariance in yours. Each should have its own.": of_both.min(0).values,
         "That is the distance's square.": of_class.min(0).values ** 2,
         "That is the mean distance of all classes. The nearest is asked for.": of_class.mean(0),
         "That is the plain distance to the nearest mean: no covariance is used.":
             away.norm(dim=2).min(0).values},
        relative=0.02,  # a covariance divides by n or by n - 1
    )  # fmt: skip
    splits = train.images[seen], validation.images
    codes, of_validation = (metrics.encode(autoencoder, images).cpu().double() for images in splits)
    several = checks.tensor(
        to_nearest_class(codes, train.labels[seen].cpu(), of_validation), "to_nearest_class", (len(of_validation),)
    )
    one = told(mahalanobis(codes, of_validation))
    print(f"AUROC of {names[lightest]}: {one:.2f} by one ellipsoid, {told(several):.2f} by one for each class")


# %% tags=["also-right"]
import numpy as np


def to_nearest_class(known, labels, asked):  # whitened, so that each ellipsoid becomes a ball
    known, of, points = (values.cpu().numpy() for values in (known, labels, asked))
    nearest = np.full(len(points), np.inf)
    for label in set(of.tolist()):
        mean = known[of == label].mean(axis=0)
        spread = np.linalg.cholesky(np.cov(known[of == label].T, bias=True))
        nearest = np.minimum(nearest, np.linalg.norm(np.linalg.inv(spread) @ (points - mean).T, axis=0))
    return torch.tensor(nearest)


# %% tags=["wrong"]
def to_nearest_class(known, labels, asked):  # a mean for each class, but one covariance of all codes
    precision = torch.linalg.inv(known.T.cov())
    away = torch.stack([asked - known[labels == label].mean(0) for label in labels.unique()])
    return (away @ precision * away).sum(2).sqrt().min(0).values


# %% tags=["wrong"]
def to_nearest_class(known, labels, asked):  # squared
    away = [(asked - known[labels == label].mean(0), known[labels == label].T.cov()) for label in labels.unique()]
    return torch.stack([(a @ torch.linalg.inv(covariance) * a).sum(1) for a, covariance in away]).min(0).values


# %% tags=["wrong"]
def to_nearest_class(known, labels, asked):  # the nearest mean, however the class is spread
    return torch.cdist(asked, torch.stack([known[labels == label].mean(0) for label in labels.unique()])).min(1).values


# %% tags=["wrong"]
def to_nearest_class(known, labels, asked):  # classes counted from 0 without a gap
    distances = []
    for label in range(len(labels.unique())):
        codes = known[labels == label]
        away, around = asked - codes.mean(0), codes - codes.mean(0)
        distances.append((away @ torch.linalg.inv(around.T @ around / len(codes)) * away).sum(1).sqrt())
    return torch.stack(distances).min(0).values


# %% [markdown] tags=["in-words"]
# It knows the classes of the training images. So it is no rival of a detector without labels, but of the softmax.
# What it cannot have, either, is an ellipsoid for a class that it never saw: codes of that class are strange only
# where they lie between the others, or beyond them.

# %% [markdown]
# ## 8.5 A temperature by pencil
#
# *compute, 15 min, medium*
#
# A classifier of $K$ classes is as sure of each of its answers: the logit of the class that it names lies by $g$
# above all others, and these are equal. It is right in a share $a$ of the images, $1/K < a < 1$, and where it is
# wrong, each of the other classes is as probable. Which temperature makes its NLL least? Find a formula by pencil,
# without a search.


# %% tags=["answer"]
def best_temperature(gap, accuracy, n_classes):
    """The temperature with the least NLL, a positive number."""
    ### BEGIN SOLUTION
    return gap / math.log(accuracy * (n_classes - 1) / (1 - accuracy))
    ### END SOLUTION


# %% tags=["check"]
from scipy.optimize import minimize_scalar

with checks.exercise("8.5", best_temperature):
    for gap, accuracy, n_classes in ((4.0, 0.9, 2), (4.0, 0.9, 10), (2.0, 0.6, 10), (9.0, 0.99, 5)):
        logits = torch.tensor([[gap] + [0.0] * (n_classes - 1)]).double()
        wrong = (1 - accuracy) / (n_classes - 1)
        shares = torch.tensor([[accuracy] + [wrong] * (n_classes - 1)]).double()  # of the true classes

        def loss(log_temperature, logits=logits, shares=shares):
            return F.cross_entropy(logits / math.exp(log_temperature), shares).item()

        best = math.exp(minimize_scalar(loss, bounds=(-5, 5)).x)
        case = f"For g = {gap:g}, a = {accuracy} and K = {n_classes}"
        checks.close(
            checks.number(best_temperature(gap, accuracy, n_classes), "best_temperature(...)"), best,
            f"{case} another temperature has a smaller NLL.",
            {f"{case} that is 1 / T: which of the two divides the logits?": 1 / best,
             f"{case} you have counted the answer against one other class. How many are there?":
                 gap / math.log(accuracy / (1 - accuracy)),
             f"{case} you have taken the logarithm of the probability. Which gap of logits gives it?":
                 gap / -math.log(accuracy)},
            relative=1e-2,
        )  # fmt: skip
        print(f"{case}, T = {best:.2f}; the answer then has the probability "
              f"{(logits / best).softmax(1)[0, 0]:.2f}")  # fmt: skip


# %% tags=["also-right"]
def best_temperature(gap, accuracy, n_classes):  # the gap that gives the probability a, by bisection
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        too_sure = 1 / (1 + (n_classes - 1) * math.exp(-middle)) > accuracy
        low, high = (low, middle) if too_sure else (middle, high)
    return gap / middle


# %% tags=["wrong"]
def best_temperature(gap, accuracy, n_classes):  # as if there were two classes
    return gap / math.log(accuracy / (1 - accuracy))


# %% tags=["wrong"]
def best_temperature(gap, accuracy, n_classes):  # multiplies
    return math.log(accuracy * (n_classes - 1) / (1 - accuracy)) / gap


# %% tags=["wrong"]
def best_temperature(gap, accuracy, n_classes):  # an answer's logarithm is no logit
    return -gap / math.log(accuracy)


# %% [markdown] tags=["in-words"]
# The NLL is that of a guess that says p where a share a is right, and is least at p = a (set its derivative to 0). So
# T has to make 1 / (1 + (K - 1) exp(-g / T)) = a, and T = g / ln(a (K - 1) / (1 - a)). The fitted temperature makes
# the probability what the accuracy is. It does not ask *which* answers are right: here it cannot, all are equally
# sure.

# %% [markdown]
# ## 8.6 Calibrated three times wrongly
#
# *debug, 20 min, medium*
#
# This function fits a temperature and returns it with the expected calibration error of what comes out. It runs, and
# its ECE may even look good. It has three mistakes. Find them, and write it anew without them. (What is each argument
# for? What does `F.cross_entropy` take? Whose probability does a calibrated classifier get right?)


# %% tags=["given"]
def broken_calibration(validation_logits, validation_labels, test_logits, test_labels):
    def nll(temperature):
        return F.cross_entropy((test_logits / temperature).softmax(1), test_labels).item()

    best = min((10 ** (k / 100) for k in range(-100, 101)), key=nll)  # tries 0.1 to 10
    probabilities = (test_logits / best).softmax(1)
    sure = probabilities[torch.arange(len(test_labels)), test_labels]
    right = (test_logits.argmax(1) == test_labels).float()
    bins = sure.argsort().tensor_split(15)  # of equally many images
    return best, torch.stack([(sure[bin].mean() - right[bin].mean()).abs() for bin in bins]).mean().item()


# %% tags=["answer"]
def calibration(validation_logits, validation_labels, test_logits, test_labels):
    """The fitted temperature and the ECE on test images with it, in 15 bins of equally many: two numbers.

    Logits are tensors (n, n_classes), labels (n,) integers.
    """

    ### BEGIN SOLUTION
    def nll(temperature):
        return F.cross_entropy(validation_logits / temperature, validation_labels).item()

    best = min((10 ** (k / 100) for k in range(-100, 101)), key=nll)
    sure, answer = (test_logits / best).softmax(1).max(1)
    right = (answer == test_labels).float()
    bins = sure.argsort().tensor_split(15)
    return best, torch.stack([(sure[bin].mean() - right[bin].mean()).abs() for bin in bins]).mean().item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("8.6", calibration):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (2, 1_500), generator=generator)
    logits = torch.randn(2, 1_500, 10, generator=generator) + 2.5 * F.one_hot(labels, 10)
    logits *= torch.tensor([2.0, 4.0]).view(2, 1, 1)  # so that the second, the test images, need another temperature
    given = [tensor for pair in zip(logits, labels, strict=True) for tensor in pair]

    def fitted(logits, labels, twice=False):
        grid = [math.exp(k / 100) for k in range(-230, 231)]
        losses = [(logits / T).log_softmax(1) for T in grid]
        losses = [(of.exp().log_softmax(1) if twice else of).gather(1, labels[:, None]).mean().item() for of in losses]
        return grid[losses.index(max(losses))]

    def error(sure):
        order = sure.sort().indices.view(15, 100)
        right = (logits[1].argmax(1) == labels[1]).double()
        return (sure.double()[order].mean(1) - right[order].mean(1)).abs().mean().item()

    found = calibration(*given)
    checks.several(found, 2, "Return two numbers: the temperature and the ECE.")
    temperature = checks.number(found[0], "The temperature", 0)
    checks.close(
        temperature, fitted(*given[:2]), "Another temperature has a smaller NLL on the validation images.",
        {"That temperature suits the test images best. Which images may it be fitted to?": fitted(*given[2:]),
         "`F.cross_entropy` has a softmax of its own: what does it do to probabilities?":
             fitted(*given[:2], twice=True)},
        relative=0.03,
    )  # fmt: skip
    probabilities = (logits[1] / temperature).softmax(1)
    of_true = probabilities.gather(1, labels[1][:, None])[:, 0]
    checks.close(
        checks.number(found[1], "The ECE", 0, 1), error(probabilities.max(1).values),
        "The temperature is right, but the ECE is not.",
        {"The temperature is right. The ECE bins the probability of the *true* class, which nobody knows who has to "
         "trust an answer.": error(of_true),
         "The temperature is right, but the ECE is that without it.": error(logits[1].softmax(1).max(1).values),
         "The temperature is right. The ECE is that of the validation images' temperature on these images: mind which "
         "logits you divide.": error((logits[0] / temperature).softmax(1).max(1).values)},
    )  # fmt: skip
    print(f"broken: T = {broken_calibration(*given)[0]:.2f}, mended: T = {temperature:.2f}")


# %% tags=["also-right"]
def calibration(validation_logits, validation_labels, test_logits, test_labels):
    log_temperature = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def step():
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(validation_logits / log_temperature.exp(), validation_labels)
        loss.backward()
        return loss

    optimizer.step(step)
    temperature = log_temperature.exp().item()
    probabilities = (test_logits / temperature).softmax(dim=1)
    gaps = []
    for bin in probabilities.amax(1).argsort().chunk(15):
        gaps.append(
            abs(probabilities[bin].amax(1).mean() - (probabilities[bin].argmax(1) == test_labels[bin]).float().mean())
        )
    return [temperature, float(sum(gaps) / 15)]


# %% tags=["wrong"]
calibration = broken_calibration


# %% tags=["wrong"]
def calibration(validation_logits, validation_labels, test_logits, test_labels):  # fitted to the test images
    losses = {}
    for k in range(-100, 101):
        losses[10 ** (k / 100)] = F.cross_entropy(test_logits / 10 ** (k / 100), test_labels).item()
    best = min(losses, key=losses.get)
    probabilities = (test_logits / best).softmax(1)
    sure = probabilities.max(1).values
    right = (test_logits.argmax(1) == test_labels).float()
    bins = sure.argsort().tensor_split(15)
    return best, torch.stack([(sure[bin].mean() - right[bin].mean()).abs() for bin in bins]).mean().item()


# %% tags=["wrong"]
def calibration(validation_logits, validation_labels, test_logits, test_labels):  # the softmax twice
    losses = {}
    for k in range(-100, 101):
        losses[10 ** (k / 100)] = F.cross_entropy(
            (validation_logits / 10 ** (k / 100)).softmax(1), validation_labels
        ).item()
    best = min(losses, key=losses.get)
    probabilities = (test_logits / best).softmax(1)
    sure = probabilities.max(1).values
    right = (test_logits.argmax(1) == test_labels).float()
    bins = sure.argsort().tensor_split(15)
    return best, torch.stack([(sure[bin].mean() - right[bin].mean()).abs() for bin in bins]).mean().item()


# %% tags=["wrong"]
def calibration(validation_logits, validation_labels, test_logits, test_labels):  # the probability of the true class
    losses = {}
    for k in range(-100, 101):
        losses[10 ** (k / 100)] = F.cross_entropy(validation_logits / 10 ** (k / 100), validation_labels).item()
    best = min(losses, key=losses.get)
    probabilities = (test_logits / best).softmax(1)
    sure = probabilities.gather(1, test_labels[:, None])[:, 0]
    right = (test_logits.argmax(1) == test_labels).float()
    bins = sure.argsort().tensor_split(15)
    return best, torch.stack([(sure[bin].mean() - right[bin].mean()).abs() for bin in bins]).mean().item()


# %% [markdown] tags=["in-words"]
# 1: The temperature is fitted to the images on which it is then judged. With one number that flatters little, but it
# is the test set that has been used to choose. 2: cross_entropy takes logits; given probabilities, it takes their
# softmax, which is nearly even whatever they are, so that the sharpest probabilities look best. 3: Who uses an answer
# sees the probability of the class that is named. Binned by that of the true class, every low bin holds nothing but
# errors.

# %% [markdown]
# ## 8.7 How sure may a network become?
#
# *predict, 15 min, medium*
#
# The check trains an MLP on pixels three times, for equally long: without weight decay, with ten times and with
# thirty times that of the chapter's classifiers. Measure how far it is *too sure*: the mean probability of its
# answers minus their accuracy. Before you run the check, say on which side of 0 the network with the *strongest*
# weight decay ends.


# %% tags=["answer"]
def predicted():
    """What the network with the strongest weight decay is on new images: "too sure" or "not sure enough"."""
    ### BEGIN SOLUTION
    return "not sure enough"
    ### END SOLUTION


def too_sure_by(logits, labels):
    """The mean probability of the answers minus the share of right ones, a number from -1 to 1.

    Logits are a tensor (n, n_classes), labels (n,) integers.
    """
    ### BEGIN SOLUTION
    probability, answer = logits.softmax(1).max(1)
    return (probability.mean() - (answer == labels).float().mean()).item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("8.7", predicted, too_sure_by):
    checks.option(predicted(), ("too sure", "not sure enough"))
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (400,), generator=generator)
    logits = 2 * torch.randn(400, 6, generator=generator) + 2 * F.one_hot(labels, 6)
    p, right = logits.double().softmax(1), (logits.max(1).indices == labels).double()
    found = checks.number(too_sure_by(logits, labels), "too_sure_by(logits, labels)", -1, 1)
    checks.close(
        found, p.amax(1).mean() - right.mean(),
        "It is not the mean probability of the answers minus the share of right ones.",
        {"That is the accuracy minus the probability: the other way round.": right.mean() - p.amax(1).mean(),
         "You have taken the probability of the *true* class. The answer's is asked for.":
             p.gather(1, labels[:, None]).mean() - right.mean(),
         "That is the mean of the distances without their sign, image by image. Take both means first.":
             (p.amax(1) - right).abs().mean(),
         "A logit is no probability: what makes one of it?": logits.amax(1).mean() - right.mean()},
        absolute=1e-5,
    )  # fmt: skip
    by = {}
    for weight_decay in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), models.MLPClassifier(models.PIXELS)).to(chapter.device)
        training.train(
            net, training.classification_loss, (train.images, train.labels), epochs=30, learning_rate=1e-2,
            weight_decay=weight_decay,
        )  # fmt: skip
        accuracy = metrics.accuracy(net, train.images, train.labels)
        logits = metrics.in_batches(net, validation.images)
        by[weight_decay] = checks.number(too_sure_by(logits, validation.labels), "too_sure_by(...)", -1, 1)
        print(
            f"weight decay {weight_decay:g}: {1 - accuracy:.1%} errors in training, too sure by {by[weight_decay]:+.1%}"
        )
    it = "too sure" if by[3.0] > 0 else "not sure enough"
    print(f"With the strongest weight decay it is {it}; you said: {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "too sure"


def too_sure_by(logits, labels):
    p, right = [], 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p.append(1 / sum(math.exp(logit - max(row)) for logit in row))
        right += row.index(max(row)) == label
    return (sum(p) - right) / len(p)


# %% tags=["wrong"]
def too_sure_by(logits, labels):  # the true class
    p = logits.softmax(1)
    return (p[torch.arange(len(p)), labels].mean() - (p.argmax(1) == labels).float().mean()).item()


# %% tags=["wrong"]
def too_sure_by(logits, labels):  # without its sign
    probability, answer = logits.softmax(1).max(1)
    return (probability - (answer == labels).float()).abs().mean().item()


# %% tags=["wrong"]
def too_sure_by(logits, labels):  # the softmax over images
    probability, answer = logits.softmax(0).max(1)
    return (probability.mean() - (answer == labels).float().mean()).item()


# %% tags=["wrong"]
def predicted():
    return "calibrated"


# %% [markdown] tags=["in-words"]
# Once all training images are right, their cross-entropy can fall only by larger logits, so that the network without
# weight decay becomes surer than new images warrant. Weight decay pulls all weights towards 0 at every step, and the
# logits with them: a network may name the right class by a small margin only, and then says less than it knows.
# Neither has to do with what its features are worth.

# %% [markdown]
# ## 8.8 True or false, and one proof
#
# *explain, 15 min, hard*
#
# Judge each statement. One of them is surprising: give evidence for or against **c** by two images' logits.
#
# - **a** With ten times as many familiar images of the same kind, the AUROC gets closer to 1.
# - **b** A temperature can change a classifier's accuracy.
# - **c** A temperature can change which of two images a classifier is surer of, and so its risk-coverage curve.
# - **d** Of two classifiers, the one with the smaller ECE makes fewer errors.
# - **e** The threshold of an alarm that tells the strange test images best shows how well the alarm will do on
#   others.
# - **f** The mean of several networks' class probabilities (an *ensemble*, [Lakshminarayanan et al.
#   2017](../REFERENCES.md#l)) never has a larger NLL than these networks have on average.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": False, "b": False, "c": True, "d": False, "e": False, "f": True}
    ### END SOLUTION


def two_images():
    """Finite logits of two images, a tensor (2, n_classes): surer of the first with T = 1, of the second with T = 4.

    None, if there are no such images.
    """
    ### BEGIN SOLUTION
    a_little_of_all = [5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    torn_between_two = [1.0, 0.0, -99.0, -99.0, -99.0, -99.0, -99.0, -99.0, -99.0, -99.0]
    return torch.tensor([a_little_of_all, torn_between_two])
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("8.8", judgments, two_images):
    sealed = {"a": "4a3bfd3d", "b": "094d208f", "c": "440ca80e", "d": "386ac0c7", "e": "bf1a1999", "f": "90dd7953"}
    checks.judged(judgments(), "8.8", sealed)
    logits = two_images()
    checks.require(logits is not None, "There are such images. What becomes of many small probabilities with T = 4?")
    checks.tensor(logits, "What two_images() returns", (2, None))
    checks.require(
        logits.shape[1] > 2, "With two classes, only the gap between their logits counts, and no temperature changes "
        "which gap is larger: take more classes."
    )  # fmt: skip
    cold, hot = ((logits.double() / T).softmax(1).amax(1) for T in (1, 4))
    checks.require(
        cold[0] > cold[1], f"With T = 1 it is as sure of the second image, or surer: {cold[0]:.3f}, {cold[1]:.3f}."
    )
    checks.require(
        hot[0] < hot[1], f"With T = 4 it is still as sure of the first image, or surer: {hot[0]:.3f}, {hot[1]:.3f}."
    )
    print(f"T = 1: {cold[0]:.2f} and {cold[1]:.2f}; T = 4: {hot[0]:.2f} and {hot[1]:.2f}")


# %% tags=["also-right"]
def two_images():  # three classes are enough
    return torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.0, -30.0]])


# %% tags=["wrong"]
def judgments():
    return {"a": True, "b": False, "c": True, "d": False, "e": False, "f": True}


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": True, "c": False, "d": False, "e": True, "f": False}


# %% tags=["wrong"]
def two_images():  # two classes
    return torch.tensor([[3.0, 0.0], [1.0, 0.0]])


# %% tags=["wrong"]
def two_images():  # they keep their order
    return torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


# %% tags=["wrong"]
def two_images():
    return None


# %% [markdown] tags=["in-words"]
# a: it is a share of pairs (8.1). b: all logits of an image are divided by one number, so that the largest stays the
# largest. c: one image is torn between two classes; of another, all classes keep a little. With a higher temperature
# all the little ones add up, and the image of which all classes keep a little loses more. So a temperature can reorder
# the answers of different images, and with them the curve, though as a rule by little. d: a classifier that gives every
# class a tenth is calibrated and mostly wrong. e: it was chosen for these strange images; others, which nobody had when
# choosing, may score otherwise. Choose it on familiar validation images, by the false alarms that one can afford. f:
# -log is convex, so that the NLL of a mean is at most the mean of the NLLs (Jensen). Nothing of the kind holds for the
# ECE: members that are not sure enough make an ensemble that is even less so.
