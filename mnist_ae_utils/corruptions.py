"""Ways to spoil images, to distort them at random, and to make them binary.

The eight corruptions are called alike, ``f(images, strength, generator)``. They return images of the same shape with
pixels in [0, 1], unchanged at strength 0, and raise ValueError for a strength out of range. A generator, on the CPU or
on the images' device, makes what is random in them reproducible: a larger strength then builds on the same draw.
"""

import math

import torch
import torch.nn.functional as F


def _check_strength(name, strength, highest=math.inf):
    if not (0 <= strength <= highest and strength < math.inf):
        allowed = "a finite number, 0 or more" if highest == math.inf else f"between 0 and {highest}"
        raise ValueError(f"{name} must be {allowed}, got {strength}")


def _draw(random, images, shape, generator):
    """Numbers drawn by torch's `random`, beside `images`, whichever device the generator is on."""
    return random(shape, generator=generator, device=generator.device if generator else images.device).to(images)


def add_gaussian_noise(images, std, generator=None):
    """Return `images` plus normal noise of standard deviation `std` >= 0 (pixels are in [0, 1]), clamped."""
    _check_strength("std", std)
    return (images + std * _draw(torch.randn, images, images.shape, generator)).clamp(0, 1)


def salt_and_pepper(images, fraction, generator=None):
    """Return `images` with each pixel, with probability `fraction` in [0, 1], set to 0 or to 1, both as likely."""
    _check_strength("fraction", fraction, 1)
    drawn = _draw(torch.rand, images, images.shape, generator)
    images = torch.where(drawn < fraction / 2, 0.0, images)
    return torch.where(drawn >= 1 - fraction / 2, 1.0, images)


def blur(images, std, generator=None):
    """Return `images` blurred by a Gaussian of `std` pixels, in [0, 9]; nothing in it is random."""
    _check_strength("std", std, 9)  # beyond, the kernel would not fit into the frame and its reflection
    from torchvision.transforms.v2.functional import gaussian_blur  # here, as it takes a second to import

    return gaussian_blur(images, 2 * math.ceil(3 * std) + 1, std).clamp(0, 1) if std > 0 else images


def occlude(images, side, generator=None):
    """Return `images` with a square of `side` x `side` pixels (whole, 0 to 28) erased to 0, anywhere in the frame."""
    _check_whole("side", side)
    corner = (_draw(torch.rand, images, (2, len(images), 1), generator) * (29 - side)).long()
    inside = (torch.arange(28, device=images.device) - corner).unsqueeze(-2)  # (2, n, 1, 28)
    rows, columns = (inside >= 0) & (inside < side)
    return images * ~(rows.mT & columns)[:, None]


def drop_rows(images, n_rows, generator=None):
    """Return `images` with `n_rows` (whole, 0 to 28) of their 28 rows erased to 0, others for each image."""
    _check_whole("n_rows", n_rows)
    ranks = _draw(torch.rand, images, (len(images), 1, 28, 1), generator).argsort(2).argsort(2)
    return images * (ranks >= n_rows)


def _check_whole(name, number):
    if number not in range(29):
        raise ValueError(f"{name} must be a whole number between 0 and 28, got {number}")


def translate(images, pixels, generator=None):
    """Return `images` moved by `pixels`, in [0, 28], to the left, right, top or bottom; 0 comes in from outside."""
    _check_strength("pixels", pixels, 28)
    way = (4 * _draw(torch.rand, images, (len(images),), generator)).long()
    step = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], device=images.device)[way]
    right, down = pixels * step.T / 14  # in units of half an image
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return _resample(images, (one, zero, -right), (zero, one, -down))


def rotate(images, degrees, generator=None):
    """Return `images` turned about their center by `degrees`, in [0, 180], one way or the other."""
    _check_strength("degrees", degrees, 180)
    angle = math.radians(degrees) * (1 - 2 * (_draw(torch.rand, images, (len(images),), generator) < 0.5).to(images))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _resample(images, (cos, sin, zero), (-sin, cos, zero))


def _resample(images, *rows):
    """Read each image where its affine map, given by two `rows` of three (n,), points; 0 comes in from outside."""
    maps = torch.stack([torch.stack(row, 1) for row in rows], 1)  # (n, 2, 3)
    grid = F.affine_grid(maps, images.shape, align_corners=False)  # (n, 28, 28, 2)
    return F.grid_sample(images, grid, align_corners=False).clamp(0, 1)


def lower_contrast(images, loss, generator=None):
    """Return `images` with their pixels drawn towards each image's mean by the fraction `loss`, in [0, 1]."""
    _check_strength("loss", loss, 1)
    return torch.lerp(images, images.mean((1, 2, 3), keepdim=True), loss)


def binarize(images):
    """Return `images` with each pixel 1 with its intensity as probability, else 0, from torch's current random state.

    Drawn anew at each call ("dynamic binarization"). Source: Salakhutdinov & Murray (2008), "On the quantitative
    analysis of deep belief networks".
    """
    return torch.bernoulli(images)


def distort(images, strength=1.0):
    """Return `images`, each rotated, sheared, scaled and shifted at random, from torch's current random state.

    At `strength` 1, up to 15 degrees, a shear of 0.15, 8% in width and in height, and 1.5 pixels either way, each drawn
    uniformly; proportionally at others, 0 or more (else ValueError). 0 leaves the images (n, 1, 28, 28) as they are.
    """
    _check_strength("strength", strength)
    if strength == 0:
        return images
    angle, shear, width, height, right, down = strength * (2 * torch.rand(6, len(images), device=images.device) - 1)
    angle, shear, shift = angle * math.radians(15), shear * 0.15, 1.5 / 14  # pixels, in units of half an image
    cos, sin, width, height = angle.cos(), angle.sin(), 1 + 0.08 * width, 1 + 0.08 * height
    top = cos * width, cos * shear - sin * height, right * shift
    return _resample(images, top, (sin * width, sin * shear + cos * height, down * shift))
