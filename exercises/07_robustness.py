# %% [markdown]
# # Exercises to chapter 7: robustness
#
# Read [chapter 7](../07_robustness.ipynb) first; what these exercises need of it is defined anew below, so that this
# notebook runs by itself. For each, write the function asked for, run its cell, and run the check below it, whose code
# is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and profile;
# nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import copy

import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional as F

from mnist_ae_utils import checks, corruptions, metrics, models, training
from mnist_ae_utils import data as datasets
from mnist_ae_utils.chapter import begin

chapter = begin("07_exercises", profile, dataset, device=device)
train = chapter.data.train.first(min(2_000, len(chapter.data.train)))  # enough for what is asked here
images, labels = chapter.data.validation.images, chapter.data.validation.labels

# %% [markdown]
# `network` is the chapter's end-to-end network, briefly trained; `recomputed` is the chapter's too: a copy in which
# batch norm takes means and deviations from the images at hand, all those of one call.

# %%
torch.manual_seed(0)
network = models.encoder_and_mlp().to(chapter.device)
training.train(network, training.classification_loss, (train.images, train.labels), epochs=10, batch_size=64,
               learning_rate=1e-2, weight_decay=0.1)  # fmt: skip


def recomputed(network):
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    return network


def generator(seed):
    return torch.Generator().manual_seed(seed)


print(f"{metrics.accuracy(network, images, labels):.1%} of the validation images are classified right")

# %% [markdown]
# ## 7.1 Who lost more?
#
# *compute, 10 min, easy*
#
# One network falls from an accuracy of 99% to 70%, another from 80% to 55%. The first has lost more points, but it had
# more to lose. The chapter's measure is the share of *skill* lost: what a network has above guessing among $k$ classes,
# which are equally frequent. Find by pencil the accuracy to which the second network must fall for its loss to be
# exactly as large as the first one's.


# %% tags=["answer"]
def as_much_lost(clean, spoiled, other_clean, n_classes):
    """The accuracy at which a network has lost the share of skill that another lost, falling from clean to spoiled.

    All accuracies are from 0 to 1; `other_clean` is where the network starts whose accuracy is asked for.
    """
    ### BEGIN SOLUTION
    chance = 1 / n_classes
    return chance + (other_clean - chance) * (spoiled - chance) / (clean - chance)
    ### END SOLUTION


# %% tags=["check"]
from scipy.optimize import brentq

with checks.exercise("7.1", as_much_lost):

    def share_lost(before, after, k):
        return 1 - (after - 1 / k) / (before - 1 / k)

    for clean, spoiled, other, k in (
        (0.99, 0.70, 0.80, 10),
        (0.9, 0.9, 0.6, 10),
        (0.8, 0.5, 0.95, 4),
        (0.9, 0.6, 0.7, 2),
    ):
        lost = share_lost(clean, spoiled, k)
        expected = brentq(lambda after, lost=lost, other=other, k=k: share_lost(other, after, k) - lost, 0, 1)
        checks.close(
            checks.number(as_much_lost(clean, spoiled, other, k), "What it returns", 0, 1), expected,
            f"With as_much_lost({clean}, {spoiled}, {other}, {k}), the second has lost another share than the first.",
            {"Then both have lost as many points. Shares of what they had above guessing are compared.":
                 other - clean + spoiled,
             "Then both have lost the same share of their accuracy. Skill begins at guessing, not at 0.":
                 other * spoiled / clean,
             f"Guessing is right once in {k}, not once in ten.": 0.1 + (other - 0.1) * (spoiled - 0.1) / (clean - 0.1)},
        )  # fmt: skip
    falls_to = checks.number(as_much_lost(0.99, 0.7, 0.8, 10), "What it returns", 0, 1)
    print(f"From 99% to 70% loses as much skill as from 80% to {falls_to:.1%}.")


# %% tags=["also-right"]
def as_much_lost(clean, spoiled, other_clean, n_classes):
    kept = (n_classes * spoiled - 1) / (n_classes * clean - 1)
    return torch.tensor([other_clean * kept + (1 - kept) / n_classes])


# %% tags=["wrong"]
def as_much_lost(clean, spoiled, other_clean, n_classes):  # as many points
    return other_clean - (clean - spoiled)


# %% tags=["wrong"]
def as_much_lost(clean, spoiled, other_clean, n_classes):  # counted from 0
    return other_clean * spoiled / clean


# %% tags=["wrong"]
def as_much_lost(clean, spoiled, other_clean, n_classes):  # always ten classes
    return 0.1 + (other_clean - 0.1) * (spoiled - 0.1) / (clean - 0.1)


