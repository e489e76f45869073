"""The bundle for a class without network: what it refuses, that it goes on, and that a machine is set up from it.

One is made for real, of a small project, and installed elsewhere without network, programs, a home or caches. Its
packages are uv, setuptools, and one that leads to the libraries which these tests run with.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import nbformat
import pytest
import wheels
from conftest import ONE_CORE, installer
from once import made_once
from stub_notebooks import SETTING, execute_at_once, write_notebook

from mnist_ae_utils import data
from mnist_ae_utils.report import book, bundle, collect, folder, notebooks, run

ROOT = Path(__file__).resolve().parents[1]


def write(path, text="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(root):
    """Make a folder a repository with a commit of what it holds."""
    for arguments in (["init"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "a"]):
        subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True)


def use(patch, root):
    """Have bundles made of the project in a folder, with files of MNIST that it holds."""
    for name in data.FILES:
        write(root / "mnist" / f"{name}.gz", name)
    for module in (bundle, collect):
        patch.setattr(module, "ROOT", root)
    patch.setattr(data, "load", lambda name: None)
    patch.setattr(data, "_locate", lambda name, retry: (root / "mnist", ""))


# --------------------------------------------------------------------------------- in a project of three files
@pytest.fixture
def project(tmp_path, monkeypatch):
    """A clone of a project of three files, whose steps are noted instead of run: its folder, and the notes."""
    root, steps = tmp_path / "project", []
    for name in ("install.py", "notebooks/01_a.ipynb", "notebooks/02_b.ipynb"):
        write(root / name)
    write(root / ".gitignore", "mnist\n")
    commit(root)
    use(monkeypatch, root)

    def step(folder, *command, **options):
        steps.append(" ".join(map(str, command[1:])))
        (folder / ".venv").mkdir(exist_ok=True)

    monkeypatch.setattr(bundle, "step", step)
    return root, steps


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_git_tracks_as_it_is_now_mnist_and_what_to_do(project, tmp_path):
    root, steps = project
    write(root / "notebooks/02_b.ipynb", "changed by the teacher")
    write(root / "thesis.tex")
    bundle.make(tmp_path / "out")
    found = files(tmp_path / "out")
    start = found.pop(bundle.START)
    found.pop(bundle.COPIED)
    of_mnist = {f"data/MNIST/raw/{name}": name for name in data.FILES}
    of_project = {name: "mine" for name in ("install.py", "notebooks/01_a.ipynb")} | {".gitignore": "mnist\n"}
    assert found == of_project | of_mnist | {"notebooks/02_b.ipynb": "changed by the teacher"}
    assert steps == [
        f"{root / 'install.py'} --wheels wheels", "install.py", "-m mnist_ae_utils report --profile quick",
        "-m mnist_ae_utils book",
    ]  # fmt: skip
    assert f"python{sys.version_info[0]}.{sys.version_info[1]} install.py" in start and "local changes" in start


@pytest.mark.parametrize("step", range(4))
def test_an_interrupted_one_goes_on_and_is_not_taken_for_whole(project, tmp_path, monkeypatch, step):
    root, steps = project
    usual = bundle.step

    def interrupted(*command, **options):
        if len(steps) == step:
            raise KeyboardInterrupt
        usual(*command, **options)

    monkeypatch.setattr(bundle, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundle.make(tmp_path / "out")
    assert not (tmp_path / "out" / bundle.START).exists()
    write(tmp_path / "out" / "wheels" / "numpy.whl", "fetched")
    monkeypatch.setattr(bundle, "step", usual)
    bundle.make(tmp_path / "out")
    found = files(tmp_path / "out")
    assert found["wheels/numpy.whl"] == "fetched" and bundle.START in found and not (tmp_path / "out/.venv").exists()


def test_it_is_brought_up_to_date(project, tmp_path):
    root, _ = project
    bundle.make(tmp_path / "out")
    write(tmp_path / "out" / "notebooks" / "03_own.ipynb")
    (root / "notebooks" / "01_a.ipynb").unlink()
    write(root / "notebooks" / "02_b.ipynb", "new")
    bundle.make(tmp_path / "out")
    found = files(tmp_path / "out" / "notebooks")
    assert found == {"02_b.ipynb": "new", "03_own.ipynb": "mine"}


def test_a_folder_with_anything_else_is_not_touched(project, tmp_path):
    write(tmp_path / "out" / "thesis.tex")
    with pytest.raises(folder.ReportError, match="holds what is no bundle: name a new folder by --out"):
        bundle.make(tmp_path / "out")
    assert files(tmp_path / "out") == {"thesis.tex": "mine"}


def test_without_a_clone_it_says_so(project, tmp_path):
    shutil.rmtree(project[0] / ".git")
    with pytest.raises(folder.ReportError, match="made of the files that git tracks, and .*project is no clone"):
        bundle.make(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_step_that_fails_is_said_after_what_it_said_itself(tmp_path, capfd):
    with pytest.raises(folder.ReportError, match="is not whole: mend what is said above, and run the same command"):
        bundle.step(tmp_path, sys.executable, "-c", "import sys; sys.exit('the disk is full')")
    assert capfd.readouterr().err == "the disk is full\n"


def test_a_step_is_not_told_what_the_teacher_told_this_project(tmp_path, monkeypatch):
    for name in ("MNIST_AE_CACHE", "MNIST_DATA_DIR", "PYTHONPATH", "CPU"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HTTPS_PROXY", "kept")
    code = "import os; print(sorted(set(os.environ) & {'MNIST_AE_CACHE', 'MNIST_DATA_DIR', 'PYTHONPATH', 'CPU'}))"
    code += "; print(os.environ['HTTPS_PROXY'], os.getcwd())"
    with open(tmp_path / "said", "w") as said:
        bundle.step(tmp_path, sys.executable, "-c", code, stdout=said)
    assert (tmp_path / "said").read_text() == f"[]\nkept {tmp_path}\n"


# ------------------------------------------------------------------------------------------------- a whole one
def packages_of(root):
    """Make a clone's lock, of uv, setuptools and what leads to the libraries of these tests; where their wheels lie."""
    folder = root.with_name("packages")
    made = [wheels.pack(folder, name) for name in ("uv", "setuptools")]
    libraries = {"libraries.pth": f"{sysconfig.get_path('purelib')}\n".encode()}
    made.append(wheels.write_wheel(folder, "libraries", "1.0", libraries))
    lines = ["# made by hand"]
    for wheel in made:
        name, version, *_ = wheel.name.split("-")
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    write(root / "requirements.lock", "\n".join(lines) + "\n")
    return folder


