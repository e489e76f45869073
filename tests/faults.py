"""Break reports on purpose, at random, and see what becomes of them: `make faults`. On Linux; only root can fill disks.

    python tests/faults.py [kill workers full readonly damaged together signals]

After each fault nothing finished is lost, no file is half written, the command has ended with one clear line and left
no process, and the same command once more makes the report that an undisturbed one makes, entry by entry. It takes
about 45 minutes on two cores; SEED=N repeats the draws. Exit code 1 if anything was not recovered; its folder stays.
"""

import argparse
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
from compare_results import moved
from stub_notebooks import PARAMETERS

from mnist_ae_utils.report import check, collect, folder

ROOT, WORK = Path(__file__).resolve().parent.parent, Path(tempfile.mkdtemp(prefix="faults-"))
NEW_BOOK, OLD_BOOK = f"{folder.NEW}html", f"{folder.OLD}html"
HIDDEN = folder.WORK, folder.LOCK, NEW_BOOK, OLD_BOOK  # what a killed command leaves, and the next one removes
KERNEL, WORKER, BY_HAND = "IPKernelApp", "popen_loky", "-m papermill"  # in their command lines
DONE, NO_SPACE = "^report: ", "^(mnist-ae: |FAILED ).*No space left on device"
SMALL = """from mnist_ae_utils import models, plots, trainings
from mnist_ae_utils.chapter import begin

chapter = begin("{name}", profile, dataset, seeds, device, out)
encoders = {{d: chapter.autoencoder(models.DenseAutoencoder, d, effort=8) for d in range(4, 12)}}
heads = {{d: chapter.on_inputs(trainings.codes, autoencoder=a) for d, a in encoders.items()}}
scores = chapter.run({what}).scores("test")
for d in scores:
    chapter.results.add(f"{what}_{{d}}.score", scores[d], "fraction")
plots.curves({{"{what}": scores}}, "latent_dim", "score")
chapter.results.save()"""
run = functools.partial(subprocess.run, check=True)


