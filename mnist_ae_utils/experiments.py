"""Runs: one recipe and one seed each; many in parallel; remembered on disk, so that nothing is trained twice.

A recipe is a plain dict, made by `autoencoder` or `classifier` and completed by a chapter. A run is trained by one
worker process on one thread, so that its numbers do not depend on how many cores the machine has.
"""

import ast
import contextlib
import functools
import inspect
import math
import os
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import psutil
import sklearn
import torch
from IPython.display import Markdown, display
from sklearn.decomposition import PCA
from torch import nn
from tqdm import tqdm

from mnist_ae_utils import data, evaluation, few_labels, models, training

# What each profile spends. Epochs are passes over `train_images` images; a recipe may multiply them.
PROFILES = {
    "smoke": {
        "dataset": "uci-digits",
        "seeds": 2,
        "sweep_seeds": 1,
        "trial_seeds": 1,
        "train_images": 600,
        "epochs": 2,
        "min_steps": 20,
        "umap_images": 200,
        "likelihood_images": 20,
        "codes_per_image": 50,
    },
    "quick": {
        "dataset": "auto",
        "seeds": 2,
        "sweep_seeds": 1,
        "trial_seeds": 1,
        "train_images": 10_000,
        "epochs": 6,
        "min_steps": 150,
        "umap_images": 1_000,
        "likelihood_images": 100,
        "codes_per_image": 1_000,
    },
    "full": {
        "dataset": "auto",
        "seeds": 5,
        "sweep_seeds": 5,
        "trial_seeds": 3,
        "train_images": 55_000,
        "epochs": 12,
        "min_steps": 600,
        "umap_images": 5_000,
        "likelihood_images": 1_000,
        "codes_per_image": 5_000,
    },
}
DEVICES = ("auto", "cpu", "cuda", "mps")
# Settings of the GNU C library for the workers: what a training step frees is kept for the next one. Otherwise it goes
# back to the kernel, which clears every page before it gives it out again; convolutions take a quarter longer so.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


@dataclass
class Run:
    """A finished run: one recipe, one seed.

    Attributes
    ----------
    recipe : dict
    seed : int
    state : dict of Tensor
        The trained weights, on the CPU.
    history : training.History or None
    scores : dict of float
        By split ("train", "validation", "test"): reconstruction error of an autoencoder, ELBO of a variational one,
        accuracy of a classifier; None where training diverged. See `Chapter.variational` for "log_likelihood".
    diverged : str
        Empty, or when and how training diverged.
    """

    recipe: dict
    seed: int
    state: dict
    history: training.History | None
    scores: dict
    diverged: str = ""

    def model(self):
        """The trained model, in evaluation mode, on the recipe's device; ValueError if training diverged."""
        if self.diverged:
            raise ValueError(f"the run with seed {self.seed} has no weights: {self.diverged}")
        model = build(self.recipe)
        model.load_state_dict(self.state)
        return model.to(self.recipe["device"]).eval()


