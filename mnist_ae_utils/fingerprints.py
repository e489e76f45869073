"""The key of a remembered run: a fingerprint of live objects and of all code that they reach.

Code counts by its instructions, so comments, docstrings and the place where it stands do not: a cell that repeats a
class of the package word for word has the same fingerprint. Libraries count by their version. A class may say what its
instances count by, with a method ``fingerprint()`` that returns simpler values.
"""

import contextvars
import dis
import functools
import glob
import hashlib
import io
import itertools
import os
import sys
import types
from importlib import metadata

import joblib
import numpy as np
import torch

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "umap-learn")
VERSIONS = repr((sys.version_info[:2], [(name, metadata.version(name)) for name in LIBRARIES]))
# where Python's own modules and installed packages lie, be it in more than one folder, as after `pip install --user`:
# what is elsewhere, is the project's or the reader's
_INSTALLED = {os.path.abspath(path) for path in sys.path if glob.glob(os.path.join(glob.escape(path), "*.dist-info"))}
THEIRS = tuple(os.path.join(path, "") for path in (os.path.dirname(dis.__file__), *sorted(_INSTALLED)))
# How and where runs are made and kept does not change what they are.
KEEPING = ("mnist_ae_utils.fingerprints", "mnist_ae_utils.runs", "mnist_ae_utils.machine")
# what the compiler adds or leaves out for reasons that have nothing to do with what the code does
SILENT = {"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"}


class Fingerprints:
    """Fingerprints of values that do not change meanwhile; what several of them reach is looked at once."""

    def __init__(self):
        self.known = {}  # by id: an object, kept alive; its own text; the objects that it refers to

    def key(self, value):
        """32 hex digits: equal for equal values and equal code, in any process."""
        return _md5("\n".join([VERSIONS, *(str(text) for _, text in self._walk(value))]).encode())

    def parts(self, value):
        """By name, a fingerprint of each function and class that a value reaches, of its own code and values only."""
        found = {}
        for x, text in self._walk(value):
            if isinstance(x, types.FunctionType | type) and isinstance(text, str):
                name = f"{x.__module__.removeprefix('mnist_ae_utils.')}.{x.__qualname__}"
                found[name] = _md5("\n".join([text, *self._values(self._look(x)[1] or ())]).encode())
        return found

    def _values(self, refers):
        """The texts of the values among what an object refers to, also of those inside of containers."""
        for x in refers:
            text, inner = self._look(x)
            if inner is None or isinstance(x, dict | list | tuple):
                yield text
                yield from self._values(inner or ())

    def _walk(self, value):
        """Each object that a value reaches, in a fixed order, with its own text; with its number the second time."""
        numbers, pending = {}, [value]
        while pending:
            text, refers = self._look(x := pending.pop())
            if id(x) in numbers:
                text, refers = numbers[id(x)], ()
            elif refers is not None and not isinstance(x, dict | list | tuple):  # equal ones are as good as the same
                numbers[id(x)] = len(numbers)
            pending.extend(reversed(refers or ()))
            yield x, text

    def _look(self, x):
        if id(x) not in self.known:
            self.known[id(x)] = x, *_describe(x)
        return self.known[id(x)][1:]


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _describe(x):
    """An object's own text, and the objects that it refers to; None for those if it is but a value."""
    match x:
        case None | bool() | int() | float() | complex() | str() | bytes() | np.generic():
            return f"{type(x).__name__} {x!r}", None
        case torch.Tensor():
            array = np.ascontiguousarray(x.detach().cpu().numpy())
            return f"tensor {x.device.type} {x.dtype} {array.shape} {_md5(array.tobytes())}", None
        case np.ndarray() if x.dtype != object:
            return f"array {x.dtype} {x.shape} {_md5(np.ascontiguousarray(x).tobytes())}", None
        case types.ModuleType() | contextvars.ContextVar() | torch.device() | torch.dtype():
            return f"{type(x).__name__} {getattr(x, '__name__', None) or getattr(x, 'name', x)}", None
        case dict():
            return f"dict {len(x)}", [part for item in x.items() for part in item]
        case list() | tuple():
            return f"{type(x).__name__} {len(x)}", list(x)
        case set() | frozenset():
            return f"set {sorted(map(repr, x))}", []
        case functools.partial():
            return "partial", [x.func, x.args, dict(sorted(x.keywords.items()))]
        case classmethod() | staticmethod() | property() | functools.cached_property() | types.MethodType():
            made_of = ("__func__", "fget", "fset", "func", "__self__")
            return type(x).__name__, [getattr(x, name) for name in made_of if hasattr(x, name)]
        case types.FunctionType() if _is_ours(x):
            return _describe_function(x)
        case type() if _is_ours(x):  # its code and values count, not what Python keeps beside them
            beside = types.GetSetDescriptorType | types.MemberDescriptorType
            members = {k: v for k, v in sorted(vars(x).items()) if k != "_abc_impl" and not isinstance(v, beside)}
            members = {k: v for k, v in members.items() if callable(v) or not k.startswith("__")}
            return f"class {list(members)}", [*x.__bases__, *members.values()]
    if hasattr(x, "__wrapped__"):  # by functools.lru_cache
        return "wrapped", [x.__wrapped__]
    if hasattr(x, "fingerprint") and not isinstance(x, type):
        return f"instance of {type(x).__qualname__}", [x.fingerprint()]
    if callable(x) and hasattr(x, "__qualname__"):
        return f"{getattr(x, '__module__', None)} {x.__qualname__}", None  # a built-in type's method has no module
    if getattr(x, "__dict__", None) and type(x).__reduce__ is object.__reduce__ and not isinstance(x, io.IOBase):
        return f"instance of {type(x).__qualname__}", [type(x), vars(x)]
    try:
        return f"{type(x).__qualname__} {joblib.hash(x)}", None
    except Exception as error:  # whatever pickling raises: an open file, a generator, a lock
        says = f"a run that depends on {x!r} cannot be remembered ({error})"
        raise TypeError(f"{says}: give it numbers, arrays, functions or classes") from None


