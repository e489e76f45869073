"""Break reports on purpose, at random, and see what becomes of them: `make faults`. Linux; disks are filled by root.

    python tests/faults.py [kill workers full readonly damaged together signals]

After each fault nothing that was finished is lost, no file is half written, the command has ended with one clear line
and left no process, and the same command once more makes the report that an undisturbed one makes, entry by entry.
SEED=N in the environment repeats a draw. It takes half an hour on two cores; exit code 1 if anything was not recovered.
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
from functools import partial
from pathlib import Path

import nbformat
import psutil
from compare_results import moved
from stub_notebooks import PARAMETERS

from mnist_ae_utils.report import book, check, collect, folder

ROOT = Path(__file__).resolve().parent.parent
WORK = Path(tempfile.mkdtemp(prefix="faults-"))
HIDDEN = (folder.WORK, folder.LOCK, book.NEW, book.OLD)  # what the next command removes or goes on with
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


def copy_of_the_code(target, small):
    """A repository of the code as it is, all committed, so that a report goes on where one was interrupted.

    `small`: with two chapters of seconds in place of the course's, the second of which rests on the first's trainings.
    """
    command = ["git", "ls-files", "-zco", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not (name.startswith("reports/") or small and name.startswith("notebooks/")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    for name, what in {"01_first": "encoders", "02_second": "heads"}.items() if small else ():
        cells = [nbformat.v4.new_markdown_cell(f"# {what}"), nbformat.v4.new_code_cell(PARAMETERS),
                 nbformat.v4.new_code_cell(SMALL.format(name=name, what=what))]  # fmt: skip
        cells[1].metadata["tags"] = ["parameters"]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        (target / "notebooks").mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), target / "notebooks" / f"{name}.ipynb")
    for command in ("init -q", "add -A", "-c user.name=x -c user.email=x commit -qm x"):
        subprocess.run(["git", *command.split()], cwd=target, check=True)
    return target


class Case:
    """A report's folder and cache, the commands that ran on them, and the finished trainings that must stay."""

    numbers = iter(range(10_000))

    def __init__(self, code, *options, after=None, earlier=False, warm=True):
        """In the copy `code`, with `options`; of the case `after`, it has an earlier report and the trainings."""
        self.folder, self.code, self.options = WORK / f"case{next(self.numbers)}", code, options
        self.out, self.cache, self.tmp = (self.folder / name for name in ("out", "cache", "tmp"))
        self.tmp.mkdir(parents=True)
        self.after, self.finished, self.pids, self.broken = after, set(), set(), []
        self.log = self.folder / "log0"
        self.environment = {name: value for name, value in os.environ.items() if name != "MNIST_DATA_DIR"}
        self.environment |= {"PYTHONPATH": str(code), "TMPDIR": str(self.tmp), "MNIST_AE_CACHE": str(self.cache)}
        self.environment["FAULTS"] = str(self.folder)  # by which its processes are known
        if earlier:
            shutil.copytree(after.out, self.out)
        if after and warm:
            shutil.copytree(after.cache, self.cache)

    def start(self, *command):
        """Start the report, or another command, and return the process."""
        self.log = self.folder / f"log{int(self.log.name[3:]) + 1}"
        command = command or ("mnist_ae_utils", "report", "--profile", "smoke", "--out", self.out, *self.options)
        with open(self.log, "wb") as log:
            return psutil.Popen([sys.executable, "-m", *command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                stderr=subprocess.STDOUT, start_new_session=True, env=self.environment)  # fmt: skip

    def processes(self, word=""):
        """What the commands started and is there, also where its parent is gone; `word` is in its command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("FAULTS") == str(self.folder) and word in " ".join(process.cmdline()):
                    found.append(process)
        self.pids |= {process.pid for process in found}
        return found

    def wait(self, process, until=lambda: False, limit=1800):
        """Until the process has ended, `until` holds, or the time is over; return the exit code if it has ended."""
        deadline = time.monotonic() + limit
        while process.poll() is None and not until() and time.monotonic() < deadline:
            time.sleep(0.01)
        return process.poll()

    def runs(self):
        """The names of the files of finished trainings."""
        return {path.name for path in self.cache.glob("*.run")}

    def wrong(self, code=None, last=""):
        """What is wrong once a command has ended with exit code `code` and `last` in its last lines; None: killed."""
        wrong, deadline = [], time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in left:
            wrong.append(f"a process is left: {' '.join(process.cmdline())[:80]}")
            process.kill()
        shared = [name for name in os.listdir("/dev/shm") if self.pids & {int(n) for n in re.findall(r"\d+", name)}]
        wrong += [f"left in /dev/shm: {', '.join(shared[:2])}"] if shared else []
        text = self.log.read_text(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()][-3:] or [""]
        wrong += ["a traceback"] if "Traceback" in text else []
        wrong += ["a damaged training"] if "in the cache is damaged" in text and not self.broken else []
        if code is not None and not re.search(last, "\n".join(lines), re.MULTILINE):
            wrong.append(f"exit code {code} and no clear line at the end, but {lines[-1][:200]!r}")
        if lost := self.finished - self.runs():
            wrong.append(f"{len(lost)} finished trainings are lost")
        self.finished |= self.runs()
        return wrong + self.wrong_in_folder()

    def wrong_in_folder(self):
        """A report is there, whole, or none; or half of it, and what is left to be done is marked as whole."""
        work, known = self.out / folder.WORK, set()
        for place in (self.out, self.out / "html", work):
            known |= set(folder.listed(place).values()) | {folder.digest(place / folder.LIST)}
        visible = [path for path in folder.files_in(self.out) if path.relative_to(self.out).parts[0] not in HIDDEN]
        strange = [path.name for path in visible if folder.digest(path) not in known and ".kept" not in path.name]
        wrong = [f"half written, or nobody's: {', '.join(strange)}"] if strange else []
        if not (work / folder.WHOLE).exists() and (visible or (self.out / "results.json").exists()):
            # told by `check`, and mended by the next command: killed between the report and its book
            wrong += [line for line in check.problems(self.out) if "the book of other results" not in line]
        return wrong

    def resumed(self):
        """What is wrong with the report that the same command makes once the fault is over."""
        started = time.time()
        code = self.wait(self.start())
        wrong = [f"resumed: {line}" for line in self.wrong(code, "^report: ")]
        if code != 0 or wrong:
            return [*wrong, f"resumed: exit code {code}"]
        header = collect.read(self.out / "results.json")["header"]
        if time.mktime(time.strptime(header["started"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone < int(started):
            wrong.append("resumed: it is the earlier report")
        wrong += [f"{name} is left" for name in HIDDEN if (self.out / name).exists()]
        chapters = header["notebooks"]
        return wrong + [line for line in moved(self.after.out / "results.json", self.out / "results.json")
                        if not line.startswith("gone") or any(f"'{name}'" in line for name in chapters)]  # fmt: skip


@contextlib.contextmanager
def mounted(path, kind, *options):
    """A disk in the folder `path`, which is made if need be."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *kind, *options, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def disk(path, size):
    """A disk of `size` bytes."""
    return mounted(path, ["-t", "tmpfs", "-o", f"size={max(4096, int(size))}"], "tmpfs")


def bytes_in(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def kill(small, course):
    """The command, at random moments: at the beginning, in the chapters, while the report takes its place, in the book.

    One chain of the course's chapters, each command going on where the one before was killed.
    """
    reference = course()
    case, longest = Case(reference.code, after=reference, warm=False), reference.seconds / 4
    moments = [random.uniform(0, 12) for _ in range(5)] + [random.uniform(5, longest) for _ in range(9)]
    for n, moment in enumerate(random.sample(moments, len(moments)), start=1):
        process = case.start()
        if (code := case.wait(process, limit=moment)) is None:
            case.processes()
            process.kill()
        wrong = case.wrong(code, "^report: ")
        yield f"kill -9 after {moment:.0f} s", wrong + (case.resumed() if n == len(moments) else [])
    reference = small()
    case = Case(reference.code, "--only", "01", after=reference, earlier=True)
    for n in range(6):
        what = case.out / (folder.WORK if n % 2 else book.NEW) / (folder.WHOLE if n % 2 else "")
        process = case.start()
        case.wait(process, until=what.exists)
        time.sleep(random.uniform(0, 0.01 if n % 2 else 3))
        case.processes()
        process.kill()
        process.wait()
        moment = "the report takes its place" if n % 2 else "the book is rendered"
        yield f"kill -9 while {moment}", case.wrong() + (case.resumed() if n > 3 else [])


def workers(small, _):
    """The kernel and a worker, at random moments."""
    whys = {"IPKernelApp": "the kernel died: it was killed", "popen_loky": "a worker process was killed"}
    for word, why in [*whys.items()] * 5:
        reference = small()
        case = Case(reference.code, "--only", "01", after=reference, earlier=random.random() < 0.5, warm=False)
        process = case.start()
        case.wait(process, until=lambda case=case, word=word: case.processes(word))
        time.sleep(random.uniform(0, 5))
        case.processes(word)[-1].kill()
        code = case.wait(process)
        wrong = case.wrong(code, why) + ([f"exit code {code}"] if code != 1 else [])
        yield f"kill -9: {why.split(' was')[0].split(' died')[0]}", wrong + case.resumed()


def full(small, _):
    """Disks of random sizes, on which the report, the trainings or temporary files do not find their place."""
    reference = small()
    for n in range(10):
        case = Case(reference.code, "--only", "01", after=reference)
        need = bytes_in(reference.out)
        with disk(case.out, need * random.uniform(0, 0.9) + need * (n % 2)):
            if n % 2:
                shutil.copytree(reference.out, case.out, dirs_exist_ok=True)
            code = case.wait(case.start())
            wrong = case.wrong(code, "^mnist-ae: .*No space left on device|FAILED .*No space left on device")
            subprocess.run(["mount", "-o", "remount,size=1g", case.out], check=True)
            yield "full disk: report", wrong + ([f"exit code {code}"] if code != 1 else []) + case.resumed()
    for _ in range(5):
        case = Case(reference.code, after=reference, warm=False)
        with disk(case.cache, bytes_in(reference.cache) * random.uniform(0, 0.9)):
            wrong = case.resumed()  # no failure: trainings that cannot be kept are made again
            if "finished runs cannot be kept" not in case.log.read_text():
                wrong.append("not a word of what cannot be kept")
            yield "full disk: trainings", wrong
    for size in (0, 30_000, 300_000):
        case = Case(reference.code, "--only", "01", after=reference)
        with disk(case.tmp, size * random.uniform(0.5, 1.5)):
            code = case.wait(case.start())
            wrong = case.wrong(code, "^report: |No space left on device")
        yield "full disk: TMPDIR", wrong + case.resumed()


def readonly(small, _):
    """Folders that cannot be written to, which holds for root too."""
    reference = small()

    @contextlib.contextmanager
    def read_only(path):
        with mounted(path, ["--bind"], path):
            subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
            yield

    for earlier in (False, True):
        case = Case(reference.code, "--only", "01", after=reference, earlier=earlier)
        case.out.mkdir(exist_ok=True)
        with read_only(case.out):
            code = case.wait(case.start())
            wrong = case.wrong(code, "^mnist-ae: .*Read-only file system")
        yield "read-only: report", wrong + case.resumed()
    for warm in (False, True):
        case = Case(reference.code, after=reference, warm=warm)
        with read_only(case.cache):
            yield "read-only: trainings", case.resumed()
    for cache in ("", "own"):  # the folder of the data, and without a cache named, of the trainings too
        case = Case(reference.code, "--only", "01", after=reference)
        case.environment["MNIST_AE_CACHE"] = cache and str(case.cache)
        with read_only(case.code):
            yield "read-only: code and data", case.resumed()


def damaged(small, _):
    """Files of finished trainings: cut, emptied, with a flipped bit, or with another training's content."""
    reference = small()
    ways = {
        "cut": lambda content, other: content[: random.randrange(len(content))],
        "emptied": lambda content, other: b"",
        "bit flipped": lambda content, other: flipped(content, random.randrange(8 * len(content))),
        "of another training": lambda content, other: other,
    }
    for way, change in ways.items():
        case = Case(reference.code, after=reference)
        *case.broken, other = random.sample(sorted(case.cache.glob("*.run")), 9)
        changed = {path: change(path.read_bytes(), other.read_bytes()) for path in case.broken}
        for path, content in changed.items():
            path.write_bytes(content)
        wrong, text = case.resumed(), case.log.read_text(errors="replace")
        for path, content in changed.items():
            found = [] if f"{path.name} in the cache is damaged" in text else ["it is not named"]
            found += [] if path.read_bytes() != content else ["it is not made anew"]
            yield f"damaged: {way}", wrong + found


def flipped(content, bit):
    """The bytes with one bit flipped."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def together(small, _):
    """Two reports into one folder, a notebook by hand into a report's folder, two reports with one cache."""
    reference = small()
    for earlier in (False, True):
        case = Case(reference.code, after=reference, earlier=earlier)
        first = case.start()
        time.sleep(random.uniform(0, 15))
        log, second = case.log, case.start()
        codes = case.wait(first), case.wait(second)
        wrong = case.wrong(codes[1] or codes[0], "another report is being made in .*: wait") if codes[1] else []
        if sorted(codes) != [0, 1] or not log.exists():
            wrong.append(f"exit codes {codes}")
        yield "two reports into a folder", wrong + case.resumed()
    for _ in range(2):
        case = Case(reference.code, "--only", "01", after=reference)
        report = case.start()
        case.wait(report, until=lambda case=case: case.processes("IPKernelApp"))
        log, notebook = case.log, reference.code / "notebooks" / "01_first.ipynb"
        values = {"profile": "smoke", "dataset": "mnist-5000", "seeds": 1, "out": case.out}
        parameters = [text for name, value in values.items() for text in ("-p", name, str(value))]
        by_hand = case.wait(case.start("papermill", "-k", "python3", notebook, case.folder / "x.ipynb", *parameters))
        code, case.log = case.wait(report), log
        wrong = case.wrong(code, "^report: ")
        kept = [path.name for path in (case.out / "results").glob("*") if ".kept" in path.name]
        wrong += [] if code == by_hand == 0 and kept else [f"exit codes {code}, by hand {by_hand}; kept: {kept}"]
        yield "a notebook by hand meanwhile", wrong + case.resumed()
    first, second = Case(reference.code, after=reference, warm=False), Case(reference.code, after=reference, warm=False)
    second.cache = first.cache
    running = first.start()
    wrong = second.resumed()
    yield "two reports with one cache", wrong + first.wrong(first.wait(running), "^report: ") + first.resumed()


def signals(small, _):
    """The signals by which people and batch systems end a command, while workers train."""
    for number in [signal.SIGTERM, signal.SIGHUP, signal.SIGINT] * 2:
        reference = small()
        case = Case(reference.code, "--only", "01", after=reference, warm=False)
        process = case.start()
        case.wait(process, until=lambda case=case: len(case.processes("popen_loky")) > 1)
        time.sleep(random.uniform(0, 5))
        begin = time.monotonic()
        process.send_signal(number)
        code = case.wait(process)
        wrong = case.wrong(code, "^interrupted: the same command goes on where it was") + case.wrong_in_folder()
        print(f"  {time.monotonic() - begin:.1f} s after {number.name}, no process was left")
        wrong += [f"exit code {code}"] if code != 128 + number else []
        yield f"{number.name}", wrong + case.resumed()


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
        case = Case(copy_of_the_code(WORK / f"code{small:d}", small))
        begin = time.monotonic()
        if case.wait(case.start()) != 0 or (wrong := case.wrong(0, "^report: ")):
            raise SystemExit(f"an undisturbed report fails: {case.log}: {wrong}")
        case.seconds = time.monotonic() - begin
        print(f"an undisturbed report takes {case.seconds:.0f} s", flush=True)
        return case

    table = {}
    for kind in chosen:
        for fault, wrong in kinds[kind](partial(undisturbed, True), partial(undisturbed, False)):
            print(f"{time.strftime('%H:%M:%S')} {fault}: {'; '.join(wrong)[:500] or 'recovered'}", flush=True)
            tried = table.setdefault(re.sub(r" after .*", "", fault), [])
            tried.append(not wrong)
    for fault, tried in table.items():
        print(f"{fault:40}{len(tried):4} tried {sum(tried):4} recovered")
    recovered = all(map(all, table.values()))
    if recovered:
        shutil.rmtree(WORK)
    return 0 if recovered else 1


if __name__ == "__main__":
    sys.exit(main())
