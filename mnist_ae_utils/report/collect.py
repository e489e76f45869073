"""What a report states: its header, and the results that the notebooks left, checked, in ``results.json``."""

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from mnist_ae_utils.report.folder import ReportError, digest
from mnist_ae_utils.report.kernel import ROOT
from mnist_ae_utils.report.notebooks import utc_now

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "umap-learn", "matplotlib", "jupyterlab", "papermill")
SCHEMA = json.loads(Path(__file__).with_name("templates").joinpath("entry.schema.json").read_text(encoding="utf-8"))
RULES = "mnist_ae_utils/rules.toml"
SHOWN = SCHEMA["properties"]["shown"]["enum"]  # the places on the first page


def environment():
    """Versions, hardware and commit, as the header states them."""
    import torch

    from mnist_ae_utils import machine

    return {
        "started": utc_now(),
        "commit": (of_code := commit()),
        "rules": rules(of_code),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "hardware": {
            "cpu": _cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(machine.memory()[0] / 2**30, 1),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _cpu_name():
    """The processor's name, as the system gives it."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def commit():
    """The commit of the code that runs, and whether it was changed; "none" if it is not in a repository of its own."""
    top = git("rev-parse", "--show-toplevel")
    head = git("rev-parse", "HEAD")
    if not (top and head and Path(top).resolve() == ROOT):  # an archive may be unpacked in somebody's repository
        return "none"
    changed = git("status", "--porcelain", "--", ".", ":!reports", ":!README.md")  # what a report rewrites
    return head + (" with unknown changes" if changed is None else " with local changes" * bool(changed))


def rules(of_code):
    """Commit and date of the rules by which contrasts are judged, and whether they were changed since.

    "none" if the code has no commit, which is that of the function above.
    """
    if of_code == "none":
        return "none"
    changed = git("status", "--porcelain", "--", RULES) != ""
    return f"{git('log', '-1', '--format=%H of %cs', '--', RULES) or 'none'}{' with changes' * changed}"


def git(*arguments):
    """What git says in the project's folder; None where it fails, or there is no git."""
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(ROOT), *arguments]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=elsewhere)
        return done.stdout.strip() if done.returncode == 0 else None


def made_with(header):
    """What a notebook's results must have been made with: see `results.Results`."""
    data = header["dataset"]
    return {key: header[key] for key in ("profile", "seeds")} | {"dataset": data["name"], "checksum": data["checksum"]}


def of_notebook(header, name):
    """What an executed notebook states of its execution, so that it can be told from another one."""
    return made_with(header) | {key: header["notebooks"][name][key] for key in ("commit", "started")}


def read(path):
    """The content of a ``results.json``, checked; None if there is none. ReportError if it is damaged or of old."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        made_with(content["header"]), content["header"]["notebooks"].items(), content["header"]["failed"]
        check_entries(content["results"], path.name)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, ReportError) as error:
        raise ReportError(f"{path} is damaged, or of another version: {error!r}. Move it away") from None
    return content


def _no_number(text):
    raise ValueError(f"{text} is no number")


def read_chapter(path, expected, notebook):
    """The entries that a notebook left in a file; ReportError unless in the schema and made with what is `expected`."""
    from mnist_ae_utils import results

    if not path.exists():
        raise ReportError(f"it left no results: {path.name} is missing in {path.parent.name}/")
    try:
        content = results.load(path)
    except ValueError as error:
        raise ReportError(str(error)) from None
    check_entries(content["results"], path.name)
    if content["made_with"] != expected:
        raise ReportError(f"{path.name}: made with {results.differing(content['made_with'], expected)}")
    if others := {entry["notebook"] for entry in content["results"]} - {notebook}:
        raise ReportError(f"{path.name}: entries of {', '.join(sorted(others))}")
    return content["results"]


def check_announced(entries, notebook, dataset):
    """Raise ReportError if a notebook's entries leave out a contrast that the rules announce for it on that dataset."""
    from mnist_ae_utils import results

    if missing := results.left_out(notebook, entries, dataset):
        named = ", ".join(f"{id} with {n} labels" if n else id for id, n in missing)
        raise ReportError(f"{RULES} announces {named}, which {notebook} does not compare")


def check_entries(entries, source):
    """Raise ReportError, naming `source` and the entry, unless the entries are in the schema of results."""
    import jsonschema

    if not isinstance(entries, list):
        raise ReportError(f"{source}: a list of entries is expected")
    validator, seen = jsonschema.Draft202012Validator(SCHEMA), set()
    for position, entry in enumerate(entries, start=1):
        name = entry.get("id", f"number {position}") if isinstance(entry, dict) else f"number {position}"
        if error := jsonschema.exceptions.best_match(validator.iter_errors(entry)):
            where = "".join(f"{part}: " for part in error.absolute_path)
            raise ReportError(f"{source}: entry {name}: {where}{error.message}")
        key = tuple(entry[part] for part in ("notebook", "id", "split", "n_labels"))
        low, high = entry["ci"] or (0, 0)
        for problem, found in {
            "is there twice": key in seen,
            "has no value and no note that says why": entry["value"] is None and not entry.get("note"),
            f"ci {entry['ci']} is upside down": low > high,
        }.items():
            if found:
                raise ReportError(f"{source}: entry {name} {problem}")
        seen.add(key)


def goes_on(unfinished, header, paths):
    """The chapters of an interrupted report that need not be run again: {name: what its header says of it}.

    They ended well, and nothing has changed since: not the notebook, the code (which must be committed), the settings,
    the versions or the hardware.
    """
    same = ("profile", "seeds", "dataset", "device", "commit", "versions", "hardware")
    if not unfinished or " " in header["commit"] or header["commit"] == "none":
        return {}
    before = unfinished["header"]
    if any(before[key] != header[key] for key in same):
        return {}
    sources = {path.stem: digest(path) for path in paths}
    return {
        name: run
        for name, run in before["notebooks"].items()
        if not run["error"] and run["commit"] == header["commit"] and sources.get(name) == run["source"]
    }
