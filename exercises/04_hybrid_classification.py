# %% [markdown]
# # Exercises to chapter 4: when do an autoencoder's codes help?
#
# Read [chapter 4](../04_hybrid_classification.ipynb) first; what these exercises need of it is defined anew below, so
# that this notebook runs by itself. For each, write the function asked for, run its cell, and run the check below it,
# whose code is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and
# profile; nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import copy
import math

import numpy as np
import torch
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F

from mnist_ae_utils import checks, metrics, models, training
from mnist_ae_utils.chapter import begin
from mnist_ae_utils.data import labelled_subset

chapter = begin("04_exercises", profile, dataset, device=device)
data, n_classes = chapter.data, 10
train = data.train.first(min(2_000, len(data.train)))  # enough for what is asked here
validation, test = (split.first(min(500, len(split))) for split in (data.validation, data.test))

# %% [markdown]
# A small convolutional autoencoder is trained on the images of `train`, without their labels. `codes` are its codes of
# all three splits, by name: tensors (n, 16).

# %%
torch.manual_seed(0)
autoencoder = models.ConvAutoencoder(16, channels=(8, 16)).to(chapter.device)
training.train(autoencoder, training.reconstruction_loss, (train.images,), epochs=6, batch_size=64, learning_rate=1e-2)
codes = {
    name: metrics.encode(autoencoder, split.images)
    for name, split in {"train": train, "validation": validation, "test": test}.items()
}
print(f"reconstruction error per validation image: {metrics.reconstruction_error(autoencoder, validation.images):.1f}")

# %% [markdown]
# ## 4.1 Ten labels, drawn blindly
#
# *compute, 20 min, medium*
#
# In the chapter ten labels are one of each class. Whoever labels the first ten images that come along has no such
# luck. Let `c` classes be equally frequent, and let `n` images be labelled, each of any class whatever the others are.
# How many classes are missing, on average, and how probable is it that none is? Find both formulas by pencil; the
# second may be a sum. (For the first: how probable is it that a given class is missing? Means add up, even of what
# hangs together. For the second: take from 1 the probability that this class is missing, or that, or that; what two of
# them share was taken away twice, and has to be given back; and so on.)


# %% tags=["answer"]
def expected_missing(n, c):
    """How many of `c` equally frequent classes are on average not among `n` images: a number."""
    ### BEGIN SOLUTION
    return c * (1 - 1 / c) ** n
    ### END SOLUTION


def all_there(n, c):
    """The probability, from 0 to 1, that each of `c` equally frequent classes is among `n` images: a number."""
    ### BEGIN SOLUTION
    return sum((-1) ** j * math.comb(c, j) * (1 - j / c) ** n for j in range(c + 1))
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("4.1", expected_missing, all_there):
    for n, c in ((2, 2), (3, 3), (2, 3), (5, 3), (6, 4), (10, 10), (30, 10)):
        seen = np.eye(1, c + 1)[0]  # seen[j]: how probable it is that j classes have been seen
        for _ in range(n):
            seen = seen * np.arange(c + 1) / c + np.append(0, (seen * (1 - np.arange(c + 1) / c))[:-1])
        there = float(seen @ np.arange(c + 1))
        checks.close(
            checks.number(expected_missing(n, c), f"expected_missing({n}, {c})", 0, c), c - there,
            f"expected_missing({n}, {c}) is not right. One class is missing if each of the images is of another one.",
            {"That is how many classes are there, not how many are missing.": there,
             "An image can be of a class that is there already: even more labels than classes can miss some.":
                 max(c - n, 0),
             "That is the probability that one given class is missing. How many classes are there?": (c - there) / c},
            relative=1e-6, absolute=1e-9,
        )  # fmt: skip
        checks.close(
            checks.number(all_there(n, c), f"all_there({n}, {c})"), seen[c],
            f"all_there({n}, {c}) is not right. Try it for two classes, where all cases can be counted by hand.",
            {"That takes the classes to be there or not independently of each other. But if one is missing, each of "
             "the others is more probable.": (1 - (1 - 1 / c) ** n) ** c,
             "That is the probability that some class is missing.": 1 - seen[c],
             "That holds for as many images as classes. With more, some class comes more than once.":
                 math.factorial(c) / c**n},
            relative=1e-6, absolute=1e-9,
        )  # fmt: skip
    for n in (10, 20, 50):
        missing, chance = (checks.number(f(n, n_classes), f.__name__) for f in (expected_missing, all_there))
        print(
            f"{n} labels: all {n_classes} classes with probability {chance:.2g}; on average {missing:.2f} are missing, "
            f"and a classifier errs on all of their images, {missing / n_classes:.1%}."
        )


# %% tags=["also-right"]
def expected_missing(n, c):
    return c * math.exp(n * math.log1p(-1 / c))


def all_there(n, c):  # ways[i, j] of j ** i: i images so that each of j classes is among them
    ways = {}
    for i in range(n + 1):
        for j in range(c + 1):
            ways[i, j] = int(i == j) if 0 in (i, j) else j * (ways[i - 1, j] + ways[i - 1, j - 1])
    return ways[n, c] / c**n


# %% tags=["wrong"]
def all_there(n, c):  # as if the classes were independent
    return (1 - (1 - 1 / c) ** n) ** c


# %% tags=["wrong"]
def all_there(n, c):  # right for ten labels of ten classes only
    return math.factorial(c) / c**n


