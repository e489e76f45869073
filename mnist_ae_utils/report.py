"""The report: papermill runs the notebooks, their results become one file, a page of answers and a book.

Everything that the first page says is computed from ``<out>/results.json``.
"""

import base64
import contextlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
SITE = Path(__file__).resolve().parent / "site"
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "umap-learn", "matplotlib", "jupyterlab", "papermill")
# The results that the question turns on, in the order of the table; others join it if they have a reference.
HEADLINES = {
    "pca.reconstruction_error": "PCA, 30 components",
    "linear_ae.reconstruction_error": "Linear autoencoder, 30 codes",
    "deep_ae.reconstruction_error": "Deep fully connected autoencoder, 30 codes",
    "conv_ae.reconstruction_error": "Convolutional autoencoder, 32 codes",
    "conv_ae.kmeans_accuracy": "Its codes without labels: k-means clustering accuracy",
    "basic_hybrid.accuracy": "The article's basic autoencoder + MLP on its codes",
    "hybrid.accuracy": "Frozen convolutional encoder + MLP",
    "end_to_end.accuracy": "The same network trained end to end",
    "vae.log_likelihood": "Variational autoencoder: log-likelihood, importance-weighted",
    "few_labels.accuracy": "Clusters of codes, labels asked for, student networks",
    "few_labels.clustering_accuracy": "The same without any label: clustering accuracy",
}
OTHERS = {  # that have a reference
    "frozen_mlp.accuracy": "Frozen convolutional encoder + MLP",
    "vae_mlp.accuracy": "MLP on the codes of the variational autoencoder (M1)",
    "m1m2.accuracy": "Labels inside the generative model (M1+M2)",
    "vae.active_units": "Active in the code of the variational autoencoder",
}
SPEEDS = {"speed.dense_ae": "Dense autoencoder", "speed.conv_ae": "Convolutional autoencoder"}
VERDICTS = ("supported", "refuted", "mixed", "undecided")
KEYS = {"id", "notebook", "value", "ci", "per_seed", "unit", "split", "dataset", "n_labels", "reference"}


class ReportError(RuntimeError):
    """The report cannot be made. The message says what is wrong, and where."""


# --- running the notebooks -------------------------------------------------------------------------------------


def notebook_paths(folder=NOTEBOOKS, only=None):
    """Paths of the notebooks ``NN_name.ipynb`` in `folder`, in order; `only` limits them to some numbers.

    Raises ValueError for a number that is not there; the message lists those that are.
    """
    paths = {path.name[:2]: path for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))}
    wanted = [str(number).zfill(2) for number in only or paths]
    for number in wanted:
        if number not in paths:
            raise ValueError(f"no notebook {number}: use one or more of {' '.join(paths)}")
    return [path for number, path in paths.items() if number in wanted]


def run(profile="quick", only=None, dataset="auto", seeds=None, device="auto", out="reports/quick", folder=NOTEBOOKS):
    """Run the notebooks, then write ``<out>/results.json``, ``<out>/README.md`` and ``<out>/html/``.

    Parameters
    ----------
    profile : {"smoke", "quick", "full"}
    only : list of str, optional
        Numbers of the notebooks to run, such as ["02", "04"]; the earlier results of the others are kept if they
        were made with the same profile, seeds and data.
    dataset, seeds, device
        As in `experiments.begin`.
    out : path
        Folder of the report. Executed notebooks go to ``<out>/notebooks``.
    folder : path
        Folder of the notebooks.

    Returns
    -------
    int
        0, or 1 if a notebook failed: it is named, what it did is kept, and the others are run all the same.

    Raises
    ------
    ReportError, data.DataError, OSError
        If no report can be made.
    """
    started = time.perf_counter()
    paths, out = notebook_paths(folder, only), Path(out).resolve()
    for part in ("notebooks", "results"):
        (out / part).mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=out).close()  # a folder that cannot be written to is told before hours of work
    setting = prepare(profile, dataset, seeds, device)
    is_committed = out == (ROOT / "reports").resolve()
    if is_committed and setting["dataset"]["name"] != "mnist":
        raise ReportError(
            f"{out} holds what was measured on MNIST, and these data are {setting['dataset']['name']}: name another "
            f"folder with --out, or get MNIST with `mnist-ae data --dataset mnist`"
        )
    parameters = {"profile": profile, "dataset": setting["dataset"]["name"], "seeds": seeds, "device": device}
    parameters["out"] = out.as_posix()
    for path in paths:
        check_parameters(path, parameters)

    header = {"profile": profile, **setting, **environment(), "notebooks": {}, "failed": []}
    others = {path.stem for path in notebook_paths(folder)} - {path.stem for path in paths}
    earlier = earlier_results(out, header, others)
    header["notebooks"] = {name: run for name, run in earlier["header"]["notebooks"].items() if name in others}
    kept = {name: [e for e in earlier["results"] if e["notebook"] == name] for name in header["notebooks"]}
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem}", flush=True)
        executed = execute(path, out, parameters) | {"commit": header["commit"]}
        if executed["error"]:
            print(f"FAILED {path.stem}: {executed['error']}", file=sys.stderr)
        print(f"[{number}/{len(paths)}] {path.stem}: {executed['seconds']:.0f} s", flush=True)
        header["notebooks"][path.stem] = with_longest(executed, path.stem, header, earlier["header"])
        results = write_results(out, header, kept)
    try:
        render(out, results, folder)
    finally:
        print(f"{len(paths)} notebooks in {duration(time.perf_counter() - started)}")
    if is_committed and profile == "full" and not header["failed"]:
        update_readme(ROOT / "README.md", results)
        save_tagged_figures(out)
    print(f"report: {out / 'html' / 'index.html'}")
    for name in header["failed"]:
        print(f"FAILED {name}: {header['notebooks'][name]['error']}", file=sys.stderr)
    return 1 if header["failed"] else 0