@dataclass
class Chapter:
    """What a notebook works with: its data, its budget, its seeds and its results; made by `begin`.

    Sweeps on which a verdict rests take the `sweep_seeds`, those that only explore the `trial_seeds`: as many as the
    profile says, but no more than `seeds`.
    """

    data: data.Dataset
    budget: dict
    seeds: list
    sweep_seeds: list
    trial_seeds: list
    device: str
    results: evaluation.Results

    def autoencoder(self, model, latent_dim=32, *, epochs=1.0, n_images=None, batch_size=128, learning_rate=2e-3,
                    weight_decay=0.0, noise=0.0, distortion=0.0, restore=False, **options):  # fmt: skip
        """Recipe of an autoencoder trained without labels on the first `n_images` training images.

        Parameters
        ----------
        model : str
            Name of a class in `models`; `options` are its further arguments.
        latent_dim : int
        epochs : float
            Multiple of the profile's passes over its training images. With fewer images, as many passes are made
            as it takes to train for the same number of steps. 0 leaves the network as it was initialized.
        n_images : int, optional
            The profile's number of training images unless told; never more than that.
        noise : float
            Standard deviation of the Gaussian noise on the input (0: a plain autoencoder).
        distortion : float
            Strength of the random distortions (`data.distort`) of input and target alike at the start of training,
            from where it falls linearly to none at the end.
        restore : bool
            Distort only the input, equally strongly throughout, and ask for the original.
        batch_size, learning_rate, weight_decay
            As in `training.train`.
        """
        _check(latent_dim=latent_dim, batch_size=batch_size, n_images=1 if n_images is None else n_images)
        _check_not_negative(epochs=epochs, weight_decay=weight_decay, noise=noise, distortion=distortion)
        pool = len(self.data.train)
        n_images = min(n_images or pool, pool)
        passes = epochs * self.budget["epochs"] * math.ceil(pool / batch_size) / math.ceil(n_images / batch_size)
        passes = max(1, round(passes)) if epochs else 0
        return {
            "model": model, "options": {"latent_dim": latent_dim, **options}, **self._source,
            "n_images": n_images, "epochs": passes,
            "noise": noise, "distortion": distortion, "batch_size": batch_size, "learning_rate": learning_rate,
            "weight_decay": weight_decay,
        } | ({"restore": True} if restore else {})  # fmt: skip

    def classifier(self, inputs, autoencoder=None, *, n_inputs=None, n_labels=None, epochs=2.0, batch_size=128,
                   learning_rate=1e-2, weight_decay=0.1, reconstruction_weight=None, wrong_labels=0.0):  # fmt: skip
        """Recipe of a classifier trained on `n_labels` labelled images.

        Parameters
        ----------
        inputs : str
            An `MLPClassifier` on fixed inputs: "codes" of the trained `autoencoder`, "pixels", or "pca" (the first
            `n_inputs` components). "logistic regression": one linear layer on pixels. Or encoder and classifier as
            one network: "end to end" (from scratch), "fine-tuned" (from the trained autoencoder), "joint" (from
            scratch, on labels and on the reconstruction of all images, labelled or not).
        autoencoder : dict, optional
            Recipe of the autoencoder, where one is involved.
        reconstruction_weight : float, optional
            For "joint": of the squared error per image beside the cross-entropy.
        n_labels : int, optional
            All training images unless told; drawn anew for each seed, equally many per class.
        epochs : float
            Multiple of the profile's passes; with few labels, at least the profile's `min_steps` steps are taken.
        wrong_labels : float in [0, 1)
            Fraction of the training labels that are wrong (`data.mislabel`). The training score then counts
            agreement with the labels given, wrong ones included; validation and test labels stay right.
        """
        needs_encoder = ("codes", "end to end", "fine-tuned", "joint")
        if inputs not in (*needs_encoder, "pixels", "pca", "logistic regression"):
            raise ValueError(f"inputs {inputs!r}: see Chapter.classifier for what is allowed")
        for given, needed, name in ((autoencoder, inputs in needs_encoder, "autoencoder"),
                                    (n_inputs, inputs == "pca", "n_inputs"),
                                    (reconstruction_weight, inputs == "joint", "reconstruction_weight")):  # fmt: skip
            if needed and given is None:
                raise ValueError(f"a classifier on {inputs!r} needs {name}")
        _check(batch_size=batch_size, n_labels=10 if n_labels is None else n_labels)
        _check_not_negative(epochs=epochs, weight_decay=weight_decay)
        if not 0 <= wrong_labels < 1:
            raise ValueError(f"wrong_labels {wrong_labels!r}: use a number from 0 to below 1")
        pool = len(self.data.train)
        n_labels = min(n_labels or pool, pool)
        passes = max(epochs * self.budget["epochs"], self.budget["min_steps"] / math.ceil(n_labels / batch_size))
        if inputs == "joint":  # its epochs are passes over all images
            passes = epochs * self.budget["epochs"]
        if n_inputs is None:
            n_inputs = autoencoder["options"]["latent_dim"] if autoencoder else models.PIXELS
        return {
            "inputs": inputs, "n_inputs": n_inputs, "autoencoder": autoencoder, **self._source,
            "pool": pool, "n_labels": n_labels, "epochs": math.ceil(passes), "batch_size": batch_size,
            "learning_rate": learning_rate, "weight_decay": weight_decay,
            "reconstruction_weight": reconstruction_weight,
        } | ({"wrong_labels": wrong_labels} if wrong_labels else {})  # fmt: skip

    def embedding(self, autoencoder=None, *, umap=True, n_neighbors=20, n_images=None):
        """Recipe of the points in which clusters are looked for, one for each of the first `n_images` training images.

        Parameters
        ----------
        autoencoder : dict, optional
            Recipe of the autoencoder whose standardized codes are embedded; without it, the pixels are.
        umap : bool
            Whether the points are a UMAP embedding, in ten dimensions, or the codes or pixels themselves.
        n_neighbors : int
            Of each image, for UMAP and for `few_labels.agreement`.
        n_images : int, optional
            The profile's number of training images unless told; never more than that.
        """
        pool = len(self.data.train)
        _check(n_neighbors=n_neighbors, n_images=1 if n_images is None else n_images)
        return {
            "autoencoder": autoencoder, "umap": umap, "n_neighbors": n_neighbors,
            "pool": min(n_images or pool, pool), **self._source,
        }  # fmt: skip

    def labeling(self, embedding, n_random=None):
        """Recipe of pseudo-labels for all images of an embedding, spread from a few labels that are asked for.

        Parameters
        ----------
        embedding : dict
            Recipe of the points (`Chapter.embedding`) whose ten clusters choose whom to ask for (`few_labels.ask`).
        n_random : int, optional
            Of so many images the label is asked for that chance chooses (`few_labels.ask_at_random`).
        """
        _check(n_random=1 if n_random is None else n_random)
        return {"embedding": embedding, "n_random": n_random, "pool": embedding["pool"], **self._source}

    def student(self, teacher, *, share, channels, epochs=0.33, n_more=0, distortion=1.0):
        """Recipe of a convolutional network taught by pseudo-labels, or by a network that was, on the same images.

        Parameters
        ----------
        teacher : dict
            Recipe of pseudo-labels (`Chapter.labeling`) or of another student.
        share : float in (0, 1]
            Of the images, what it learns: those whose neighbors agree most, or of which its teacher is surest.
        channels : (int, int, int)
            Of the `ConvClassifier`.
        epochs : float
            Multiple of the profile's passes, over these images; at least half of the profile's `min_steps` steps.
        n_more : int
            So many further labels are asked for, of the images that are trusted least.
        distortion : float
            Strength of the random distortions of the images that it learns.
        """
        _check_not_negative(epochs=epochs, n_more=n_more, distortion=distortion)
        if not 0 < share <= 1:
            raise ValueError(f"share {share!r}: use a number above 0, and 1 at most")
        pool = teacher["pool"]
        opinion = {"opinion_of": teacher, "pool": pool, **self._source}
        least = self.budget["min_steps"] / 2 / math.ceil(pool / 128)
        return {
            "model": "ConvClassifier", "options": {"channels": channels}, "teacher": opinion, "share": share,
            "n_more": n_more, "epochs": math.ceil(max(least, epochs * self.budget["epochs"])), "pool": pool,
            "distortion": distortion, "batch_size": 128, "learning_rate": 5e-3, "weight_decay": 0.01,
            **self._source,
        }  # fmt: skip

    def variational(self, latent_dim=32, *, beta=1.0, likelihood_images=0, k=5000, learning_rate=1e-2, **settings):
        """Recipe of a `VariationalAutoencoder`, scored by the ELBO in nats, whatever its `beta`.

        Parameters
        ----------
        latent_dim : int
        beta : float
            Weight of the KL divergence in the loss.
        likelihood_images, k : int
            With how many test images, and how many codes each, the log-likelihood is estimated after training, as
            the score "log_likelihood". With no images it is not.
        learning_rate, settings
            As in `Chapter.autoencoder`.
        """
        _check(k=k)
        _check_not_negative(beta=beta, likelihood_images=likelihood_images)
        recipe = self.autoencoder("VariationalAutoencoder", latent_dim, learning_rate=learning_rate, **settings)
        return recipe | {"beta": beta, "likelihood_images": likelihood_images, "k": k}

    def semi_supervised(self, variational, n_labels, *, epochs=1.0, batch_size=128, learning_rate=3e-3,
                        label_weight=1.0):  # fmt: skip
        """Recipe of a `SemiSupervisedVAE` (M2) on the codes of a variational autoencoder (M1).

        Parameters
        ----------
        variational : dict
            Recipe of M1.
        n_labels : int
            Drawn anew for each seed, equally many per class, as for a classifier; all other images have no label.
        epochs : float
            Multiple of the profile's passes over all training images.
        label_weight : float
            Of the cross-entropy on the labelled images; Kingma et al. have 0.1, and many more passes.
        """
        _check(n_labels=n_labels, batch_size=batch_size)
        _check_not_negative(epochs=epochs, label_weight=label_weight)
        return {
            "model": "SemiSupervisedVAE", "options": {"n_inputs": variational["options"]["latent_dim"]},
            "variational": variational, **self._source,
            "pool": len(self.data.train), "n_labels": min(n_labels, len(self.data.train)),
            "epochs": math.ceil(epochs * self.budget["epochs"]), "batch_size": batch_size,
            "learning_rate": learning_rate, "weight_decay": 0.0, "label_weight": label_weight,
        }  # fmt: skip

    def run(self, recipes, seeds=None):
        """Train every recipe with every seed, or take the run from disk where it was trained before.

        Parameters
        ----------
        recipes : dict of dict
            Recipes by name.
        seeds : list of int, optional
            The chapter's `seeds` unless told.

        Returns
        -------
        dict of list of Run
            By the same names, one run per seed.
        """
        seeds = self.seeds if seeds is None else seeds
        jobs = [(name, recipe, seed) for name, recipe in recipes.items() for seed in seeds]
        os.environ.update(KEEP_FREED_MEMORY | os.environ)  # read by workers when they start; the user's own hold
        pending = joblib.Parallel(n_jobs=self._workers(len(jobs)), return_as="generator")(
            joblib.delayed(_in_worker)(recipe, seed, code_version(recipe)) for _, recipe, seed in jobs
        )
        runs = {name: [] for name in recipes}
        # Workers that have grown large are replaced by fresh ones, which joblib reports although no job is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        with contextlib.closing(pending):  # an interrupt stops the workers too
            for (name, _, _), run in zip(jobs, progress(pending, len(jobs), "runs"), strict=True):
                runs[name].append(run)
                if run.history:
                    self.results.training_seconds[joblib.hash([run.recipe, run.seed])] = run.history.seconds
        return runs

    @property
    def _source(self):
        """What every recipe says of its data and where they lie."""
        return {"dataset": self.data.name, "checksum": self.data.checksum, "device": self.device}

    def _workers(self, n_jobs):
        """As many as there are jobs, cores, and GiB of free memory; one where a GPU does the work."""
        free = psutil.virtual_memory().available // 2**30
        most = min(joblib.cpu_count(only_physical_cores=True), free) if self.device == "cpu" else 1
        return max(1, min(n_jobs, most))


