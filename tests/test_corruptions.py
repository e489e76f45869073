"""Corruptions of images and labels, against independent implementations and by what they promise."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torchvision.transforms.v2.functional import adjust_contrast

from mnist_ae_utils import corruptions, data, metrics, trainings

# by function: growing strengths, the first of which leaves the images alone, and strengths that are refused
CORRUPTIONS = {
    corruptions.add_gaussian_noise: ((0, 0.1, 0.3, 0.6, 1), (-0.1, float("nan"), float("inf"))),
    corruptions.salt_and_pepper: ((0, 0.1, 0.3, 0.6, 1), (-0.1, 1.1, float("nan"))),
    corruptions.blur: ((0, 0.5, 1, 2, 4, 9), (-0.1, 9.1, float("nan"))),
    corruptions.occlude: ((0, 4, 8, 16, 28), (-1, 29, 2.5, float("nan"))),
    corruptions.drop_rows: ((0, 2, 7, 20, 28), (-1, 29, 2.5, float("nan"))),
    corruptions.translate: ((0, 0.5, 1, 2, 6), (-0.1, 28.1, float("nan"))),
    corruptions.rotate: ((0, 5, 10, 30, 60), (-0.1, 180.1, float("nan"))),
    corruptions.lower_contrast: ((0, 0.2, 0.5, 0.8, 1), (-0.1, 1.1, float("nan"))),
}
RANDOM = [f for f in CORRUPTIONS if f not in (corruptions.blur, corruptions.lower_contrast)]


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
    assert distances == sorted(set(distances)) and distances[-1] > 10
    torch.testing.assert_close(corrupt(images, 0, generator()), images, atol=1e-5, rtol=0)
    assert torch.equal(images, before), "the images given are not changed in place"


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
    noise = corruptions.add_gaussian_noise(gray, 0.1, generator()) - gray  # 5 standard deviations from the clamp
    assert noise.std().item() == pytest.approx(0.1, rel=0.02) and abs(noise.mean().item()) < 0.002


def test_salt_is_as_frequent_as_pepper_and_the_rest_is_untouched():
    gray = torch.full((100, 1, 28, 28), 0.5)
    values, counts = corruptions.salt_and_pepper(gray, 0.3, generator()).unique(return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert (counts / gray.numel()).tolist() == pytest.approx([0.15, 0.7, 0.15], abs=0.01)
    assert set(corruptions.salt_and_pepper(gray, 1, generator()).unique().tolist()) == {0, 1}


@pytest.mark.parametrize("std", [1, 2, 3])
def test_blur_is_a_gaussian_filter_and_keeps_the_ink(std, images, square):
    expected = scipy.ndimage.gaussian_filter(images, std, truncate=3, mode="mirror", axes=(2, 3))
    torch.testing.assert_close(corruptions.blur(images, std), torch.from_numpy(expected), atol=1e-5, rtol=0)
    ink = corruptions.blur(square, std).sum((1, 2, 3))
    torch.testing.assert_close(ink, square.sum((1, 2, 3)), atol=0, rtol=1e-4)


def test_an_occluding_block_is_a_square_within_the_frame():
    erased = corruptions.occlude(torch.ones(500, 1, 28, 28), 9, generator())[:, 0] == 0  # (500, 28, 28)
    assert (erased.sum((1, 2)) == 81).all()
    for lines in (erased.any(1), erased.any(2)):  # (500, 28)
        assert (lines.sum(1) == 9).all() and (lines.int().diff(dim=1).abs().sum(1) <= 2).all(), "one piece"
        assert lines.any(0).all(), "anywhere, up to the border"


def test_exactly_as_many_rows_are_missing_as_asked_for():
    erased = corruptions.drop_rows(torch.ones(500, 1, 28, 28), 5, generator())[:, 0] == 0
    assert torch.equal(erased.any(2), erased.all(2)) and (erased.all(2).sum(1) == 5).all()
    assert erased.all(2).float().mean(0).sub(5 / 28).abs().max() < 0.08, "every row as often"


def test_a_shift_by_whole_pixels_is_exact_in_each_of_four_ways(images):
    moved = corruptions.translate(images, 3, generator())
    ways = [images.roll(offset, dim) for offset in (3, -3) for dim in (2, 3)]  # the border is blank: nothing wraps
    hits = torch.stack([(moved - way).abs().amax((1, 2, 3)) < 1e-5 for way in ways])
    assert (hits.sum(0) == 1).all() and (hits.sum(1) > 10).all()
    assert corruptions.translate(images, 28, generator()).abs().max() < 1e-5, "out of the frame, nothing is left"


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_rotation_by_right_angles_is_exact(degrees, images):
    turned = corruptions.rotate(images, degrees, generator())
    ways = [torch.rot90(images, way * degrees // 90, (2, 3)) for way in (1, -1)]
    hits = torch.stack([(turned - way).abs().amax((1, 2, 3)) < 1e-4 for way in ways])
    assert hits.any(0).all()
    if degrees == 90:
        assert (hits.sum(1) > 30).all(), "either way"


def test_a_rotation_agrees_with_scipy(images):
    turned = corruptions.rotate(images, 30, generator()).numpy()
    ways = [scipy.ndimage.rotate(images, angle, (2, 3), reshape=False, order=1) for angle in (30, -30)]
    errors = np.abs(turned - np.stack(ways)).max((2, 3, 4))  # (2, 100)
    assert errors.min(0).max() < 1e-4 and errors.max(0).min() > 0.1


def test_lower_contrast_agrees_with_torchvision(images):
    torch.testing.assert_close(corruptions.lower_contrast(images, 0.7), adjust_contrast(images, 0.3), atol=1e-5, rtol=0)


def test_distortion_keeps_shape_and_range_and_grows_with_strength(images):
    assert torch.equal(corruptions.distort(images, 0), images)
    moved = []
    for strength in (0.25, 0.5, 1.0, 2.0):
        torch.manual_seed(0)
        distorted = corruptions.distort(images, strength)
        assert distorted.shape == images.shape and distorted.min() >= 0 and distorted.max() <= 1
        moved.append((distorted - images).square().sum().item())
        torch.manual_seed(0)
        assert torch.equal(distorted, corruptions.distort(images, strength)), "torch's random state decides"
    assert moved == sorted(moved) and moved[0] > 0
    for refused in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"strength.* got {refused}"):
            corruptions.distort(images, refused)


def test_distortion_moves_a_dot_no_further_than_it_says():
    images = torch.zeros(500, 1, 28, 28)
    images[:, :, 13:15, 13:15] = 1  # at the center only the shift moves it: 1.5 pixels, stretched and sheared
    torch.manual_seed(0)
    mass = corruptions.distort(images, 1.0)[:, 0]
    position = torch.arange(28.0) - 13.5
    for lines in (mass.sum(1), mass.sum(2)):  # right, down
        offset = lines @ position / mass.sum((1, 2))
        assert 1.2 < offset.abs().max() < 2.0 and abs(offset.mean()) < 0.15


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


def test_a_classifier_is_trained_on_wrong_labels_and_tested_on_right_ones():
    digits = data.load("uci-digits")

    def head(n_inputs):
        return torch.nn.Linear(n_inputs, 10)

    runs = [
        trainings.on_inputs(trainings.pixels, digits, seed=0, head=head, wrong_labels=fraction, epochs=10)
        for fraction in (0, 0.5)
    ]
    for run, is_right in zip(runs, (True, False), strict=True):
        accuracies = {
            key: metrics.accuracy(run.model, getattr(digits, key).images.flatten(1), getattr(digits, key).labels)
            for key in ("train", "validation", "test")
        }
        assert {key: run.scores[key] == pytest.approx(accuracies[key], abs=1e-6) for key in accuracies} == {
            "train": is_right, "validation": True, "test": True,
        }  # fmt: skip
    right, wrong = (run.scores for run in runs)
    assert wrong["train"] < 0.75 < right["train"] and wrong["test"] < right["test"]
    with pytest.raises(ValueError, match="fraction"):
        trainings.on_inputs(trainings.pixels, digits, seed=0, wrong_labels=1.0, epochs=1)
