"""What a report states: its header, and the results that the notebooks left, checked, in ``<out>/results.json``."""

import contextlib
import json
import math
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from mnist_ae_utils.report import notebooks
from mnist_ae_utils.report.notebooks import ReportError

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "umap-learn", "matplotlib", "jupyterlab", "papermill")
VERDICTS = ("supported", "refuted", "mixed", "undecided")
KEYS = {"id", "notebook", "value", "ci", "per_seed", "unit", "split", "dataset", "n_labels", "reference"}
OPTIONAL = {"note", "headline"}


def environment():
    """Versions, hardware and commit, as the header states them."""
    import psutil
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    commit = git("rev-parse", "HEAD")
    changed = commit and git("status", "--porcelain", "--", ".", ":!reports", ":!README.md")  # what a report rewrites
    return {
        "started": notebooks.utc_now(),
        "commit": commit + " with local changes" * bool(changed) if commit else "none",
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "hardware": {
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpu": gpu,
        },
    }


def cpu_name():
    """The processor's name, as the system gives it."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def git(*arguments):
    """What git says in the project's folder; "" where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(notebooks.ROOT), *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def made_with(header):
    """What a notebook's results must have been made with: see `results.Results`."""
    data = header["dataset"]
    return {key: header[key] for key in ("profile", "seeds")} | {"dataset": data["name"], "checksum": data["checksum"]}


def earlier_results(out, header, names):
    """The content of ``<out>/results.json`` if it goes with this run, else the same without any notebook or result.

    A line says which of the notebooks `names`, which are not run again, are left out for that reason.
    """
    none = {"header": {"notebooks": {}}, "results": []}
    try:
        found = json.loads((out / "results.json").read_text(encoding="utf-8"))
        check_results(found["results"], "results.json")
        earlier = found["header"]
        left_out = ", ".join(sorted(set(names) & set(earlier["notebooks"])))
        same = made_with(earlier) == made_with(header)
        same = same and all(run.keys() >= {"seconds", "started", "commit"} for run in earlier["notebooks"].values())
    except FileNotFoundError:
        return none
    except (OSError, ValueError, KeyError, TypeError, ReportError) as error:  # damaged, or of an older version
        print(f"Note: the earlier results.json is not used: {error!r}", file=sys.stderr)
        return none
    if same:
        return found
    if left_out:
        print(f"Note: left out, because made with another profile, seeds or data: {left_out}", file=sys.stderr)
    return none


def remove_results_of_others(out, header, names):
    """Remove the notebooks' files in ``<out>/results`` made with another profile, seeds or data: they do not mix.

    A line says which of the notebooks `names`, which are not run again, lose theirs.
    """
    for path in sorted((out / "results").glob("[0-9]*.json")):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged, or of an older version
            if json.loads(path.read_text(encoding="utf-8"))["made_with"] == made_with(header):
                continue
        path.unlink()
        if path.stem in names:
            print(f"Note: removed, because made with another profile, seeds or data: {path.name}", file=sys.stderr)


def with_longest(executed, name, header, earlier):
    """What `execute` returned; its seconds are the longest of this and the earlier execution by the same code.

    A later execution reuses finished trainings, so that its own seconds, kept as `seconds_again`, tell nothing of what
    the results took. The same code on the same hardware: the commit, the device and the hardware are equal.
    """
    before = earlier["notebooks"].get(name, {})
    same = before.get("commit") == header["commit"]
    same = same and all(earlier.get(key) == header[key] for key in ("device", "hardware"))
    if not same:
        return executed
    seconds = executed["seconds"]
    return executed | {"seconds": max(seconds, before["seconds"]), "seconds_again": seconds}