def prepare(profile, dataset, seeds, device):
    """Load the data once, so that damage shows before any training; what the header says of data and hardware."""
    from mnist_ae_utils import data, experiments

    loaded = load_data(experiments.PROFILES[profile]["dataset"] if dataset == "auto" else dataset)
    print(data.describe(loaded), flush=True)
    return {
        "seeds": seeds or experiments.PROFILES[profile]["seeds"],
        "dataset": {key: getattr(loaded, key) for key in ("name", "source", "checksum", "notice")},
        "device": experiments.choose_device(device),
    }


def load_data(name):
    """`data.load`, whose warnings are printed as a line each; the notice is left to `data.describe`."""
    from mnist_ae_utils import data

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = data.load(name)
    for warning in caught:
        if str(warning.message) != loaded.notice:
            print(f"Note: {warning.message}", file=sys.stderr)
    return loaded


def check_parameters(path, parameters):
    """Raise ReportError unless the notebook declares every parameter (papermill would only warn)."""
    import papermill

    with contextlib.redirect_stdout(None):
        declared = papermill.inspect_notebook(str(path))
    for name in parameters:
        if name not in declared:
            there = ", ".join(declared) or "none: is the cell tagged `parameters`?"
            raise ReportError(f"{path.name} has no parameter {name!r}; declared: {there}")


def execute(path, out, parameters):
    """Run one notebook into ``<out>/notebooks``; return when it started, its seconds, and its error or None."""
    import nbformat
    import papermill

    os.environ.pop("MPLBACKEND", None)  # another backend would leave the notebook without figures
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning about the debugger in each kernel's log
    target = out / "notebooks" / path.name
    (out / "results" / f"{path.stem}.json").unlink(missing_ok=True)  # an older run's numbers must not pass for these
    target.unlink(missing_ok=True)
    begin, started, error = time.perf_counter(), utc_now(), None
    try:
        papermill.execute_notebook(
            path, target, parameters, cwd=path.parent, kernel_name="python3", progress_bar=False,
            stdout_file=sys.stdout, stderr_file=sys.stderr,
            coalesce_streams=True,  # one output for all that a progress bar wrote
            extra_arguments=["--log-level=ERROR"],  # the kernel warns that it talks to this process unencrypted
        )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        first_line = next(iter(failure.source.strip().splitlines()), "")
        error = f"cell [{failure.exec_count}] `{first_line}`: {failure.ename}: {failure.evalue.strip()}"
    except (RuntimeError, TimeoutError) as failure:  # a kernel that died or does not answer
        error = f"{type(failure).__name__}: {failure} (was there enough memory?)"
    if target.exists():
        notebook = nbformat.read(target, as_version=4)
        notebook = scrub(notebook, out)
        nbformat.write(notebook, target)
    elif error is None:
        raise ReportError(f"papermill left no {target}")
    return {"seconds": round(time.perf_counter() - begin, 1), "started": started, "error": error and scrub(error, out)}


