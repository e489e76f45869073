# %% [markdown]
# # Exercises to chapter 3: regularization, and when an autoencoder needs it
#
# Read [chapter 3](../03_regularization.ipynb) first; what these exercises need of it is defined anew below, so that
# this notebook runs by itself. For each, write the function asked for, run its cell, and run the check below it, whose
# code is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and profile;
# nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import itertools
import math

import torch
from torch import nn

from mnist_ae_utils import checks, metrics, models, training
from mnist_ae_utils.chapter import begin
from mnist_ae_utils.data import Split

chapter = begin("03_exercises", profile, dataset, device=device)
data = chapter.data
few, validation = data.train.images[:300], data.validation.images[:500]  # so few that they can be learned by heart
settings = {"epochs": 10 * chapter.budget["epochs"], "batch_size": 50, "learning_rate": 3e-3}

# %% [markdown]
# `few` images are what these exercises train on, with `settings` under which nothing fails: a peak learning rate of
# 3e-3. `network()` makes a network like the chapter's, not yet trained.


# %%
def network(hidden=256, dropout=0.0):
    """784 - hidden (GELU) - 32 - hidden (GELU) - 784, with fresh weights from seed 0."""
    torch.manual_seed(0)
    return models.DenseAutoencoder(32, (hidden,), "GELU", dropout).to(chapter.device)


plain = network()
training.train(plain, training.reconstruction_loss, (few,), **settings)
on_few, on_new = (metrics.reconstruction_error(plain, images) for images in (few, validation))
print(f"without regularization: {on_few:.1f} squared error per training image, {on_new:.1f} per validation image")

# %% [markdown]
# ## 3.1 One weight, and its decay
#
# *compute, 10 min, easy*
#
# A model has a single weight: it says $\hat y = w x$. Its loss is the mean squared error over $n$ pairs plus an L2
# penalty,
#
# $$L(w) = \frac1n \sum_{i=1}^n (y_i - w x_i)^2 + \frac{\lambda}{2} w^2 .$$
#
# Which $w$ is best? Find it by pencil, with $L'(w) = 0$. Then look at your formula: what becomes of the shrinkage when
# there are more and more such pairs, and what when $\lambda$ is not divided by 2?


# %% tags=["answer"]
def best_weight(x, y, penalty):
    """The weight with the least loss, a number; `x` and `y` are tensors (n,), the `penalty` is lambda."""
    ### BEGIN SOLUTION
    return (x @ y / (x @ x + len(x) * penalty / 2)).item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.1", best_weight):
    draws = torch.Generator().manual_seed(0)
    for n, penalty in ((4, 0.0), (4, 1.0), (10, 0.5), (1, 3.0)):
        x, y = torch.randn(2, n, generator=draws, dtype=torch.float64)
        w = torch.zeros((), dtype=torch.float64, requires_grad=True)
        loss = ((y - w * x) ** 2).mean() + penalty / 2 * w**2
        (slope,) = torch.autograd.grad(loss, w, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, w)
        lowest = (-slope / curvature).item()  # of a parabola, by one step of Newton's
        checks.close(
            checks.number(best_weight(x, y, penalty), "What it returns"), lowest,
            f"It does not hold for n = {n}, lambda = {penalty}.",
            {"That is the best weight without a penalty.": (x @ y / (x @ x)).item(),
             "Mind the half of the penalty: what does differentiating make of it, and what of the square beside it?":
                 (x @ y / (x @ x + n * penalty)).item(),
             "The loss has a *mean* of n squares, but the penalty stands there once.":
                 (x @ y / (x @ x + penalty / 2)).item(),
             "Is that not ridge regression as in a textbook? There the squares are summed, and nothing is halved.":
                 (x @ y / (x @ x + penalty)).item()},
            relative=1e-6,
        )  # fmt: skip
    x, y = torch.randn(2, 1_000, generator=draws, dtype=torch.float64)
    y += x
    for n in (10, 100, 1_000):
        with_it, without = (checks.number(best_weight(x[:n], y[:n], of), "What it returns") for of in (1.0, 0.0))
        kept = with_it / without
        print(f"{n:5,} pairs, lambda 1: {kept:.1%} of the weight without a penalty are left")


# %% tags=["also-right"]
def best_weight(x, y, penalty):
    products, squares = (x * y).mean(), x.square().mean()
    return (2 * products / (2 * squares + penalty)).view(1)


# %% tags=["wrong"]
def best_weight(x, y, penalty):  # textbook ridge, of another loss
    return (x @ y / (x @ x + penalty)).item()


# %% tags=["wrong"]
def best_weight(x, y, penalty):  # the half is forgotten
    return (x @ y / (x @ x + len(x) * penalty)).item()


# %% tags=["wrong"]
def best_weight(x, y, penalty):  # the mean is forgotten
    return (x @ y / (x @ x + penalty / 2)).item()


# %% tags=["wrong"]
def best_weight(x, y, penalty):  # shrinks by a constant
    return (x @ y / (x @ x)).item() - penalty


# %% [markdown] tags=["in-words"]
# $w = \sum x_i y_i / (\sum x_i^2 + n \lambda / 2)$. Since the loss has the *mean*, the share of the weight that is left
# does not depend on how many pairs there are, but on the mean of $x^2$: the penalty does not fade with more data unless
# it is made smaller, which is one reason to choose the strength anew with all images. A penalty of $\lambda w^2$
# shrinks as twice the $\lambda$: so ask whose $\lambda$ it is.

# %% [markdown]
# ## 3.2 Dropout is a weight decay
#
# *compute, 15 min, medium*
#
# A linear unit gives $\sum_j w_j \tilde h_j$, where dropout keeps each hidden activation with probability $1 - p$, each
# for itself, and then multiplies it by $1 / (1 - p)$. The target is $y$. What is the squared error, averaged over all
# that dropout may do? Find it by pencil (a mean square is the square of the mean plus the variance) and look for the
# part that charges for weights.