def copy_of_the_code(target, small):
    """A repository of the code as it is, all committed, so that a report goes on where one was interrupted.

    `small`: with two chapters of seconds in place of the course's; the second rests on what the first trains.
    """
    names = run(["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE).stdout.decode()
    left_out = ("reports/", "notebooks/") if small else "reports/"
    for name in names.split("\0")[:-1]:
        if (ROOT / name).is_file() and not name.startswith(left_out):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (target / "notebooks").mkdir(exist_ok=True)
    for name, what in {"01_first": "encoders", "02_second": "heads"}.items() if small else ():
        parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        cells = [nbformat.v4.new_markdown_cell(f"# {what}"), parameters]
        cells.append(nbformat.v4.new_code_cell(SMALL.format(name=name, what=what)))
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, target / "notebooks" / f"{name}.ipynb")
    for command in ("init -q", "add -A", "-c user.name=x -c user.email=x commit -qm x"):
        run(["git", *command.split()], cwd=target)
    return target


def heed_signals():
    """In a command that starts: this script may run under nohup, or behind a shell's &, where they are ignored."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Case:
    """A folder with a report and a cache of its own, and the commands that run on them."""

    def __init__(self, code, *options, reference=None, earlier=False, warm=True):
        """In the copy `code`, with `options` of the command; like the case `reference`, whose results must come out.

        `earlier`: its report is there before, `warm`: its trainings are.
        """
        self.code, self.options, self.reference = code, options, reference
        self.folder = Path(tempfile.mkdtemp(dir=WORK))
        self.out, self.cache, self.tmp = (self.folder / name for name in ("out", "cache", "tmp"))
        self.tmp.mkdir()
        self.logs, self.pids, self.finished, self.ended, self.broken = 0, set(), set(), set(), []
        if earlier:
            shutil.copytree(reference.out, self.out)
        if reference and warm:
            shutil.copytree(reference.cache, self.cache)

    def start(self, *command):
        """Start the report, or another command, and return the process."""
        self.logs += 1
        self.log = self.folder / f"log{self.logs}"
        own = {"PYTHONPATH": self.code, "TMPDIR": self.tmp, "MNIST_AE_CACHE": self.cache, "FAULTS": self.folder}
        environment = {name: value for name, value in os.environ.items() if name != "MNIST_DATA_DIR"}
        environment |= {name: str(value) for name, value in own.items()}
        command = command or ("mnist_ae_utils", "report", "--profile", "smoke", "--out", self.out, *self.options)
        with open(self.log, "wb") as log:
            return psutil.Popen([sys.executable, "-m", *command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                stderr=subprocess.STDOUT, start_new_session=True, env=environment,
                                preexec_fn=heed_signals)  # fmt: skip

    def wait(self, process, until=None, limit=3600):
        """Until it has ended, a file is there, or a process with that word, or for seconds; its exit code, if any."""
        deadline = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < deadline:
            if until and (until.exists() if isinstance(until, Path) else self.processes(until)):
                break
            time.sleep(0.001 if isinstance(until, Path) else 0.1)
        return process.poll()

    def kill(self, process):
        """Kill the command, if it has not ended."""
        self.processes()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()

    def processes(self, word=""):
        """All processes that began with a command of this case; `word` is in their command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("FAULTS") == str(self.folder) and word in " ".join(process.cmdline()):
                    found.append(process)
        self.pids |= {process.pid for process in found}
        return found

    def wrong(self, code=None, last=DONE):
        """What is wrong after a command that ended with exit code `code` and the line `last`, or was killed."""
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        wrong = [f"a process is left: {' '.join(process.cmdline())[:80]}" for process in left]
        shared = [re.match(r"(?:joblib_memmapping_folder_|sem\.loky-)(\d+)", name) for name in os.listdir("/dev/shm")]
        wrong += [f"left in /dev/shm: {name.string}" for name in shared if name and int(name[1]) in self.pids]
        text = self.log.read_text(errors="replace")
        # After a failure, what became of the rest is told too.
        ends = DONE + "|stays; what was made now is in" if code else "^$"
        line = next((line for line in reversed(text.splitlines()) if line and not re.search(ends, line)), "")
        if code is not None and (not re.search(last, line) or (code == 0) != (last == DONE)):
            wrong.append(f"exit code {code}, last line {line[:200]!r}")
        damaged = "in the cache is damaged" in text and not self.broken
        wrong += ["a traceback"] * ("Traceback" in text) + ["a training is half written"] * damaged
        runs = {path.name for path in Path(self.cache or "-").glob("*.run")}
        wrong += [f"{len(self.finished - runs)} finished trainings are lost"] if self.finished - runs else []
        self.finished |= runs
        try:
            return wrong + self.wrong_in_folder()
        except folder.ReportError as error:
            return [*wrong, str(error)]

    def wrong_in_folder(self):
        """What is wrong with what the command left in the report's folder; ReportError if results cannot be read."""
        work, known = self.out / folder.WORK, set()
        whole = (work / folder.WHOLE).exists()
        unfinished = None if whole else collect.read(work / "results.json")
        ended = {n for n, r in unfinished["header"]["notebooks"].items() if not r["error"]} if unfinished else set()
        wrong = ["finished chapters are lost"] if work.exists() and not whole and self.ended - ended else []
        self.ended = ended
        for place in (self.out, self.out / "html", work):
            known |= set(folder.listed(place).values()) | {folder.digest(place / folder.LIST)}
        seen = [path for path in folder.files_in(self.out) if path.relative_to(self.out).parts[0] not in HIDDEN]
        wrong += [f"{path} is half written, or nobody's" for path in seen
                  if ".part" in path.name or folder.digest(path) not in known and ".kept" not in path.name]  # fmt: skip
        if seen and not whole:  # the check tells of failures, and of a book not yet made
            told = "failed: |left no results|the book of other results"
            wrong += [line for line in check.problems(self.out) if not re.search(told, line)]
        return wrong

    def resumed(self):
        """What is wrong with what the same command makes once the fault is over."""
        code = self.wait(self.start())
        if wrong := self.wrong(code):
            return [f"resumed: {line}" for line in wrong]
        before, after = (collect.read(case.out / "results.json")["header"] for case in (self.reference, self))
        wrong += ["resumed: it is the earlier report"] if before["started"] == after["started"] else []
        wrong += [f"resumed: {name} is left" for name in HIDDEN if (self.out / name).exists()]
        not_run = [f"gone ('{name}'" for name in before["notebooks"].keys() - after["notebooks"].keys()]
        lines = moved(self.reference.out / "results.json", self.out / "results.json")
        return wrong + [line for line in lines if not line.startswith(tuple(not_run))]


@contextlib.contextmanager
def mounted(path, *options):
    """Mount what `options` say on the folder `path`, which is made if need be."""
    path.mkdir(parents=True, exist_ok=True)
    run(["mount", *options, path])
    try:
        yield path
    finally:
        run(["umount", "--lazy", path])


@contextlib.contextmanager
def read_only(path):
    """A folder that cannot be written to, not by root either."""
    with mounted(path, "--bind", path):
        run(["mount", "-o", "remount,ro,bind", path])
        yield


def kill(small, course):
    """The command at random moments of the course's report, one chain; as a report takes its place; in its book."""
    case = Case(course().code, reference=course(), warm=False)
    moments = [random.uniform(0, 12) for _ in range(5)] + [random.uniform(5, course().seconds / 4) for _ in range(9)]
    for n, moment in enumerate(random.sample(moments, len(moments)), start=1):
        process = case.start()
        if (code := case.wait(process, limit=moment)) is None:
            case.kill(process)
        yield f"kill -9 after {moment:.0f} s", case.wrong(code) + (case.resumed() if n == len(moments) else [])
    case = Case(small().code, "--only", "01", reference=small(), earlier=True)
    for n in range(6):
        process = case.start()
        case.wait(process, until=case.out / (f"{folder.WORK}/{folder.WHOLE}" if n % 2 else NEW_BOOK))
        time.sleep(random.uniform(0, 0.005 if n % 2 else 3))
        case.kill(process)
        what = "as the report takes its place" if n % 2 else "in the book"
        yield f"kill -9 {what}", case.wrong() + (case.resumed() if n > 3 else [])


def workers(small, _):
    """The kernel and a worker, at random moments of the trainings."""
    for word, why in [(KERNEL, "the kernel died: it was killed"), (WORKER, "a worker process was killed")] * 5:
        case = Case(small().code, "--only", "01", reference=small(), earlier=random.random() < 0.5, warm=False)
        process = case.start()
        case.wait(process, until=word)
        time.sleep(random.uniform(0, 4))
        for victim in case.processes(word)[-1:]:
            victim.kill()
        code = case.wait(process)
        yield f"kill -9 of {word}", case.wrong(code, why if code else DONE) + case.resumed()


def full(small, _):
    """Disks that fill up, so that the report, the trainings or temporary files do not find their place."""

    def size(path):
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    needed = {"out": size(small().out), "cache": size(small().cache) / 2, "tmp": 2**19}
    for n, part in enumerate(["out"] * 10 + ["cache"] * 5 + ["tmp"] * 3):
        case = Case(small().code, "--only", "01", reference=small(), warm=part != "cache")
        disk = case.folder / "disk"
        with mounted(disk, "-t", "tmpfs", "-o", f"size={2**27}", "tmpfs"):
            setattr(case, part, disk / part)
            if part == "out" and n % 2:
                shutil.copytree(small().out, case.out)
            (disk / part).mkdir(exist_ok=True)
            process = case.start()
            case.wait(process, until=KERNEL)
            free = int(needed[part] * 10 ** random.uniform(-3, 0))  # mostly not enough for the book, sometimes for less
            with contextlib.suppress(OSError):  # what the command wrote meanwhile may leave less
                (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free - free))
            code = case.wait(process)
            wrong = case.wrong(code, NO_SPACE if code else DONE)
            if part == "cache" and "finished runs cannot be kept" not in case.log.read_text():
                wrong.append("not a word of it")
            (disk / "filling").unlink()
            yield f"full disk: {part}", wrong + ["it fails"] * (code != 0 and part == "cache") + case.resumed()