# %% tags=["wrong"]
def expected_missing(n, c):  # of one class
    return (1 - 1 / c) ** n


# %% [markdown] tags=["in-words"]
# Of ten images drawn blindly more than a third of the classes are missing on average, and with them more than a third
# of the accuracy, however good the codes are. That is why it matters to *choose* which ten images are labelled
# (chapter 6), and why a comparison with ten labels has to say how they were drawn.

# %% [markdown]
# ## 4.2 A hidden layer, or none
#
# *predict, 15 min, easy*
#
# The MLP's hidden layer lets it draw bent borders between classes. Put a single linear layer in its place. Which loses
# more accuracy by that, a classifier on 20 labelled codes or one on all codes of `train`? Say so first; then write the
# head. The check trains both heads on both numbers of labels.


# %% tags=["answer"]
def predicted():
    """With how many labels the hidden layer is worth more: "20" or "all"."""
    ### BEGIN SOLUTION
    return "all"
    ### END SOLUTION


def linear_head(n_inputs, n_classes):
    """A classifier without hidden layer: a network from codes (n, n_inputs) to logits (n, n_classes)."""
    ### BEGIN SOLUTION
    return nn.Linear(n_inputs, n_classes)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("4.2", predicted, linear_head):
    checks.option(predicted(), ("20", "all"))
    head = linear_head(16, n_classes)
    checks.require(isinstance(head, nn.Module), "Return a network of torch.nn.")
    torch.manual_seed(0)
    a, b = torch.randn(2, 40, 16)
    with torch.no_grad():
        of_a, of_b, of_both, of_nothing = (head(x) for x in (a, b, a + b, torch.zeros(40, 16)))
    checks.tensor(of_a, "What it gives for forty codes", (40, n_classes))
    bend = (of_both + of_nothing - of_a - of_b).abs().max().item()
    checks.require(
        bend < 1e-4,
        "It bends: codes on a straight line should get logits on a straight line. Leave out activations, and the "
        "softmax too, which the loss contains.",
    )
    size, expected = models.count_parameters(head), 17 * n_classes
    one_layer = f"One layer from 16 numbers to {n_classes}, with a bias, has {expected}."
    checks.require(size == expected, f"It has {size} parameters. {one_layer}")
    scaled, gains = models.Standardize(16).to(chapter.device), {}
    scaled.fit(codes["train"])
    for n in ("20", "all"):
        accuracies = {"linear": [], "MLP": []}
        for seed in range(3):
            chosen = labelled_subset(train.labels, 20 if n == "20" else len(train), seed)
            labelled = scaled(codes["train"][chosen]), train.labels[chosen]
            for name, make in {"linear": linear_head, "MLP": lambda d, c: models.MLPClassifier(d, n_classes=c)}.items():
                torch.manual_seed(seed)
                head = make(16, n_classes).to(chapter.device)
                training.train(
                    head,
                    training.classification_loss,
                    labelled,
                    epochs=100 if n == "20" else 10,
                    learning_rate=1e-2,
                    weight_decay=0.1,
                    seed=seed,
                )
                accuracies[name].append(metrics.accuracy(head, scaled(codes["validation"]), validation.labels))
        gains[n] = np.mean(accuracies["MLP"]) - np.mean(accuracies["linear"])
        print(f"{n} labels:", ", ".join(f"{name} {np.mean(of):.1%}" for name, of in accuracies.items()))
    print(f"The hidden layer is worth more with {max(gains, key=gains.get)} labels; you said with {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "20"


class Linear(nn.Module):
    def __init__(self, n_inputs, n_classes):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(n_classes, n_inputs) / n_inputs**0.5)
        self.offsets = nn.Parameter(torch.zeros(n_classes))

    def forward(self, inputs):
        return torch.einsum("nd,cd->nc", inputs, self.directions) + self.offsets


linear_head = Linear


# %% tags=["wrong"]
def linear_head(n_inputs, n_classes):  # probabilities instead of logits
    return nn.Sequential(nn.Linear(n_inputs, n_classes), nn.Softmax(1))


# %% tags=["wrong"]
def linear_head(n_inputs, n_classes):  # the MLP
    return models.MLPClassifier(n_inputs, n_classes=n_classes)


# %% tags=["wrong"]
def linear_head(n_inputs, n_classes):
    return nn.Linear(n_inputs, n_classes, bias=False)


# %% tags=["wrong"]
def predicted():
    return "both"


# %% [markdown] tags=["in-words"]
# A bent border has to be learned from examples on both sides of it. Two labelled codes a class do not say which way to
# bend, so the hidden layer finds little that a plane does not; with many labels it does. (What came out may differ:
# the autoencoder is small, and three draws of 20 labels are few.) Part of the hybrid's accuracy with many labels is
# thus the head's, not the encoder's.

# %% [markdown]
# ## 4.3 A hybrid that is not frozen
#
# *debug, 20 min, medium*
#
# The article's hybrid trains a classifier on the codes of a *frozen* encoder. The function below means to do that by
# plain gradient descent on all images at once. It runs, its loss falls, and it has three mistakes: two by which the
# encoder is not what it was, and one by which the loss is not the cross-entropy. Find them, and write it anew without
# them. (Which weights does the optimizer get? What does a batch norm layer do with the images that it sees? What does
# `F.cross_entropy` take? If you take codes by `metrics.encode`, `.clone()` them before you train on them: they come
# from PyTorch's inference mode.)