# %% tags=["answer"]
def expected_error(w, h, y, p):
    """The expected squared error, a number; `w` and `h` are tensors (n,), `y` a number, `p` from 0 to below 1."""
    ### BEGIN SOLUTION
    return ((w @ h - y) ** 2 + p / (1 - p) * (w**2 @ h**2)).item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.2", expected_error):
    draws = torch.Generator().manual_seed(0)
    for n, p in ((1, 0.5), (6, 0.25), (6, 0.0), (8, 0.5), (8, 0.8)):
        w, h = torch.randn(2, n, generator=draws, dtype=torch.float64)
        y = 0.7
        kept = torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)  # all that may happen
        chances = (kept * (1 - p) + (1 - kept) * p).prod(1)
        right = (chances @ ((kept * h / (1 - p)) @ w - y) ** 2).item()
        mean, spread = (w @ h).item(), (w**2 @ h**2).item()
        unscaled = (chances @ ((kept * h) @ w - y) ** 2).item()
        checks.close(
            checks.number(expected_error(w, h, y, p), "What it returns", 0), right,
            f"It does not hold for {n} activations and p = {p}.",
            {"That is the error without dropout: the variance is missing.": (mean - y) ** 2,
             "The activations that are kept are also scaled, by 1 / (1 - p).": unscaled,
             "The mean of a scaled activation is the activation itself, but its variance is not p (1 - p) h^2.":
                 (mean - y) ** 2 + p * (1 - p) * spread,
             "Is p the probability of being kept? Here it is that of being dropped.":
                 (mean - y) ** 2 + (1 - p) / p * spread if p else math.nan,
             "The units are dropped each for itself: add the variances of the terms, do not square their sum.":
                 (mean - y) ** 2 + p / (1 - p) * mean**2 if n > 1 else math.nan},
            relative=1e-6,
        )  # fmt: skip
    print(f"With p = 0.2, each weight is charged for with {0.2 / 0.8:.2f} h^2 w^2, with p = 0.5 with 1.00 h^2 w^2.")


# %% tags=["also-right"]
def expected_error(w, h, y, p):
    second = h.square() / (1 - p)  # the mean square of what becomes of an activation
    terms = w * h
    of_pairs = terms.sum() ** 2 - (terms**2).sum()  # of two different units: independent
    return float((w**2 * second).sum() + of_pairs - 2 * y * terms.sum() + y**2)


# %% tags=["wrong"]
def expected_error(w, h, y, p):  # nothing but the mean
    return ((w @ h - y) ** 2).item()


# %% tags=["wrong"]
def expected_error(w, h, y, p):  # dropout without the scaling
    return (((1 - p) * (w @ h) - y) ** 2 + p * (1 - p) * (w**2 @ h**2)).item()


# %% tags=["wrong"]
def expected_error(w, h, y, p):  # all units dropped at once
    return ((w @ h - y) ** 2 + p / (1 - p) * (w @ h) ** 2).item()


# %% tags=["wrong"]
def expected_error(w, h, y, p):  # p for 1 - p
    return ((w @ h - y) ** 2 + (1 - p) / max(p, 1e-9) * (w**2 @ h**2)).item()


# %% [markdown] tags=["in-words"]
# $(\sum w_j h_j - y)^2 + \frac{p}{1-p} \sum_j w_j^2 h_j^2$. The second part is a weight decay with a strength of its
# own for each weight: a unit that answers strongly is dear. Units that say the same can share the work, and that is
# cheaper, since half the weight costs a quarter.

# %% [markdown]
# ## 3.3 Wider and wider
#
# *predict, 15 min, easy*
#
# In many textbooks the error on new images, drawn against the size of the network, is a U: too small a network misses
# what is there, too large a one learns the training images by heart. Networks with 8, 32, 128 and 512 hidden units are
# trained on `few` images, without regularization; the largest has thousands of parameters for each image. What will the
# validation error do from the narrowest to the widest? Say so first; then measure.


# %% tags=["answer"]
def predicted():
    """What the validation error does with rising width: "falls", "rises" or "falls, then rises"."""
    ### BEGIN SOLUTION
    return "falls"
    ### END SOLUTION


def errors_at(hidden):
    """The errors of `network(hidden)`, trained on `few` with the `settings`: a tuple (on `few`, on `validation`)."""
    ### BEGIN SOLUTION
    net = network(hidden)
    training.train(net, training.reconstruction_loss, (few,), **settings)
    return metrics.reconstruction_error(net, few), metrics.reconstruction_error(net, validation)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.3", predicted, errors_at):
    checks.option(predicted(), ("falls", "rises", "falls, then rises"))
    outcomes = {}
    for hidden in (512, 8, 32, 128):
        pair = errors_at(hidden)
        checks.several(pair, 2, "Return two errors: on few, on validation.")
        outcomes[hidden] = [checks.number(error, f"An error of errors_at({hidden})", 0) for error in pair]
        if hidden == 512:  # where the two errors are farthest apart
            torch.manual_seed(0)
            ours = models.DenseAutoencoder(32, (512,), "GELU").to(chapter.device)
            untrained = metrics.reconstruction_error(ours, validation)
            training.train(ours, training.reconstruction_loss, (few,), **settings)
            seen, unseen = (metrics.image_errors(ours(images), images).mean().item() for images in (few, validation))
            checks.close(
                outcomes[512], [seen, unseen], "Train `network(hidden)` on `few`, with the settings, for the "
                "reconstruction loss, and measure both errors in evaluation mode.",
                {"The two errors have changed places.": [unseen, seen],
                 "Those are means over pixels. The course's error is their sum.": [seen / 784, unseen / 784],
                 "Both errors are on the same images.": [seen, seen],
                 "Is the network trained?": [untrained, untrained]},
                relative=0.15,
            )  # fmt: skip
            checks.require(pair[0] < pair[1], "The two errors have changed places: first that on `few`.")
    for hidden, (seen, unseen) in sorted(outcomes.items()):
        share = models.count_parameters(network(hidden)) / len(few)
        print(f"{hidden:3} hidden units, {share:5,.0f} parameters an image: {seen:5.1f} on training images, "
              f"{unseen:5.1f} on validation images, gap {unseen - seen:4.1f}")  # fmt: skip
    first, *_, last = curve = [unseen for _, (_, unseen) in sorted(outcomes.items())]
    did = "rises" if min(curve) == first else "falls" if last < 1.02 * min(curve) else "falls, then rises"
    print(f"The validation error {did} (a rise of less than 2% does not count); you said that it {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "falls, then rises"


def errors_at(hidden):
    net = network(hidden).train()
    steps = settings["epochs"] * math.ceil(len(few) / settings["batch_size"]) + 1
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings["learning_rate"], weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["learning_rate"], total_steps=steps)
    for _ in range(settings["epochs"]):
        for batch in few[torch.randperm(len(few))].split(settings["batch_size"]):
            optimizer.zero_grad()
            (net(batch) - batch).square().sum((1, 2, 3)).mean().backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return [(net(images) - images).square().sum((1, 2, 3)).mean().item() for images in (few, validation)]