def _is_ours(x):
    """Whether a module, or that of a class or function, is neither Python's nor an installed library's."""
    module = x if isinstance(x, types.ModuleType) else sys.modules.get(getattr(x, "__module__", None))
    if module is None or module.__name__ in KEEPING:
        return False
    package, file = module.__name__.split(".")[0], getattr(module, "__file__", None)
    return package in ("__main__", __package__) or (bool(file) and not os.path.abspath(file).startswith(THEIRS))


@functools.lru_cache(maxsize=10_000)
def _instructions(code):
    """The instructions of a code object as text, and what names it takes: (whether imported, name, *attributes)."""
    kept, places = [], {}  # places: the number of the instruction to which a jump to an offset leads
    for instruction in dis.get_instructions(code):
        places[instruction.offset] = len(kept)
        if instruction.opname not in SILENT:
            kept.append(instruction)
    text, names = [], []
    for i, instruction in enumerate(kept):
        # Which of LOAD_ATTR and LOAD_METHOD stands there depends on where the import of a module stands.
        name, value = instruction.opname.replace("METHOD", "ATTR"), instruction.argval
        if isinstance(value, types.CodeType):
            value, inner_names = _instructions(value)
            names += inner_names
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))  # whose own order is another in each process
        elif instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
            value = places[value]
        text.append(f"{name} {value!r}")
        if name in ("LOAD_GLOBAL", "LOAD_NAME"):
            attributes = itertools.takewhile(lambda k: k.opname in ("LOAD_ATTR", "LOAD_METHOD"), kept[i + 1 :])
            names.append((False, value, *(k.argval for k in attributes)))
        elif name == "IMPORT_NAME":
            imported = value
            names.append((True, imported))
        elif name == "IMPORT_FROM":
            names.append((True, imported, value))
    return "; ".join(text), names


def _describe_function(function):
    """Its instructions; its closure, its defaults, and what it takes from its module, also by way of another."""
    text, names = _instructions(function.__code__)
    refers = [[c.cell_contents for c in function.__closure__ or ()], function.__defaults__, function.__kwdefaults__]
    for is_imported, name, *rest in names:
        # before a function runs for the first time, a module that it imports is an empty one of the same name
        value = (sys.modules.get(name) or types.ModuleType(name)) if is_imported else function.__globals__.get(name)
        while isinstance(value, types.ModuleType) and _is_ours(value) and rest:
            value = getattr(value, rest.pop(0), None)
        if isinstance(value, types.ModuleType) and _is_ours(value):  # passed on whole: all of it counts
            value = {k: v for k, v in sorted(vars(value).items()) if getattr(v, "__module__", None) == value.__name__}
        refers.append(value)
    return f"function {text}", refers
