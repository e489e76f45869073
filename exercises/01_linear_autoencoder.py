# %% [markdown]
# # Exercises to chapter 1: the linear autoencoder, and what a bottleneck learns without labels
#
# Read [chapter 1](../01_linear_autoencoder.ipynb) first; what these exercises need of it is defined anew below, so that
# this notebook runs by itself. For each, write the function asked for, run its cell, and run the check below it, whose
# code is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and profile;
# nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import math

import torch
from sklearn.decomposition import PCA
from torch import nn

from mnist_ae_utils import checks, metrics, models, training
from mnist_ae_utils.chapter import begin

chapter = begin("01_exercises", profile, dataset, device=device)
data = chapter.data
train, validation = (
    data.train.images[:2_000],
    data.validation.images[:500],
)  # enough for what is asked here

# %% [markdown]
# `pca` is fitted to these training images; `pca_error(d)` is its reconstruction error with `d` components on the
# validation images, in the unit of the course: the squared error summed over the 784 pixels, averaged over images.

# %%
pca = PCA(64, random_state=0).fit(train.flatten(1).cpu().numpy())
mean = torch.tensor(pca.mean_, device=chapter.device)  # (784,)
components = torch.tensor(pca.components_, device=chapter.device)  # (64, 784), orthonormal rows


def pca_reconstruct(images, d):
    codes = (images.flatten(1) - mean) @ components[:d].T  # (n, d)
    return (codes @ components[:d] + mean).view_as(images)


def pca_error(d, images=validation):
    return metrics.image_errors(pca_reconstruct(images, d), images).mean().item()


print(f"PCA: {pca_error(2):.1f} with 2 components, {pca_error(30):.1f} with 30")

# %% [markdown]
# ## 1.1 What the mean image leaves
#
# *compute, 5 min, easy*
#
# With no components at all, PCA gives every image the same reconstruction: the mean of the training images. Take its
# error on the validation images as 100%. Which share of it do the first `d` components explain?


# %% tags=["answer"]
def explained(d):
    """The share of the mean image's reconstruction error that `d` components explain, from 0 to 1: a number."""
    ### BEGIN SOLUTION
    of_mean = metrics.image_errors(mean.view(1, 1, 28, 28).expand_as(validation), validation).mean().item()
    return 1 - pca_error(d) / of_mean
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.1", explained):
    shares = [checks.number(explained(d), f"explained({d})", 0, 1) for d in (1, 8, 64)]
    spread = (validation.flatten(1) - mean).square().sum(1).mean().item()
    checks.close(
        shares[1], 1 - pca_error(8) / spread,
        "Your 100% should be the error of the training images' mean, measured on the validation images.",
        {"That is what is left, not what is explained.": pca_error(8) / spread,
         "That is the share of the training images' variance. The validation images are asked for.":
             pca.explained_variance_ratio_[:8].sum()},
    )  # fmt: skip
    checks.require(
        shares[0] < shares[1] < shares[2],
        "More components explain more: the shares should rise with d.",
    )


# %% tags=["also-right"]
def explained(d):
    around = validation.flatten(1) - mean
    return ((around @ components[:d].T).square().sum() / around.square().sum()).item()


# %% tags=["wrong"]
def explained(d):  # the variance of the training images, as scikit-learn tells it
    return pca.explained_variance_ratio_[:d].sum()


# %% tags=["wrong"]
def explained(d):  # compared with an empty image instead of the mean
    nothing = metrics.image_errors(torch.zeros_like(validation), validation).mean().item()
    return 1 - pca_error(d) / nothing


# %% tags=["wrong"]
def explained(d):  # what remains
    return pca_error(d) / metrics.image_errors(mean.view(1, 1, 28, 28).expand_as(validation), validation).mean().item()


