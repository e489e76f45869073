# %% [markdown]
# # Exercises to chapter 2: convolutions and batch normalization, each on its own
#
# Read [chapter 2](../02_conv_autoencoder_batchnorm.ipynb) first; what these exercises need of it is defined anew below,
# so that this notebook runs by itself. For each, write the function asked for, run its cell, and run the check below
# it, whose code is hidden: it says *right*, or in one sentence what is not yet right. Checks hold on every data set and
# profile; nothing is trained for longer than a minute. What is asked *in words* nobody checks but your teacher or you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours)
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import copy
import math

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_ae_utils import checks, metrics, models, training
from mnist_ae_utils.chapter import begin

chapter = begin("02_exercises", profile, dataset, device=device)
data = chapter.data
train, validation = data.train.images[:1_000], data.validation.images[:500]  # enough for what is asked here

# %% [markdown]
# `autoencoder` is a small convolutional autoencoder with batch norm, trained for a few passes only.

# %%
torch.manual_seed(0)
autoencoder = models.ConvAutoencoder(16, channels=(8, 16)).to(chapter.device)
training.train(autoencoder, training.reconstruction_loss, (train,), epochs=chapter.budget["epochs"], batch_size=64,
               learning_rate=1e-2)  # fmt: skip
print(f"{metrics.reconstruction_error(autoencoder, validation):.1f} squared error per validation image")

# %% [markdown]
# ## 2.1 Few weights, many multiplications
#
# *compute, 10 min, easy*
#
# A convolution takes `c_in` feature maps to `c_out` feature maps of `size` x `size` positions; its filters are `kernel`
# pixels wide and high. How many parameters has it, biases included? And how many multiplications does it take for one
# image? (Where a window reaches over the rim, count as elsewhere.) Then the same for a fully connected layer that takes
# `c_in` maps of `size_in` x `size_in` to `c_out` maps of `size` x `size`. Find both by pencil.


# %% tags=["answer"]
def conv_costs(c_in, c_out, kernel, size):
    """A convolution's number of parameters, and of multiplications for one image: a tuple of two numbers."""
    ### BEGIN SOLUTION
    weights = c_in * c_out * kernel**2
    return weights + c_out, weights * size**2
    ### END SOLUTION