def _check(**counts):
    """Raise ValueError unless each is a whole number of at least 1."""
    for name, value in counts.items():
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{name} {value!r}: use a whole number of at least 1")


def _check_not_negative(**numbers):
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} {value!r}: use a number that is not negative")


def begin(notebook, profile="quick", dataset="auto", seeds=None, device="auto"):
    """Check a notebook's parameters, load the data, show what they are, and return the notebook's `Chapter`.

    Parameters
    ----------
    notebook : str
        The notebook's name without its ending, under which the results are stored.
    profile : {"smoke", "quick", "full"}
    dataset : str
        One of `data.DATASETS`; "auto" is the profile's choice.
    seeds : int, optional
        How many seeds instead of the profile's number, at least 1; a sweep takes no more than these.
    device : {"auto", "cpu", "cuda", "mps"}

    Raises
    ------
    ValueError
        If a parameter is out of range; the message says what is allowed.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r}: use one of {', '.join(PROFILES)}")
    if seeds is not None and not (isinstance(seeds, int) and seeds >= 1):
        raise ValueError(f"seeds {seeds!r}: use a whole number of at least 1, or None for the profile's number")
    torch.backends.cudnn.allow_tf32 = False  # the same digits of a convolution on every GPU
    budget = PROFILES[profile]
    device = choose_device(device)
    loaded = data.load(budget["dataset"] if dataset == "auto" else dataset, device)
    loaded = replace(loaded, train=loaded.train.first(min(budget["train_images"], len(loaded.train))))
    print(
        f"{data.describe(loaded).splitlines()[0]}; {len(loaded.train):,} training images; profile {profile}, {device}"
    )
    if loaded.notice:
        display(Markdown(f"> ### {loaded.notice}"))
    n_seeds = seeds or budget["seeds"]
    seeds, sweep_seeds, trial_seeds = (
        list(range(min(n_seeds, n))) for n in (n_seeds, budget["sweep_seeds"], budget["trial_seeds"])
    )
    results = evaluation.Results(notebook, loaded.name)
    return Chapter(loaded, budget, seeds, sweep_seeds, trial_seeds, device, results)


def choose_device(device="auto"):
    """The device to train on: "auto" is a GPU where there is one. Raises ValueError for one that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name in ("cuda", "mps") if available[name]), "cpu")
    if not available.get(device):
        there = ", ".join(["auto", *(name for name, is_there in available.items() if is_there)])
        raise ValueError(f"device {device!r} is not available here: use one of {there}")
    return device


