"""What several test files share."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from books import book  # noqa: F401  (a fixture)
from chromium import browser  # noqa: F401  (another)
from once import made_once

# Several test processes, each with a thread a core, wait for each other. Torch, which reads this, is not imported yet:
# the process that hands out the tests needs none of it, and waits for no import.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
# Runs are made without workers, which start longer than they train here, unless a test is about these: see `workers`.
ONE_CORE = {"LOKY_MAX_CPU_COUNT": "1"}
os.environ |= ONE_CORE
FIRST_TEST = pytest.StashKey()  # of a worker; which worker gets which tests is not known before


@pytest.fixture
def workers(monkeypatch):
    """Runs are made by a worker process on each core, as for a reader."""
    monkeypatch.delenv(*ONE_CORE)


@pytest.fixture
def more_images(monkeypatch):
    """The smoke profile has as many images as it takes to learn something from them."""
    from mnist_ae_utils.chapter import PROFILES

    sizes = dict(train_images=600, validation_images=500, test_images=500, epochs=2, min_steps=20)
    monkeypatch.setitem(PROFILES, "smoke", PROFILES["smoke"] | sizes)


def installer(root):
    """install.py of a folder, as a module."""
    spec = importlib.util.spec_from_file_location("install", root / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def smoke_report(tmp_path_factory):
    """The whole report on the smoke profile, made by the command that the README gives; its runs lie beside it."""

    def make(folder):
        environment = os.environ | {"MNIST_AE_CACHE": str(folder / "smoke-cache")}
        environment |= {"LOKY_MAX_CPU_COUNT": "1"}  # starting worker processes takes longer than such trainings do
        command = [sys.executable, "-m", "mnist_ae_utils", "report", "--profile", "smoke", "--out", folder / "smoke"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    return made_once(tmp_path_factory, "of-the-course", make) / "smoke"


def needs_the_smoke_report(item):
    return "smoke_report" in item.fixturenames or "[smoke" in item.nodeid


def pytest_collection_modifyitems(items):
    """What needs the smoke report comes first: one worker makes it while the others run everything else.

    What needs the bundle, which takes longest of that, comes in the midst: else it is left for the end, on one core.
    """
    items.sort(key=lambda item: not needs_the_smoke_report(item))
    of_bundle = [item for item in items if "whole" in item.fixturenames]
    others = [item for item in items if item not in of_bundle]
    half = len(others) // 2
    items[:] = others[:half] + of_bundle + others[half:]


def pytest_runtest_protocol(item):
    """The worker that begins with the smoke report, for which many tests wait, goes before the others on the cores."""
    first = item.config.stash.setdefault(FIRST_TEST, item)
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    if first is item and not (needs_the_smoke_report(item) or alone) and hasattr(os, "nice"):  # not on Windows
        os.nice(10)
