"""The machine: where things are kept, the memory that there is, and worker processes that end with their kernel."""

import contextlib
import ctypes
import functools
import os
import threading
import time
from pathlib import Path, PurePosixPath

import psutil

WATCH_S = 1  # how often a worker looks whether its kernel is still there
# A control group's files: the limit of its memory and what is used of it, and how its statistics name their sums.
GROUP_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
GROUP_2 = "memory.max", "memory.current", ""
STILL = "MNIST_AE_STILL"  # set where notebooks are executed without a browser


def is_watched():
    """Whether somebody may see a notebook run and use its widgets: not where a report is made."""
    return not os.environ.get(STILL)


def cache_folder():
    """Where runs are remembered: $MNIST_AE_CACHE, if relative in the project's folder; else `.cache` there."""
    from mnist_ae_utils import data  # here, because a worker shall watch its kernel before it imports torch

    path = os.path.expanduser(os.environ.get("MNIST_AE_CACHE") or ".cache")
    if path.startswith("~"):
        raise ValueError(f"MNIST_AE_CACHE is {path!r}, but that home folder is not known here: write the path out")
    return data.PROJECT_ROOT / path


def end_with(parent):
    """From now on, end this process within seconds of the process `parent`, which started it.

    A worker whose kernel is killed waits for the next run for minutes, and for ever if it is writing a result: nobody
    reads, but the other workers hold the pipe open as well.
    """

    def is_there():  # where a parent is gone, POSIX names another one; Windows goes on naming it
        return psutil.pid_exists(parent) if os.name == "nt" else os.getppid() == parent

    def watch():
        while is_there():
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name=end_with.__name__, daemon=True).start()


def give_back_memory():
    """Give back what this process has freed, where the C library keeps it and can be asked to (that of GNU can)."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no such function; on Windows not even a library
        ctypes.CDLL(None).malloc_trim(0)


def memory(root="/"):
    """Bytes of memory for this process: (in all, free for workers), as the machine and its control groups have it.

    Containers and batch systems limit memory by such groups, one in the other. What files are kept in memory counts as
    free, and so does what this process's workers hold: they do the next work. `root` is for tests.
    """
    machine, held = psutil.virtual_memory(), 0
    total, free = machine.total, machine.available
    for limit, used in _limits(Path(root)):
        total, free = min(total, limit), min(free, max(0, limit - used))
    for worker in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # just gone
            held += worker.memory_info().rss
    return total, min(total, free + held)


def _limits(root):
    """(limit, used) in bytes of each control group around this process that limits its memory."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        of_limit, of_use, sums = GROUP_1 if controllers else GROUP_2
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):  # in a container, only some can be seen
            folder = base / str(group)[1:]
            with contextlib.suppress(OSError, ValueError):  # cannot be seen; "max": no limit
                limit, used = int((folder / of_limit).read_text()), int((folder / of_use).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield limit, used - sum(int(stat.get(f"{sums}{kind}_file", 0)) for kind in ("active", "inactive"))


@functools.cache
def let_numba_compile():
    """Have numba keep what it compiles for UMAP, and go on where it cannot; to be called before umap is imported.

    By itself it compiles most of UMAP in each process anew, for seconds. It fails where neither the environment nor
    HOME can be written, where the disk is full, and, as often as it is tried, where one of its files is damaged. And it
    sets the number of torch's threads to its own, all cores, whatever $OMP_NUM_THREADS says.
    """
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        os.environ.setdefault("NUMBA_NUM_THREADS", threads)
    from numba.core import caching, registry

    places = {locator.__name__.lstrip("_"): locator for locator in caching.CacheImpl._locator_classes}

    class InCacheFolder(places["UserWideCacheLocator"]):  # older versions begin its name with _
        """The last place where numba keeps what it compiled; if not even this can be written, nothing is kept."""

        def __init__(self, function, file):
            super().__init__(function, file)
            self._cache_path = str(cache_folder() / "numba" / self.get_suitable_cache_subpath(file))

        def ensure_cache_path(self):
            with contextlib.suppress(OSError):
                super().ensure_cache_path()

    @contextlib.contextmanager
    def guard(cache):
        try:
            yield
        except Exception:  # whatever a damaged file makes the unpickling raise: it is compiled again
            with contextlib.suppress(OSError):
                cache.flush()  # an empty index in place of the damaged one, else it would never be kept again

    caching.Cache._guard_against_spurious_io_errors = guard
    caching.CacheImpl._locator_classes.append(InCacheFolder)

    from umap import layouts, umap_

    for function in [*vars(layouts).values(), *vars(umap_).values()]:
        if isinstance(function, registry.CPUDispatcher):
            function.enable_caching()