# %% tags=["given"]
def broken_hybrid(autoencoder, head, images, labels, steps):
    network = nn.Sequential(autoencoder.encoder, head)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(network(images).softmax(1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


# %% tags=["answer"]
def hybrid(autoencoder, head, images, labels, steps):
    """Train `head` in place, by so many steps of gradient descent at the rate 0.05, on the codes of a frozen encoder.

    Returns the network of both, in evaluation mode: images (n, 1, 28, 28) in, logits (n, n_classes) out.
    """
    ### BEGIN SOLUTION
    network = nn.Sequential(autoencoder.encoder, head).eval()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("4.3", hybrid):
    seen, some, of_some, steps = validation.images[:5], train.images[:300], train.labels[:300], 20
    torch.manual_seed(0)
    start = models.MLPClassifier(16, n_classes=n_classes).to(chapter.device)

    def descend(of_encoder, loss):
        """The head's weights, and its network, after gradient descent written out."""
        head = copy.deepcopy(start)
        for _ in range(steps):
            gradients = torch.autograd.grad(loss(head(of_encoder), of_some), list(head.parameters()))
            with torch.no_grad():
                for weights, gradient in zip(head.parameters(), gradients, strict=True):
                    weights -= 0.05 * gradient
        return nn.utils.parameters_to_vector(head.parameters()).detach(), head

    of_frozen = metrics.encode(autoencoder, some).clone()
    right, right_head = descend(of_frozen, F.cross_entropy)
    squashed, _ = descend(of_frozen, lambda logits, labels: F.cross_entropy(logits.softmax(1), labels))
    theirs, head = copy.deepcopy(autoencoder).train(), copy.deepcopy(start)
    network = hybrid(theirs, head, some, of_some, steps)
    checks.require(isinstance(network, nn.Module), "Return the network of both, an nn.Module.")
    before, after = (dict(net.encoder.named_parameters()) for net in (autoencoder, theirs))
    checks.require(
        all(torch.equal(before[name], after[name]) for name in before),
        "The encoder's weights have changed. Which weights may the optimizer move?",
    )
    before, after = (dict(net.encoder.named_buffers()) for net in (autoencoder, theirs))
    checks.require(
        all(torch.equal(before[name], after[name]) for name in before),
        "The encoder's weights are as they were, but its batch norm has measured anew: in which mode is it?",
    )
    checks.close(
        nn.utils.parameters_to_vector(head.parameters()), right,
        "The encoder is frozen, but the head is not where gradient descent on its codes gets. Are all steps made, from "
        "the head as it was given?",
        {"The encoder is frozen, but the loss is still not the cross-entropy: `F.cross_entropy` takes logits.":
             squashed,
         "The head is as it was given: train it in place.": nn.utils.parameters_to_vector(start.parameters())},
        absolute=1e-4,
    )  # fmt: skip
    with torch.no_grad():
        logits = right_head(metrics.encode(autoencoder, seen))
        checks.close(
            network(seen), logits,
            "The head is right, but the network that is returned does not give its logits, in evaluation mode.",
            {"It should return logits, not probabilities.": logits.softmax(1)}, absolute=1e-3,
        )  # fmt: skip


# %% tags=["also-right"]
def hybrid(autoencoder, head, images, labels, steps):
    codes = metrics.encode(autoencoder, images).clone()  # once is enough: the encoder does not change
    for _ in range(steps):
        head.zero_grad()
        log_probabilities = head(codes).log_softmax(1)
        (-log_probabilities[torch.arange(len(labels)), labels].mean()).backward()
        with torch.no_grad():
            for weights in head.parameters():
                weights.sub_(weights.grad, alpha=0.05)
    return models.EncoderClassifier(autoencoder, head).eval()


# %% tags=["wrong"]
hybrid = broken_hybrid


# %% tags=["wrong"]
def hybrid(autoencoder, head, images, labels, steps):  # batch norm goes on measuring
    network = nn.Sequential(autoencoder.encoder.requires_grad_(False), head).train()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


# %% tags=["wrong"]
def hybrid(autoencoder, head, images, labels, steps):  # softmax twice
    network = nn.Sequential(autoencoder.encoder, head).eval()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(network(images).softmax(1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


# %% tags=["wrong"]
def hybrid(autoencoder, head, images, labels, steps):  # in evaluation mode, but trained along
    network = nn.Sequential(autoencoder.encoder, head).eval()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


# %% [markdown]
# ## 4.4 A peek at the test images
#
# *debug, 20 min, medium*
#
# A reader of codes is set up and measured below: five numbers of neighbors are tried, and the accuracy of the best is
# reported. Twice it learns something from the test images that it should not know before the end. Write it anew so
# that the figure can be believed. (No test image and no test label may have a say in anything that is chosen or
# measured before the last line.)


# %% tags=["given"]
def broken_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):
    everything = np.concatenate([train[0], validation[0], test[0]])
    mean, deviation = everything.mean(0), everything.std(0)
    accuracies = {}
    for k in numbers:
        neighbors = KNeighborsClassifier(k).fit((train[0] - mean) / deviation, train[1])
        accuracies[k] = neighbors.score((test[0] - mean) / deviation, test[1])
    best = max(accuracies, key=accuracies.get)
    return best, accuracies[best]


# %% tags=["answer"]
def honest_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):
    """The number of neighbors that is chosen, and its test accuracy in [0, 1].

    Each split is a pair of arrays, codes (n, d) and labels (n,). Codes are standardized, each dimension for itself, by
    the mean and the deviation of the training codes; neighbors are training codes. Of two numbers that do equally well,
    the first is chosen.
    """
    ### BEGIN SOLUTION
    mean, deviation = train[0].mean(0), train[0].std(0)
    fitted = {k: KNeighborsClassifier(k).fit((train[0] - mean) / deviation, train[1]) for k in numbers}
    accuracies = {k: of.score((validation[0] - mean) / deviation, validation[1]) for k, of in fitted.items()}
    best = max(accuracies, key=accuracies.get)
    return best, fitted[best].score((test[0] - mean) / deviation, test[1])
    ### END SOLUTION


# %% tags=["check"]
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

with checks.exercise("4.4", honest_accuracy):
    random = np.random.default_rng(0)
    centers = random.normal(0, 1, (4, 5))

    def scattered_points(n, spread):
        """Points of four classes in five dimensions; `spread` is how far the fifth, which says nothing, goes."""
        labels = random.integers(0, 4, n)
        points = centers[labels] + random.normal(0, 1, (n, 5))
        points[:, 4] = random.normal(0, spread, n)
        return points, labels

    splits = [scattered_points(n, spread) for n, spread in ((300, 5.0), (400, 5.0), (400, 500.0))]
    answer = honest_accuracy(*splits)
    hint = "Return a pair: the number of neighbors chosen, one of `numbers`, and the test accuracy."
    checks.several(answer, 2, hint)
    checks.require(answer[0] in (1, 3, 7, 15, 31), hint)
    fitted = {k: make_pipeline(StandardScaler(), KNeighborsClassifier(k)).fit(*splits[0]) for k in (1, 3, 7, 15, 31)}
    for of in fitted.values():  # test labels with which each number in turn would look best
        chosen, _ = honest_accuracy(*splits[:2], (splits[2][0], of.predict(splits[2][0])))
        checks.require(
            chosen == answer[0],
            "With other labels of the test images it chooses another number of neighbors: a choice is made by the "
            "validation images.",
        )
    relabelled = [(splits[1][0], of.predict(splits[1][0])) for of in fitted.values()]
    checks.require(
        len({honest_accuracy(splits[0], other, splits[2])[0] for other in relabelled}) > 1,
        "Whatever the labels of the validation images are, it chooses the same number of neighbors.",
    )

    def outcome(numbers, test_images):
        """The number that does best on the validation images, and its accuracy on the others."""
        best = max(numbers, key=lambda k: numbers[k].score(*splits[1]))
        return best, numbers[best].score(*test_images)

    pooled = StandardScaler().fit(np.concatenate([split[0] for split in splits]))
    of_pool = {k: KNeighborsClassifier(k).fit(pooled.transform(splits[0][0]), splits[0][1]) for k in fitted}
    of_pool = {k: make_pipeline(FrozenEstimator(pooled), of) for k, of in of_pool.items()}
    checks.close(
        (answer[0], checks.number(answer[1], "The test accuracy", 0, 1)), outcome(fitted, splits[2]),
        "No test label has a say, but the figures are not right: standardize by the training codes, choose by the "
        "validation images, and give the accuracy on the test images.",
        {"No test label has a say, but test codes still have: by whose mean and deviation are codes standardized?":
             outcome(of_pool, splits[2]),
         "That is the accuracy on the validation images, by which it was chosen: it looks better than it is.":
             outcome(fitted, splits[1])},
    )  # fmt: skip
    of_course = [
        (codes[name].cpu().numpy(), split.labels.cpu().numpy())
        for name, split in {"train": train, "validation": validation, "test": test}.items()
    ]
    points, labels = of_course.pop()
    for n in (50, len(test)):
        parts = [(points[i : i + n], labels[i : i + n]) for i in range(0, len(test) - n + 1, n)]
        said, honest = (
            np.mean([accuracy_of(*of_course, part)[1] for part in parts])
            for accuracy_of in (broken_accuracy, honest_accuracy)
        )
        print(f"{n} test images at a time: {said:.1%} with peeking, {honest:.1%} without, on average of {len(parts)}")


# %% tags=["also-right"]
def honest_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):
    best = None
    for k in numbers:
        reader = make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=k)).fit(*train)
        of_validation = np.mean(reader.predict(validation[0]) == validation[1])
        if best is None or of_validation > best[0]:
            best = of_validation, k, reader
    return best[1], np.mean(best[2].predict(test[0]) == test[1])