def progress(iterable, total, unit):
    """A progress bar on standard output; where that is a file or a notebook's log, it is redrawn rarely."""
    interval = 0.5 if sys.stdout.isatty() else 5
    return tqdm(iterable, total=total, unit=unit, file=sys.stdout, ncols=90, mininterval=interval)


# --- one run ---------------------------------------------------------------------------------------------------


def remembered_run(recipe, seed):
    """The `Run` of this recipe and seed: from disk where the same code made it before, else trained now.

    A damaged file is trained again, with a warning; if the disk is full, the run is returned but not kept.
    """
    path = Path(cache_folder(), f"{joblib.hash([recipe, seed, code_version(recipe)])}.joblib")
    if path.exists():
        try:
            return joblib.load(path)
        except Exception as error:  # whatever a damaged file makes the unpickling raise
            warnings.warn(f"{path.name} in the cache is damaged and is trained again: {error!r}", stacklevel=2)
    run, partial = _on_one_thread(recipe, seed), path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(run, partial, compress=1)  # compressed, so that a checksum guards the content
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        warnings.warn(f"a finished run could not be kept in {path.parent}: {error}", stacklevel=2)
    return run


def _in_worker(recipe, seed, version):
    if version != code_version(recipe):
        raise RuntimeError("the package changed since this notebook's kernel started: restart the kernel")
    return remembered_run(recipe, seed)


