"""The data module against hand-made IDX files, a local server that misbehaves, and real MNIST where it is.

No test here uses the network or the project's own data/ folder.
"""

import functools
import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
import urllib.request
import warnings

import numpy as np
import pytest
import torch
import torchvision.datasets
from sklearn.datasets import load_digits

from mnist_ae_utils import data
from mnist_ae_utils.data import DataError

REAL_MNIST = os.environ.get("MNIST_DATA_DIR")  # read before `isolated` hides it
REAL_ROOT = data.PROJECT_ROOT
REAL_URLOPEN = urllib.request.urlopen


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx_bytes(array):
    """An IDX file, written from the format's description and without the package."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


@functools.cache
def make_files(n_train=600, n_test=100, seed=0):
    """The four files of a small dataset: class sizes differ as MNIST's do, and every image differs."""
    random = np.random.RandomState(seed)
    share = np.array([99, 112, 99, 102, 97, 90, 99, 104, 98, 100]) / 1000
    files = {}
    for kind, n in (("train", n_train), ("t10k", n_test)):
        labels = np.repeat(np.arange(10), np.round(share * n).astype(int))
        labels = random.permutation(np.concatenate([labels, np.arange(10).repeat(n)])[:n])
        images = random.randint(0, 256, (n, 28, 28))
        files[f"{kind}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{kind}-labels-idx1-ubyte"] = idx_bytes(labels)
    return files


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@functools.cache
def gz(content):
    return gzip.compress(content, compresslevel=1, mtime=0)


def zipped(files):
    return {f"{name}.gz": gz(content) for name, content in files.items()}


def refuse(*args, **kwargs):
    raise urllib.request.URLError("no network in this test")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No environment variable, no network, an empty project folder, nothing remembered from other tests."""
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path / "project")
    monkeypatch.setattr(data, "_failures", {})
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    data._read_folder.cache_clear()


@pytest.fixture
def files(monkeypatch):
    """Hand-made files, made known to the package as if they were the published ones."""
    made = make_files()
    monkeypatch.setattr(data, "MNIST_MD5", {name: md5(content) for name, content in made.items()})
    for published in (
        torchvision.datasets.MNIST,
        torchvision.datasets.FashionMNIST,
        torchvision.datasets.KMNIST,
    ):
        monkeypatch.setattr(published, "resources", [(name, md5(c)) for name, c in zipped(made).items()])
    return made


@pytest.fixture
def raw(tmp_path):
    """The project's own folder for MNIST."""
    return tmp_path / "project" / "data" / "MNIST" / "raw"


def same(a, b):
    parts = ("train", "validation", "test")
    return all(
        torch.equal(getattr(a, part).images, getattr(b, part).images)
        and torch.equal(getattr(a, part).labels, getattr(b, part).labels)
        for part in parts
    )


def rows(pixels, labels):
    """Sorted pairs of an image's bytes and its label, to compare collections whatever their order."""
    return sorted((row.tobytes(), label) for row, label in zip(pixels.numpy(), labels.tolist(), strict=True))


def rows_of(*splits):
    images, labels = torch.cat([s.images for s in splits]), torch.cat([s.labels for s in splits])
    return rows((images * 255).round().to(torch.uint8), labels)


# -------------------------------------------------------------------------------------------- whole files


def test_shapes_types_and_ranges(files, raw):
    write(raw, files)
    loaded = data.load("mnist")
    assert (loaded.name, loaded.notice) == ("mnist", "")
    assert [len(loaded.train), len(loaded.validation), len(loaded.test)] == [550, 50, 100]
    for split in (loaded.train, loaded.validation, loaded.test):
        assert split.images.shape == (len(split), 1, 28, 28) and split.labels.shape == (len(split),)
        assert split.images.dtype == torch.float32 and split.labels.dtype == torch.int64
        assert split.images.min() == 0 and split.images.max() == 1
    assert loaded.class_names == tuple("0123456789")