def ready(root):
    """Make an environment in a clone that passes for installed: its Python is the one of these tests."""
    environment = installer(root).Environment()
    write(environment.python, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    environment.python.chmod(0o755)
    state = {"build": "default", "root": str(root), "sources": environment.sources}
    write(environment.marker, json.dumps(state))


CHAPTER = """from mnist_ae_utils import metrics, models, plots
from mnist_ae_utils.chapter import begin
chapter = begin("01_small", profile, dataset, seeds, device, out)
found = chapter.run(chapter.autoencoder(models.LinearAutoencoder, 2))
plots.digits(metrics.reconstruct(found.first.model, chapter.data.test.images[:4]))
chapter.results.add("small.reconstruction_error", found.scores("test"), "squared error per image")
chapter.results.save()"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bundle of the package and a small chapter, on the smoke profile; the committed report is one of a stub."""

    def make(folder):
        root, stub = folder / "clone", folder / "stub"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "mnist_ae_utils", root / "mnist_ae_utils", ignore=ignored)
        for name in ("install.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
            shutil.copy(ROOT / name, root / name)
        path = write_notebook(root / "notebooks", "01_small", [CHAPTER])
        notebook = nbformat.read(path, as_version=4)
        del notebook.cells[-1]  # which saves what a stub states
        nbformat.write(notebook, path)
        packages = packages_of(root)
        write_notebook(stub)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "prepare", lambda *arguments: SETTING)
            patch.setattr(notebooks, "execute", execute_at_once)
            patch.setattr(book, "render", lambda out: out)
            run.report(out=root / "reports", source=stub)
            write(root / ".gitignore", ".venv\nmnist\n")
            commit(root)
            ready(root)
            use(patch, root)
            patch.setenv("PIP_NO_INDEX", "1")  # where the teacher has a network, these tests have a folder
            patch.setenv("PIP_FIND_LINKS", str(packages))
            bundle.make(folder / "stick", profile="smoke")

    return made_once(tmp_path_factory, "bundle", make) / "stick"


