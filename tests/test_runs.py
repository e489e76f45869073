"""Runs: remembered, never stale, made again when damaged, the same in any process; refused when they make no sense."""

import os
import platform
import signal
import threading
import time
import warnings
from functools import partial

import joblib
import pandas as pd
import pytest
import torch

from mnist_ae_utils import data, machine, metrics, models, runs, training, trainings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, workers):
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def digits():
    return data.load("uci-digits").first(600)


def dense(digits, latent_dim=4, hidden=(16,), epochs=2, **settings):
    return partial(
        trainings.autoencoder,
        partial(models.DenseAutoencoder, latent_dim, hidden=hidden),
        digits,
        epochs=epochs,
        **settings,
    )


def weights(trained):
    return torch.cat([tensor.flatten().float() for tensor in trained.model.state_dict().values()])


def noted(value, *, seed):
    """An experiment that notes its calls in a file: a list here would count among what it depends on."""
    with open(runs.cache_folder().with_name("calls"), "a") as file:
        file.write(f"{value} with {seed}\n")
    return value + seed


def calls():
    return runs.cache_folder().with_name("calls").read_text().splitlines()


def resting(on, *, seed):
    time.sleep(0.02)
    return 10 * runs.recall(on, seed)


def test_a_run_is_made_once_and_its_scores_are_those_of_its_model(digits):
    trained = runs.recall(dense(digits), 0)
    assert trained.scores["test"] == pytest.approx(
        metrics.reconstruction_error(trained.model, digits.test.images), rel=1e-5
    )
    assert not trained.model.training
    assert [runs.recall(partial(noted, 3), seed) for seed in (0, 0, 1)] == [3, 3, 4]
    assert calls() == ["3 with 0", "3 with 1"]
    assert torch.equal(weights(trained), weights(runs.recall(dense(digits), 0)))


def test_a_run_rests_on_another_of_the_same_seed_which_is_made_once():
    below = partial(noted, 5)
    assert runs.recall(partial(resting, below), 2) == 70 and runs.recall(below, 2) == 7
    assert calls() == ["5 with 2"]
    assert runs.recall(partial(resting, partial(noted, 6)), 2) == 80, "its key follows what it rests on"


def test_seconds_leave_out_what_a_run_rests_on():
    def slow(*, seed):
        time.sleep(0.3)
        return seed

    outcomes = runs.run({"above": partial(resting, slow)}, [1])["above"]
    assert list(outcomes) == [10] and 0.02 <= outcomes.seconds[0] < 0.25
    again = runs.run({"above": partial(resting, slow)}, [1])["above"]
    assert again.seconds == outcomes.seconds, "what it took when it was made"


@pytest.mark.parametrize("damage", ["truncated", "one byte changed", "empty"])
def test_a_damaged_run_is_made_again_with_a_warning(digits, cache, damage):
    trained = runs.recall(dense(digits), 0)
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{path.name} in the cache is damaged and is made again"):
        again = runs.recall(dense(digits), 0)
    assert torch.equal(weights(trained), weights(again))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs.recall(dense(digits), 0)  # healed


def test_another_runs_file_under_this_ones_name_is_not_believed(cache):
    outcomes = {n: runs.recall(partial(noted, n), 0) for n in (1, 2)}
    first, second = sorted(cache.glob("*.run"))
    first.write_bytes(second.read_bytes())
    with pytest.warns(UserWarning, match=f"{first.name} in the cache is damaged and is made again"):
        assert {n: runs.recall(partial(noted, n), 0) for n in (1, 2)} == outcomes


def test_a_run_that_cannot_be_kept_is_returned_all_the_same(digits, cache):
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning) as caught:
        trained = runs.recall(dense(digits), 0)
    assert ["cannot be kept" in str(warning.message) for warning in caught] == [True]
    assert trained.scores["test"] > 0