def dense_costs(c_in, size_in, c_out, size):
    """A fully connected layer's number of parameters, and of multiplications for one image: a tuple of two numbers."""
    ### BEGIN SOLUTION
    n_in, n_out = c_in * size_in**2, c_out * size**2
    return (n_in + 1) * n_out, n_in * n_out
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.1", conv_costs, dense_costs):
    for c_in, c_out, kernel, stride, size in ((1, 16, 3, 2, 14), (16, 32, 3, 2, 7), (2, 3, 5, 1, 6)):
        n_in, n_out = c_in * (stride * size) ** 2, c_out * size**2
        conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, device="meta")  # sizes alone, no numbers
        dense = nn.Sequential(nn.Flatten(), nn.Linear(n_in, n_out, device="meta"))
        counted = []
        for layer in (conv, dense):
            with FlopCounterMode(display=False) as operations:
                layer(torch.empty(1, c_in, stride * size, stride * size, device="meta"))
            counted.append((models.count_parameters(layer), operations.get_total_flops() // 2))
        asked = {
            f"conv_costs({c_in}, {c_out}, {kernel}, {size})": conv_costs(c_in, c_out, kernel, size),
            f"dense_costs({c_in}, {stride * size}, {c_out}, {size})": dense_costs(c_in, stride * size, c_out, size),
        }
        window = kernel**2  # for the mistakes below
        of_filter = {"Each filter has a window for each of the `c_in` maps that it reads.": c_out * (window + 1),
                     "The biases are parameters, too: count them.": c_in * c_out * window,
                     "How many biases has a convolution? A filter has one, however many maps it reads.":
                         c_in * c_out * (window + 1)}  # fmt: skip
        of_use = {"A weight of a convolution is used at every position, not once.": c_in * c_out * window,
                  "Each filter reads all of the `c_in` maps at every position.": c_out * window * size**2,
                  "Filters are applied at every position of the maps that they give, not of those that they read.":
                      c_in * c_out * window * (stride * size) ** 2}  # fmt: skip
        of_dense = {"The biases are parameters, too: count them.": n_in * n_out,
                    "Each unit of a fully connected layer has one bias: how many units are there?":
                        n_in * n_out + c_out}  # fmt: skip
        of_both = (of_filter, of_use), (of_dense, {})
        for (what, found), expected, mistakes in zip(asked.items(), counted, of_both, strict=True):
            checks.several(found, 2, f"{what} should be two numbers.")
            names = "parameters", "multiplications"
            for number, right, name, likely in zip(found, expected, names, mistakes, strict=True):
                number = checks.number(number, f"The number of {name} of {what}", 0)
                checks.close(number, right, f"{what}: the number of {name} is another.", likely, relative=1e-9)
    (few, often), (many, once) = conv_costs(16, 32, 3, 7), dense_costs(16, 14, 32, 7)
    print(f"From 16 maps of 14 x 14 to 32 of 7 x 7: {few:,} parameters against {many:,}, of which each is used")
    print(f"{often / few:.0f} times against once; {often:,} multiplications against {once:,}.")


# %% tags=["also-right"]
def conv_costs(c_in, c_out, kernel, size):
    layer = nn.Conv2d(c_in, c_out, kernel)
    return sum(p.numel() for p in layer.parameters()), layer.weight.numel() * size * size


def dense_costs(c_in, size_in, c_out, size):
    inputs, units = math.prod((c_in, size_in, size_in)), math.prod((c_out, size, size))
    return [units * inputs + units, units * inputs]


# %% tags=["wrong"]
def conv_costs(c_in, c_out, kernel, size):  # each weight used once
    return c_in * c_out * kernel**2 + c_out, c_in * c_out * kernel**2


# %% tags=["wrong"]
def conv_costs(c_in, c_out, kernel, size):  # one window for all maps that are read
    return c_out * (kernel**2 + 1), c_out * kernel**2 * size**2


# %% tags=["wrong"]
def dense_costs(c_in, size_in, c_out, size):  # without the biases
    return c_in * size_in**2 * c_out * size**2, c_in * size_in**2 * c_out * size**2


# %% [markdown]
# ## 2.2 How far a unit can see
#
# *compute, 10 min, medium*
#
# A unit of the first convolution sees a window of the image as wide as the filter. A unit of the second sees a window
# of the first one's units, and through them a wider window of the image: its *receptive field*. How wide is it after
# several convolutions without padding? Find it by pencil: by how many pixels of the image are two neighboring units of
# a layer apart, and what does the next layer's filter add?


# %% tags=["answer"]
def receptive_field(layers):
    """The width, in pixels of the image, of what a unit of the last layer sees, from its first pixel to its last.

    `layers` is a list of pairs (width of the filter, stride), in the order in which they are applied.
    """
    ### BEGIN SOLUTION
    width, apart = 1, 1
    for kernel, stride in layers:
        width += (kernel - 1) * apart
        apart *= stride
    return width
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.2", receptive_field):
    for layers in ([(3, 2)], [(3, 1)] * 4, [(3, 2)] * 2, [(3, 2)] * 3, [(5, 1), (3, 2), (4, 3), (3, 1)]):
        net = nn.Sequential(*(nn.Conv2d(1, 1, kernel, stride) for kernel, stride in layers)).double()
        for weights in net.parameters():
            weights.data.fill_(1.0)
        image = torch.zeros(1, 1, 90, 90, dtype=torch.float64, requires_grad=True)
        net(image)[0, 0, 1, 1].backward()  # which pixels move this unit?
        columns = image.grad[0, 0].sum(0).nonzero()
        seen = (columns.max() - columns.min() + 1).item()
        kernels, apart = [kernel for kernel, _ in layers], 1
        stretched = 1
        for kernel, stride in layers:
            apart *= stride
            stretched += (kernel - 1) * apart
        field = checks.number(receptive_field(layers), f"receptive_field({layers})", 1)
        checks.close(
            field, seen, f"It does not hold for {layers}.",
            {f"For {layers}: with a stride, neighboring units of a layer lie more than one pixel apart.":
                 1 + sum(kernel - 1 for kernel in kernels),
             f"For {layers}: the windows of neighboring units overlap, so their widths do not multiply.":
                 math.prod(kernels),
             f"For {layers}: a layer's own stride moves its units apart, but does not widen what one of them sees.":
                 stretched},
            relative=1e-9,
        )  # fmt: skip
    width = receptive_field([(3, 2)] * 2)
    print(f"A unit of the encoder's last feature maps sees {width} x {width} of the 28 x 28 pixels.")


# %% tags=["also-right"]
def receptive_field(layers):  # backwards: so many units of the layer before
    width = 1
    for kernel, stride in reversed(layers):
        width = (width - 1) * stride + kernel
    return width


# %% tags=["wrong"]
def receptive_field(layers):  # as if every stride were 1
    return 1 + sum(kernel - 1 for kernel, _ in layers)


# %% tags=["wrong"]
def receptive_field(layers):  # windows side by side
    return math.prod(kernel for kernel, _ in layers)


# %% tags=["wrong"]
def receptive_field(layers):  # a layer's own stride counted
    width, apart = 1, 1
    for kernel, stride in layers:
        apart *= stride
        width += (kernel - 1) * apart
    return width


# %% [markdown] tags=["in-words"]
# After k layers of width 3 and stride 2 it is $2^{k+1} - 1$. After the encoder's two that is a quarter of the image's
# width: no unit of its feature maps can tell a whole image. Only the linear layer to the code brings the parts
# together.

# %% [markdown]
# ## 2.3 Shuffled pixels
#
# *predict, 15 min, easy*
#
# Shuffle the pixels of all images, in one and the same random order. No image can be read any more, but nothing is
# lost. Which autoencoder will notice, the dense one or the convolutional one? Say so first; then write the function
# that shuffles. The check trains both, without batch norm, on images as they are and on shuffled ones.


# %% tags=["answer"]
def predicted():
    """Whose error rises with shuffled pixels: "dense", "convolutional", "both" or "neither"."""
    ### BEGIN SOLUTION
    return "convolutional"
    ### END SOLUTION


def shuffled(images):
    """The images (n, 1, 28, 28) with their pixels in a random order, which is the same for every image and call."""
    ### BEGIN SOLUTION
    order = torch.randperm(784, generator=torch.Generator().manual_seed(0)).to(images.device)
    return images.flatten(1)[:, order].view_as(images)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.3", predicted, shuffled):
    checks.option(predicted(), ("dense", "convolutional", "both", "neither"))
    numbered = torch.arange(784.0).view(1, 1, 28, 28).repeat(3, 1, 1, 1).to(chapter.device)  # each pixel its number
    found = checks.tensor(shuffled(numbered), "What it makes of three images", (3, 1, 28, 28))
    checks.close(found.flatten(1).sort().values, numbered.flatten(1), "Each pixel should be there once.")
    checks.require((found == found[:1]).all(), "Each image has an order of its own: give all of them the same one.")
    checks.require((shuffled(numbered) == found).all(), "A second call shuffles in another order: keep the first one.")
    rows, columns = found[0, 0].cpu() // 28, found[0, 0].cpu() % 28
    neighbors = ((rows.diff(dim=1).abs() + columns.diff(dim=1).abs()) == 1).float().mean()
    moved = (found[0].cpu() != numbered[0].cpu()).float().mean()
    checks.require(moved > 0.9 and neighbors < 0.1, "Too many pixels are where they were, or still beside a neighbor.")
    checks.require((rows != rows[:, :1]).any() and (columns != columns[:1]).any(), "Rows or columns stay together.")
    rises = {}
    settings = {"epochs": 2 * chapter.budget["epochs"], "batch_size": 32, "learning_rate": 5e-3}
    networks = {"dense": lambda: models.DenseAutoencoder(16, (64,)),
                "convolutional": lambda: models.ConvAutoencoder(16, (8, 16), batch_norm=False)}  # fmt: skip
    for name, make in networks.items():
        errors = []
        for arranged in (lambda images: images, shuffled):
            torch.manual_seed(0)
            net = make().to(chapter.device)
            training.train(net, training.reconstruction_loss, (arranged(train),), **settings)
            errors.append(metrics.reconstruction_error(net, arranged(validation)))
        rises[name] = errors[1] > 1.2 * errors[0]
        print(f"{name}: {errors[0]:.1f} squared error per validation image, with shuffled pixels {errors[1]:.1f}")
    noticed = {2: "both", 0: "neither"}.get(sum(rises.values()), max(rises, key=rises.get))
    print(f"Rising by more than a fifth: {noticed}; you said {predicted()}.")


# %% tags=["also-right"]
def predicted():
    return "both"


order = torch.rand(784, generator=torch.Generator().manual_seed(5)).argsort()


def shuffled(images):
    result = torch.empty_like(images)
    for position, source in enumerate(order.tolist()):
        result[:, 0, position // 28, position % 28] = images[:, 0, source // 28, source % 28]
    return result


# %% tags=["wrong"]
def shuffled(images):  # each image in an order of its own
    return torch.stack([image.flatten()[torch.randperm(784)].view(1, 28, 28) for image in images])


# %% tags=["wrong"]
def shuffled(images):  # a new order at each call
    return images.flatten(1)[:, torch.randperm(784)].view_as(images)


# %% tags=["wrong"]
def shuffled(images):  # whole rows change places
    torch.manual_seed(0)
    return images[:, :, torch.randperm(28)]


# %% tags=["wrong"]
def shuffled(images):  # the images change places, not their pixels
    torch.manual_seed(0)
    return images[torch.randperm(len(images))]


# %% [markdown] tags=["in-words"]
# For the dense network nothing has happened: give it the columns of the first layer's weights, and the rows of the
# last layer's, in the same new order, and it is the network that it was. So a shuffled training is as likely to
# succeed. A convolution's window holds pixels that were far apart: locality and weight sharing tell it what is no
# longer true.

# %% [markdown]
# ## 2.4 Zero, up to rounding
#
# *explain, 20 min, medium*
#
# A bias before a batch norm is useless: batch norm subtracts the mean, and the bias with it. So its gradient is 0. Yet
# a computer does not find 0. A number in single precision has about seven digits, and where large terms should cancel
# in a sum, there remains what was lost in rounding them, which may be a thousandth of a *small* gradient. So compare:
# with the gradient of the weights in the same layer, beside which a true zero vanishes; or with the same gradient in
# double precision (`copy.deepcopy(network).cpu().double()`, images likewise). There rounding leaves a billion times
# less, while a gradient that is really there stays what it is.
#
# Write a function that finds the useless biases of *any* autoencoder by their gradients, not by the kind of layer. In
# the convolutional one, is it every bias before a batch norm? Explain in words what you find.


# %% tags=["answer"]
def useless_biases(network, images):
    """The names of the biases on which `training.reconstruction_loss` of the images does not depend, in train mode.

    A set of names as `network.named_parameters()` gives them, those that end in "bias". The network is left as it was.
    """
    ### BEGIN SOLUTION
    twin = copy.deepcopy(network).cpu().double().train()
    twin.zero_grad()
    training.reconstruction_loss(twin, images.cpu().double()).backward()
    largest = {name: weights.grad.abs().max().item() for name, weights in twin.named_parameters()}
    biases = [name for name in largest if name.endswith("bias")]
    return {name for name in biases if largest[name] < 1e-9 * largest[name.removesuffix("bias") + "weight"]}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.4", useless_biases):
    torch.manual_seed(0)

    def dense_with_norm(size):
        """784 - 20, batch norm - 784: of outputs so small that all gradients are."""
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.BatchNorm1d(20), nn.Tanh(), nn.Linear(20, 784),
                            nn.Unflatten(1, (1, 28, 28))).to(chapter.device)  # fmt: skip
        for numbers in net[4].parameters():
            numbers.data *= size
        return net

    conv, without = models.ConvAutoencoder(8, (4, 8)), models.ConvAutoencoder(8, (4, 8), batch_norm=False)
    before_norm = {"encoder.0.bias", "encoder.4.bias", "decoder.5.bias"}
    cases = (
        ("a convolutional autoencoder without batch norm", without.to(chapter.device), set()),
        ("a convolutional autoencoder with batch norm", conv.to(chapter.device), before_norm),
        ("a dense autoencoder with batch norm", dense_with_norm(1.0), {"1.bias"}),
        ("a dense autoencoder with batch norm, whose last layer is tiny", dense_with_norm(1e-4), {"1.bias"}),
    )
    for what, net, expected in cases:
        state = copy.deepcopy(net.state_dict())
        found = useless_biases(net, train[:100])
        checks.require(isinstance(found, set | frozenset), "Return a set of names.")
        checks.require(
            all(torch.equal(net.state_dict()[name], value) for name, value in state.items()),
            "The network was changed: train mode moves a batch norm's running averages. Work on a copy.",
        )
        known = {name for name, _ in net.named_parameters() if name.endswith("bias")}
        checks.require(found <= known, "Return names that `named_parameters()` gives and that end in bias.")
        checks.require(found - expected != {"decoder.0.bias"}, "Look at decoder.0.bias again: is its gradient small "
                       "beside that of decoder.0.weight?")  # fmt: skip
        checks.require(
            found <= expected,
            f"In {what}, {', '.join(sorted(found - expected))} is not useless: small is not yet zero. Compare scales.",
        )
        checks.require(
            found or not expected,
            f"You find no useless bias in {what}. Is it in train mode? And do you ask for exact zeros?",
        )
        checks.require(
            found == expected, f"In {what}, you miss {', '.join(sorted(expected - found))}: zero only up to rounding?"
        )
    print("With batch norm, useless in the convolutional autoencoder:", ", ".join(sorted(before_norm)))


# %% tags=["also-right"]
def useless_biases(network, images):  # moves each bias and looks whether the loss moves
    twin, found = copy.deepcopy(network).train(), set()
    with torch.no_grad():
        for name, bias in twin.named_parameters():
            if name.endswith("bias"):
                before = twin(images)
                bias += torch.linspace(-1, 1, bias.numel(), device=bias.device)  # another push for each unit
                if (twin(images) - before).abs().max() < 1e-4 * before.abs().max():
                    found.add(name)
    return found


# %% tags=["also-right"]
def useless_biases(network, images):  # single precision, beside the weights of the same layer
    twin = copy.deepcopy(network).train()
    gradients = torch.autograd.grad(training.reconstruction_loss(twin, images), list(twin.parameters()))
    sizes = {name: g.norm() for (name, _), g in zip(twin.named_parameters(), gradients, strict=True)}
    return {name for name in sizes if "bias" in name and sizes[name] < 1e-3 * sizes[name.replace("bias", "weight")]}


# %% tags=["wrong"]
def useless_biases(network, images):  # asks for exact zeros
    twin = copy.deepcopy(network).train()
    training.reconstruction_loss(twin, images).backward()
    return {name for name, p in twin.named_parameters() if name.endswith("bias") and (p.grad == 0).all()}


# %% tags=["wrong"]
def useless_biases(network, images):  # a threshold that knows no scale
    twin = copy.deepcopy(network).train()
    training.reconstruction_loss(twin, images).backward()
    return {name for name, p in twin.named_parameters() if name.endswith("bias") and p.grad.abs().max() < 1e-3}


# %% tags=["wrong"]
def useless_biases(network, images):  # in evaluation mode a bias is not subtracted again
    twin = copy.deepcopy(network).cpu().double().eval()
    training.reconstruction_loss(twin, images.cpu().double()).backward()
    return {name for name, p in twin.named_parameters() if name.endswith("bias") and p.grad.abs().max() < 1e-12}


# %% tags=["wrong"]
def useless_biases(network, images):  # in place: the running averages move
    network.train()
    training.reconstruction_loss(network, images).backward()
    return {name for name, p in network.named_parameters() if name.endswith("bias") and p.grad.abs().max() < 1e-5}


# %% tags=["wrong"]
def useless_biases(network, images):  # by the kind of layer, whatever its gradient is
    kinds, found = list(network.named_modules()), set()
    for number, (_, module) in enumerate(kinds):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            before = [name for name, m in kinds[:number] if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
            found.add(before[-1] + ".bias")
    return found


# %% [markdown] tags=["in-words"]
# The loss does not change when the same number is added to a channel before its batch norm, since its mean grows by the
# same number. A convolution's bias is such a number: one for a whole map. The linear layer that begins the decoder has
# a bias for each *position* of each map: of these, only what they have in common is subtracted, so each for itself has
# a gradient. A convolution before a batch norm may be given `bias=False`; the batch norm has a bias of its own. In
# `fold_batch_norm` it comes back: what is folded needs one.

# %% [markdown]
# ## 2.5 Folding what scatters
#
# *change, 15 min, medium*
#
# In evaluation mode a batch norm can be folded into the layer before it. The chapter's `models.fold_batch_norm` does so
# for a convolution. The decoder has a *transposed* convolution before a batch norm. Fold these two. (Its weights stand
# in another order than a convolution's: look at their shape.)


# %% tags=["answer"]
def fold_transposed(conv, norm):
    """A new nn.ConvTranspose2d that gives what `norm(conv(x))` gives in evaluation mode; both are left as they were.

    `conv` is an nn.ConvTranspose2d with a bias, `norm` the nn.BatchNorm2d behind it.
    """
    ### BEGIN SOLUTION
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = nn.ConvTranspose2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding
    ).to(scale.device)
    with torch.no_grad():
        folded.weight.copy_(conv.weight * scale[:, None, None])  # (channels in, channels out, height, width)
        folded.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return folded
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.5", fold_transposed), torch.no_grad():
    torch.manual_seed(0)
    for c_in, c_out in ((4, 4), (5, 3)):
        conv = nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1).to(chapter.device)
        norm = nn.BatchNorm2d(c_out, eps=0.1).to(chapter.device).eval()  # an epsilon that can be seen
        for numbers in (norm.weight, norm.bias, norm.running_mean):
            numbers.copy_(torch.randn(c_out))
        norm.running_var.copy_(0.1 + torch.rand(c_out))
        maps = torch.randn(2, c_in, 7, 7).to(chapter.device)
        before = [value.clone() for value in (*conv.state_dict().values(), *norm.state_dict().values())]
        folded = fold_transposed(conv, norm)
        checks.require(isinstance(folded, nn.ConvTranspose2d), "Return an nn.ConvTranspose2d.")
        after = (*conv.state_dict().values(), *norm.state_dict().values())
        unchanged = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        checks.require(folded is not conv and unchanged, "A given layer was changed: return a new one.")
        found = checks.tensor(folded.to(chapter.device)(maps), "What the new layer gives", (2, c_out, 14, 14))
        plain = conv(maps) - conv.bias[:, None, None]
        scale, no_eps = norm.weight / torch.sqrt(norm.running_var + norm.eps), norm.weight / norm.running_var.sqrt()
        shift = (conv.bias - norm.running_mean) * scale + norm.bias
        wrong_side = conv.weight * scale[:, None, None, None] if c_in == c_out else conv.weight
        likely = {
            "The weights are right. The bias goes through the batch norm, too: shifted, scaled, shifted.":
                plain * scale[:, None, None] + conv.bias[:, None, None],
            "The weights are right, but the bias's way through the batch norm lacks the scale, or the norm's own bias.":
                plain * scale[:, None, None] + (conv.bias - norm.running_mean)[:, None, None],
            "The epsilon below the root is missing.":
                plain * no_eps[:, None, None] + ((conv.bias - norm.running_mean) * no_eps + norm.bias)[:, None, None],
            "The scales belong to the channels that go out. Which dimension of the weights is that here?":
                nn.functional.conv_transpose2d(maps, wrong_side, shift, stride=2, padding=1)}  # fmt: skip
        checks.close(found, norm(conv(maps)), "It does not give what the two layers give in evaluation mode.", likely,
                     absolute=1e-4)  # fmt: skip
    decoder = autoencoder.eval().decoder
    folded = nn.Sequential(*decoder[:5], fold_transposed(decoder[5], decoder[6]), *decoder[7:])
    codes = metrics.encode(autoencoder, validation)
    off = (folded(codes) - decoder(codes)).abs().max().item()
    checks.require(off < 1e-3, "In the autoencoder above, it gives other images than the two layers do.")
    print(f"{len(decoder)} layers become {len(folded)}; pixels differ by {off:.0e} at most.")


# %% tags=["also-right"]
def fold_transposed(conv, norm):  # batch norm is affine: what it makes of 0 and of 1 says everything
    folded = copy.deepcopy(conv)
    with torch.no_grad():
        ends = torch.stack([torch.zeros_like(conv.bias), torch.ones_like(conv.bias)])[:, :, None, None]
        at_0, at_1 = nn.functional.batch_norm(ends, norm.running_mean, norm.running_var, norm.weight, norm.bias,
                                              eps=norm.eps).flatten(1)  # fmt: skip
        folded.weight.mul_((at_1 - at_0).view(1, -1, 1, 1))
        folded.bias.mul_(at_1 - at_0).add_(at_0)
    return folded


# %% tags=["wrong"]
def fold_transposed(conv, norm):  # the dimension of a convolution's channels
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = copy.deepcopy(conv)
    with torch.no_grad():
        folded.weight.copy_(conv.weight * scale[:, None, None, None])
        folded.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return folded


# %% tags=["wrong"]
def fold_transposed(conv, norm):  # the chapter's function makes a convolution that gathers
    return models.fold_batch_norm(conv, norm)


# %% tags=["wrong"]
def fold_transposed(conv, norm):  # the bias is left as it was
    folded = copy.deepcopy(conv)
    folded.weight.copy_(conv.weight * (norm.weight / torch.sqrt(norm.running_var + norm.eps))[:, None, None])
    return folded


# %% tags=["wrong"]
def fold_transposed(conv, norm):  # without the epsilon
    scale = norm.weight / torch.sqrt(norm.running_var)
    folded = copy.deepcopy(conv)
    folded.weight.copy_(conv.weight * scale[:, None, None])
    folded.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return folded


# %% tags=["wrong"]
def fold_transposed(conv, norm):  # in place
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    conv.weight.mul_(scale[:, None, None])
    conv.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return conv


# %% [markdown]
# ## 2.6 An evaluation that meddles
#
# *debug, 15 min, medium*
#
# This function is meant to give the reconstruction error. But it gives another one for each batch size; and after it
# was called, the network reconstructs differently, although nobody trained it. Find what is wrong (it is more than one
# thing) and write the function as it should be.


# %% tags=["given"]
def broken_evaluate(autoencoder, images, batch_size):
    total, n_batches = 0.0, 0
    with torch.no_grad():
        for batch in images.split(batch_size):
            total += training.squared_error(autoencoder(batch), batch).item()
            n_batches += 1
    return total / n_batches


for size in (2, 20, 300):
    network = copy.deepcopy(autoencoder).train()  # the mode in which a training loop leaves it
    before = metrics.reconstruction_error(copy.deepcopy(network), validation)
    found = broken_evaluate(network, validation, size)
    after = metrics.reconstruction_error(network, validation)
    print(f"batch size {size:3}: {found:.2f}; the error in evaluation mode, before {before:.2f}, after {after:.2f}")


# %% tags=["answer"]
def evaluate(autoencoder, images, batch_size):
    """The reconstruction error in evaluation mode, averaged over the images: a number, whatever the batch size.

    The network is left as it was found: its weights, its running averages and its mode.
    """
    ### BEGIN SOLUTION
    was_training, total = autoencoder.training, 0.0
    autoencoder.eval()
    with torch.no_grad():
        for batch in images.split(batch_size):
            total += training.squared_error(autoencoder(batch), batch).item() * len(batch)
    autoencoder.train(was_training)
    return total / len(images)
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.6", evaluate):
    with torch.no_grad():
        errors = (autoencoder.eval()(validation) - validation).square().sum((1, 2, 3))
    images = validation[errors.argsort()]  # the image with the largest error comes last
    expected, pieces = errors.mean().item(), len(images) - 1
    for mode, size in ((True, len(images)), (True, 100), (True, pieces), (False, pieces), (True, 7)):
        net = copy.deepcopy(autoencoder).train(mode)
        found = checks.number(evaluate(net, images, size), f"evaluate(..., batch_size={size})", 0)
        averages = all(torch.equal(value, net.state_dict()[name]) for name, value in autoencoder.state_dict().items())
        in_train_mode = broken_evaluate(copy.deepcopy(autoencoder).train(), images, size)
        of_means = broken_evaluate(copy.deepcopy(autoencoder).eval(), images, size)
        checks.require(averages, "After the call the network is another. What does train mode change, even without "
                       "gradients?")  # fmt: skip
        checks.close(
            found, expected, f"It gives another error with batch size {size} than for all images at once.",
            {f"With batch size {size}, the last batch holds a single image and counts as much as all others together.":
                 of_means if size == pieces else math.nan,
             "The error is that in train mode: an image's reconstruction depends on the others in its batch.":
                 in_train_mode},
        )  # fmt: skip
        checks.require(
            all(module.training == mode for module in net.modules()),
            f"The network came in {'train' if mode else 'evaluation'} mode and does not leave so.",
        )


# %% tags=["also-right"]
def evaluate(autoencoder, images, batch_size):
    still = copy.deepcopy(autoencoder).eval()
    with torch.inference_mode():
        errors = [(still(batch) - batch).square().flatten(1).sum(1) for batch in images.split(batch_size)]
    return torch.cat(errors).mean().item()


# %% tags=["wrong"]
evaluate = broken_evaluate


# %% tags=["wrong"]
def evaluate(autoencoder, images, batch_size):  # what never comes back from evaluation mode
    autoencoder.eval()
    with torch.no_grad():
        errors = [metrics.image_errors(autoencoder(batch), batch) for batch in images.split(batch_size)]
    return torch.cat(errors).mean().item()


# %% tags=["wrong"]
def evaluate(autoencoder, images, batch_size):  # always ends in train mode
    autoencoder.eval()
    with torch.no_grad():
        errors = [metrics.image_errors(autoencoder(batch), batch) for batch in images.split(batch_size)]
    autoencoder.train()
    return torch.cat(errors).mean().item()


# %% tags=["wrong"]
def evaluate(autoencoder, images, batch_size):  # a mean of unequal batches' means
    return broken_evaluate(copy.deepcopy(autoencoder).eval(), images, batch_size)


# %% tags=["wrong"]
def evaluate(autoencoder, images, batch_size):  # a copy saves the averages, not the result
    twin = copy.deepcopy(autoencoder)
    with torch.no_grad():
        errors = [metrics.image_errors(twin(batch), batch) for batch in images.split(batch_size)]
    return torch.cat(errors).mean().item()


# %% [markdown]
# ## 2.7 Two images, and one
#
# *predict, 10 min, medium*
#
# Behind the encoder's last layer somebody puts an `nn.BatchNorm1d`; fresh, it has $\gamma = 1$ and $\beta = 0$. In
# train mode it gets a batch of *two* images, for which some unit says $a$ and $b$. What does it make of $a$? Find a
# formula by pencil. And what will it do in train mode with a batch of one? Say so first; the check then tries it.


# %% tags=["answer"]
def normalized(a, b, epsilon):
    """What batch norm makes of `a` in a batch of `a` and `b`: a number."""
    ### BEGIN SOLUTION
    half = (a - b) / 2
    return half / math.sqrt(half**2 + epsilon)
    ### END SOLUTION


def predicted():
    """What nn.BatchNorm1d does with a batch of one image: "raises an error", "gives zero" or "gives the number"."""
    ### BEGIN SOLUTION
    return "raises an error"
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.7", normalized, predicted):
    checks.option(predicted(), ("raises an error", "gives zero", "gives the number"))
    for a, b, epsilon in ((3.0, 1.0, 1e-5), (1.0, 3.0, 1e-5), (2.0, 2.5, 0.3), (-40.0, 7.0, 1e-3), (2.0, 2.0, 1e-5)):
        layer, half = nn.BatchNorm1d(1, eps=epsilon).double().train(), (a - b) / 2
        expected = layer(torch.tensor([[a], [b]], dtype=torch.float64))[0].item()
        found = checks.number(normalized(a, b, epsilon), f"normalized({a}, {b}, {epsilon})")
        checks.close(
            found, expected, f"It does not hold for a = {a}, b = {b}, epsilon = {epsilon}.",
            {f"For a = {a}, b = {b} the sign is wrong: what lies below the mean becomes negative.": -expected,
             "The variance that batch norm divides by is the mean squared deviation of the batch: over 2, not over 1.":
                 half / math.sqrt(2 * half**2 + epsilon),
             "Epsilon stands below the root, beside the variance.": half / (abs(half) + epsilon),
             "That would be the answer for an epsilon of 0.": math.copysign(1.0, half)},
            relative=1e-6, absolute=1e-9,
        )  # fmt: skip
    made = [checks.number(normalized(a, 1.0, 1e-5), "What it returns") for a in (3.0, 300.0)]
    print(f"Of 3 and 1 it makes {made[0]:.4f}, of 300 and 1 {made[1]:.4f}.")
    try:
        given = nn.BatchNorm1d(1).train()(torch.tensor([[3.0]])).item()
        did = "gives zero" if given == 0 else "gives the number"
    except ValueError as error:
        did = "raises an error"
        print(f"With one image: {error}")
    print(f"It {did}; you said that it {predicted()}.")


# %% tags=["also-right"]
import statistics


def normalized(a, b, epsilon):
    return (a - statistics.fmean((a, b))) / (statistics.pvariance((a, b)) + epsilon) ** 0.5


def predicted():
    return "gives zero"


# %% tags=["also-right"]
def normalized(a, b, epsilon):
    batch = torch.tensor([a, b])
    return ((batch - batch.mean()) / (batch.var(correction=0) + epsilon).sqrt())[:1]


# %% tags=["wrong"]
def normalized(a, b, epsilon):  # plus or minus one, whatever epsilon is: not where both are alike
    return (a - b) / abs(a - b)


# %% tags=["wrong"]
import statistics


def normalized(a, b, epsilon):  # the variance of a sample: over n - 1
    return (a - b) / 2 / math.sqrt(statistics.variance((a, b)) + epsilon)


# %% tags=["wrong"]
def normalized(a, b, epsilon):  # epsilon beside the root
    return (a - b) / 2 / (abs(a - b) / 2 + epsilon)


# %% tags=["wrong"]
def predicted():
    return "an error"


# %% [markdown] tags=["in-words"]
# In a batch of two, each number becomes +1 or -1, but for epsilon: all that is left of a code is which of the two had
# more. In a batch of one the mean is the number itself and the variance 0, so every image would become 0, whatever it
# shows; PyTorch refuses. A `BatchNorm2d` has a map of many positions to average over even for a single image, so it
# does not refuse, unless the map is 1 x 1.

# %% [markdown]
# ## 2.8 True or false?
#
# *explain, 10 min, easy*
#
# Judge each statement, then say in words why, for one that is true and one that is false.
#
# - **a** Of two layers with as many parameters, one fully connected and one a convolution that is used at several
#   positions, the convolution needs more multiplications.
# - **b** When an image moves by two pixels, the feature map of a convolution with stride 2 moves by one position, but
#   for the rim.
# - **c** In evaluation mode, the code of an image depends on the other images in its batch.
# - **d** In train mode, doubling all weights of a convolution before a batch norm leaves what comes after it as it was,
#   but for $\varepsilon$.
# - **e** In evaluation mode, a network with batch norm can compute what the same network without it could not, whatever
#   its weights.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": True, "b": True, "c": False, "d": True, "e": False}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("2.8", judgments):
    checks.judged(
        judgments(),
        "2.8",
        {"a": "b571f7d6", "b": "fa9b85d0", "c": "c5239432", "d": "168a2207", "e": "fb3306cc"},
    )


# %% tags=["also-right"]
def judgments():
    return {statement: statement in "abd" for statement in "abcde"}


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": True, "c": False, "d": True, "e": False}


# %% tags=["wrong"]
def judgments():
    return {"a": True, "b": True, "c": True, "d": False, "e": False}


# %% tags=["wrong"]
def judgments():
    return ["a", "b", "d"]


# %% [markdown] tags=["in-words"]
# a: a weight of the convolution is used at every position, one of a fully connected layer once. b: a filter is the same
# everywhere, so it finds two pixels further on what it found before, one window further. c: then mean and variance are
# the running averages, the same for every batch. d: mean and deviation double as well, so the quotient is what it was.
# That is why a step that is too large turns the weights and does not blow up the signal. e: it can be folded away.
