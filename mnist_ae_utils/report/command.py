"""The command line, ``python -m mnist_ae_utils``, installed as ``mnist-ae``, and what its commands do."""

import argparse
import logging
import os
import shutil
import signal
import sys
import webbrowser
from functools import partial
from pathlib import Path

# Written out, because importing them would import torch and make `--help` slow; a test holds them to the sources.
PROFILES = ("smoke", "quick", "full")  # the first, for tests, is not offered
DATASETS = ("auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000", "uci-digits")
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_SEEDS = 100

EXAMPLES = """examples:
  mnist-ae report                                  quick report, into reports/quick
  mnist-ae report --only 02 04                     only notebooks 02 and 04; keeps what the others left
  mnist-ae report --dataset fashion-mnist          into reports/quick-fashion-mnist
  mnist-ae report --profile full                   what reports/ holds; takes hours without a GPU
  mnist-ae check                                   whether the parts of the report in reports/ belong together
  mnist-ae verify                                  whether its networks reproduce its figures: no training
  mnist-ae book                                    render it as a book, reports/html, without running anything
  mnist-ae book --pdf                              and as one PDF, reports/html/book.pdf
  mnist-ae slides                                  make slides of its chapters, reports/slides, likewise
  mnist-ae live                                    try its networks in the browser: draw, spoil, walk through codes
  mnist-ae bundle                                  a folder for a class without network, into bundle/
  mnist-ae data --dataset mnist                    fetch and verify MNIST, say where it lies
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def _profile(text):
    if text not in PROFILES:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from quick, full)")
    return text


def _count(most):
    """What reads a whole number from 1 to `most`."""

    def count(text):
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most:,}")
        return int(text)

    return count


def _seeds(text):
    first, dash, last = text.partition("-")
    if dash and first.isdecimal() and (not last or last.isdecimal() and 0 <= int(last) - int(first) < MAX_SEEDS):
        return text
    return _count(MAX_SEEDS)(text)


def _folder(text):
    path = Path(os.path.expanduser(text))
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise argparse.ArgumentTypeError(f"{text!r}: that home folder is not known here; write the path out")
    return path


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
    report.add_argument("--profile", type=_profile, metavar="{quick,full}", default="quick",
                        help="how much to spend: minutes or hours (default: quick)")  # fmt: skip
    report.add_argument("--only", nargs="+", metavar="NN", help="numbers of the notebooks to run (default: all)")
    report.add_argument("--seeds", type=_seeds, metavar="N",
                        help=f"how many seeds, 1 to {MAX_SEEDS}; or which, such as 1000-1009; or, such as 1000-, the "
                        "first, and as many as the rules plan (default: the profile's)")  # fmt: skip
    report.add_argument("--start-timeout", type=_count(86_400), metavar="S", default=300,
                        help="seconds that a kernel may take to start (default: 300)")  # fmt: skip
    report.add_argument("--out", type=_folder, metavar="DIR",
                        help="folder of the report (default: reports/<profile>, for other data than MNIST "
                        "reports/<profile>-<dataset>; full: reports, or reports/<dataset>)")  # fmt: skip
    check = command("check", "say whether the parts of a report belong together; exit code 1 if not")
    verify = command("verify", "say whether the networks of a report reproduce its figures; exit code 1 if not")
    book = command("book", "render a report as a book and open it, without running anything")
    slides = command("slides", "make slides for class of a report's chapters and open them, without running anything")
    fetch = command("data", "fetch and verify the data, and say where they come from")
    live = command("live", "render the book, and open its page on which the networks run in the browser")
    bundle = command("bundle", "make a folder from which machines like this one are set up without network")
    bundle.add_argument("--out", type=_folder, metavar="DIR", help="folder of the bundle (default: bundle)")
    for sub in (check, verify, book, slides, live):
        sub.add_argument("--out", type=_folder, metavar="DIR", help="folder of the report (default: reports)")
    book.add_argument("--pdf", action="store_true", help="print it too, to html/book.pdf, by Chromium or Chrome")
    for sub in (report, fetch):
        sub.add_argument("--dataset", choices=DATASETS, default="auto",
                         help="auto: MNIST if it can be had (default: auto)")  # fmt: skip
    report.add_argument("--device", choices=DEVICES, default="auto",
                        help="auto: a GPU if there is one (default: auto)")  # fmt: skip
    return top


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end."""


