"""A reader's own images: one picture put into MNIST's frame, and datasets of arrays or of a folder of pictures."""

import os
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from scipy import ndimage
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from mnist_ae_utils import data
from mnist_ae_utils.data import DataError

OWN_IMAGES = "THESE ARE YOUR OWN IMAGES: numbers measured on them do not compare with published figures."


def frame(image):
    """Put one picture of a digit into MNIST's frame, so that a network trained on MNIST can read it.

    The picture becomes gray, paper 0 and ink 1, whichever of them is darker: the border shows the paper, whose
    brightness may change slowly from side to side, as in a photo. Then follows what was done to MNIST's digits (LeCun
    et al. 1998, "Gradient-based learning applied to document recognition"): the ink is cropped, scaled so that its
    longer side has 20 pixels, and placed with its center of mass in the middle of 28x28. Write one digit on plain
    paper with a thick pen (a tenth of the digit's height), and leave a border.

    `image` is an array, Tensor, PIL image, or path of one: (h, w) gray, (h, w, 3) or, with transparency, (h, w, 4), at
    least 8x8 pixels of any type of number; the result is a Tensor (1, 28, 28), float32 in [0, 1]. ValueError if it has
    another shape, is not finite, or nothing stands out from the background; for a path, or no picture there, DataError.
    """
    if isinstance(image, str | os.PathLike):
        return _framed(read_picture(image), image)
    gray = _gray(image)
    height, width = (max(8, round(side * min(1, 400 / max(gray.shape)))) for side in gray.shape)
    gray = _resize(gray - min(gray.min(), 0), height, width)  # fewer pixels, less noise
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    border, margin = np.ones_like(gray, bool), max(1, min(height, width) // 20)
    border[margin:-margin, margin:-margin] = False
    border &= np.abs(gray - np.median(gray[border])) <= np.ptp(gray) / 4  # where it is not inked
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)  # the paper: this quadratic, by least squares
    paper = surface @ np.linalg.lstsq(surface[border], gray[border], rcond=None)[0]
    ink = gray - paper  # what stands out most, lighter or darker
    if ink.max() < -ink.min():
        ink = -ink / (paper / paper.max()).clip(0.1)  # darker than the paper, and the less so where there is less light
    noise = np.quantile(np.abs(ink[border]), 0.8)
    if ink.max() <= max(5 * noise, 0.02 * gray.max()):
        raise ValueError("is blank: nothing stands out from the background")
    ink = (ink - 3 * noise).clip(0)
    parts = ndimage.label(ink > 0.1 * ink.max(), np.ones((3, 3)))[0]
    amounts = np.bincount(parts.flat, np.where(parts, ink, 0).flat)
    ink = ink[ndimage.find_objects((amounts >= amounts.max() / 50)[parts].astype(int))[0]]  # cropped, but for specks
    ink = _resize(ink, *(max(1, round(20 * side / max(ink.shape))) for side in ink.shape))
    space = 28 - np.array(ink.shape)  # (2,) what the frame has beyond the ink
    before = np.floor(14.5 - np.array(ndimage.center_of_mass(ink))).clip(0, space).astype(int)
    return torch.from_numpy(np.pad(ink / ink.max(), np.stack([before, space - before], 1))).float()[None]


def _framed(image, name):
    """`frame`, with a DataError that names the image."""
    try:
        return frame(image)
    except ValueError as error:
        raise DataError(f"{name} {error}. Replace or remove it.") from None


def _gray(image):
    """An image as an array (h, w), float64: its brightness, or where parts of it are transparent, what is not."""
    try:
        pixels = _array(image).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError("is not an image: its pixels are not numbers") from None
    colors = np.atleast_3d(pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels)  # [0]: as in a `Split`
    if colors.ndim != 3 or colors.shape[2] not in (1, 2, 3, 4) or min(colors.shape[:2]) < 8:
        raise ValueError(f"has shape {pixels.shape}: (h, w), (h, w, 3) or (h, w, 4) are needed, h and w at least 8")
    if not np.isfinite(colors).all():
        raise ValueError("has values that are infinite or not a number")
    if colors.shape[2] in (2, 4) and np.ptp(colors[..., -1]):
        return colors[..., -1]
    return colors[..., :3] @ [0.299, 0.587, 0.114] if colors.shape[2] > 2 else colors[..., 0]


