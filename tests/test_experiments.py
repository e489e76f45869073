"""Runs: remembered, never stale, retrained when damaged, the same in any process."""

import time
import warnings

import pytest
import torch

from mnist_ae_utils import data, evaluation, experiments


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def chapter():
    return experiments.begin("01_x", "smoke", device="cpu")


def weights(run):
    return torch.cat([tensor.flatten().float() for tensor in run.state.values()])


def test_the_profiles_parameters_and_their_limits():
    chapter = experiments.begin("01_x", "smoke", seeds=1)
    assert chapter.data.name == "uci-digits" and chapter.seeds == chapter.sweep_seeds == [0]
    assert len(chapter.data.train) == experiments.PROFILES["smoke"]["train_images"]
    full = experiments.begin("01_x", "full", "uci-digits")
    assert len(full.seeds) == len(full.sweep_seeds) == 5, "verdicts of the full report rest on five seeds"
    assert len(full.trial_seeds) == 3, "what only explores takes three"
    for arguments, allowed in [
        ({"profile": "fast"}, "smoke, quick, full"),
        ({"profile": "smoke", "seeds": 0}, "at least 1"),
        ({"profile": "smoke", "device": "tpu"}, "use one of auto, cpu"),
        ({"profile": "smoke", "dataset": "cifar"}, "uci-digits"),
    ]:
        with pytest.raises((ValueError, data.DataError), match=allowed):
            experiments.begin("01_x", **arguments)


def test_a_run_is_trained_once_and_its_scores_are_those_of_its_model(chapter, monkeypatch):
    recipe = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,))
    run = experiments.remembered_run(recipe, 0)
    expected = evaluation.reconstruction_error(run.model(), chapter.data.test.images)
    assert run.scores["test"] == pytest.approx(expected, rel=1e-5)
    trained = []
    original = experiments.fit_autoencoder
    monkeypatch.setattr(experiments, "fit_autoencoder", lambda *a: trained.append(a) or original(*a))
    again = experiments.remembered_run(recipe, 0)
    assert not trained and torch.equal(weights(run), weights(again))
    other = experiments.remembered_run(recipe, 1)
    assert len(trained) == 1 and not torch.equal(weights(run), weights(other))
    experiments.remembered_run(recipe | {"learning_rate": 1e-4}, 0)
    assert len(trained) == 2, "another configuration is another run"


def test_changed_code_never_reuses_a_run(chapter, monkeypatch):
    recipe = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,))
    experiments.remembered_run(recipe, 0)
    trained = []
    original = experiments.fit_autoencoder
    monkeypatch.setattr(experiments, "fit_autoencoder", lambda *a: trained.append(a) or original(*a))
    monkeypatch.setitem(experiments.CODE, ("training", "train"), ("another", set()))
    experiments.remembered_run(recipe, 0)
    assert len(trained) == 1
    with pytest.raises(RuntimeError, match="restart the kernel"):
        chapter.run({"x": recipe})


def test_data_that_changed_are_noticed(chapter):
    recipe = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,)) | {"checksum": "another"}
    with pytest.raises(RuntimeError, match="uci-digits changed"):
        experiments.remembered_run(recipe, 0)


@pytest.mark.parametrize(
    "module, line, reached",
    [
        ("models", "class DenseAutoencoder(nn.Module):", True),
        ("models", "def dense_layers(widths, activation, dropout):", True),  # through the class
        ("models", "class LinearAutoencoder(nn.Module):", False),
        ("models", "PIXELS = 28 * 28", True),
        ("evaluation", "BATCH = 1000", True),
        ("evaluation", "def linear_probe(train_codes, train_labels, test_codes, test_labels):", False),
        ("experiments", "def fit_autoencoder(recipe, seed):", True),
        ("experiments", "def fit_classifier(recipe, seed):", False),
        ("data", "def distort(images, strength=1.0):", True),
        ("data", "def _split(images, labels):", True),  # the order of the images
        ("data", "def _fetch(url):", False),
    ],
)
def test_a_runs_key_follows_the_code_that_it_reaches_and_no_other(chapter, monkeypatch, module, line, reached):
    recipe = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,))
    source = experiments.inspect.getsource
    edited = getattr(experiments, module, experiments)

    def version(new_line):
        def getsource(thing):
            return source(thing).replace(f"\n{line}\n", f"\n{new_line}\n") if thing is edited else source(thing)

        with monkeypatch.context() as patch:
            patch.setattr(experiments.inspect, "getsource", getsource)
            patch.setattr(experiments, "CODE", experiments.read_code())
            return experiments.code_version(recipe)

    unchanged = experiments.code_version(recipe)
    changed = f'{line}\n    print("changed")' if line.endswith(":") else f"{line} + 1"
    assert source(edited).count(f"\n{line}\n") == 1
    assert version(f"# a comment\n{line}") == unchanged
    assert (version(changed) != unchanged) == reached


