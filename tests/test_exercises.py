"""The exercises: right answers pass their checks, stubs and wrong ones are refused with a hint; the notebooks of them.

Each source's cells run here in one namespace, as a kernel runs them, on the smoke profile and on another data set.
"""

import ast
import functools
import math
from pathlib import Path

import build
import nbformat
import numpy as np
import pytest
import torch
from traitlets.config import PyFileConfigLoader

from mnist_ae_utils import checks

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {path.stem: build.exercises(build.read(path)) for path in build.SOURCES}
EACH = [pytest.param(name, exercise, id=exercise.number) for name, found in SOURCES.items() for exercise in found]


def run(source, scope):
    exec(compile(source, "<answer>", "exec"), scope)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, monkeypatch_module):
    """By source and data set, a function that returns a new namespace in which the set-up has been run."""
    made = {}

    def scope(name, dataset):
        if (name, dataset) not in made:
            cells = build.read(ROOT / "exercises" / f"{name}.py").cells
            first = next(i for i, cell in enumerate(cells) if cell.source.startswith("## "))
            values = {"__name__": "__main__"}
            for cell in cells[:first]:
                if cell.cell_type == "code":
                    run(cell.source, values)
                if "parameters" in cell.metadata.get("tags", []):
                    values |= {"profile": "smoke", "dataset": dataset, "device": "cpu"}
            made[name, dataset] = values
        return dict(made[name, dataset])

    return scope


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_AE_CACHE", str(tmp_path_factory.getbasetemp() / "exercises-cache"))
        patch.setenv("MPLBACKEND", "agg")
        yield patch


def with_given(exercise, scope):
    for source in exercise.cells["given"]:
        run(source, scope)
    return scope


def in_other_types(answer):
    """The function, which gives a number as a tensor of one, and a tensor with its gradient: right all the same."""

    @functools.wraps(answer)
    def wrapped(*arguments, **named):
        found = answer(*arguments, **named)
        if isinstance(found, float):
            return torch.tensor([found], dtype=torch.float64)
        if isinstance(found, torch.Tensor) and found.is_floating_point() and found.is_leaf:
            return found.clone().requires_grad_()
        return found

    return wrapped


def answers(exercise):
    """Right answers: the solution, and the same with what another one writes anew put in its place."""
    yield exercise.cells["answer"]
    for other in exercise.cells["also-right"]:
        yield [*exercise.cells["answer"], other]


@pytest.mark.parametrize("dataset", ["auto", "uci-digits"])
@pytest.mark.parametrize(("name", "exercise"), EACH)
def test_right_answers_pass_however_they_are_written(name, exercise, dataset, prepared, capsys):
    solution, *others = answers(exercise)
    for answer in [solution] if dataset == "auto" else others:  # so each check is seen to hold on both
        scope = with_given(exercise, prepared(name, dataset))
        for source in answer:
            run(source, scope)
        if dataset != "auto":
            written = [node for source in answer for node in ast.parse(source).body]
            functions = {node.name for node in written if isinstance(node, ast.FunctionDef)}
            scope |= {name: in_other_types(scope[name]) for name in functions}
        run(*exercise.cells["check"], scope)
        assert f"{exercise.number}: right." in capsys.readouterr().out


@pytest.mark.parametrize(("name", "exercise"), EACH)
def test_the_stub_and_wrong_answers_are_refused_with_a_hint(name, exercise, prepared):
    assert len(exercise.cells["wrong"]) >= 2 and exercise.cells["also-right"] and len(exercise.cells["check"]) == 1
    scope = with_given(exercise, prepared(name, "auto"))
    for source in map(build.stub, exercise.cells["answer"]):
        run(source, scope)
    with pytest.raises(checks.NotYet, match="^Write .* first"):
        run(*exercise.cells["check"], scope)
    hints = []
    for wrong in exercise.cells["wrong"]:
        scope = with_given(exercise, prepared(name, "auto"))
        for source in [*exercise.cells["answer"], wrong]:
            run(source, scope)
        with pytest.raises(checks.NotYet) as refused:
            run(*exercise.cells["check"], scope)
        hints.append(str(refused.value))
    for hint in hints:
        assert 20 < len(hint) < 300, hint


@pytest.mark.parametrize("path", build.SOURCES, ids=lambda path: path.stem)
def test_the_students_notebooks_are_made_of_the_sources_and_hold_no_solution(path):
    notebook = (build.FOR_STUDENTS / f"{path.stem}.ipynb").read_text(encoding="utf-8")
    assert notebook == build.text(build.notebook_of(path)), "run `make assignments`"
    assert "SOLUTION" not in notebook and notebook.count("raise NotImplementedError") >= 6
    checks = [cell for cell in nbformat.reads(notebook, as_version=4).cells if "checks.exercise(" in cell.source]
    assert len(checks) >= 6 and all("remove-cell" in cell.metadata.tags for cell in checks), "the book shows none"


@pytest.mark.parametrize("name", SOURCES)
def test_each_chapter_has_six_to_eight_exercises_of_each_kind(name):
    assert 6 <= len(SOURCES[name]) <= 8
    kinds = {exercise.kind for exercise in SOURCES[name]}
    assert kinds >= {"predict", "compute", "change", "debug", "explain"}


def test_a_prediction_passes_without_being_called_right(capsys):
    def predicted():
        return "it rises"

    with checks.exercise("1.1", predicted):
        checks.option(predicted(), ("it rises", "it falls"))
    assert capsys.readouterr().out == "1.1: right. A prediction counts as made, whether or not it came true.\n"


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.array([2.0]), torch.tensor(2.0), torch.tensor([[2]])])
def test_a_number_may_come_as_a_tensor_of_one(value):
    assert checks.number(value, "It", 0, 3) == 2.0


@pytest.mark.parametrize("value", [True, "2", None, math.nan, 4.0, torch.tensor([2.0, 2.0]), torch.tensor(math.inf)])
def test_what_is_no_number_or_impossible_is_refused(value):
    with pytest.raises(checks.NotYet, match="^It "):
        checks.number(value, "It", 0, 3)


def test_the_solutions_are_a_folder_of_a_course_for_nbgrader(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FOR_TEACHERS", tmp_path)
    folder = build.write(with_solutions=True)
    for name, found in SOURCES.items():
        notebook = nbformat.read(folder / "source" / name / f"{name}.ipynb", as_version=4)
        by_id = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
        for number in (exercise.number.replace(".", "-") for exercise in found):
            check, answer = by_id[f"check-{number}"], by_id[f"answer-{number}"]
            assert check.metadata.nbgrader.items() >= {"grade": True, "locked": True, "points": 1}.items()
            assert not answer.metadata.nbgrader.locked and "### BEGIN SOLUTION" in answer.source
    config = PyFileConfigLoader("nbgrader_config.py", path=folder).load_config()
    assert config.Execute.timeout >= 120 and config.Execute.iopub_timeout > 4  # not 30 s and 4 s: see TEACHING.md