def write_results(out, header, kept):
    """Check the results that the notebooks left, write them to ``<out>/results.json`` with `header`, and return it.

    `kept` holds the entries of the notebooks that were not executed, by name: the files in ``<out>/results`` may since
    have been overwritten by notebooks run by hand with other parameters.
    """
    entries = []
    for name in [*sorted(header["notebooks"]), "benchmark"]:
        path = out / "results" / f"{name}.json"
        if name in kept:
            entries += kept[name]
        elif path.exists():
            try:
                entries += read_results(path, None if name == "benchmark" else made_with(header))
            except (ValueError, ReportError) as error:
                if name == "benchmark":
                    raise ReportError(f"{path}: {error}") from None
                header["notebooks"][name]["error"] = str(error)
        elif name != "benchmark" and not header["notebooks"][name]["error"]:
            header["notebooks"][name]["error"] = f"it left no results: {path.name} is missing in {path.parent.name}/"
    header["seconds_total"] = round(sum(entry["seconds"] for entry in header["notebooks"].values()), 1)
    header["failed"] = sorted(name for name, entry in header["notebooks"].items() if entry["error"])
    results = {"header": header, "results": entries}
    partial = out / "results.json.part"
    partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    partial.replace(out / "results.json")
    return results


def read_results(path, expected=None):
    """The entries that a notebook left in a file; ReportError unless in the schema and made with what is `expected`."""
    from mnist_ae_utils import results

    content = json.loads(path.read_text(encoding="utf-8"))
    if not (isinstance(content, dict) and isinstance(content.get("made_with"), dict)):
        raise ReportError(f"{path.name}: an object of made_with and results is expected")
    check_results(content.get("results"), path.name)
    if expected and content["made_with"] != expected:
        raise ReportError(f"{path.name}: made with {results.differing(content['made_with'], expected)}")
    return content["results"]


def check_results(entries, source):
    """Raise ReportError, naming `source` and the entry, unless the entries are in the schema of results."""

    def number(x):
        return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)

    if not isinstance(entries, list):
        raise ReportError(f"{source}: a list of entries is expected")
    seen = set()
    for position, entry in enumerate(entries, start=1):
        name = entry.get("id", f"number {position}") if isinstance(entry, dict) else f"number {position}"
        if not isinstance(entry, dict):
            raise ReportError(f"{source}: entry {name} is not an object")
        is_verdict = entry.get("unit") == "verdict"
        keys = KEYS | ({"claim", "rule", "margin", "p"} if is_verdict else set())
        value, ci, reference = entry.get("value"), entry.get("ci"), entry.get("reference")
        per_seed, labels = entry.get("per_seed"), entry.get("n_labels")
        key = (entry.get("notebook"), entry.get("id"), entry.get("split"), labels)
        problems = {
            f"lacks {', '.join(sorted(keys - set(entry)))}": keys - set(entry),
            f"has unknown keys: {', '.join(sorted(set(entry) - keys - OPTIONAL))}": set(entry) - keys - OPTIONAL,
            "is there twice": key in seen,
            f"value {value!r} is none of {', '.join(VERDICTS)}": is_verdict and value not in VERDICTS,
            f"value {value!r} is not a finite number": not is_verdict and value is not None and not number(value),
            "has no value and no note that says why": value is None and not entry.get("note"),
            f"ci {ci!r} is not null or [low, high]": ci is not None
            and not (isinstance(ci, list) and len(ci) == 2 and all(map(number, ci)) and ci[0] <= ci[1]),
            "per_seed is not a list of numbers or nulls": not isinstance(per_seed, list)
            or not all(x is None or number(x) for x in per_seed),
            f"split {entry.get('split')!r} is none of train, validation, test": entry.get("split")
            not in ("train", "validation", "test"),
            f"n_labels {labels!r} is not null or a count": labels is not None
            and not (isinstance(labels, int) and labels > 0),
            "reference is not null or {value, source}": reference is not None
            and not (isinstance(reference, dict) and set(reference) == {"value", "source"}),
            "a text is empty": any(not isinstance(entry.get(k, "-"), str) or not entry.get(k, "-") for k in
                                   ("id", "notebook", "unit", "dataset", "claim", "rule", "headline")),
        }  # fmt: skip
        for problem, found in problems.items():
            if found:
                raise ReportError(f"{source}: entry {name} {problem}")
        seen.add(key)