# %% [markdown]
# ## 1.2 A linear autoencoder by pencil
#
# *compute, 15 min, medium*
#
# Points in the plane, centered, have the covariance matrix $\begin{pmatrix} a & b \\ b & c \end{pmatrix}$. A linear
# autoencoder gives each of them back from *one* number. What is the least mean squared error that it can reach, with
# the squared error summed over the two coordinates? Find a formula by pencil, with no eigenvalue routine, and write it
# down. (On which line do the reconstructions lie? What is left, when the variance along it is taken away?)


# %% tags=["answer"]
def least_error(a, b, c):
    """The least mean squared error, a number; the matrix is positive semidefinite."""
    ### BEGIN SOLUTION
    return (a + c) / 2 - math.sqrt(((a - c) / 2) ** 2 + b**2)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.2", least_error):
    for a, b, c in (
        (4.0, 0.0, 1.0),
        (1.0, 0.0, 4.0),
        (2.0, 1.5, 3.0),
        (2.0, -1.5, 3.0),
        (1.0, 1.0, 1.0),
    ):
        least, most = (value.item() for value in torch.linalg.eigvalsh(torch.tensor([[a, b], [b, c]]).double()))
        checks.close(
            checks.number(least_error(a, b, c), f"least_error({a}, {b}, {c})"), least,
            f"It does not hold for a = {a}, b = {b}, c = {c}.",
            {f"For a = {a}, b = {b}, c = {c} that is the variance along the best line, not beside it.": most,
             f"For a = {a}, b = {b}, c = {c} that is the error of the better axis. The best line may lie aslant.":
                 min(a, c)},
            absolute=1e-9,
        )  # fmt: skip


# %% tags=["also-right"]
def least_error(a, b, c):  # along the direction of the angle t, the variance is a cos^2 + 2 b sin cos + c sin^2
    t = math.atan2(2 * b, a - c) / 2
    return a + c - (a * math.cos(t) ** 2 + 2 * b * math.sin(t) * math.cos(t) + c * math.sin(t) ** 2)


# %% tags=["wrong"]
def least_error(a, b, c):  # only the better axis
    return min(a, c)


# %% tags=["wrong"]
def least_error(a, b, c):  # what is explained
    return (a + c) / 2 + math.sqrt(((a - c) / 2) ** 2 + b**2)


# %% tags=["wrong"]
def least_error(a, b, c):  # regression of y on x: the error along one axis, not across the line
    return c - b**2 / a


# %% [markdown]
# ## 1.3 The same network in disguise
#
# *change, 15 min, medium*
#
# For any invertible matrix $A$, a linear autoencoder has a twin whose codes are $A z$ instead of $z$ and whose
# reconstructions are the same. Make it. (So nothing makes the numbers of a linear autoencoder's code PCA's.)


# %% tags=["answer"]
def disguised(autoencoder, A):
    """A new models.LinearAutoencoder with the codes A z, z those of `autoencoder`, and the same reconstructions.

    A is a tensor (d, d), invertible; `autoencoder` itself is left as it is.
    """
    ### BEGIN SOLUTION
    encoder, decoder = autoencoder.encoder[1], autoencoder.decoder[0]
    twin = models.LinearAutoencoder(len(A)).to(A.device)
    with torch.no_grad():
        twin.encoder[1].weight.copy_(A @ encoder.weight)
        twin.encoder[1].bias.copy_(A @ encoder.bias)
        twin.decoder[0].weight.copy_(decoder.weight @ torch.linalg.inv(A))
        twin.decoder[0].bias.copy_(decoder.bias)
    return twin
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.3", disguised), torch.no_grad():
    torch.manual_seed(0)
    original = models.LinearAutoencoder(4).to(chapter.device)
    A = torch.eye(4, device=chapter.device) + 0.3 * torch.randn(4, 4).to(chapter.device)
    codes, reconstructions = original.encoder(validation), original(validation)
    twin = disguised(original, A)
    checks.require(isinstance(twin, models.LinearAutoencoder), "Return a models.LinearAutoencoder.")
    checks.require(twin is not original, "Return a new network: the given one should stay as it was.")
    checks.close(original.encoder(validation), codes, "The given network was changed: return a new one.")
    checks.close(
        twin.encoder(validation), codes @ A.T, "Its codes are not A z.",
        {"Its codes are z A instead of A z: mind on which side the matrix stands.": codes @ A,
         "Its codes are those of the given network.": codes,
         "The bias is a part of the code too: A has to act on it.":
             (codes - original.encoder[1].bias) @ A.T + original.encoder[1].bias},
        relative=1e-3, absolute=1e-4,
    )  # fmt: skip
    checks.close(twin(validation), reconstructions, "Its codes are right, but its reconstructions are others: the "
                 "decoder has to undo A.", relative=1e-3, absolute=1e-4)  # fmt: skip

