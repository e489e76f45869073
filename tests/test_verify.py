"""Networks that a report keeps: loaded by one line, and held to the figures that it states."""

import json
import os
from functools import partial

import pytest
import torch
from torch import nn

from mnist_ae_utils import chapter, data, metrics, models, results, runs, trainings
from mnist_ae_utils.report import collect, command, pages, verify

MAKES = {
    "hybrid": partial(models.encoder_and_mlp, 8, channels=(4, 8)), "on_features": partial(models.features_and_mlp, 8),
}  # fmt: skip


@pytest.fixture
def kept(tmp_path):
    """A report's folder with one network of each of two kinds, and the results that it states."""
    digits = data.load("uci-digits")
    made_with = {"profile": "quick", "dataset": "uci-digits", "checksum": digits.checksum, "seeds": 2}
    left = results.Results("04_hybrid_classification", made_with, tmp_path)
    for name, make in MAKES.items():
        torch.manual_seed(1)
        network = make().eval()
        right = metrics.accuracy(network, digits.test.images, digits.test.labels)
        left.add(f"{name}.accuracy", [0.5, right], "fraction", n_labels=100)
        left.keep(name, network, make, f"{name}.accuracy", seed=1, score="accuracy", n_labels=100)
    torch.manual_seed(0)
    autoencoder = models.LinearAutoencoder(3)
    error = metrics.reconstruction_error(autoencoder, digits.test.images)
    left.add("linear.reconstruction_error", [error, 0.0], "squared error per image")
    left.keep("linear", autoencoder, partial(models.LinearAutoencoder, 3), "linear.reconstruction_error", seed=0,
              score="reconstruction_error")  # fmt: skip
    dataset = {"name": "uci-digits", "source": digits.source, "checksum": digits.checksum, "notice": digits.notice}
    header = {"profile": "quick", "seeds": 2, "dataset": dataset, "device": "cpu", "notebooks": {}, "failed": []}
    (tmp_path / "results.json").write_text(json.dumps({"header": header, "results": left.entries}))
    return tmp_path


def change(folder, function):
    content = json.loads((folder / "results.json").read_text())
    function(content)
    (folder / "results.json").write_text(json.dumps(content))


def test_a_network_is_loaded_by_its_name_and_computes_what_it_did(kept):
    images = data.load("uci-digits").test.images[:50]
    for name, make in MAKES.items():
        torch.manual_seed(1)
        expected, loaded = make().eval(), models.load(name, kept / "models")
        assert not loaded.training and loaded(images).dtype == torch.float32
        assert torch.allclose(loaded(images), expected(images), atol=1e-2), "but for half precision"
    features = models.load("on_features", kept / "models")
    inputs = features.encoder[:-1](images)
    assert inputs.shape == (50, 32 * 7 * 7) and torch.equal(features(images), features.classifier(inputs))