# %% tags=["wrong"]
def errors_at(hidden):  # trained on what it is measured with
    net = network(hidden)
    training.train(net, training.reconstruction_loss, (torch.cat([few, validation]),), **settings)
    return metrics.reconstruction_error(net, few), metrics.reconstruction_error(net, validation)


# %% tags=["wrong"]
def errors_at(hidden):  # never trained
    return tuple(metrics.reconstruction_error(network(hidden), images) for images in (few, validation))


# %% tags=["wrong"]
def errors_at(hidden):  # the two errors in the wrong order
    net = network(hidden)
    training.train(net, training.reconstruction_loss, (few,), **settings)
    return metrics.reconstruction_error(net, validation), metrics.reconstruction_error(net, few)


# %% tags=["wrong"]
def predicted():
    return "is U-shaped"


# %% [markdown] tags=["in-words"]
# The gap opens with the width, and yet new images are reconstructed better, or hardly worse: the U does not come,
# though parameters outnumber the pixels of all training images. Among the many networks that fit these images, gradient
# descent finds one not far from where it began, and the code is as short as before. So a gap is not a reason to make a
# network smaller.

# %% [markdown]
# ## 3.4 Two methods at half their strengths
#
# *change, 20 min, medium*
#
# Each method enters at a different place: weight decay in the optimizer, dropout in the network, noise on the input in
# the loss. Write one function that trains with any of them, or with several at once. Clean images are the target, and
# noise is not clamped. The check then compares each method alone with dropout and noise together, at half their
# strengths, all at the same learning rate, that of the `settings`. Is the pair better than the better of the two?


# %% tags=["answer"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):
    """A network with 256 hidden units, trained on `images` for so many epochs, else with the `settings`.

    `noise` is the standard deviation of the noise that is added to its input in training.
    """
    ### BEGIN SOLUTION
    net = network(dropout=dropout)
    training.train(net, training.denoising_loss(noise), (images,), weight_decay=weight_decay,
                   **settings | {"epochs": epochs})  # fmt: skip
    return net
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.4", trained):
    blank = torch.zeros(28, 28, device=chapter.device)
    blank[5:23, 5:23] = 1
    framed, rim = few * blank, blank.flatten() == 0  # no image has ink at the rim: its weights get no gradient
    nets, shown, seen, pulls = {}, {}, [], []

    def note(module, inputs):
        """What any network is shown in train mode, whoever made it: all begin with a Flatten."""
        if isinstance(module, nn.Flatten) and module.training:
            seen.append(inputs[0].detach())

    def pull(module, inputs, output):
        """Notes which way the loss pulls the rim of a reconstruction; what is clean is 0 there, so never upwards."""
        of_images = isinstance(module, nn.Sigmoid) and output[0].numel() == 784
        if of_images and module.training and output.requires_grad:
            output.register_hook(lambda gradient: pulls.append(gradient.flatten(1)[:, rim].min().item()))

    watches = [
        nn.modules.module.register_module_forward_pre_hook(note), nn.modules.module.register_module_forward_hook(pull)
    ]  # fmt: skip
    try:
        for name, options in {"plain": {}, "weight decay": {"weight_decay": 10.0}, "noise": {"noise": 0.2}}.items():
            nets[name] = trained(framed, 2, **options)
            checks.require(isinstance(nets[name], models.DenseAutoencoder), "Return the network.")
            shown[name] = torch.cat(seen) if seen else torch.zeros(0, 784)
            upwards = min(pulls, default=0.0) < 0  # in the end, of the training with noise
            for noted in (seen, pulls):
                noted.clear()
    finally:
        for watch in watches:
            watch.remove()
    lengths = {name: net.encoder[1].weight[:, rim].norm().item() for name, net in nets.items()}
    drawn = network().encoder[1].weight[:, rim].norm().item()
    checks.require(len(shown["plain"]) == 2 * len(few), "Two epochs should show each image twice.")
    checks.require((shown["plain"] >= 0).all(), "With `noise` 0 the network should see the images as they are.")
    checks.require(
        abs(lengths["plain"] / drawn - 1) < 0.01,
        "With a weight decay of 0, weights that get no gradient should stay: what else moves them?",
    )
    steps, rates = 2 * math.ceil(len(few) / settings["batch_size"]), []
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["learning_rate"], total_steps=steps + 1)
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    left = math.prod(1 - 10 * rate for rate in rates)
    checks.close(
        lengths["weight decay"] / drawn, left,
        "With a weight decay of 10, weights that get no gradient should shrink by 1 - 10 times the rate, at each step.",
        {"`weight_decay` changes nothing.": 1.0}, relative=0.05,
    )  # fmt: skip
    at_rim = shown["noise"].flatten(1)[:, rim].cpu()
    checks.require(at_rim.std() > 0.01, "With `noise` 0.2 the network still sees clean images in training.")
    checks.require((at_rim < 0).any(), "The noise is clamped: on blank paper it can only add ink.")
    checks.close(at_rim.std(), 0.2, "With `noise` 0.2, the standard deviation of the noise is not 0.2.", relative=0.05)
    checks.require(not upwards, "The noise is in the target, too: the loss asks for ink where clean images have none.")
    early, late = (values.flatten().sort().values for values in at_rim.split(len(few)))
    checks.require(not torch.equal(early, late), "An image has the same noise in every epoch: draw it anew each time.")
    torch.manual_seed(0)
    for p in (0.0, 0.5):
        net = trained(framed, 1, dropout=p).train()
        once, again = (net.encoder(few[:100]) for _ in range(2))
        checks.require(
            torch.equal(once, again) == (p == 0.0),
            f"With a dropout of {p}, two passes in train mode should give {'different' if p else 'the same'} codes.",
        )
    full = {"weight decay": {"weight_decay": 0.1}, "dropout": {"dropout": 0.1}, "input noise": {"noise": 0.2}}
    both = {"dropout": full["dropout"]["dropout"] / 2, "noise": full["input noise"]["noise"] / 2}
    for name, options in ({"none": {}} | full | {"dropout and input noise": both}).items():
        net = trained(few, settings["epochs"], **options)
        error = metrics.reconstruction_error(net, validation)
        how = ", ".join(f"{key} {value:g}" for key, value in options.items())
        print(f"{error:5.1f} squared error per validation image: {name}{f' ({how})' if how else ''}")