# %% tags=["wrong"]
honest_accuracy = broken_accuracy


# %% tags=["wrong"]
def honest_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):  # the test codes still scale
    everything = np.concatenate([train[0], validation[0], test[0]])
    mean, deviation = everything.mean(0), everything.std(0)
    fitted = {k: KNeighborsClassifier(k).fit((train[0] - mean) / deviation, train[1]) for k in numbers}
    accuracies = {k: of.score((validation[0] - mean) / deviation, validation[1]) for k, of in fitted.items()}
    best = max(accuracies, key=accuracies.get)
    return best, fitted[best].score((test[0] - mean) / deviation, test[1])


# %% tags=["wrong"]
def honest_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):  # chosen by the test images
    mean, deviation = train[0].mean(0), train[0].std(0)
    fitted = {k: KNeighborsClassifier(k).fit((train[0] - mean) / deviation, train[1]) for k in numbers}
    accuracies = {k: of.score((test[0] - mean) / deviation, test[1]) for k, of in fitted.items()}
    best = max(accuracies, key=accuracies.get)
    return best, accuracies[best]


# %% tags=["wrong"]
def honest_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):  # chosen by the training images: always 1
    mean, deviation = train[0].mean(0), train[0].std(0)
    fitted = {k: KNeighborsClassifier(k).fit((train[0] - mean) / deviation, train[1]) for k in numbers}
    accuracies = {k: of.score((train[0] - mean) / deviation, train[1]) for k, of in fitted.items()}
    best = max(accuracies, key=accuracies.get)
    return best, fitted[best].score((test[0] - mean) / deviation, test[1])


