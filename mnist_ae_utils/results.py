"""What a notebook measured: entries with their intervals, verdicts with their rules; kept in one file a notebook."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
from scipy import stats


def confidence_interval(values, level=0.95):
    """Mean and Student t interval (low, high) of a few seeds' values; None instead of an interval for a single one."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, (mean - half, mean + half)


def judge(differences, margin=0.0):
    """Verdict on a claim "the paired differences are above `margin`", from its 95% interval.

    "supported" if the interval lies above `margin`, "refuted" if it lies below, "undecided" otherwise: also with one
    seed, and when a seed diverged (NaN among the differences).
    """
    differences = np.asarray(differences, dtype=float)
    _, interval = confidence_interval(differences)
    if np.isnan(differences).any() or interval is None or interval[0] <= margin <= interval[1]:
        return "undecided"
    return "supported" if interval[0] > margin else "refuted"


def p_value(differences, margin=0.0):
    """Of the two-sided t test that the mean of the differences is `margin`; 1 where `judge` could not decide."""
    differences = np.asarray(differences, dtype=float)
    if np.isnan(differences).any() or len(differences) < 2:
        return 1.0
    if np.ptp(differences) == 0:  # without spread the test statistic is infinite, or not a number at the margin
        return float(differences[0] == margin)
    return float(stats.ttest_1samp(differences, margin).pvalue)


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


def slug(name):
    """A name as a part of an id: "MLP on pixels" becomes "mlp_on_pixels"."""
    return re.sub(r"[^\w-]+", "_", name.lower())


def read(out):
    """The entries that notebooks have left under ``<out>/results``, by notebook; {} if there are none.

    ValueError for a file that is damaged; it says which notebook to run again.
    """
    return {path.stem: load(path)["results"] for path in sorted(Path(out, "results").glob("[0-9]*.json"))}


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


def differing(of, made_with):
    """Where one setting differs from another, in words."""
    others = {key: value for key, value in made_with.items() if of.get(key) != value}
    return ", ".join(f"{key} {of.get(key)!r} instead of {value!r}" for key, value in others.items())


class Results:
    """What one notebook measured: collected by `add` and `verdict`, written by `save`.

    `notebook` is a name such as "01_linear_autoencoder"; `made_with` a dict of what the numbers were made with:
    "profile", "dataset" (its name), "checksum" of the data, number of "seeds"; `out` the folder of the report.
    """

    def __init__(self, notebook, made_with, out):
        self.notebook, self.made_with, self.out, self.entries = notebook, made_with, Path(out), []
        self.training_seconds = {}  # by training, remembered ones too

    def add(self, id, per_seed, unit, *, split="test", n_labels=None, reference=None, note=None, headline=None,
            shown=None):  # fmt: skip
        """Record one measured quantity; NaN or None among `per_seed` stands for a run that diverged.

        An `id` such as "conv_ae.reconstruction_error" names the entry, together with the `split` ("train",
        "validation" or "test") and `n_labels`; recorded again, as when a cell is run a second time, it replaces the
        earlier one. `per_seed` is a float or several, such as a column of `Runs.scores`, `reference` a published value
        and its source. With a `headline`, in words what is measured, the report's first page shows the entry, at the
        place `shown`: among the "results" unless told "speed"; "cost" needs no headline. Returns the entry; its value
        is the mean over seeds, and None if a seed diverged.
        """
        per_seed = _numbers(per_seed)
        if diverged := per_seed.count(None):
            note = "; ".join(filter(None, [note, f"diverged in {diverged} of {len(per_seed)} seeds"]))
        value, interval = (None, None) if diverged else confidence_interval(per_seed)
        more = {"reference": reference and {"value": float(reference[0]), "source": reference[1]}}
        shown = shown or ("results" if headline else None)
        more |= {key: text for key, text in {"headline": headline, "shown": shown}.items() if text}
        return self._record(id, value, interval, per_seed, unit, split, n_labels, note, **more)

    def verdict(self, id, claim, rule, differences, *, margin=0.0, split="test", n_labels=None):
        """Judge one claim by the paired differences that its `rule` names, and record the outcome.

        `claim` and `rule` are sentences; the rule says which difference is taken and when it supports. There is one
        difference per seed, NaN where a run diverged; the claim is that they lie above `margin`. Returns the entry,
        whose value is the verdict, and whose per_seed and ci are those of the differences.
        """
        differences = _numbers(differences)
        interval = None if None in differences else confidence_interval(differences)[1]
        more = {"claim": claim, "rule": rule, "margin": margin, "p": p_value(differences, margin)}
        return self._record(id, judge(differences, margin), interval, differences, "verdict", split, n_labels, **more)

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

    def combined(self, id, claim, verdict_ids, among=(), **shown):
        """Record one verdict for the verdicts under `verdict_ids`, recorded here or `among` other notebooks' entries.

        It is found by `combine`, and undecided if any of them is missing. With ``shown="claims"`` and a `headline`, or
        ``shown="answer"``, the report's first page shows it, as a claim or as its answer. Returns the entry.
        """
        parts = [e for e in (*self.entries, *among) if e["unit"] == "verdict" and e["id"] in verdict_ids]
        complete = parts and set(verdict_ids) <= {e["id"] for e in parts}
        value = combine(e["value"] for e in parts) if complete else "undecided"
        names = ", ".join(dict.fromkeys(e["id"] for e in parts))
        rule = f"supported or refuted if every one of its parts is, mixed if they disagree, else undecided: {names}"
        return self._record(id, value, None, [], "verdict", "test", None, claim=claim, rule=rule, margin=None, p=None,
                            **shown)  # fmt: skip

    def _record(self, id, value, interval, per_seed, unit, split, n_labels, note=None, **more):
        entry = {
            "id": id, "notebook": self.notebook, "value": value, "ci": interval and list(interval),
            "per_seed": per_seed, "unit": unit, "split": split, "dataset": self.made_with["dataset"],
            "n_labels": n_labels, "reference": None,
        } | ({"note": note} if note else {}) | more  # fmt: skip
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
