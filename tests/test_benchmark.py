"""The benchmark on few images: that it measures and records; how fast depends on the machine."""

from mnist_ae_utils import chapter, data, results
from mnist_ae_utils.report import benchmark, collect, page


def test_the_benchmark_leaves_results_in_the_schema(tmp_path, capsys):
    path = benchmark.run(tmp_path, "uci-digits", "cpu", n_images=256, repeats=1)
    assert path == tmp_path / "results" / "benchmark.json"
    entries = collect.read_results(path)
    assert [entry["id"] for entry in entries] == ["speed.dense_ae", "speed.conv_ae"]
    for entry in entries:
        assert entry["value"] > 0 and entry["unit"] == "ratio" and len(entry["per_seed"]) == 1
        assert "2 steps of 128 images on cpu, " in entry["note"] and " threads" in entry["note"]
    assert "dense_ae" in capsys.readouterr().out
    table = page.speed_table(entries)
    assert "| Dense autoencoder |" in table and "| Convolutional autoencoder |" in table


def test_the_benchmark_and_the_chapters_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path)
    folder = chapter.report_folder("quick", "uci-digits")
    for name in ("01_a", "02_b"):
        path = benchmark.run(None, "uci-digits", "cpu", n_images=128, repeats=1)
        of_chapter = results.Results(name, {"profile": "quick", "dataset": "uci-digits", "seeds": 2}, folder)
        of_chapter.add("x", [1.0], "fraction")
        assert of_chapter.save().parent == path.parent
    assert list(results.read(folder)) == ["01_a", "02_b"], "the benchmark is no chapter"