def _resize(image, height, width):
    """An array (h, w), scaled without aliasing."""
    image = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True)[0, 0].numpy()


def _array(x):
    """Anything as an array; a PIL image becomes (h, w) gray, (h, w, 3), or (h, w, 4) if something is transparent."""
    if isinstance(x, Image.Image) and x.mode[0] not in "IF" and (x.mode != "L" or x.has_transparency_data):
        x = x.convert("RGBA" if x.has_transparency_data else "RGB")
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)


def read_picture(path):
    """The picture in a file, upright, as an array for `frame`; DataError if there is no such file or no picture."""
    try:
        with Image.open(path) as picture:
            return _array(ImageOps.exif_transpose(picture))  # phones store photos lying on their side
    except Exception as error:  # decoders raise whatever they stumble over
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as a picture: {why}. Save it anew as PNG, or remove it.") from None


def from_folder(folder):
    """A dataset of your own pictures, in one sub-folder per class: ``digits/0/*.png`` to ``digits/9/*.png``.

    Each picture (PNG, JPEG, BMP, GIF, ...) is put into MNIST's frame by `frame`; hidden files are passed over. Where
    the sub-folders' names are digits, these are the labels; else the classes, 10 at most, are numbered by the alphabet.
    `from_arrays` says how many pictures are needed and how they are split. DataError if one is unreadable, blank or too
    small, or a class has too few; the message names it and the cure.
    """
    folder = data.given_path(folder).resolve()
    classes = {sub.name: _visible(sub) for sub in _visible(folder) if os.path.isdir(sub)}
    empty = [name for name, paths in classes.items() if not paths]
    if empty or not 2 <= len(classes) <= 10:
        found = f"no pictures in {', '.join(empty)}" if empty else f"{len(classes)} sub-folders"
        raise DataError(f"{folder} must hold a sub-folder of pictures for each class, 2 to 10 of them; it has {found}")
    names = "0123456789" if set(classes) <= set("0123456789") else list(classes)
    labels = [names.index(name) for name, paths in classes.items() for _ in paths]
    dataset = from_arrays(sum(classes.values(), []), labels, name=f"own images: {folder.name}", class_names=names)
    return replace(dataset, source=f"pictures in the folder {folder.name}")


def _visible(folder):
    left_there = ("Thumbs.db", "desktop.ini", "__MACOSX")  # by operating systems
    return [path for path in data.entries(folder) if not path.name.startswith(left_there)]