def test_verify_computes_every_figure_and_names_what_differs(kept, capsys):
    assert command.main(["verify", "--out", str(kept)]) == 0
    said = capsys.readouterr().out
    assert said.count("stated") == 3 and "DIFFERS" not in said

    def worse(content):
        content["results"][0]["per_seed"][1] -= 0.01

    change(kept, worse)
    assert command.main(["verify", "--out", str(kept)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line]
    assert line.startswith("hybrid: ")


def test_a_network_whose_weights_changed_differs(kept, capsys):
    network = models.load("on_features", kept / "models")
    with torch.no_grad():
        network.classifier[1][2].weight.mul_(-1)
    stated = models.kept(kept / "models" / "on_features.safetensors")
    stated = {key: stated[key] for key in stated.keys() - {"network", "settings"}}
    models.keep(network, partial(models.features_and_mlp, 8), kept / "models" / "on_features.safetensors", **stated)
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "on_features" in next(line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line)


def test_a_damaged_file_missing_networks_and_other_data_are_one_clear_line(kept, capsys):
    path = kept / "models" / "linear.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "linear.safetensors" in next(line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line)
    with pytest.raises(ValueError, match=r"no network 'best' in .*, but hybrid, linear, on_features"):
        models.load("best", kept / "models")
    (kept / "files.json").write_text(json.dumps({"models/lost.safetensors": "abc"}))
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "lost: no network 'lost'" in capsys.readouterr().out
    (kept / "files.json").unlink()
    change(kept, lambda content: content["header"]["dataset"].update(checksum="another"))
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "the data are not those of the report" in capsys.readouterr().err
    for left in (kept / "models").iterdir():
        left.unlink()
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "keeps no networks" in capsys.readouterr().err


def test_the_table_says_what_each_network_is(kept):
    content = collect.read(kept / "results.json")
    table = verify.table(kept / "models", content)
    (entry,) = (entry for entry in content["results"] if entry["id"] == "hybrid.accuracy")
    value = f"{100 * entry['per_seed'][1]:.2f}%"
    what = "`encoder_and_mlp` | latent_dim=8, channels=[4, 8] | 1 | `hybrid.accuracy`, 100 labels"
    assert f"| hybrid | {what} | {value} |" in table
    settings = "latent_dim=8, channels=[16, 32]"
    assert f"| on_features | `features_and_mlp` | {settings} | 1 | `on_features.accuracy`, 100 labels | " in table
    assert f"| hybrid | {what} | not stated |" in verify.table(kept / "models", content | {"results": []})
    assert verify.chapter_of(kept / "models" / "hybrid.safetensors") == "04_hybrid_classification"
    assert verify.chapter_of(kept / "results" / "05_x.json") == "05_x"


def test_a_file_is_the_same_each_time(kept):
    """Else a report made again would change every network in the repository."""
    path = kept / "models" / "hybrid.safetensors"
    before, stated = path.read_bytes(), models.kept(path)
    torch.manual_seed(1)
    models.keep(MAKES["hybrid"](), MAKES["hybrid"], path, **{key: stated[key] for key in (*stated,)[:5]})
    assert models.kept(path) == stated and path.read_bytes() == before
    assert all(file.suffix == ".safetensors" for file in path.parent.iterdir()), "and nothing else is left there"


def test_verify_takes_the_part_of_the_test_images_that_the_profile_does(kept, monkeypatch, capsys):
    monkeypatch.setitem(chapter.PROFILES["quick"], "test_images", 50)
    part = chapter.begin("99_mine", "quick", "uci-digits", seeds=2, device="cpu", out=kept / "other").data.test
    assert 50 <= len(part) < 100
    command.main(["verify", "--out", str(kept)])
    found = metrics.accuracy(models.load("hybrid", kept / "models"), part.images, part.labels)
    assert f"hybrid: {found}, stated" in capsys.readouterr().out


def test_an_elbo_estimated_on_a_gpu_may_differ_by_its_draws(kept, capsys):
    torch.manual_seed(0)
    vae, digits = models.VariationalAutoencoder(2, hidden=8).eval(), data.load("uci-digits")
    made_with = {"dataset": "uci-digits"}
    left = results.Results("05_variational_autoencoder", made_with, kept)
    left.add("vae.elbo", [metrics.elbo(vae, digits.test.images, seed=1), 0.0], "nats")  # other draws than verify's
    left.keep("vae", vae, partial(models.VariationalAutoencoder, 2, 8), "vae.elbo", seed=0, score="elbo")
    change(kept, lambda content: content["results"].extend(left.entries))
    stated = left.entries[0]["per_seed"][0]
    found = metrics.elbo(vae, digits.test.images)
    assert 1e-5 < abs(found / stated - 1) < 5e-3
    change(kept, lambda content: content["results"][-1].update(per_seed=[found * 1.003, 0.0]))
    for device, code in (("cpu", 1), ("cuda", 0)):
        change(kept, lambda content, device=device: content["header"].update(device=device))
        assert command.main(["verify", "--out", str(kept)]) == code
    change(kept, lambda content: content["results"][-1].update(per_seed=[found * 1.01, 0.0]))
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "vae: " in next(line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line)


# ------------------------------------------------------------------------------------------- what a chapter keeps
@pytest.fixture
def course(tmp_path, monkeypatch):
    """A chapter on few digits, with a cache of its own."""
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return chapter.begin("99_mine", "smoke", "uci-digits", device="cpu", out=tmp_path)


def test_a_classifier_on_codes_or_feature_maps_is_kept_with_its_encoder(course, tmp_path):
    encoder = course.autoencoder(models.ConvAutoencoder, 8, channels=(4, 8))
    test = course.data.test
    for inputs, make in ((trainings.codes, models.encoder_and_mlp), (trainings.features, models.features_and_mlp)):
        experiment = course.on_inputs(inputs, autoencoder=encoder, n_labels=100)
        accuracy = course.run(experiment).scores("test")
        course.results.add(f"{make.__name__}.accuracy", accuracy, "fraction", n_labels=100)
        make = partial(make, 8, channels=(4, 8))
        course.keep("whole", experiment, make, f"{make.func.__name__}.accuracy", score="accuracy", n_labels=100)
        found = metrics.accuracy(models.load("whole", tmp_path / "models"), test.images, test.labels)
        assert found == pytest.approx(accuracy[0], abs=0.01)


def test_the_network_of_the_first_seed_that_finished_is_kept_or_those_of_several(course, tmp_path):
    experiment = course.autoencoder(models.LinearAutoencoder, 3)
    course.seeds = [0, 1, 2, 3]
    scores = course.run(experiment).scores("test")
    scores[0] = float("nan")
    course.results.add("linear.reconstruction_error", scores, "squared error per image")
    keep = partial(course.keep, make=partial(models.LinearAutoencoder, 3), id="linear.reconstruction_error",
                   score="reconstruction_error")  # fmt: skip
    keep("one", experiment)
    keep("each", experiment, n_seeds=2)
    found = {path.stem: models.kept(path)["seed"] for path in (tmp_path / "models").glob("*.safetensors")}
    assert found == {"one": 1, "each_1": 1, "each_2": 2}
    loaded, trained = models.load("one", tmp_path / "models"), runs.recall(experiment, 1).model
    assert torch.allclose(loaded.encoder[1].weight, trained.encoder[1].weight, atol=1e-3)
    with pytest.raises(ValueError, match=r"99_mine recorded no 'linear.error' on the test set: add it first"):
        course.keep("x", experiment, models.LinearAutoencoder, "linear.error", score="reconstruction_error")
    with pytest.raises(ValueError, match="no 'linear.reconstruction_error' with 10 labels on the test set"):
        keep("x", experiment, n_labels=10)


class Deeper(models.LinearAutoencoder):
    def __init__(self, latent_dim=32):
        super().__init__(latent_dim)
        self.encoder.append(nn.Linear(latent_dim, latent_dim))


class Bent(models.LinearAutoencoder):
    """The same weights, used in another way."""

    def forward(self, images):
        return super().forward(images).sigmoid()


class Wider(models.LinearAutoencoder):
    def __init__(self, latent_dim=32, width=5):
        super().__init__(latent_dim)


@pytest.mark.parametrize("change, settings", [(Deeper, {}), (Bent, {}), (Wider, {}), (Wider, {"width": 3})])
def test_a_class_that_a_reader_changed_is_not_kept_and_the_chapter_goes_on(tmp_path, capsys, change, settings):
    left = results.Results("99_mine", {"dataset": "mnist"}, tmp_path)
    left.add("linear.reconstruction_error", [1.0], "squared error per image")
    of = {"id": "linear.reconstruction_error", "seed": 0, "score": "reconstruction_error"}
    path = left.keep("linear", models.LinearAutoencoder(), models.LinearAutoencoder, **of)
    assert path.exists()
    make = partial(type("LinearAutoencoder", (change,), {}), **settings)  # as a cell changes the class that it shows
    torch.manual_seed(0)
    network, state = make(), torch.get_rng_state()
    assert left.keep("linear", network, make, **of) is None
    said = "linear is not kept with the results: LinearAutoencoder of mnist_ae_utils.models makes another network\n"
    assert capsys.readouterr().out == said
    assert not path.exists(), "the one of before would pass for this one"
    assert torch.equal(torch.get_rng_state(), state), "what is drawn next does not depend on it"
    assert left.keep("mine", nn.Flatten(), nn.Flatten, **of) is None
    assert capsys.readouterr().out == "mine is not kept with the results: mnist_ae_utils.models has no Flatten\n"


# -------------------------------------------------------------------------------------------- the committed report
def mnist_is_at_hand():
    folders = [data.PROJECT_ROOT / "data"]
    if given := os.environ.get("MNIST_DATA_DIR"):
        folders.append(data.given_path(given))
    return any(not data._search(path, "mnist")[1] for path in folders)


def test_the_committed_networks_reproduce_the_figures_of_the_committed_report():
    if not any(models.KEPT.glob("*.safetensors")):
        pytest.skip("the committed report keeps no networks")
    if not mnist_is_at_hand():
        pytest.skip("needs real MNIST, in data/ or where MNIST_DATA_DIR says")
    assert verify.differing(pages.COMMITTED) == 0