# %% tags=["wrong"]
def honest_accuracy(train, validation, test, numbers=(1, 3, 7, 15, 31)):  # the figure is the one it was chosen by
    mean, deviation = train[0].mean(0), train[0].std(0)
    fitted = {k: KNeighborsClassifier(k).fit((train[0] - mean) / deviation, train[1]) for k in numbers}
    accuracies = {k: of.score((validation[0] - mean) / deviation, validation[1]) for k, of in fitted.items()}
    best = max(accuracies, key=accuracies.get)
    return best, accuracies[best]


# %% [markdown] tags=["in-words"]
# The best of five figures on the same images is at least as high as each of them, so it is flattered by the luck of
# these images; the fewer they are and the more is tried, the more. A choice by the validation images has such luck,
# too, but the test images know nothing of it.

# %% [markdown]
# ## 4.5 Where label spreading ends
#
# *compute, 20 min, hard*
#
# Join images $i$ and $j$ where $W_{ij} = 1$; image $i$ has $d_i$ neighbors. With $S_{ij} = W_{ij} / \sqrt{d_i d_j}$,
# each step of label spreading is
#
# $$F \leftarrow \alpha\, S F + (1 - \alpha)\, Y,$$
#
# where a row of $Y$ is 1 at the class of a labelled image and else 0, and $0 < \alpha < 1$. The chapter makes 60 such
# steps. Nobody needs to: find by pencil where they end. (What does a step change there?)


