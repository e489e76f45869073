"""The machine: memory as containers limit it, workers that end with their kernel, what numba keeps."""

import contextlib
import importlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy
import psutil
import pytest

from mnist_ae_utils import data, machine, metrics

GIB = 2**30


def write_group(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def group_2(limit, used, cached=0):
    stat = f"anon 5\nfile {9 * GIB}\ninactive_file {cached // 2}\nactive_file {cached - cached // 2}"
    return {"memory.max": limit, "memory.current": used, "memory.stat": stat}


def group_1(limit, used, cached=0):
    stat = f"inactive_file 7\ntotal_inactive_file {cached}\ntotal_active_file 0"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder in place of /, on a machine of 16 GiB of which 10 are free."""
    sizes = type("", (), {"total": 16 * GIB, "available": 10 * GIB})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: sizes)
    monkeypatch.setattr(psutil.Process, "children", lambda self: [])
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "line, groups, expected",
    [
        ("0::/", {"": group_2("max", 9 * GIB)}, (16, 10)),
        ("0::/", {"": group_2(4 * GIB, GIB)}, (4, 3)),
        ("0::/", {"": group_2(4 * GIB, 4 * GIB, cached=2 * GIB)}, (4, 2)),
        ("0::/", {"": group_2(20 * GIB, GIB)}, (16, 10)),
        ("0::/a/b", {"a": group_2(6 * GIB, 5 * GIB), "a/b": group_2(5 * GIB, GIB)}, (5, 1)),
        ("0::/a/b", {"a": group_2(6 * GIB, GIB), "a/b": group_2("max", GIB)}, (6, 5)),
        ("0::/of/the/host", {"": group_2(2 * GIB, 3 * GIB)}, (2, 0)),
        ("3:cpu,cpuacct:/x\n4:memory:/a", {"memory/a": group_1(3 * GIB, 2 * GIB, GIB)}, (3, 2)),
        ("4:memory:/a", {"memory": group_1(8 * GIB, GIB), "memory/a": group_1(2**63 - 4096, GIB)}, (8, 7)),
    ],
)
def test_memory_is_what_the_tightest_group_leaves(root, line, groups, expected):
    (root / "proc/self/cgroup").write_text(line + "\n")
    for folder, files in groups.items():
        write_group(root / "sys/fs/cgroup" / folder, files)
    assert machine.memory(root) == tuple(gib * GIB for gib in expected)


def test_memory_that_workers_hold_is_free_for_them(root, monkeypatch):
    workers = [type("", (), {"memory_info": lambda self: type("", (), {"rss": 3 * GIB})})() for _ in range(2)]
    monkeypatch.setattr(psutil.Process, "children", lambda self: workers)
    assert machine.memory(root) == (16 * GIB, 16 * GIB)


def test_without_control_groups_memory_is_the_machines(root):
    assert machine.memory(root) == (16 * GIB, 10 * GIB)


def test_the_cache_lies_where_people_mean_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    root = data.PROJECT_ROOT
    for given, meant in {"~/runs": "/home/me/runs", "runs": f"{root}/runs", "": f"{root}/.cache"}.items():
        monkeypatch.setenv("MNIST_AE_CACHE", given)
        assert str(machine.cache_folder()) == meant
    monkeypatch.setenv("MNIST_AE_CACHE", "~nobody-here/runs")
    with pytest.raises(ValueError, match="MNIST_AE_CACHE is '~nobody-here/runs', .* write the path out"):
        machine.cache_folder()


START = """
import os, sys
import joblib, numpy as np
from mnist_ae_utils import machine

def works(data):
    open(f"{sys.argv[1]}/working", "w").close()
    while True:
        data.mean()

def writes(data):
    open(f"{sys.argv[1]}/writing", "w").close()
    while not os.path.exists(f"{sys.argv[1]}/go"):
        pass
    return np.zeros(20_000_000)

if __name__ == "__main__":
    data = np.zeros(1_000_000)
    parallel = joblib.Parallel(2, initializer=machine.end_with, initargs=(os.getpid(),))
    parallel(joblib.delayed(function)(data) for function in (works, writes))
"""


@pytest.mark.skipif(os.name == "nt", reason="it stops and kills by signals")
def test_workers_end_with_the_process_that_started_them_even_while_they_write_to_it(tmp_path):
    (tmp_path / "start.py").write_text(START)
    kernel = subprocess.Popen([sys.executable, tmp_path / "start.py", tmp_path])
    wait_until(lambda: (tmp_path / "working").exists() and (tmp_path / "writing").exists(), seconds=60)
    workers = psutil.Process(kernel.pid).children(recursive=True)
    kernel.send_signal(signal.SIGSTOP)  # so that nobody reads what the second worker writes
    (tmp_path / "go").touch()
    time.sleep(1)
    kernel.kill()
    kernel.wait()
    wait_until(lambda: not any(map(is_alive, workers)), seconds=10)
    names = os.listdir("/dev/shm") if os.path.exists("/dev/shm") else []
    shared = [name for name in names if re.search(rf"(^|[_-]){kernel.pid}([_-]|$)", name)]  # not within a hash
    assert len(workers) >= 2 and not shared


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.05)


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A module with a function that numba keeps, next to it: it is imported anew and called, as in another process."""
    pytest.importorskip("numba")
    machine.let_numba_compile()
    monkeypatch.setenv("MNIST_AE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "compiled.py").write_text(
        "import numba\n@numba.njit('f8(f8)', cache=True)\ndef double(x):\n    return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def call():
        sys.modules.pop("compiled", None)
        compiled = importlib.import_module("compiled")

        assert compiled.double(4) == 8
        return sum(compiled.double.stats.cache_hits.values())

    yield call
    sys.modules.pop("compiled", None)


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) * 2 // 3]])
def test_a_damaged_file_of_numba_is_made_again(compiled, tmp_path, suffix, damage):
    assert [compiled(), compiled()] == [0, 1]
    (path,) = (tmp_path / "__pycache__").glob("*" + suffix)
    path.write_bytes(damage(path.read_bytes()))
    assert [compiled(), compiled()] == [0, 1]


def test_numba_compiles_where_it_can_write_only_to_the_cache_or_nowhere(compiled, tmp_path, monkeypatch):
    (tmp_path / "__pycache__").write_text("a file where the folder should be")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert [compiled(), compiled()] == [0, 1]
    monkeypatch.setenv("MNIST_AE_CACHE", "/dev/null")
    assert [compiled(), compiled()] == [0, 0]


def test_what_umap_compiles_is_kept_for_other_processes_on_as_many_threads_as_torch_was_told(monkeypatch):
    def said(*lines):
        command = [sys.executable, "-c", "\n".join(lines)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    of_numba = "from numba import config; print(config.NUMBA_NUM_THREADS)"
    of_user = said("from mnist_ae_utils import machine; machine.let_numba_compile()", of_numba)
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    metrics.umap_embedding(numpy.random.rand(100, 8).astype("float32"))
    kept = said(
        "import numpy, torch; from mnist_ae_utils import metrics",
        "metrics.umap_embedding(numpy.random.rand(100, 8).astype('float32'))",
        "from umap.umap_ import smooth_knn_dist; print(len(smooth_knn_dist.stats.cache_hits), torch.get_num_threads())",
        of_numba,
    )
    assert of_user == ["3"] and kept == ["1", "1", "1"]
