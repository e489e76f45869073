"""The notebooks: found, checked, run by papermill, and rid of this machine's paths."""

import ast
import contextlib
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from mnist_ae_utils.report.folder import ReportError, digest
from mnist_ae_utils.report.kernel import ROOT, Kernel, why_dead

NOTEBOOKS = ROOT / "notebooks"


def notebook_paths(folder=NOTEBOOKS, only=None):
    """Paths of the notebooks ``NN_name.ipynb`` in `folder`, in order; `only` limits them to some numbers.

    Raises ValueError for a number that is not there, for one that two notebooks have, and if there is no notebook.
    """
    paths = {}
    for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")):
        if (other := paths.setdefault(path.name[:2], path)) != path:
            raise ValueError(f"two notebooks have the number {path.name[:2]}: {other.name} and {path.name}. Rename one")
    if not paths:
        raise ValueError(f"there are no notebooks in {folder}: run this from a clone, installed by `python install.py`")
    wanted = [str(number).zfill(2) for number in only or paths]
    for number in wanted:
        if number not in paths:
            raise ValueError(f"no notebook {number}: use one or more of {' '.join(paths)}")
    return [path for number, path in paths.items() if number in wanted]


def pages(folder=NOTEBOOKS):
    """Paths of the pages beside the notebooks in `folder`, to which they link: exercises, glossary, references."""
    return [*sorted(Path(folder).glob("exercises/*.ipynb")), *sorted(Path(folder).glob("*.md"))]


def check_parameters(path, parameters):
    """Raise ReportError unless the notebook declares every parameter (papermill would only warn)."""
    import papermill

    with contextlib.redirect_stdout(None):
        declared = papermill.inspect_notebook(_literal(path))
    for name in parameters:
        if name not in declared:
            there = ", ".join(declared) or "none: is the cell tagged `parameters`?"
            raise ReportError(f"{path.name} has no parameter {name!r}; declared: {there}")


def _literal(path):
    """A path as papermill takes it, which puts parameters into braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def execute(path, target, parameters, out, start_timeout):
    """Run one notebook and write it to `target`, as one of the report in the folder `out`: a dict for the header.

    It holds the notebook's digest, when it was started, its seconds, and its error or None. A cell that draws but shows
    no figure is an error too.
    """
    import nbformat
    import papermill

    from mnist_ae_utils.report import engine

    target.unlink(missing_ok=True)
    begin, started, error = time.perf_counter(), utc_now(), None
    Kernel.exit_code = None
    try:
        papermill.execute_notebook(
            _literal(path), _literal(target), parameters, cwd=path.parent, kernel_name="python3",
            kernel_manager_class=Kernel, start_timeout=start_timeout, progress_bar=False,
            stdout_file=_log(sys.stdout), stderr_file=_log(sys.stderr), engine_name=engine.NAME,
            coalesce_streams=True,  # one output for all that a progress bar wrote
            shutdown_kernel="immediate",  # by itself it takes seconds to end its workers, who see that it is gone
            extra_arguments=["--log-level=ERROR"],  # the kernel warns that it talks to this process unencrypted
        )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        first_line = next(iter(failure.source.strip().splitlines()), "")
        error = f"cell [{failure.exec_count}] `{first_line}`: {failure.ename}: {failure.evalue.strip()}"
    except (RuntimeError, TimeoutError) as failure:
        error = f"the kernel did not answer within {start_timeout} s: allow more with --start-timeout"
        if "died" in str(failure):
            error = f"the kernel died: {why_dead()}"
    names = _places(target.parents[1], out)
    if target.exists():
        notebook = nbformat.read(target, as_version=4)
        error = error or _missing_figure(notebook)
        for cell in notebook.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):  # not the notebook's own
                cell.source = scrub(cell.source, names)
            if "outputs" in cell:
                cell.outputs = [output for output in scrub(cell.outputs, names) if output.get("text", "said").strip()]
        notebook.metadata.pop("papermill", None)  # times and paths, which the header has
        nbformat.write(notebook, target)
    elif error is None:
        raise ReportError(f"papermill left no {target}")
    seconds = round(time.perf_counter() - begin, 1)
    return {"source": digest(path), "started": started, "seconds": seconds, "error": error and scrub(error, names)}


def renew_texts(executed, path):
    """Give an executed notebook the texts that the notebook `path` has now; False if its code or rules are not as then.

    What ran, its outputs, when that was and by which rules it was judged stay, so that a word can be mended without
    hours of training.
    """
    import nbformat

    def stays(cell):
        return cell.cell_type == "code" or "rules" in cell.metadata  # the contrasts that its opening announces

    ran, now = (nbformat.read(which, as_version=4) for which in (executed, path))
    cells = []  # each that stays, with the parameters that papermill put below it
    for cell in filter(stays, ran.cells):
        if "injected-parameters" in cell.metadata.get("tags", []):
            cells[-1].append(cell)
        else:
            cells.append([cell])
    if [cell.source for cell, *_ in cells] != [cell.source for cell in filter(stays, now.cells)]:
        return False
    ran.cells = [part for cell in now.cells for part in (cells.pop(0) if stays(cell) else [cell])]
    nbformat.write(ran, executed)
    return True


def state(path, facts):
    """Write into an executed notebook's metadata what it was made with: `collect.of_notebook`."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["report"] = facts
    nbformat.write(notebook, path)