def test_what_a_killed_process_wrote_is_removed_but_not_what_another_is_writing(cache):
    cache.mkdir()
    for name, age in {"old": 2 * 3600, "new": 60}.items():
        (cache / f"{name}-0.1.part").touch()
        os.utime(cache / f"{name}-0.1.part", (time.time() - age,) * 2)
    runs.run({"": partial(noted, 1)}, [0])
    assert [path.name for path in cache.glob("*.part")] == ["new-0.1.part"]


def test_runs_that_cannot_be_kept_are_said_once_whichever_process_makes_them(cache, capfd):
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning) as caught:
        for n_runs in (3, 1):
            found = runs.run({n: partial(noted, n) for n in range(n_runs)}, [0])
            assert [outcomes.first for outcomes in found.values()] == list(range(n_runs)) and len(caught) == 1
    said = str(caught[0].message)
    assert said.startswith(f"finished runs cannot be kept in {cache} and are made again: ") and ".part" not in said
    assert "cannot be kept" not in capfd.readouterr().err, "workers say nothing"


def threads(n, *, seed):
    return os.getpid(), [thread.name for thread in threading.enumerate()]


def test_workers_watch_the_process_that_started_them():
    for ((process, names),) in runs.run({n: partial(threads, n) for n in range(2)}, [0]).values():
        assert process == os.getpid() or machine.end_with.__name__ in names


def frees(megabytes, n, *, seed):
    blocks = [bytes(2**14) for _ in range(2**6 * megabytes)]
    time.sleep(1.1)  # joblib looks once a second how large a worker is
    return os.getpid() if blocks else 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_worker_that_has_freed_much_memory_goes_on():
    megabytes = (1, 1, 400, 400, 1, 1)  # joblib replaces a worker that is 300 MB larger than after its first run
    found = runs.run({n: partial(frees, size, n) for n, size in enumerate(megabytes)}, [0])
    assert len({of.first for of in found.values()}) <= min(len(megabytes), joblib.cpu_count(only_physical_cores=True))


def test_an_interrupt_stops_the_workers(digits, cache, monkeypatch):
    class Interrupted(runs._Bar):
        def finished(self, *job):
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_Bar", Interrupted)
    experiments = {d: dense(digits, d, hidden=(256,), epochs=150) for d in range(2, 10)}
    with pytest.raises(KeyboardInterrupt):
        runs.run(experiments, [0])
    time.sleep(1)
    finished = len(list(cache.glob("*.run")))
    time.sleep(2)
    assert len(list(cache.glob("*.run"))) == finished < 8


def test_parallel_runs_equal_single_ones_and_come_in_order_as_a_table(digits):
    experiments = {d: dense(digits, d) for d in (2, 3)}
    found = runs.run(experiments, [0, 1])
    alone = experiments[3](seed=1)
    torch.testing.assert_close(weights(found[3][1]), weights(alone), rtol=1e-4, atol=1e-5)
    table = found.scores("validation")
    assert list(table.columns) == [2, 3] and list(table.index) == [0, 1]
    assert table.loc[1, 3] == found[3][1].scores["validation"] == found[3].scores("validation")[1]


def test_data_are_shared_with_workers_and_a_worker_may_write_into_its_own(digits):
    images, before = digits.train.images, digits.train.images.clone()
    found = runs.run({n: partial(writes_into_its_images, digits, n) for n in (1, 2)}, [0])
    assert [outcome for (outcome,) in found.values()] == [1.0, 2.0]
    assert torch.equal(images, before)


def writes_into_its_images(digits, number, *, seed):
    digits.train.images[:] = number
    return digits.train.images.mean().item()