# %% tags=["also-right"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):
    net = models.DenseAutoencoder(32, (256,), "GELU", dropout).to(images.device)
    decaying = {"params": net.parameters(), "weight_decay": weight_decay}
    optimizer = torch.optim.AdamW([decaying], lr=settings["learning_rate"])
    batch_size = settings["batch_size"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings["learning_rate"], epochs=epochs, steps_per_epoch=math.ceil(len(images) / batch_size)
    )
    for _ in range(epochs):
        for clean in images[torch.randperm(len(images), device=images.device)].split(batch_size):
            noisy = torch.normal(clean, noise) if noise else clean
            loss = training.squared_error(net.decoder(net.encoder(noisy)), clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # one of three is forgotten
    net = network(dropout=dropout)
    training.train(net, training.denoising_loss(noise), (images,), **settings | {"epochs": epochs})
    return net


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # the chapter's picture noise, which is clamped
    from mnist_ae_utils import corruptions

    net = network(dropout=dropout)
    loss = training.restoring_loss(lambda clean: corruptions.add_gaussian_noise(clean, noise))
    training.train(net, loss, (images,), weight_decay=weight_decay, **settings | {"epochs": epochs})
    return net


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # noise once for all, and the target has it too
    net = network(dropout=dropout)
    noisy = images + noise * torch.randn_like(images)
    training.train(net, training.reconstruction_loss, (noisy,), weight_decay=weight_decay,
                   **settings | {"epochs": epochs})  # fmt: skip
    return net


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # noise once for all
    def loss(autoencoder, noisy, clean):
        return training.squared_error(autoencoder(noisy), clean)

    net = network(dropout=dropout)
    noisy = images + noise * torch.randn_like(images)
    training.train(net, loss, (noisy, images), weight_decay=weight_decay, **settings | {"epochs": epochs})
    return net


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # drawn anew, but the target has it too
    def loss(autoencoder, clean):
        noisy = clean + noise * torch.randn_like(clean)
        return training.squared_error(autoencoder(noisy), noisy)

    net = network(dropout=dropout)
    training.train(net, loss, (images,), weight_decay=weight_decay, **settings | {"epochs": epochs})
    return net


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # dropout is not handed on
    net = network()
    training.train(net, training.denoising_loss(noise), (images,), weight_decay=weight_decay,
                   **settings | {"epochs": epochs})  # fmt: skip
    return net


# %% tags=["wrong"]
def trained(images, epochs, weight_decay=0.0, dropout=0.0, noise=0.0):  # Adam with an L2 penalty
    net = network(dropout=dropout)
    optimizer = torch.optim.Adam(net.parameters(), lr=settings["learning_rate"], weight_decay=weight_decay)
    for _ in range(epochs):
        for clean in images.split(settings["batch_size"]):
            optimizer.zero_grad()
            training.denoising_loss(noise)(net, clean).backward()
            optimizer.step()
    return net.eval()


# %% [markdown]
# ## 3.5 When to stop
#
# *explain, 20 min, medium*
#
# Early stopping needs no penalty: keep the weights of the best epoch. Which one was best is known only afterwards, so
# one waits: training ends as soon as `patience` epochs in a row have brought no new least validation error, and the
# weights of the best epoch so far are kept. Write this rule. The check then applies it to two trainings, at a constant
# learning rate and with one cycle, which `validation_errors` makes. What does stopping gain with each, and why so
# little with one of them? Explain in words.


# %% tags=["given"]
def validation_errors(one_cycle, epochs):
    """The validation errors after each epoch of a training on `few` images: a list."""
    net, found, rate = network(), [], settings["learning_rate"]
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.0)
    steps = epochs * math.ceil(len(few) / settings["batch_size"]) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps) if one_cycle else None
    for _ in range(epochs):
        for batch in few[torch.randperm(len(few))].split(settings["batch_size"]):
            optimizer.zero_grad()
            training.reconstruction_loss(net.train(), batch).backward()
            optimizer.step()
            if schedule:
                schedule.step()
        found.append(metrics.reconstruction_error(net, validation))
    return found


