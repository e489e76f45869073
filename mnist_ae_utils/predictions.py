"""What a reader predicts before a result is shown, and what came of it."""

import math

import ipywidgets
import pandas as pd

from mnist_ae_utils import machine


class Predictions:
    """The predictions of a notebook: fields to answer in, and at its end a table of answers and results.

    Where nobody watches, as in a report, there are no fields: the question stands in the text above them, and the table
    has the results alone. A cell that is run again shows the answer that was given.
    """

    def __init__(self):
        self.asked = {}  # by question: what has its answer as `value`, and what is compared
        self.answers = {}

    def number(self, question, unit=""):
        """A field for a number. `question` names what is predicted, in a few words, as `compare` does again."""
        field = ipywidgets.Text(placeholder="a number", continuous_update=False, layout={"width": "9em"})
        return self._field(question, unit, field)

    def choice(self, question, *options):
        """A choice among texts."""
        as_wide_as_its_text = {"button_width": "auto"}
        field = ipywidgets.ToggleButtons(options=options, value=None, style=as_wide_as_its_text)
        return self._field(question, options, field)

    def _field(self, question, kind, field):
        self.asked[question] = kind
        if not machine.is_watched():
            return None
        field.value = self.answers.get(question, field.value)
        said = ipywidgets.Label()

        def note(change):
            self.answers[question] = change["new"]
            is_number = isinstance(kind, tuple) or not math.isnan(_number(change["new"]))
            said.value = "noted; the end of the chapter compares" if is_number else "write a number, such as 2.5"

        field.observe(note, "value")
        unit = [] if isinstance(kind, tuple) else [ipywidgets.Label(kind)]
        asked = ipywidgets.Label(f"Your prediction, {question}:", layout={"flex": "0 0 auto"})
        return ipywidgets.HBox([asked, field, *unit, said], layout={"flex_flow": "row wrap"})

    def compare(self, results):
        """A table of what was predicted and what came of it.

        Parameters
        ----------
        results : dict by question: a number, or one of the options of a choice.

        Raises
        ------
        ValueError
            For a question that was not asked, one that has no result, and a result that is none of its options.
        """
        if set(results) != set(self.asked):
            raise ValueError(f"predictions and results differ in {', '.join(sorted(set(results) ^ set(self.asked)))}")
        rows = {}
        for question, result in results.items():
            kind, answer = self.asked[question], self.answers.get(question)
            if isinstance(kind, tuple) and result not in kind:
                raise ValueError(f"{question}: {result!r} is none of {', '.join(kind)}")
            unit = "" if isinstance(kind, tuple) or not kind else f" {kind}"
            row = {"came out": result if isinstance(kind, tuple) else f"{result:.4g}{unit}"}
            if machine.is_watched():
                row["you said"] = "" if answer is None else answer if isinstance(kind, tuple) else f"{answer}{unit}"
                row["so you were"] = _judge(answer, result) if answer else "silent"
            rows[question] = row
        return pd.DataFrame.from_dict(rows, orient="index")


def _number(text):
    try:
        return float(text.strip().rstrip("%").replace(",", ""))
    except ValueError:
        return math.nan


def _judge(answer, result):
    """How a prediction compares with the result, in words."""
    if isinstance(result, str):
        return "right" if answer == result else "wrong"
    said = _number(answer)
    if math.isnan(said):
        return "not giving a number"
    if said == result or abs(said - result) <= 0.1 * abs(result):
        return "within a tenth"
    return f"off by {said - result:+.3g}"