# %% tags=["also-right"]
import copy


def disguised(autoencoder, A):
    twin = copy.deepcopy(autoencoder)
    state = twin.state_dict()
    state["encoder.1.weight"], state["encoder.1.bias"] = (
        A @ state["encoder.1.weight"],
        A @ state["encoder.1.bias"],
    )
    state["decoder.0.weight"] = torch.linalg.solve(A.T, state["decoder.0.weight"].T).T
    twin.load_state_dict(state)
    return twin


# %% tags=["wrong"]
def disguised(autoencoder, A):  # in place, and the decoder does not undo it
    with torch.no_grad():
        autoencoder.encoder[1].weight.copy_(A @ autoencoder.encoder[1].weight)
    return autoencoder


# %% tags=["wrong"]
def disguised(autoencoder, A):  # the bias is forgotten
    twin = copy.deepcopy(autoencoder)
    with torch.no_grad():
        twin.encoder[1].weight.copy_(A @ twin.encoder[1].weight)
        twin.decoder[0].weight.copy_(twin.decoder[0].weight @ torch.linalg.inv(A))
    return twin


# %% tags=["wrong"]
def disguised(autoencoder, A):  # the decoder multiplies by A's transpose, as if A were orthogonal
    twin = copy.deepcopy(autoencoder)
    with torch.no_grad():
        twin.encoder[1].weight.copy_(A @ twin.encoder[1].weight)
        twin.encoder[1].bias.copy_(A @ twin.encoder[1].bias)
        twin.decoder[0].weight.copy_(twin.decoder[0].weight @ A.T)
    return twin


# %% [markdown]
# ## 1.4 Every pixel to the same spread
#
# *change, 15 min, medium*
#
# Many tutorials standardize every pixel before PCA: they subtract its mean and divide by its standard deviation. Do so,
# with the training images' means and deviations; fit PCA to the result; reconstruct the validation images; and undo the
# standardization. What becomes of the reconstruction error in the original unit? (Mind the pixels in the corners.)


# %% tags=["answer"]
def standardized_pca_error(d):
    """The reconstruction error on the validation images, in the course's unit, of PCA on standardized pixels."""
    ### BEGIN SOLUTION
    deviation = train.flatten(1).std(0)
    deviation[deviation == 0] = 1.0  # a pixel that never changes has nothing to be divided by
    standardized = ((train.flatten(1) - mean) / deviation).cpu().numpy()
    fitted = PCA(d, random_state=0).fit(standardized)
    codes = fitted.transform(((validation.flatten(1) - mean) / deviation).cpu().numpy())
    back = torch.tensor(fitted.inverse_transform(codes), device=deviation.device) * deviation + mean
    return metrics.image_errors(back.float().view_as(validation), validation).mean().item()
    ### END SOLUTION


# %% tags=["check"]
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