# %% [markdown]
# ## 7.2 What recomputed statistics undo
#
# *compute, 25 min, hard*
#
# All images are spoiled alike: each pixel $x$ becomes $a x + b$ (with $a = 1/2$, $b = 0$ the ink is half as dark; with
# $a = -1$, $b = 1$ ink and paper change places). Look at one channel of the first layer, away from the border. The
# convolution gives $c = \sum_i w_i x_i + \beta$, and batch norm makes of it $u = (c - m) / s$, where $m$ and $s$ are
# the mean and the deviation of the channel over clean images. What is $u$ for the same place of a spoiled image, if $m$
# and $s$ are kept? And if they are the mean and the deviation of the channel over *spoiled* images? Write $S$ for the
# sum of the filter's weights $w_i$.


# %% tags=["answer"]
def with_running(u, a, b, weights_sum, bias, mean, deviation):
    """What becomes of `u`, if mean and deviation are those of clean images: a tensor like `u`.

    `u` are values for clean images; the other arguments are the numbers a, b, S, beta, m and s of the text.
    """
    ### BEGIN SOLUTION
    return a * u + ((a - 1) * (mean - bias) + b * weights_sum) / deviation
    ### END SOLUTION


def with_recomputed(u, a, b, weights_sum, bias, mean, deviation):
    """What becomes of `u`, if mean and deviation are those of the spoiled images; a is not 0."""
    ### BEGIN SOLUTION
    return u if a > 0 else -u
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("7.2", with_running, with_recomputed):
    conv = nn.Conv2d(1, 1, 3).double()  # without padding there is no border
    some = images[:50].cpu().double()
    for seed, (a, b) in enumerate([(0.5, 0.0), (1.0, 0.3), (0.5, 0.2), (-1.0, 1.0), (3.0, -0.1)]):
        with torch.no_grad():
            for parameter in conv.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator(seed)))
            clean, spoiled = conv(some), conv(a * some + b)
        mean, deviation = clean.mean().item(), clean.std(correction=0).item()
        u, total, bias = (clean - mean) / deviation, conv.weight.sum().item(), conv.bias.item()
        known, case = (u, a, b, total, bias, mean, deviation), f"for a = {a:g} and b = {b:g}"
        shape = tuple(u.shape)
        checks.close(
            checks.tensor(with_running(*known), "with_running(...)", shape), (spoiled - mean) / deviation,
            f"with_running is not right {case}.",
            {f"with_running lacks what b does ({case}).": a * u + (a - 1) * (mean - bias) / deviation,
             f"with_running lacks the constant that differs from 0 because c is not centered ({case}).":
                 a * u + b * total / deviation,
             f"The convolution's bias is not multiplied by a ({case}).":
                 a * u + ((a - 1) * mean + b * total) / deviation,
             f"b is added to each pixel, and each pixel comes with its weight ({case}).":
                 a * u + ((a - 1) * (mean - bias) + b) / deviation},
        )  # fmt: skip
        norm = nn.BatchNorm2d(1, eps=1e-12, affine=False, track_running_stats=False)
        checks.close(
            checks.tensor(with_recomputed(*known), "with_recomputed(...)", shape), norm(spoiled),
            f"with_recomputed is not right {case}.",
            {f"A deviation is never negative ({case}).": u,
             f"The deviation of the channel changes, too ({case}).": a * u,
             f"The mean of the channel changes, too ({case}).": (spoiled - mean) / spoiled.std(correction=0)},
        )  # fmt: skip


# %% tags=["also-right"]
def with_running(u, a, b, weights_sum, bias, mean, deviation):
    c = u * deviation + mean  # what the convolution gave, then what it gives, then batch norm
    return (a * (c - bias) + b * weights_sum + bias - mean) / deviation


def with_recomputed(u, a, b, weights_sum, bias, mean, deviation):
    spoiled = with_running(u, a, b, weights_sum, bias, mean, deviation)
    return (spoiled - spoiled.mean()) / spoiled.std(correction=0)


# %% tags=["wrong"]
def with_running(u, a, b, weights_sum, bias, mean, deviation):  # as if the channel had mean 0
    return a * u + b * weights_sum / deviation


# %% tags=["wrong"]
def with_running(u, a, b, weights_sum, bias, mean, deviation):  # the bias is scaled, too
    return (a * (u * deviation + mean) + b * weights_sum - mean) / deviation


# %% tags=["wrong"]
def with_recomputed(u, a, b, weights_sum, bias, mean, deviation):  # deviations are not negative
    return u


# %% [markdown] tags=["in-words"]
# Whatever scales all pixels by one positive factor, or adds the same to all, is undone completely: that is low
# contrast, up to the mean of each image. A negative is not: every channel changes its sign, and the ReLU behind it cuts
# off what it let pass. And what is no such map, such as a shift or a missing row, is not undone, or only as far as it
# happens to change means and deviations.