def readonly(small, _):
    """Folders that cannot be written to."""
    for earlier in (False, True):
        case = Case(small().code, "--only", "01", reference=small(), earlier=earlier)
        case.out.mkdir(exist_ok=True)
        with read_only(case.out):
            wrong = case.wrong(case.wait(case.start()), "^mnist-ae: .*Read-only file system")
        yield "read-only: report", wrong + case.resumed()
    for warm in (False, True):
        case = Case(small().code, reference=small(), warm=warm)
        with read_only(case.cache):
            yield "read-only: trainings", case.resumed()
    for cache in ("", "cache"):  # without a cache named, it is in the code's folder, as the data are
        case = Case(small().code, "--only", "01", reference=small())
        case.cache = cache and case.cache
        with read_only(case.code):
            yield "read-only: code and data", case.resumed()


def damaged(small, _):
    """Files of finished trainings, eight in each way."""

    def flipped(content, _):
        changed, bit = bytearray(content), random.randrange(8 * len(content))
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    ways = {"cut": lambda content, _: content[: random.randrange(len(content))], "emptied": lambda *_: b"",
            "bit flipped": flipped, "of another training": lambda _, other: other}  # fmt: skip
    for way, change in ways.items():
        case = Case(small().code, reference=small())
        *case.broken, other = random.sample(sorted(case.cache.glob("*.run")), 9)
        changed = {path: change(path.read_bytes(), other.read_bytes()) for path in case.broken}
        for path, content in changed.items():
            path.write_bytes(content)
        wrong, text = case.resumed(), case.log.read_text(errors="replace")
        for path, content in changed.items():
            not_named = f"{path.name} in the cache is damaged" not in text
            yield way, wrong + ["not named"] * not_named + ["not made anew"] * (path.read_bytes() == content)


