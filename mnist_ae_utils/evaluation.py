"""Numbers from models and codes, the intervals around them, and the verdicts that follow from them."""

import contextlib
import json
import math
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import subspace_angles
from scipy.optimize import linear_sum_assignment
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mnist_ae_utils import data, few_labels, training

BATCH = 1000


def in_batches(function, inputs):
    """``function(inputs)`` computed 1,000 rows at a time, without gradients."""
    with torch.inference_mode():
        return torch.cat([function(batch) for batch in inputs.split(BATCH)])


def encode(autoencoder, images):
    """Codes (n, latent_dim) of `images` (n, 1, 28, 28), by the autoencoder in evaluation mode."""
    return in_batches(autoencoder.eval().encoder, images)


def reconstruct(autoencoder, images):
    """Reconstructions (n, 1, 28, 28) of `images`, by the autoencoder in evaluation mode."""
    return in_batches(autoencoder.eval(), images)


def reconstruction_error(autoencoder, images):
    """Squared error summed over the 784 pixels, averaged over the images (PCA with 30 components: 13.87)."""
    return image_errors(reconstruct(autoencoder, images), images).mean().item()


def image_errors(reconstructions, images):
    """Squared error of each image, summed over its pixels: a tensor (n,)."""
    return (reconstructions - images).square().flatten(1).sum(1)


@contextlib.contextmanager
def _seeded(seed):
    """Randomness of its own inside, without gradients; outside, torch's random state stays as it was."""
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        yield


def elbo(vae, images, seed=0):
    """Evidence lower bound in nats, averaged over `images`, which are binarized by `seed`; one code drawn for each."""

    def bound(batch):
        log_likelihood, kl = training.elbo_terms(vae, data.binarize(batch))
        return log_likelihood - kl.sum(1)

    vae.eval()
    with _seeded(seed):
        return in_batches(bound, images).mean().item()


def log_likelihood(vae, images, k, seed=0):
    """Estimate log p(x) by importance sampling: `k` codes per image, drawn from the encoder's q(z | x).

    A lower bound in expectation; with k = 1 the ELBO, and tighter the more codes are drawn.
    Source: Burda, Grosse & Salakhutdinov (2015), "Importance weighted autoencoders".

    Parameters
    ----------
    vae : VariationalAutoencoder
    images : Tensor (n, 1, 28, 28)
        Binarized by `seed`.
    k : int
        The computation grows with n times k, the memory does not: 1,000 codes are decoded at a time.

    Returns
    -------
    Tensor (n,)
        In nats, one estimate per image.
    """
    vae.eval()
    with _seeded(seed):
        binary = data.binarize(images)
        means, log_variances = vae.posterior(binary)
        estimates = []
        for image, mean, log_variance in zip(binary.flatten(1), means, log_variances, strict=True):
            codes = training.draw_codes(mean.expand(k, -1), log_variance.expand(k, -1))
            # log p(x, z) - log q(z | x); the normalizers of prior and q cancel but for the variance
            log_prior, log_q = -codes.square() / 2, -((codes - mean) ** 2 / log_variance.exp() + log_variance) / 2
            log_weights = (log_prior - log_q).sum(1) + in_batches(lambda c, x=image: _log_bernoulli(vae, x, c), codes)
            estimates.append(log_weights.logsumexp(0) - math.log(k))
    return torch.stack(estimates)


def _log_bernoulli(vae, image, codes):
    """log p(x | z) (n,) of one binary image (784,), given each of `codes` (n, latent_dim)."""
    # log sigmoid(logit) at ink, log sigmoid(-logit) at paper. Ten times faster than logsigmoid, and as good down to the
    # least positive number: a code that contradicts a pixel by 87 nats or more has no weight in any case.
    probabilities = torch.sigmoid(vae.logits(codes) * (2 * image - 1))
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log().sum(1)


def frechet_distance(a, b):
    """Frechet distance between the Gaussians fitted to two sets of features, (n, d) and (m, d): 0 for equal ones.

    Of features that a network computes from images, it tells how far generated images are from real ones. Source:
    Heusel et al. (2017), "GANs trained by a two time-scale update rule", who take the features of Inception.
    """
    a, b = (_numpy(x).astype(float) for x in (a, b))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # the trace of the square root of cov_a cov_b, from its eigenvalues, which are real and not negative
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real.clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root)


