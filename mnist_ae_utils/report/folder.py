"""A report's folder: what in it a report wrote, and how the next version takes its place: whole, or not at all.

The next version grows in ``<folder>/.unfinished-report``. Once whole it is marked so, and its files are moved to their
places; if the command is killed meanwhile, the next one goes on with that. A list, ``files.json``, holds the SHA-256 of
every file that was written: a file that is not as it stands there is somebody's own, and is neither removed nor
replaced.
"""

import contextlib
import hashlib
import json
import shutil
import sys

from filelock import FileLock, Timeout

LIST, WORK, LOCK = "files.json", ".unfinished-report", ".report-lock"
NEW, OLD = ".new-", ".old-"  # how the names begin while a built folder, such as the book, takes the place of the other
WHOLE = "whole"  # in WORK, once nothing is missing there


class ReportError(RuntimeError):
    """The report cannot be made. The message says what is wrong, and what to do."""


def missing(folder):
    """The error that there is no report in a folder."""
    return ReportError(f"there is no report in {folder}: make one with `mnist-ae report`, or name its folder by --out")


def digest(path):
    """SHA-256 of a file, as hexadecimal digits; None if there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def listed(folder):
    """{path: SHA-256} of the files that were written into a folder, by its list; {} without one."""
    try:
        content = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, NotADirectoryError):
        content = None
    if not isinstance(content, dict):
        raise ReportError(f"{folder / LIST} is damaged: move the folder away, or name another one with --out")
    return content


def files_in(folder):
    """Paths of all files in a folder and below, but its list."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / LIST)


def write_list(folder):
    """Write the list of all files that are in a folder now."""
    content = {path.relative_to(folder).as_posix(): digest(path) for path in files_in(folder)}
    (folder / LIST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def of_others(folder, paths):
    """Those of `paths` in the folder that are there, but not as its list has them; relative, as text."""
    known, names = listed(folder), [path.relative_to(folder).as_posix() for path in paths if path.exists()]
    return [name for name in names if known.get(name) != digest(folder / name)]


def refuse_files_of_others(folder, paths):
    """Raise ReportError if any of the files in the folder is not as a report wrote it."""
    if found := of_others(folder, paths):
        names = ", ".join(found[:3]) + ", ..." * (len(found) > 3)
        raise ReportError(f"{folder} holds what no report left so: {names}. Move it away, or name another folder")


@contextlib.contextmanager
def rebuilt(folder, name):
    """A new, empty folder; what is written into it takes the place of ``folder/name`` at once, when the block ends.

    What is written beside it is removed. Raises ReportError if ``folder/name`` holds files of somebody else.
    """
    target, work, old = folder / name, folder / (NEW + name), folder / (OLD + name)
    refuse_files_of_others(target, files_in(target))
    for left in (work, old):  # by a command that was killed
        shutil.rmtree(left, ignore_errors=True)
    new = work / name
    new.mkdir(parents=True)
    try:
        yield new
        write_list(new)
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        for left in (work, old):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def locked(folder):
    """Keep other reports out of the folder, which is made if need be; the lock ends with its process, however it ends.

    Raises ReportError if another report is being made there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ReportError(f"another report is being made in {folder}: wait for it, or name another folder") from None
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()


def publish(folder, then):
    """Put the next version, which must be whole, in place of what is there: see `finish`."""
    write_list(folder / WORK)
    (folder / WORK / WHOLE).touch()
    finish(folder, then)


def finish(folder, then):
    """If there is a next version that is whole, move its files to their places, and call `then`.

    What is in their way and not as the list has it, such as the results of a notebook run by hand meanwhile, is kept
    under another name, with a note. Files of the earlier version that the next does not have are removed.
    """
    work = folder / WORK
    if not (work / WHOLE).exists():
        return
    if (work / LIST).exists():  # it is the last to be moved
        old, new = listed(folder), listed(work)
        for name in sorted(new, key="results.json".__eq__):
            source, target = work / name, folder / name
            if digest(target) not in (None, old.get(name), new[name]):
                kept = next(p for n in range(1, 1000) if not (p := target.with_name(f"{target.name}.kept{n}")).exists())
                target.rename(kept)
                print(f"Note: {name} in {folder} was changed meanwhile, and is kept as {kept.name}", file=sys.stderr)
            if source.exists():  # else it was moved before the command was killed
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        for name in old.keys() - new.keys():
            if digest(folder / name) == old[name]:
                (folder / name).unlink()
        then()
        (work / LIST).replace(folder / LIST)
    shutil.rmtree(work)
