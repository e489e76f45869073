"""The exercises' notebooks, made of the sources beside this file: one source for question, solution and check.

    python exercises/build.py              notebooks/exercises/, for students: without solutions
    python exercises/build.py --solutions  solutions/, for teachers: with them; it is a folder of a course for nbgrader

A source ``NN_name.py`` is a notebook in the percent format (jupytext). After its opening and set-up, each exercise is a
heading ``## N.M Title``; a line ``*kind, minutes min, level*``; its question; and code cells with one tag each:

``answer``       what the student writes, with the solution between ``### BEGIN SOLUTION`` and ``### END SOLUTION``
``check``        what the student runs to learn whether it is right
``also-right``   another right answer, written differently; in no notebook, but the tests run it
``wrong``        an answer that the check has to refuse; likewise
``in-words``     a Markdown cell: what a good answer says, in no student's notebook
``given``        code that stands in every notebook as it is

Marks and metadata are those of nbgrader, which needs nothing installed where students work: a check is a plain cell.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat

from mnist_ae_utils.report import online

FOLDER = Path(__file__).resolve().parent
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
FOR_STUDENTS = FOLDER.parent / "notebooks" / "exercises"
FOR_TEACHERS = FOLDER.parent / "solutions"
NBGRADER_CONFIG = """\
# Settings of nbgrader, which it reads in the folder of the course: this one. An answer may train for a minute; by
# default a cell has 30 seconds, and four for what it prints, and a whole notebook fails if it takes longer.
c = get_config()  # noqa: F821 - nbgrader's
c.CourseDirectory.course_id = "autoencoders"
c.Execute.timeout = 600
c.Execute.iopub_timeout = 60
"""
KINDS = ("predict", "compute", "change", "debug", "explain", "open problem")
LEVELS = ("easy", "medium", "hard")
KEPT, ONLY_TESTED = ("given", "answer", "check", "in-words"), ("also-right", "wrong")
HEADING = re.compile(rf"## (\d\.\d) (.+)\n\n\*({'|'.join(KINDS)}), (\d+) min, ({'|'.join(LEVELS)})\*\n")
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION$", re.DOTALL | re.MULTILINE)
STUB = "# Your answer here.\n{indent}raise NotImplementedError"
IN_WORDS = "*Your answer in words:*"


@dataclass
class Exercise:
    """An exercise: what its heading says, and the sources of its cells by tag."""

    number: str  # such as "1.2"
    title: str
    kind: str
    minutes: int
    level: str
    cells: dict = field(default_factory=lambda: {tag: [] for tag in KEPT + ONLY_TESTED})


def read(path):
    """A source as a notebook; ValueError for a cell after the set-up whose tag is none of those above."""
    notebook = jupytext.read(path)
    in_exercises = False
    for cell in notebook.cells:
        in_exercises = in_exercises or cell.source.startswith("## ")
        if in_exercises and cell.cell_type == "code" and tag_of(cell) not in KEPT + ONLY_TESTED:
            first = cell.source.partition("\n")[0]
            raise ValueError(f"{path.name}: `{first}` has none of the tags {', '.join(KEPT + ONLY_TESTED)}")
    return notebook


def tag_of(cell):
    """The tag that says what a cell of an exercise is; None for text and set-up."""
    return next((tag for tag in cell.metadata.get("tags", []) if tag in KEPT + ONLY_TESTED), None)


def exercises(notebook):
    """The exercises of a source, as `read` gives it: a list; ValueError for a heading that lacks what belongs to it."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            if not (heading := HEADING.match(cell.source + "\n")):
                raise ValueError(f"`{cell.source.splitlines()[0]}`: below, *kind, minutes min, level* is missing")
            number, title, kind, minutes, level = heading.groups()
            found.append(Exercise(number, title, kind, int(minutes), level))
        elif found and tag_of(cell):
            found[-1].cells[tag_of(cell)].append(cell.source)
    return found


def stub(source):
    """An answer without its solution."""
    return SOLUTION.sub(lambda found: found[1] + STUB.format(indent=found[1]), source)


def notebook_of(path, with_solutions=False):
    """The notebook made of a source, for students or `with_solutions`."""
    source, number, n_of_kind = read(path), "", {}
    cells = []
    for cell in source.cells:
        if cell.cell_type == "markdown" and (heading := HEADING.match(cell.source + "\n")):
            number = heading[1].replace(".", "-")
        tag = tag_of(cell)
        if tag in ONLY_TESTED:
            continue
        made = cell.copy()
        made.metadata = nbformat.NotebookNode({key: value for key, value in cell.metadata.items() if not tag})
        name = f"{tag or 'text'}-{number or 'start'}"
        n_of_kind[name] = n_of_kind.get(name, 0) + 1
        made.id = name + (f"-{n_of_kind[name]}" if n_of_kind[name] > 1 else "")
        if tag and not with_solutions:
            made.source = IN_WORDS if tag == "in-words" else stub(cell.source)
        if tag and tag != "given":
            made.metadata["nbgrader"] = graded(tag, made.id)
        if tag == "check":
            # JupyterLab's word, Colab's, and the book's, which has nothing to fold: a check holds the way to its answer
            made.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["remove-cell"]}
        cells.append(made)
    text = online.first_cell(online.address())
    cells.insert(1, nbformat.v4.new_code_cell(text, id="bootstrap", metadata=dict(online.SHOWN)))  # below the opening
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python",
                                        "name": "python3"}, "language_info": {"name": "python"}}  # fmt: skip
    return notebook


def graded(tag, cell_id):
    """nbgrader's metadata of a cell, version 3 of its schema: checks give a point, answers in words are read."""
    by_hand = tag == "in-words"
    facts = {"grade": tag != "answer", "solution": tag != "check", "locked": tag == "check", "task": False,
             "grade_id": cell_id, "schema_version": 3, "cell_type": "markdown" if by_hand else "code"}  # fmt: skip
    return facts | ({} if tag == "answer" else {"points": 1})


def listed(name):
    """What a chapter says of its exercises, as Markdown."""
    lines = [
        "## Exercises",
        "",
        f"They are in [a notebook of their own](exercises/{name}.ipynb): each with a question, a place for your answer",
        "and a check that says whether it is right. Minutes are those of a reader of this chapter.",
        "",
        "| | exercise | kind | minutes | level |",
        "| --- | --- | --- | --- | --- |",
    ]
    for exercise in exercises(read(FOLDER / f"{name}.py")):
        facts = exercise.number, exercise.title, exercise.kind, str(exercise.minutes), exercise.level
        lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines)


def text(notebook):
    """A notebook as its file holds it."""
    return nbformat.writes(notebook) + "\n"


def write(with_solutions=False):
    """Write the notebooks; return their folder."""
    folder = FOR_TEACHERS if with_solutions else FOR_STUDENTS
    for path in SOURCES:
        # nbgrader wants a folder for each assignment, all in source/
        target = folder / (f"source/{path.stem}" if with_solutions else "") / f"{path.stem}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text(notebook_of(path, with_solutions)), encoding="utf-8")
    if with_solutions:
        (folder / "nbgrader_config.py").write_text(NBGRADER_CONFIG, encoding="utf-8")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--solutions", action="store_true", help="with solutions, into solutions/")
    print("written to", write(parser.parse_args(sys.argv[1:]).solutions))
