"""What a notebook starts with: its profile, data, seeds and device, and the experiments that several chapters share."""

import inspect
import math
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from mnist_ae_utils import data as datasets
from mnist_ae_utils import fingerprints, pictures, results, runs, trainings

# What each profile spends. Epochs are passes over `train_images` images; an experiment's `effort` multiplies them. Of
# the test images every k-th is used, so that at least `test_images` are: MNIST's first half is easier than the second.
# `limited_effort`, `overfit_effort` and `strengths` are chapter 3's: how long it trains on limited data and on all
# images, and how many strengths of each method it tries. `seeds` are as in `begin`; `failure_seeds` are for chapter 6,
# which counts how often its first steps fail. "smoke" is for tests: it teaches nothing.
PROFILES = {
    "smoke": dict(
        dataset="mnist-5000", seeds=2, sweep_seeds=1, trial_seeds=1, failure_seeds=2,
        train_images=300, validation_images=250, test_images=250, epochs=1, min_steps=5,
        umap_images=200, likelihood_images=20, codes_per_image=50,
        limited_effort=1, overfit_effort=1, strengths=2, extensions=0,
    ), "quick": dict(
        dataset="auto", seeds=2, sweep_seeds=1, trial_seeds=1, failure_seeds=2,
        train_images=5_500, validation_images=2_000, test_images=5_000, epochs=6, min_steps=100,
        umap_images=800, likelihood_images=1_000, codes_per_image=100,
        limited_effort=0.75, overfit_effort=1.2, strengths=2, extensions=1,
    ), "full": dict(
        dataset="auto", seeds="1000-", sweep_seeds=4, trial_seeds=2, failure_seeds=60,
        train_images=55_000, validation_images=5_000, test_images=10_000, epochs=12, min_steps=600,
        umap_images=5_000, likelihood_images=10_000, codes_per_image=500,
        limited_effort=0.15, overfit_effort=0.5, strengths=3, extensions=3,
    ),
}  # fmt: skip
CONFIRMATION = 1000  # seeds from here on are run once, by rules written before; development has those from 0 to 9
N_SEEDS = 5  # from a first seed on, where the rules plan no more for a chapter
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass
class Chapter:
    """What a notebook works with: its data, its budget, its seeds and its results; made by `begin`.

    Sweeps on which a contrast rests take the `sweep_seeds`, those that only explore the `trial_seeds`: as many as the
    profile says, but no more than `seeds`.
    """

    data: datasets.Dataset
    budget: dict  # an entry of PROFILES
    seeds: list
    sweep_seeds: list
    trial_seeds: list
    failure_seeds: list
    device: str
    results: results.Results

    def fingerprint(self):
        """What a run depends on, if one of its functions refers to the chapter: not the results."""
        return self.data, self.budget, self.seeds, self.sweep_seeds, self.trial_seeds, self.failure_seeds, self.device

    def autoencoder(self, model, *args, effort=1.0, n_images=None, loss=None, score=None, transform=None,
                    batch_size=128, learning_rate=2e-3, weight_decay=0.0, **options):  # fmt: skip
        """An autoencoder, trained without labels: an experiment. Settings not named here: see `trainings.autoencoder`.

        ``model(*args, **options)`` returns the network: `models.DenseAutoencoder`, or a class or function of your own.
        `effort` multiplies the profile's passes over its training images; with fewer images, as many passes are made
        as it takes to train for the same number of steps, and 0 leaves the network as it was initialized. `n_images` is
        the profile's number of training images unless told; never more than that.
        """
        make = _bound(self.autoencoder, model, args, options, complete=True)
        _check(batch_size=batch_size, n_images=1 if n_images is None else n_images)
        _check_not_negative(effort=effort, learning_rate=learning_rate, weight_decay=weight_decay)
        pool = len(self.data.train)
        n_images = min(n_images or pool, pool)
        passes = effort * self.budget["epochs"] * math.ceil(pool / batch_size) / math.ceil(n_images / batch_size)
        return partial(
            trainings.autoencoder, make, self.data, n_images=n_images, epochs=max(1, round(passes)) if effort else 0,
            loss=loss, score=score, transform=transform, batch_size=batch_size, learning_rate=learning_rate,
            weight_decay=weight_decay,
        )  # fmt: skip

    def on_inputs(self, inputs, *args, effort=2.0, n_labels=None, head=None, loss=None, wrong_labels=0.0,
                  batch_size=128, learning_rate=1e-2, weight_decay=0.1, data=None, **options):  # fmt: skip
        """A classifier on fixed inputs: an experiment. Settings not named here: see `trainings.on_inputs`.

        ``inputs(data, seed, *args, **options)`` returns the function from images to inputs (n, n_inputs):
        `trainings.pixels`, `trainings.pca` with ``n_components=``, `trainings.codes` with ``autoencoder=``, or your
        own. `effort` multiplies the profile's passes; with few labels, at least the profile's `min_steps` steps are
        taken. `n_labels` is all training images unless told, never more; `data` the chapter's unless told.
        """
        inputs = _bound(self.on_inputs, inputs, args, options)
        fixed = {"head": head, "loss": loss, "wrong_labels": wrong_labels}
        experiment = partial(trainings.on_inputs, inputs, **fixed)
        return self._classifier(experiment, data, effort, n_labels, batch_size, learning_rate, weight_decay)

    def network(self, model, *args, effort=2.0, n_labels=None, start=None, reconstruction_weight=None, loss=None,
                transform=None, wrong_labels=0.0, batch_size=128, learning_rate=1e-2, weight_decay=0.1, data=None,
                **options):  # fmt: skip
        """A classifier that sees images: an experiment. Settings not named here: `trainings.network` and `on_inputs`.

        ``model(*args, **options)`` returns the network: images in, logits out. `effort` is as in `on_inputs`; with a
        `reconstruction_weight`, it multiplies the profile's passes over all images.
        """
        make = _bound(self.network, model, args, options, complete=True)
        fixed = {"start": start, "reconstruction_weight": reconstruction_weight, "loss": loss, "transform": transform}
        experiment = partial(trainings.network, make, **fixed, wrong_labels=wrong_labels)
        return self._classifier(experiment, data, effort, n_labels, batch_size, learning_rate, weight_decay)

    def estimator(self, inputs, *args, make, n_labels=None, data=None, **options):
        """A classifier of scikit-learn, which ``make()`` returns, on fixed inputs: see `trainings.estimator`.

        `inputs`, `n_labels` and `data` are as in `on_inputs`.
        """
        return self._reading(trainings.estimator, self.estimator, inputs, args, options, data, n_labels, make=make)

    def spread(self, inputs, *args, n_labels=None, data=None, **options):
        """Label spreading among fixed inputs: an experiment (`trainings.spread`); arguments as in `on_inputs`."""
        return self._reading(trainings.spread, self.spread, inputs, args, options, data, n_labels)

    def _reading(self, function, method, inputs, args, options, data, n_labels, **fixed):
        data, n_labels = self._shown(data, n_labels)
        return partial(function, _bound(method, inputs, args, options), data=data, n_labels=n_labels, **fixed)

    def _shown(self, data, n_labels):
        """The chapter's data unless told, and how many of their labels are shown: all unless told, never more."""
        _check(n_labels=10 if n_labels is None else n_labels)
        data = self.data if data is None else data
        return data, min(n_labels or len(data.train), len(data.train))

    def _classifier(self, experiment, data, effort, n_labels, batch_size, learning_rate, weight_decay):
        """The experiment with its data and the other settings, which are checked."""
        _check(batch_size=batch_size)
        data, n_labels = self._shown(data, n_labels)
        _check_not_negative(effort=effort, learning_rate=learning_rate, weight_decay=weight_decay)
        if not 0 <= (wrong := experiment.keywords["wrong_labels"]) < 1:
            raise ValueError(f"wrong_labels {wrong!r}: use a number from 0 to below 1")
        joint = experiment.keywords.get("reconstruction_weight") is not None
        epochs = self.epochs(effort) if joint else self.epochs(effort, n_labels, batch_size, self.budget["min_steps"])
        return partial(
            experiment, data=data, n_labels=n_labels, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            weight_decay=weight_decay,
        )  # fmt: skip

    def epochs(self, effort, n_images=1, batch_size=128, min_steps=0):
        """Passes over `n_images`: a multiple of the profile's, but no fewer than `min_steps` steps take."""
        _check_not_negative(effort=effort)
        return math.ceil(max(effort * self.budget["epochs"], min_steps / math.ceil(n_images / batch_size)))

    def choose(self, makes, grid, seeds=None, lowest=False):
        """By method, the setting with the best validation score; where it lies at the edge of its grid, more is tried.

        Parameters
        ----------
        makes : by name, ``make(setting)`` returns the experiment.
        grid : at least two positive settings, rising. Beyond an edge it is continued by the ratio of its last two, as
            often as the profile's `extensions` allow.
        seeds : the chapter's `trial_seeds` unless told; scores are averaged over them, and one that diverged is worst.
        lowest : whether a low score is a good one.

        Returns
        -------
        best : dict of the setting by name.
        scores : a pandas DataFrame, methods by settings, of the mean validation scores; NaN where none was tried.
        at_edge : the names whose best setting is still at the edge of what was tried.
        """
        scores = pd.DataFrame(index=list(makes), columns=pd.Index([], dtype=float), dtype=float)
        todo = {(name, setting): make(setting) for name, make in makes.items() for setting in grid}
        sign = -1 if lowest else 1
        for _ in range(1 + self.budget["extensions"]):
            found = self.run(todo, self.trial_seeds if seeds is None else seeds).scores("validation")
            for name, setting in todo:
                scores.loc[name, setting] = (sign * found[name, setting]).fillna(-math.inf).mean()
            best, todo = scores.idxmax(axis=1).to_dict(), {}
            for name, tried in ((name, sorted(scores.loc[name].dropna().index)) for name in makes):
                for edge, inner in ((tried[-1], tried[-2]), (tried[0], tried[1])):
                    if best[name] == edge:
                        beyond = beyond_edge(edge, inner)
                        todo[name, beyond] = makes[name](beyond)
            if not todo:
                break
        scores = (sign * scores).sort_index(axis=1).replace(sign * -math.inf, math.nan)
        return best, scores, sorted({name for name, _ in todo})

    def found(self, *sentences):
        """Show what the chapter found: sentences made of its results, so that they change when those do."""
        display(Markdown("\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))))

    def keep(self, name, experiment, make, id, *, score, n_labels=None, n_seeds=None, labelled=None):
        """Keep the network of an experiment that was run and recorded: see `Results.keep`.

        It is that of the first seed which did not diverge. A classifier on codes or feature maps is kept with the
        encoder, in one piece. Of a headline that rests on all seeds, up to `n_seeds` are kept, named by their seed too.
        `labelled`, by seed, are the training images whose labels it asked for: their indices.
        """
        measured = zip(self.seeds, self.results.entry(id, n_labels)["per_seed"], strict=False)  # a sweep has fewer
        finished = [seed for seed, value in measured if value is not None]
        for seed in finished[: n_seeds or 1]:
            network = trainings.in_one_piece(experiment, seed)
            of_seed = {"seed": seed, "score": score, "n_labels": n_labels}
            of_seed |= {"labelled": [int(index) for index in labelled[seed]]} if labelled else {}
            self.results.keep(f"{name}_{seed}" if n_seeds else name, network, make, id, **of_seed)

    def run(self, experiments, seeds=None):
        """`runs.run` with the chapter's device and, unless told, its seeds; `runs.Outcomes` for a single experiment."""
        seeds = self.seeds if seeds is None else seeds
        several = experiments if isinstance(experiments, dict) else {"": experiments}
        found = runs.run(several, seeds, self.device)
        keys = fingerprints.Fingerprints()
        for name, outcomes in found.items():
            key = keys.key(several[name])
            for seed, seconds in zip(seeds, outcomes.seconds, strict=True):
                self.results.training_seconds[key, seed] = seconds
        return found if several is experiments else found[""]


def beyond_edge(edge, inner):
    """The value next to the edge of a grid, outside of it, by the ratio of its last two; to two digits."""
    return float(f"{edge * edge / inner:.2g}")


def _bound(method, function, args, options, complete=False):
    """A partial of `function`; TypeError if an option is neither its argument nor a setting of `method`."""
    if not callable(function):
        raise TypeError(f"{function!r} is no function or class")
    bound = partial(function, *args, **options)
    try:
        runs.check_arguments(bound, complete=complete)
    except TypeError as error:
        of_method = inspect.signature(method).parameters.values()
        settings = ", ".join(p.name for p in of_method if p.kind is p.KEYWORD_ONLY)
        raise TypeError(f"{error}. Chapter.{method.__name__} itself takes {settings}") from None
    given = inspect.signature(bound.func).bind_partial(*bound.args, **bound.keywords).arguments
    if "latent_dim" in given:
        _check(latent_dim=given["latent_dim"])
    return bound


def _check(**counts):
    """Raise ValueError unless each is a whole number of at least 1."""
    for name, value in counts.items():
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{name} {value!r}: use a whole number of at least 1")


def _check_not_negative(**numbers):
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} {value!r}: use a number that is not negative")


def begin(notebook, profile="quick", dataset="auto", seeds=None, device="auto", out=None):
    """Check a notebook's parameters, load the data, show what they are, and return the notebook's `Chapter`.

    Results are stored under the name `notebook`, in the folder `out`, else that of `report_folder`. `profile` says how
    much is spent: "quick" minutes, "full" hours ("smoke", seconds, is for tests and teaches nothing). `dataset` is one
    of `data.DATASETS` ("auto" is MNIST if it can be had), a folder of pictures (`pictures.from_folder`), or images of
    your own (`pictures.from_arrays`). `seeds` replace the profile's: how many, or "1000-1009", of which sweeps take the
    first; or "1000-", from there on as many as the rules plan for the notebook's contrasts. `device` is one of DEVICES.
    Raises ValueError for a parameter out of range, and says what is allowed.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r}: use one of {', '.join(name for name in PROFILES if name != 'smoke')}")
    seeds = PROFILES[profile]["seeds"] if seeds is None else seeds
    chosen = seeds_of(seeds, max(N_SEEDS, results.planned_seeds(notebook)))
    torch.backends.cudnn.allow_tf32 = False  # the same digits of a convolution on every GPU
    budget = PROFILES[profile]
    device = choose_device(device)
    loaded = pictures.load(budget["dataset"] if isinstance(dataset, str) and dataset == "auto" else dataset, device)
    validation = loaded.validation.first(min(budget["validation_images"], len(loaded.validation)))
    test = part_of_test(loaded.test, profile)
    loaded = replace(loaded.first(min(budget["train_images"], len(loaded.train))), validation=validation, test=test)
    described = datasets.describe(loaded).splitlines()[0]
    sizes = f"{len(loaded.train):,} training and {len(test):,} test images"
    print(f"{described}; {sizes}; profile {profile}, {device}")
    if loaded.notice:
        display(Markdown(f"> ### {loaded.notice}"))
    made_with = {"profile": profile, "dataset": loaded.name, "checksum": loaded.checksum, "seeds": seeds}
    of_notebook = results.Results(notebook, made_with, out or report_folder(profile, loaded.name, seeds))
    of_notebook.check_folder()  # before hours of work
    fewer = (chosen[: budget[kind]] for kind in ("sweep_seeds", "trial_seeds"))
    to_fail = seeds_of(seeds, budget["failure_seeds"])
    return Chapter(loaded, budget, chosen, *fewer, to_fail, device, of_notebook)


def part_of_test(test, profile):
    """The test images that a profile uses, every k-th of the split: a `Split`."""
    step = max(1, len(test) // PROFILES[profile]["test_images"])
    return datasets.Split(test.images[::step].contiguous(), test.labels[::step].contiguous())


def seeds_of(seeds, number=N_SEEDS):
    """The list of seeds that `seeds` stand for: 3 for 0, 1 and 2; "1000-1009" for these ten; "1000-" for `number`.

    ValueError for others.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds >= 1:
        return list(range(seeds))
    if isinstance(seeds, str) and (ends := re.fullmatch(r"(\d+)-(\d*)", seeds)):
        first, last = int(ends[1]), int(ends[2] or int(ends[1]) + number - 1)
        if first <= last:
            return list(range(first, last + 1))
    allowed = "a whole number, at least 1, '1000-1009', '1000-', or None for those of the profile"
    raise ValueError(f"seeds {seeds!r}: use {allowed}")


def report_folder(profile, dataset, seeds=None):
    """Where results go: ``reports/quick``, with dataset and seeds in its name where they are not the usual ones."""
    name = profile if dataset == "mnist" else f"{profile}-{results.slug(dataset)}"
    usual = seeds in (None, PROFILES[profile]["seeds"])
    return Path(datasets.PROJECT_ROOT, "reports", name if usual else f"{name}-{seeds}-seeds")


def kept_folder(dataset):
    """Where the full report on a dataset is kept: ``reports`` on MNIST, else ``reports/fashion-mnist`` and so on."""
    reports = Path(datasets.PROJECT_ROOT, "reports")
    return reports if dataset == "mnist" else reports / results.slug(dataset)


def by_dataset(of):
    """What there is on several data sets, {name: `results.report`}: of `of`, a notebook's `Results`, then of others.

    The others are reports of the same profile, in their usual folders. Where there is none, or `of` has nothing to
    compare with them, it is all full reports that are kept; {} if these are on fewer than two data sets, too.
    """

    def found(folder, own):
        folders = own | {name: folder(name) for name in datasets.DATASETS[1:] if name not in own}
        return {name: report for name, path in folders.items() if (report := results.report(path))}

    profile, name = of.made_with["profile"], of.made_with["dataset"]
    beside = found(kept_folder if profile == "full" else partial(report_folder, profile), {name: of.out})
    kept = found(kept_folder, {})
    return beside if name in beside and len(beside) > 1 else kept if len(kept) > 1 else {}


def choose_device(device="auto"):
    """The device to train on: "auto" is a GPU where there is one. Raises ValueError for one that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name in ("cuda", "mps") if available[name]), "cpu")
    if not available.get(device):
        there = ", ".join(["auto", *(name for name, is_there in available.items() if is_there)])
        raise ValueError(f"device {device!r} is not available here: use one of {there}")
    return device
