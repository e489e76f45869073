"""What a notebook starts with: its parameters and their limits, and the experiments that chapters share."""

import math
from functools import partial

import pandas as pd
import pytest
import torch
from from_notebook import definitions
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from mnist_ae_utils import chapter as chapters
from mnist_ae_utils import corruptions, data, metrics, models, results, runs, training, trainings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def chapter(tmp_path, more_images):
    return chapters.begin("01_x", "smoke", device="cpu", out=tmp_path)


def test_the_profiles_parameters_and_their_limits():
    chapter = chapters.begin("01_x", "smoke", seeds=1)
    assert chapter.data.name == "mnist-5000" and chapter.seeds == chapter.sweep_seeds == [0]
    assert len(chapter.data.train) == chapters.PROFILES["smoke"]["train_images"]
    full = chapters.begin("01_x", "full", "mnist-5000")
    assert full.seeds == [*range(1000, 1005)], "the full report is made on seeds that development never saw"
    assert full.sweep_seeds == full.seeds[:4] and full.trial_seeds == full.seeds[:2], "what only explores takes fewer"
    assert full.failure_seeds == [*range(1000, 1060)], "none of 59 or more failing bounds a rate below 5%"
    for arguments, allowed in [
        ({"profile": "fast"}, "use one of quick, full"),
        ({"profile": "smoke", "seeds": 0}, "at least 1"),
        ({"profile": "smoke", "seeds": "5-3"}, "at least 1, '1000-1009'"),
        ({"profile": "smoke", "device": "tpu"}, "use one of auto, cpu"),
        ({"profile": "smoke", "dataset": "cifar"}, "mnist-5000"),
    ]:
        with pytest.raises((ValueError, data.DataError), match=allowed):
            chapters.begin("01_x", **arguments)


def test_seeds_can_be_named_and_sweeps_take_the_first_of_them():
    full = chapters.begin("01_x", "full", "mnist-5000", seeds="1000-1006")
    assert full.seeds == full.failure_seeds == [*range(1000, 1007)] and full.trial_seeds == [1000, 1001]
    assert full.results.made_with["seeds"] == "1000-1006"


def test_from_a_first_seed_on_a_chapter_takes_as_many_as_the_rules_plan_for_it(monkeypatch):
    planned = {"01_x": [{"seeds": 7}, {"id": "an_estimate"}, {"seeds": 9}], "02_x": [{"seeds": 3}]}
    monkeypatch.setitem(results.RULES, "contrasts", planned)
    for seeds, first in (("20-", 20), (None, 1000)):
        assert chapters.begin("01_x", "full", "mnist-5000", seeds).seeds == [*range(first, first + 9)]
        assert chapters.begin("02_x", "full", "mnist-5000", seeds).seeds == [*range(first, first + 5)], "five at least"
    assert chapters.begin("01_x", "full", "mnist-5000", 2).seeds == [0, 1], "a number holds, whatever is planned"
    assert chapters.begin("01_x", "quick", "mnist-5000").seeds == [0, 1]


def test_a_best_setting_at_the_edge_of_its_grid_has_more_tried(chapter, monkeypatch):
    def run(experiments, seeds):
        """Runs of which each scores the better, the nearer its setting is to its method's best."""
        near = {(best, setting): -abs(math.log(setting / best)) for best, setting in experiments.values()}
        read = {job: [trainings.Read(None, {"validation": at + n / 100}) for n in seeds] for job, at in near.items()}
        return runs.Runs({job: runs.Outcomes(outcomes, seeds, [0, 0]) for job, outcomes in read.items()})

    makes = {best: lambda setting, best=best: (best, setting) for best in (1.0, 4.0, 0.1)}
    monkeypatch.setattr(chapter, "run", run)
    monkeypatch.setitem(chapter.budget, "extensions", 2)
    best, scores, at_edge = chapter.choose(makes, (1.0, 2.0), seeds=[0, 1])
    assert best == {1.0: 1.0, 4.0: 4.0, 0.1: 0.25} and at_edge == [0.1]
    assert list(scores.columns) == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert scores.loc[1.0].notna().sum() == 3 and scores.loc[4.0, 4.0] == pytest.approx(0.005)


