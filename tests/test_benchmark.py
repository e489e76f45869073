"""The benchmark on few images: that it measures and records; how fast depends on the machine."""

import json

import benchmark
import pytest

from mnist_ae_utils import chapter, data, results
from mnist_ae_utils.report import collect


def test_the_benchmark_leaves_results_in_the_schema(tmp_path, capsys):
    path = benchmark.run(tmp_path, "uci-digits", "cpu", n_images=256, repeats=1)
    assert path == tmp_path / "results" / "benchmark.json"
    made_with = json.loads(path.read_text())["made_with"]
    assert made_with == {"dataset": "uci-digits", "checksum": data.load("uci-digits").checksum}
    entries = collect.read_chapter(path, made_with, "benchmark")
    assert [entry["id"] for entry in entries] == ["speed.dense_ae", "speed.conv_ae"]
    for entry in entries:
        assert entry["value"] > 0 and entry["unit"] == "ratio" and len(entry["per_seed"]) == 1
        assert "2 steps of 128 images on cpu, " in entry["note"] and " threads" in entry["note"]
    assert "dense_ae" in capsys.readouterr().out
    assert [(entry["shown"], entry["headline"]) for entry in entries] == [
        ("speed", "Dense autoencoder"), ("speed", "Convolutional autoencoder")
    ]  # fmt: skip


def test_somebodys_file_of_that_name_is_not_replaced(tmp_path):
    path = tmp_path / "results" / "benchmark.json"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(ValueError, match="benchmark.json is damaged"):
        benchmark.run(tmp_path, "uci-digits", "cpu", n_images=128, repeats=1)
    assert path.read_text() == "mine"


def test_the_benchmark_and_the_chapters_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path)
    folder = chapter.report_folder("quick", "uci-digits")
    for name in ("01_a", "02_b"):
        path = benchmark.run(None, "uci-digits", "cpu", n_images=128, repeats=1)
        of_chapter = results.Results(name, {"profile": "quick", "dataset": "uci-digits", "seeds": 2}, folder)
        of_chapter.add("x", [1.0], "fraction")
        assert of_chapter.save().parent == path.parent
    assert list(results.read(folder)) == ["01_a", "02_b"], "the benchmark is no chapter"
