"""Predictions: asked for in fields, compared with results; and checks of exercises, which say what is not yet right."""

import ipywidgets
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from mnist_ae_utils import checks, machine
from mnist_ae_utils.predictions import Predictions


@pytest.fixture()
def watched(monkeypatch):
    monkeypatch.delenv(machine.STILL, raising=False)


def field(box, kind):
    (found,) = (child for child in box.children if isinstance(child, kind))
    return found


def test_answers_are_compared_with_results(watched):
    guesses = Predictions()
    for question, answer in {"error": "10", "accuracy": "95 %", "loss": "about 3", "time": ""}.items():
        field(guesses.number(question, "points"), ipywidgets.Text).value = answer
    field(guesses.choice("winner", "codes", "pixels"), ipywidgets.ToggleButtons).value = "pixels"
    table = guesses.compare({"error": 14.02, "accuracy": 97.0, "loss": 3.0, "time": 1.0, "winner": "codes"})
    assert table.loc["error", "so you were"] == "off by -4.02" and table.loc["error", "came out"] == "14.02 points"
    assert table.loc["accuracy", "so you were"] == "within a tenth"
    assert table.loc["loss", "so you were"] == "not giving a number"
    assert table.loc["time", "so you were"] == "silent"
    assert list(table.loc["winner"]) == ["codes", "pixels", "wrong"]


def test_a_field_that_is_shown_again_has_the_answer_that_was_given(watched):
    guesses = Predictions()
    field(guesses.number("error"), ipywidgets.Text).value = "2.5"
    assert field(guesses.number("error"), ipywidgets.Text).value == "2.5"
    field(guesses.choice("winner", "a", "b"), ipywidgets.ToggleButtons).value = "b"
    assert field(guesses.choice("winner", "a", "b"), ipywidgets.ToggleButtons).value == "b"


def test_what_is_no_number_is_said_at_once(watched):
    box = Predictions().number("error")
    field(box, ipywidgets.Text).value = "many"
    assert "such as 2.5" in box.children[-1].value
    field(box, ipywidgets.Text).value = "1,000"
    assert "noted" in box.children[-1].value


def test_where_nobody_watches_there_are_results_and_no_fields(monkeypatch):
    monkeypatch.setenv(machine.STILL, "1")
    guesses = Predictions()
    assert guesses.number("error") is None and guesses.choice("winner", "a", "b") is None
    table = guesses.compare({"error": 14.02, "winner": "a"})
    assert table.columns.tolist() == ["came out"] and table["came out"].tolist() == ["14.02", "a"]


@pytest.mark.parametrize("results", [{}, {"error": 1.0, "loss": 1.0}, {"error": 1.0, "winner": "c"}])
def test_a_result_that_answers_no_question_is_an_error(results, watched):
    guesses = Predictions()
    guesses.number("error"), guesses.choice("winner", "a", "b")
    with pytest.raises(ValueError, match=r"winner|loss"):
        guesses.compare(results)


def answer():
    raise NotImplementedError


def broken():
    return 1 / 0


def of_integers():
    return torch.arange(3).softmax(0)


def test_a_check_says_what_is_not_yet_right_in_a_sentence(capsys):
    with pytest.raises(checks.NotYet, match="Write `answer` first"), checks.exercise("1.1", answer):
        answer()
    line = broken.__code__.co_firstlineno + 1
    with pytest.raises(checks.NotYet, match=f"ZeroDivisionError in line {line}"), checks.exercise("1.1", broken):
        broken()
    with pytest.raises(checks.NotYet, match="NotImplementedError in line .* 'Long'"):
        with checks.exercise("1.1", of_integers):  # an ordinary mistake, no stub
            of_integers()
    with pytest.raises(checks.NotYet, match="^smaller$"), checks.exercise("1.1"):
        checks.require(2 < 1, "smaller")
    assert capsys.readouterr().out == ""
    with checks.exercise("1.1"):
        checks.require(1 < 2, "smaller")
    assert capsys.readouterr().out == "1.1: right.\n"


def test_jupyter_shows_the_sentence_without_a_traceback(capsys):
    shell = InteractiveShell.instance()
    shell.run_cell("from mnist_ae_utils import checks\nwith checks.exercise('1.1'): checks.require(False, 'Smaller.')")
    assert capsys.readouterr().out.strip().splitlines() == ["\x1b[31mNot yet.\x1b[0m Smaller."]


@pytest.mark.parametrize("value", ["3", True, None, np.nan, float("inf"), torch.zeros(2), np.zeros((1, 2)), 11, -1])
def test_a_number_is_a_finite_number_in_its_range(value):
    with pytest.raises(checks.NotYet, match="^error"):
        checks.number(value, "error", 0, 10)


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.array([3]), torch.tensor(3.0)])
def test_a_number_may_be_of_any_library(value):
    assert checks.number(value, "error", 0, 10) == 3.0


@pytest.mark.parametrize("value", [(1,), [1, 2, 3], None, torch.tensor(2), np.zeros((1, 2)), {1: 2, 2: 3}, "12"])
def test_several_are_a_tuple_list_array_or_tensor_of_so_many(value):
    for right in ((1, 2), [1, torch.tensor(2)], torch.tensor([1, 2]), np.ones(2)):
        checks.several(right, 2, "Two.")
    with pytest.raises(checks.NotYet, match=r"^Two\.$"):
        checks.several(value, 2, "Two.")


@pytest.mark.parametrize("value", [np.zeros((2, 3)), torch.zeros(2), torch.zeros(2, 4), torch.full((2, 3), torch.nan)])
def test_a_tensor_has_the_shape_asked_for(value):
    with pytest.raises(checks.NotYet, match="^codes"):
        checks.tensor(value, "codes", (None, 3))
    assert checks.tensor(torch.zeros(5, 3), "codes", (None, 3)).shape == (5, 3)


def test_what_is_not_close_gets_the_hint_of_the_mistake_that_leads_there():
    checks.close(1.0001, 1.0, "no")
    for value, hint in {2.0: "twice", 3.0: "no"}.items():
        with pytest.raises(checks.NotYet, match=hint):
            checks.close(value, 1.0, "no", {"twice": 2.0})
    with pytest.raises(checks.NotYet, match=r"shape \(3,\), not \(2,\)"):
        checks.close(torch.zeros(3), torch.zeros(2), "no")


def test_judgments_are_counted_and_not_told_apart():
    sealed = {"a": checks.seal("1.8", "a", True), "b": checks.seal("1.8", "b", False)}
    assert sealed["a"] not in (checks.seal("1.8", "b", True), checks.seal("2.8", "a", True)), "they do not look alike"
    checks.judged({"a": True, "b": False}, "1.8", sealed)
    for answers, hint in [({"a": False, "b": False}, "^1 of your 2"), ({"a": False, "b": True}, "^2 of your 2"),
                          ({"a": True}, "Judge each of a, b"), ({"a": 1, "b": 0}, "True or False")]:  # fmt: skip
        with pytest.raises(checks.NotYet, match=hint):
            checks.judged(answers, "1.8", sealed)
    with pytest.raises(checks.NotYet, match="'rises', 'falls'"):
        checks.option("stays", ("rises", "falls"))
