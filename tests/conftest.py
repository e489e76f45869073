"""What several test files share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chromium import browser  # noqa: F401  (a fixture)
from filelock import FileLock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes, each with a thread a core, wait for each other

ROOT = Path(__file__).resolve().parents[1]
# Where a whole notebook is run: the other core runs other tests meanwhile, and workers start longer than they train.
ONE_CORE = {"LOKY_MAX_CPU_COUNT": "1"}


@pytest.fixture(scope="session")
def smoke_report(tmp_path_factory):
    """The whole report on the smoke profile, made by the command that the README gives: once, by one of the workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of the session, in which every worker has a folder of its own
    out, outcome = shared / "smoke", shared / "smoke.json"
    with FileLock(shared / "smoke.lock"):
        if not outcome.exists():
            environment = os.environ | ONE_CORE | {"MNIST_AE_CACHE": str(shared / "smoke-cache")}
            command = [sys.executable, "-m", "mnist_ae_utils", "report", "--profile", "smoke", "--out", str(out)]
            outcome.write_text(json.dumps([1, "it took too long"]))  # said to all, not tried again by each
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
            outcome.write_text(json.dumps([done.returncode, done.stdout[-3000:] + done.stderr[-3000:]]))
    code, said = json.loads(outcome.read_text())
    assert code == 0, said
    return out


def pytest_collection_modifyitems(items):
    """What needs the smoke report comes first: one worker makes it while the other runs everything else."""
    items.sort(key=lambda item: not ("smoke_report" in item.fixturenames or "[smoke" in item.nodeid))
