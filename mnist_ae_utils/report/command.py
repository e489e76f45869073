"""The command line, ``python -m mnist_ae_utils``, installed as ``mnist-ae``, and what its commands do."""

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

from mnist_ae_utils.report import book, collect, notebooks, page
from mnist_ae_utils.report.notebooks import ReportError

# Written out, because importing them would import torch and make `--help` slow; a test holds them to the sources.
PROFILES = ("smoke", "quick", "full")  # the first, for tests, is not offered
DATASETS = ("auto", "mnist", "fashion-mnist", "kmnist", "uci-digits")
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_SEEDS = 100

EXAMPLES = """examples:
  mnist-ae report                                  quick report, into reports/quick
  mnist-ae report --only 02 04                     only notebooks 02 and 04; keeps what the others left
  mnist-ae report --dataset fashion-mnist          into reports/quick-fashion-mnist
  mnist-ae report --profile full                   what reports/ holds; takes hours without a GPU
  mnist-ae data --dataset mnist                    fetch and verify MNIST, say where it lies
  mnist-ae bench                                   time a training step against a DataLoader loop
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def profile(text):
    """The name of a profile."""
    if text not in PROFILES:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from quick, full)")
    return text


def seeds(text):
    """Number of seeds, from 1 to 100."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_SEEDS}")
    return int(text)


def parser():
    """The parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = Parser(prog="mnist-ae", description="Run the course on MNIST autoencoders.", epilog=EXAMPLES,
                 formatter_class=raw, allow_abbrev=False)  # fmt: skip
    commands = top.add_subparsers(dest="command", metavar="command", required=True)

    def command(name, text):
        return commands.add_parser(name, help=text, description=text, epilog=EXAMPLES, formatter_class=raw,
                                   allow_abbrev=False)  # fmt: skip

    report = command("report", "run the notebooks and render their results as a book")
    report.add_argument("--profile", type=profile, metavar="{quick,full}", default="quick",
                        help="how much to spend: minutes or hours (default: quick)")  # fmt: skip
    report.add_argument("--only", nargs="+", metavar="NN", help="numbers of the notebooks to run (default: all)")
    report.add_argument("--seeds", type=seeds, metavar="N",
                        help=f"seeds per claim, 1 to {MAX_SEEDS} (default: the profile's number)")  # fmt: skip
    report.add_argument("--out", type=Path, metavar="DIR",
                        help="folder of the report (default: reports/<profile>, for other data than MNIST "
                        "reports/<profile>-<dataset>; full on MNIST: reports)")  # fmt: skip
    fetch = command("data", "fetch and verify the data, and say where they come from")
    bench = command("bench", "time a training step against a DataLoader loop of the same model")
    bench.add_argument("--out", type=Path, metavar="DIR",
                       help="folder of the report that shall show it (default: that of the quick report)")  # fmt: skip
    for sub in (report, fetch):
        sub.add_argument("--dataset", choices=DATASETS, default="auto",
                         help="auto: MNIST if it can be had (default: auto)")  # fmt: skip
    for sub in (report, bench):
        sub.add_argument("--device", choices=DEVICES, default="auto",
                         help="auto: a GPU if there is one (default: auto)")  # fmt: skip
    return top


def main(arguments=None):
    """Run the command line; return the exit code: 0, 1 for a failure, 2 for a wrong argument, 130 if interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an old code page has no characters for a progress bar
    top = parser()
    options = top.parse_args(arguments)
    if os.environ.get("MNIST_DATA_DIR"):  # the notebooks run in another folder
        os.environ["MNIST_DATA_DIR"] = str(Path(os.environ["MNIST_DATA_DIR"]).expanduser().resolve())
    from mnist_ae_utils import chapter, data

    try:
        chapter.choose_device(getattr(options, "device", "auto"))
        notebooks.notebook_paths(only=getattr(options, "only", None))
    except ValueError as error:
        top.error(str(error))
    try:
        if options.command == "report":
            return run(options.profile, options.only, options.dataset, options.seeds, options.device, options.out)
        if options.command == "data":
            print(data.describe(load_data(options.dataset)))
        else:
            from mnist_ae_utils.report import benchmark

            print(f"written to {benchmark.run(options.out, 'auto', options.device)}")
        return 0
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the notebook's end, which nobody waits for any more
        print(
            "\ninterrupted: the same command runs the notebooks again and reuses the trainings that are finished",
            file=sys.stderr,
        )
        return 130
    except (ReportError, data.DataError) as error:
        print(f"{top.prog}: {error}", file=sys.stderr)
    except OSError as error:  # a full disk, a folder that cannot be written to
        print(f"{top.prog}: {error.filename or 'the report'}: {error.strerror or error}", file=sys.stderr)
    return 1