def scrub(value, out):
    """A copy of a notebook, or any text in it, without this machine's paths and without overwritten progress bars."""
    if isinstance(value, dict):
        kept = {key: item if key.startswith("image/") else scrub(item, out) for key, item in value.items()}
        return type(value)(kept)
    if isinstance(value, list):
        return [scrub(item, out) for item in value]
    if not isinstance(value, str):
        return value
    if "\r" in value:  # a progress bar keeps its last state; \r\n stays
        value = "\n".join(line[:-1].rpartition("\r")[2] + line[-1:] for line in value.split("\n")).rstrip("\r")
    # A match begins where a word begins: trying every letter of it takes minutes on a word of 300 kB.
    value = re.sub(r"(?<!\S)\S*[/\\]ipykernel_\d+[/\\]\d+\.py", "<cell>", value)
    inside = out.is_relative_to(ROOT)
    places = {
        str(out): os.path.relpath(out, NOTEBOOKS) if inside else out.name,
        os.environ.get("MNIST_DATA_DIR", ""): "$MNIST_DATA_DIR",
        str(ROOT): ".",
        sys.prefix: "<python>",
        str(Path.home()): "~",
    }
    for place, name in places.items():
        if len(place) > 3:
            value = value.replace(place, name).replace(Path(place).as_posix(), Path(name).as_posix())
    return value


# --- the results file ------------------------------------------------------------------------------------------


def environment():
    """Versions, hardware and commit, as the header states them."""
    import psutil
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    commit = git("rev-parse", "HEAD")
    changed = commit and git("status", "--porcelain", "--", ".", ":!reports", ":!README.md")  # what a report rewrites
    return {
        "started": utc_now(),
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
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def utc_now():
    return datetime.now(UTC).isoformat(timespec="seconds")


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
        same = all(earlier[key] == header[key] for key in ("profile", "seeds"))
        same = same and earlier["dataset"]["checksum"] == header["dataset"]["checksum"]
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
                found = json.loads(path.read_text(encoding="utf-8"))
                check_results(found, path.name)
                entries += found
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
            f"has unknown keys: {', '.join(sorted(set(entry) - keys - {'note'}))}": set(entry) - keys - {"note"},
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
                                   ("id", "notebook", "unit", "dataset", "claim", "rule")),
        }  # fmt: skip
        for problem, found in problems.items():
            if found:
                raise ReportError(f"{source}: entry {name} {problem}")
        seen.add(key)


# --- the page of answers ---------------------------------------------------------------------------------------


def duration(seconds):
    """Seconds as people say them, such as "1 h 02 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def quantity(value, unit):
    """A number as the tables show it: fractions as percent, ratios with a times sign."""
    if value is None:
        return "–"
    if unit == "fraction":
        return f"{100 * value:.2f}%"
    if unit == "ratio":
        return f"{value:.1f}×"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def measured(entry):
    """The value with its interval, such as "98.21% (98.10% to 98.32%)", or why there is none."""
    text = quantity(entry["value"], entry["unit"])
    if entry["value"] is None:
        return entry["note"]
    if entry["ci"]:
        low, high = entry["ci"]
        if entry["unit"] == "fraction":  # Student's interval of two seeds can leave the possible range
            low, high = max(low, 0.0), min(high, 1.0)
        text += f" ({quantity(low, entry['unit'])} to {quantity(high, entry['unit'])})"
    return text


def title(entry):
    """What an entry measures, in words."""
    text = (HEADLINES | OTHERS).get(entry["id"]) or entry["id"].replace(".", ": ").replace("_", " ")
    if entry["n_labels"]:
        text += f", {entry['n_labels']:,} labels"
    return text if entry["unit"] in ("fraction", "ratio") else f"{text}: {entry['unit']}"


def headlines(entries):
    """The entries of the table of results: the headline ones, then the others that have a reference."""
    test = [e for e in entries if e["split"] == "test" and e["unit"] != "verdict" and not e["id"].startswith("speed.")]
    first = []
    for id in HEADLINES:
        first += sorted((e for e in test if e["id"] == id), key=lambda entry: entry["n_labels"] or math.inf)
    return first + [entry for entry in test if entry["reference"] and entry["id"] not in HEADLINES]


def answer(entries):
    """The answer in sentences that follow from the entries: the last chapter's, or as much as can be said without."""
    for entry in entries:
        if entry["id"] == "answer":
            return entry["claim"]
    shown = {e["id"]: quantity(e["value"], e["unit"]) for e in headlines(entries) if e["value"] is not None}
    text = []
    if "conv_ae.kmeans_accuracy" in shown:
        text.append(
            "Trained without labels, an autoencoder does not name digits: clustering its codes finds the class of "
            f"{shown['conv_ae.kmeans_accuracy']} of the test images."
        )
    if "hybrid.accuracy" in shown:
        text.append(f"A small classifier on its frozen codes is right on **{shown['hybrid.accuracy']}** of them.")
    if "end_to_end.accuracy" in shown:
        text.append(f"The same network trained end to end: {shown['end_to_end.accuracy']}.")
    verdicts = [entry["value"] for entry in entries if entry["unit"] == "verdict"]
    if verdicts:
        counts = [f"{verdicts.count(value)} {value}" for value in VERDICTS if value in verdicts]
        text.append(f"Claims put to the test: {', '.join(counts)}.")
    return " ".join(text) or "No notebook has left a result yet."


