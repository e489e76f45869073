"""A trained network as the browser's module networks.js reads it: layers with places in one array of numbers.

Batch norm in evaluation mode, and `Standardize`, only scale and shift each number: they are folded into the layer
before or after, so that the browser knows neither.
"""

import base64
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mnist_ae_utils.models import EncoderClassifier, Standardize

HERE = Path(__file__).resolve().parent
ACTIVATIONS = {
    nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.ELU: "elu", nn.GELU: "gelu", nn.SiLU: "silu", nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}  # fmt: skip
NOTHING = nn.Dropout | nn.Identity | nn.Flatten  # in evaluation mode, and where images are rows of numbers anyway


class Weights:
    """Weights of several networks, one after the other: `half` is what `halfFloats` of networks.js takes."""

    def __init__(self):
        self.parts, self.length = [], 0

    def add(self, tensor):
        """Append a tensor's numbers; return the place of the first one."""
        self.parts.append(tensor.detach().cpu().flatten())
        self.length += tensor.numel()
        return self.length - tensor.numel()

    @property
    def half(self):
        """The bytes of all numbers in half precision. ValueError if one is too large for that, or not finite."""
        numbers = torch.cat(self.parts).to(torch.float16)
        if not numbers.isfinite().all():
            raise ValueError("a weight is not finite, or too large for half precision")
        return half(numbers)


def network(model, weights, draws=True):
    """What `ask` of networks.js takes: {"trunk", "code", "decoder", "classifier"}, each a list of layers, or None.

    `model` is an autoencoder, an `EncoderClassifier`, or a classifier of images (a Sequential). Unless it `draws`, as
    when nobody trained its decoder, it has neither code nor decoder. ValueError if it holds a layer that the browser
    does not know.
    """
    if not hasattr(model, "encoder"):
        return {"trunk": [], "code": None, "decoder": None, "classifier": layers(model, weights)}
    encoder = list(model.encoder)
    with_classifier = isinstance(model, EncoderClassifier)
    n = len(encoder) - model.before if with_classifier else len(encoder)
    side, trunk = _layers(encoder[:n], 28, weights)
    return {
        "trunk": trunk,
        "code": _layers(encoder[n:], side, weights)[1] if draws else None,
        "decoder": layers(model.decoder, weights) if draws else None,
        "classifier": layers(model.classifier, weights) if with_classifier else None,
    }


def layers(modules, weights):
    """The layers of a Sequential, with their weights appended to `weights`: a list of dicts."""
    return _layers([modules], 28, weights)[1]


def _layers(modules, side, weights):
    """The side of the images (or feature maps) that come out of some modules, and their layers."""
    found, scale, shift = [], None, None  # what is still to be folded into the next linear layer
    for module in _flat(modules):
        match module:
            case nn.Linear():
                weight, bias = module.weight, _bias(module, module.out_features)
                if scale is not None:
                    weight, bias, scale, shift = weight * scale, bias + weight @ shift, None, None
                found.append({"kind": "linear", "inputs": weight.shape[1], "outputs": weight.shape[0],
                              "weight": weight, "bias": bias})  # fmt: skip
            case nn.Conv2d() | nn.ConvTranspose2d() if _is_plain(module):
                transposed = isinstance(module, nn.ConvTranspose2d)
                of = {"kernel": module.kernel_size[0], "stride": module.stride[0], "padding": module.padding[0]}
                found.append({"kind": "conv_transposed" if transposed else "conv", "inputs": module.in_channels,
                              "outputs": module.out_channels, **of, "size": side, "weight": module.weight,
                              "bias": _bias(module, module.out_channels)})  # fmt: skip
                grown = (side - 1) * of["stride"] - 2 * of["padding"] + of["kernel"]
                side = grown if transposed else (side + 2 * of["padding"] - of["kernel"]) // of["stride"] + 1
            case nn.BatchNorm1d() | nn.BatchNorm2d() if found and "weight" in found[-1]:
                _fold(module, found[-1])
            case Standardize():
                scale, shift = 1 / module.scale, -module.mean / module.scale
            case nn.MaxPool2d(kernel_size=2, stride=2, padding=0):
                channels = next(layer["outputs"] for layer in reversed(found) if "outputs" in layer)
                found.append({"kind": "max_pool", "inputs": channels, "size": side})
                side //= 2
            case nn.Unflatten():
                side = module.unflattened_size[-1]
            case _ if type(module) in ACTIVATIONS:
                slope = getattr(module, "negative_slope", getattr(module, "alpha", 0))
                found.append({"kind": "activation", "of": ACTIVATIONS[type(module)], "slope": slope})
            case _ if not isinstance(module, NOTHING):
                raise ValueError(f"the browser does not know this layer, or not here: {module}")
    if scale is not None:
        raise ValueError("a Standardize without a linear layer behind it")
    for layer in found:
        layer |= {key: weights.add(layer[key]) for key in ("weight", "bias") if key in layer}
    return side, found


def _flat(modules):
    """The layers of Sequentials within Sequentials, one after the other."""
    for module in modules:
        yield from _flat(module) if isinstance(module, nn.Sequential) else [module]


def _bias(module, n):
    return torch.zeros(n) if module.bias is None else module.bias


def _is_plain(conv):
    """Whether a convolution is square, with zeros around the image, and without dilation, groups or more output."""
    of = conv.kernel_size, conv.stride, conv.padding
    more = getattr(conv, "output_padding", (0, 0))
    simple = conv.groups == 1 and conv.padding_mode == "zeros" and {*conv.dilation} == {1} and {*more} == {0}
    return simple and all(isinstance(pair, tuple) and pair[0] == pair[1] for pair in of)


def _fold(norm, layer):
    """Fold a batch norm into the layer before it, whose outputs it scales and shifts channel by channel."""
    scale = 1 / torch.sqrt(norm.running_var + norm.eps) * (norm.weight if norm.affine else 1)
    shift = (norm.bias if norm.affine else 0) - norm.running_mean * scale
    each = layer["outputs"] // norm.num_features  # a linear layer's outputs may be feature maps, channel by channel
    scale, shift = scale.repeat_interleave(each), shift.repeat_interleave(each)
    axis = 1 if layer["kind"] == "conv_transposed" else 0
    shape = [-1 if dimension == axis else 1 for dimension in range(layer["weight"].ndim)]
    layer["weight"], layer["bias"] = layer["weight"] * scale.view(shape), layer["bias"] * scale + shift


def image_bytes(images):
    """Images (n, 1, 28, 28), a byte a pixel, row by row."""
    return (images * 255).round().to(torch.uint8).cpu().numpy().tobytes()


def half(numbers):
    """The bytes of an array's numbers in half precision: all lower ones, then the higher ones, which are alike."""
    return np.asarray(numbers, "<f2").reshape(-1, 1).view(np.uint8).T.tobytes()


def text(content):
    """Bytes as base64, which a script can hold."""
    return base64.b64encode(content).decode()


def code(*modules, style=None):
    """The browser's code: some modules, one after the other; or a style sheet."""
    names = [f"{style}.css"] if style else [f"{module}.js" for module in modules]
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)