def _stop(number, frame):
    raise Stopped(128 + number)


def main(arguments=None):
    """Run the command line; return the exit code: 0, 1 for a failure, 2 for a wrong argument, 130 if interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an old code page has no characters for a progress bar
    top = parser()
    options = top.parse_args(arguments)
    for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
        if signal.getsignal(number) != signal.SIG_IGN:  # which is what nohup does
            signal.signal(number, _stop)  # as an interrupt, so that the notebook's processes end too
    from mnist_ae_utils import chapter, data
    from mnist_ae_utils.report import notebooks
    from mnist_ae_utils.report.folder import ReportError

    if given := os.environ.get("MNIST_DATA_DIR"):  # the notebooks run in another folder
        os.environ["MNIST_DATA_DIR"] = os.path.abspath(data.given_path(given))
    try:
        chapter.choose_device(getattr(options, "device", "auto"))
        if options.command == "report":
            notebooks.notebook_paths(only=options.only)
    except ValueError as error:
        top.error(str(error))
    try:
        return _run_command(options)
    except KeyboardInterrupt as stopped:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the notebook's end, which nobody waits for any more
        print("\ninterrupted: the same command goes on where it was; finished trainings are kept", file=sys.stderr)
        return stopped.args[0] if isinstance(stopped, Stopped) else 130
    except (ReportError, data.DataError) as error:
        print(f"{top.prog}: {error}", file=sys.stderr)
    except OSError as error:  # a full disk, a folder that cannot be written to
        where, why = error.filename or "the report", error.strerror or error
        if isinstance(error, shutil.Error):  # which holds a list: source, target and reason of each file
            where, why = error.args[0][0][1:]
        print(f"{top.prog}: {where}: {why}. Mend that and run the same command again: it goes on where it was",
              file=sys.stderr)  # fmt: skip
    return 1


def _run_command(options):
    """Do what one of the commands is for; return the exit code."""
    from mnist_ae_utils import data
    from mnist_ae_utils.report import pages, run
    from mnist_ae_utils.report.folder import ReportError

    out = options.out.resolve() if getattr(options, "out", None) else None
    if options.command == "report":
        settings = options.profile, options.only, options.dataset, options.seeds, options.device, out
        return run.report(*settings, start_timeout=options.start_timeout)
    if options.command == "check":
        from mnist_ae_utils.report import check

        found, not_here = check.problems(out or pages.COMMITTED), check.absent(out or pages.COMMITTED)
        print("\n".join(found) or "results, pages, figures and notebooks that are here belong together")
        if not_here:
            print(f"Not here, so not looked at: {', '.join(not_here)}")
        return 1 if found else 0
    if options.command == "verify":
        from mnist_ae_utils.report import verify

        return 1 if verify.differing(out or pages.COMMITTED) else 0
    if options.command == "bundle":
        from mnist_ae_utils.report import bundle

        bundle.make(out or data.PROJECT_ROOT / "bundle")
        return 0
    if options.command in ("book", "slides", "live"):
        from mnist_ae_utils.report import book, slides

        as_book = partial(book.render, pdf=getattr(options, "pdf", False))
        render = slides.render if options.command == "slides" else as_book
        first = run.rendered(out or pages.COMMITTED, render)
        if options.command == "live" and not (first := first.with_name("live.html")).exists():
            raise ReportError(f"{out or pages.COMMITTED} keeps no networks for that page: run chapters 4 to 6")
        print(f"{options.command}: {first}")
        if sys.stdout.isatty():  # somebody is there to look at it
            webbrowser.open(first.as_uri())
    else:
        print(data.describe(run.load_data(options.dataset)))
    return 0
