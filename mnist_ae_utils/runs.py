"""Runs: an experiment and a seed each; many in parallel; remembered on disk, so that nothing is trained twice.

An experiment is whatever can be called with ``seed=``: a `functools.partial` of a function of this package or of the
notebook. One that rests on another takes it as an argument and gets its outcome from `recall`.
"""

import contextlib
import functools
import inspect
import multiprocessing
import os
import pickle
import re
import sys
import tempfile
import threading
import time
import warnings
import zlib
from pathlib import Path

import cloudpickle  # with which joblib, too, sends the classes of a notebook to its workers
import joblib
import pandas as pd
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from mnist_ae_utils import machine, training
from mnist_ae_utils.fingerprints import Fingerprints
from mnist_ae_utils.machine import cache_folder

# Settings of the GNU C library for the workers: what a training step frees is kept for the next one. Otherwise it goes
# back to the kernel, which clears every page before it gives it out again; convolutions take a quarter longer so. It is
# given back between runs, because joblib replaces a worker that has grown, and a new one takes seconds to start.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


class Outcomes(list):
    """What one experiment came to, one outcome a seed: what its function returned, or the `Diverged` that it raised."""

    def __init__(self, outcomes, seeds, seconds):
        super().__init__(outcomes)
        self.seeds, self.seconds = list(seeds), list(seconds)  # without those of the runs that it rests on

    @property
    def finished(self):
        """The outcomes that did not diverge."""
        return [outcome for outcome in self if not isinstance(outcome, training.Diverged)]

    @property
    def first(self):
        """The first outcome that did not diverge; if all did, their `Diverged` is raised."""
        for outcome in self.finished:
            return outcome
        raise self[0]

    def map(self, function):
        """``function(outcome)`` by seed, as a pandas Series; NaN where the run diverged."""
        values = [float("nan") if isinstance(o, training.Diverged) else function(o) for o in self]
        return pd.Series(values, index=pd.Index(self.seeds, name="seed"), dtype=float)

    def scores(self, split="test"):
        """The score on a split by seed, as `map` gives it; NaN where the run diverged."""
        return self.map(lambda trained: trained.scores[split])


class Runs(dict):
    """The `Outcomes` of several experiments, by name."""

    def map(self, function):
        """``function(outcome)`` as a table: one row a seed, one column an experiment; NaN where a run diverged."""
        return pd.DataFrame({name: outcomes.map(function) for name, outcomes in self.items()})

    scores = Outcomes.scores  # but a table, which `map` makes


