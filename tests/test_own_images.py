"""A reader's own images: one picture in MNIST's frame, arrays and folders as datasets, a photo classified."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from mnist_ae_utils import data, metrics, pictures, plots, training, trainings
from mnist_ae_utils.data import DataError

SEVEN = [(60, 40), (120, 40), (90, 130)]  # corners of its strokes, in a picture 240 wide and 160 high


def draw(mode="L", paper=255, ink=0, shift=(0, 0), scale=1, size=(240, 160), strokes=SEVEN):
    picture = Image.new(mode, tuple(scale * side for side in size), paper)
    line = [(scale * (x + shift[0]), scale * (y + shift[1])) for x, y in strokes]
    ImageDraw.Draw(picture).line(line, fill=ink, width=12 * scale, joint="curve")
    return picture


def center(image):
    mass, position = image[0] / image.sum(), torch.arange(28.0)
    return torch.stack([mass.sum(1) @ position, mass.sum(0) @ position])


def difference(a, b):
    return (a - b).square().mean().item()


# ------------------------------------------------------------------------------------------------ one picture


def test_a_framed_picture_has_the_size_the_place_and_the_range_of_mnist():
    framed = pictures.frame(draw())
    assert framed.shape == (1, 28, 28) and framed.dtype == torch.float32
    assert framed.min() == 0 and framed.max() == 1
    rows, columns = framed[0].amax(1).nonzero(), framed[0].amax(0).nonzero()
    assert rows[-1] - rows[0] == 19 and columns[-1] - columns[0] < 19
    assert (center(framed) - 14).abs().max() <= 0.5, "where MNIST's digits have it"
    wide = pictures.frame(draw(strokes=[(30, 80), (200, 80)]))
    assert (wide > 0).sum(2).max() == 20


def light(x, y):
    return 0.4 + 0.3 * x + 0.2 * y * y  # from side to side of a picture


def photo():
    y, x = np.mgrid[0:1:160j, 0:1:240j]
    return light(x, y) * (40 + 0.7 * np.asarray(draw())) + np.random.default_rng(0).normal(0, 3, (160, 240))


PICTURES = {
    "light on dark": lambda: draw(paper=0, ink=255),
    "gray on gray": lambda: draw(paper=140, ink=90),
    "shifted": lambda: draw(shift=(100, 20)),
    "large": lambda: draw().resize((2400, 1600), Image.Resampling.BOX),
    "in color": lambda: draw("RGB", (250, 240, 200), (20, 30, 160)),
    "ink on nothing": lambda: draw("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
    "chalk on nothing": lambda: draw("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)),
    "gray and transparency": lambda: draw("LA", (0, 0), (0, 255)),
    "opaque": lambda: draw("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
    "two colors": lambda: draw("1", 1, 0),
    "palette": lambda: draw("RGB", (255, 255, 255), (0, 0, 0)).convert("P"),
    "print colors": lambda: draw("CMYK", (0, 0, 0, 0), (0, 0, 0, 255)),
    "uint8": lambda: np.array(draw()),
    "bool": lambda: np.array(draw()) > 0,
    "uint16": lambda: np.array(draw()).astype(np.uint16) * 200,
    "int64": lambda: np.array(draw()).astype(np.int64) - 300,
    "float in [0, 1]": lambda: np.array(draw()) / 255,
    "color array": lambda: np.array(draw("RGB", (255, 255, 255), (0, 0, 90))),
    "tensor": lambda: torch.tensor(np.array(draw()))[None],
    "specks": lambda: np.minimum(draw(), np.random.default_rng(0).choice([20, 255], (160, 240), p=[0.0003, 0.9997])),
    "photo": photo,
}


@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_of_picture_comes_out_alike(kind):
    assert difference(pictures.frame(PICTURES[kind]()), pictures.frame(draw())) < 1e-3


def test_pictures_are_read_from_files_upright(tmp_path):
    for name in ("a.png", "b.jpg", "c.bmp", "d.gif", "e.webp", "f.tif"):
        draw().save(tmp_path / name)
        assert difference(pictures.frame(tmp_path / name), pictures.frame(draw())) < 2e-3, name
    lying = draw().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees", as phones note it
    lying.save(tmp_path / "phone.jpg", exif=exif)
    assert pictures.read_picture(tmp_path / "phone.jpg").shape == (160, 240)
    assert difference(pictures.frame(str(tmp_path / "phone.jpg")), pictures.frame(draw())) < 2e-3


BAD_PICTURES = {
    "blank": (np.full((30, 30), 255, np.uint8), "is blank"),
    "nothing but noise": (np.random.default_rng(0).normal(128, 10, (100, 100)), "is blank"),
    "a white page as JPEG leaves it": (255 - np.eye(50), "is blank"),
    "one row": (np.ones((1, 40)), r"shape \(1, 40\)"),
    "empty": (np.zeros((0, 0)), r"shape \(0, 0\)"),
    "one dimension": (np.zeros(784), r"shape \(784,\)"),
    "four dimensions": (np.zeros((2, 3, 28, 28)), r"shape \(2, 3, 28, 28\)"),
    "five colors": (np.zeros((28, 28, 5)), r"shape \(28, 28, 5\)"),
    "not a number": (np.full((28, 28), np.nan), "not a number"),
    "infinite": (np.where(np.eye(28), np.inf, 0), "infinite"),
    "text": ([["a", "b"]], "not numbers"),
    "ragged": ([[1], [1, 2]], "not numbers"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_what_is_no_picture_of_a_digit_is_refused(kind):
    image, says = BAD_PICTURES[kind]
    with pytest.raises(ValueError, match=says):
        pictures.frame(image)


def test_a_file_that_is_no_picture_is_one_clear_error(tmp_path):
    draw().save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:100])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("cut.png", "empty.png", "text.jpg", "absent.png", "."):
        with pytest.raises(DataError, match=f"{name} cannot be read as a picture: .*or remove it"):
            pictures.frame(tmp_path / name if name != "." else f"{tmp_path}/.")
    Image.new("L", (50, 1)).save(tmp_path / "flat.png")
    with pytest.raises(DataError, match=r"flat.png has shape \(1, 50\).*Replace or remove it"):
        pictures.frame(tmp_path / "flat.png")


def as_photo(image, random):
    """A digit of 28x28, inverted, enlarged and somewhere in a picture of 300x200 pixels."""
    pixels = Image.fromarray((255 * image[0]).byte().numpy()).resize((150, 150), Image.Resampling.BICUBIC)
    picture = Image.new("L", (300, 200))
    picture.paste(pixels, (int(random.integers(0, 150)), int(random.integers(0, 50))))
    return 235 - np.asarray(picture) * 0.8


@pytest.fixture(scope="module")
def digits():
    return data.load("uci-digits")


@pytest.fixture(scope="module")
def classifier(digits):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    framed = torch.stack([pictures.frame(image) for image in digits.train.images])
    training.train(net, training.classification_loss, (framed, digits.train.labels), epochs=12, learning_rate=1e-2)
    return net


def test_digits_in_photos_are_recognized_in_the_frame_and_not_without_it(digits, classifier):
    random, test = np.random.default_rng(0), digits.test.first(100)
    photos = [as_photo(image, random) for image in test.images]
    framed = torch.stack([pictures.frame(photo) for photo in photos])
    originals = torch.stack([pictures.frame(image) for image in test.images])
    assert difference(framed, originals) < 0.005 < 0.05 < originals.square().mean()
    assert metrics.accuracy(classifier, framed, test.labels) > 0.9
    shrunk = [np.asarray(Image.fromarray(photo).resize((28, 28))) / np.float32(255) for photo in photos]
    assert metrics.accuracy(classifier, torch.tensor(np.stack(shrunk))[:, None], test.labels) < 0.4


def test_a_photo_is_classified(classifier, digits, tmp_path):
    label, image = digits.test.labels[0].item(), digits.test.images[0]
    picture = as_photo(image, np.random.default_rng(0)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "digit.jpg")
    for given in (tmp_path / "digit.jpg", str(tmp_path / "digit.jpg"), picture, Image.fromarray(picture)):
        classifier.train()
        digit, probabilities, seen = metrics.predict_picture(classifier, given)
        assert digit == label == probabilities.argmax() and probabilities.shape == (10,)
        assert probabilities.sum().item() == pytest.approx(1) and not classifier.training
        assert difference(seen, pictures.frame(picture)) < 5e-3
    plots.digits([seen], titles=[digit])
    plots.plt.close("all")
    assert metrics.predict_picture(nn.Flatten(), picture)[1].shape == (784,), "without parameters, on the CPU"


@pytest.mark.skipif(not os.environ.get("MNIST_DATA_DIR"), reason="needs real MNIST: set MNIST_DATA_DIR")
def test_the_frame_leaves_mnist_nearly_as_it_is():
    images = data.load("mnist").test.images[:500]
    framed = torch.stack([pictures.frame(image) for image in images])
    assert difference(framed, images) < 0.01 * images.square().mean()
    moved = torch.stack([(center(a) - center(b)).norm() for a, b in zip(framed, images, strict=True)])
    assert (moved < 0.5).float().mean() > 0.98


# ------------------------------------------------------------------------------------------------ arrays


@pytest.fixture
def arrays(digits):
    """500 images (n, 28, 28) uint8, and their labels, as a reader has them."""
    first = digits.train.first(500)
    return (255 * first.images[:, 0]).round().byte().numpy(), first.labels.numpy()


def splits_of(dataset):
    return dataset.train, dataset.validation, dataset.test


def test_arrays_become_a_dataset_with_stratified_splits(arrays):
    images, labels = arrays
    own = pictures.from_arrays(images, labels)
    assert (own.name, own.source, own.class_names) == ("own images", "arrays", tuple("0123456789"))
    assert "YOUR OWN IMAGES" in own.notice and "do not compare" in data.describe(own)
    assert [len(split) for split in splits_of(own)] == [350, 50, 100]
    for split in splits_of(own):
        assert split.images.dtype == torch.float32 and split.images.shape == (len(split), 1, 28, 28)
        counts = torch.bincount(split.labels, minlength=10)
        assert (counts - torch.tensor(np.bincount(labels)) * len(split) / 500).abs().max() <= 1.5
        assert sorted(split.labels[:10].tolist()) == list(range(10)), "ordered as MNIST is"
    there = sorted(zip([image.tobytes() for image in images], labels.tolist(), strict=True))
    pixels, labels_ = (torch.cat([getattr(s, key) for s in splits_of(own)]) for key in ("images", "labels"))
    pixels = (255 * pixels[:, 0]).round().byte().numpy()
    assert sorted(zip([image.tobytes() for image in pixels], labels_.tolist(), strict=True)) == there
    assert own.checksum != pictures.from_arrays(images, (labels + 1) % 10).checksum
    assert own.fingerprint() == pictures.from_arrays(images, labels).fingerprint()


def test_every_form_of_arrays_gives_the_same_dataset(arrays):
    images, labels = arrays
    own = pictures.from_arrays(images, labels)
    scaled = images / 255
    for form in (images[:, None], images[..., None], images.astype(np.int64), scaled, scaled.astype(np.float32),
                 torch.tensor(scaled, requires_grad=True)):  # fmt: skip
        assert pictures.from_arrays(form, labels.astype(float)).checksum == own.checksum
    for black_and_white in (images > 127, (images > 127).astype(np.uint8)):
        found = pictures.from_arrays(black_and_white, labels)
        assert found.checksum == pictures.from_arrays(255 * (images > 127), labels).checksum
    large = images.repeat(3, 1).repeat(3, 2)
    for enlarged in (large, np.stack([255 - large] * 3, -1), list(large), [Image.fromarray(image) for image in large]):
        framed, expected = (pictures.from_arrays(x[:200], labels[:200]) for x in (enlarged, [*images]))
        assert difference(framed.train.images, expected.train.images) < 0.01


def test_test_images_and_class_names_may_be_given(arrays):
    images, labels = arrays
    even = labels % 2 == 0
    own = pictures.from_arrays(images[even], labels[even] // 2, images[:7], [4] * 7, name="even", class_names="02468")
    assert [len(split) for split in splits_of(own)] == [even.sum() - (even.sum() + 7) // 8, (even.sum() + 7) // 8, 7]
    assert own.test.labels.unique().tolist() == [4] and torch.equal(
        own.test.images.flatten(1).sum(1).sort().values,
        torch.tensor(images[:7] / np.float32(255)).flatten(1).sum(1).sort().values,
    )
    assert own.name == "even" and own.class_names == tuple("0246856789")
    run = trainings.on_inputs(trainings.pixels, own, seed=0, n_labels=20, epochs=2)
    assert 0 <= run.scores["test"] <= 1


def with_pixel(value):
    return lambda i, k: (np.concatenate([i[:3] / 255, np.full((1, 28, 28), value), i[4:] / 255]), k)


BAD_ARRAYS = {
    "500 images need as many labels, got an array of shape (499,)": lambda i, k: (i, k[1:]),
    "0 images need as many labels": lambda i, k: (i[:0], k[:0]),
    "whole numbers from 0 to 9, got 10": lambda i, k: (i, k + 1),
    "whole numbers from 0 to 9, got -1": lambda i, k: (i, k - 1),
    "whole numbers from 0 to 9, got 0.5": lambda i, k: (i, np.where(k == 1, 0.5, k)),
    "whole numbers from 0 to 9, got two": lambda i, k: (i, np.where(k == 1, "two", "3")),
    "at least 10 images of each, are needed; there are 9 of 3": lambda i, k: (
        np.concatenate([i[k != 3], i[k == 3][:9]]), np.concatenate([k[k != 3], k[k == 3][:9]])
    ),
    "two or more classes": lambda i, k: (i, 0 * k),
    "images[3] has pixels from nan to nan": with_pixel(np.nan),
    "images[3] has pixels from 2.0 to 2.0": with_pixel(2),
    "images[3] has pixels from 0.0 to 0.0: they must lie between 0 (paper) and 1 (ink) and differ": with_pixel(0),
    "images[0] has pixels from 0.0 to 1.5": lambda i, k: (i / 255**3, k),
    "all 500 images are the same": lambda i, k: (i[:1].repeat(500, 0), k),
    "images[0] has pixels from -": lambda i, k: (i / 255.0 - 0.1, k),
    "images[0] has pixels from 0.0 to 25": lambda i, k: (i.astype(float), k),
    "must be numbers of shape (n, 28, 28), (n, h, w) or (n, h, w, 3), got (500, 784)": lambda i, k: (
        i.reshape(500, 784), k
    ),
    "got (500, 28, 28)": lambda i, k: (i.astype(str), k),
    "images[0] has shape (28, 28, 7)": lambda i, k: (i[..., None].repeat(7, 3), k),
    "images[1] is blank": lambda i, k: (np.concatenate([i[:1], 0 * i[1:]]).repeat(2, 1), k),
    "images[1] has shape (1, 2)": lambda i, k: ([i[0], [[1, 2]]], [0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("says", BAD_ARRAYS)
def test_arrays_that_make_no_dataset_are_one_clear_error(arrays, says):
    images, labels = BAD_ARRAYS[says](*arrays)
    with pytest.raises(DataError) as error:
        pictures.from_arrays(images, labels)
    assert says in str(error.value)


def test_bad_names_and_test_images_are_one_clear_error(arrays):
    for settings in ({"name": "mnist"}, {"class_names": range(11)}):
        with pytest.raises(DataError, match="another name than auto, mnist.* at most 10 class names"):
            pictures.from_arrays(*arrays, **settings)
    with pytest.raises(DataError, match="500 test_images need as many labels"):
        pictures.from_arrays(*arrays, arrays[0])
    with pytest.raises(DataError, match="test_images must be numbers"):
        pictures.from_arrays(*arrays, None, arrays[1])


def test_what_is_valid_and_seldom_right_is_said(arrays, digits):
    images, labels = arrays
    plain = pictures.from_arrays(images, labels).notice
    assert plain == pictures.OWN_IMAGES == pictures.from_arrays(1.0 * (images > 127), labels, images, labels).notice
    some = labels > 1

    def said(*args, **settings):
        return pictures.from_arrays(*args, **settings).notice.removeprefix(plain).strip()

    assert said(images[some], labels[some]) == "There are no images of 0, 1."
    assert said(images, labels, images[some], labels[some]) == "There are no test images of 0, 1."
    cats_and_dogs = images[labels < 2], labels[labels < 2]
    assert said(*cats_and_dogs, class_names=["cat", "dog"]) == ""
    assert said(*cats_and_dogs, class_names=["cat", "dog", "bird"]) == "There are no images of bird."
    assert "ink and paper swapped?" in said(255 - images, labels)
    assert "brightest pixel is 15 of 255" in said(images // 16, labels)
    assert "brightest pixel is 1 of 255" in said(images / 255**2, labels)


# ------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folder(tmp_path, digits):
    """Ten pictures a class, dark on light, of several formats, with the files that operating systems add."""
    for digit in range(10):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True)
        of_class = digits.test.images[digits.test.labels == digit][:10]
        for k, image in enumerate(of_class):
            picture = Image.fromarray(255 - (255 * image[0]).byte().numpy()).resize((90, 90))
            picture.save(tmp_path / "digits" / str(digit) / f"{k}.{('png', 'jpg', 'bmp', 'gif')[k % 4]}")
    for name in (".DS_Store", "3/.hidden.png", "3/Thumbs.db", "notes.txt", "desktop.ini"):
        (tmp_path / "digits" / name).write_bytes(b"not a picture")
    (tmp_path / "digits" / "__MACOSX").mkdir()
    return tmp_path / "digits"


def test_a_folder_of_pictures_becomes_a_dataset(folder, digits, classifier, monkeypatch, tmp_path):
    own = pictures.from_folder(folder)
    assert (own.name, own.source) == ("own images: digits", "pictures in the folder digits")
    assert [len(split) for split in splits_of(own)] == [70, 10, 20] and "OWN IMAGES" in own.notice
    assert own.class_names == tuple("0123456789") and str(tmp_path) not in data.describe(own)
    images, labels = (torch.cat([getattr(s, key) for s in splits_of(own)]) for key in ("images", "labels"))
    assert torch.bincount(labels).tolist() == [10] * 10
    assert metrics.accuracy(classifier, images, labels) > 0.85
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path)
    for name in (folder, str(folder), "digits", own):  # "digits": a path relative to the project
        assert pictures.load(name).fingerprint() == own.fingerprint()
        assert pictures.load(name, "meta").train.images.device.type == "meta"
    assert pictures.load(dataclasses.replace(own, name="mine")).name == "mine"
    for name in ("nowhere", ""):
        with pytest.raises(DataError, match=f"unknown dataset '{name}'; choose one of: auto"):
            pictures.load(name)


def test_named_classes_are_numbered_by_the_alphabet(folder):
    for old, new in (("0", "nought"), ("1", "ace"), ("2", "two")):
        (folder / old).rename(folder / new)
    for digit in range(3, 10):
        shutil.rmtree(folder / str(digit))
    own = pictures.from_folder(folder)
    assert own.class_names == ("ace", "nought", "two", *"3456789") and own.train.labels.max() == 2
    for name in ("ace", "nought"):
        (folder / name).rename(folder / {"ace": "1", "nought": "8"}[name])
    shutil.rmtree(folder / "two")
    own = pictures.from_folder(folder)
    assert sorted(own.train.labels.unique().tolist()) == [1, 8], "digits are their own labels"
    assert own.notice.endswith("There are no images of 0, 2, 3, 4, 5, 6, 7, 9.")


def spoil(path, content):
    return lambda folder: (folder / path).write_bytes(content)


BAD_FOLDERS = {
    "3/0.png cannot be read as a picture": spoil("3/0.png", b""),
    "3/notes.txt cannot be read as a picture": spoil("3/notes.txt", b"my notes"),
    "3/0.png has shape (1, 90)": lambda folder: Image.new("L", (90, 1)).save(folder / "3" / "0.png"),
    "3/0.png is blank": lambda folder: Image.new("RGB", (90, 90), "white").save(folder / "3" / "0.png"),
    "a sub-folder of pictures for each class, 2 to 10 of them; it has no pictures in x": lambda folder: (
        folder / "x"
    ).mkdir(),
    "it has 11 sub-folders": lambda folder: shutil.copytree(folder / "9", folder / "10"),
    "it has 0 sub-folders": lambda folder: [shutil.rmtree(sub) for sub in folder.iterdir() if sub.is_dir()],
    "digits must hold": shutil.rmtree,
    "there are 9 of 3": lambda folder: (folder / "3" / "0.png").unlink(),
}


@pytest.mark.parametrize("says", BAD_FOLDERS)
def test_a_folder_that_makes_no_dataset_is_one_clear_error(folder, says):
    BAD_FOLDERS[says](folder)
    with pytest.raises(DataError) as error:
        pictures.load(folder)
    assert says in str(error.value)