def test_a_classifiers_key_follows_its_autoencoders_code_too(chapter, monkeypatch):
    autoencoder = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,))
    recipes = chapter.classifier("codes", autoencoder), chapter.classifier("pixels")
    before = [experiments.code_version(recipe) for recipe in recipes]
    monkeypatch.setitem(experiments.CODE, ("training", "denoising_loss"), ("another", set()))
    after = [experiments.code_version(recipe) for recipe in recipes]
    assert before[0] != after[0] and before[1] == after[1]


@pytest.mark.parametrize("damage", ["truncated", "one byte changed", "empty"])
def test_a_damaged_run_is_trained_again_with_a_warning(chapter, cache, damage):
    recipe = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,))
    run = experiments.remembered_run(recipe, 0)
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{path.name} in the cache is damaged and is trained again"):
        again = experiments.remembered_run(recipe, 0)
    assert torch.equal(weights(run), weights(again))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        experiments.remembered_run(recipe, 0)  # healed


def test_a_run_that_cannot_be_kept_is_returned_all_the_same(chapter, cache):
    cache.write_text("a file where the folder should be")
    recipe = chapter.autoencoder("DenseAutoencoder", 4, hidden=(16,))
    with pytest.warns(UserWarning, match="could not be kept"):
        run = experiments.remembered_run(recipe, 0)
    assert run.scores["test"] > 0


def test_an_interrupt_stops_the_workers(chapter, cache, monkeypatch):
    def interrupted(pending, total, unit):
        yield next(iter(pending))
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "progress", interrupted)
    recipes = {d: chapter.autoencoder("DenseAutoencoder", d, hidden=(256,), epochs=200) for d in range(2, 14)}
    with pytest.raises(KeyboardInterrupt):
        chapter.run(recipes, seeds=[0])
    time.sleep(1)
    finished = len(list(cache.glob("*.joblib")))
    time.sleep(2)
    assert len(list(cache.glob("*.joblib"))) == finished < 12


def test_parallel_runs_equal_single_ones_and_come_in_order(chapter):
    recipes = {d: chapter.autoencoder("DenseAutoencoder", d, hidden=(16,)) for d in (2, 3)}
    runs = chapter.run(recipes)
    assert {d: [run.seed for run in of_seeds] for d, of_seeds in runs.items()} == {2: [0, 1], 3: [0, 1]}
    alone = experiments.fit_autoencoder(recipes[3], 1)
    torch.testing.assert_close(weights(runs[3][1]), weights(alone), rtol=1e-4, atol=1e-5)


def test_a_diverged_run_has_no_scores_and_says_so(chapter):
    recipe = chapter.autoencoder("LinearAutoencoder", 4, learning_rate=1e15, epochs=5)
    run = experiments.remembered_run(recipe, 0)
    assert "lower the learning rate" in run.diverged and set(run.scores.values()) == {None}
    with pytest.raises(ValueError, match="has no weights"):
        run.model()
    classifier = experiments.remembered_run(chapter.classifier("codes", recipe), 0)
    assert "its autoencoder" in classifier.diverged and set(classifier.scores.values()) == {None}
    entry = evaluation.Results("01_x", "uci-digits").add("x", [run.scores["test"], 1.0], "squared error per image")
    assert entry["value"] is None and entry["note"] == "diverged in 1 of 2 seeds"