def test_a_diverged_run_leaves_nan_is_remembered_and_what_rests_on_it_diverges(digits, cache):
    broken = partial(trainings.autoencoder, partial(models.LinearAutoencoder, 4), digits, learning_rate=1e15, epochs=5)
    on_codes = partial(trainings.on_inputs, partial(trainings.codes, autoencoder=broken), digits, epochs=2)
    found = runs.run({"broken": broken, "rests on it": on_codes, "fine": dense(digits)}, [0])
    assert found.scores().isna().loc[0].tolist() == [True, True, False]
    assert found["broken"].finished == [] and len(found["fine"].finished) == 1
    for name in ("broken", "rests on it"):
        with pytest.raises(training.Diverged, match="lower the learning rate"):
            _ = found[name].first
    assert len(list(cache.glob("*.run"))) == 3, "remembered like the others"
    with pytest.raises(training.Diverged):
        runs.recall(broken, 0)


def kills_its_worker(kernel, n_kept, *, seed):
    while len(list(runs.cache_folder().glob("*.run"))) < n_kept:
        time.sleep(0.02)
    if os.getpid() == kernel:
        pytest.skip("there are no workers on a machine with one core")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_named_and_what_is_finished_is_kept():
    fine = {n: partial(noted, n) for n in (1, 2, 3)}
    with pytest.raises(RuntimeError, match=r"killed .*memory.* finished is kept: .*run the cell again\.$"):
        runs.run(fine | {"killed": partial(kills_its_worker, os.getpid(), 3)}, [0])
    assert [outcomes.first for outcomes in runs.run(fine, [0]).values()] == [1, 2, 3]
    assert sorted(calls()) == ["1 with 0", "2 with 0", "3 with 0"]


def test_a_table_of_anything():
    outcomes = runs.Outcomes([2, training.Diverged("the loss is nan"), 4], [5, 6, 7], [0.1, 0.1, 0.1])
    expected = pd.Series([4.0, float("nan"), 16.0], index=[5, 6, 7])
    pd.testing.assert_series_equal(outcomes.map(lambda x: x**2), expected, check_names=False)
    assert outcomes.first == 2 and outcomes.finished == [2, 4]
    assert runs.Runs(a=outcomes).map(float).columns.tolist() == ["a"]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (
            {"lerning_rate": 5.0},
            "mine: autoencoder: got an unexpected keyword argument 'lerning_rate'; it takes make, data",
        ),
        (
            {"make": partial(models.DenseAutoencoder, hiden=(3,))},
            "DenseAutoencoder: .*'hiden'; it takes latent_dim, hidden",
        ),
        ({}, "missing a required argument: 'epochs'"),
    ],
)
def test_a_misspelled_or_missing_argument_is_named_before_anything_runs(digits, cache, arguments, says):
    experiment = partial(trainings.autoencoder, **{"make": models.LinearAutoencoder, "data": digits} | arguments)
    fine = dense(digits)
    with pytest.raises(TypeError, match=says):
        runs.run({"fine": fine, "mine": experiment}, [0])
    assert not cache.exists()


def test_what_is_no_experiment_is_named():
    with pytest.raises(TypeError, match="x: 3 is no experiment: use a function with seed="):
        runs.run({"x": 3}, [0])
    with pytest.raises(TypeError, match="x: .*unexpected keyword argument 'seed'"):
        runs.run({"x": lambda images: images}, [0])


def test_no_experiments_give_no_runs():
    assert runs.run({}, [0]) == {}


def test_a_training_tells_how_far_it_is(digits):
    heard = []
    token = training.WATCH.set(lambda epoch, epochs: heard.append((epoch, epochs)))
    try:
        dense(digits, epochs=3)(seed=0)
    finally:
        training.WATCH.reset(token)
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_the_bar_shows_the_epochs_of_running_trainings(capsys, monkeypatch):
    monkeypatch.setattr(runs, "_interval", lambda: 0.05)
    with runs._Bar(2, 0) as bar:
        file, _ = bar.file("a", 0), bar.file("a", 1)
        runs._tell(file, 6, 12)
        time.sleep(0.3)
        running = capsys.readouterr().out
        bar.finished("a", 0)
    assert "0.5/2 runs" in running and "epoch 6 of 12" in running
    assert "1/2 runs" in capsys.readouterr().out
