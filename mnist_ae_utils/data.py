"""Images and labels as in-memory tensors, split into train, validation and test.

`load` finds MNIST (or a dataset in its format), checks the files and returns tensors; it downloads only what
is missing. The last part of this module chooses labels, and corrupts labels and images.
"""

import gzip
import hashlib
import http.client
import math
import os
import time
import urllib.request
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.datasets
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision.transforms.v2.functional import gaussian_blur
from tqdm import tqdm

DATASETS = ("auto", "mnist", "fashion-mnist", "kmnist", "uci-digits")
PROJECT_ROOT = Path(__file__).resolve().parent.parent  # downloads go to its data/ folder

# torchvision knows where the three datasets are published, and the MD5 of each compressed file.
TORCHVISION = {
    "mnist": torchvision.datasets.MNIST,
    "fashion-mnist": torchvision.datasets.FashionMNIST,
    "kmnist": torchvision.datasets.KMNIST,
}
MNIST_MD5 = {  # of the original files, uncompressed
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FILES = tuple(MNIST_MD5)  # the other two datasets use the same names

SOCKET_TIMEOUT_S = 10  # to connect, and between two pieces of an answer
DOWNLOAD_LIMIT_S = 600  # for one file from one mirror, however slowly it trickles in

NOT_MNIST = (
    "THIS IS NOT MNIST: these are the 1,797 handwritten 8x8 digits that scikit-learn carries (UCI), "
    "enlarged into MNIST's frame. Numbers measured on them do not compare with published MNIST figures."
)
GET_DATA = (
    "connect to the network, or set MNIST_DATA_DIR to a folder that holds the four files "
    f"({', '.join(FILES)}, or their .gz), and run `mnist-ae data`"
)
CURE = "Delete it and run `mnist-ae data`; in your own MNIST_DATA_DIR, put a whole copy in its place."


class DataError(RuntimeError):
    """A dataset is unknown, missing or damaged. The message names the file and the cure."""


class _DownloadFailed(Exception):
    """No mirror delivered a whole file. The message says which file and why."""


@dataclass(frozen=True)
class Split:
    """Images and their labels, row by row."""

    images: torch.Tensor  # (n, 1, 28, 28) float32 in [0, 1]
    labels: torch.Tensor  # (n,) int64 in 0..9

    def __len__(self):
        return len(self.labels)

    def first(self, n):
        """Return the first `n` images, 1 <= n <= len(self), else ValueError.

        Splits are ordered by `load` so that these are a stratified sample (for n >= 10), and nested: the
        first 500 are among the first 2,000.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be between 1 and the {len(self):,} images of this split, got {n}")
        return Split(self.images[:n], self.labels[:n])

    def to(self, device):
        """Return the split with its tensors on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A dataset, split and ready for use."""

    name: str  # one of DATASETS, but never "auto"
    source: str  # where it was read from, without this machine's paths
    checksum: str  # MD5 of images and labels, whatever format they were stored in
    train: Split
    validation: Split
    test: Split
    notice: str  # "", or what every reader of the results must know
    class_names: tuple  # of 10 str


# ---------------------------------------------------------------------------------------------------- loading


def load(name="auto", device="cpu"):
    """Load a dataset, downloading what is missing.

    The files are looked for in $MNIST_DATA_DIR (in torchvision's layout, ``MNIST/raw/``; MNIST's also
    directly), then in the project's ``data/`` folder, then downloaded into that. "auto" is MNIST by these
    means; if it can be neither found nor downloaded, it is "uci-digits", with a warning and a `notice`.

    Parameters
    ----------
    name : str, one of `DATASETS`
    device : str or torch.device on which the tensors shall be

    Returns
    -------
    Dataset
        Always with the same split: for MNIST 55,000 training, 5,000 validation and 10,000 test images. Calls
        within one process share their tensors, so do not change them in place.

    Raises
    ------
    DataError
        If the name is unknown, a file is damaged (with "auto" too), or the named dataset cannot be had.
    """
    if name not in DATASETS:
        raise DataError(f"unknown dataset {name!r}; choose one of: {', '.join(DATASETS)}")
    wanted = "mnist" if name == "auto" else name
    if name == "uci-digits":
        dataset = _read_digits()
    else:
        try:
            folder, source = _locate(wanted, retry=name != "auto")
            dataset = _read_folder(wanted, folder, source)
        except _DownloadFailed as error:
            if name != "auto":
                raise DataError(f"{error}. Either {GET_DATA}; or use dataset uci-digits.") from None
            notice = f"{NOT_MNIST} {error}. To get MNIST, {GET_DATA}."
            dataset = replace(_read_digits(), notice=notice)
            if wanted not in _failures:  # warn once a process; the notice stays
                warnings.warn(notice, stacklevel=2)
            _failures[wanted] = str(error)
    splits = {key: getattr(dataset, key).to(device) for key in ("train", "validation", "test")}
    return replace(dataset, **splits)


def describe(dataset):
    """Return a few lines of text: name, source, sizes, checksum, and the notice if there is one."""
    sizes = ", ".join(f"{len(getattr(dataset, key)):,} {key}" for key in ("train", "validation", "test"))
    text = f"{dataset.name}: {dataset.source}\nimages: {sizes}\nchecksum: {dataset.checksum}"
    return f"{text}\nNOTICE: {dataset.notice}" if dataset.notice else text


_failures = {}  # dataset -> why its download failed, so that "auto" tries only once a process


def _locate(name, retry):
    """Return the folder that holds the four files, downloading what data/ lacks, and its name for readers."""
    layout = f"{TORCHVISION[name].__name__}/raw"
    if os.environ.get("MNIST_DATA_DIR"):
        given = Path(os.environ["MNIST_DATA_DIR"]).expanduser()
        if not given.exists():  # notebooks run in notebooks/, where a path relative to the project must work too
            given = PROJECT_ROOT / given
        for sub in (f"/{layout}", "") if name == "mnist" else (f"/{layout}",):
            folder = Path(f"{given}{sub}")
            missing = _missing(folder)
            if not missing:
                return folder, f"IDX files in $MNIST_DATA_DIR{sub}"
            if len(missing) < len(FILES):
                raise DataError(
                    f"{folder} is incomplete: {', '.join(missing)} missing. Add it (a .gz will do), or unset "
                    "MNIST_DATA_DIR and run `mnist-ae data`."
                )
        given = os.environ["MNIST_DATA_DIR"]
        warnings.warn(f"MNIST_DATA_DIR={given} has no files of {name}; trying the next source", stacklevel=3)
    folder = PROJECT_ROOT / "data" / layout
    for file in _missing(folder):
        if name in _failures and not retry:
            raise _DownloadFailed(_failures[name])
        _download(name, f"{file}.gz", folder)
    return folder, f"IDX files in data/{layout}"


def _missing(folder):
    return [file for file in FILES if not (folder / file).is_file() and not (folder / f"{file}.gz").is_file()]


@lru_cache(maxsize=1)
def _read_folder(name, folder, source):
    """Read and check four IDX files, and hold out a twelfth of the training images for validation."""
    paths = [folder / file if (folder / file).is_file() else folder / f"{file}.gz" for file in FILES]
    arrays = [_read_idx(name, path) for path in paths]
    for i in (0, 2):
        if len(arrays[i]) != len(arrays[i + 1]):
            raise DataError(
                f"{paths[i]} has {len(arrays[i]):,} images but {paths[i + 1].name} has "
                f"{len(arrays[i + 1]):,} labels: one of the two is wrong. {CURE}"
            )
    class_names = "0123456789" if name == "mnist" else TORCHVISION[name].classes
    try:
        return _dataset(name, source, _checksum(arrays), *arrays, len(arrays[0]) // 12, class_names)
    except ValueError as error:  # hand-made files with too few images of a class
        raise DataError(f"{folder} is too small to hold out validation images: {error}") from None


@lru_cache(maxsize=1)
def _read_digits():
    """Put scikit-learn's digits into MNIST's frame: 20x20 pixels inside a border of 4."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
    # Bicubic gives sharper, more MNIST-like strokes than bilinear, but overshoots [0, 1]: clamp.
    images = F.interpolate(images, (20, 20), mode="bicubic", antialias=True).clamp(0, 1)
    images = (F.pad(images, (4, 4, 4, 4))[:, 0] * 255).round().to(torch.uint8).numpy()  # as in an IDX file
    images, test_images, labels, test_labels = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    source = "scikit-learn's load_digits, 8x8 pixels enlarged to 20x20"
    checksum = _checksum([digits.images.astype(np.uint8), digits.target.astype(np.uint8)])
    arrays = images, labels, test_images, test_labels
    dataset = _dataset("uci-digits", source, checksum, *arrays, len(labels) // 10, "0123456789")
    return replace(dataset, notice=NOT_MNIST)


def _dataset(name, source, checksum, images, labels, test_images, test_labels, n_validation, class_names):
    """Hold out the validation images, stratified, and make tensors of all."""
    images, validation_images, labels, validation_labels = train_test_split(
        images, labels, test_size=n_validation, stratify=labels, random_state=0
    )
    return Dataset(
        name=name,
        source=source,
        checksum=checksum,
        train=_split(images, labels),
        validation=_split(validation_images, validation_labels),
        test=_split(test_images, test_labels),
        notice="",
        class_names=tuple(class_names),
    )


def _split(images, labels):
    """Order images so that any first n are stratified, and make tensors of them."""
    random = np.random.RandomState(0)  # its stream is frozen, unlike default_rng's: the same order for ever
    # The k-th of the N images of a class stands where (k + 1/2) / N of the split has passed; ties are drawn.
    passed = (_ranks(labels, random) + 0.5) / np.bincount(labels)[labels]
    order = np.lexsort((random.rand(len(labels)), passed))
    pixels = torch.from_numpy(images[order])[:, None].float() / 255  # (n, 1, 28, 28)
    return Split(pixels, torch.from_numpy(labels[order].astype(np.int64)))


def _ranks(labels, random):
    """Number the images of each class 0, 1, 2, ... in random order."""
    ranks = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = random.permutation(len(members))
    return ranks


# ---------------------------------------------------------------------------------------- files and downloads


def _read_idx(name, path):
    """Return the uint8 array in an IDX file, (n, 28, 28) images or (n,) labels; damage is a DataError."""
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is unreadable, truncated or damaged: {error}. {CURE}") from None
    shape = (28, 28) if "images" in path.name else ()
    problem = _idx_problem(content, shape)
    found, expected = _md5(raw), _known_md5(name, path.name)
    if name == "mnist" and path.suffix == ".gz":  # compressed anew, it is as good
        found, expected = _md5(content), _known_md5(name, path.stem)
    if not problem and expected not in (found, None):
        problem = f"damaged: its MD5 is {found}, expected {expected}"
    if problem:
        raise DataError(f"{path} is {problem}. {CURE}")
    return np.frombuffer(content, dtype=np.uint8, offset=8 + 4 * len(shape)).reshape(-1, *shape)


def _idx_problem(content, shape):
    """Say what is wrong with the bytes of an IDX file whose items have `shape`; "" if nothing is."""
    start = 8 + 4 * len(shape)
    if len(content) < start:
        return f"truncated: {len(content):,} bytes, less than its header of {start}"
    magic, count, *sides = np.frombuffer(content[:start], dtype=">u4").tolist()
    size = start + count * math.prod(shape)
    if magic != 0x0801 + len(shape):  # 8: unsigned bytes; then the number of dimensions
        return f"not the IDX file its name promises: magic number {magic}, expected {0x0801 + len(shape)}"
    if tuple(sides) != shape:
        return f"not of 28x28 images: its header says {sides[0]}x{sides[1]}"
    if len(content) < size:
        return f"truncated: {len(content):,} of {size:,} bytes for the {count:,} items its header counts"
    if len(content) > size:
        return f"too long: {len(content):,} bytes, not {size:,}, for the {count:,} items its header counts"
    if count == 0:
        return "empty: its header counts 0 items"
    if not shape and max(content[start:]) > 9:
        return f"damaged: it has a label {max(content[start:])}"
    return ""


def _known_md5(name, file):
    known = dict(TORCHVISION[name].resources)
    return (known | MNIST_MD5 if name == "mnist" else known).get(file)


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _checksum(arrays):
    return _md5("".join(_md5(array.tobytes()) for array in arrays).encode())


def _download(name, file, folder):
    """Download one file from the first mirror that delivers it whole."""
    reasons = []
    for mirror in TORCHVISION[name].mirrors:
        try:
            content = _fetch(mirror + file)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{mirror}: {error}")
            continue
        if _md5(content) == _known_md5(name, file):
            break
        reasons.append(f"{mirror}: {len(content):,} bytes came, with a wrong MD5")
    else:
        raise _DownloadFailed(f"{file} of {name} could not be downloaded ({'; '.join(reasons)})")
    # The final name appears only once the file is whole; the process id keeps parallel downloads apart.
    part = folder / f"{file}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, folder / file)
    except OSError as error:
        raise DataError(
            f"{folder / file} ({len(content):,} bytes) cannot be written: {error}. Make room and allow "
            "writing there, or set MNIST_DATA_DIR to a folder that holds the files."
        ) from None
    finally:
        if part.exists():
            part.unlink()


def _fetch(url):
    """Return what `url` holds; OSError or HTTPException if it refuses, stalls or takes too long."""
    end = time.monotonic() + DOWNLOAD_LIMIT_S
    request = urllib.request.Request(url, headers={"User-Agent": "mnist-ae-utils"})
    with urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_S) as response:
        pieces = []
        with tqdm(total=response.length, desc=url.split("/")[-1], unit="B", unit_scale=True) as progress:
            while piece := response.read1(1 << 16):  # returns at every packet, so a trickle meets the limit
                pieces.append(piece)
                progress.update(len(piece))
                if time.monotonic() > end:
                    raise TimeoutError(f"not finished after {DOWNLOAD_LIMIT_S} seconds")
    return b"".join(pieces)


# ------------------------------------------------------- choosing labels, corrupting labels and images


def labelled_subset(labels, n_labels, seed):
    """Choose whose labels are shown: as many of each class as possible, drawn by `seed`.

    Parameters
    ----------
    labels : Tensor (n,) int64
    n_labels : int, 10 to n
        10 gives exactly one of each class. What is left over a multiple of 10 goes to random classes.
    seed : int
        The same seed gives the same choice, and a larger `n_labels` adds to it.

    Returns
    -------
    Tensor (n_labels,) int64
        Indices into `labels`, on its device.

    Raises
    ------
    ValueError
        If `n_labels` is out of range.
    """
    if not 10 <= n_labels <= len(labels):
        raise ValueError(f"n_labels must be between 10 and the {len(labels):,} labels given, got {n_labels}")
    random = np.random.RandomState(seed)
    ranks = _ranks(labels.cpu().numpy(), random)
    order = np.lexsort((random.rand(len(ranks)), ranks))  # the first of every class, then the second, ...
    return torch.from_numpy(order[:n_labels]).to(labels.device)


def mislabel(labels, fraction, generator=None):
    """Replace some labels by wrong ones, every other class being as likely.

    Parameters
    ----------
    labels : Tensor (n,) int64 in 0..9
    fraction : float in [0, 1)
        Of the labels that become wrong: exactly that many, to the nearest whole label.
    generator : torch.Generator, optional
        On the CPU. The same one makes the same labels wrong, and a larger fraction adds to them.

    Raises
    ------
    ValueError
        If `fraction` is out of range.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be at least 0 and below 1, got {fraction}")
    order = torch.randperm(len(labels), generator=generator)
    offset = torch.randint(1, 10, (len(labels),), generator=generator)  # never 0: never the true class
    wrong = order[: round(fraction * len(labels))]
    mislabelled = labels.clone()
    mislabelled[wrong] = (labels[wrong] + offset[wrong].to(labels.device)) % 10
    return mislabelled


# The corruptions are called alike, ``f(images, strength, generator)``. They return images of the same shape with pixels
# in [0, 1], unchanged at strength 0, and raise ValueError for a strength out of range. A generator, on the CPU or on
# the images' device, makes what is random in them reproducible: a larger strength then builds on the same draw.


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
    if std == 0:
        return images
    return gaussian_blur(images, 2 * math.ceil(3 * std) + 1, std).clamp(0, 1)


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
    return _move(images, torch.zeros_like(step[:, 0]), pixels * step)


def rotate(images, degrees, generator=None):
    """Return `images` turned about their center by `degrees`, in [0, 180], one way or the other."""
    _check_strength("degrees", degrees, 180)
    way = 1 - 2 * (_draw(torch.rand, images, (len(images),), generator) < 0.5).to(images)
    return _move(images, math.radians(degrees) * way, torch.zeros(len(images), 2).to(images))


def _move(images, angle, offset):
    """Turn each image by its `angle` (n,) in radians and move it by its `offset` (n, 2) in pixels, right and down."""
    cos, sin, (right, down) = angle.cos(), angle.sin(), offset.T / 14  # in units of half an image
    return _resample(images, torch.stack([cos, sin, -right], 1), torch.stack([-sin, cos, -down], 1))


def _resample(images, *rows):
    """Read each image where its affine map, given by its two `rows` (n, 3), points; 0 comes in from outside."""
    grid = F.affine_grid(torch.stack(rows, 1), images.shape, align_corners=False)  # (n, 28, 28, 2)
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

    Parameters
    ----------
    images : Tensor of shape (n, 1, 28, 28)
    strength : float, 0 or more
        At 1, up to 15 degrees, a shear of 0.15, 8% in width and in height, and 1.5 pixels either way, each drawn
        uniformly; proportionally otherwise. 0 leaves the images as they are. ValueError for another number.
    """
    if not 0 <= strength < math.inf:
        raise ValueError(f"strength must be a finite number, 0 or more, got {strength}")
    if strength == 0:
        return images
    angle, shear, width, height, right, down = strength * (2 * torch.rand(6, len(images), device=images.device) - 1)
    angle, shear = angle * math.radians(15), shear * 0.15
    cos, sin, width, height = angle.cos(), angle.sin(), 1 + 0.08 * width, 1 + 0.08 * height
    shift = 1.5 / 14  # pixels, in units of half an image
    top = torch.stack([cos * width, cos * shear - sin * height, right * shift], 1)
    bottom = torch.stack([sin * width, sin * shear + cos * height, down * shift], 1)
    return _resample(images, top, bottom)