def _on_one_thread(recipe, seed):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return globals()[fitter(recipe)](recipe, seed)
    finally:
        torch.set_num_threads(threads)


def fitter(recipe):
    """The name of the function that trains what a recipe describes."""
    marks = {"beta": "fit_variational", "variational": "fit_semi_supervised", "inputs": "fit_classifier",
             "umap": "fit_embedding", "n_random": "fit_labeling", "opinion_of": "fit_opinion",
             "teacher": "fit_student"}  # fmt: skip
    return next((name for mark, name in marks.items() if mark in recipe), "fit_autoencoder")


def cache_folder():
    """Where runs are remembered: $MNIST_AE_CACHE, else `.cache` in the project's folder."""
    return os.environ.get("MNIST_AE_CACHE") or data.PROJECT_ROOT / ".cache"


def read_code():
    """What the package defines at the top level of its modules: by (module, name), its code and what it refers to.

    The code is blind to comments and docstrings. References are those to other definitions of the package.
    """
    definitions = {}
    for module in (data, models, training, evaluation, few_labels, sys.modules[__name__]):
        for node in ast.parse(inspect.getsource(module)).body:
            targets = node.targets if isinstance(node, ast.Assign) else [node]
            for name in (getattr(target, "name", getattr(target, "id", None)) for target in targets):
                definitions[module.__name__.rpartition(".")[2], name] = node
    code = {}
    for (module, name), node in definitions.items():
        found = set()
        for part in ast.walk(node):
            if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part) is not None:
                part.body = part.body[1:]
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                found.add((part.value.id, part.attr))
            elif isinstance(part, ast.Name):
                found.add((module, part.id))
        code[module, name] = ast.dump(node), found & definitions.keys()
    return code


def code_version(recipe):
    """Fingerprint of the code that determines the outcome of a recipe's run, and of the libraries it stands on.

    It covers all code that the run can reach, but for the finding of data, which are held by their checksum, and the
    keeping of runs.
    """
    ends = {("data", "load"), ("experiments", "remembered_run")}
    reached, pending = set(ends), [("experiments", fitter(recipe)), ("data", "_dataset")]
    pending += [("models", recipe["model"])] if "model" in recipe else []
    while pending:
        if (part := pending.pop()) not in reached:
            reached.add(part)
            pending += CODE[part][1]
    versions = [library.__version__ for library in (torch, sklearn, np)]
    earlier = [code_version(value) for value in recipe.values() if isinstance(value, dict) and "dataset" in value]
    return joblib.hash([versions, earlier, [CODE[part][0] for part in sorted(reached - ends)]])


