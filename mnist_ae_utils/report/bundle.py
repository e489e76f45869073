"""The bundle: one folder for a class without network, with all that the course needs but Python itself.

It holds the files that git tracks, the wheels of the packages, MNIST, the remembered runs of the quick profile, and the
book. Runs and book are made in the bundle itself, by an environment that is installed from its wheels: what works here
works wherever there are the same system and Python.
"""

import os
import platform
import shutil
import subprocess
import sys
from functools import partial

from mnist_ae_utils import data
from mnist_ae_utils.report import collect
from mnist_ae_utils.report.folder import ReportError
from mnist_ae_utils.report.kernel import ROOT

COPIED = ".bundle"  # lists what was copied of the project; a folder without it is no bundle
START = "START.txt"  # is there as soon as the bundle is whole
WINDOWS = os.name == "nt"
PYTHON = os.path.join(".venv", "Scripts", "python.exe") if WINDOWS else os.path.join(".venv", "bin", "python")
TEXT = """Can an MNIST autoencoder learn ten-digit classification? A course of Jupyter notebooks,
as of commit {commit}

For {system} with Python {python}{venv}. No network is needed.

1. Copy this whole folder to your disk. It takes {copied:.1f} GB there, and {installed:.1f} GB more once installed.

2. In a terminal, in the copy, install what it needs, which takes a few minutes:

       {command} install.py

3. Open the notebooks:

       {lab} -m jupyter lab notebooks

Begin with 01_linear_autoencoder.ipynb there: Run, Run All Cells. It replays in less than a minute. Write down
what you predict before you look at what was found: that stands in the book, reports/html/index.html, and what can
be tried without a notebook in reports/html/live.html; open them in a browser. README.md tells everything else.
"""


def make(out, profile="quick"):
    """Make a bundle in the folder `out`, go on with one that was interrupted, or bring one up to date.

    `profile` is whose runs are remembered; "smoke" is for tests. Raises ReportError if the folder holds anything else,
    git does not know the project's files, or a step fails; `data.DataError` without MNIST; OSError. What was finished
    is kept for the next attempt.
    """
    if out.exists() and not (out / COPIED).exists() and any(out.iterdir()):
        raise ReportError(f"{out} holds what is no bundle: name a new folder by --out, or move that away")
    if (commit := collect.commit()) == "none":
        raise ReportError(f"a bundle is made of the files that git tracks, and {ROOT} is no clone, or git is missing")
    out.mkdir(parents=True, exist_ok=True)
    (out / START).unlink(missing_ok=True)
    python = out / PYTHON
    call = partial(step, out)
    print("[1/4] the project and its data", flush=True)
    copy_project(out)
    copy_mnist(out)
    print("[2/4] the packages", flush=True)
    call(sys.executable, ROOT / "install.py", "--wheels", "wheels")
    call(sys.executable, "install.py")
    print(f"[3/4] the runs of the {profile} profile", flush=True)
    call(python, "-m", "mnist_ae_utils", "report", "--profile", profile)
    print("[4/4] the book", flush=True)
    call(python, "-m", "mnist_ae_utils", "book", stdout=subprocess.DEVNULL)  # at a terminal it would open a browser
    installed = size(out / ".venv")
    shutil.rmtree(out / ".venv")
    for built in (*out.glob("*.egg-info"), *out.rglob("__pycache__")):
        shutil.rmtree(built)
    minor = ".".join(map(str, sys.version_info[:2]))
    text = TEXT.format(
        commit=commit, system=f"{platform.system()} {platform.machine()}", python=minor, copied=size(out) / 1e9,
        venv=f" (on Debian and Ubuntu python{minor}-venv, too)" if platform.system() == "Linux" else "",
        installed=installed / 1e9, lab=PYTHON, command=f"py -{minor}" if WINDOWS else f"python{minor}",
    )  # fmt: skip
    (out / START).write_text(text, encoding="utf-8")
    print(f"bundle: {out}, {size(out) / 1e9:.2f} GB. {START} in it says what to do with it")


def copy_project(out):
    """Copy the files that git tracks as they are now, and remove what was copied earlier and is gone meanwhile."""
    names = [name for name in collect.git("ls-files", "-z").split("\0") if (ROOT / name).is_file()]
    listed = out / COPIED
    gone = set(listed.read_text(encoding="utf-8").splitlines() if listed.exists() else ()) - set(names)
    listed.write_text("\n".join([*names, *sorted(gone)]), encoding="utf-8")  # before anything else is there
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, out / name)
    for name in gone:
        (out / name).unlink(missing_ok=True)


def copy_mnist(out):
    """Copy the four files of MNIST, checked, to where `data.load` looks for them without being told."""
    data.load("mnist")
    found, _ = data._locate("mnist", retry=True)
    target = out / "data" / "MNIST" / "raw"
    target.mkdir(parents=True, exist_ok=True)
    for name in data.FILES:
        shutil.copyfile(data._find(found, name), target / name)  # packed or not: it is read as what it is


def step(folder, *command, **options):
    """Run a command in a folder as a reader does who has told this project nothing; ReportError if it fails."""
    told = ("MNIST_", "PYTHON", "VIRTUAL_ENV", "CPU")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    if subprocess.run([str(part) for part in command], cwd=folder, env=environment, **options).returncode:
        raise ReportError("the bundle is not whole: mend what is said above, and run the same command again")


def size(folder):
    """Bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