def test_images_keep_their_pixels_and_their_labels(files, raw):
    write(raw, files)
    loaded = data.load("mnist")
    images = files["train-images-idx3-ubyte"][16:]
    labels = files["train-labels-idx1-ubyte"][8:]
    expected = sorted((images[784 * i : 784 * (i + 1)], labels[i]) for i in range(600))
    assert rows_of(loaded.train, loaded.validation) == expected


def test_compressed_and_plain_files_load_alike(files, raw, tmp_path, monkeypatch):
    write(raw, files)
    plain = data.load("mnist")
    write(tmp_path / "given", zipped(files))
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    compressed = data.load("mnist")
    assert same(plain, compressed) and plain.checksum == compressed.checksum
    assert (plain.source, compressed.source) == (
        "IDX files in data/MNIST/raw",
        "IDX files in $MNIST_DATA_DIR",
    )


def test_checksum_tells_datasets_apart(files, raw, tmp_path, monkeypatch):
    write(raw, files)
    first = data.load("mnist").checksum
    other = make_files(seed=1)
    write(tmp_path / "given", other)
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    monkeypatch.setattr(data, "MNIST_MD5", {name: md5(content) for name, content in other.items()})
    second = data.load("mnist").checksum
    assert first != second
    assert len(first) == len(second) == 32 and set(first + second) <= set("0123456789abcdef")


def test_environment_comes_before_the_data_folder(files, raw, tmp_path, monkeypatch):
    write(raw, {name: b"damaged" for name in files})
    write(tmp_path / "given" / "MNIST" / "raw", files)
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    assert data.load("auto").source == "IDX files in $MNIST_DATA_DIR/MNIST/raw"


@pytest.mark.parametrize("working_directory", ["project", "project/notebooks"])
def test_a_relative_environment_path_works_from_the_notebooks_too(files, tmp_path, monkeypatch, working_directory):
    write(tmp_path / "given" / "MNIST" / "raw", files)
    (tmp_path / "project" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / working_directory)
    monkeypatch.setenv("MNIST_DATA_DIR", "../given")
    assert data.load("mnist").source == "IDX files in $MNIST_DATA_DIR/MNIST/raw"


@pytest.mark.parametrize(
    "name, folder, first_class", [("fashion-mnist", "FashionMNIST", "T-shirt/top"), ("kmnist", "KMNIST", "o")]
)
def test_the_other_datasets_have_folders_of_their_own(files, tmp_path, monkeypatch, name, folder, first_class):
    write(tmp_path / "given", files)  # files at the top are MNIST's, not these datasets'
    write(tmp_path / "given" / folder / "raw", make_files(seed=3))  # not compressed: no MD5 is known
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    loaded = data.load(name)
    assert loaded.name == name and loaded.source == f"IDX files in $MNIST_DATA_DIR/{folder}/raw"
    assert loaded.class_names[0] == first_class and len(loaded.class_names) == 10
    assert not same(loaded, data.load("mnist"))


def test_files_of_mnist_are_not_taken_for_another_dataset(files, tmp_path, monkeypatch):
    write(tmp_path / "given", files)
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    with pytest.warns(UserWarning, match="has no files of kmnist"), pytest.raises(DataError, match="kmnist"):
        data.load("kmnist")


def test_source_and_notice_hold_no_path_of_this_machine(files, raw, tmp_path):
    fallback = None
    with pytest.warns(UserWarning):
        fallback = data.load("auto")
    write(raw, files)
    for loaded in (fallback, data.load("auto")):
        assert str(tmp_path) not in data.describe(loaded)


def test_splits_move_to_a_device(files, raw):
    write(raw, files)
    loaded = data.load("mnist", device="meta")  # a device that every machine has besides the CPU
    assert {loaded.train.images.device.type, loaded.test.labels.device.type} == {"meta"}
    assert data.load("mnist").train.images.device.type == "cpu"


# ------------------------------------------------------------------------------------------ damaged files

IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def damage(content, kind):
    changed = bytearray(content)
    if kind == "truncated":
        return content[:7000]
    if kind == "header cut":
        return content[:6]
    if kind == "magic":
        changed[2] = 13  # floats instead of bytes
    if kind == "count":
        changed[7] += 1
    if kind == "too long":
        changed += b"x"
    if kind == "sides":
        changed[11], changed[15] = 14, 56  # the same number of bytes
    if kind == "empty":
        return content[:4] + bytes(4) + content[8:16]
    if kind == "pixel":
        changed[500] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize(
    "kind, says",
    [
        ("truncated", "truncated: 7,000 of 470,416 bytes"),
        ("header cut", "truncated: 6 bytes"),
        ("magic", "magic number 3331, expected 2051"),
        ("count", "truncated: 470,416 of 471,200 bytes for the 601 items"),
        ("too long", "too long: 470,417 bytes, not 470,416"),
        ("sides", "14x56"),
        ("empty", "0 items"),
        ("pixel", "MD5"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_the_cure(files, raw, name, kind, says):
    write(raw, {**files, IMAGES: damage(files[IMAGES], kind)})
    with pytest.raises(DataError) as error:
        data.load(name)
    for part in (str(raw / IMAGES), says, "Delete it and run `mnist-ae data`"):
        assert part in str(error.value)


def test_labels_and_images_swapped(files, raw):
    swapped = {IMAGES: files["train-labels-idx1-ubyte"], "train-labels-idx1-ubyte": files[IMAGES]}
    write(raw, {**files, **swapped})
    with pytest.raises(DataError, match="magic number 2049, expected 2051"):
        data.load("mnist")


@pytest.mark.parametrize(
    "kind, says", [("truncated", "end-of-stream"), ("garbage", "Not a gzipped file"), ("empty", "0 bytes")]
)
def test_a_damaged_compressed_file(files, raw, kind, says):
    compressed = zipped(files)
    whole = compressed[f"{IMAGES}.gz"]
    compressed[f"{IMAGES}.gz"] = {"truncated": whole[:-100], "garbage": b"<html>", "empty": b""}[kind]
    write(raw, compressed)
    with pytest.raises(DataError) as error:
        data.load("auto")
    for part in (f"{IMAGES}.gz", says, "Delete it"):
        assert part in str(error.value)


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_a_compressed_file_that_is_whole_but_not_the_published_one(files, tmp_path, name, folder):
    raw = tmp_path / "project" / "data" / folder / "raw"
    write(raw, {**zipped(files), f"{LABELS}.gz": zipped(make_files(seed=2))[f"{LABELS}.gz"]})
    with pytest.raises(DataError, match=rf"{LABELS}\.gz is damaged: its MD5"):
        data.load(name)


def test_mnist_compressed_anew_is_as_good(files, tmp_path):
    raw = tmp_path / "project" / "data" / "MNIST" / "raw"
    write(raw, {f"{name}.gz": gzip.compress(content, compresslevel=1) for name, content in files.items()})
    assert len(data.load("mnist").test) == 100


def test_files_without_known_md5_are_checked_for_structure(files, tmp_path):
    raw = tmp_path / "project" / "data" / "KMNIST" / "raw"
    write(raw, {**files, IMAGES: files[IMAGES][:-1]})
    with pytest.raises(DataError, match="truncated: 470,415 of 470,416 bytes"):
        data.load("kmnist")
    write(raw, {**files, LABELS: files[LABELS][:-1] + b"\x0b"})
    with pytest.raises(DataError, match="it has a label 11"):
        data.load("kmnist")


def test_image_and_label_counts_must_agree(files, tmp_path):
    raw = tmp_path / "project" / "data" / "KMNIST" / "raw"
    write(raw, {**files, LABELS: idx_bytes(np.arange(99) % 10)})
    with pytest.raises(DataError, match=f"100 images but {LABELS} has 99 labels") as error:
        data.load("kmnist")
    assert str(raw / "t10k-images-idx3-ubyte") in str(error.value)


def test_a_dataset_too_small_to_split(files, tmp_path):
    write(tmp_path / "project" / "data" / "KMNIST" / "raw", make_files(n_train=24))
    with pytest.raises(DataError, match="too small"):
        data.load("kmnist")


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_one_of_four_missing_in_the_given_folder(files, tmp_path, monkeypatch, name):
    write(tmp_path / "given", {file: content for file, content in files.items() if file != LABELS})
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    with pytest.raises(DataError, match=f"given is incomplete: {LABELS} missing"):
        data.load(name)


# ----------------------------------------------------------------------------------- no files, no network


def test_unknown_names_get_the_list():
    with pytest.raises(DataError, match="'cifar'; choose one of: auto, mnist, fashion-mnist, kmnist, uci-digits"):
        data.load("cifar")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_a_named_dataset_never_falls_back(name):
    with pytest.raises(DataError) as error:
        data.load(name)
    for part in (f"{IMAGES}.gz of {name}", "no network in this test", "MNIST_DATA_DIR", "uci-digits"):
        assert part in str(error.value)


def test_auto_falls_back_with_a_notice_and_one_warning(monkeypatch):
    tried = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: tried.append(request) or refuse())
    with pytest.warns(UserWarning, match="THIS IS NOT MNIST") as caught:
        loaded = data.load("auto")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert len(tried) == len(torchvision.datasets.MNIST.mirrors)  # the first file on each mirror, no other
    assert loaded.name == "uci-digits"
    for part in ("THIS IS NOT MNIST", "do not compare", "no network in this test", "MNIST_DATA_DIR"):
        assert part in loaded.notice
    assert loaded.notice in data.describe(loaded)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = data.load("auto")
    assert same(loaded, again) and again.notice == loaded.notice
    assert len(tried) == len(torchvision.datasets.MNIST.mirrors), "a failed download is tried once a process"


def test_auto_finds_files_that_appear_after_a_failed_download(files, raw):
    with pytest.warns(UserWarning, match="NOT MNIST"):
        assert data.load("auto").name == "uci-digits"
    write(raw, files)
    assert data.load("auto").name == "mnist"


@pytest.mark.parametrize("exists", [True, False])
def test_an_environment_folder_without_files_is_named_and_passed_over(files, raw, tmp_path, monkeypatch, exists):
    write(raw, files)
    given = tmp_path / "given"
    if exists:
        given.mkdir()
    monkeypatch.setenv("MNIST_DATA_DIR", str(given))
    for name in ("mnist", "auto"):
        with pytest.warns(UserWarning, match=f"MNIST_DATA_DIR={given} has no files of mnist"):
            assert data.load(name).source == "IDX files in data/MNIST/raw"


# ---------------------------------------------------------------------------------------------- downloads


class Server:
    """A mirror on this machine. `behavior` maps a file name to what is done instead of sending it whole."""

    def __init__(self, files):
        self.files, self.behavior, self.requests = files, {}, []
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler):
        name = handler.path.lstrip("/")
        self.requests.append(name)
        behavior = self.behavior.get(name)
        if behavior == "not found":
            return handler.send_error(404)
        content = self.files[name]
        if behavior == "login page":
            content = b"<html>please log in</html>"
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if behavior == "cut":
            handler.wfile.write(content[: len(content) // 2])
        elif behavior == "stall":
            handler.wfile.write(content[: len(content) // 2])
            self.released.wait(10)
        elif behavior == "trickle":
            for i in range(100):  # 5 seconds, so that a client without a limit fails instead of hanging
                if self.released.wait(0.05):
                    return
                try:
                    handler.wfile.write(content[i : i + 1])
                except OSError:  # the client has given up, as it should
                    return
        else:
            handler.wfile.write(content)

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(files, monkeypatch):
    """A local server as the only mirror of all three datasets; the real urlopen, with short limits."""
    mirror = Server(zipped(files))
    monkeypatch.setattr(urllib.request, "urlopen", REAL_URLOPEN)
    monkeypatch.setattr(data, "SOCKET_TIMEOUT_S", 0.3)
    for published in data.TORCHVISION.values():
        monkeypatch.setattr(published, "mirrors", [mirror.url])
    yield mirror
    mirror.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("name, folder", [("auto", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_a_download_leaves_four_whole_files_and_happens_once(server, files, tmp_path, name, folder):
    raw = tmp_path / "project" / "data" / folder / "raw"
    first = data.load(name)
    assert {file: (raw / file).read_bytes() for file in names(raw)} == zipped(files)
    assert first.source == f"IDX files in data/{folder}/raw" and first.notice == ""
    data._read_folder.cache_clear()
    assert same(first, data.load(name))
    assert sorted(server.requests) == sorted(zipped(files))


def test_only_what_is_missing_is_downloaded(server, files, raw):
    write(raw, {IMAGES: files[IMAGES], f"{LABELS}.gz": zipped(files)[f"{LABELS}.gz"]})
    assert len(data.load("mnist").test) == 100
    assert sorted(server.requests) == ["t10k-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    "behavior, says",
    [
        ("cut", r"bytes came, with a wrong MD5"),
        ("login page", r"26 bytes came, with a wrong MD5"),
        ("stall", "timed out"),
        ("not found", "404"),
    ],
)
def test_a_failed_download_leaves_what_is_whole_and_a_later_call_completes(server, files, raw, behavior, says):
    second = "train-labels-idx1-ubyte.gz"
    server.behavior[second] = behavior
    begin = time.monotonic()
    with pytest.raises(DataError, match=says) as error:
        data.load("mnist")
    assert second in str(error.value) and "uci-digits" in str(error.value)
    assert time.monotonic() - begin < 9  # the server stalls for 10 seconds
    assert names(raw) == [f"{IMAGES}.gz"]

    server.behavior.clear()
    assert len(data.load("mnist").test) == 100
    assert names(raw) == sorted(zipped(files))
    assert server.requests.count(f"{IMAGES}.gz") == 1


def test_a_trickle_meets_the_time_limit(server, raw, monkeypatch):
    monkeypatch.setattr(data, "DOWNLOAD_LIMIT_S", 0.5)
    server.behavior[f"{IMAGES}.gz"] = "trickle"  # never silent for as long as the socket's timeout
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"not finished after 0\.5 seconds"):
        data.load("mnist")
    assert 0.5 <= time.monotonic() - begin < 4.5
    assert names(raw) == []


def test_the_next_mirror_is_tried(server, files, raw, monkeypatch):
    bad = Server(zipped(files))
    bad.behavior = {file: "cut" for file in zipped(files)}
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/", bad.url, server.url])
    try:
        loaded = data.load("auto")
    finally:
        bad.close()
    assert loaded.name == "mnist" and names(raw) == sorted(zipped(files))
    assert bad.requests == server.requests


def test_auto_falls_back_when_the_mirror_stalls(server, raw):
    server.behavior[f"{IMAGES}.gz"] = "stall"
    with pytest.warns(UserWarning, match="NOT MNIST.*timed out"):
        assert data.load("auto").name == "uci-digits"
    assert names(raw) == []


def half_written(error):
    """A Path.write_bytes that fails on the second file, after half of it."""
    written = []

    def write_bytes(path, content):
        written.append(path)
        with open(path, "wb") as file:
            file.write(content if len(written) < 2 else content[: len(content) // 2])
        if len(written) == 2:
            raise error

    return write_bytes


def test_a_full_disk_is_one_clear_error(server, raw, monkeypatch):
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(data.Path, "write_bytes", half_written(full))
        with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz .*No space left.*Make room"):
            data.load("auto")
    assert names(raw) == [f"{IMAGES}.gz"]
    assert data.load("auto").name == "mnist"


def test_ctrl_c_keeps_what_is_finished_and_nothing_else(server, raw, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(data.Path, "write_bytes", half_written(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            data.load("auto")
    assert names(raw) == [f"{IMAGES}.gz"]
    assert data.load("auto").name == "mnist"


def test_a_killed_download_is_completed_by_the_next(server, files, raw, tmp_path):
    stalling = "t10k-images-idx3-ubyte.gz"
    server.behavior[stalling] = "stall"
    script = (
        "import pathlib, sys, torchvision; from mnist_ae_utils import data\n"
        "data.PROJECT_ROOT = pathlib.Path(sys.argv[1])\n"
        "torchvision.datasets.MNIST.mirrors = [sys.argv[2]]\n"
        "torchvision.datasets.MNIST.resources = [pair.split('=') for pair in sys.argv[3:]]\n"
        "data.load('mnist')\n"
    )
    resources = [f"{name}={known}" for name, known in torchvision.datasets.MNIST.resources]
    arguments = [sys.executable, "-c", script, str(tmp_path / "project"), server.url, *resources]
    process = subprocess.Popen(arguments, cwd=REAL_ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while stalling not in server.requests and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert stalling in server.requests
    assert {file: (raw / file).read_bytes() for file in names(raw)} == {
        file: zipped(files)[file] for file in (f"{IMAGES}.gz", "train-labels-idx1-ubyte.gz")
    }
    server.behavior.clear()
    assert data.load("mnist").name == "mnist" and names(raw) == sorted(zipped(files))


def test_a_part_left_behind_is_not_taken_for_a_file(server, files, raw):
    write(raw, {f"{IMAGES}.gz.4711.part": zipped(files)[f"{IMAGES}.gz"][:100]})
    assert data.load("mnist").name == "mnist"
    assert len(server.requests) == 4


# ------------------------------------------------------------------------------------------------- splits


@pytest.fixture(params=["hand-made", "uci-digits"])
def loaded(request, files, raw):
    write(raw, files)
    return data.load("mnist" if request.param == "hand-made" else "uci-digits")


def shares(labels):
    return torch.bincount(labels, minlength=10) / len(labels)


def test_splits_are_stratified(loaded):
    train, validation = loaded.train.labels, loaded.validation.labels
    expected = shares(torch.cat([train, validation])) * len(validation)
    assert (torch.bincount(validation, minlength=10) - expected).abs().max() <= 1


def test_splits_are_disjoint(loaded):
    # The UCI digits hold no image twice, and the hand-made ones are random: equal pixels mean the same image.
    images = [image for image, _ in rows_of(loaded.train, loaded.validation, loaded.test)]
    assert len(set(images)) == len(images)


def test_splits_are_stable(loaded):
    data._read_folder.cache_clear()
    data._read_digits.cache_clear()
    again = data.load(loaded.name)
    assert again.train.images is not loaded.train.images
    assert same(again, loaded) and again.checksum == loaded.checksum


def fingerprint(loaded):
    """The labels of all splits in their order: another split or order gives another value."""
    labels = torch.cat([loaded.train.labels, loaded.validation.labels, loaded.test.labels])
    return md5(labels.to(torch.uint8).numpy().tobytes())


def test_uci_split_is_the_one_of_record():
    """Results name the checksum; an upgrade of a library must not change data or split unnoticed."""
    digits = data.load("uci-digits")
    assert [len(digits.train), len(digits.validation), len(digits.test)] == [1294, 143, 360]
    assert digits.checksum == "b34e7effe601adbb70642928a39a54bf"
    assert fingerprint(digits) == "f835f8cffcec1449a4cf407b286baf7f"


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_first_n_is_stratified_and_nested(loaded, part):
    split = getattr(loaded, part)
    for n in (10, 11, 25, 50, len(split) // 2, len(split)):
        if n > len(split):
            continue
        first = split.first(n)
        assert len(first) == n and first.images.shape == (n, 1, 28, 28)
        assert torch.equal(first.images, split.images[:n]) and torch.equal(first.labels, split.labels[:n])
        error = torch.bincount(first.labels, minlength=10) - shares(split.labels) * n
        assert error.abs().max() < 1.5, f"first({n})"
    assert sorted(split.first(10).labels.tolist()) == list(range(10))


def test_neighbors_in_order_are_not_sorted_by_class(loaded):
    """Where classes are of one size, their order must still vary from round to round."""
    rounds = {tuple(loaded.train.labels[10 * i : 10 * i + 10].tolist()) for i in range(50)}
    assert len(rounds) > 5


@pytest.mark.parametrize("n", [0, -1, 551])
def test_first_n_out_of_range(files, raw, n):
    write(raw, files)
    with pytest.raises(ValueError, match="between 1 and the 550 images"):
        data.load("mnist").train.first(n)


# --------------------------------------------------------------------------------------------- uci-digits


def test_uci_digits_stand_in_the_frame_of_mnist():
    digits = data.load("uci-digits")
    images = torch.cat([digits.train.images, digits.validation.images, digits.test.images])
    assert images.shape == (1797, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() == 0 and images.max() == 1
    border = torch.ones(28, 28, dtype=torch.bool)
    border[4:24, 4:24] = False
    assert images[:, 0, border].abs().max() == 0
    assert "THIS IS NOT MNIST" in digits.notice and digits.class_names == tuple("0123456789")


def test_uci_digits_still_show_the_original_digit():
    """Each frame, shrunk to 8x8, is nearest to an original of its own label, and nearly each to its own."""
    digits = data.load("uci-digits")
    images = torch.cat([digits.train.images, digits.validation.images, digits.test.images])
    labels = torch.cat([digits.train.labels, digits.validation.labels, digits.test.labels])
    small = torch.nn.functional.adaptive_avg_pool2d(images[:, :, 4:24, 4:24], 8).flatten(1)
    original = load_digits()
    distance = torch.cdist(small, torch.tensor(original.data, dtype=torch.float32) / 16)
    nearest = distance.argmin(1)
    assert torch.equal(torch.tensor(original.target)[nearest], labels)
    assert len(nearest.unique()) > 1700  # a few near twins get swapped


def test_explicit_uci_digits_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.load("uci-digits").name == "uci-digits"


# ---------------------------------------------------------------------------- choosing labels, corruptions

MNIST_LABELS = torch.tensor(np.random.RandomState(1).choice(10, 5000, p=np.array([8, 12] + [10] * 8) / 100))


@pytest.mark.parametrize("n", [10, 20, 100, 1000])
def test_labelled_subset_has_equal_counts(n):
    chosen = data.labelled_subset(MNIST_LABELS, n, seed=3)
    assert chosen.shape == (n,) and chosen.dtype == torch.int64 and len(chosen.unique()) == n
    assert torch.bincount(MNIST_LABELS[chosen], minlength=10).tolist() == [n // 10] * 10


def test_labelled_subset_with_a_remainder():
    counts = torch.bincount(MNIST_LABELS[data.labelled_subset(MNIST_LABELS, 27, seed=0)], minlength=10)
    assert sorted(counts.tolist()) == [2] * 3 + [3] * 7
    favored = {tuple(MNIST_LABELS[data.labelled_subset(MNIST_LABELS, 15, seed)[10:]].tolist()) for seed in range(8)}
    assert len(favored) > 1, "which classes get one more depends on the seed"


def test_labelled_subset_when_classes_are_used_up():
    counts = torch.bincount(MNIST_LABELS, minlength=10)
    chosen = torch.bincount(MNIST_LABELS[data.labelled_subset(MNIST_LABELS, 4700, seed=0)], minlength=10)
    assert chosen[0] == counts[0] and (chosen <= counts).all() and chosen.sum() == 4700
    everything = data.labelled_subset(MNIST_LABELS, 5000, seed=0)
    assert torch.equal(everything.sort().values, torch.arange(5000))


def test_labelled_subset_depends_on_the_seed_and_nothing_else():
    torch.manual_seed(0)
    np.random.seed(0)
    first = data.labelled_subset(MNIST_LABELS, 100, seed=1)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(first, data.labelled_subset(MNIST_LABELS, 100, seed=1))
    overlap = set(first.tolist()) & set(data.labelled_subset(MNIST_LABELS, 100, seed=2).tolist())
    assert len(overlap) < 20
    assert torch.equal(first, data.labelled_subset(MNIST_LABELS, 500, seed=1)[:100])


@pytest.mark.parametrize("n", [9, 0, -10, 5001])
def test_labelled_subset_out_of_range(n):
    with pytest.raises(ValueError, match=f"between 10 and the 5,000 labels given, got {n}"):
        data.labelled_subset(MNIST_LABELS, n, seed=0)


# --------------------------------------------------------------------------------------------- real MNIST


@pytest.fixture(scope="module")
def real_folder():
    """Real MNIST in torchvision's layout, as an absolute path."""
    if not REAL_MNIST:
        pytest.skip("needs real MNIST: set MNIST_DATA_DIR to a folder in torchvision's layout")
    given = data.Path(REAL_MNIST).expanduser()
    folder = given if given.exists() else REAL_ROOT / given
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST_DATA_DIR={REAL_MNIST} has no folder MNIST/raw, which torchvision needs")
    return folder.resolve()


def test_real_mnist_agrees_with_torchvision(real_folder, monkeypatch):
    monkeypatch.setenv("MNIST_DATA_DIR", str(real_folder))
    mnist = data.load("mnist")
    assert [len(mnist.train), len(mnist.validation), len(mnist.test)] == [55_000, 5_000, 10_000]
    assert mnist.checksum == "986b377aa1556ce7315e12a15b32e52e"
    assert fingerprint(mnist) == "88fcfeb7a2c8525ce72a23e55c54d5fb"
    for train, splits in ((True, (mnist.train, mnist.validation)), (False, (mnist.test,))):
        reference = torchvision.datasets.MNIST(real_folder, train=train, download=False)
        assert rows_of(*splits) == rows(reference.data, reference.targets)

    expected = shares(torch.cat([mnist.train.labels, mnist.validation.labels])) * 5_000
    assert (torch.bincount(mnist.validation.labels) - expected).abs().max() <= 1
    for n in (10, 500, 2_000, 10_000):
        error = torch.bincount(mnist.train.first(n).labels, minlength=10) - shares(mnist.train.labels) * n
        assert error.abs().max() < 1.5


def test_distortion_keeps_shape_and_range_and_grows_with_strength():
    images = data.load("uci-digits").test.images[:100]
    assert torch.equal(data.distort(images, 0), images)
    moved = []
    for strength in (0.25, 0.5, 1.0, 2.0):
        torch.manual_seed(0)
        distorted = data.distort(images, strength)
        assert distorted.shape == images.shape and distorted.min() >= 0 and distorted.max() <= 1
        moved.append((distorted - images).square().sum().item())
        torch.manual_seed(0)
        assert torch.equal(distorted, data.distort(images, strength)), "torch's random state decides"
    assert moved == sorted(moved) and moved[0] > 0
    with pytest.raises(ValueError, match="strength"):
        data.distort(images, -1)


def test_distortion_moves_a_dot_no_further_than_it_says():
    images = torch.zeros(500, 1, 28, 28)
    images[:, :, 13:15, 13:15] = 1  # at the center only the shift moves it: 1.5 pixels, stretched and sheared
    torch.manual_seed(0)
    mass = data.distort(images, 1.0)[:, 0]
    position = torch.arange(28.0) - 13.5
    right = (mass.sum(1) * position).sum(1) / mass.sum((1, 2))
    down = (mass.sum(2) * position).sum(1) / mass.sum((1, 2))
    for offset in (right, down):
        assert 1.2 < offset.abs().max() < 2.0 and abs(offset.mean()) < 0.15
