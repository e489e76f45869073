"""The command line: what it allows, what it says when it does not, and its exit codes."""

import dataclasses
import errno
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mnist_ae_utils import __main__, chapter, data
from mnist_ae_utils.report import command as cli
from mnist_ae_utils.report import folder
from mnist_ae_utils.report import run as making


def run(capsys, *arguments):
    """Exit code and standard error of the command line."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["report", "--profile", "fast"], "invalid choice: 'fast' (choose from quick, full)"),
        (["report", "--dataset", "cifar"], "choose from auto, mnist, fashion-mnist, kmnist, mnist-5000, uci-digits"),
        (["report", "--device", "tpu"], "choose from auto, cpu, cuda, mps"),
        (["report", "--seeds", "0"], "'0' is not a whole number from 1 to 100"),
        (["report", "--seeds", "many"], "'many' is not a whole number from 1 to 100"),
        (["report", "--only", "77"], "no notebook 77: use one or more of "),
        (["data", "--dataset", "cifar"], "choose from auto, mnist"),
        (["report", "--out", "~nobody-of-this-name/x"], "that home folder is not known here; write the path out"),
        (["report", "--start-timeout", "0"], "'0' is not a whole number from 1 to 86,400"),
        (["reprot"], "choose from report, check, verify, book, slides, data"),
        ([], "required: command"),
        (["report", "--sed", "3"], "unrecognized arguments: --sed 3"),
    ],
)
def test_a_wrong_argument_gets_one_line_that_says_what_is_allowed(capsys, arguments, message):
    code, error = run(capsys, *arguments)
    assert code == 2
    assert message in error.replace("', '", ", ").replace("from '", "from ") and "smoke" not in error
    assert error.count("\n") == 1


def test_a_command_under_nohup_stays_when_the_terminal_goes(capsys, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        cli.main(["data", "--dataset", "uci-digits"])
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == cli._stop
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["check", "verify", "book", "slides", "live"])
def test_where_there_is_no_report_it_is_said_how_to_make_one(capsys, tmp_path, name):
    code, error = run(capsys, name, "--out", str(tmp_path / "x"))
    assert code == 1 and error.startswith(f"mnist-ae: there is no report in {tmp_path / 'x'}: make one with")
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_device_that_is_not_there_is_a_wrong_argument(capsys, monkeypatch):
    monkeypatch.setattr(chapter.torch.cuda, "is_available", lambda: False)
    code, error = run(capsys, "report", "--device", "cuda")
    assert code == 2 and "'cuda' is not available here: use one of auto, cpu" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "error, message",
    [
        (data.DataError("train-images is damaged. Delete it."), "train-images is damaged. Delete it."),
        (folder.ReportError("01.ipynb has no parameter 'seeds'"), "01.ipynb has no parameter 'seeds'"),
        (OSError(errno.ENOSPC, "No space left on device", "reports"), "reports: No space left on device. Mend that"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), "b: [Errno 28] No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied. Mend that"),
    ],
)
def test_a_failure_is_one_line_and_no_traceback(capsys, monkeypatch, error, message):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(making, "report", fail)
    code, text = run(capsys, "report")
    assert code == 1
    assert text.startswith(f"mnist-ae: {message}") and text.count("\n") == 1


def test_an_interruption_is_130(capsys, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "report", interrupt)
    code, text = run(capsys, "report")
    assert code == 130 and "the same command goes on where it was" in text and "Traceback" not in text


def test_what_is_asked_for_reaches_the_report(monkeypatch):
    calls = []

    def report(*arguments, start_timeout):
        calls.append((*arguments, start_timeout))
        return 0

    monkeypatch.setattr(making, "report", report)
    assert __main__.main(["report"]) == 0
    assert cli.main(["report", "--profile", "full", "--seeds", "3", "--dataset", "kmnist", "--only", "02"]) == 0
    assert cli.main(["report", "--profile", "smoke", "--out", "~/x", "--device", "cpu", "--start-timeout", "9"]) == 0
    assert calls[0] == ("quick", None, "auto", None, "auto", None, 300)
    assert calls[1] == ("full", ["02"], "kmnist", 3, "auto", None, 300)
    assert calls[2] == ("smoke", None, "auto", None, "cpu", Path.home() / "x", 9)


def test_a_book_is_printed_if_asked_for(monkeypatch, capsys, tmp_path):
    calls = []

    def rendered(out, render):
        calls.append((out, render.keywords["pdf"]))
        return tmp_path / "html" / "index.html"

    monkeypatch.setattr(making, "rendered", rendered)
    assert cli.main(["book", "--out", str(tmp_path)]) == 0 and cli.main(["book", "--pdf", "--out", str(tmp_path)]) == 0
    assert calls == [(tmp_path, False), (tmp_path, True)]
    assert capsys.readouterr().out.splitlines()[0] == f"book: {tmp_path / 'html' / 'index.html'}"


def test_data_says_where_they_come_from(capsys):
    assert cli.main(["data", "--dataset", "mnist-5000"]) == 0
    said = capsys.readouterr().out
    assert "mnist-5000" in said and "NOT ALL OF MNIST" in said


def test_a_fallback_is_announced_once_and_without_a_source_path(capsys, monkeypatch):
    fallback = dataclasses.replace(data.load("mnist-5000"), notice="THIS IS NOT ALL OF MNIST: no network.")

    def load(name):
        warnings.warn("the folder has no files", stacklevel=2)
        warnings.warn(fallback.notice, stacklevel=2)
        return fallback

    monkeypatch.setattr(data, "load", load)
    assert cli.main(["data"]) == 0
    said = capsys.readouterr()
    assert said.err == "Note: the folder has no files\n"
    assert said.out.count("NOT ALL OF MNIST") == 1


def test_choices_are_those_of_the_package():
    assert cli.PROFILES == tuple(chapter.PROFILES)
    assert cli.DATASETS == data.DATASETS
    assert cli.DEVICES == chapter.DEVICES


def test_the_profile_of_the_tests_is_not_offered(capsys):
    assert run(capsys, "report", "--profile", "smoke", "--seeds", "0")[0] == 2
    for arguments in (["--help"], ["report", "--help"]):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        said = capsys.readouterr().out
        assert "smoke" not in said and "--profile full" in said


def test_help_shows_examples_without_importing_torch():
    code = "import sys, mnist_ae_utils.__main__ as m\ntry: m.main(['report', '--help'])\n" \
           "finally: assert 'torch' not in sys.modules"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout and "(default: quick)" in done.stdout and "--only NN [NN ...]" in done.stdout