def together(small, _):
    """Two reports into one folder, a notebook by hand in the folder of a report, two reports with one cache."""
    for earlier in (False, True):
        case = Case(small().code, reference=small(), earlier=earlier)
        first = case.start()
        time.sleep(random.uniform(0, 15))
        second = case.start()
        codes = {case.wait(second), case.wait(first)}
        wrong = [] if codes == {0, 1} else [f"exit codes {codes}"]
        refused = [n for n in (1, 2) if "another report is being made in" in (case.folder / f"log{n}").read_text()]
        yield "two reports into a folder", wrong + ["none is refused"] * (len(refused) != 1) + case.resumed()
    for _ in range(2):
        case = Case(small().code, "--only", "01", reference=small())
        report, log = case.start(), case.log
        case.wait(report, until=KERNEL)
        values = {"profile": "smoke", "dataset": "mnist-5000", "seeds": 1, "out": case.out}
        parameters = [text for name, value in values.items() for text in ("-p", name, str(value))]
        notebook = case.code / "notebooks" / "01_first.ipynb"
        by_hand = case.wait(case.start("papermill", "-k", "python3", notebook, case.folder / "x.ipynb", *parameters))
        code, case.log = case.wait(report), log
        kept = by_hand == 0 and any((case.out / "results").glob("*.kept1"))
        yield "a notebook by hand meanwhile", case.wrong(code) + ["its results are lost"] * (not kept) + case.resumed()
    first, second = (Case(small().code, reference=small(), warm=False) for _ in range(2))
    second.cache = first.cache
    running = first.start()
    yield "two reports with one cache", second.resumed() + first.wrong(first.wait(running)) + first.resumed()


def signals(small, _):
    """The signals by which people and batch systems end a command, while workers train."""
    for number in [signal.SIGTERM, signal.SIGHUP, signal.SIGINT] * 2:
        case = Case(small().code, "--only", "01", reference=small(), warm=False)
        process = case.start()
        case.wait(process, until=WORKER)
        time.sleep(random.uniform(0, 4))
        begin = time.monotonic()
        process.send_signal(number)
        code = case.wait(process)
        wrong = case.wrong(code, "^interrupted: the same command goes on where it was")
        print(f"no process is left {time.monotonic() - begin:.1f} s after {number.name}")
        yield number.name, wrong + [f"exit code {code}"] * (code != 128 + number) + case.resumed()


def main():
    """Try the kinds that are named, all unless told; print a table; return the exit code."""
    kinds = {function.__name__: function for function in (kill, workers, full, readonly, damaged, together, signals)}
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("kinds", nargs="*", metavar="kind", help=f"any of {' '.join(kinds)}; all unless told")
    chosen = arguments.parse_args().kinds or list(kinds)
    if unknown := set(chosen) - kinds.keys():
        arguments.error(f"no kind {', '.join(sorted(unknown))}: use any of {' '.join(kinds)}")
    random.seed(seed := int(os.environ.get("SEED", time.time())))
    print(f"SEED={seed}, in {WORK}", flush=True)

    @functools.cache
    def undisturbed(small):
        case, begin = Case(copy_of_the_code(WORK / f"code{small:d}", small)), time.monotonic()
        if wrong := case.wrong(case.wait(case.start())):
            raise SystemExit(f"an undisturbed report fails, see {case.log}: {'; '.join(wrong)}")
        case.seconds = time.monotonic() - begin
        print(f"an undisturbed report takes {case.seconds:.0f} s", flush=True)
        return case

    table = {}
    for kind in chosen:
        try:
            for fault, wrong in kinds[kind](lambda: undisturbed(True), lambda: undisturbed(False)):
                print(f"{time.strftime('%H:%M:%S')} {fault}: {'; '.join(wrong)[:500] or 'recovered'}", flush=True)
                table.setdefault(re.sub(r" after .*", "", fault), []).append(not wrong)
        except subprocess.CalledProcessError as error:
            print(f"{kind}: the rest is not tried, because `{' '.join(map(str, error.cmd))}` failed", flush=True)
    for fault, recovered in table.items():
        print(f"{fault:32}{len(recovered):4} tried {sum(recovered):4} recovered")
    if not all(map(all, table.values())):
        return 1
    shutil.rmtree(WORK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