# %% tags=["answer"]
def limit(W, Y, alpha):
    """What F tends to, a tensor (n, n_classes), without making the steps.

    W is a symmetric tensor (n, n) of zeros and ones, every image with a neighbor; Y a tensor (n, n_classes); both of
    torch.float64.
    """
    ### BEGIN SOLUTION
    d = W.sum(1)
    S = W / torch.sqrt(d[:, None] * d)
    return (1 - alpha) * torch.linalg.solve(torch.eye(len(W)).to(W) - alpha * S, Y)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("4.5", limit):
    torch.manual_seed(0)
    chain = torch.diag(torch.ones(4).double(), 1)
    scattered = (torch.rand(30, 30).double() < 0.1).double().triu(1) + torch.diag(torch.ones(29).double(), 1)
    for n, W in ((5, chain + chain.T), (30, ((scattered + scattered.T) > 0).double())):
        Y = torch.zeros(n, 3).double()
        Y[0, 0] = Y[n - 1, 1] = Y[n // 2, 2] = 1
        degrees = W.sum(1)
        ways, ends = {"right": W / degrees.outer(degrees).sqrt(), "rows": W / degrees[:, None]}, {}
        for name, S in ways.items():
            ends[name] = Y
            for _ in range(400):
                ends[name] = 0.9 * S @ ends[name] + 0.1 * Y
        found = checks.tensor(limit(W.clone(), Y.clone(), 0.9), "F", (n, 3))
        checks.close(
            found, ends["right"],
            "A further step would change it. At the end F = alpha S F + (1 - alpha) Y: solve that for F.",
            {"It is too large by one factor: the labelled images' own label counts 1 - alpha.": ends["right"] / 0.1,
             "There each image takes its neighbors' plain mean. S divides by the root of both degrees.": ends["rows"],
             "That is where it starts.": Y,
             "That is after one step.": 0.9 * ways["right"] @ Y + 0.1 * Y},
            relative=1e-6, absolute=1e-9,
        )  # fmt: skip
    of_chain = checks.tensor(limit(chain + chain.T, torch.eye(5).double()[:, [0, 4]], 0.99), "F", (5, 2))
    shares = (of_chain[:, 0] / of_chain.sum(1)).numpy().round(2)
    print("five images in a chain, the first labelled a, the last b; share of a:", shares)


# %% tags=["also-right"]
def limit(W, Y, alpha):  # in the directions in which S only stretches, a geometric series can be summed
    root = W.sum(1).rsqrt()
    stretch, directions = torch.linalg.eigh(root[:, None] * W * root)
    return directions @ ((1 - alpha) / (1 - alpha * stretch[:, None]) * (directions.T @ Y))


# %% tags=["wrong"]
def limit(W, Y, alpha):  # rows that sum to 1
    S = W / W.sum(1, keepdim=True)
    return (1 - alpha) * torch.linalg.solve(torch.eye(len(W)).to(W) - alpha * S, Y)


# %% tags=["wrong"]
def limit(W, Y, alpha):  # the factor is lost
    root = W.sum(1).rsqrt()
    return torch.linalg.inv(torch.eye(len(W)).to(W) - alpha * root[:, None] * W * root) @ Y


# %% tags=["wrong"]
def limit(W, Y, alpha):  # one step only
    root = W.sum(1).rsqrt()
    return alpha * (root[:, None] * W * root) @ Y + (1 - alpha) * Y


# %% [markdown]
# ## 4.6 Too few neighbors, too many
#
# *change, 30 min, hard*
#
# The chapter joins each code to its 15 nearest, of which one is the code itself: to 14 others. Whatever the number, two
# things can go wrong: a link joins images of different classes, along which a label runs astray; or the graph falls
# apart, and a piece without any labelled image never hears of a label. Measure both. The check then tries several
# numbers of neighbors on the codes. Say first which of the two goes wrong with few neighbors, and which with many.


# %% tags=["answer"]
def faults(codes, labels, known, k):
    """Two shares from 0 to 1: of the links that join two classes, and of the images that no label can reach.

    Each of the codes (n, d) is joined to its `k` nearest other ones, and to those that have it among theirs. `labels`
    (n,) are the true classes; only those of the images `known`, a tensor of indices, are shown. All tensors are on one
    device.
    """
    ### BEGIN SOLUTION
    distances = torch.cdist(codes, codes).fill_diagonal_(math.inf)
    joined = torch.zeros_like(distances, dtype=torch.bool)
    joined.scatter_(1, distances.topk(k, largest=False).indices, True)
    joined |= joined.T.clone()
    across = (labels[:, None] != labels)[joined].float().mean().item()
    reached = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    reached[known] = True
    while (further := reached | joined[reached].any(0)).sum() > reached.sum():
        reached = further
    return across, 1 - reached.float().mean().item()
    ### END SOLUTION


# %% tags=["check"]
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import kneighbors_graph

with checks.exercise("4.6", faults):

    def shares(joined, labels, known):
        """The two shares of a graph, a sparse matrix, by SciPy."""
        rows, columns = joined.nonzero()
        _, piece = connected_components(joined, directed=False)
        return (labels[rows] != labels[columns]).mean(), 1 - np.isin(piece, piece[known]).mean()

    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 90)
    points = 2.0 * np.eye(3)[labels] @ random.normal(0, 1, (3, 4)) + random.normal(0, 1, (90, 4))
    points[:12] += 40  # a piece that is far away
    known = np.array([12, 30, 50])
    for k in (3, 1, 8):
        given = torch.tensor(points).float(), torch.tensor(labels), torch.tensor(known)
        answer = faults(*(tensor.to(chapter.device) for tensor in given), k)
        checks.several(answer, 2, "Return two numbers.")
        across = checks.number(answer[0], "The first share", 0, 1)
        lost = checks.number(answer[1], "The second share", 0, 1)
        nearest, fewer = kneighbors_graph(points, k), kneighbors_graph(points, max(k - 1, 1))
        own = kneighbors_graph(points, k, include_self=True)
        graphs = {
            "right": nearest.maximum(nearest.T), "fewer": fewer.maximum(fewer.T), "with itself": own.maximum(own.T),
            "one way": nearest, "both ways": nearest.minimum(nearest.T),
        }  # fmt: skip
        right = shares(graphs["right"], labels, known)
        of_links = {name: shares(graph, labels, known)[0] for name, graph in graphs.items()}
        next_to = np.append(graphs["right"][known].nonzero()[1], known)
        checks.close(
            across, right[0],
            f"With k = {k} the share of links between classes is not right. Count each link alike, be it the nearest "
            "one of both images or of one.",
            {"Each image is its own nearest code, at the distance 0. That is no link, and leaves k - 1 others.":
                 of_links["with itself"],
             "That is right for k - 1 neighbors: is each image one of its own?": of_links["fewer"],
             "Those are the links from each image to its nearest. Add those to images that have it among theirs.":
                 of_links["one way"],
             "Those are the links in both directions alone; one direction is enough.": of_links["both ways"],
             "That is the share of links within a class.": 1 - right[0]},
        )  # fmt: skip
        checks.close(
            lost, right[1],
            f"With k = {k} the share of images out of reach is not right. Labels go on from image to image, as far as "
            "links lead, whichever of the two has the other among its nearest.",
            {"That is the share that can be reached.": 1 - right[1],
             "Those are the images without a labelled neighbor. Labels go on from neighbor to neighbor.":
                 1 - len(set(next_to)) / len(points),
             "Those are all images without a label of their own. Labels run along the links.":
                 1 - len(known) / len(points)},
        )  # fmt: skip
    known = labelled_subset(train.labels, 20, seed=0)
    of_train, true = codes["train"], train.labels
    for k in (1, 3, 15, 50, 150):
        across, lost = faults(of_train, true, known, k)
        W = kneighbors_graph(of_train.cpu().numpy(), k).toarray()
        W = np.maximum(W, W.T)
        Y = np.zeros((len(W), n_classes))
        Y[known.cpu(), true[known].cpu()] = 1
        S = W / np.sqrt(np.outer(W.sum(1), W.sum(1)))
        spread = np.linalg.solve(np.eye(len(W)) - 0.99 * S, Y)
        guess = (spread / spread.sum(0)).argmax(1)
        right = np.mean((guess == true.cpu().numpy()) & (spread.sum(1) > 1e-12))
        between = f"{across:.1%} of links between classes"
        print(f"k = {k:3}: {between}, {lost:.1%} out of reach, {right:.1%} labelled rightly")