# %% tags=["answer"]
def early_stopping(errors, patience):
    """Which epoch's weights are kept, and after which epoch training ends: a tuple of two numbers, counted from 1.

    `errors` is a list of the validation errors after each epoch of a whole training.
    """
    ### BEGIN SOLUTION
    best = 1
    for epoch, error in enumerate(errors, start=1):
        if error < errors[best - 1]:
            best = epoch
        if epoch - best == patience:
            return best, epoch
    return best, len(errors)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.5", early_stopping):
    for errors, patience, right, likely in (
        ([9, 7, 5, 4, 3], 2, (5, 5), {}),
        ([9, 7, 5, 6, 8, 4, 3], 2, (3, 5), {"It sees what a training that has ended cannot see.": (7, 7)}),
        ([9, 7, 5, 6, 8, 4, 3], 3, (7, 7), {}),
        ([5, 6, 5.5, 5.2, 1], 3, (1, 4), {"An error that falls is not yet a new least error.": (5, 5)}),
        ([9, 5, 6, 4, 6, 3, 8, 8, 1], 2, (6, 8), {"The count begins anew with every new least error.": (4, 5)}),
        ([4, 4, 4, 3], 2, (1, 3), {"As low as before is no new least error.": (4, 4)}),
    ):
        found = early_stopping(list(errors), patience)
        checks.several(found, 2, "Return the epoch kept and the last epoch.")
        likely |= {"Epochs are counted from 1, positions in a list from 0.": [epoch - 1 for epoch in right],
                   "The last epoch is kept. It should be the best.": [right[1], right[1]],
                   "The two numbers have changed places: first the epoch kept.": right[::-1]}  # fmt: skip
        for value in found:
            checks.number(value, "Each of the two numbers", 0)
        checks.close(found, right, f"With errors {errors} and patience {patience} it is not right.", likely)
    for name, one_cycle in {"constant rate": False, "one cycle": True}.items():
        errors = validation_errors(one_cycle, settings["epochs"])
        kept, last = early_stopping(errors, 5)
        best, end = 1 + errors.index(min(errors)), len(errors)
        print(f"{name}: least error {min(errors):.2f} after epoch {best} of {end}, {errors[-1]:.2f} at the end.")
        print(f"    With a patience of 5 it ends after epoch {last} and keeps the weights with {errors[kept - 1]:.2f}.")


# %% tags=["also-right"]
def early_stopping(errors, patience):
    for last in range(patience + 1, len(errors) + 1):
        if min(errors[last - patience : last]) >= min(errors[: last - patience]):
            return errors.index(min(errors[:last])) + 1, last
    return errors.index(min(errors)) + 1, len(errors)


# %% tags=["wrong"]
def early_stopping(errors, patience):  # the best of all epochs, patience or not
    return errors.index(min(errors)) + 1, len(errors)


# %% tags=["wrong"]
def early_stopping(errors, patience):  # counts rises, not epochs without a new least error
    rises = 0
    for epoch in range(1, len(errors)):
        rises = rises + 1 if errors[epoch] > errors[epoch - 1] else 0
        if rises == patience:
            return errors.index(min(errors[: epoch + 1])) + 1, epoch + 1
    return errors.index(min(errors)) + 1, len(errors)


# %% tags=["wrong"]
def early_stopping(errors, patience):  # positions from 0
    best = 0
    for epoch, error in enumerate(errors):
        best = epoch if error < errors[best] else best
        if epoch - best == patience:
            return best, epoch
    return best, len(errors) - 1


# %% tags=["wrong"]
def early_stopping(errors, patience):  # the count is not set back
    best, waited = 0, 0
    for epoch, error in enumerate(errors):
        if epoch and error >= errors[best]:
            waited += 1
        else:
            best = epoch
        if waited == patience:
            return best + 1, epoch + 1
    return best + 1, len(errors)


# %% [markdown] tags=["in-words"]
# At a constant rate the weights never come to rest: with few images and enough epochs the curve turns up, as they go on
# to learn by heart, and what stopping gains is the height of that turn. With one cycle the rate sinks to almost
# nothing, so the weights stop by themselves, and the last epoch is nearly the best. That says nothing against early
# stopping: the schedule has it built in, and its end is chosen by us, before the training. The gap is there with both.

# %% [markdown]
# ## 3.6 A figure that knows too much
#
# *debug, 15 min, medium*
#
# Ridge regression reads the class off standardized pixels, of images shrunk to 14 x 14. This experiment chooses its
# strength and reports the accuracy on the test images. Two things in it know the test images that should not. Find both
# and write the experiment as it should be: whatever is fitted is fitted to the training images, and the validation
# images only choose the strength. (`Split` has `images` and `labels`.)


# %% tags=["given"]
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def ridge(inputs, labels, strength):
    """Weights (n_inputs + 1, 10), the last row a bias: inputs (n, n_inputs) to one number for each class."""
    inputs = nn.functional.pad(inputs, (0, 1), value=1.0)
    targets = nn.functional.one_hot(labels, 10).to(inputs)
    penalty = strength * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    return torch.linalg.solve(inputs.T @ inputs / len(inputs) + penalty, inputs.T @ targets / len(inputs))


def accuracy(weights, inputs, labels):
    scores = nn.functional.pad(inputs, (0, 1), value=1.0) @ weights
    return (scores.argmax(1) == labels).double().mean().item()


def pixels(split):
    """The images of a split, shrunk to 14 x 14, as double-precision rows (n, 196), and their labels (n,)."""
    return nn.functional.avg_pool2d(split.images, 2).flatten(1).cpu().double(), split.labels.cpu()


def broken_experiment(train, validation, test):
    splits = [pixels(split) for split in (train, validation, test)]
    images = torch.cat([rows for rows, _ in splits])
    mean, scale = images.mean(0), images.std(0) + 0.1  # 0.1 for pixels that never change
    (x, y), _, (x_test, y_test) = [((rows - mean) / scale, labels) for rows, labels in splits]
    found = {strength: accuracy(ridge(x, y, strength), x_test, y_test) for strength in STRENGTHS}
    best = max(found, key=found.get)
    return best, found[best]


parts = [Split(of.images[:n], of.labels[:n]) for of, n in ((data.train, 500), (data.validation, 200), (data.test, 200))]
print("strength and test accuracy:", broken_experiment(*parts))