def from_arrays(images, labels, test_images=None, test_labels=None, *, name="own images", class_names=None):
    """A dataset of your own images, in 256 shades of gray, as MNIST is stored; its checksum is of images and labels.

    `images` are an array or Tensor (n, 28, 28), (n, 1, 28, 28), (n, h, w) or (n, h, w, colors). Gray ones of 28x28
    pixels are taken as they are, paper 0 and ink high: integers up to 255, or floats up to 1. Others, and a list of
    pictures or paths, are put into MNIST's frame by `frame`, one by one. `labels` (n,) are whole numbers from 0 to 9,
    and test images and labels the same. `name` is none of `data.DATASETS`; `class_names`, up to 10 str by label, are
    the digits unless told. A fifth of the images are held out for the test unless test images are given, and an eighth
    of the others for validation, both stratified. At least two classes are needed, with 10 images of each (8 if test
    images are given). DataError if something is not so, an image is blank, or all are the same; the message names the
    first such. What can be right but seldom is, the `notice` says: a class without images, ink and paper swapped, or
    faint ink.
    """
    names = (*(class_names or ()), *"0123456789"[len(class_names or ()) :])
    if name in data.DATASETS or len(names) > 10:
        raise DataError(f"choose another name than {', '.join(data.DATASETS)}, and at most 10 class names")
    arrays = _own(images, labels, "images")
    if test_images is not None or test_labels is not None:
        arrays += _own(test_images, test_labels, "test_images")
    counts, least = np.bincount(arrays[1]), 10 if len(arrays) == 2 else 8
    few = [f"{count} of {names[label]}" for label, count in enumerate(counts) if 0 < count < least]
    if few or np.count_nonzero(counts) < 2:
        found = ", ".join(few) or "others of no class"
        raise DataError(f"two or more classes, and at least {least} images of each, are needed; there are {found}")
    if (arrays[0] == arrays[0][0]).all():
        raise DataError(f"all {len(arrays[0]):,} images are the same: give the images themselves")
    notice = " ".join([OWN_IMAGES, *_doubts(arrays, class_names or names)])
    checksum = data.checksum_of(arrays)
    if len(arrays) == 2:
        parts = train_test_split(*arrays, test_size=0.2, stratify=arrays[1], random_state=0)
        arrays = *parts[::2], *parts[1::2]  # images and labels, then those of the test
    n_validation = -(-len(arrays[0]) // 8)  # rounded up
    return replace(data.split_dataset(name, "arrays", checksum, *arrays, n_validation, names), notice=notice)


def _doubts(arrays, names):
    """A sentence for each thing that can be right, but seldom is."""
    pixels = arrays[0]
    for what, labels in zip(("images", "test images"), arrays[1::2], strict=False):
        if absent := [str(name) for label, name in enumerate(names) if label not in labels]:
            yield f"There are no {what} of {', '.join(absent)}."
    if np.median(pixels[:, [0, -1]]) > 127:
        yield "Their edges are bright, and ought to be paper, 0: are ink and paper swapped?"
    if pixels.max() < 64:
        yield f"Their brightest pixel is {pixels.max()} of 255: have they been scaled twice?"


def _own(images, labels, what):
    """A reader's images (n, 28, 28) and labels (n,), both uint8; DataError if they are not as `from_arrays` says."""
    is_list, labels = isinstance(images, list | tuple), _array(labels)
    images = images if is_list else _array(images)
    if not is_list and not (images.ndim in (3, 4) and images.dtype.kind in "buif"):
        raise DataError(f"{what} must be numbers of shape (n, 28, 28), (n, h, w) or (n, h, w, 3), got {images.shape}")
    if labels.shape != (len(images),) or not len(images):
        raise DataError(f"{len(images):,} {what} need as many labels, got an array of shape {labels.shape}")
    if not (known := np.isin(labels, range(10))).all():
        raise DataError(f"the labels of {what} must be whole numbers from 0 to 9, got {labels[~known][0]}")
    if not is_list and images.shape[1:] in ((28, 28), (1, 28, 28), (28, 28, 1)):
        images = images.reshape(-1, 28, 28)
    else:
        pictures = enumerate(tqdm(images, desc="pictures", leave=False))
        images = np.concatenate([_framed(picture, f"{what}[{i}]").numpy() for i, picture in pictures])
    top = 255 if images.dtype.kind in "iu" and images.max() > 1 else 1
    low, high = images.min((1, 2)), images.max((1, 2))
    differ = np.round(low * (255 / top)) < np.round(high * (255 / top))  # also once they are stored
    for i in np.flatnonzero(~((low >= 0) & (high <= top) & differ)):  # NaN is none of these
        found = f"{what}[{i}] has pixels from {low[i]} to {high[i]}"
        raise DataError(f"{found}: they must lie between 0 (paper) and {top} (ink) and differ. Mend or remove it.")
    return [np.round(images * (255 / top)).astype(np.uint8), labels.astype(np.uint8)]


def load(dataset, device="cpu"):
    """A dataset by its name (`data.load`), of a folder of pictures (`from_folder`), or one made before."""
    is_text = isinstance(dataset, str) and dataset not in (*data.DATASETS, "")
    if isinstance(dataset, os.PathLike) or (is_text and os.path.isdir(data.given_path(dataset))):
        dataset = from_folder(dataset)
    return dataset.to(device) if isinstance(dataset, data.Dataset) else data.load(dataset, device)