with checks.exercise("1.4", standardized_pca_error):
    found = checks.number(standardized_pca_error(30), "standardized_pca_error(30)", 0)
    chain = make_pipeline(StandardScaler(), PCA(30, random_state=0)).fit(train.flatten(1).cpu().numpy())
    codes = chain.transform(validation.flatten(1).cpu().numpy())
    back = torch.tensor(chain.inverse_transform(codes)).float().view(-1, 1, 28, 28)
    expected = metrics.image_errors(back, validation.cpu()).mean().item()
    scale = torch.tensor(chain[0].scale_).float()
    inside = (((back - validation.cpu()).flatten(1) / scale) ** 2).sum(1).mean().item()
    checks.close(
        found, expected, "Standardize with the training images' means and deviations, and undo it at the end.",
        {"That is the error between standardized pixels: undo the standardization first.": inside,
         "That is the error of PCA without standardizing.": pca_error(30),
         "That is a mean over pixels. The course's error is their sum.": expected / 784},
        relative=0.02,
    )  # fmt: skip
    print(f"Per image, {pca_error(30):.1f} without standardizing and {expected:.1f} with it, from 30 numbers each.")


# %% tags=["also-right"]
def standardized_pca_error(d):
    scaler = StandardScaler().fit(train.flatten(1).cpu().numpy())
    _, _, directions = torch.linalg.svd(
        torch.tensor(scaler.transform(train.flatten(1).cpu().numpy())), full_matrices=False
    )
    inputs = torch.tensor(scaler.transform(validation.flatten(1).cpu().numpy()))
    back = scaler.inverse_transform((inputs @ directions[:d].T @ directions[:d]).numpy())
    return float(((back - validation.flatten(1).cpu().numpy()) ** 2).sum(1).mean())


# %% tags=["wrong"]
def standardized_pca_error(d):  # divides by zero in the corners
    deviation = train.flatten(1).std(0)
    fitted = PCA(d).fit(((train.flatten(1) - mean) / deviation).cpu().numpy())
    return fitted.noise_variance_


# %% tags=["wrong"]
def standardized_pca_error(d):  # the standardization is not undone
    scaler = StandardScaler().fit(train.flatten(1).cpu().numpy())
    fitted = PCA(d, random_state=0).fit(scaler.transform(train.flatten(1).cpu().numpy()))
    inputs = scaler.transform(validation.flatten(1).cpu().numpy())
    return ((fitted.inverse_transform(fitted.transform(inputs)) - inputs) ** 2).sum(1).mean()


# %% tags=["wrong"]
def standardized_pca_error(d):  # nothing is standardized
    return pca_error(d)


# %% [markdown] tags=["in-words"]
# It rises. PCA minimizes the error in the unit that it is given. Standardized, a corner pixel that is inked in three
# images of a thousand counts as much as one in the middle of the strokes, so components are spent on what hardly
# occurs; in the original unit these pixels are worth next to nothing. Standardize where features have different units,
# not where they have the same.

# %% [markdown]
# ## 1.5 A loop with two mistakes
#
# *debug, 15 min, medium*
#
# This loop runs, and what it returns falls at first. It has two mistakes. Find them, and write it anew without them.
# (Compare with the short loop of the chapter; what is in `weight.grad` when the second step is made?)


# %% tags=["given"]
def broken_fit(autoencoder, optimizer, batches, passes):
    history = []
    for _ in range(passes):
        for batch in batches:
            loss = (autoencoder(batch) - batch).square().flatten(1).sum(1).mean()
            loss.backward()
            optimizer.step()
        history.append(loss.item())
    return history


