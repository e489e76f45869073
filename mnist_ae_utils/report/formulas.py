"""Formulas: LaTeX, as the notebooks have it, to MathML, which a browser shows without network or script."""

import re
from importlib.util import find_spec
from pathlib import Path

import math_core

# Few systems have a font for mathematics. The package that carries this one is not imported: that takes a while.
FONT = Path(find_spec("ziamath").origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"
_NUMBERED = re.compile(r"\\(begin|end)\{(align|alignat|equation|gather|multline)\}")  # JupyterLab does not number
_CONVERTER = math_core.LatexToMathML(annotation=True, fancy_error=False)
_STRUT = '<mspace width="0" height="0.7em" depth="0.1em"/>'  # else Chromium draws a root's bar through what is low


def mathml(latex, display):
    """The formula as MathML, `display`ed by itself or in a line; ValueError if math-core cannot read it."""
    try:
        text = _CONVERTER.convert_with_local_state(_NUMBERED.sub(r"\\\1{\2*}", latex), displaystyle=display)
    except math_core.LatexError as error:
        raise ValueError(str(error)) from None
    return text.replace("<msqrt>", f"<msqrt>{_STRUT}")