# %% tags=["answer"]
def experiment(train, validation, test):
    """(strength, accuracy): which of STRENGTHS is chosen, and the accuracy on the test images, from 0 to 1.

    The three are `Split`s. `ridge`, `accuracy` and the 0.1 of the scale stay as they are.
    """
    ### BEGIN SOLUTION
    mean, scale = pixels(train)[0].mean(0), pixels(train)[0].std(0) + 0.1
    (x, y), of_validation, of_test = (
        ((rows - mean) / scale, labels) for rows, labels in map(pixels, (train, validation, test))
    )
    weights = {strength: ridge(x, y, strength) for strength in STRENGTHS}
    best = max(weights, key=lambda strength: accuracy(weights[strength], *of_validation))
    return best, accuracy(weights[best], *of_test)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.6", experiment):
    x, y = pixels(parts[0])

    def standardized(rows, by):
        return (rows - by.mean(0)) / (by.std(0) + 0.1)

    def share(strength, rows, labels, by, of_training=x):
        """The accuracy, where rows are standardized like the images `by`, and training images like `of_training`."""
        return accuracy(ridge(standardized(x, of_training), y, strength), standardized(rows, by), labels)

    def world(of_validation, of_test):
        """Splits in which one strength is right for all validation images, and another for all test images.

        They differ in brightness from the training images, so that other statistics would be noticed.
        """
        made = []
        for split, strength, change in ((parts[1], of_validation, 2.0), (parts[2], of_test, 0.3)):
            rows = nn.functional.pad(standardized(change * pixels(split)[0] + 0.2, x), (0, 1), value=1.0)
            says = (rows @ ridge(standardized(x, x), y, strength)).argmax(1)
            made.append(Split(change * split.images + 0.2, says.to(split.labels.device)))
        return parts[0], *made

    for of_validation, of_test in ((0.1, 10.0), (10.0, 0.1), (1.0, 1.0)):
        splits, elsewhere = (world(of_validation, of) for of in (of_test, 10.0 if of_test < 1 else 0.01))
        found = experiment(*splits)
        checks.several(found, 2, "Return the strength and the accuracy.")
        strength, right = checks.option(found[0], STRENGTHS), checks.number(found[1], "The accuracy", 0, 1)
        checks.require(
            strength == experiment(*elsewhere)[0],
            "The strength changes when the labels of the test images do: they should have no say.",
        )
        seen, test_part = pixels(splits[1]), pixels(splits[2])
        mixed, everything = torch.cat([x, seen[0]]), torch.cat([x, seen[0], test_part[0]])
        checks.close(
            right, share(strength, *test_part, x), "That is not the accuracy on the test images at that strength.",
            {"Mean and scale know more images than those of training: take them from the training images alone.":
                 share(strength, *test_part, mixed, mixed),
             "Mean and scale are those of all images: take them from the training images alone.":
                 share(strength, *test_part, everything, everything),
             "Test images are standardized by their own mean and scale: give them the training images'.":
                 share(strength, *test_part, test_part[0]),
             "That is the accuracy on the validation images.": share(strength, *seen, x)},
            absolute=0.002,
        )  # fmt: skip
        checks.require(
            share(strength, *seen, x) >= max(share(any_of, *seen, x) for any_of in STRENGTHS) - 0.001,
            "Another strength does better on the validation images, with the training images' mean and scale.",
        )
    print(f"Here it chooses {experiment(*parts)[0]:g} and has an accuracy of {experiment(*parts)[1]:.1%}; the broken "
          f"one said {broken_experiment(*parts)[1]:.1%}.")  # fmt: skip


# %% tags=["also-right"]
import numpy as np
from sklearn.linear_model import Ridge


def experiment(train, validation, test):
    rows = pixels(train)[0].numpy()
    mean, scale = rows.mean(0), rows.std(0, ddof=1) + 0.1

    def inputs(split):
        return np.hstack([(pixels(split)[0].numpy() - mean) / scale, np.ones((len(split), 1))])

    best = (0.0,)
    for strength in STRENGTHS:
        model = Ridge(strength * len(rows), fit_intercept=False).fit(inputs(train), np.eye(10)[train.labels.cpu()])
        right = [np.mean(model.predict(inputs(of)).argmax(1) == of.labels.cpu().numpy()) for of in (validation, test)]
        best = max(best, (right[0], -strength, right[1]))
    return -best[1], float(best[2])


# %% tags=["wrong"]
experiment = broken_experiment


# %% tags=["wrong"]
def experiment(train, validation, test):  # the choice is mended, the statistics are not
    splits = [pixels(split) for split in (train, validation, test)]
    images = torch.cat([rows for rows, _ in splits])
    mean, scale = images.mean(0), images.std(0) + 0.1
    (x, y), of_validation, of_test = [((rows - mean) / scale, labels) for rows, labels in splits]
    found = {strength: accuracy(ridge(x, y, strength), *of_validation) for strength in STRENGTHS}
    best = max(found, key=found.get)
    return best, accuracy(ridge(x, y, best), *of_test)


# %% tags=["wrong"]
def experiment(train, validation, test):  # the validation images help to set mean and scale
    splits = [pixels(split) for split in (train, validation, test)]
    images = torch.cat([rows for rows, _ in splits[:2]])
    mean, scale = images.mean(0), images.std(0) + 0.1
    (x, y), of_validation, of_test = [((rows - mean) / scale, labels) for rows, labels in splits]
    found = {strength: accuracy(ridge(x, y, strength), *of_validation) for strength in STRENGTHS}
    best = max(found, key=found.get)
    return best, accuracy(ridge(x, y, best), *of_test)


# %% tags=["wrong"]
def experiment(train, validation, test):  # the statistics are mended, the choice is not
    rows, _ = pixels(train)
    mean, scale = rows.mean(0), rows.std(0) + 0.1
    (x, y), _, of_test = [((r - mean) / scale, labels) for r, labels in map(pixels, (train, validation, test))]
    found = {strength: accuracy(ridge(x, y, strength), *of_test) for strength in STRENGTHS}
    best = max(found, key=found.get)
    return best, found[best]


# %% tags=["wrong"]
def experiment(train, validation, test):  # reports what it chose by
    rows, _ = pixels(train)
    mean, scale = rows.mean(0), rows.std(0) + 0.1
    (x, y), of_validation, _ = [((r - mean) / scale, labels) for r, labels in map(pixels, (train, validation, test))]
    found = {strength: accuracy(ridge(x, y, strength), *of_validation) for strength in STRENGTHS}
    best = max(found, key=found.get)
    return best, found[best]


# %% tags=["wrong"]
def experiment(train, validation, test):  # each split is standardized by itself
    (x, y), of_validation, of_test = [
        ((rows - rows.mean(0)) / (rows.std(0) + 0.1), labels) for rows, labels in map(pixels, (train, validation, test))
    ]
    found = {strength: accuracy(ridge(x, y, strength), *of_validation) for strength in STRENGTHS}
    best = max(found, key=found.get)
    return best, accuracy(ridge(x, y, best), *of_test)