def load_checked(recipe):
    """The dataset of a recipe; RuntimeError if it is no longer the one that the recipe was made for."""
    dataset = data.load(recipe["dataset"], recipe["device"])
    if dataset.checksum != recipe["checksum"]:
        raise RuntimeError(f"{recipe['dataset']} changed since this notebook's kernel started: restart the kernel")
    return dataset


def build(recipe):
    """The untrained network of a recipe, initialized from torch's current random state."""
    if "model" in recipe:
        return getattr(models, recipe["model"])(**recipe["options"])
    if recipe["inputs"] == "logistic regression":
        return nn.Sequential(models.Standardize(recipe["n_inputs"]), nn.Linear(recipe["n_inputs"], 10))
    classifier = nn.Sequential(models.Standardize(recipe["n_inputs"]), models.MLPClassifier(recipe["n_inputs"]))
    if recipe["inputs"] in ("end to end", "fine-tuned", "joint"):
        return models.EncoderClassifier(build(recipe["autoencoder"]), classifier)
    return classifier


def fit_autoencoder(recipe, seed):
    """Train the autoencoder of a recipe (`Chapter.autoencoder`) with one seed; returns a `Run`."""
    distortion, transform = recipe["distortion"], None
    loss = training.denoising_loss(recipe["noise"]) if recipe["noise"] else training.reconstruction_loss
    if recipe.get("restore"):
        loss = training.restoring_loss(functools.partial(data.distort, strength=distortion))
    elif distortion:

        def transform(batch, progress):
            return data.distort(batch, distortion * (1 - progress))

    return _fit_to_images(recipe, seed, loss, evaluation.reconstruction_error, transform)


def fit_variational(recipe, seed):
    """Train the variational autoencoder of a recipe (`Chapter.variational`) with one seed; returns a `Run`."""
    run = _fit_to_images(recipe, seed, training.negative_elbo(recipe["beta"]), evaluation.elbo)
    if recipe["likelihood_images"] and not run.diverged:
        some = load_checked(recipe).test.images[: recipe["likelihood_images"]]  # stratified, see data.Split.first
        run.scores["log_likelihood"] = evaluation.log_likelihood(run.model(), some, recipe["k"]).mean().item()
    return run


def _fit_to_images(recipe, seed, loss, score, transform=None):
    """Train and score the model of a recipe that learns from images alone."""
    dataset = load_checked(recipe)
    images = dataset.train.first(recipe["n_images"]).images
    torch.manual_seed(seed)
    model = build(recipe).to(recipe["device"])
    splits = {"train": images[:10_000], "validation": dataset.validation.images, "test": dataset.test.images}
    splits = {name: (shown,) for name, shown in splits.items()}
    return _train(recipe, seed, model, loss, (images,), splits, score, transform)


def fit_semi_supervised(recipe, seed):
    """Train the M2 of a recipe (`Chapter.semi_supervised`) on the M1 of the same seed; returns a `Run`."""
    pretrained = remembered_run(recipe["variational"], seed)
    if pretrained.diverged:
        return _diverged(recipe, seed, f"its variational autoencoder: {pretrained.diverged}")
    vae, dataset = pretrained.model(), load_checked(recipe)
    pool = dataset.train.first(recipe["pool"])
    chosen = data.labelled_subset(pool.labels, recipe["n_labels"], seed)
    means, log_variances = evaluation.in_batches(lambda x: torch.cat(vae.posterior(x), 1), pool.images).chunk(2, 1)
    loss = training.semi_supervised_loss(
        means[chosen], log_variances[chosen], pool.labels[chosen], len(pool), recipe["label_weight"]
    )
    splits = {"train": (means[chosen], pool.labels[chosen])}
    for name in ("validation", "test"):
        split = getattr(dataset, name)
        splits[name] = evaluation.encode(vae, split.images), split.labels
    torch.manual_seed(seed)
    model = build(recipe).to(recipe["device"])
    return _train(recipe, seed, model, loss, (means, log_variances), splits, evaluation.accuracy)