def student(folder, *command, **environment):
    """Run the bundle's Python, or these tests' if there is none yet: exit code, and what was said.

    No network, no programs such as make, git and compilers, a home and caches that are empty.
    """
    home = folder.with_name("home")
    home.mkdir(exist_ok=True)
    nowhere = "http://127.0.0.1:9"
    names = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environment = dict.fromkeys(names, nowhere) | {"HOME": str(home), "PATH": str(home)} | ONE_CORE | environment
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "OPENBLAS_"))}
    python = folder / bundle.PYTHON
    command = [python if command[0] == "-m" else sys.executable, *command]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_machine_is_ready_by_one_command_and_replays_a_chapter_without_training(whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "a copy"))
    page = (folder / "reports" / "html" / "notebooks" / "01_stub.html").read_text(encoding="utf-8")
    assert not re.search(r"colab\.research|mybinder", page), "without an address of the project, it links to neither"
    assert not list(folder.rglob("__pycache__")) and (folder / bundle.START).exists()
    begin = time.monotonic()
    code, said = student(folder, "install.py")
    assert code == 0 and said.endswith(f"ready: {folder / '.venv'}\n"), said
    assert time.monotonic() - begin < 300
    assert not (folder / ".venv" / "cache").exists() and not list((tmp_path / "home").iterdir())
    left = folder / "reports" / "smoke-mnist-5000" / "results" / "01_small.json"
    runs, before = {path: path.stat().st_mtime_ns for path in (folder / ".cache").iterdir()}, left.read_text()
    left.unlink()
    notebook = "notebooks/01_small.ipynb"
    parameters = ["-p", "profile", "smoke", "--cwd", "notebooks", "--kernel", "python3", "--no-progress-bar"]
    code, said = student(folder, "-m", "papermill", notebook, str(tmp_path / "run.ipynb"), *parameters)
    assert code == 0, said
    assert runs and {path: path.stat().st_mtime_ns for path in (folder / ".cache").iterdir()} == runs, "nothing trained"
    assert json.loads(left.read_text())["results"] == json.loads(before)["results"]


def test_a_damaged_or_missing_wheel_is_named_with_what_to_do(whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "a copy"))
    for name in ("uv", "libraries"):  # the one comes by pip, the others by uv
        (wheel,) = (folder / "wheels").glob(f"{name}-*.whl")
        content = wheel.read_bytes()
        for damaged in (None, content[: len(content) // 2], content[:99] + b"?" + content[100:]):
            wheel.unlink() if damaged is None else wheel.write_bytes(damaged)
            code, said = student(folder, "install.py")
            what = "missing" if damaged is None else "damaged"
            assert code == 1 and f"install: {wheel} is {what}: copy it again from where this" in said, said
            assert said.count("install: ") == 1 and "Traceback" not in said
        wheel.write_bytes(content)
    assert student(folder, "install.py")[0] == 0


@pytest.mark.parametrize(
    "change, environment, line",
    [
        ({"Python": "3.99"}, {}, "wheels is for Python 3.99, not 3."),
        ({"system": "Plan 9"}, {}, "wheels is for system Plan 9, not "),
        ({"requirements.lock": "0"}, {}, "wheels is for requirements.lock 0, not "),
        ({"packages": 5}, {}, "packages.txt is missing or damaged: copy it again from where"),
        ({"build": "cpu"}, {"CPU": "0"}, "wheels holds the CPU build of torch, and no other: leave CPU out"),
        (None, {}, "packages.txt is missing or damaged: copy it again from where"),
    ],
)
def test_what_is_for_another_machine_says_so_at_once(whole, tmp_path, change, environment, line):
    folder = tmp_path / "a copy"
    (folder / "wheels").mkdir(parents=True)
    for name in ("install.py", "requirements.lock", "pyproject.toml"):
        shutil.copy(whole / name, folder)
    if change:
        header, *lines = (whole / "wheels" / "packages.txt").read_text().splitlines()
        header = "# " + json.dumps(json.loads(header[2:]) | change)
        write(folder / "wheels" / "packages.txt", "\n".join([header, *lines]))
    code, said = student(folder, "install.py", **environment)
    assert code == 1 and line in said and said.count("\n") == 1 and "or remove" in said
    assert not (folder / ".venv").exists()