# %% [markdown]
# ## 7.3 A shortcut that changes the network
#
# *debug, 20 min, medium*
#
# "Recomputed statistics? Nothing easier: put the network into training mode." This function does so. What it returns
# is wrong for either way, and afterwards the network is another one. Write it anew. (What does training mode change
# besides batch norm, and what does batch norm do in it besides normalizing?)


# %% tags=["given"]
def broken_both_ways(network, images):
    network.train()
    recomputed = network(images)
    network.eval()
    running = network(images)
    return running, recomputed


# %% tags=["answer"]
def both_ways(network, images):
    """Logits (n, 10) for all images at once, without gradients: with running averages, and with recomputed statistics.

    Of the second, every batch norm takes its mean and deviation from these images, and else nothing is as in training.
    The network, which has layers of the classes `nn.BatchNorm2d`, `nn.BatchNorm1d` and `nn.Dropout`, is left as it was.
    """
    ### BEGIN SOLUTION
    running = copy.deepcopy(network).eval()
    recomputed = copy.deepcopy(running)
    for module in recomputed.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    with torch.no_grad():
        return running(images), recomputed(images)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("7.3", both_ways):

    def by_layers(layers, images, of_images):
        """A network's answers, in which batch norms of the classes `of_images` take the statistics of the images."""
        for layer in layers:
            if isinstance(layer, of_images):
                images = F.batch_norm(images, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
            elif not isinstance(layer, nn.Dropout):
                images = layer.eval()(images)
        return images.detach()

    some, both = corruptions.blur(images[:40], 1.0), (nn.BatchNorm1d, nn.BatchNorm2d)
    torch.manual_seed(0)
    original = models.ConvClassifier((4, 8, 8)).to(chapter.device)
    for module in original.modules():
        if isinstance(module, both):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.05, 0.2)
    expected = [by_layers(copy.deepcopy(original), some, of) for of in ((), both)]
    for mode in (False, True):
        net = copy.deepcopy(original).train(mode)
        given = both_ways(net, some)
        checks.several(given, 2, "Return two tensors of logits.")
        old, new = original.state_dict(), net.state_dict()
        checks.require(old.keys() == new.keys() and all((new[name] == old[name]).all() for name in old),
                       "Afterwards the network is not as it was: its running averages have changed.")  # fmt: skip
        checks.require(all(module.training == mode for module in net.modules()),
                       "Afterwards the network is in another mode than before.")  # fmt: skip
        for logits, name in zip(given, ("The first", "The second"), strict=True):
            checks.tensor(logits, name, (40, 10))
            checks.require(not logits.requires_grad, f"{name} of the two holds on to gradients.")
        checks.close(given[0], expected[0], "The logits with running averages are not right. Is it in evaluation mode?",
                     absolute=1e-4)  # fmt: skip
        checks.close(
            given[1], expected[1], "The logits with recomputed statistics are not right. Does dropout still drop?",
            {"Of the second, one batch norm still uses its running averages. Which classes of batch norm are there?":
                 by_layers(copy.deepcopy(original), some, nn.BatchNorm2d),
             "The second logits are those of running averages, too.": expected[0]},
            absolute=1e-4,
        )  # fmt: skip


# %% tags=["also-right"]
def both_ways(network, images):
    averages, modes = copy.deepcopy(network.state_dict()), {module: module.training for module in network.modules()}
    with torch.inference_mode():
        running = network.eval()(images)
        for module in network.modules():
            if type(module).__name__.startswith("BatchNorm"):
                module.train()
        again = network(images)
    network.load_state_dict(averages)
    for module, mode in modes.items():
        module.training = mode
    return [running, again]


# %% tags=["wrong"]
both_ways = broken_both_ways


# %% tags=["wrong"]
def both_ways(network, images):  # a copy, but dropout drops
    with torch.no_grad():
        return copy.deepcopy(network).eval()(images), copy.deepcopy(network).train()(images)


# %% tags=["wrong"]
def both_ways(network, images):  # the chapter's function knows only the batch norm of convolutions
    with torch.no_grad():
        return copy.deepcopy(network).eval()(images), recomputed(network).eval()(images)


# %% tags=["wrong"]
def both_ways(network, images):  # all is right, but the network is left in evaluation mode
    network.eval()
    other = copy.deepcopy(network)
    for module in other.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    with torch.no_grad():
        return network(images), other(images)


# %% [markdown] tags=["in-words"]
# Training mode lets dropout drop, and every batch norm moves its running averages towards those of the images at hand.
# So the second network was measured with dropout, and the first with averages that had already seen spoiled images. And
# all that is measured afterwards is measured on another network.

# %% [markdown]
# ## 7.4 How few images will do?
#
# *change, 15 min, medium*
#
# Recomputed statistics need images that were spoiled alike. In the chapter there are 250 of them at once. How few will
# do? Write a function that hands a network its images `n` at a time. The check draws up a table: is a single image
# enough, and for which corruption?


