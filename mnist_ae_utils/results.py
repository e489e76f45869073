"""What a notebook measured: entries with intervals, contrasts by the rules of ``rules.toml``; one file a notebook."""

import html
import json
import math
import os
import re
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from mnist_ae_utils import data, models

# What is compared, and how it is judged: the claims of the article, and by notebook its contrasts.
RULES = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))

# What parts of an id are called where people read them, those between its dots; and words of all other parts.
_PARTS = {
    "pca_mlp": "MLP on PCA codes", "pca_mlp_tuned": "MLP on PCA codes", "mlp_pixels": "MLP on pixels",
    "mlp_random_encoder": "MLP on random codes", "svm_pixels": "SVM on pixels", "frozen_mlp": "frozen encoder + MLP",
    "frozen_encoder_mlp": "frozen encoder + MLP", "hybrid": "the article's hybrid",
    "denoising_encoder_mlp": "denoising encoder + MLP", "restoring_encoder_mlp": "restoring encoder + MLP",
    "end_to_end_tuned": "end to end, chosen rate", "spreading_plain": "label spreading on codes",
    "spreading_pixels": "label spreading on pixels", "conv_ae": "the course's convolutional AE",
    "conv_bn_ae": "convolutional AE with batch norm, best rate",
    "conv_no_bn_ae": "convolutional AE without batch norm, best rate", "dense_matched_ae": "dense AE of equal size",
    "m1m2": "M1+M2, head start", "m1m2_random_start": "M1+M2, random start", "real": "real images",
    "few_labels_pixels": "few labels, pixels instead of codes", "anomaly": "class left out",
    "foreign": "foreign images", "rejection": "answers held back", "seen": "class seen",
    "knn_accuracy": "accuracy of nearest neighbors", "linear_probe_accuracy": "accuracy of a linear probe",
    "kmeans_accuracy": "accuracy of k-means", "kmeans_nmi": "NMI of k-means and classes",
    "skill_lost": "share of skill lost", "running": "running averages", "recomputed": "recomputed statistics",
    "fixed_minus_tuned": "MLP of chapter 1 minus one that is tuned", "active_units": "active dimensions",
    "kl": "KL divergence", "nll": "negative log-likelihood",
    "seconds": "time, one after the other",
}  # fmt: skip
_WORDS = {
    "ae": "AE", "vae": "VAE", "pca": "PCA", "mlp": "MLP", "cnn": "CNN", "umap": "UMAP", "elbo": "ELBO", "m1": "M1",
    "auroc": "AUROC", "aurc": "AURC", "vicreg": "VICReg", "mahalanobis": "Mahalanobis", "gaussian": "Gaussian",
    "frechet": "Frechet", "uci": "UCI", "conv": "convolutional", "no": "without", "bn": "batch norm",
    "lr": "at learning rate", "matched": "of equal size",
}  # fmt: skip
_POSSIBLE = {r"accuracy$|auroc|failure_rate$": (0, 1), r"error$|aurc": (0, math.inf)}  # the ends of a score, by its id
_NO_UNITS = ("ratio", "factor", "learning rate", "weight_decay", "dropout", "noise")  # plain numbers