@pytest.mark.parametrize(
    "change, says",
    [
        ({"latent_dim": 0}, "latent_dim 0"),
        ({"latent_dim": "8"}, "latent_dim '8'"),
        ({"n_images": 0}, "n_images 0"),
        ({"batch_size": -1}, "batch_size -1"),
        ({"epochs": -1}, "epochs -1"),
        ({"noise": float("nan")}, "noise nan"),
    ],
)
def test_an_autoencoders_recipe_refuses_what_makes_no_sense(chapter, change, says):
    with pytest.raises(ValueError, match=says):
        chapter.autoencoder(**{"model": "DenseAutoencoder", "latent_dim": 4} | change)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"inputs": "code"}, "inputs 'code'"),
        ({"inputs": "codes"}, "needs autoencoder"),
        ({"inputs": "pca"}, "needs n_inputs"),
        ({"inputs": "pixels", "n_labels": 0}, "n_labels 0"),
        ({"inputs": "pixels", "wrong_labels": 1.0}, "wrong_labels 1.0"),
        ({"inputs": "pixels", "wrong_labels": -0.1}, "wrong_labels -0.1"),
        ({"inputs": "joint", "autoencoder": {}}, "needs reconstruction_weight"),
    ],
)
def test_a_classifiers_recipe_refuses_what_makes_no_sense(chapter, arguments, says):
    with pytest.raises(ValueError, match=says):
        chapter.classifier(**arguments)


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_a_students_recipe_refuses_a_share_that_makes_no_sense(chapter, share):
    with pytest.raises(ValueError, match=f"share {share}"):
        chapter.student({}, share=share, channels=(2, 2, 2))


def test_no_recipes_give_no_runs(chapter):
    assert chapter.run({}) == {}


def test_fewer_images_are_passed_more_often_for_the_same_number_of_steps(chapter):
    everything = chapter.autoencoder("DenseAutoencoder", 4, batch_size=50)
    part = chapter.autoencoder("DenseAutoencoder", 4, batch_size=50, n_images=100)
    assert everything["epochs"] * 600 / 50 == part["epochs"] * 100 / 50


@pytest.mark.parametrize(
    "inputs", ["codes", "pixels", "pca", "logistic regression", "end to end", "fine-tuned", "joint"]
)
def test_every_kind_of_classifier_learns_more_than_chance(chapter, inputs):
    autoencoder = chapter.autoencoder("DenseAutoencoder", 8, hidden=(32,), epochs=20, learning_rate=1e-2)
    recipe = chapter.classifier(
        inputs, autoencoder if inputs not in ("pixels", "pca", "logistic regression") else None,
        n_inputs=8 if inputs == "pca" else None, epochs=10, learning_rate=1e-2,
        reconstruction_weight=0.1 if inputs == "joint" else None,
    )  # fmt: skip
    run = experiments.remembered_run(recipe, 0)
    assert run.scores["test"] > 0.5
    splits = chapter.data.test
    if inputs in ("end to end", "fine-tuned", "joint"):
        shown = splits.images
    else:
        pool = chapter.data.train.images
        shown = experiments.fixed_inputs(recipe, 0, pool)(splits.images)
    assert evaluation.accuracy(run.model(), shown, splits.labels) == pytest.approx(run.scores["test"], abs=0.01)


def test_the_frozen_encoder_is_not_touched_and_the_fine_tuned_one_is(chapter):
    autoencoder = chapter.autoencoder("DenseAutoencoder", 8, hidden=(32,))
    before = experiments.remembered_run(autoencoder, 0).state["encoder.1.weight"]
    experiments.remembered_run(chapter.classifier("codes", autoencoder), 0)
    assert torch.equal(before, experiments.remembered_run(autoencoder, 0).state["encoder.1.weight"])
    tuned = experiments.remembered_run(chapter.classifier("fine-tuned", autoencoder, learning_rate=1e-4), 0)
    change = (tuned.state["encoder.1.weight"] - before).norm() / before.norm()
    assert 0 < change < 0.2, "it starts from the autoencoder's weights"


def test_labels_are_drawn_per_seed_and_shared_by_methods(chapter):
    labels = chapter.data.train.labels
    drawn = [data.labelled_subset(labels, 10, seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