# %% [markdown] tags=["in-words"]
# The strength was chosen by the test accuracy, and of several noisy numbers the largest is too large. And the test
# images helped to set mean and scale: with an accuracy that changes little, but a figure for images that the model has
# already seen is another figure than the one that was promised. A test image stands for one that comes tomorrow.

# %% [markdown]
# ## 3.7 Noise that can only add
#
# *predict, 20 min, medium*
#
# `training.denoising_loss` does not clamp the noisy images to [0, 1]. What if it did? On blank paper, clamped noise can
# only add ink; on full ink, it can only take some away. Train an autoencoder so, then give it *clean* images. Will its
# reconstructions hold more ink than the clean images do, or less? Say so first; then write the loss.


# %% tags=["answer"]
def predicted():
    """What reconstructions of clean images hold, after a training with clamped noise: "more ink" or "less ink"."""
    ### BEGIN SOLUTION
    return "more ink"
    ### END SOLUTION


def clamped_loss(std):
    """A loss `loss(autoencoder, images)` like `training.denoising_loss(std)`, of noisy images clamped to [0, 1]."""

    ### BEGIN SOLUTION
    def loss(autoencoder, images):
        noisy = (images + std * torch.randn_like(images)).clamp(0, 1)
        return training.squared_error(autoencoder(noisy), images)

    return loss
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.7", predicted, clamped_loss):
    checks.option(predicted(), ("more ink", "less ink"))
    seen = []

    class Half(nn.Module):
        """Notes what it is shown, and calls every pixel half-inked."""

        def forward(self, images):
            seen.append(images)
            return torch.full_like(images, 0.5)

    gray = torch.cat([torch.full((40, 1, 28, 28), level) for level in (0.0, 0.5, 1.0)]).to(chapter.device)
    torch.manual_seed(0)
    loss = clamped_loss(0.2)
    checks.require(callable(loss), "Return a function of an autoencoder and images.")
    value = checks.number(loss(Half(), gray), "The loss", 0)
    checks.require(len(seen) == 1, "The loss should call the autoencoder once.")
    noisy = checks.tensor(seen[0], "What the autoencoder is shown", (120, 1, 28, 28)).cpu()
    checks.require(noisy.min() >= 0 and noisy.max() <= 1, "What the autoencoder is shown reaches beyond 0 and 1.")
    at_0, at_half, at_1 = noisy.split(40)
    checks.close(at_half.std(), 0.2, "The noise should have the standard deviation `std`.", {
        "There is no noise in what the autoencoder is shown.": 0.0}, relative=0.05)  # fmt: skip
    gained = 0.2 / math.sqrt(2 * math.pi)  # the mean of the positive half of a normal distribution, and of zeros
    checks.close(
        [at_0.mean(), 1 - at_1.mean()], [gained, gained],
        "Add the noise first, then clamp: half of the blank pixels should stay blank.",
        {"Clamp what is shown, not the noise.": [2 * gained, 2 * gained]}, relative=0.1,
    )  # fmt: skip
    checks.close(value, 0.25 * 784 * 2 / 3, "The target should be the clean images, the error summed over pixels.", {
        "The error is compared with the noisy images. The clean ones are the target.":
            (noisy - 0.5).square().flatten(1).sum(1).mean(),
        "The error should be summed over pixels, not averaged.": 0.25 * 2 / 3}, relative=1e-2)  # fmt: skip
    shares = {}
    losses = {"noise": training.denoising_loss(0.4), "clamped noise": clamped_loss(0.4)}
    for name in ("without noise", *losses):
        net = network() if name in losses else plain
        if name in losses:
            training.train(net, losses[name], (few,), **settings)
        restored = metrics.reconstruct(net, validation)
        shares[name] = (restored.sum() / validation.sum()).item()
        error = metrics.image_errors(restored, validation).mean()
        print(f"{name}: {shares[name]:.1%} of the clean images' ink; {error:.1f} squared error per validation image")
    it = "more ink" if shares["clamped noise"] > 1 else "less ink"
    print(f"After clamped noise they hold {it} than the clean images; you said {predicted()}.")


# %% tags=["also-right"]
from functools import partial

from mnist_ae_utils import corruptions


def predicted():
    return "less ink"


def clamped_loss(std):
    return training.restoring_loss(partial(corruptions.add_gaussian_noise, std=std))


# %% tags=["wrong"]
clamped_loss = training.denoising_loss


# %% tags=["wrong"]
def clamped_loss(std):  # the noisy image is the target
    def loss(autoencoder, images):
        noisy = (images + std * torch.randn_like(images)).clamp(0, 1)
        return training.reconstruction_loss(autoencoder, noisy)

    return loss


# %% tags=["wrong"]
def clamped_loss(std):  # the noise is clamped, what is shown is not
    def loss(autoencoder, images):
        return training.squared_error(autoencoder(images + (std * torch.randn_like(images)).clamp(0, 1)), images)

    return loss


# %% tags=["wrong"]
def clamped_loss(std):  # a mean over pixels
    def loss(autoencoder, images):
        noisy = (images + std * torch.randn_like(images)).clamp(0, 1)
        return nn.functional.mse_loss(autoencoder(noisy), images)

    return loss


# %% tags=["wrong"]
def predicted():
    return "as much"


# %% [markdown] tags=["in-words"]
# More. The mean of the clamped noise on a blank pixel is $\sigma / \sqrt{2 \pi}$, not 0, and on full ink as much is
# missing: all images that the network knows are a little pale, on gray paper, and there it has learned how much ink to
# answer with. A clean image, of blacker strokes on whiter paper than it has ever seen, is an exaggeration to it, and so
# is its answer. Show it a noisy image, and the ink is right; a clean one plus that gray lies between the two.

