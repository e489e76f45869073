"""Checks of exercises: whether an answer does what was asked, and if not, a hint in one sentence.

A check is a ``with exercise("1.1", ...):`` block of calls of the functions below. What goes wrong in it, be it a
requirement that is not met or an error in the student's code, is raised as `NotYet`, which Jupyter shows without a
traceback and by which course systems tell that the cell failed.
"""

import contextlib
import hashlib
import math
import numbers
import traceback

import numpy as np
import torch

TOLERANCE = 1e-3  # relative, for numbers that two ways of computing need not give to the last digit


class NotYet(AssertionError):
    """An answer does not do yet what the exercise asks for."""

    def _render_traceback_(self):  # IPython shows these lines instead of a traceback
        return [f"\x1b[31mNot yet.\x1b[0m {self}"]


@contextlib.contextmanager
def exercise(number, *answers):
    """A block that checks the `answers`, functions or classes, to exercise `number`, and says so if they pass.

    One that is called ``predicted`` holds a prediction, which may turn out wrong and pass all the same.

    Raises NotYet for whatever the block raises.
    """
    try:
        yield
    except NotYet:
        raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and not str(error):  # a stub's; PyTorch's say what is not implemented
            names = " and ".join(f"`{answer.__name__}`" for answer in answers)
            raise NotYet(f"Write {names} first, in the cell above, and run it.") from error
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name in _names(answers)]
        where = f" in line {lines[-1]} of your cell" if lines else ""
        said = next(iter(str(error).splitlines()), "")
        raise NotYet(f"Your code raised {type(error).__name__}{where}{': ' * bool(said)}{said}") from error
    guessed = any(answer.__name__ == "predicted" for answer in answers)
    print(f"{number}: right.{' A prediction counts as made, whether or not it came true.' * guessed}")


def _names(answers):
    """The names under which a traceback lists the code of the answers."""
    for answer in answers:
        yield answer.__name__
        yield from (name for name, value in vars(answer).items() if callable(value))


def require(condition, hint):
    """Raise NotYet with the hint unless the condition holds."""
    if not condition:
        raise NotYet(hint)


def several(answer, n, hint):
    """Raise NotYet with the hint unless the answer is a tuple, list, array or tensor of `n`."""
    given = len(answer) if isinstance(answer, tuple | list) else (*getattr(answer, "shape", ()), 0)[0]
    require(given == n, hint)


def number(value, what, low=-math.inf, high=math.inf):
    """The value as a float; NotYet unless it is one finite number from `low` to `high`. `what` names it in the hint."""
    if isinstance(value, torch.Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    kind = "a tensor" if isinstance(value, torch.Tensor) else f"a value of type {type(value).__name__}"
    require(isinstance(value, numbers.Real) and not isinstance(value, bool), f"{what} should be a number, not {kind}.")
    require(math.isfinite(value), f"{what} is {value}: it should be finite.")
    require(low <= value <= high, f"{what} is {value:.4g}, which is impossible: it lies between {low:g} and {high:g}.")
    return float(value)


def tensor(value, what, shape):
    """The value, detached; NotYet unless it is a finite tensor of this shape, in which None stands for any size."""
    require(isinstance(value, torch.Tensor), f"{what} should be a tensor, not a value of type {type(value).__name__}.")
    fits = len(value.shape) == len(shape) and all(b in (None, a) for a, b in zip(value.shape, shape, strict=True))
    wanted = ", ".join("n" if size is None else str(size) for size in shape)
    require(fits, f"{what} has the shape {tuple(value.shape)}; asked for is ({wanted}).")
    require(torch.isfinite(value.float()).all(), f"{what} holds numbers that are infinite or not a number.")
    return value.detach()


def close(value, expected, hint, mistakes=None, relative=TOLERANCE, absolute=1e-6):
    """Raise NotYet with the hint unless a number or a tensor is close to the expected one.

    `mistakes` are values that a likely mistake leads to, by the hint that helps then: {hint: value}.
    """
    value, expected = _array(value), _array(expected)
    require(value.shape == expected.shape, f"It has the shape {tuple(value.shape)}, not {tuple(expected.shape)}.")
    if not torch.allclose(value, expected, rtol=relative, atol=absolute):
        for likely, x in (mistakes or {}).items():
            require(not torch.allclose(value, _array(x), rtol=relative, atol=absolute), likely)
        raise NotYet(hint)


def _array(value):
    return torch.as_tensor(value).detach().cpu().double()  # Apple's GPUs have no doubles


def option(answer, options):
    """The answer; NotYet unless it is one of the options, which are texts."""
    require(answer in options, f"Return one of {', '.join(map(repr, options))}, not {answer!r}.")
    return answer


def judged(answers, number, sealed):
    """Raise NotYet unless each statement is judged rightly.

    Parameters
    ----------
    answers : dict of bool by statement, such as {"a": True, "b": False}.
    number : of the exercise, such as "4.8".
    sealed : dict of text by statement: what `seal` makes of the right judgment, so that it cannot be read here.
    """
    require(isinstance(answers, dict) and set(answers) == set(sealed), f"Judge each of {', '.join(sealed)}, in a dict.")
    require(all(isinstance(a, bool) for a in answers.values()), "Each judgment is True or False.")
    wrong = sum(seal(number, name, answers[name]) != sealed[name] for name in sealed)
    require(not wrong, f"{wrong} of your {len(sealed)} judgments {'are' if wrong > 1 else 'is'} not right.")


def seal(number, name, judgment):
    """Eight hex digits that stand for a judgment of a statement in the exercise of that number."""
    return hashlib.sha256(f"{number} {name} {bool(judgment)}".encode()).hexdigest()[:8]