def confidence_interval(values, level=0.95):
    """Mean and Student t interval (low, high) of a few seeds' values; None instead of an interval for a single one."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, (mean - half, mean + half)


def interval_over_images(of_images, level=0.95):
    """Mean and interval (low, high) over seeds and test images of a table (seeds, n_images) of each image's outcome.

    Seeds and images vary it independently, so the squares of the two half-widths are added: that of Student's interval
    over the seeds' means, and that of the images' means over seeds. (Resampling both, as Owen (2007) does, "The
    pigeonhole bootstrap", is too narrow for a handful of seeds.) Source: Zou & Donner (2008), "Construction of
    confidence limits about effect measures: a general approach". With a single seed it is the images' alone.
    """
    of_images = np.asarray(of_images, dtype=float)
    mean, of_seeds = confidence_interval(of_images.mean(1), level)
    spread = of_images.mean(0).std(ddof=1) / np.sqrt(of_images.shape[1])
    half = float(np.hypot(of_seeds[1] - mean if of_seeds else 0.0, stats.norm.ppf((1 + level) / 2) * spread))
    return mean, (mean - half, mean + half)


def p_value(differences, above=0.0):
    """Of the two-sided t test that the mean of the differences is `above`; 1 for one seed, and where a run diverged."""
    differences = np.asarray(differences, dtype=float)
    if np.isnan(differences).any() or len(differences) < 2:
        return 1.0
    if np.ptp(differences) == 0:  # without spread the test statistic is infinite, or not a number at the threshold
        return float(differences[0] == above)
    return float(stats.ttest_1samp(differences, above).pvalue)


def p_equal(differences, matters):
    """Of the test that the mean of the differences is at least `matters` away from 0: small where it is nearer.

    The larger p of two one-sided t tests, one against each side (Schuirmann 1987). 1 as in `p_value`.
    """
    differences = np.asarray(differences, dtype=float)
    if np.isnan(differences).any() or len(differences) < 2:
        return 1.0
    if np.ptp(differences) == 0:
        return float(abs(differences[0]) >= matters)
    sides = ((-matters, "greater"), (matters, "less"))
    return max(float(stats.ttest_1samp(differences, at, alternative=side).pvalue) for at, side in sides)


def holm(p_values, missing=0):
    """Adjusted p-values of a family of m tests: the smallest times m, the next times m - 1, ..., never falling.

    To m count as many more as are `missing`, which were announced and not made yet: nobody should be judged more mildly
    for having measured less. Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p_values = np.asarray(p_values, dtype=float)
    order, factors = p_values.argsort(), missing + np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(p_values[order] * factors).clip(max=1)
    return adjusted


def judge(contrasts, missing=0):
    """Judge primary contrasts, entries that `Results.compare` made, as one family: [(verdict, its p)].

    "no difference that matters" where the two one-sided tests say so, at the margin that the rule names, if it names
    one; else "supported" or "refuted" where the mean lies above or below the rule's threshold; else "undecided". Each
    of the two kinds of p-values is corrected for the number of contrasts, those that are `missing` included (`holm`),
    and must be below 0.05 then.
    """
    apart = holm([p_value(e["per_seed"], e["above"]) for e in contrasts], missing)
    equal = holm([p_equal(e["per_seed"], e["matters"]) if e.get("matters") else 1.0 for e in contrasts], missing)
    verdicts = []
    for entry, p, p_of_equality in zip(contrasts, apart, equal, strict=True):
        if p_of_equality < 0.05:
            verdicts.append(("no difference that matters", float(p_of_equality)))
        elif p < 0.05:
            verdicts.append(("supported" if entry["value"] > entry["above"] else "refuted", float(p)))
        else:
            verdicts.append(("undecided", float(p)))
    return verdicts


def combine(verdicts):
    """One verdict for several: their common one; "mixed" if decided ones differ, else "undecided"; so without any."""
    decided = set(verdicts) - {"undecided"}
    if len(decided) > 1:
        return "mixed"
    return decided.pop() if decided and "undecided" not in verdicts else "undecided"


def judge_claims(entries, dataset):
    """The article's claims as the primary contrasts among a report's `entries` decide them, all judged as one family.

    Those that the rules name and the report lacks are of the family, too; a claim of which one is `left_out`, be it at
    one number of labels, is undecided.
    Returns {letter: (verdict, its contrasts with "verdict", "p" and "of", the family's size, added)}.
    """
    deciding_ids = {letter: {rule["id"] for rule in deciding(letter)} for letter in RULES["claims"]}
    of_notebooks = {name: [e for e in entries if e["notebook"] == name] for name in RULES["contrasts"]}
    lacking = [id for name, of in of_notebooks.items() for id, _ in left_out(name, of, dataset)]
    missing = sum(id in ids for ids in deciding_ids.values() for id in lacking)
    primary = [entry for entry in entries if entry.get("primary")]
    judged = [
        entry | {"verdict": verdict, "p": p, "of": len(primary) + missing}
        for entry, (verdict, p) in zip(primary, judge(primary, missing), strict=True)
    ]
    found = {}
    for letter, ids in deciding_ids.items():
        parts = [entry for entry in judged if entry["primary"] == letter]
        lacks = ids & set(lacking)
        value = "undecided" if lacks else combine([entry["verdict"] for entry in parts])
        found[letter] = value, parts
    return found


def deciding(letter):
    """The rules of the primary contrasts that decide a claim."""
    return [rule for of in RULES["contrasts"].values() for rule in of if rule.get("primary") == letter]


def beside(letter, entries, also=()):
    """What was measured beside a claim and decides nothing, in words; "" if nothing was.

    That is each contrast of which the rules say that it goes on from one that decides the claim ("..."), and the
    entries with an id in `also`.
    """
    goes_on, ids = False, {}
    for rule in (rule for of in RULES["contrasts"].values() for rule in of):
        goes_on = rule.get("primary") == letter or goes_on and rule["claim"].startswith("...")
        if "primary" not in rule and (goes_on or rule["id"] in also):
            ids[rule["id"]] = rule["claim"].removeprefix("... ")
    ids |= {id: name(id) for id in also if id not in ids}
    said = []
    for id, what in ids.items():
        of = [entry for entry in entries if entry["id"] == id and entry["split"] == "test"]
        sizes = [f"{difference_text(entry)} {_labels_text(entry)}".rstrip() for entry in of]
        said += [f"{what}: {', '.join(sizes)}"] if of else []
    return "; ".join(said)


def holds(parts, elsewhere):
    """Whether a claim's contrasts, as `judge_claims` gives them, come out as they do on other data, each for itself.

    "no" if a verdict is another one there, else "undecided" if one is undecided or missing on either side, else "yes".
    Where a difference that matters on one side meets "no difference that matters" on the other, that says "no" only if
    the former's interval lies beyond the margin; else one difference could be behind both.
    """
    there = {(entry["id"], entry["labels"]): entry for entry in elsewhere}
    said = [_part_holds(entry, there.get((entry["id"], entry["labels"]))) for entry in parts]
    return "no" if "no" in said else "undecided" if "undecided" in said or not said else "yes"


def _part_holds(here, there):
    if there is None or "undecided" in (here["verdict"], there["verdict"]):
        return "undecided"
    if here["verdict"] == there["verdict"]:
        return "yes"
    apart = [entry for entry in (here, there) if entry["verdict"] != "no difference that matters"]
    if len(apart) == 2:
        return "no"
    ((low, high),) = (entry["ci"] for entry in apart)
    return "undecided" if -here["matters"] < high and low < here["matters"] else "no"


def seeds_needed(differences, above=0.0, level=0.05, power=0.9):
    """How many seeds a two-sided t test at `level` needs if mean and spread of the differences are what they seem.

    None where there is no effect to find with fewer than a thousand, or where mean or spread cannot be known.
    """
    differences = np.asarray(differences, dtype=float)
    if np.isnan(differences).any() or len(differences) < 2 or np.ptp(differences) == 0:
        return None
    effect = abs(differences.mean() - above) / differences.std(ddof=1)
    for n in range(2, 1000):
        critical = stats.t.ppf(1 - level / 2, n - 1)
        if stats.nct.sf(critical, n - 1, effect * np.sqrt(n)) >= power:
            return n
    return None


def outcome(entry, above, below, neither):
    """The one of three texts that fits a contrast: its interval lies above the rule's threshold, below it, or neither.

    For sentences that say what was found; a verdict on a claim is `Results.claims`'s.
    """
    low, high = entry["ci"] or (-math.inf, math.inf)
    return above if low > entry["above"] else below if high < entry["above"] else neither


def difference_text(entry):
    """A contrast's mean with its interval, such as "+0.13 (-0.02 to +0.28) points"; "diverged" without a mean."""
    if entry["value"] is None:
        return "diverged"
    scale, unit = _in_points(entry)
    mean, *ends = (f"{scale * number:+.3g}" for number in (entry["value"], *(entry["ci"] or ())))
    return f"{mean} ({' to '.join(ends)}) {unit}" if ends else f"{mean} {unit}"


def _in_points(entry):
    """By what a difference is multiplied where people read it, and its unit then."""
    return (100, "points") if entry["unit"] == "fraction" else (1, entry["unit"])


def _labels_text(entry):
    return f"with {entry['n_labels']:,} labels" if entry["n_labels"] else ""


def seeds_text(entry):
    """How many seeds an entry rests on, such as "5 seeds"."""
    n = len(entry["per_seed"])
    return f"{n} seed{'s' * (n != 1)}"


def decided_text(entry):
    """On what the verdict on a contrast rests that `judge_claims` judged, in words.

    Its size, its threshold and margin, its corrected p, how many seeds, and how many would decide it.
    """
    scale, unit = _in_points(entry)
    words = [f"{_labels_text(entry)} {difference_text(entry)}".lstrip()]
    words += [f"threshold {scale * entry['above']:+.3g} {unit}"] if entry["above"] else []
    words += [f"margin {scale * entry['matters']:.3g} {unit}"] if entry.get("matters") else []
    n, planned = len(entry["per_seed"]), entry.get("seeds_planned", 0)
    words.append(f"corrected p {p_text(entry['p'])}")
    words.append(f"{n} of {planned} planned seeds" if n < planned else seeds_text(entry))
    if entry["verdict"] == "undecided" and (n := seeds_needed(entry["per_seed"], entry["above"], 0.05 / entry["of"])):
        words[-1] += f" (about {n} would decide it)"
    return ", ".join(words)


def slug(name):
    """A name as a part of an id: "MLP on pixels" becomes "mlp_on_pixels"."""
    return re.sub(r"[^\w-]+", "_", name.lower())


def name(id):
    """An entry's id in words: "basic_ae.knn_accuracy" becomes "basic AE: accuracy of nearest neighbors"."""
    parts = re.split(r"(?<!\d)\.|\.(?!\d)", id)  # but not at a decimal point
    first, *others = (_PARTS.get(p) or " ".join(_WORDS.get(word, word) for word in p.split("_")) for p in parts)
    first = re.sub(r"\b(AE|PCA) (\d+)$", r"\1, \2 numbers", first)
    return ": ".join(filter(None, (first, ", ".join(others))))


def unit(entry):
    """The unit in which tables show an entry: percent for fractions, none for plain numbers."""
    return "%" if entry["unit"] == "fraction" else "" if entry["unit"] in _NO_UNITS else entry["unit"]


def is_headline(entry):
    """Whether an entry stands among the results on a report's first page: of test images, or how often runs fail."""
    return entry.get("shown") == "results" and (entry["split"] == "test" or entry.get("covers") == "failures")


def possible_interval(entry):
    """An entry's interval [low, high], or [] without one; Student's may leave what a score can be, and is cut there."""
    least, most = next((ends for kind, ends in _POSSIBLE.items() if re.search(kind, entry["id"])), (-np.inf, np.inf))
    return np.clip(entry["ci"] or [], least, most).tolist()


def mean_text(entry):
    """An entry's mean with its interval in that unit, such as "98.21 (98.10 to 98.32)"; "diverged" without a mean."""
    if entry["value"] is None:
        return "diverged"
    numbers = [entry["value"], *possible_interval(entry)]
    mean, *ends = (number_text(100 * number if entry["unit"] == "fraction" else number) for number in numbers)
    return f"{mean} ({' to '.join(ends)})" if ends else mean


def p_text(p):
    """A p-value with two digits, such as "0.013", or "below 0.001"; it is not rounded to the 0.05 that decides."""
    if p < 0.001:
        return "below 0.001"
    return "just below 0.05" if p < 0.05 <= float(f"{p:.2g}") else f"{p:.2g}"


def number_text(number):
    """A number with two decimals; a small one with three digits."""
    return f"{number:.2f}" if abs(number) >= 0.1 or number == 0 else f"{number:.3g}"


def cited(text, folder=""):
    """A source such as "Burda et al. 2015, table 1" as HTML, the work a link into the bibliography in `folder`."""
    work = r"(?<![\w-])([A-Z])[\w-]+(?: (?:&amp;|and) [A-Z][\w-]+| et al\.)? \d{4}"

    def link(found):
        return f'<a href="{folder}REFERENCES.md#{found[1].lower()}">{found[0]}</a>'

    return re.sub(work, link, html.escape(text, quote=False))


def read(out):
    """The entries that notebooks have left under ``<out>/results``, by notebook; {} if there are none.

    ValueError for a file that is damaged; it says which notebook to run again.
    """
    return {path.stem: load(path)["results"] for path in sorted(Path(out, "results").glob("[0-9]*.json"))}


def report(out):
    """What the notebooks that left results under ``<out>/results`` were made with, and all their entries.

    None if no primary contrast is there, or one that was judged by another threshold or margin than today's rules.
    """
    chapters = [load(path) for path in sorted(Path(out, "results").glob("[0-9]*.json"))]
    entries = [entry for chapter in chapters for entry in chapter["results"]]
    stated = {(e["id"], e["primary"], e["above"], e.get("matters")) for e in entries if e.get("primary")}
    rules = [rule for of in RULES["contrasts"].values() for rule in of]
    allowed = {(rule["id"], rule.get("primary"), rule.get("above", 0.0), rule.get("matters")) for rule in rules}
    return (chapters[0]["made_with"], entries) if stated and stated <= allowed else None


def load(path):
    """What `write` wrote: a dict of made_with and results. ValueError if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: content[key] for key in ("made_with", "results")}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): delete it and run notebook {path.stem} again") from None


def write(out, notebook, made_with, entries):
    """Write ``<out>/results/<notebook>.json``, whole or not at all, and return its path."""
    path = Path(out, "results", f"{notebook}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps({"made_with": made_with, "results": entries}, indent=1) + "\n", encoding="utf-8")
    return part.replace(path)


def committed(of):
    """{(id, labels): entry} of the contrasts and claims in ``reports/results.json``, the full profile's report.

    {} if there is none, if it is on other data than `of`, a notebook's `Results`, or if that is of this profile itself.
    """
    path = data.PROJECT_ROOT / "reports" / "results.json"
    if of.made_with["profile"] == "full" or not path.exists():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    if report["header"]["dataset"]["name"] != of.made_with["dataset"]:
        return {}
    return {(e["id"], e.get("labels", "")): e for e in report["results"] if "above" in e or "claim_" in e["id"]}


def left_out(notebook, entries, dataset):
    """The contrasts that the rules announce for a notebook on a dataset, and its `entries` lack: [(id, n_labels)].

    Counted are the announced numbers of labels, too; "all" is the largest that the entries have, and numbers above it
    are more than the dataset has.
    """
    there = {(entry["id"], entry["n_labels"]) for entry in entries if "above" in entry}
    most = max((entry["n_labels"] or 0 for entry in entries), default=math.inf)
    rules = [rule for rule in RULES["contrasts"].get(notebook, ()) if rule.get("dataset", dataset) == dataset]
    announced = [(rule["id"], most if n == "all" else n) for rule in rules for n in rule.get("n_labels", [None])]
    return [(id, n) for id, n in announced if (n or 0) <= most and (id, n) not in there]


def planned_seeds(notebook):
    """For how many seeds the rules plan a notebook's contrasts: the largest number, 0 if they say nothing."""
    return max((rule.get("seeds", 0) for rule in RULES["contrasts"].get(notebook, [])), default=0)


def differing(of, made_with):
    """Where one setting differs from another, in words."""
    others = {key: value for key, value in made_with.items() if of.get(key) != value}
    return ", ".join(f"{key} {of.get(key)!r} instead of {value!r}" for key, value in others.items())


class Results:
    """What one notebook measured: collected by `add` and `compare`, written by `save`.

    `notebook` is a name such as "01_linear_autoencoder"; `made_with` a dict of what the numbers were made with:
    "profile", "dataset" (its name), "checksum" of the data, "seeds" (as in `chapter.begin`); `out` the report's folder.
    """

    def __init__(self, notebook, made_with, out):
        self.notebook, self.made_with, self.out, self.entries = notebook, made_with, Path(out), []
        self.rules = RULES["contrasts"].get(notebook, [])
        self.training_seconds = {}  # by training, remembered ones too

    def add(self, id, per_seed, unit, *, split="test", n_labels=None, reference=None, note=None, of_images=None,
            **stated):  # fmt: skip
        """Record one measured quantity; NaN or None among `per_seed` stands for a run that diverged.

        An `id` such as "conv_ae.reconstruction_error" names the entry, together with the `split` ("train",
        "validation" or "test") and `n_labels`; recorded again, as when a cell is run a second time, it replaces the
        earlier one. `per_seed` is a float or several, such as a column of `Runs.scores`, `reference` a published value
        and its source. The interval covers the seeds; with `of_images` (seeds, n_images), each image's outcome in each
        run, it covers seeds and images (`interval_over_images`).

        What is `stated` besides: a `headline`, in words what is measured, has the report's first page show the entry,
        at the place `shown`: among the "results" unless told "speed"; "cost" needs no headline. Returns the entry; its
        value is the mean over seeds, and None if a seed diverged.
        """
        per_seed = _numbers(per_seed)
        if diverged := per_seed.count(None):
            note = "; ".join(filter(None, [note, f"diverged in {diverged} of {len(per_seed)} seeds"]))
        value, interval = (None, None) if diverged else confidence_interval(per_seed)
        if of_images is not None and not diverged:
            value, interval = interval_over_images(of_images)
            stated["covers"] = "seeds and images"
        reference = reference and {"value": float(reference[0]), "source": reference[1]}
        return self._record(id, value, interval, per_seed, unit, split, n_labels, note, reference=reference, **stated)

    def add_failures(self, id, failed, *, split="test", note=None, **stated):
        """Record how often a method fails outright, from one True or False a seed, with its exact binomial interval.

        The entry's "upper_bound" is the one-sided one, which the note tells too; where every seed fails, it tells the
        lower one. Source: Clopper & Pearson (1934). Five good seeds of five leave a rate of up to 52% possible.
        """
        failed = _numbers(failed)
        test = partial(stats.binomtest, int(sum(failed)), len(failed))
        interval, bound = test().proportion_ci(), test(alternative="less").proportion_ci().high
        least = test(alternative="greater").proportion_ci().low
        said = f"no less than {least:.1%}" if all(failed) else f"no more than {bound:.1%}"  # 100% would say nothing
        note = "; ".join(filter(None, [note, f"with 95% confidence, {said}"]))
        value, interval = float(np.mean(failed)), (float(interval.low), float(interval.high))
        stated |= {"covers": "failures", "upper_bound": float(bound)}
        return self._record(id, value, interval, failed, "fraction", split, None, note, **stated)

    def compare(self, id, differences, *, n_labels=None, split="test"):
        """Record the contrast that the rules announce under this `id`: paired differences, one a seed, NaN: diverged.

        The entry holds the mean, its interval and what the rule says: claim, rule, threshold, margin, and the claim of
        the article that it decides, if it is primary. ValueError if this notebook's rules in ``rules.toml`` have no
        such contrast, or not with so many labels: announce first, then measure. A difference of your own: see `add`.
        """
        rule = next((rule for rule in self.rules if rule["id"] == id), None)
        if rule is None:
            ids = ", ".join(rule["id"] for rule in self.rules) or "none"
            raise ValueError(f"rules.toml announces no contrast {id!r} for {self.notebook}, but {ids}")
        announced = rule.get("n_labels", [])
        if not (n_labels is None if not announced else "all" in announced or n_labels in announced):
            raise ValueError(f"{id}: rules.toml announces it for {announced or 'no number of'} labels, not {n_labels}")
        labels = n_labels if n_labels in announced else "all" if announced else ""
        stated = {"claim": rule["claim"], "rule": rule["contrast"], "above": rule.get("above", 0.0), "labels": labels}
        stated |= {"matters": rule.get("matters"), "primary": rule.get("primary"), "seeds_planned": rule.get("seeds")}
        return self.add(id, differences, rule["unit"], split=split, n_labels=n_labels, **stated)

    def keep(self, name, model, make, id, *, seed, score, n_labels=None, **stated):
        """Keep a trained network in ``<out>/models/<name>.safetensors``, for `models.load`, and return that path.

        `make` is a class or function of `models`, or a partial of one. The network is that of a `seed` and must
        reproduce, on the chapter's test images, that seed's value of the entry `id` with so many labels, which was
        measured by the function of `metrics` that is named by `score`: "accuracy", "reconstruction_error" or "elbo".
        What else is `stated` of it is kept in the file too.

        Where `models` makes another network, because a cell of the notebook changed its class, nothing is kept, and
        it is said; then None is returned. ValueError if there is no such entry.
        """
        self.entry(id, n_labels)
        path = self.out / "models" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # that of an earlier run must not pass for this one
        of = {"notebook": self.notebook, "id": id, "n_labels": n_labels, "seed": seed, "score": score, **stated}
        try:
            models.keep(model, make, path, **of)
        except ValueError as error:
            print(f"{name} is not kept with the results: {error}")
            return None
        return path

    def entry(self, id, n_labels=None):
        """The entry of the test set that has this `id` and number of labels; ValueError if there is none."""
        for entry in self.entries:
            if (entry["id"], entry["split"], entry["n_labels"]) == (id, "test", n_labels):
                return entry
        labels = f" with {n_labels} labels" if n_labels else ""
        raise ValueError(f"{self.notebook} recorded no {id!r}{labels} on the test set: add it first")

    def claims(self, entries, made_with=None, here=()):
        """Record ``claim_a`` and so on, the article's claims, with their verdicts by `judge_claims` on `entries`.

        Of the `report` on other data that was `made_with` what that says, they are ``claim_a.fashion-mnist`` and so on,
        with their differences as a note, and whether they hold there, as what was returned for `here` has them.
        Returns [(claim entry, its contrasts with "verdict" and "p" added)].
        """
        dataset = (made_with or self.made_with)["dataset"]
        judged = judge_claims(entries, dataset)
        m = next((entry["of"] for _, parts in judged.values() for entry in parts), 0)
        found = []
        for letter, (value, parts) in judged.items():
            ids = ", ".join(rule["id"] for rule in deciding(letter))
            rule = f"by {ids}; p corrected for all {m} primary contrasts on {dataset} (Holm)"
            id, shown = (f"claim_{letter}.{slug(dataset)}", "elsewhere") if made_with else (f"claim_{letter}", "claims")
            stated = {"dataset": dataset, "shown": shown, "headline": letter}
            if made_with:
                said = [f"{entry['claim']}: {decided_text(entry)}" for entry in parts]
                own = next((parts for claim, parts in here if claim["headline"] == letter), [])
                stated |= {"note": "; ".join(said) or "not measured there", "holds": holds(own, parts)}
            found.append((self._verdict(id, value, RULES["claims"][letter], rule, **stated), parts))
        return found

    def answer(self, text, value):
        """Record the answer to the course's question: `text` for the report's first page, and its verdict."""
        return self._verdict("answer", value, text, "what the first sentence says", shown="answer")

    def _verdict(self, id, value, claim, rule, **more):
        return self._record(id, value, None, [], "verdict", "test", None, claim=claim, rule=rule, **more)

    def _record(self, id, value, interval, per_seed, unit, split, n_labels, note=None, **stated):
        if stated.get("headline"):
            stated.setdefault("shown", "results")
        entry = {
            "id": id, "notebook": self.notebook, "value": value, "ci": interval and list(interval),
            "per_seed": per_seed, "unit": unit, "split": split, "dataset": self.made_with["dataset"],
            "n_labels": n_labels, "reference": None, "note": note,
        }  # fmt: skip
        entry |= {key: text for key, text in stated.items() if text is not None}
        if not note:
            del entry["note"]
        others = [e for e in self.entries if (e["id"], e["split"], e["n_labels"]) != (id, split, n_labels)]
        self.entries = [*others, entry]
        return entry

    def check_folder(self):
        """Raise ValueError if other notebooks' results there were made with another profile, other seeds or data.

        And if a file has the name of these results, but holds something else.
        """
        for path in sorted((self.out / "results").glob("[0-9]*.json")):
            if (of := load(path)["made_with"]) != self.made_with and path.stem != self.notebook:
                found = f"results made with {differing(of, self.made_with)} ({path.name})"
                raise ValueError(f"{self.out} holds {found}: name another folder with `out`")

    def save(self):
        """Write the entries to ``<out>/results/<notebook>.json``, after `check_folder`, and return that path.

        If there were trainings, their seconds are an entry too: what the results cost, whatever was remembered.
        """
        self.check_folder()
        if self.training_seconds:
            seconds, note = sum(self.training_seconds.values()), f"{len(self.training_seconds)} of them"
            self.add("trainings.seconds", seconds, "seconds", split="train", note=note, shown="cost")
        return write(self.out, self.notebook, self.made_with, self.entries)


def _numbers(values):
    """A list of floats, with None for NaN: JSON has no other word for it."""
    values = np.atleast_1d(np.asarray(values, dtype=float))
    return [None if math.isnan(value) else float(value) for value in values]