# %% tags=["answer"]
def accuracy_in_batches(network, images, labels, n):
    """Accuracy, from 0 to 1, if batch norm's statistics are recomputed on `n` images at a time, in their order.

    What is left over at the end is a smaller batch, and counts. `network`, which has running averages, stays as it was.
    """
    ### BEGIN SOLUTION
    other, right = recomputed(network).eval(), 0
    with torch.inference_mode():
        for some, of in zip(images.split(n), labels.split(n), strict=True):
            right += (other(some).argmax(1) == of).sum().item()
    return right / len(labels)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("7.4", accuracy_in_batches):
    some = corruptions.drop_rows(images[:300], 12, generator(0))

    def in_pieces(n):
        """What the network says of some images if `n` at a time give the statistics: (300,)."""
        said = []
        for start in range(0, len(some), n):
            values = some[start : start + n]
            for layer in network.encoder:
                if isinstance(layer, nn.BatchNorm2d):
                    values = F.batch_norm(values, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
                else:
                    values = layer(values)
            said.append(network.classifier(values).argmax(1).detach())
        return torch.cat(said)

    for n in (1, 7, 40, 100):
        says = in_pieces(n)
        whole = n * (len(some) // n)
        given = torch.cat([says[:whole], (says[whole:] + 1) % 10])  # which are right on all whole batches
        net = copy.deepcopy(network)  # so that an answer that changes it can be mended and checked again
        value = checks.number(accuracy_in_batches(net, some, given, n), f"The accuracy for n = {n}", 0, 1)
        old, new = network.state_dict(), net.state_dict()
        checks.require(old.keys() == new.keys() and all((new[name] == old[name]).all() for name in old),
                       "Afterwards the network is not as it was.")  # fmt: skip
        checks.close(
            value, whole / len(some), f"The accuracy for n = {n} is not right.",
            {f"For n = {n}, {len(some) - whole} images are left over. They count, too.": 1.0,
             f"For n = {n}, the statistics are those of all images.":
                 (in_pieces(len(some)) == given).float().mean().item(),
             f"For n = {n}, {metrics.BATCH} images give the statistics: `metrics.accuracy` cuts batches of its own.":
                 (in_pieces(metrics.BATCH) == given).float().mean().item(),
             "These are the answers with running averages.":
                 (metrics.predict(network, some) == given).float().mean().item()},
            absolute=0.5 / len(some),
        )  # fmt: skip
    few, of = images[:400], labels[:400]
    kinds = {"low contrast": corruptions.lower_contrast(few, 0.7), "blur": corruptions.blur(few, 2.0),
             "missing rows": corruptions.drop_rows(few, 8, generator(0)), "clean": few}  # fmt: skip
    sizes = (1, 3, 10, 30, 100, len(few))
    table = {kind: {"running": metrics.accuracy(network, spoiled, of)}
             | {n: float(accuracy_in_batches(copy.deepcopy(network), spoiled, of, n)) for n in sizes}
             for kind, spoiled in kinds.items()}  # fmt: skip
    print((100 * pd.DataFrame(table).T).round(1).to_string())


# %% tags=["also-right"]
def accuracy_in_batches(network, images, labels, n):
    other = copy.deepcopy(network).eval()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()  # its running averages move, but they are those of the copy
    with torch.no_grad():
        starts = range(0, len(images), n)
        says = torch.cat([other(images[start : start + n]).max(1).indices for start in starts])
    return says.eq(labels).double().mean()


# %% tags=["wrong"]
def accuracy_in_batches(network, images, labels, n):  # a function that cuts batches of its own
    return metrics.accuracy(recomputed(network), images, labels)


# %% tags=["wrong"]
def accuracy_in_batches(network, images, labels, n):  # what is left over is left out
    other, right = recomputed(network).eval(), []
    for start in range(0, len(images) - n + 1, n):
        right.append((other(images[start : start + n]).argmax(1) == labels[start : start + n]).float().mean().item())
    return sum(right) / len(right)


# %% tags=["wrong"]
def accuracy_in_batches(network, images, labels, n):  # the running averages are taken from the network itself
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    right = [(network(some).argmax(1) == of).sum() for some, of in zip(images.split(n), labels.split(n), strict=True)]
    return sum(right).item() / len(labels)


# %% tags=["wrong"]
def accuracy_in_batches(network, images, labels, n):  # in evaluation mode, batch norm has its running averages
    network.eval()
    right = [(network(some).argmax(1) == of).sum() for some, of in zip(images.split(n), labels.split(n), strict=True)]
    return sum(right).item() / len(labels)


# %% [markdown] tags=["in-words"]
# One image has many places, but it shows one class: its statistics tell what it shows, and normalizing takes that away.
# A few images even that out, and then recomputed statistics are better than averages that do not fit. Low contrast is a
# case of its own: it draws every image to its *own* mean, so what it does differs from image to image, and only an
# image's own statistics undo that too. Whether this or what they take away weighs more, the table says.

# %% [markdown]
# ## 7.5 A comparison that is not fair
#
# *debug, 15 min, medium*
#
# This function compares networks under noise, at several strengths. It runs, and its numbers look reasonable. Four
# things are wrong with it: think of what each network is shown, and at each strength. Write it anew.


# %% tags=["given"]
def broken_under_noise(networks, images, labels, strengths):
    random, found = torch.Generator().manual_seed(0), {}
    for name, network in networks.items():
        for std in strengths:
            noise = torch.randn(images.shape[1:], generator=random).to(images.device)
            found[name, std] = metrics.accuracy(network, images + std * noise, labels)
    return found


# %% tags=["answer"]
def under_noise(networks, images, labels, strengths):
    """Accuracies, from 0 to 1, of networks on images with noise, the same for each: a dict by (name, strength).

    The noise is Gaussian, of another draw for each image and pixel; a larger strength, which is its standard deviation,
    is the same draw multiplied by more. Pixels are images': from 0 to 1. `networks` are modules by name; a second call
    returns the same.
    """
    ### BEGIN SOLUTION
    found = {}
    for std in strengths:
        spoiled = corruptions.add_gaussian_noise(images, std, generator(0))
        for name, network in networks.items():
            found[name, std] = metrics.accuracy(network, spoiled, labels)
    return found
    ### END SOLUTION


# %% tags=["check"]
class Witness(nn.Module):
    """A network that remembers what it was shown."""

    def __init__(self, seed):
        super().__init__()
        self.weights = torch.randn(784, 10, generator=generator(seed)).to(chapter.device)
        self.shown = []

    def forward(self, images):
        self.shown.append(images.detach().clone())
        return (images.flatten(1) - 0.5) @ self.weights


with checks.exercise("7.5", under_noise):
    gray, drawn = torch.full((60, 1, 28, 28), 0.5, device=chapter.device), torch.arange(60) % 10
    strengths, shown = (0.03, 0.06, 0.4), []  # with the first two, no draw is so large that it is clamped
    for _ in range(2):
        witnesses = {"one": Witness(1), "two": Witness(2)}
        found = under_noise(witnesses, gray.clone(), drawn.to(chapter.device), strengths)
        checks.require(isinstance(found, dict) and set(found) == {(name, s) for name in witnesses for s in strengths},
                       "Return a dict with an accuracy for each (name, strength).")  # fmt: skip
        for name, witness in witnesses.items():
            seen = torch.cat(witness.shown)
            checks.require(len(seen) == 3 * 60, f"A network was shown {len(seen)} images, not 60 at each strength.")
            by_strength = sorted(seen.split(60), key=lambda images: images.std().item())
            shown.append(torch.stack(by_strength))
            for strength, of in zip(strengths, by_strength, strict=True):
                says = ((of.flatten(1) - 0.5) @ witness.weights).argmax(1).cpu()
                value = checks.number(found[name, strength], "An accuracy", 0, 1)
                checks.close(value, (says == drawn).double().mean().item(), "An accuracy is not that of the network on "
                             "the images that it was shown at that strength.", absolute=0.02)  # fmt: skip
    one = shown[0]
    checks.require(not torch.equal(one[0, 0], one[0, 1]), "Every image has the same noise: if it happens to suit a "
                   "network, it suits it on all images.")  # fmt: skip
    checks.require(torch.equal(one, shown[1]), "The second network is shown other noise than the first, so it may "
                   "be the noise that makes the difference.")  # fmt: skip
    checks.require(torch.equal(one, shown[2]), "Called again, it draws other noise.")
    checks.require(0 <= one.min() and one.max() <= 1, "There are pixels below 0 or above 1, which no image has.")
    checks.close(one[:2].std((1, 2, 3, 4)), strengths[:2], "The noise has another standard deviation than is asked.",
                 relative=0.05)  # fmt: skip
    checks.close((one[1] - 0.5) / 2, one[0] - 0.5, "Twice the strength should be twice the same noise, pixel by pixel.",
                 absolute=1e-4)  # fmt: skip


# %% tags=["also-right"]
def under_noise(networks, images, labels, strengths):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(80)  # one of its draws is larger than 5
        noise = torch.randn(images.shape).to(images.device)
    accuracies = {}
    for name in networks:
        for strength in strengths:
            with torch.no_grad():
                says = networks[name].eval()(torch.clamp(images + strength * noise, min=0, max=1)).argmax(1)
            accuracies[name, strength] = (says == labels).float().mean().item()
    return accuracies


# %% tags=["wrong"]
under_noise = broken_under_noise


# %% tags=["wrong"]
def under_noise(networks, images, labels, strengths):  # a generator that goes on from network to network
    random, found = torch.Generator().manual_seed(0), {}
    for name, network in networks.items():
        for std in strengths:
            found[name, std] = metrics.accuracy(network, corruptions.add_gaussian_noise(images, std, random), labels)
    return found


# %% tags=["wrong"]
def under_noise(networks, images, labels, strengths):  # pixels beyond 0 and 1
    noise = torch.randn(images.shape, generator=generator(0)).to(images.device)
    return {(name, std): metrics.accuracy(network, images + std * noise, labels)
            for name, network in networks.items() for std in strengths}  # fmt: skip


# %% tags=["wrong"]
def under_noise(networks, images, labels, strengths):  # another draw for each strength
    found = {}
    for number, std in enumerate(strengths):
        spoiled = corruptions.add_gaussian_noise(images, std, generator(number))
        found |= {(name, std): metrics.accuracy(network, spoiled, labels) for name, network in networks.items()}
    return found


# %% [markdown] tags=["in-words"]
# One noise image for all images: the accuracy then hangs on a single draw. Another one for each network: the difference
# of two networks is partly one of two draws, and pairing by seed loses its point. It also draws anew for each strength,
# so that what a stronger noise costs is partly luck, too. And pixels beyond 0 and 1, which make the noise stronger than
# the images that the strength stands for elsewhere in the chapter.

# %% [markdown]
# ## 7.6 Is a shorter code more robust?
#
# *predict, 25 min, medium*
#
# Take the simplest code, the first `d` principal components, and a classifier that is trained on the codes of clean
# images. Noise is added to the images that it is tested on. Which classifier loses the larger share of its skill, the
# one on 5 components or the one on 50? There is an argument for either. Say so first, then write the classifier.


# %% tags=["answer"]
def predicted():
    """Which classifier loses the larger share of its skill to noise: "the one on 5" or "the one on 50"."""
    ### BEGIN SOLUTION
    return "the one on 5"
    ### END SOLUTION


def on_components(d):
    """A classifier on the first `d` principal components of `train.images`, trained on those clean images and labels.

    It is a function from images (n, 1, 28, 28) to logits (n, 10), which depend on nothing of an image but its `d`
    coordinates. 20 passes over the training images will do.
    """
    ### BEGIN SOLUTION
    fitted = PCA(d, random_state=0).fit(train.images.flatten(1).cpu().numpy())
    mean, components = (torch.tensor(a, device=chapter.device).float() for a in (fitted.mean_, fitted.components_))

    def code(images):
        return (images.flatten(1) - mean) @ components.T

    torch.manual_seed(0)
    mlp = nn.Sequential(models.Standardize(d), models.MLPClassifier(d)).to(chapter.device)
    mlp[0].fit(code(train.images))
    training.train(mlp, training.classification_loss, (code(train.images), train.labels), epochs=20, batch_size=64,
                   learning_rate=1e-2)  # fmt: skip
    return lambda images: mlp(code(images))
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("7.6", predicted, on_components):
    checks.option(predicted(), ("the one on 5", "the one on 50"))
    space = PCA(100, svd_solver="full").fit(train.images.flatten(1).cpu().numpy()).components_
    space, lost = torch.tensor(space, device=chapter.device).float(), {}
    for d in (5, 50):
        classifier = on_components(d)
        with torch.no_grad():
            clean = checks.tensor(classifier(images), f"on_components({d})(images)", (len(images), 10))
            alone = torch.cat([classifier(image[None]) for image in images[:5]])
            checks.close(alone, clean[:5], "The logits of an image depend on the images beside it. Fit to the training "
                         "images what has to be fitted, once.", absolute=1e-2)  # fmt: skip
            noise = torch.randn(images[:99].shape, generator=generator(0)).to(chapter.device)
            flat, seen = noise.flatten(1), space[: d + 50]  # those computed by chance are only nearly the first
            outside = (flat - flat @ seen.T @ seen).view_as(noise)
            moved, by_outside = ((classifier(images[:99] + by) - clean[:99]).abs().mean() for by in (noise, outside))
            checks.require(by_outside < 0.2 * moved, "What changes an image but leaves its first coordinates as they "
                           f"are should not change its logits, with {d} of them.")  # fmt: skip
            spoiled = classifier(corruptions.add_gaussian_noise(images, 0.5, generator(0)))
        before, after = ((logits.argmax(1) == labels).float().mean().item() for logits in (clean, spoiled))
        checks.require(before > 0.3, f"On {d} components, {before:.0%} of clean images are right: is it trained?")
        lost[d] = 1 - (after - 0.1) / (before - 0.1)
        print(f"{d} components: {before:.1%} right, {after:.1%} with noise; {lost[d]:.0%} of its skill are lost.")
    print(f"The one on {max(lost, key=lost.get)} loses more; you said {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "the one on 50"


def on_components(d):
    from sklearn.linear_model import LogisticRegression

    pixels = train.images.flatten(1).cpu().double()
    center = pixels.mean(0)
    _, _, directions = torch.linalg.svd(pixels - center, full_matrices=False)
    fitted = LogisticRegression(max_iter=200).fit((pixels - center) @ directions[:d].T, train.labels.cpu())

    def logits(images):
        codes = (images.flatten(1).cpu().double() - center) @ directions[:d].T
        return torch.tensor(fitted.decision_function(codes)).to(images.device)

    return logits


# %% tags=["wrong"]
def predicted():
    return "both alike"


# %% tags=["wrong"]
def on_components(d):  # centered by the mean of whatever images come
    fitted = PCA(d, random_state=0).fit(train.images.flatten(1).cpu().numpy())
    components = torch.tensor(fitted.components_, device=chapter.device).float()

    def code(images):
        return (images.flatten(1) - images.flatten(1).mean(0)) @ components.T

    mlp = models.MLPClassifier(d).to(chapter.device)
    training.train(mlp, training.classification_loss, (code(train.images), train.labels), epochs=5, batch_size=64,
                   learning_rate=1e-2)  # fmt: skip
    return lambda images: mlp(code(images))


# %% tags=["wrong"]
def on_components(d):  # a classifier that sees all pixels
    mlp = nn.Sequential(nn.Flatten(), models.MLPClassifier(784)).to(chapter.device)
    training.train(mlp, training.classification_loss, (train.images, train.labels), epochs=5, batch_size=64,
                   learning_rate=1e-2)  # fmt: skip
    return mlp


# %% tags=["wrong"]
def on_components(d):  # never trained
    fitted = PCA(d, random_state=0).fit(train.images.flatten(1).cpu().numpy())
    mlp = models.MLPClassifier(d)
    return lambda images: mlp(torch.tensor(fitted.transform(images.flatten(1).cpu().numpy()))).to(chapter.device)


# %% [markdown] tags=["in-words"]
# Independent noise has the same variance in every direction, so each coordinate of a code gets as much of it. One may
# think that a short code keeps little noise, as it does, and that along the first components images vary most, so that
# it is small there beside what it is added to. But the same few numbers have to tell ten classes apart, which lie close
# together in five dimensions, and farther apart in fifty: how far from the border an image lies counts, not how much
# its code moves. And the clamping adds ink to the paper, a change that is the same for all images and that no code is
# spared.

# %% [markdown]
# ## 7.7 Labels that err in pairs
#
# *change, 20 min, medium*
#
# Labellers do not err at random: they take a shirt for a coat, and a four for a nine. Write labels that are wrong in
# pairs of classes. The check trains a network with such labels, and one with as many wrong labels of which chance
# chose the classes. Which will cost more accuracy? (How often is the right label given, and how often the next one?)


# %% tags=["answer"]
def wrong_in_pairs(labels, pairs, share, generator):
    """The labels, but in each pair a share of either class's, drawn at random, has the label of the other.

    `labels` (n,), in 0..9, is a tensor, and stays as it is; so is what is returned. `pairs` are pairs of classes, of
    which none is in two; classes in no pair are always right. `share`, from 0 to 1, of each class is rounded to whole
    labels. `generator`, a torch.Generator on the CPU, draws them.
    """
    ### BEGIN SOLUTION
    changed = labels.clone()
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            members = (labels == one).nonzero()[:, 0]
            drawn = torch.randperm(len(members), generator=generator)[: round(share * len(members))]
            changed[members[drawn.to(members.device)]] = other
    return changed
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("7.7", wrong_in_pairs):
    true, three = torch.arange(10).repeat(40).to(chapter.device), ((0, 1), (7, 4), (2, 9))
    partner = {a: b for pair in three for a, b in (pair, pair[::-1])}
    for share in (0.3, 0.45):
        handed = true.clone()
        given = checks.tensor(wrong_in_pairs(handed, three, share, generator(0)), "What it returns", (400,))
        checks.require((handed == true).all(), "It changes the labels that it was given: work on a copy.")
        for label in range(10):
            of = given[true == label].cpu()
            wrong = of != label
            if label not in partner:
                checks.require(
                    not wrong.any(), f"Class {label} is in no pair, but {wrong.sum()} of its labels are wrong."
                )
                continue
            checks.require((of[wrong] == partner[label]).all(), f"Class {label} is paired with {partner[label]}, but a "
                           "label of it is neither.")  # fmt: skip
            checks.require(abs(wrong.sum() - share * 40) < 1, f"{wrong.sum()} of 40 labels of class {label} are wrong, "
                           f"not a share of {share}. (One label must not be exchanged twice.)")  # fmt: skip
            first = wrong[: int(wrong.sum())]
            checks.require(not first.all(), f"Of class {label}, it is the first labels that are wrong: draw them.")
        again, other = (wrong_in_pairs(true.clone(), three, share, generator(seed)) for seed in (0, 1))
        checks.require((again == given).all() and (other != given).any(),
                       "The same generator should draw the same labels, and another one others.")  # fmt: skip
    all_pairs = tuple((label, label + 1) for label in range(0, 10, 2))
    kinds = {"all right": train.labels, "by chance": datasets.mislabel(train.labels, 0.4, generator(0)),
             "in pairs": wrong_in_pairs(train.labels.clone(), all_pairs, 0.4, generator(0))}  # fmt: skip
    for kind, taught in kinds.items():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), models.MLPClassifier(784)).to(chapter.device)
        training.train(net, training.classification_loss, (train.images, taught), epochs=15, batch_size=64,
                       learning_rate=5e-3, weight_decay=1.0)  # fmt: skip
        print(f"{kind}: {(taught != train.labels).float().mean():.0%} of the labels are wrong, "
              f"{metrics.accuracy(net, images, labels):.1%} of the validation images right.")  # fmt: skip


# %% tags=["also-right"]
def wrong_in_pairs(labels, pairs, share, generator):
    other = torch.arange(10)
    for a, b in pairs:
        other[a], other[b] = b, a
    order = torch.rand(len(labels), generator=generator)
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        mine = (labels == label).cpu()
        ranks = torch.where(mine, order, 2.0).argsort().argsort()
        wrong |= mine & (ranks < round(share * int(mine.sum())))
    return torch.where(wrong.to(labels.device), other.to(labels.device)[labels], labels)


# %% tags=["wrong"]
def wrong_in_pairs(labels, pairs, share, generator):  # what was exchanged is exchanged back
    changed = labels.clone()
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            members = (changed == one).nonzero()[:, 0]
            drawn = torch.randperm(len(members), generator=generator)[: round(share * len(members))]
            changed[members[drawn.to(members.device)]] = other
    return changed


# %% tags=["wrong"]
def wrong_in_pairs(labels, pairs, share, generator):  # one way only
    changed = labels.clone()
    for one, other in pairs:
        members = (labels == one).nonzero()[:, 0]
        drawn = torch.randperm(len(members), generator=generator)[: round(share * len(members))]
        changed[members[drawn.to(members.device)]] = other
    return changed


# %% tags=["wrong"]
def wrong_in_pairs(labels, pairs, share, generator):  # the first of each class, not drawn
    changed = labels.clone()
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            members = (labels == one).nonzero()[:, 0]
            changed[members[: round(share * len(members))]] = other
    return changed


# %% [markdown] tags=["in-words"]
# With 40% wrong by chance, the right label comes more than a dozen times as often as any other one; in pairs, it comes
# three times for every two of the other. A network that learns what is commonest has far less to go by, and at one half
# there is nothing left, while chance could spoil nearly nine labels of ten before the right one is no longer the
# commonest.

# %% [markdown]
# ## 7.8 True or false?
#
# *explain, 10 min, easy*
#
# Judge each statement, then say in words why, for one that is true and one that is false.
#
# - **a** Of two networks that lose as many points of accuracy, the one that was better before has lost the smaller
#   share of its skill.
# - **b** Recomputed statistics help against a shift by one pixel: they are taken from the shifted images.
# - **c** If 60% of the labels are wrong, and each wrong label is as likely one of the other nine classes as another,
#   then the right label is still the commonest one.
# - **d** If one network loses less skill with running averages, but no less with recomputed ones, then its lead is no
#   proof that its features are better.
# - **e** For recomputed statistics, somebody has to label the spoiled images.
# - **f** A network that is less sensitive to a corruption than another is the more accurate one on images with it.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": True, "b": False, "c": True, "d": True, "e": False, "f": False}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("7.8", judgments):
    checks.judged(
        judgments(),
        "7.8",
        {
            "a": "36d5360e",
            "b": "98b50b26",
            "c": "6651d332",
            "d": "639fdd4e",
            "e": "10462fef",
            "f": "271f65b5",
        },
    )


# %% tags=["also-right"]
def judgments():
    return {statement: statement in "acd" for statement in "abcdef"}


# %% tags=["wrong"]
def judgments():
    return {"a": True, "b": True, "c": False, "d": True, "e": False, "f": False}


# %% tags=["wrong"]
def judgments():
    return dict.fromkeys("abcdef", True)


# %% tags=["wrong"]
def judgments():
    return [True, False, True, True, False, False]


# %% [markdown] tags=["in-words"]
# a: the same loss is divided by more. b: mean and deviation are taken over all places, and a shift changes the places
# only. c: it is given to 40% of the images, every other one to a ninth of 60%. d: then statistics that do not fit are
# what the other suffers from, and its features are no worse once they fit. e: means and deviations are of images. f: it
# may have been much worse before.
