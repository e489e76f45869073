"""The architectures of the course, each small enough to read on one screen.

Every autoencoder has an ``encoder`` (images -> codes), a ``decoder`` (codes -> images) and a ``forward`` that is
the one after the other. Images have shape (n, 1, 28, 28) with pixels in [0, 1]; codes have shape (n, latent_dim).
"""

import functools
import inspect
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from mnist_ae_utils import data

PIXELS = 28 * 28
KEPT = data.PROJECT_ROOT / "reports" / "models"  # networks of the committed report


class LinearAutoencoder(nn.Module):
    """One linear layer to the code and one back, without activations: PCA's equal, found by gradient descent.

    Source: Baldi & Hornik (1989), "Neural networks and principal component analysis".
    """

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, PIXELS), nn.Unflatten(1, (1, 28, 28)))

    def forward(self, images):
        return self.decoder(self.encoder(images))


class DenseAutoencoder(nn.Module):
    """Fully connected autoencoder 784 - hidden - latent_dim - hidden reversed - 784, sigmoid at the end.

    `hidden` are the widths of the encoder's hidden layers, which the decoder mirrors: (128,) is the article's basic
    example. `activation`, after each hidden layer, is the name of a class in `torch.nn`: "ReLU" or "GELU". `dropout`,
    in [0, 1), is the probability of zeroing each hidden unit during training, in encoder and decoder.
    """

    def __init__(self, latent_dim=32, hidden=(128,), activation="ReLU", dropout=0.0):
        super().__init__()
        widths = [PIXELS, *hidden, latent_dim]
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers(widths, activation, dropout))
        self.decoder = nn.Sequential(
            *dense_layers(widths[::-1], activation, dropout), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, images):
        return self.decoder(self.encoder(images))


def dense_layers(widths, activation, dropout):
    """Linear layers between the given widths; activation and dropout after each but the last."""
    layers = []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), getattr(nn, activation)(), nn.Dropout(dropout)]
    return layers[:-2]


class ConvAutoencoder(nn.Module):
    """Convolutional autoencoder: two strided convolutions down to 7x7, a linear layer to the code, and back.

    `channels` are the numbers of feature maps at 14x14 and at 7x7; `batch_norm` is between each convolution and its
    ReLU; `dropout`, in [0, 1), is the probability of zeroing each hidden unit in training, in encoder and decoder.
    """

    def __init__(self, latent_dim=32, channels=(32, 64), batch_norm=True, dropout=0.0):
        super().__init__()
        c1, c2 = channels

        def norm(c):
            return nn.BatchNorm2d(c) if batch_norm else nn.Identity()

        self.encoder = nn.Sequential(
            nn.Conv2d(1, c1, 3, stride=2, padding=1), norm(c1), nn.ReLU(), nn.Dropout(dropout),  # 28x28 -> 14x14
            nn.Conv2d(c1, c2, 3, stride=2, padding=1), norm(c2), nn.ReLU(), nn.Dropout(dropout),  # 14x14 -> 7x7
            nn.Flatten(), nn.Linear(c2 * 7 * 7, latent_dim),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, c2 * 7 * 7), nn.Unflatten(1, (c2, 7, 7)), norm(c2), nn.ReLU(), nn.Dropout(dropout),
            nn.ConvTranspose2d(c2, c1, 4, stride=2, padding=1), norm(c1), nn.ReLU(), nn.Dropout(dropout),  # -> 14x14
            nn.ConvTranspose2d(c1, 1, 4, stride=2, padding=1), nn.Sigmoid(),  # 14x14 -> 28x28
        )  # fmt: skip

    def forward(self, images):
        return self.decoder(self.encoder(images))