# %% tags=["also-right"]
def faults(codes, labels, known, k):
    points, labels, known = (tensor.cpu().numpy() for tensor in (codes, labels, known))
    neighbors = [np.argsort(((points - point) ** 2).sum(1), kind="stable") for point in points]
    links = {frozenset((i, int(j))) for i, order in enumerate(neighbors) for j in order[order != i][:k]}
    across = sum(len({labels[i] for i in link}) > 1 for link in links) / len(links)
    of = {}
    for i, j in links:
        of.setdefault(i, []).append(j)
        of.setdefault(j, []).append(i)
    todo, reached = list(known), set(known)
    while todo:
        new = set(of.get(todo.pop(), ())) - reached
        reached |= new
        todo += new
    return across, 1 - len(reached) / len(points)


# %% tags=["wrong"]
def faults(codes, labels, known, k):  # counts each image among its own neighbors
    joined = torch.zeros(len(codes), len(codes), dtype=torch.bool, device=codes.device)
    joined.scatter_(1, torch.cdist(codes, codes).topk(k, largest=False).indices, True)
    joined |= joined.T.clone()
    across = (labels[:, None] != labels)[joined].float().mean().item()
    reached = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    reached[known] = True
    for _ in range(len(codes)):
        reached = reached | joined[reached].any(0)
    return across, 1 - reached.float().mean().item()


# %% tags=["wrong"]
def faults(codes, labels, known, k):  # only the images next to a labelled one
    distances = torch.cdist(codes, codes).fill_diagonal_(math.inf)
    joined = torch.zeros_like(distances, dtype=torch.bool)
    joined.scatter_(1, distances.topk(k, largest=False).indices, True)
    joined |= joined.T.clone()
    reached = joined[known].any(0)
    return (labels[:, None] != labels)[joined].float().mean().item(), 1 - reached.float().mean().item()


# %% tags=["wrong"]
def faults(codes, labels, known, k):  # links in one direction only
    distances = torch.cdist(codes, codes).fill_diagonal_(math.inf)
    nearest = distances.topk(k, largest=False).indices
    across = (labels[nearest] != labels[:, None]).float().mean().item()
    reached = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    reached[known] = True
    for _ in range(len(codes)):
        reached[nearest[reached].flatten()] = True
    return across, 1 - reached.float().mean().item()


# %% [markdown] tags=["in-words"]
# With few neighbors the graph falls into pieces, and a piece without a label stays without one. With many, links reach
# beyond the stretch of a class into others, and labels leak. In between there is much room, so the chapter's number
# needs no tuning that ten labels could not pay for. Nobody who has ten labels can measure the first share; the second
# needs none.

# %% [markdown]
# ## 4.7 What pairing is worth
#
# *compute, 15 min, medium*
#
# With the same seed, two methods get the same labelled images, so a lucky draw is lucky for both. `made_up` holds such
# accuracies, one a seed. Compute the half-width of the 95% interval of the difference between the two means, twice.
# *Paired*: Student's interval of the $n$ differences, $t_{n-1}\, s_d / \sqrt n$. *Unpaired*, as if each method had had
# draws of its own: $t_{2n-2} \sqrt{(s_a^2 + s_b^2) / n}$. Each $s$ is a standard deviation with $n - 1$ in its
# denominator, each $t$ the 97.5% quantile of Student's distribution with so many degrees of freedom (`stats.t.ppf`).
# Which is narrower, and can it be the other way round?


# %% tags=["given"]
random = np.random.default_rng(0)
luck = random.normal(0, 0.02, 8)  # of the draw of labelled images, which both methods share
made_up = {name: level + luck + random.normal(0, 0.004, 8) for name, level in (("one", 0.81), ("other", 0.80))}
for name, accuracies in made_up.items():
    print(f"{name:>5}:", ", ".join(f"{accuracy:.3f}" for accuracy in accuracies))


