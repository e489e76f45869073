"""The command line: ``python -m mnist_ae_utils``, installed as ``mnist-ae``."""

import argparse
import logging
import os
import sys
from pathlib import Path

# Written out, because importing them would import torch and make `--help` slow; a test holds them to the sources.
PROFILES = ("smoke", "quick", "full")
DATASETS = ("auto", "mnist", "fashion-mnist", "kmnist", "uci-digits")
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_SEEDS = 100

EXAMPLES = """examples:
  mnist-ae report                                  quick report, into reports/quick
  mnist-ae report --only 02 04                     only notebooks 02 and 04; keeps what the others left
  mnist-ae report --dataset fashion-mnist --out reports/fashion
  mnist-ae report --profile full                   what reports/ holds; takes hours without a GPU
  mnist-ae data --dataset mnist                    fetch and verify MNIST, say where it lies
  mnist-ae bench                                   time a training step against a DataLoader loop
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


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
    report.add_argument("--profile", choices=PROFILES, default="quick",
                        help="how much to spend: minutes, ten minutes, hours (default: quick)")  # fmt: skip
    report.add_argument("--only", nargs="+", metavar="NN", help="numbers of the notebooks to run (default: all)")
    report.add_argument("--seeds", type=seeds, metavar="N",
                        help=f"seeds per claim, 1 to {MAX_SEEDS} (default: the profile's number)")  # fmt: skip
    report.add_argument("--out", type=Path, metavar="DIR",
                        help="folder of the report (default: reports/<profile>; full: reports for MNIST, "
                        "reports/full-<dataset> for another)")  # fmt: skip
    fetch = command("data", "fetch and verify the data, and say where they come from")
    bench = command("bench", "time a training step against a DataLoader loop of the same model")
    bench.add_argument("--out", type=Path, metavar="DIR",
                       help="folder of the report that shall show it (default: reports/quick)")  # fmt: skip
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
    from mnist_ae_utils import report

    if options.command == "report":
        try:
            report.notebook_paths(only=options.only)
        except ValueError as error:
            top.error(str(error))
    try:
        return {"report": run_report, "data": fetch_data, "bench": run_benchmark}[options.command](options)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the notebook's end, which nobody waits for any more
        print(
            "\ninterrupted: the same command runs the notebooks again and reuses the trainings that are finished",
            file=sys.stderr,
        )
        return 130
    except report.ReportError as error:
        print(f"{top.prog}: {error}", file=sys.stderr)
    except OSError as error:  # a full disk, a folder that cannot be written to
        print(f"{top.prog}: {error.filename or 'the report'}: {error.strerror or error}", file=sys.stderr)
    return 1


def run_report(options):
    """``mnist-ae report``."""
    from mnist_ae_utils import report

    reports = report.ROOT / "reports"
    if options.profile != "full":
        default = reports / options.profile
    elif options.dataset in ("auto", "mnist"):
        default = reports
    else:
        default = reports / f"full-{options.dataset}"
    out = options.out or default
    return checked(
        options, report.run, options.profile, options.only, options.dataset, options.seeds, options.device, out
    )


def fetch_data(options):
    """``mnist-ae data``."""
    from mnist_ae_utils import data, report

    print(data.describe(checked(options, report.load_data, options.dataset)))
    return 0


def run_benchmark(options):
    """``mnist-ae bench``."""
    from mnist_ae_utils import benchmark, report

    written = checked(options, benchmark.run, options.out or report.ROOT / "reports" / "quick", "auto", options.device)
    print(f"written to {written}")
    return 0


def checked(options, function, *arguments):
    """``function(*arguments)``, where the data or the device are not to be had: one line."""
    from mnist_ae_utils import data, experiments

    if getattr(options, "device", "auto") != "auto":
        try:
            experiments.choose_device(options.device)
        except ValueError as error:
            parser().error(str(error))
    try:
        return function(*arguments)
    except data.DataError as error:
        print(f"mnist-ae: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    sys.exit(main())