# %% tags=["answer"]
def fit(autoencoder, optimizer, batches, passes):
    """Train in place; return the mean reconstruction error (summed over pixels) of each pass, measured as it went."""
    ### BEGIN SOLUTION
    history = []
    for _ in range(passes):
        total = 0.0
        for batch in batches:
            loss = (autoencoder(batch) - batch).square().flatten(1).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        history.append(total / len(batches))
    return history
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.5", fit):
    batches = train[:1_000].split(100)
    outcomes = {}
    for name, function in {"yours": fit, "broken": broken_fit}.items():
        torch.manual_seed(0)
        net = models.LinearAutoencoder(8).to(chapter.device)
        start = metrics.image_errors(net(batches[0]), batches[0]).mean().item()
        outcomes[name] = function(net, torch.optim.SGD(net.parameters(), lr=2e-4), batches, 3), net
    (history, net), (of_broken, broken) = outcomes["yours"], outcomes["broken"]
    checks.require(
        isinstance(history, list) and len(history) == 3,
        "Return a list with one number for each pass.",
    )
    torch.manual_seed(0)
    expected, losses = models.LinearAutoencoder(8).to(chapter.device), []
    for _ in range(3):  # gradient descent written out
        for batch in batches:
            losses.append(training.squared_error(expected(batch), batch))
            steps = torch.autograd.grad(losses[-1], list(expected.parameters()))
            with torch.no_grad():
                for weights, step in zip(expected.parameters(), steps, strict=True):
                    weights -= 2e-4 * step
    means = torch.stack(losses).view(3, -1).mean(1).tolist()
    right = torch.nn.utils.parameters_to_vector(expected.parameters())
    checks.close(
        torch.nn.utils.parameters_to_vector(net.parameters()),
        right,
        "The weights are not where gradient descent gets.",
        {"The weights still end where the broken loop's do. What is in `weight.grad` when the second step is made?":
             torch.nn.utils.parameters_to_vector(broken.parameters())},
        relative=1e-2, absolute=1e-4,
    )  # fmt: skip
    checks.close(
        history,
        means,
        "The weights are right, but not what is returned: the mean of all batches of a pass.",
    )


# %% tags=["also-right"]
def fit(autoencoder, optimizer, batches, passes):
    history = []
    for _ in range(passes):
        losses = []
        for batch in batches:
            autoencoder.zero_grad()
            losses.append(training.squared_error(autoencoder(batch), batch))
            losses[-1].backward()
            optimizer.step()
        history.append(torch.stack(losses).mean().item())
    return history


# %% tags=["wrong"]
fit = broken_fit


# %% tags=["wrong"]
def fit(autoencoder, optimizer, batches, passes):  # one of both mistakes is left
    history = []
    for _ in range(passes):
        for batch in batches:
            loss = (autoencoder(batch) - batch).square().flatten(1).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append(loss.item())
    return history


# %% tags=["wrong"]
def fit(autoencoder, optimizer, batches, passes):  # cleared once a pass only
    history = []
    for _ in range(passes):
        optimizer.zero_grad()
        total = 0.0
        for batch in batches:
            loss = training.squared_error(autoencoder(batch), batch)
            loss.backward()
            optimizer.step()
            total += loss.item()
        history.append(total / len(batches))
    return history


# %% [markdown]
# ## 1.6 Without the sigmoid
#
# *predict, 20 min, medium*
#
# The basic autoencoder's decoder ends in a sigmoid, so its pixels lie between 0 and 1. Take it off. Will the error on
# the validation images rise or fall? Say so first; then write the class. The check trains both, once each and briefly.


# %% tags=["answer"]
def predicted():
    """What the error does without the sigmoid: "rises" or "falls"."""
    ### BEGIN SOLUTION
    return "rises"
    ### END SOLUTION