class VariationalAutoencoder(nn.Module):
    """An autoencoder that says how sure it is of a code: dense layers with batch normalization.

    Images are binary: each pixel is ink (1) or paper (0). `encoder` gives the mean of a Gaussian q(z | x) over the
    codes of an image, `log_variance` its width; `decoder` gives each pixel's probability of ink. Trained by its
    reconstruction error, without `log_variance`, it is a plain autoencoder.
    Source: Kingma & Welling (2014), "Auto-encoding variational Bayes".
    """

    def __init__(self, latent_dim=32, hidden=500):
        super().__init__()
        layers = normalized_layers(PIXELS, hidden)
        self.encoder = nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden, latent_dim))
        self.log_variance = nn.Linear(hidden, latent_dim)
        layers = normalized_layers(latent_dim, hidden)
        self.decoder = nn.Sequential(*layers, nn.Linear(hidden, PIXELS), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))
        nn.init.constant_(self.log_variance.bias, -3.0)  # narrow at first, so that the decoder hears of the image

    def forward(self, images):
        return self.decoder(self.encoder(images))

    def posterior(self, images):
        """Mean and log variance of q(z | x), each (n, latent_dim)."""
        features = self.encoder[:-1](images)
        return self.encoder[-1](features), self.log_variance(features)

    def logits(self, codes):
        """Log odds of ink (n, 784) at each pixel: the decoder before its sigmoid."""
        return self.decoder[:-2](codes)


def normalized_layers(n_in, hidden):
    """Two dense layers of `hidden` units, each with batch normalization and ReLU."""
    layers = []
    for width in (n_in, hidden):
        layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    return layers


