"""The notebooks: found, checked, run by papermill with a log that reads well, and rid of this machine's paths."""

import contextlib
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the project's folder
NOTEBOOKS = ROOT / "notebooks"


class ReportError(RuntimeError):
    """The report cannot be made. The message says what is wrong, and where."""


def notebook_paths(folder=NOTEBOOKS, only=None):
    """Paths of the notebooks ``NN_name.ipynb`` in `folder`, in order; `only` limits them to some numbers.

    Raises ValueError for a number that is not there; the message lists those that are.
    """
    paths = {path.name[:2]: path for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))}
    wanted = [str(number).zfill(2) for number in only or paths]
    for number in wanted:
        if number not in paths:
            raise ValueError(f"no notebook {number}: use one or more of {' '.join(paths)}")
    return [path for number, path in paths.items() if number in wanted]


def check_parameters(path, parameters):
    """Raise ReportError unless the notebook declares every parameter (papermill would only warn)."""
    import papermill

    with contextlib.redirect_stdout(None):
        declared = papermill.inspect_notebook(str(path))
    for name in parameters:
        if name not in declared:
            there = ", ".join(declared) or "none: is the cell tagged `parameters`?"
            raise ReportError(f"{path.name} has no parameter {name!r}; declared: {there}")


def execute(path, out, parameters):
    """Run one notebook into ``<out>/notebooks``; return when it started, its seconds, and its error or None."""
    import nbformat
    import papermill

    os.environ.pop("MPLBACKEND", None)  # another backend would leave the notebook without figures
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning about the debugger in each kernel's log
    target = out / "notebooks" / path.name
    (out / "results" / f"{path.stem}.json").unlink(missing_ok=True)  # an older run's numbers must not pass for these
    target.unlink(missing_ok=True)
    begin, started, error = time.perf_counter(), utc_now(), None
    try:
        with log(sys.stdout) as stdout, log(sys.stderr) as stderr:
            papermill.execute_notebook(
                path, target, parameters, cwd=path.parent, kernel_name="python3", progress_bar=False,
                stdout_file=stdout, stderr_file=stderr,
                coalesce_streams=True,  # one output for all that a progress bar wrote
                extra_arguments=["--log-level=ERROR"],  # the kernel warns that it talks to this process unencrypted
            )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        first_line = next(iter(failure.source.strip().splitlines()), "")
        error = f"cell [{failure.exec_count}] `{first_line}`: {failure.ename}: {failure.evalue.strip()}"
    except (RuntimeError, TimeoutError) as failure:  # a kernel that died or does not answer
        error = f"{type(failure).__name__}: {failure} (was there enough memory?)"
    if target.exists():
        nbformat.write(scrub(nbformat.read(target, as_version=4), out), target)
    elif error is None:
        raise ReportError(f"papermill left no {target}")
    return {"seconds": round(time.perf_counter() - begin, 1), "started": started, "error": error and scrub(error, out)}


def log(stream):
    """The stream as papermill shall write to it: a terminal as it is, anything else by a `Log`."""
    return contextlib.nullcontext(stream) if stream.isatty() else contextlib.closing(Log(stream))


class Log:
    """A file that passes lines on, but of a line that is redrawn, as a progress bar is, only some states.

    Each is a line of its own: one every `every` seconds, and the last one.
    """

    def __init__(self, stream, every=30, now=time.monotonic):
        self.stream, self.every, self.now = stream, every, now
        self.line, self.shown, self.since = "", None, None  # what is not ended yet; its last state written, and when

    def write(self, text):
        *ended, self.line = (self.line + text).split("\n")
        for line in ended:
            self._end(line)
        before, redrawn, state = self.line.rstrip("\r").rpartition("\r")
        if redrawn:
            self.line = self.line[len(before) :]
            self.since = self.now() if self.since is None else self.since
            if self.now() - self.since >= self.every:
                self._show(state)

    def _end(self, line):
        _, redrawn, state = line.rstrip("\r").rpartition("\r")
        if redrawn:
            self._show(state)
        else:
            self.stream.write(state + "\n")
        self.shown = self.since = None

    def _show(self, state):
        if state.strip() not in ("", self.shown):
            self.shown, self.since = state.strip(), self.now()
            self.stream.write(state.rstrip() + "\n")

    def flush(self):
        self.stream.flush()

    def close(self):
        """Write what has no end of line."""
        if self.line:
            self._end(self.line)
        self.line = ""


def scrub(value, out):
    """A copy of a notebook, or any text in it, without this machine's paths and without overwritten progress bars."""
    if isinstance(value, dict):
        kept = {key: item if key.startswith("image/") else scrub(item, out) for key, item in value.items()}
        return type(value)(kept)
    if isinstance(value, list):
        return [scrub(item, out) for item in value]
    if not isinstance(value, str):
        return value
    if "\r" in value:  # a progress bar keeps its last state; \r\n stays
        value = "\n".join(line[:-1].rpartition("\r")[2] + line[-1:] for line in value.split("\n")).rstrip("\r")
    # A match begins where a word begins: trying every letter of it takes minutes on a word of 300 kB.
    value = re.sub(r"(?<!\S)\S*[/\\]ipykernel_\d+[/\\]\d+\.py", "<cell>", value)
    inside = out.is_relative_to(ROOT)
    places = {
        str(out): os.path.relpath(out, NOTEBOOKS) if inside else out.name,
        os.environ.get("MNIST_DATA_DIR", ""): "$MNIST_DATA_DIR",
        str(ROOT): ".",
        sys.prefix: "<python>",
        str(Path.home()): "~",
    }
    for place, name in places.items():
        if len(place) > 3:
            value = value.replace(place, name).replace(Path(place).as_posix(), Path(name).as_posix())
    return value


def utc_now():
    return datetime.now(UTC).isoformat(timespec="seconds")