class NoSigmoid(nn.Module):
    """784 - 128 (ReLU) - latent_dim - 128 (ReLU) - 784: models.DenseAutoencoder without the sigmoid at its end.

    As there, `encoder` takes images (n, 1, 28, 28) to codes (n, latent_dim), and `decoder` codes to images.
    """

    def __init__(self, latent_dim=32):
        super().__init__()
        ### BEGIN SOLUTION
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, latent_dim))
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 128), nn.ReLU(), nn.Linear(128, 784), nn.Unflatten(1, (1, 28, 28))
        )
        ### END SOLUTION

    def forward(self, images):
        ### BEGIN SOLUTION
        return self.decoder(self.encoder(images))
        ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.6", predicted, NoSigmoid):
    checks.option(predicted(), ("rises", "falls"))
    torch.manual_seed(0)
    nets = {"with a sigmoid": models.DenseAutoencoder(16), "without": NoSigmoid(16)}
    nets = {name: net.to(chapter.device) for name, net in nets.items()}
    checks.tensor(nets["without"].encoder(train[:3]), "What the encoder gives for three images", (3, 16))
    checks.tensor(nets["without"](train[:3]), "What the network gives for three images", (3, 1, 28, 28))
    sizes = [models.count_parameters(net) for net in nets.values()]
    checks.require(
        sizes[0] == sizes[1],
        f"It has {sizes[1]:,} parameters; with the same layers it would have {sizes[0]:,}.",
    )
    far = nets["without"].decoder(1_000 * torch.randn(8, 16).to(chapter.device))
    checks.require(far.min() < 0 and far.max() > 1, "Codes far from 0 should give pixels beyond 0 and 1.")
    errors = {}
    for name, net in nets.items():
        training.train(
            net,
            training.reconstruction_loss,
            (train,),
            epochs=20,
            batch_size=64,
            learning_rate=5e-3,
        )
        errors[name] = metrics.reconstruction_error(net, validation)
    print(
        ", ".join(f"{name}: {error:.2f}" for name, error in errors.items()),
        "squared error per validation image",
    )
    it = "rises" if errors["without"] > errors["with a sigmoid"] else "falls"
    print(f"It {it}; you said that it {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "falls"


class NoSigmoid(models.DenseAutoencoder):
    def __init__(self, latent_dim=32):
        super().__init__(latent_dim)
        *layers, _, unflatten = self.decoder
        self.decoder = nn.Sequential(*layers, unflatten)


# %% tags=["wrong"]
def predicted():
    return "stays"


# %% tags=["wrong"]
def predicted():
    return "rises"


class NoSigmoid(models.DenseAutoencoder):  # nothing is taken off
    pass


# %% tags=["wrong"]
class NoSigmoid(models.DenseAutoencoder):  # the layer before is taken off, too
    def __init__(self, latent_dim=32):
        super().__init__(latent_dim)
        self.decoder = self.decoder[:-2]


# %% [markdown] tags=["in-words"]
# Most pixels are paper, exactly 0. A sigmoid says 0 by any strongly negative number; without it, sums have to cancel,
# as PCA's have, and faint ink is left where none belongs. (Look at `plots.rows_of_images` of both.)

# %% [markdown]
# ## 1.7 When does a schedule help?
#
# *change, 20 min, hard*
#
# Train `models.LinearAutoencoder(30)` by AdamW, without weight decay, on batches of 64 images of `train`; once at a
# constant learning rate, once with it as the peak of `torch.optim.lr_scheduler.OneCycleLR`. How far above PCA's error
# does its *training* error end? The check tries 400 steps at 1e-2 and at 2e-3. At which of the two does the schedule
# help? Say why before you run it.


# %% tags=["answer"]
def above_pca(learning_rate, one_cycle, steps):
    """The reconstruction error on `train` after so many steps, minus PCA's on the same images with 30 components."""
    ### BEGIN SOLUTION
    torch.manual_seed(0)
    net = models.LinearAutoencoder(30).to(chapter.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps) if one_cycle else None
    for _ in range(steps):
        batch = train[torch.randint(len(train), (64,), device=train.device)]
        loss = training.squared_error(net(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
    return metrics.reconstruction_error(net, train) - pca_error(30, train)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.7", above_pca):
    found, spread = {}, pca_error(0, train)  # the mean image's error: how much there is to explain in these data
    for rate in (1e-2, 2e-3):
        for one_cycle in (False, True):
            excess = checks.number(above_pca(rate, one_cycle, 400), f"above_pca({rate}, {one_cycle}, 400)")
            checks.require(excess > -0.05, "No linear autoencoder has less error than PCA on the images that PCA was "
                           "fitted to. Do you compare on the same images, with 30 numbers each?")  # fmt: skip
            found[rate, one_cycle] = excess
    checks.require(found[1e-2, False] < spread / 4, "At 1e-2 it should end closer to PCA: are all 400 steps made?")
    checks.require(found[1e-2, False] != found[1e-2, True], "It is the same with and without a schedule.")
    far = found[1e-2, False] + spread / 15
    checks.require(found[1e-2, True] < far, "At 1e-2 the schedule should not be far behind. Does it step after each "
                   "step of the optimizer, and has it come to its end after 400?")  # fmt: skip
    checks.require(
        found[2e-3, True] > found[2e-3, False],
        "At 2e-3 the schedule should cost something. Is 2e-3 its peak?",
    )
    for (rate, one_cycle), excess in found.items():
        print(f"{rate:g}, {'one cycle' if one_cycle else 'constant'}: {excess:.2f} above PCA")


# %% tags=["also-right"]
def above_pca(learning_rate, one_cycle, steps):
    torch.manual_seed(1)
    net = models.LinearAutoencoder(30).to(chapter.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    for made in range(steps):
        if made % (len(train) // 64) == 0:
            batches = iter(train[torch.randperm(len(train))].split(64))
        optimizer.zero_grad()
        training.reconstruction_loss(net, next(batches)).backward()
        optimizer.step()
        if one_cycle:
            schedule.step()
        else:
            optimizer.param_groups[0] |= {"lr": learning_rate, "betas": (0.9, 0.999)}
    return metrics.reconstruction_error(net, train) - pca_error(30, train)


# %% tags=["wrong"]
def above_pca(learning_rate, one_cycle, steps):  # a schedule that is made and never steps
    net = models.LinearAutoencoder(30).to(chapter.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=0.0)
    if one_cycle:
        torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        training.reconstruction_loss(net, train[torch.randint(len(train), (64,))]).backward()
        optimizer.step()
    return metrics.reconstruction_error(net, train) - pca_error(30, train)


# %% tags=["wrong"]
def above_pca(learning_rate, one_cycle, steps):  # never trained
    return metrics.reconstruction_error(models.LinearAutoencoder(30).to(chapter.device), train) - pca_error(30, train)


# %% tags=["wrong"]
def above_pca(learning_rate, one_cycle, steps):  # compared with more components than the network has numbers
    return pca_error(64, train) - pca_error(30, train)


# %% [markdown] tags=["in-words"]
# At the higher one. There the weights go far quickly, but a constant rate leaves them trembling in the noise of the
# minibatches, which the schedule lets die out. At the lower rate time is what is short, and a schedule spends much of
# it below its peak: at a constant rate the weights would have come further.

# %% [markdown]
# ## 1.8 True or false?
#
# *explain, 10 min, easy*
#
# Judge each statement, then say in words why, for one that is true and one that is false.
#
# - **a** With enough training, a linear autoencoder with 30 codes can have less error than PCA with 30 components on
#   the images that both were fitted to.
# - **b** On images that neither has seen, it can.
# - **c** The numbers of a linear autoencoder's code are uncorrelated, as PCA's are.
# - **d** A second linear layer in the encoder, with no activation between, lets a linear autoencoder get below PCA.
# - **e** The classes lie close together in code space because the autoencoder was told which image shows what.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": False, "b": True, "c": False, "d": False, "e": False}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("1.8", judgments):
    checks.judged(
        judgments(),
        "1.8",
        {"a": "722130e7", "b": "ffa918ed", "c": "f52d5dc9", "d": "66790779", "e": "34604eff"},
    )


# %% tags=["also-right"]
def judgments():
    return dict(zip("abcde", (False, True, False, False, False), strict=True))


# %% tags=["wrong"]
def judgments():
    return {"a": True, "b": True, "c": False, "d": False, "e": False}


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": False, "c": True, "d": True, "e": False}


# %% tags=["wrong"]
def judgments():
    return {"b": True}


# %% [markdown] tags=["in-words"]
# a and d: its reconstructions are an affine map of rank 30 at most, however many linear layers it is made of, and among
# all such maps PCA has the least error on the images that it was fitted to. b: on others, no theorem says so. c: only
# the subspace is determined (exercise 1.3). e: nobody told it; images of one class share ink.
