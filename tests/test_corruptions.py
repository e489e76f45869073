"""Corruptions of images and labels, against independent implementations and by what they promise."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torchvision.transforms.v2.functional import adjust_contrast

from mnist_ae_utils import data, evaluation, experiments

# by function: growing strengths, the first of which leaves the images alone, and strengths that are refused
CORRUPTIONS = {
    data.add_gaussian_noise: ((0, 0.1, 0.3, 0.6, 1), (-0.1, float("nan"), float("inf"))),
    data.salt_and_pepper: ((0, 0.1, 0.3, 0.6, 1), (-0.1, 1.1, float("nan"))),
    data.blur: ((0, 0.5, 1, 2, 4, 9), (-0.1, 9.1, float("nan"))),
    data.occlude: ((0, 4, 8, 16, 28), (-1, 29, 2.5, float("nan"))),
    data.drop_rows: ((0, 2, 7, 20, 28), (-1, 29, 2.5, float("nan"))),
    data.translate: ((0, 0.5, 1, 2, 6), (-0.1, 28.1, float("nan"))),
    data.rotate: ((0, 5, 10, 30, 60), (-0.1, 180.1, float("nan"))),
    data.lower_contrast: ((0, 0.2, 0.5, 0.8, 1), (-0.1, 1.1, float("nan"))),
}
RANDOM = [f for f in CORRUPTIONS if f not in (data.blur, data.lower_contrast)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return data.load("uci-digits").test.images[:100]  # with a blank border of four pixels


@pytest.fixture(scope="module")
def square():
    """Fifty images of a gray square in the center, far from the borders."""
    square = torch.zeros(50, 1, 28, 28)
    square[:, :, 12:16, 12:16] = 0.7
    return square


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_shape_and_range_are_kept_and_the_distance_grows_with_the_strength(corrupt, images):
    before, distances = images.clone(), []
    for strength in CORRUPTIONS[corrupt][0]:
        corrupted = corrupt(images, strength, generator())
        assert corrupted.shape == images.shape and corrupted.dtype == images.dtype
        assert corrupted.min() >= 0 and corrupted.max() <= 1
        distances.append((corrupted - images).square().sum().item())
    assert distances[0] < 1e-6 and distances == sorted(set(distances)) and distances[-1] > 10
    assert torch.equal(images, before), "the images given are not changed in place"


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_strength_0_changes_nothing(corrupt, images):
    torch.testing.assert_close(corrupt(images, 0, generator()), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_the_generator_alone_decides(corrupt, images):
    strength = CORRUPTIONS[corrupt][0][2]
    torch.manual_seed(0)
    first = corrupt(images, strength, generator(1))
    torch.manual_seed(1)
    assert torch.equal(first, corrupt(images, strength, generator(1)))
    if corrupt in RANDOM:
        assert not torch.equal(first, corrupt(images, strength, generator(2)))
        assert not torch.equal(corrupt(images, strength), corrupt(images, strength))
    alike = corrupt(images[:1].expand(50, 1, 28, 28), strength, generator())
    assert (corrupt in RANDOM) == bool((alike != alike[0]).any()), "each image has its own draw"


@pytest.mark.parametrize("corrupt, strength", [(f, s) for f, (_, refused) in CORRUPTIONS.items() for s in refused])
def test_bad_strengths_are_refused(corrupt, strength, images):
    with pytest.raises(ValueError, match=f"got {strength}"):
        corrupt(images, strength)


def test_gaussian_noise_has_the_deviation_asked_for():
    gray = torch.full((100, 1, 28, 28), 0.5)
    noise = data.add_gaussian_noise(gray, 0.1, generator()) - gray  # 5 standard deviations from the clamp
    assert noise.std().item() == pytest.approx(0.1, rel=0.02) and abs(noise.mean().item()) < 0.002


def test_salt_is_as_frequent_as_pepper_and_the_rest_is_untouched():
    gray = torch.full((100, 1, 28, 28), 0.5)
    values, counts = data.salt_and_pepper(gray, 0.3, generator()).unique(return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert (counts / gray.numel()).tolist() == pytest.approx([0.15, 0.7, 0.15], abs=0.01)
    assert set(data.salt_and_pepper(gray, 1, generator()).unique().tolist()) == {0, 1}


@pytest.mark.parametrize("std", [1, 2, 3])
def test_blur_is_a_gaussian_filter_and_keeps_the_ink(std, images, square):
    expected = scipy.ndimage.gaussian_filter(images, std, truncate=3, mode="mirror", axes=(2, 3))
    torch.testing.assert_close(data.blur(images, std), torch.from_numpy(expected), atol=1e-5, rtol=0)
    ink = data.blur(square, std).sum((1, 2, 3))
    torch.testing.assert_close(ink, square.sum((1, 2, 3)), atol=0, rtol=1e-4)


def test_an_occluding_block_is_a_square_within_the_frame():
    erased = data.occlude(torch.ones(500, 1, 28, 28), 9, generator())[:, 0] == 0  # (500, 28, 28)
    assert (erased.sum((1, 2)) == 81).all()
    for lines in (erased.any(1), erased.any(2)):  # (500, 28)
        assert (lines.sum(1) == 9).all() and (lines.int().diff(dim=1).abs().sum(1) <= 2).all(), "one piece"
        assert lines.any(0).all(), "anywhere, up to the border"


def test_exactly_as_many_rows_are_missing_as_asked_for():
    erased = data.drop_rows(torch.ones(500, 1, 28, 28), 5, generator())[:, 0] == 0
    assert torch.equal(erased.any(2), erased.all(2)) and (erased.all(2).sum(1) == 5).all()
    assert erased.all(2).float().mean(0).sub(5 / 28).abs().max() < 0.08, "every row as often"


def test_a_shift_by_whole_pixels_is_exact_in_each_of_four_ways(images):
    moved = data.translate(images, 3, generator())
    ways = [images.roll(offset, dim) for offset in (3, -3) for dim in (2, 3)]  # the border is blank: nothing wraps
    hits = torch.stack([(moved - way).abs().amax((1, 2, 3)) < 1e-5 for way in ways])
    assert (hits.sum(0) == 1).all() and (hits.sum(1) > 10).all()
    assert data.translate(images, 28, generator()).abs().max() < 1e-5, "out of the frame, nothing is left"


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_rotation_by_right_angles_is_exact(degrees, images):
    turned = data.rotate(images, degrees, generator())
    ways = [torch.rot90(images, way * degrees // 90, (2, 3)) for way in (1, -1)]
    hits = torch.stack([(turned - way).abs().amax((1, 2, 3)) < 1e-4 for way in ways])
    assert hits.any(0).all()
    if degrees == 90:
        assert (hits.sum(1) > 30).all(), "either way"


def test_a_rotation_agrees_with_scipy(images):
    turned = data.rotate(images, 30, generator()).numpy()
    ways = [scipy.ndimage.rotate(images, angle, (2, 3), reshape=False, order=1) for angle in (30, -30)]
    errors = np.abs(turned - np.stack(ways)).max((2, 3, 4))  # (2, 100)
    assert errors.min(0).max() < 1e-4 and errors.max(0).min() > 0.1


def test_lower_contrast_agrees_with_torchvision(images):
    torch.testing.assert_close(data.lower_contrast(images, 0.7), adjust_contrast(images, 0.3), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------ wrong labels


@pytest.mark.parametrize("fraction", [0, 0.1, 0.333, 0.6, 0.999])
def test_exactly_the_fraction_is_wrong_and_never_by_accident_right(fraction):
    labels = torch.arange(10).repeat(100)
    before = labels.clone()
    mislabelled = data.mislabel(labels, fraction, generator())
    assert (mislabelled != labels).sum() == round(1000 * fraction)
    assert mislabelled.min() >= 0 and mislabelled.max() <= 9 and mislabelled.dtype == labels.dtype
    assert torch.equal(labels, before)
    assert torch.equal(mislabelled, data.mislabel(labels, fraction, generator()))


def test_every_other_class_is_as_likely_and_more_wrong_labels_add_to_fewer():
    labels = torch.full((90_000,), 3)
    some, more = (data.mislabel(labels, fraction, generator()) for fraction in (0.3, 0.5))
    counts = torch.bincount(data.mislabel(labels, 0.9, generator()), minlength=10)
    assert counts[3] == 9_000 and (counts - 9_000).abs().max() < 400  # 4 standard deviations
    wrong = some != labels
    assert torch.equal(some[wrong], more[wrong])
    assert not torch.equal(some, data.mislabel(labels, 0.3, generator(1)))


@pytest.mark.parametrize("fraction", [-0.1, 1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=f"got {fraction}"):
        data.mislabel(torch.arange(10), fraction)


def test_a_classifier_is_trained_on_wrong_labels_and_tested_on_right_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path))
    chapter = experiments.begin("07_x", "smoke", device="cpu")
    right = chapter.classifier("logistic regression")
    assert "wrong_labels" not in right, "the recipe, and so what is remembered, is what it was without the parameter"
    wrong = chapter.classifier("logistic regression", wrong_labels=0.5)
    assert wrong == right | {"wrong_labels": 0.5}
    runs = {name: experiments.remembered_run(recipe, 0) for name, recipe in {"right": right, "wrong": wrong}.items()}
    for name, run in runs.items():
        test = chapter.data.test
        assert run.scores["test"] == pytest.approx(
            evaluation.accuracy(run.model(), test.images.flatten(1), test.labels), abs=1e-6
        )
        agreement = evaluation.accuracy(run.model(), chapter.data.train.images.flatten(1), chapter.data.train.labels)
        assert (agreement == pytest.approx(run.scores["train"], abs=1e-6)) == (name == "right")
    assert runs["wrong"].scores["train"] < 0.75 < runs["right"].scores["train"]
    assert runs["wrong"].scores["test"] < runs["right"].scores["test"]
    with pytest.raises(ValueError, match="fraction"):
        experiments.remembered_run(right | {"wrong_labels": 1.0}, 0)
    with pytest.raises(ValueError, match="wrong_labels"):
        chapter.classifier("pixels", wrong_labels=-0.1)