def _missing_figure(notebook):
    """What is wrong if a cell calls a drawing function of `plots` and holds no figure; else None."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or any("image/png" in output.get("data", {}) for output in cell.outputs):
            continue
        for statement in ast.parse(re.sub(r"^[%!].*", "", cell.source, flags=re.MULTILINE)).body:
            call = ast.unparse(statement).partition("(")[0] if isinstance(statement, ast.Expr) else ""
            if re.fullmatch(r"plots\.\w+(?<!_table)", call):
                return f"cell [{cell.execution_count}] calls {call} and shows no figure"
    return None


def _log(stream):
    """The stream as papermill shall write to it: a terminal as it is; elsewhere each state of a bar is a line."""
    return stream if stream.isatty() else Log(stream)


class Log:
    """A file that passes on what is written, lines that are redrawn one below the other."""

    def __init__(self, stream):
        self.stream, self.flush = stream, stream.flush

    def write(self, text):
        self.stream.write(re.sub(r"[\r\n]*\r[\r\n]*", "\n", text))


def _places(work, out):
    """{path on this machine: what an executed notebook shows instead}, longer paths first."""
    inside = os.path.relpath(out, NOTEBOOKS) if out.is_relative_to(ROOT) else out.name
    home = os.path.expanduser("~")
    places = {str(work): inside, str(out): inside, str(ROOT): ".", sys.prefix: "<python>", home: "~"}
    if given := os.environ.get("MNIST_DATA_DIR"):
        places[given.rstrip("/\\")] = "$MNIST_DATA_DIR"
    places |= {os.path.realpath(place): name for place, name in places.items() if os.path.isabs(place)}
    return dict(sorted(((p, n) for p, n in places.items() if len(p) > 3), key=lambda item: -len(item[0])))


def scrub(value, places):
    """A copy of outputs, or any text in them, without this machine's paths.

    Of a progress bar it keeps the last state, and nothing if that was its end. `places` are those of `_places`. Only
    whole paths are replaced, however their slashes are written.
    """
    if isinstance(value, dict):
        kept = {key: item if key.startswith("image/") else scrub(item, places) for key, item in value.items()}
        return type(value)(kept)
    if isinstance(value, list):
        return [scrub(item, places) for item in value]
    if not isinstance(value, str):
        return value
    if "\r" in value:  # a progress bar keeps its last state; \r\n stays
        value = "\n".join(line[:-1].rpartition("\r")[2] + line[-1:] for line in value.split("\n")).rstrip("\r")
    value = re.sub(r"^100%\|█*\|.*\n*", "", value, flags=re.MULTILINE)  # and none if it came to its end
    # A match begins where a word begins: trying every letter of it takes minutes on a word of 300 kB.
    value = re.sub(r"(?<!\S)\S*[/\\]ipykernel_\d+[/\\]\d+\.py", "<cell>", value)
    for place, name in places.items():
        parts = [f"(?:{re.escape(part)}|{re.escape(quote(part))})" for part in re.split(r"[/\\]+", place)]
        spelled = r"(?:/|\\+)".join(parts)  # backslashes are doubled in a repr, and again in JSON
        begins = r"(?:(?<=file://)|(?<![\w.~/\\-]))"
        value = re.sub(rf"{begins}{spelled}(?![\w-]|\.\w)", lambda _, name=name: name, value)
    return value


def utc_now():
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