def table(columns, rows):
    """A Markdown table; a bar in a cell is kept from splitting it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def results_table(entries):
    """The headline results beside published figures, as a Markdown table."""
    rows = []
    for entry in headlines(entries):
        reference = entry["reference"]
        published = f"{quantity(reference['value'], entry['unit'])}, {reference['source']}" if reference else ""
        note = f" ({entry['note']})" if entry.get("note") and entry["value"] is not None else ""
        rows.append([title(entry) + note, measured(entry), len(entry["per_seed"]), published])
    return table(["on the test set", "value (95% interval)", "seeds", "published"], rows)


def speed_table(entries):
    """How fast training is, as a Markdown table; "" if it was not measured."""
    rows = []
    for entry in entries:
        if entry["id"].startswith("speed."):
            name = SPEEDS.get(entry["id"], title(entry))
            rows.append([name, measured(entry), len(entry["per_seed"]), entry.get("note", "")])
    return table(["one training step", "times as fast (95% interval)", "pairs", "how"], rows) if rows else ""


def claims_table(entries):
    """The article's claims with their verdicts, as the last chapter left them; "" without it."""
    rows = []
    for entry in entries:
        if entry["id"].startswith("claim_"):
            rows.append([entry["id"][-1], entry["claim"], f"**{entry['value']}**", entry["note"]])
    return table(["", "claim", "verdict", "figure, and verdicts on its parts"], rows) if rows else ""


def verdicts_table(entries):
    """Every claim of the chapters, the rule that decides it, and the verdict, as a Markdown table."""
    rows = []
    for entry in entries:
        if entry["unit"] == "verdict" and not entry["id"].startswith(("claim_", "answer")):
            interval = " ({:.3g} to {:.3g})".format(*entry["ci"]) if entry["ci"] else ""
            chapter = f"[{entry['notebook'][:2]}](notebooks/{entry['notebook']}.ipynb)"
            p = "" if entry["p"] is None else f"{entry['p']:.2g}"
            rows.append([chapter, entry["claim"], f"**{entry['value']}**{interval}", p, entry["rule"]])
    return table(["chapter", "claim", "verdict (95% interval)", "p", "supported if"], rows)


def notice(header):
    """What every reader of the results must know first; "" if they were measured on MNIST."""
    data = header["dataset"]
    if data["notice"] or data["name"] == "mnist":
        return data["notice"]
    return f"THIS IS NOT MNIST but {data['name']}: figures published for MNIST do not compare."


def short(commit):
    """The commit as a table shows it; a plus says that there were local changes."""
    return commit[:9] + "+" * commit.endswith(" with local changes")


