"""What several test files share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def smoke_report(tmp_path_factory):
    """The whole report on the smoke profile, made by the command that the README gives."""
    out = tmp_path_factory.mktemp("smoke")
    environment = os.environ | {"MNIST_AE_CACHE": str(out / "cache")}
    command = [sys.executable, "-m", "mnist_ae_utils", "report", "--profile", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out