def run(experiments, seeds, device="cpu"):
    """Run experiments, a dict by name, with every seed, or take outcomes from disk where the same code made them.

    Each is called with ``seed=``, its other arguments being bound. On "cpu" runs share the cores, one thread each, so
    that numbers do not depend on how many cores there are; elsewhere they take turns. Returns `Runs`. Raises TypeError
    for a misspelled or missing argument, before anything is run, and RuntimeError if workers have other code.
    """
    for name, experiment in experiments.items():
        if not callable(experiment):
            raise TypeError(f"{name}: {experiment!r} is no experiment: use a function with seed=, such as a partial")
        check_arguments(experiment, f"{name}: " if name != "" else "", complete=True, seed=0)
    fingerprints = Fingerprints()  # shared, so that what experiments have in common is looked at once
    keys = {name: fingerprints.key(experiment) for name, experiment in experiments.items()}
    jobs = {(name, seed): cache_folder() / f"{keys[name]}-{seed}.run" for name in experiments for seed in seeds}
    _remove_parts(cache_folder())
    done = {job: found for job, path in jobs.items() if (found := _read(path)) is not None}
    # Sweeps are written from small to large: the longest runs first, else all but one core wait for the last of them.
    pending = [job for job in reversed(jobs) if job not in done]
    parts = {name: fingerprints.parts(experiments[name]) for name in dict.fromkeys(name for name, _ in pending)}
    free = machine.memory()[1] // 2**30  # a worker takes up to a GiB
    workers = min(len(pending), free, joblib.cpu_count(only_physical_cores=True)) if device == "cpu" else 1
    os.environ.update(KEEP_FREED_MEMORY | os.environ)  # read by workers when they start; the user's own hold
    # Copy-on-write: a worker may write into its arrays, which it shares with the others, without anybody noticing.
    watching = {"initializer": machine.end_with, "initargs": (os.getpid(),)}
    parallel = joblib.Parallel(max(1, workers), return_as="generator", mmap_mode="c", **watching)
    # joblib reports that it replaced workers that grew large, although no job is lost, and what an interrupt leaves.
    warnings.filterwarnings("ignore", r"A worker stopped while some jobs|\d+ tasks (have been|which were)", UserWarning)
    in_worker = joblib.delayed(functools.partial(_in_worker, str(cache_folder()), _overridden()))
    with _Bar(len(jobs), len(done)) as bar:
        calls = [
            in_worker(bar.file(name, seed), experiments[name], seed, keys[name], parts[name])
            for name, seed in pending
        ]
        try:
            with contextlib.closing(parallel(calls)) as contents:  # closed by an interrupt too, which stops the workers
                for job, content in zip(pending, contents, strict=True):
                    done[job] = pickle.loads(content)
                    bar.finished(*job)
                    if not jobs[job].exists():
                        _keep(content, jobs[job])
        except TerminatedWorkerError as error:
            how = re.search(r"\{(.+)\}", str(error))
            raise RuntimeError(
                f"a worker process was killed{f' ({how[1]})' if how else ''}, most likely because memory ran out. What "
                "is finished is kept: close other programs, or set LOKY_MAX_CPU_COUNT=1, and run the cell again."
            ) from None
    found = {name: [done[name, seed] for seed in seeds] for name in experiments}
    return Runs({name: Outcomes([o for o, _ in of], seeds, [s for _, s in of]) for name, of in found.items()})


def _overridden():
    """(owner, name, value) of what the notebook put into the package, which worker processes import from its files."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == __package__]
    values = [(module.__name__, value) for module in modules for value in vars(module).values()]
    classes = [value for module, value in values if isinstance(value, type) and value.__module__ == module]
    members = [(owner, *member) for owner in modules + classes for member in vars(owner).items()]
    return [member for member in members if getattr(member[-1], "__module__", None) == "__main__"]


def _in_worker(folder, overridden, progress, experiment, seed, key, parts):
    """The pickled outcome and seconds of one run; `progress` is the file that tells how far its training is."""
    os.environ["MNIST_AE_CACHE"] = folder  # a worker that was started earlier has that of its time
    with contextlib.ExitStack() as stack:
        stack.callback(machine.give_back_memory)
        for owner, name, value in overridden:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        if Fingerprints().key(experiment) != key:
            found = Fingerprints().parts(experiment)
            differ = sorted(name for name in found.keys() | parts if found.get(name) != parts.get(name))
            raise RuntimeError(
                f"worker processes have other code than this kernel: {', '.join(differ) or 'see its arguments'}. Pass "
                "what you changed as an argument; if files changed since the kernel started, restart the kernel."
            )
        stack.callback(training.WATCH.reset, training.WATCH.set(functools.partial(_tell, progress)))
        return cloudpickle.dumps(_recall(experiment, seed))


def check_arguments(function, label="", complete=False, **given):
    """Raise a TypeError that names an argument that a function, or a partial in it, does not take, and what it takes.

    The message begins with `label`; `complete` says that no arguments are to come but those that are `given`.
    """
    bound = function if isinstance(function, functools.partial) else functools.partial(function)
    for argument in (*bound.args, *bound.keywords.values()):
        if isinstance(argument, functools.partial):
            check_arguments(argument, label)
    try:
        signature = inspect.signature(bound.func)
        signature.bind_partial(*bound.args, **bound.keywords, **given)
        if complete:
            signature.bind(*bound.args, **bound.keywords, **given)
    except ValueError:  # some functions of libraries have no signature
        pass
    except TypeError as error:
        name = getattr(bound.func, "__qualname__", bound.func)
        raise TypeError(f"{label}{name}: {error}; it takes {', '.join(signature.parameters)}") from None


_within = [0.0]  # seconds spent so far in the runs on which the present one rests, innermost last


def recall(experiment, seed):
    """The outcome of an experiment with a seed: from disk where the same code made it before, else found now.

    A damaged file is made again, with a warning; if the disk is full, the outcome is returned but not kept.
    Raises `training.Diverged` if the experiment did, now or when it was remembered.
    """
    if isinstance(outcome := _recall(experiment, seed)[0], training.Diverged):
        raise outcome
    return outcome


def _recall(experiment, seed):
    """The outcome, or the `Diverged` raised, and its seconds, without those of the runs on which it rests."""
    begin = time.perf_counter()
    path = cache_folder() / f"{Fingerprints().key(experiment)}-{seed}.run"
    if (found := _read(path)) is None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        _within.append(0.0)
        try:
            outcome = experiment(seed=seed)
        except training.Diverged as diverged:
            outcome = diverged.with_traceback(None)  # which would keep the whole training in memory
        finally:
            torch.set_num_threads(threads)
            rested = _within.pop()
        found = outcome, time.perf_counter() - begin - rested
        _keep(cloudpickle.dumps(found), path)
    _within[-1] += time.perf_counter() - begin
    return found


def checksum(content, path):
    """Four bytes by which a file of the cache is known to be whole, and to be that of its name."""
    return zlib.crc32(content, zlib.crc32(path.stem.encode())).to_bytes(4, "big")


def _read(path):
    """What `_keep` kept; None where there is nothing, or nothing whole."""
    try:
        content = path.read_bytes()
        if checksum(content[4:], path) != content[:4]:
            raise ValueError("its checksum is wrong")
        return pickle.loads(content[4:])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # whatever a damaged file makes the unpickling raise
        warnings.warn(f"{path.name} in the cache is damaged and is made again: {error!r}", stacklevel=2)
        return None


def _keep(content, path):
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(checksum(content, path) + content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if multiprocessing.current_process().name == "MainProcess":  # for a worker `run` tries again
            _warn_once(f"finished runs cannot be kept in {path.parent} and are made again: {error.strerror or error}")


def _remove_parts(folder):
    """Remove what processes left that were killed while they kept a run: no writing takes an hour."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()