class MLPClassifier(nn.Sequential):
    """The article's classifier, n_inputs - 64 (ReLU) - 10: codes in, one logit per digit out.

    `n_inputs` is the autoencoder's `latent_dim`: the one number at which the two stages are joined.
    """

    def __init__(self, n_inputs=32, hidden=64, n_classes=10):
        super().__init__(nn.Linear(n_inputs, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


class ConvClassifier(nn.Sequential):
    """A convolutional network from images to one logit per digit, three times convolution, batch norm, ReLU, pooling.

    `channels` are the numbers of feature maps at 28x28, 14x14 and 7x7.
    """

    def __init__(self, channels=(32, 64, 128), n_classes=10):
        layers, n_in = [], 1
        for n_out in channels:  # 28x28 -> 14x14 -> 7x7 -> 3x3
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
            n_in = n_out
        hidden = [nn.Flatten(), nn.Linear(n_in * 3 * 3, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3)]
        super().__init__(*layers, *hidden, nn.Linear(128, n_classes))


class Standardize(nn.Module):
    """Subtracts each input's mean and divides by one common scale, both measured once by `fit`, never trained.

    One scale for all inputs keeps the geometry of the codes: no direction is stretched against another.
    """

    def __init__(self, n_inputs):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, inputs):
        """Measure mean and scale on `inputs` (n, n_inputs)."""
        self.mean.copy_(inputs.mean(0))
        self.scale.copy_((inputs - self.mean).square().mean().sqrt().clamp_min(1e-8))  # not 0 if all are alike

    def forward(self, inputs):
        return (inputs - self.mean) / self.scale


class EncoderClassifier(nn.Module):
    """An autoencoder's encoder with a classifier: images in, logits out.

    The classifier sees the codes, or what so many layers `before` the encoder's end give, flattened.
    """

    def __init__(self, autoencoder, classifier, before=0):
        super().__init__()
        self.encoder, self.decoder = autoencoder.encoder, autoencoder.decoder
        self.classifier, self.before = classifier, before

    def forward(self, images):
        return self.classifier(self.encoder[: len(self.encoder) - self.before](images))


def encoder_and_mlp(latent_dim=32, channels=(16, 32)):
    """The convolutional encoder and the article's MLP on its standardized codes in one piece: images in, logits out.

    Untrained; `Standardize` changes nothing until it is fitted to an autoencoder's codes.
    """
    mlp = nn.Sequential(Standardize(latent_dim), MLPClassifier(latent_dim))
    return EncoderClassifier(ConvAutoencoder(latent_dim, channels), mlp)


def features_and_mlp(latent_dim=32, channels=(16, 32)):
    """As `encoder_and_mlp`, but the MLP sees what the encoder's last layer does, the last feature maps."""
    autoencoder = ConvAutoencoder(latent_dim, channels)
    n_inputs = autoencoder.encoder[-1].in_features
    return EncoderClassifier(autoencoder, nn.Sequential(Standardize(n_inputs), MLPClassifier(n_inputs)), before=1)


def count_parameters(model):
    """Number of trainable parameters of `model`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def fold_batch_norm(conv, norm):
    """The single convolution that computes ``norm(conv(x))`` of a model in evaluation mode.

    Its weights are scaled by gamma / sqrt(running variance + eps), its bias shifted accordingly.
    """
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding)
    with torch.no_grad():
        folded.weight.copy_(conv.weight * scale[:, None, None, None])
        folded.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return folded


def save_weights(model, path):
    """Write a model's weights and buffers to a safetensors file, from which `load_weights` makes the model again."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def keep(model, make, path, **stated):
    """Write a trained model in half precision, with what makes it and what is `stated` of it, for `load` and `kept`.

    `make` is a class or function of this module, or a partial of one; its settings and what is stated are values that
    JSON knows. The file is there whole or not at all, and the same each time. ValueError if this module has nothing of
    that name, or what makes another network, as when a notebook changed its class.
    """
    make = functools.partial(make)
    given = inspect.signature(make.func).bind_partial(*make.args, **make.keywords)
    given.apply_defaults()  # of today, or of the notebook
    stated |= {"network": make.func.__name__, "settings": given.arguments}
    weights = {name: of.cpu().contiguous() for name, of in model.state_dict().items()}
    if stated["network"] not in globals():
        raise ValueError(f"mnist_ae_utils.models has no {stated['network']}")
    if not _makes(stated, weights, model):
        raise ValueError(f"{stated['network']} of mnist_ae_utils.models makes another network")
    weights = {name: of.half() if of.is_floating_point() else of for name, of in weights.items()}
    part = path.with_suffix(".part")
    save_file(weights, part, {"kept": json.dumps(stated)})  # under one key: of several, the order changes
    part.replace(path)


def _makes(stated, weights, model):
    """Whether the network that is `stated`, with these weights, computes what the model does."""
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    device = next((weight.device for weight in model.parameters()), "cpu")
    try:
        with torch.random.fork_rng(devices=[]):  # the weights that it starts with are drawn, and replaced
            network = globals()[stated["network"]](**stated["settings"])
        network.load_state_dict(weights)
        with torch.inference_mode():
            found, expected = network.eval()(images), model.eval()(images.to(device)).cpu()
    except (TypeError, RuntimeError):  # other settings; other weights, or shapes
        return False
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


def kept(path):
    """What a file that `keep` wrote states, as a dict. ValueError if it is no whole file of that kind."""
    try:
        with safe_open(path, "pt") as file:
            stated = json.loads(file.metadata()["kept"])
        if not callable(globals().get(stated["network"])):
            raise ValueError(f"there is no {stated['network']}")
        return stated
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no network of a report: {error!r}") from None


def load(name, folder=KEPT):
    """A trained network of a report, such as ``load("hybrid")``, on the CPU and in evaluation mode.

    ``kept(path)`` says what it is and which figure it reproduces. ValueError if the folder has no such network, or its
    file is damaged.
    """
    path = Path(folder, f"{name}.safetensors")
    if not path.exists():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.safetensors"))) or "none"
        raise ValueError(f"no network {name!r} in {folder}, but {there}")
    stated = kept(path)
    return load_weights(functools.partial(globals()[stated["network"]], **stated["settings"]), path)


def load_weights(make, path):
    """A model with the weights of a file that `save_weights` wrote, on the CPU and in evaluation mode.

    `make()` returns the network: a class, or a partial of one, with the settings that it was trained with. ValueError
    if the file is no whole safetensors file, or holds the weights of another network; it says which differ.
    """
    model = make()
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the weights of this network: {error}") from None
    return model.eval()
