"""Networks that a report keeps: loaded by one line, and held to the figures that it states."""

import json
from functools import partial

import pytest
import torch

from mnist_ae_utils import data, metrics, models, results
from mnist_ae_utils.report import command, verify

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
    header = {"profile": "quick", "seeds": 2, "dataset": dataset, "notebooks": {}, "failed": []}
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
    stated = {key: text for key, text in models.kept(kept / "models" / "on_features.safetensors").items()
              if key not in ("network", "settings")}  # fmt: skip
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
    change(kept, lambda content: content["header"]["dataset"].update(checksum="another"))
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "the data are not those of the report" in capsys.readouterr().err
    for left in (kept / "models").iterdir():
        left.unlink()
    assert command.main(["verify", "--out", str(kept)]) == 1
    assert "keeps no networks" in capsys.readouterr().err


def test_the_table_says_what_each_network_is(kept):
    lines = verify.table(kept / "models").splitlines()
    assert "| hybrid | `encoder_and_mlp` | latent_dim=8, channels=[4, 8] | 1 | `hybrid.accuracy`, 100 labels |" in lines
    assert verify.chapter_of(kept / "models" / "hybrid.safetensors") == "04_hybrid_classification"
    assert verify.chapter_of(kept / "results" / "05_x.json") == "05_x"