@functools.cache
def _warn_once(text):
    warnings.warn(text, stacklevel=3)


def progress(iterable, total, unit):
    """A progress bar on standard output; where that is a file or a notebook's log, it is redrawn rarely."""
    return tqdm(iterable, total=total, unit=unit, file=sys.stdout, ncols=90, mininterval=_interval())


def _interval():
    return float(os.environ.get("TQDM_MININTERVAL", 0.5 if sys.stdout.isatty() else 2))


def _tell(file, epoch, epochs):
    with contextlib.suppress(OSError):  # a bar that stands still is no reason to stop a training
        file.write_text(f"{epoch} {epochs}")


class _Bar:
    """A bar of the runs that are finished, and of the epochs of those that are being trained."""

    def __init__(self, total, done):
        form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} runs [{elapsed}{postfix}]"
        self.bar = tqdm(total=total, initial=done, file=sys.stdout, ncols=90, bar_format=form)
        self.n_done, self.files, self.stopped = done, {}, threading.Event()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def file(self, *job):
        """The file in which the training of a job tells how far it is."""
        return self.files.setdefault(job, Path(self.folder.name, str(len(self.files))))

    def finished(self, *job):
        self.n_done += 1
        self.files.pop(job).unlink(missing_ok=True)

    def _watch(self):
        stopped = False
        while not stopped:
            stopped, epochs = self.stopped.wait(_interval()), []
            for file in list(self.files.values()):
                with contextlib.suppress(OSError, ValueError):  # not begun, just finished, or being written
                    epoch, of = map(int, file.read_text().split())
                    epochs.append((epoch, of))
            self.bar.n = round(self.n_done + sum(epoch / of for epoch, of in epochs), 1)
            shown = "; ".join(f"epoch {epoch} of {of}" for epoch, of in epochs[:3]) + "; ..." * (len(epochs) > 3)
            self.bar.set_postfix_str(shown)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *raised):
        self.files.clear()  # what an interrupt stopped does not count
        self.stopped.set()
        self.thread.join()
        self.bar.close()
        self.folder.cleanup()