def run(profile="quick", only=None, dataset="auto", seeds=None, device="auto", out=None, folder=notebooks.NOTEBOOKS):
    """Run the notebooks, then write ``<out>/results.json``, ``<out>/README.md`` and ``<out>/html/``.

    Parameters
    ----------
    profile : {"quick", "full"}
    only : list of str, optional
        Numbers of the notebooks to run, such as ["02", "04"]; the earlier results of the others are kept if they
        were made with the same profile, seeds and data, and removed if not.
    dataset, seeds, device
        As in `chapter.begin`.
    out : path, optional
        Folder of the report: that of `chapter.report_folder`, but ``reports/`` for the full profile on MNIST, unless
        told. Executed notebooks go to ``<out>/notebooks``.
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
    from mnist_ae_utils import chapter

    started = time.perf_counter()
    paths, setting = notebooks.notebook_paths(folder, only), prepare(profile, dataset, seeds, device)
    committed, data_name = (notebooks.ROOT / "reports").resolve(), setting["dataset"]["name"]
    if out is None:
        out = chapter.report_folder(profile, data_name, setting["seeds"])
        out = committed if out == chapter.report_folder("full", "mnist") else out
    out = Path(out).resolve()
    if out == committed and data_name != "mnist":
        raise ReportError(
            f"{out} holds what was measured on MNIST, and these data are {data_name}: name another folder with --out, "
            f"or get MNIST with `mnist-ae data --dataset mnist`"
        )
    for part in ("notebooks", "results"):
        (out / part).mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=out).close()  # a folder that cannot be written to is told before hours of work
    parameters = {"profile": profile, "dataset": data_name, "seeds": seeds, "device": device, "out": out.as_posix()}
    for path in paths:
        notebooks.check_parameters(path, parameters)

    header = {"profile": profile, **setting, **collect.environment(), "notebooks": {}, "failed": []}
    others = {path.stem for path in notebooks.notebook_paths(folder)} - {path.stem for path in paths}
    earlier = collect.earlier_results(out, header, others)
    collect.remove_results_of_others(out, header, others)
    header["notebooks"] = {name: run for name, run in earlier["header"]["notebooks"].items() if name in others}
    kept = {name: [e for e in earlier["results"] if e["notebook"] == name] for name in header["notebooks"]}
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem}", flush=True)
        executed = notebooks.execute(path, out, parameters) | {"commit": header["commit"]}
        if executed["error"]:
            print(f"FAILED {path.stem}: {executed['error']}", file=sys.stderr)
        print(f"[{number}/{len(paths)}] {path.stem}: {executed['seconds']:.0f} s", flush=True)
        header["notebooks"][path.stem] = collect.with_longest(executed, path.stem, header, earlier["header"])
        results = collect.write_results(out, header, kept)
    try:
        book.render(out, results)
    finally:
        print(f"{len(paths)} notebooks in {page.duration(time.perf_counter() - started)}")
    if out == committed and profile == "full" and not header["failed"]:
        page.update_readme(notebooks.ROOT / "README.md", results)
        book.save_tagged_figures(out)
    print(f"report: {out / 'html' / 'index.html'}")
    for name in header["failed"]:
        print(f"FAILED {name}: {header['notebooks'][name]['error']}", file=sys.stderr)
    return 1 if header["failed"] else 0


def prepare(profile, dataset, seeds, device):
    """Load the data once, so that damage shows before any training; what the header says of data and hardware."""
    from mnist_ae_utils import chapter, data

    loaded = load_data(chapter.PROFILES[profile]["dataset"] if dataset == "auto" else dataset)
    print(data.describe(loaded), flush=True)
    return {
        "seeds": seeds or chapter.PROFILES[profile]["seeds"],
        "dataset": {key: getattr(loaded, key) for key in ("name", "source", "checksum", "notice")},
        "device": chapter.choose_device(device),
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