def active_units(vae, images):
    """Number of dimensions of the code whose mean varies over the images with a variance above 0.01 (Burda et al.)."""
    return int((encode(vae, images).var(0) > 0.01).sum())


def predict(classifier, inputs):
    """Predicted classes (n,), by the classifier in evaluation mode."""
    return in_batches(classifier.eval(), inputs).argmax(1)


def class_probabilities(classifier, views):
    """Class probabilities (n, n_classes), the mean over `views`: tensors of the same images, seen differently."""
    return torch.stack([in_batches(classifier.eval(), images).softmax(1) for images in views]).mean(0)


def accuracy(classifier, inputs, labels):
    """Fraction of `inputs` whose predicted class is the label, in [0, 1]."""
    return (predict(classifier, inputs) == labels).float().mean().item()


def linear_probe(train_codes, train_labels, test_codes, test_labels):
    """Test accuracy in [0, 1] of multinomial logistic regression on standardized codes (scikit-learn)."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with threadpool_limits(1):  # the matrices are so small that threads would spend their time waiting for each other
        return _score(probe, train_codes, train_labels, test_codes, test_labels)


def nearest_neighbors(train_codes, train_labels, test_codes, test_labels, k=5):
    """Test accuracy in [0, 1] of the majority vote among the `k` nearest training codes (Euclidean)."""
    neighbors = KNeighborsClassifier(n_neighbors=k)
    return _score(neighbors, train_codes, train_labels, test_codes, test_labels)


def _score(estimator, train_codes, train_labels, test_codes, test_labels):
    estimator.fit(_numpy(train_codes), _numpy(train_labels))
    return float(estimator.score(_numpy(test_codes), _numpy(test_labels)))


def _numpy(x):
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)


def cluster(codes, n_clusters=10, seed=0):
    """k-means cluster (n,) of each code, best of ten starts."""
    return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(_numpy(codes))


def clustering_accuracy(labels, clusters):
    """Accuracy in [0, 1] of the best one-to-one assignment of clusters to classes (Hungarian algorithm).

    Source: Yang et al. (2010), "Image clustering using local discriminant models and global integration".
    """
    counts = confusion_matrix(_numpy(labels), _numpy(clusters))
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / counts.sum())


def mutual_information(labels, clusters):
    """Normalized mutual information of labels and clusters, in [0, 1] (scikit-learn, arithmetic mean)."""
    return float(normalized_mutual_info_score(_numpy(labels), _numpy(clusters)))


def umap_embedding(codes, seed=0, n_components=2, min_dist=0.1, neighbors=None):
    """UMAP embedding (n, n_components) of `codes` (n, latent_dim); seeded, hence on one thread.

    Source: McInnes, Healy & Melville (2018), "UMAP: Uniform manifold approximation and projection".

    Parameters
    ----------
    codes : array or Tensor (n, latent_dim)
    seed : int
    n_components : int
    min_dist : float in [0, 1]
        How closely points may lie in the embedding: 0.1 for a picture, 0 to look for clusters.
    neighbors : (array, array), optional
        Indices and distances (n, k) of each code's nearest ones, itself first: 15 of them unless told.
    """
    from umap import UMAP  # here, because compiling it takes seconds that most users of this module do not need

    codes = _numpy(codes)
    if neighbors is None:  # the search that UMAP brings along takes longer to compile than this one takes to finish
        neighbors = few_labels.nearest_codes(codes, 15)
    known = {"n_neighbors": neighbors[0].shape[1], "precomputed_knn": neighbors}
    with warnings.catch_warnings():  # that with known neighbors it could not embed further points
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        reducer = UMAP(n_components=n_components, min_dist=min_dist, random_state=seed, n_jobs=1, **known)
        return reducer.fit_transform(codes)


def embedding_trustworthiness(codes, embedding, n_neighbors=15):
    """How far the neighbors in the embedding are neighbors of the codes too, in [0, 1] (scikit-learn).

    Measured on the first 2,000 rows: the computation needs all pairs.
    """
    return float(trustworthiness(_numpy(codes)[:2000], _numpy(embedding)[:2000], n_neighbors=n_neighbors))


def principal_angles(a, b):
    """Angles in degrees between the subspaces spanned by the columns of `a` and `b`, largest first (SciPy)."""
    return np.degrees(subspace_angles(_numpy(a), _numpy(b)))


def confidence_interval(values, level=0.95):
    """Mean and Student t interval of a few seeds' values.

    Returns
    -------
    (float, (float, float) or None)
        The interval is None for a single value.
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None
    half = student_t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, (mean - float(half), mean + float(half))