def page(results):
    """The whole first page as Markdown, from the content of results.json and nothing else."""
    header, entries = results["header"], results["results"]
    data, hardware = header["dataset"], header["hardware"]
    parts = ["# Can an MNIST autoencoder learn ten-digit classification?", ""]
    if notice(header):
        parts += [f"> **{notice(header)}**", ""]
    for name in header["failed"]:
        error = header["notebooks"][name]["error"]
        parts += [f"> **{name} failed**, so its results are missing or incomplete: {error}", ""]
    parts += ["## The answer", "", answer(entries), ""]
    if claims_table(entries):
        parts += ["## The article's claims", "", claims_table(entries), ""]
    parts += ["## Results beside published figures", "", results_table(entries), ""]
    if any(entry["unit"] == "verdict" for entry in entries):
        how = "Each rule was stated before the numbers. Differences are paired by seed; *p* is that of their t test, "
        how += "after Holm's correction for the number of the chapter's verdicts, and must be below 0.05."
        parts += ["## Verdicts", "", how, ""]
        parts += [verdicts_table(entries), ""]
    if speed_table(entries):
        parts += ["## Speed", "", "Beside a `DataLoader` loop that makes tensors of PIL images one by one.", ""]
        parts += [speed_table(entries), ""]
    gpu = f", {hardware['gpu']}" if hardware["gpu"] else ""
    facts = {
        "profile": f"{header['profile']}, {header['seeds']} seeds",
        "dataset": f"{data['name']}, {data['source']}, checksum `{data['checksum']}`",
        "hardware": f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB{gpu}; "
        f"trained on {header['device']}",
        "duration": duration(header["seconds_total"]),
        "started": header["started"],
        "commit": f"`{header['commit']}`",
        "versions": ", ".join(f"{name} {version}" for name, version in header["versions"].items()),
        "system": header["platform"],
    }
    parts += ["## How it was made", "", table(["what", "value"], facts.items()), ""]
    runs = []
    for name, entry in sorted(header["notebooks"].items()):
        link = f"[{name}](notebooks/{name}.ipynb)"
        (cost,) = [e["value"] for e in entries if e["id"] == "trainings.seconds" and e["notebook"] == name] or [None]
        core = duration(cost) if cost else ""
        runs.append([link, duration(entry["seconds"]), core, entry["started"], f"`{short(entry['commit'])}`"])
    parts += [table(["notebook", "took", "trainings", "started", "commit"], runs), ""]
    parts += ["*Took* is the longest of the executions at this commit: later ones reuse finished trainings.", ""]
    parts += ["*Trainings* is what they took in all, on one core each, whenever that was.", ""]
    options = f"--profile {header['profile']} --dataset {data['name']} --seeds {header['seeds']}"
    parts += ["To make it again (finished trainings are remembered on disk and not repeated):", ""]
    parts += ["```", f"python -m mnist_ae_utils report {options}", "```", ""]
    return "\n".join(parts)


def update_readme(path, results):
    """Replace the block between the marks ``results:begin`` and ``results:end`` in the project's README."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    marks = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)
    if marks.search(text):
        new = marks.sub(lambda found: found[1] + readme_block(results) + found[2], text)
        path.write_text(new, encoding="utf-8")


def readme_block(results):
    """The part of the project's README that comes from the results."""
    entries, loud = results["results"], notice(results["header"])
    first = f"> **{loud}**\n\n" if loud else ""
    claims = f"{claims_table(entries)}\n\n".replace("](notebooks/", "](reports/notebooks/")
    return f"\n{first}{answer(entries)}\n\n{claims.lstrip()}{results_table(entries)}\n\n"


def save_tagged_figures(out):
    """Write the figures of the cells tagged `readme-figure` to ``<out>/figures/<notebook>.png``, for the README."""
    import nbformat

    (out / "figures").mkdir(exist_ok=True)
    for path in sorted((out / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "readme-figure" in cell.metadata.get("tags", []):
                images = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
                if images:
                    (out / "figures" / f"{path.stem}.png").write_bytes(base64.b64decode(images[0]))


# --- the book --------------------------------------------------------------------------------------------------


def render(out, results, folder=NOTEBOOKS):
    """Write ``<out>/README.md``, and ``<out>/html`` from it and the executed notebooks (Sphinx, in a work folder)."""
    front = page(results)
    (out / "README.md").write_text(front, encoding="utf-8")
    with tempfile.TemporaryDirectory() as work:
        source, html = Path(work) / "source", Path(work) / "html"
        shutil.copytree(SITE, source)
        (source / "notebooks").mkdir()
        paths = [out / "notebooks" / f"{name}.ipynb" for name in sorted(results["header"]["notebooks"])]
        paths = [path for path in paths if path.exists()]
        for path in paths:
            shutil.copy(path, source / "notebooks")
        chapters = "\n".join(f"notebooks/{path.stem}" for path in paths)
        (source / "index.md").write_text(f"{front}\n```{{toctree}}\n:hidden:\n\n{chapters}\n```\n", encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", str(Path(work) / "doctrees"), source, html]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        messages = done.stderr.replace(str(source) + os.sep, "").strip()
        if done.returncode != 0:
            raise ReportError(f"the book could not be rendered: {messages or done.stdout.strip()}")
        if messages:
            print(messages, file=sys.stderr)
        if (out / "html").exists():  # what cannot be removed is an error: the new book would be moved into the old one
            shutil.rmtree(out / "html")
        shutil.move(html, out / "html")