# %% tags=["answer"]
def half_widths(a, b):
    """Half-widths of the 95% interval of mean(a) - mean(b), paired and unpaired: two numbers.

    `a` and `b` are arrays (n,) of the accuracies of two methods, in the order of the seeds.
    """
    ### BEGIN SOLUTION
    n = len(a)
    paired = stats.t.ppf(0.975, n - 1) * np.std(a - b, ddof=1) / math.sqrt(n)
    unpaired = stats.t.ppf(0.975, 2 * n - 2) * math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / n)
    return paired, unpaired
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("4.7", half_widths):
    random = np.random.default_rng(1)
    shared, alone = random.normal(0, 1, 6), random.normal(0, 1, (2, 6))
    tables = {
        "luck that both share": tuple(made_up.values()),
        "no luck in common": tuple(alone),
        "one's luck is the other's misfortune": (shared + 0.3 * alone[0], -shared + 0.3 * alone[1]),
    }
    for name, (a, b) in tables.items():
        answer = half_widths(a.copy(), b.copy())
        checks.several(answer, 2, "Return two numbers: paired, unpaired.")
        widths = [checks.number(width, "A half-width", 0) for width in answer]
        right = []
        for tested in (stats.ttest_rel(a, b), stats.ttest_ind(a, b)):
            low, high = tested.confidence_interval(0.95)
            right.append((high - low) / 2)
        n = len(a)
        for which, (of, degrees) in enumerate((("paired", n - 1), ("unpaired", 2 * n - 2))):
            expected = right[which]
            per_t = expected / stats.t.ppf(0.975, degrees)
            checks.close(
                widths[which], expected, f"The {of} half-width is not right where there is {name}.",
                {"You have the two in the wrong order: paired comes first.": right[1 - which],
                 f"The {of} one is the whole width: from one end to the other.": 2 * expected,
                 "Divide by n - 1 in each standard deviation (`ddof=1`).": expected * math.sqrt((n - 1) / n),
                 "Take Student's quantile, not the normal distribution's: the spread is only estimated.":
                     per_t * stats.norm.ppf(0.975),
                 "Take the 97.5% quantile: 2.5% are left out at either end.": per_t * stats.t.ppf(0.95, degrees),
                 f"The {of} one has {degrees} degrees of freedom here.":
                     per_t * stats.t.ppf(0.975, 3 * n - 3 - degrees),
                 "That is a standard deviation times t: a mean of n scatters less, by the root of n.":
                     expected * math.sqrt(n)},
            )  # fmt: skip
        print(f"{name}: {widths[0]:.3g} paired, {widths[1]:.3g} unpaired")


# %% tags=["also-right"]
def half_widths(a, b):  # from spreads and covariance: the spread of a difference lacks what both share
    n, ((aa, ab), (_, bb)) = len(a), np.cov(a, b)
    return tuple(
        stats.t.isf(0.025, degrees) * math.sqrt(variance / n)
        for degrees, variance in ((n - 1, aa + bb - 2 * ab), (2 * (n - 1), aa + bb))
    )


# %% tags=["wrong"]
def half_widths(a, b):  # NumPy's own standard deviation
    n = len(a)
    return stats.t.ppf(0.975, n - 1) * np.std(a - b) / n**0.5, stats.t.ppf(0.975, 2 * n - 2) * (
        (np.var(a) + np.var(b)) / n
    ) ** 0.5


# %% tags=["wrong"]
def half_widths(a, b):  # 1.96 for any number of seeds
    n = len(a)
    return 1.96 * np.std(a - b, ddof=1) / n**0.5, 1.96 * ((np.var(a, ddof=1) + np.var(b, ddof=1)) / n) ** 0.5


# %% tags=["wrong"]
def half_widths(a, b):  # 5% at one end
    n = len(a)
    paired = stats.t.ppf(0.95, n - 1) * np.std(a - b, ddof=1) / n**0.5
    return paired, stats.t.ppf(0.95, 2 * n - 2) * ((np.var(a, ddof=1) + np.var(b, ddof=1)) / n) ** 0.5


# %% [markdown] tags=["in-words"]
# The variance of a difference is the sum of both variances minus twice the covariance. What both methods owe to the
# same draw is in the covariance and cancels; so the paired interval is much narrower. It is wider where the two go in
# opposite directions, and on average a little where they share nothing, since it has half as many degrees of freedom.
# And two intervals that overlap, one for each method, say little about the difference: both are as wide as they are by
# luck that cancels in it.

# %% [markdown]
# ## 4.8 True or false?
#
# *explain, 15 min, medium*
#
# Judge each statement. Then say in words why the lead of the fine-tuned network over the one trained end to end is not
# the same at every number of labels.
#
# - **a** If the chapter is run with `latent_dim = 8`, the curve of the MLP on pixels stays where it is.
# - **b** If an MLP does as well on the codes of an untrained encoder as on those of the autoencoder, then training the
#   autoencoder has bought that reader nothing.
# - **c** Two methods whose 95% intervals over seeds overlap do not differ.
# - **d** Label spreading looks at images without labels, so its encoder is no longer frozen.
# - **e** Who has no more than ten labels can choose a learning rate as the chapter does.
# - **f** If distortions are told to the encoder's training only, and a classifier on its codes beats an end-to-end
#   network, that shows what images without labels are worth.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": True, "b": True, "c": False, "d": False, "e": False, "f": False}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("4.8", judgments):
    sealed = {"a": "b85a8f70", "b": "7c9e7ade", "c": "57e60267", "d": "fabd227f", "e": "39457b0e", "f": "df24e3db"}
    checks.judged(judgments(), "4.8", sealed)


# %% tags=["also-right"]
def judgments():
    return dict.fromkeys("ab", True) | dict.fromkeys("cdef", False)


# %% tags=["wrong"]
def judgments():
    return {"a": True, "b": True, "c": True, "d": False, "e": False, "f": False}


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": True, "c": False, "d": True, "e": True, "f": True}


# %% tags=["wrong"]
def judgments():
    return {"a": True, "c": "no"}


# %% [markdown] tags=["in-words"]
# a: pixels are no codes. b: that is what the control is for; another reader may still gain. c: what both owe to the
# same draw cancels in their difference, seed by seed. d: it looks at their codes, and no weight of the encoder moves.
# e: it uses all labelled validation images. f: then one side knows something that the other was not told; only with
# equal knowledge is the difference that of the images without labels.
#
# Fine-tuning: with few labels, the end-to-end network has to find features from these few alone, while the
# autoencoder's are there already. With many, the labels themselves teach the features, better ones for this task than
# those that fill pixels; where training starts then matters little.