def test_the_grid_of_chapter_3_goes_on_in_both_directions_until_the_choice_lies_inside():
    of_chapter = definitions(3, "choose", "beyond", "strengths")
    best = {"none": (0, 0.3), "weight decay": (1.1, 0.03), "dropout": (0.07, 0.001), "input noise": (0.2, 0.01)}
    tried = {(method, strength, rate) for method, of in of_chapter.strengths.items() for strength in of
             for rate in (0.003, 0.01, 0.03)}  # fmt: skip
    for _ in range(9):
        errors = {}
        for method, strength, rate in tried:
            at_strength, at_rate = best[method]
            far = abs(math.log(rate / at_rate)) + (abs(math.log(strength / at_strength)) if strength else 0)
            errors[method, strength, rate] = 1 + far
        errors = pd.Series(errors).rename_axis(["method", "strength", "learning rate"])
        if not (more := of_chapter.beyond(chosen := of_chapter.choose(errors), tried)):
            break
        tried |= set(more)
    assert chosen["strength"].to_dict() == {"none": 0, "weight decay": 0.9, "dropout": 0.07, "input noise": 0.2}
    rates = chosen["learning rate"].round(4).to_dict()
    assert rates == {"none": 0.27, "weight decay": 0.03, "dropout": 0.0009, "input noise": 0.01}


def test_the_profile_and_the_data_decide_where_results_go(tmp_path):
    reports = data.PROJECT_ROOT / "reports"
    assert chapters.begin("01_x", "smoke").results.out == reports / "smoke-mnist-5000"
    assert chapters.report_folder("quick", "mnist") == reports / "quick"
    assert chapters.kept_folder("mnist") == reports and chapters.kept_folder("kmnist") == reports / "kmnist"
    assert chapters.begin("01_x", "smoke", out=tmp_path).results.out == tmp_path, "`out` alone overrides"


def test_results_of_another_profile_data_or_seeds_do_not_mix(tmp_path):
    chapters.begin("01_x", "smoke", out=tmp_path).results.save()
    chapters.begin("02_y", "smoke", out=tmp_path).results.save()
    for other, says in (
        ({"seeds": 1}, "seeds 2 instead of 1"),
        ({"profile": "full", "dataset": "mnist-5000"}, "'smoke' instead"),
    ):
        with pytest.raises(ValueError, match=f"{says}.*name another folder with `out`"):
            chapters.begin("02_y", **{"profile": "smoke"} | other, out=tmp_path).results.save()


def test_one_experiment_gives_its_outcomes_and_several_give_a_table(chapter):
    experiment = chapter.autoencoder(models.LinearAutoencoder, 2)
    single = chapter.run(experiment)
    assert isinstance(single, runs.Outcomes) and single.seeds == [0, 1]
    several = chapter.run({"a": experiment}, seeds=[1])
    assert several["a"].scores()[1] == single.scores()[1]
    assert len(chapter.results.training_seconds) == 2 and min(chapter.results.training_seconds.values()) > 0


