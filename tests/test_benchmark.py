"""The benchmark on few images: that it measures and records; how fast depends on the machine."""

import json

from mnist_ae_utils import benchmark, report


def test_the_benchmark_leaves_results_in_the_schema(tmp_path, capsys):
    path = benchmark.run(tmp_path, "uci-digits", "cpu", n_images=256, repeats=1)
    assert path == tmp_path / "results" / "benchmark.json"
    entries = json.loads(path.read_text())
    report.check_results(entries, path.name)
    assert [entry["id"] for entry in entries] == list(report.SPEEDS)
    for entry in entries:
        assert entry["value"] > 0 and entry["unit"] == "ratio" and len(entry["per_seed"]) == 1
        assert "2 steps of 128 images on cpu, " in entry["note"] and " threads" in entry["note"]
    assert "dense_ae" in capsys.readouterr().out
    assert "| Dense autoencoder |" in report.speed_table(entries)