def fit_classifier(recipe, seed):
    """Train the classifier of a recipe (`Chapter.classifier`) with one seed; returns a `Run`.

    The autoencoder that it starts from or stands on is trained with the same seed, or remembered; if that diverged,
    so has this run.
    """
    if recipe["inputs"] in ("codes", "fine-tuned"):
        pretrained = remembered_run(recipe["autoencoder"], seed)
        if pretrained.diverged:
            return _diverged(recipe, seed, f"its autoencoder: {pretrained.diverged}")
    dataset = load_checked(recipe)
    pool = dataset.train.first(recipe["pool"])
    chosen = data.labelled_subset(pool.labels, recipe["n_labels"], seed)
    labels = data.mislabel(pool.labels[chosen], recipe.get("wrong_labels", 0.0), torch.Generator().manual_seed(seed))
    splits = {"train": data.Split(pool.images[chosen], labels),
              "validation": dataset.validation, "test": dataset.test}  # fmt: skip
    torch.manual_seed(seed)
    model = build(recipe).to(recipe["device"])
    whole_network = isinstance(model, models.EncoderClassifier)
    represent = fixed_inputs(recipe, seed, pool.images)
    if recipe["inputs"] == "fine-tuned":
        autoencoder = pretrained.model()
        model.encoder, model.decoder = autoencoder.encoder, autoencoder.decoder
        represent = functools.partial(evaluation.encode, autoencoder)
    if represent is not None:
        standardize = model.classifier[0] if whole_network else model[0]
        standardize.fit(represent(pool.images[:10_000]))
    loss = training.classification_loss
    tensors = {s: (split.images if whole_network else represent(split.images), split.labels)
               for s, split in splits.items()}  # fmt: skip
    trained_on = tensors["train"]
    if recipe["inputs"] == "joint":
        loss = training.joint_loss(*tensors["train"], recipe["reconstruction_weight"], recipe["batch_size"])
        trained_on = (pool.images,)
    return _train(recipe, seed, model, loss, trained_on, tensors, evaluation.accuracy)


def fixed_inputs(recipe, seed, images):
    """The function from images to the fixed inputs of a recipe's classifier; None where it is trained on images."""
    if recipe["inputs"] in ("pixels", "logistic regression"):
        return lambda x: x.flatten(1)
    if recipe["inputs"] == "codes":
        return functools.partial(evaluation.encode, remembered_run(recipe["autoencoder"], seed).model())
    if recipe["inputs"] == "pca":
        pca = PCA(recipe["n_inputs"], random_state=0).fit(images.flatten(1).cpu().numpy())
        mean, components = (torch.tensor(a, device=images.device) for a in (pca.mean_, pca.components_))
        return lambda x: (x.flatten(1) - mean) @ components.T
    return None


def fit_embedding(recipe, seed):
    """Embed the training images of a recipe (`Chapter.embedding`); the run's state holds "points" and "neighbors"."""
    start = time.perf_counter()
    images = load_checked(recipe).train.first(recipe["pool"]).images
    codes = images.flatten(1)
    if recipe["autoencoder"]:
        pretrained = remembered_run(recipe["autoencoder"], seed)
        if pretrained.diverged:
            return _diverged(recipe, seed, f"its autoencoder: {pretrained.diverged}")
        codes = evaluation.encode(pretrained.model(), images)
        codes = (codes - codes.mean(0)) / codes.std(0).clamp_min(1e-8)
    codes = codes.cpu().numpy()
    neighbors = few_labels.nearest_codes(codes, recipe["n_neighbors"])
    points = codes
    if recipe["umap"]:
        points = evaluation.umap_embedding(codes, seed, n_components=10, min_dist=0.0, neighbors=neighbors)
    state = {"points": torch.from_numpy(points), "neighbors": torch.from_numpy(neighbors[0].astype(np.int32))}
    return Run(recipe, seed, state, training.History(seconds=time.perf_counter() - start), {})


def fit_labeling(recipe, seed):
    """Ask for labels and spread them (`Chapter.labeling`); the run's state holds a `few_labels.Labeling`.

    Its score is the accuracy of the pseudo-labels.
    """
    embedded, start = remembered_run(recipe["embedding"], seed), time.perf_counter()
    if embedded.diverged:
        return _diverged(recipe, seed, embedded.diverged)
    labels = load_checked(recipe).train.first(recipe["pool"]).labels.cpu().numpy()
    points, n_random = embedded.state["points"].numpy(), recipe["n_random"]
    found = (
        few_labels.ask_at_random(points, labels, n_random, seed) if n_random else few_labels.ask(points, labels, seed)
    )
    state = {name: torch.as_tensor(value) for name, value in vars(found).items()}
    history = training.History(seconds=time.perf_counter() - start)
    return Run(recipe, seed, state, history, {"train": float((found.labels == labels).mean())})