class Own(nn.Module):
    """A network of a reader, without a code length."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 784), nn.Unflatten(1, (1, 28, 28)))

    def forward(self, images):
        return self.decoder(self.encoder(images))


def absolute_error(autoencoder, images):
    return (autoencoder(images) - images).abs().flatten(1).sum(1).mean()


def halves(data, seed):
    """Inputs for a classifier: the upper half of the image."""
    return lambda images: images[:, :, :14].flatten(1)


def test_own_model_own_loss_own_inputs(chapter):
    own = chapter.autoencoder(Own, loss=absolute_error, effort=20, learning_rate=1e-2)
    squared = chapter.autoencoder(Own, effort=20, learning_rate=1e-2)
    errors = {
        name: [metrics.reconstruction_error(trained.model, chapter.data.test.images), trained.scores["test"]]
        for name, (trained,) in chapter.run({"own": own, "squared": squared}, seeds=[0]).items()
    }
    assert errors["own"][0] == pytest.approx(errors["own"][1], rel=1e-5), "the score is the reconstruction error"
    assert errors["own"][0] != errors["squared"][0]
    (upper,) = chapter.run(chapter.on_inputs(halves, effort=20), seeds=[0])
    assert upper.model[0].mean.shape == (14 * 28,) and upper.scores["test"] > 0.5


@pytest.mark.parametrize(
    "change, says",
    [
        ({"latent_dim": 0}, "latent_dim 0"),
        ({"latent_dim": "8"}, "latent_dim '8'"),
        ({"n_images": 0}, "n_images 0"),
        ({"batch_size": -1}, "batch_size -1"),
        ({"effort": -1}, "effort -1"),
        ({"weight_decay": float("nan")}, "weight_decay nan"),
    ],
)
def test_an_autoencoder_refuses_what_makes_no_sense(chapter, change, says):
    with pytest.raises(ValueError, match=says):
        chapter.autoencoder(models.DenseAutoencoder, **{"latent_dim": 4} | change)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"n_labels": 0}, "n_labels 0"),
        ({"wrong_labels": 1.0}, "wrong_labels 1.0"),
        ({"wrong_labels": -0.1}, "wrong_labels -0.1"),
    ],
)
def test_a_classifier_refuses_what_makes_no_sense(chapter, arguments, says):
    for method, first in ((chapter.on_inputs, trainings.pixels), (chapter.network, models.ConvClassifier)):
        with pytest.raises(ValueError, match=says):
            method(first, **arguments)


@pytest.mark.parametrize(
    "method, first", [("autoencoder", Own), ("on_inputs", halves), ("network", models.ConvClassifier)]
)
def test_a_misspelled_argument_is_named_with_what_is_allowed(chapter, method, first):
    with pytest.raises(TypeError, match=rf"'lerning_rate'; it takes .*Chapter\.{method} itself takes .*learning_rate"):
        getattr(chapter, method)(first, lerning_rate=5.0)
    with pytest.raises(TypeError, match="'DenseAutoencoder' is no function or class"):
        getattr(chapter, method)("DenseAutoencoder")


def test_fewer_images_are_passed_more_often_for_the_same_number_of_steps(chapter):
    everything = chapter.autoencoder(models.DenseAutoencoder, 4, batch_size=50).keywords
    part = chapter.autoencoder(models.DenseAutoencoder, 4, batch_size=50, n_images=100).keywords
    assert everything["epochs"] * 600 / 50 == part["epochs"] * 100 / 50
    assert chapter.autoencoder(models.DenseAutoencoder, 4, effort=0).keywords["epochs"] == 0
    few = chapter.on_inputs(trainings.pixels, n_labels=10, batch_size=5).keywords["epochs"]
    assert few * 2 == chapter.budget["min_steps"]


def encoder_and_mlp():
    mlp = nn.Sequential(models.Standardize(8), models.MLPClassifier(8))
    return models.EncoderClassifier(models.DenseAutoencoder(8, hidden=(32,)), mlp)


def linear(n_inputs):
    return nn.Linear(n_inputs, 10)


@pytest.fixture
def autoencoder(chapter):
    return chapter.autoencoder(models.DenseAutoencoder, 8, hidden=(32,), effort=20, learning_rate=1e-2)


@pytest.mark.parametrize("kind", ["codes", "pixels", "pca", "logistic regression", "end to end", "fine-tuned", "joint"])
def test_every_kind_of_classifier_learns_more_than_chance(chapter, autoencoder, kind):
    experiment = {
        "codes": lambda: chapter.on_inputs(trainings.codes, autoencoder=autoencoder, effort=10),
        "pixels": lambda: chapter.on_inputs(trainings.pixels, effort=10),
        "pca": lambda: chapter.on_inputs(trainings.pca, n_components=8, effort=10),
        "logistic regression": lambda: chapter.on_inputs(trainings.pixels, head=linear, effort=10),
        "end to end": lambda: chapter.network(encoder_and_mlp, effort=10),
        "fine-tuned": lambda: chapter.network(encoder_and_mlp, start=autoencoder, effort=10),
        "joint": lambda: chapter.network(encoder_and_mlp, reconstruction_weight=0.1, effort=10),
    }[kind]()
    trained, test = runs.recall(experiment, 0), chapter.data.test
    assert trained.scores["test"] > 0.5
    shown = test.images
    if experiment.func is trainings.on_inputs:
        inputs = experiment.args[0]
        shown = inputs(chapter.data, 0)(shown)
    assert metrics.accuracy(trained.model, shown, test.labels) == pytest.approx(trained.scores["test"], abs=0.01)


def test_the_frozen_encoder_is_not_touched_and_the_fine_tuned_one_is(chapter, autoencoder):
    before = runs.recall(autoencoder, 0).model.encoder[1].weight
    runs.recall(chapter.on_inputs(trainings.codes, autoencoder=autoencoder), 0)
    assert torch.equal(before, runs.recall(autoencoder, 0).model.encoder[1].weight)
    tuned = runs.recall(chapter.network(encoder_and_mlp, start=autoencoder, learning_rate=1e-4), 0)
    change = (tuned.model.encoder[1].weight - before).norm() / before.norm()
    assert 0 < change < 0.2, "it starts from the autoencoder's weights"


def test_labels_are_drawn_per_seed_and_shared_by_methods(chapter):
    labels = chapter.data.train.labels
    drawn = [data.labelled_subset(labels, 10, seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_wrong_labels_spoil_the_training_and_its_score_only(chapter):
    splits = trainings.labelled(chapter.data, 200, 0.4, seed=0)
    chosen = data.labelled_subset(chapter.data.train.labels, 200, 0)
    assert (splits["train"].labels != chapter.data.train.labels[chosen]).float().mean().item() == pytest.approx(0.4)
    assert splits["test"] is chapter.data.test and splits["validation"] is chapter.data.validation


def test_a_transform_of_a_notebook_reaches_the_training(chapter):
    plain, moved = (
        runs.recall(chapter.autoencoder(Own, effort=5, transform=transform), 0).scores["test"]
        for transform in (None, partial(distorted, 2.0))
    )
    assert plain != moved


def distorted(strength, batch, progress):
    return corruptions.distort(batch, strength * (1 - progress))


@pytest.mark.parametrize("method", ["autoencoder", "on_inputs", "network"])
def test_from_a_cells_call_to_the_loop_are_four_hops_by_name(method):
    """Each names the next one in its own code, so that an editor can follow."""
    hops = [getattr(chapters.Chapter, method), getattr(trainings, method), trainings.fit, training.train]
    for at, to in zip(hops, hops[1:], strict=False):
        assert to.__name__ in at.__code__.co_names, f"{at.__qualname__} does not name {to.__name__}"


def test_labels_spread_as_the_closed_form_says(chapter):
    """Zhou et al. (2004), equation 4, with matrices that are not sparse; then class masses, then neighbors' votes."""
    n, k, alpha = len(chapter.data.train), 6, 0.9
    points = {name: getattr(chapter.data, name).images.flatten(1).double() for name in ("train", "test")}
    near = {name: torch.cdist(x, points["train"]).topk(k, largest=False).indices for name, x in points.items()}
    joined = torch.zeros(n, n, dtype=torch.double).scatter_(1, near["train"], 1)
    joined = torch.maximum(joined, joined.T).fill_diagonal_(0)
    degree = joined.sum(1).clamp_min(1e-12).rsqrt()
    known = data.labelled_subset(chapter.data.train.labels, 50, 0)
    given = torch.zeros(n, 10, dtype=torch.double)
    given[known, chapter.data.train.labels[known]] = 1
    spread = torch.linalg.solve(torch.eye(n, dtype=torch.double) - alpha * degree[:, None] * joined * degree, given)
    spread = spread / spread.sum(1, keepdim=True).clamp_min(1e-12)
    expected = (spread / spread.sum(0))[near["test"]].sum(1).argmax(1) == chapter.data.test.labels
    experiment = partial(trainings.spread, trainings.pixels, chapter.data, n_labels=50, k=k, alpha=alpha, steps=2000)
    found = experiment(seed=0)
    assert (torch.tensor(found.right) == expected).float().mean() > 0.995
    assert found.scores["test"] == pytest.approx(found.right.mean())
    few = chapter.spread(trainings.pixels, n_labels=50)
    assert few.keywords["n_labels"] == 50 and chapter.spread(trainings.pixels).keywords["n_labels"] == n