# %% [markdown]
# ## 3.8 The length of a Jacobian
#
# *compute, 25 min, hard*
#
# Input noise acts like a penalty on $\lVert J \rVert_F^2$, the sum of the squares of all entries of the Jacobian of
# $f$ at an image: how steep the autoencoder is. It has 784 x 784 entries. Must we have them all? No: draw $v$ from the
# standard normal distribution, so that $\mathbb E[v_i v_j]$ is 1 for $i = j$ and else 0. Show by pencil that
#
# $$\mathbb E\, \lVert J v \rVert^2 = \lVert J \rVert_F^2$$
#
# (write $\lVert J v \rVert^2$ as a sum over $k$, $i$ and $j$, and take the mean of each term). And $J v$ is a slope in
# one direction, which two values of $f$ give: $J v \approx (f(x + h v) - f(x)) / h$ for a small $h$. So a few random
# directions, averaged, are enough. Write this.


# %% tags=["answer"]
def squared_jacobian(f, images, directions, h=1e-2):
    """The mean over `images` (n, 1, 28, 28) of the squared Frobenius norm of the Jacobian of `f`: a number.

    `f` takes images to tensors (n, ...). It may be called 2 x `directions` times. For each of the `directions`, draw
    another one for each image.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        at, slopes = f(images), []
        for _ in range(directions):
            v = torch.randn_like(images)
            slopes.append(((f(images + h * v) - at) / h).flatten(1).square().sum(1).mean())
    return torch.stack(slopes).mean().item()
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("3.8", squared_jacobian):
    draws, calls = torch.Generator().manual_seed(1), []
    A = (torch.randn(50, 784, generator=draws) / 28).double()
    points = torch.rand(40, 1, 28, 28, generator=draws, dtype=torch.float64)

    def linear(images):
        calls.append(len(images))
        return images.flatten(1) @ A.T + 3

    def curved(images):
        return torch.sin(linear(images))

    def narrow(images):  # one output: each direction says something else
        return images.flatten(1) @ A[:1].T

    torch.manual_seed(0)
    slopes = (linear(points) - 3).cos().square()  # sin' = cos: each row of A times this
    at_curved = (slopes @ A.square().sum(1)).mean().item()
    calls.clear()
    found = checks.number(squared_jacobian(linear, points, 30), "What it returns", 0)
    exact = A.square().sum().item()
    checks.close(
        found, exact, f"For a linear map it gives {found / exact:.2g} times what the matrix's entries say.",
        {"Take each slope per unit of h before you square it: divide by h squared.": exact * 1e-2**2,
         "A square of a slope has h squared below it.": exact * 1e-2,
         "That is the norm. Its square is asked for.": math.sqrt(exact),
         "Directions of length 1 give the 784th part: draw them from the normal distribution and leave them so.":
             exact / 784,
         "Sum the squares over the outputs, do not average them.": exact / 50,
         "Average over the images, do not add them.": exact * len(points)},
        relative=0.05,
    )  # fmt: skip
    often = sum(calls) / len(points)
    checks.require(often <= 60, f"It called `f` {often:.0f} times for each image. With 30 directions, 60 are enough.")
    alike = points[:1].expand(4_000, 1, 28, 28)
    found = [checks.number(squared_jacobian(narrow, alike, 1), "What it returns", 0) for _ in range(3)]
    checks.close(found, A[0].square().sum().expand(3), "Do all images share one direction? Draw another one for each.",
                 relative=0.1)  # fmt: skip
    checks.close(
        checks.number(squared_jacobian(curved, points, 100, 1e-4), "What it returns", 0), at_curved,
        "For a linear map it is right, for a curved one it is not. Is it the slope at the image, for the `h` given?",
        relative=0.05,
    )  # fmt: skip
    noisy = network()
    training.train(noisy, training.denoising_loss(0.3), (few,), **settings)
    some = validation[:100]
    for name, net in {"without noise": plain, "with input noise 0.3": noisy}.items():
        length = checks.number(squared_jacobian(net.eval(), some, 20), "What it returns", 0)
        print(f"{name}: squared norm {length:.1f}; noise of 0.3 would cost about {0.3**2 * length:.1f} squared error")


# %% tags=["also-right"]
def squared_jacobian(f, images, directions, h=1e-2):  # from both sides, all directions at once
    with torch.inference_mode():
        many = images.repeat(directions, 1, 1, 1)
        step = h / 2 * torch.randn_like(many)
        return (f(many + step) - f(many - step)).square().sum().item() / h**2 / len(many)


# %% tags=["wrong"]
def squared_jacobian(f, images, directions, h=1e-2):  # directions of length 1
    with torch.no_grad():
        total = 0.0
        for _ in range(directions):
            v = torch.randn_like(images)
            v = v / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            total += ((f(images + h * v) - f(images)) / h).flatten(1).square().sum(1).mean().item()
    return total / directions


# %% tags=["wrong"]
def squared_jacobian(f, images, directions, h=1e-2):  # all 784 pixels
    with torch.no_grad():
        total, at = 0.0, f(images)
        for pixel in torch.eye(784).view(784, 1, 28, 28).to(images):
            total += ((f(images + h * pixel) - at) / h).square().sum().item()
    return total / len(images)


# %% tags=["wrong"]
def squared_jacobian(f, images, directions, h=1e-2):  # h once instead of twice
    with torch.no_grad():
        steps = [(f(images + h * torch.randn_like(images)) - f(images)).square().flatten(1).sum(1) / h
                 for _ in range(directions)]  # fmt: skip
    return torch.stack(steps).mean().item()


# %% tags=["wrong"]
def squared_jacobian(f, images, directions, h=1e-2):  # one direction for all images
    with torch.no_grad():
        at, slopes = f(images), []
        for _ in range(directions):
            v = torch.randn(images.shape[1:]).to(images)
            slopes.append(((f(images + h * v) - at) / h).flatten(1).square().sum(1).mean())
    return torch.stack(slopes).mean().item()


# %% [markdown] tags=["in-words"]
# $\lVert J v \rVert^2 = \sum_k \sum_{i, j} J_{ki} J_{kj} v_i v_j$. In the mean only $i = j$ is left, which gives
# $\sum_{k, i} J_{ki}^2$. Trained with noise, the autoencoder is less steep, as the penalty says that it should be:
# compare the two lines. The more it has learned by heart without noise, the larger the difference.