def fit_student(recipe, seed):
    """Train the network of a recipe (`Chapter.student`) with one seed; returns a `Run`.

    It has no training score. Its seconds include its teacher's for an opinion, which all students of that teacher
    share.
    """
    opinion, start = remembered_run(recipe["teacher"], seed), time.perf_counter()
    if opinion.diverged:
        return _diverged(recipe, seed, opinion.diverged)
    dataset = load_checked(recipe)
    train = dataset.train.first(recipe["pool"])
    labels, trust = (opinion.state[name].to(recipe["device"]) for name in ("labels", "trust"))
    if recipe["n_more"]:
        asked = trust.argsort(stable=True)[: recipe["n_more"]]
        labels[asked], trust[asked] = train.labels[asked], math.inf
    learned = trust.argsort(descending=True, stable=True)[: math.ceil(recipe["share"] * len(train))]
    splits = {"validation": dataset.validation, "test": dataset.test}
    torch.manual_seed(seed)
    run = _train(
        recipe, seed, build(recipe).to(recipe["device"]), training.smoothed_classification_loss,
        (train.images[learned], labels[learned]), {name: (x.images, x.labels) for name, x in splits.items()},
        evaluation.accuracy, lambda batch, progress: data.distort(batch, recipe["distortion"]),
    )  # fmt: skip
    if run.history:
        run.history.seconds = opinion.history.seconds + time.perf_counter() - start
    return run


def fit_opinion(recipe, seed):
    """Ask the teacher of a student for all pseudo-labels (`teach`); the run's state holds "labels" and "trust"."""
    teacher, start = remembered_run(recipe["opinion_of"], seed), time.perf_counter()
    if teacher.diverged:
        return _diverged(recipe, seed, f"its teacher: {teacher.diverged}")
    torch.manual_seed(seed)
    labels, trust = teach(teacher, load_checked(recipe).train.first(recipe["pool"]).images)
    history = training.History(seconds=time.perf_counter() - start)
    return Run(recipe, seed, {"labels": labels.cpu(), "trust": trust.cpu()}, history, {})


def teach(teacher, images):
    """What a `Run` of `Chapter.labeling` says of its images, or one of `Chapter.student` of any.

    Returns
    -------
    labels, trust : Tensor (n,)
        Pseudo-labels, and how far to trust each, in [0, 1]: the share of the neighbors that agree, or the probability
        that the network gives, the mean over the images as they are and two distortions of each.
    """
    if "teacher" not in teacher.recipe:
        labels, embedded = teacher.state["labels"], remembered_run(teacher.recipe["embedding"], teacher.seed)
        trust = few_labels.agreement(labels.numpy(), embedded.state["neighbors"].numpy())
        return labels.to(images.device), torch.from_numpy(trust).to(images.device)
    views = [images, *(data.distort(images, teacher.recipe["distortion"]) for _ in range(2))]
    trust, labels = evaluation.class_probabilities(teacher.model(), views).max(1)
    return labels, trust


def _train(recipe, seed, model, loss, trained_on, splits, score, transform=None):
    """Train and score; a run that diverges keeps no weights and no scores, and says so."""
    settings = {key: recipe[key] for key in ("epochs", "batch_size", "learning_rate", "weight_decay")}

    def validate(model):
        return score(model, *splits["validation"])

    try:
        history = training.train(model, loss, trained_on, seed=seed, transform=transform, validate=validate, **settings)
    except training.Diverged as error:
        return _diverged(recipe, seed, str(error))
    scores = {name: score(model, *tensors) for name, tensors in splits.items()}
    if not all(map(math.isfinite, scores.values())):
        return _diverged(recipe, seed, f"the scores after the last step are {scores}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return Run(recipe, seed, state, history, scores)


def _diverged(recipe, seed, reason):
    return Run(recipe, seed, {}, None, dict.fromkeys(("train", "validation", "test")), reason)


CODE = read_code()  # of the modules in memory, whatever happens to the files while they run