def test_a_classifier_of_scikit_learn_sees_the_labelled_images_only(chapter):
    class Counts(KNeighborsClassifier):
        def fit(self, points, labels):
            assert len(points) == len(labels) == 50 and points.shape[1] == 784
            return super().fit(points, labels)

    read = chapter.estimator(trainings.pixels, make=partial(Counts, 1), n_labels=50)(seed=1)
    known = data.labelled_subset(chapter.data.train.labels, 50, 1)
    nearest = torch.cdist(chapter.data.test.images.flatten(1), chapter.data.train.images[known].flatten(1)).argmin(1)
    expected = chapter.data.train.labels[known][nearest] == chapter.data.test.labels
    assert (read.right == expected.numpy()).mean() > 0.995 and read.scores["test"] == read.right.mean()


def test_feature_maps_are_what_the_encoders_last_layer_is_given(chapter):
    conv = chapter.autoencoder(models.ConvAutoencoder, 4, channels=(2, 3))
    images = chapter.data.test.images[:5]
    maps = trainings.features(chapter.data, 0, conv)(images)
    assert maps.shape == (5, 3 * 7 * 7)
    model = chapter.run(conv, seeds=[0]).first.model
    with torch.inference_mode():
        assert torch.allclose(model.encoder[-1](maps), metrics.encode(model, images), atol=1e-5)


def test_of_a_classifier_it_is_kept_which_test_images_are_right(chapter):
    for experiment in (chapter.on_inputs(trainings.pixels), chapter.network(models.ConvClassifier, channels=(2, 2, 2))):
        trained = chapter.run(experiment, seeds=[0]).first
        assert trained.right.shape == (len(chapter.data.test),)
        assert trained.right.mean() == pytest.approx(trained.scores["test"])


def test_a_network_is_trained_on_what_the_transform_returns(chapter):
    def blank(images, progress):
        return torch.zeros_like(images)

    seeing = chapter.run(chapter.network(models.ConvClassifier, channels=(2, 2, 2), effort=5), seeds=[0]).first
    blind = chapter.network(models.ConvClassifier, channels=(2, 2, 2), effort=5, transform=blank)(seed=0)
    assert seeing.scores["test"] > blind.scores["test"] + 0.2