def judge(differences, margin=0.0):
    """Verdict on a claim "the paired differences are above `margin`", from its 95% interval.

    Returns
    -------
    {"supported", "refuted", "undecided"}
        Supported if the interval lies above `margin`, refuted if it lies below, undecided otherwise: also with
        one seed, and when a seed diverged (None among the differences).
    """
    if any(d is None for d in differences):
        return "undecided"
    _, interval = confidence_interval(differences)
    if interval is None or interval[0] <= margin <= interval[1]:
        return "undecided"
    return "supported" if interval[0] > margin else "refuted"


def p_value(differences, margin=0.0):
    """Of the two-sided t test that the mean of the differences is `margin`; 1 where `judge` could not decide."""
    if any(d is None for d in differences) or len(differences) < 2:
        return 1.0
    if len(set(differences)) == 1:  # without spread the test statistic is infinite, or not a number at the margin
        return float(differences[0] == margin)
    return float(ttest_1samp(differences, margin).pvalue)


def holm(p_values):
    """Adjusted p-values of a family of tests: the smallest of m times m, the next times m - 1, ..., never falling.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p_values = np.asarray(p_values, dtype=float)
    order, m = p_values.argsort(), len(p_values)
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(m, 0, -1)).clip(max=1)
    return adjusted


def combine(verdicts):
    """One verdict for several: their common one; "mixed" if some are supported and some refuted; else undecided."""
    verdicts = set(verdicts)
    if len(verdicts) == 1:
        return verdicts.pop()
    return "mixed" if {"supported", "refuted"} <= verdicts else "undecided"


def differences(a, b):
    """Differences a - b, one per seed; None where the run behind either of them diverged."""
    return [None if x is None or y is None else float(x - y) for x, y in zip(a, b, strict=True)]


def read_results(out):
    """The entries that notebooks have left under ``<out>/results``, by notebook; {} if there are none.

    Raises ValueError for a file that is damaged; the message says which notebook to run again.
    """
    found = {}
    for path in sorted(Path(out, "results").glob("[0-9]*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and run notebook {path.stem} again") from None
    return found


def _number(x):
    """A float, or None for a run that diverged."""
    return None if x is None or np.isnan(x) else float(x)


class Results:
    """What one notebook measured: collected by `add` and `verdict`, written by `save`.

    Parameters
    ----------
    notebook : str
        Such as "01_linear_autoencoder".
    dataset : str
        Name of the dataset behind the numbers.
    """

    def __init__(self, notebook, dataset):
        self.notebook, self.dataset, self.entries = notebook, dataset, []
        self.training_seconds = {}  # by training, remembered ones too

    def add(self, id, per_seed, unit, *, split="test", n_labels=None, reference=None, note=None):
        """Record one measured quantity; None among `per_seed` stands for a run that diverged.

        Parameters
        ----------
        id : str
            Such as "conv_ae.reconstruction_error"; with `n_labels` and `split` it names the entry. Recorded again,
            as when a cell is run a second time, it replaces the earlier entry.
        per_seed : float or sequence of (float or None)
        unit : str
        split : {"train", "validation", "test"}
        n_labels : int, optional
        reference : (float, str), optional
            A published value and its source.
        note : str, optional

        Returns
        -------
        dict
            The entry; its value is the mean over seeds, and None if a seed diverged.
        """
        per_seed = [_number(v) for v in np.atleast_1d(np.asarray(per_seed, dtype=object))]
        diverged = sum(v is None for v in per_seed)
        if diverged:
            note = "; ".join(filter(None, [note, f"diverged in {diverged} of {len(per_seed)} seeds"]))
        value, interval = (None, None) if diverged else confidence_interval(per_seed)
        entry = self._entry(id, value, interval, per_seed, unit, split, n_labels, note)
        entry["reference"] = reference and {"value": float(reference[0]), "source": reference[1]}
        return self._append(entry)

    def verdict(self, id, claim, rule, differences, *, margin=0.0, split="test", n_labels=None):
        """Judge one claim by the paired differences that its `rule` names, and record the outcome.

        Parameters
        ----------
        id, claim, rule : str
            `claim` and `rule` are sentences; the rule says which difference is taken and when it supports.
        differences : sequence of (float or None)
            One per seed; the claim is that they lie above `margin`.

        Returns
        -------
        dict
            The entry: its value is the verdict, its per_seed and ci those of the differences.
        """
        differences = [_number(d) for d in differences]
        value = judge(differences, margin)
        finite = all(d is not None for d in differences)
        interval = confidence_interval(differences)[1] if finite else None
        entry = self._entry(id, value, interval, differences, "verdict", split, n_labels, None)
        entry |= {"claim": claim, "rule": rule, "margin": margin, "p": p_value(differences, margin), "reference": None}
        return self._append(entry)

    def correct(self):
        """Judge the verdicts recorded so far as one family: undecided where Holm's correction leaves p at 0.05 or more.

        With m claims without truth in them, one in twenty would be decided by chance; so corrected, the chance that
        any is stays below one in twenty. The entries' "p" becomes the adjusted one; to be called after the single
        verdicts and before those that `combined` makes of them, which are left out.
        """
        family = [e for e in self.entries if e["unit"] == "verdict" and e["margin"] is not None]
        for entry, p in zip(family, holm([p_value(e["per_seed"], e["margin"]) for e in family]), strict=True):
            decided = judge(entry["per_seed"], entry["margin"])
            entry["value"], entry["p"] = (decided if p < 0.05 else "undecided"), float(p)
            entry["note"] = f"p adjusted for {len(family)} verdicts (Holm)"

    def combined(self, id, claim, verdict_ids, among=()):
        """Record one verdict for the verdicts under `verdict_ids`, recorded here or `among` other notebooks' entries.

        It is found by `combine`, and undecided if any of them is missing. Returns the entry.
        """
        parts = [e for e in (*self.entries, *among) if e["unit"] == "verdict" and e["id"] in verdict_ids]
        complete = parts and set(verdict_ids) <= {e["id"] for e in parts}
        value = combine(e["value"] for e in parts) if complete else "undecided"
        entry = self._entry(id, value, None, [], "verdict", "test", None, None)
        names = ", ".join(dict.fromkeys(e["id"] for e in parts))
        rule = f"supported or refuted if every one of its parts is, mixed if they disagree, else undecided: {names}"
        return self._append(entry | {"claim": claim, "rule": rule, "margin": None, "p": None, "reference": None})

    def _entry(self, id, value, interval, per_seed, unit, split, n_labels, note):
        return {
            "id": id,
            "notebook": self.notebook,
            "value": value,
            "ci": interval and list(interval),
            "per_seed": per_seed,
            "unit": unit,
            "split": split,
            "dataset": self.dataset,
            "n_labels": n_labels,
        } | ({"note": note} if note else {})

    def _append(self, entry):
        key = (entry["id"], entry["split"], entry["n_labels"])
        self.entries = [e for e in self.entries if (e["id"], e["split"], e["n_labels"]) != key]
        self.entries.append(entry)
        return entry

    def save(self, out):
        """Write the entries to ``<out>/results/<notebook>.json`` and return that path.

        If there were trainings, their seconds are an entry too: what the results cost, whatever was remembered.
        """
        if self.training_seconds:
            seconds = sum(self.training_seconds.values())
            self.add(
                "trainings.seconds", seconds, "seconds", split="train", note=f"{len(self.training_seconds)} of them"
            )
        path = Path(out) / "results" / f"{self.notebook}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(self.entries, indent=1) + "\n")
        partial.replace(path)
        return path
