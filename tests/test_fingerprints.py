"""What the key of a remembered run follows, what it is blind to, and that it is the same in every process."""

import dis
import importlib
import os
import re
import runpy
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import torch

from mnist_ae_utils import data, fingerprints, models, training, trainings
from mnist_ae_utils.fingerprints import Fingerprints


def key(value):
    return Fingerprints().key(value)


def defined(source, **names):
    """What a cell with this source leaves, in a namespace with `names`; its functions count as the reader's own."""
    scope = {"__name__": "__main__", "torch": torch, "nn": torch.nn, **names}
    exec(compile(textwrap.dedent(source), "cell", "exec"), scope)
    return scope


FUNCTION = """
def helper(x):
    return 2 * x

def loss(model, images):
    value = helper(weight) + model(images).sum()
    return value
"""


@pytest.mark.parametrize(
    "old, new, noticed",
    [
        ("    value = helper", "    # a comment\n\n    value = helper", False),
        ("def loss(model, images):", 'def loss(model, images):\n    """A docstring."""', False),
        ("def helper(x):", "def unrelated(x):\n    return x\n\ndef helper(x):", False),
        ("2 * x", "3 * x", True),  # in what it calls
        ("return value", "return value + 1", True),
        ("return value", "return -value", True),
    ],
)
def test_code_counts_and_what_stands_beside_it_does_not(old, new, noticed):
    assert old in FUNCTION
    before = defined(FUNCTION, weight=1.0)["loss"]
    after = defined(FUNCTION.replace(old, new), weight=1.0)["loss"]
    assert (key(before) != key(after)) == noticed


def test_where_a_line_stands_in_a_branch_counts():
    after = "    a(x + 1)\n    a(x + 2)\n    return a(x + 3)\n"
    inside, behind = (
        defined(f"def f(x):\n    if x:\n        a(x)\n{indent}b(x)\n{after}", a=abs, b=abs)["f"]
        for indent in ("        ", "    ")
    )
    names = [[i.opname for i in dis.get_instructions(f)] for f in (inside, behind)]
    assert names[0] == names[1], "the instructions are the same but for where a jump leads"
    assert key(inside) != key(behind)


def test_globals_defaults_closures_and_attributes_count():
    of = {weight: defined(FUNCTION, weight=weight)["loss"] for weight in (1.0, 2.0)}
    assert key(of[1.0]) != key(of[2.0])
    assert key(defined("def f(x=1): return x")["f"]) != key(defined("def f(x=2): return x")["f"])
    assert key(training.denoising_loss(0.1)) != key(training.denoising_loss(0.3))
    assert key(training.denoising_loss(0.1)) == key(training.denoising_loss(0.1))
    cells = [defined("class Holder: pass")["Holder"]() for _ in range(2)]
    cells[0].x, cells[1].x = 1, 2
    assert key(cells[0]) != key(cells[1])
    cells[1].x = 1
    assert key(cells[0]) == key(cells[1])


CLASS = """
class LinearAutoencoder(nn.Module):
    "Another docstring."

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, PIXELS), nn.Unflatten(1, (1, 28, 28)))

    def forward(self, images):
        return self.decoder(self.encoder(images))
"""


def test_a_cell_that_repeats_a_class_of_the_package_has_its_key():
    copy = defined(CLASS, PIXELS=784)["LinearAutoencoder"]
    assert key(copy) == key(models.LinearAutoencoder)
    assert key(partial(copy, 8)) == key(partial(models.LinearAutoencoder, 8)) != key(partial(copy, 4))
    changed = defined(
        CLASS.replace("nn.Linear(PIXELS, latent_dim))", "nn.Linear(PIXELS, latent_dim), nn.ReLU())"), PIXELS=784
    )
    assert key(changed["LinearAutoencoder"]) != key(copy)
    before = key(copy)
    copy.forward = lambda self, images: images
    assert key(copy) != before, "a method put in later"


def test_a_function_compiled_beside_its_import_has_the_same_key():
    """Python 3.11 and 3.12 compile another instruction for a call of an imported name in the same cell."""
    function = "def f(x):\n    if x:\n        return np.log(x).sum()\n    return np.linalg.norm(x)\n"
    assert key(defined("import numpy as np\n" + function)["f"]) == key(defined(function, np=np)["f"])


def test_what_a_module_is_asked_for_counts(monkeypatch):
    function = defined("def f(ae, x):\n    return training.squared_error(ae(x), x)", training=training)["f"]
    unrelated = defined("def f(ae, x):\n    return training.draw_codes(ae(x), x)", training=training)["f"]
    passed_on = defined("def f(x):\n    t = training\n    return t.squared_error(x, x)", training=training)["f"]
    inside = defined("def f(x):\n    from mnist_ae_utils import training as t\n    return t.squared_error(x, x)")["f"]
    before = [key(f) for f in (function, unrelated, passed_on, inside)]
    monkeypatch.setattr(training, "squared_error", defined("def squared_error(a, b): return a")["squared_error"])
    after = [key(f) for f in (function, unrelated, passed_on, inside)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def test_the_packages_code_counts_wherever_it_is_reached(monkeypatch):
    loaded = data.load("uci-digits")
    conv = partial(trainings.autoencoder, partial(models.ConvAutoencoder, 8), loaded, epochs=1)
    on_codes = partial(trainings.on_inputs, partial(trainings.codes, autoencoder=conv), loaded, epochs=1)
    on_pixels = partial(trainings.on_inputs, trainings.pixels, loaded, epochs=1)
    experiments = conv, on_codes, on_pixels
    before = [key(e) for e in experiments]
    for module, name, changes in [
        (training, "train", [True, True, True]),
        (models, "PIXELS", [False, False, False]),  # of these, only the dense networks use it
        (models, "Standardize", [False, True, True]),
        (models, "LinearAutoencoder", [False, False, False]),
        (training, "reconstruction_loss", [True, True, False]),
        (trainings, "fit", [True, True, True]),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, defined("def another(): pass")["another"])
            assert [key(e) != b for e, b in zip(experiments, before, strict=True)] == changes, name
    assert [key(e) for e in experiments] == before


def test_methods_of_built_in_types_count_by_their_names():
    names = [key(partial(map, method)) for method in (str.upper, str.lower, torch.Tensor.abs, torch.Tensor.neg)]
    assert len(set(names)) == 4


def test_data_count_by_their_content():
    loaded = data.load("uci-digits")
    experiment = partial(trainings.autoencoder, models.LinearAutoencoder, epochs=1)
    first = key(partial(experiment, data=loaded))
    assert first == key(partial(experiment, data=data.load("uci-digits")))
    assert first != key(partial(experiment, data=loaded.first(100)))
    mine = loaded.first(100)
    mine = type(mine)(**vars(mine) | {"train": data.Split(mine.train.images.clone(), mine.train.labels)})
    before = key(partial(experiment, data=mine))
    assert before == key(partial(experiment, data=loaded.first(100)))
    mine.train.images[0, 0, 0, 0] = 0.5
    assert before != key(partial(experiment, data=mine)), "changed in place"


def test_keys_are_the_same_in_another_process(capsys):
    code = """
        from functools import partial
        from mnist_ae_utils import corruptions, data, models, training, trainings
        from mnist_ae_utils.fingerprints import Fingerprints
        make, loss = partial(models.ConvAutoencoder, 8, channels=(4, 8)), training.restoring_loss(corruptions.distort)
        conv = partial(trainings.autoencoder, make, data.load("uci-digits"), loss=loss, epochs=3)
        print(Fingerprints().key(partial(trainings.on_inputs, partial(trainings.codes, autoencoder=conv),
                                         data.load("uci-digits"), epochs=2, n_labels={10, 20, 30})))
        """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    there = subprocess.run(run, env=os.environ | {"PYTHONHASHSEED": other}, stdout=subprocess.PIPE, text=True)
    exec(textwrap.dedent(code), {})
    here = capsys.readouterr().out
    assert here == there.stdout and re.fullmatch(r"[0-9a-f]{32}\n", here)


def test_what_cannot_be_compared_is_named():
    with open(__file__) as file, pytest.raises(TypeError, match="cannot be remembered .*give it numbers, arrays"):
        key(partial(print, file))


def test_parts_name_what_differs(monkeypatch):
    experiment = partial(trainings.autoencoder, partial(models.DenseAutoencoder, 8), None, epochs=1)
    before = Fingerprints().parts(experiment)
    assert {"trainings.autoencoder", "trainings.fit", "models.DenseAutoencoder", "training.train"} <= before.keys()
    monkeypatch.setattr(models, "PIXELS", 100)
    after = Fingerprints().parts(experiment)
    differ = {name for name in before if before[name] != after[name]}
    assert differ == {"models.DenseAutoencoder.__init__"}


def test_a_library_that_a_function_imports_does_not_change_its_key_when_it_is_loaded(monkeypatch):
    function = defined("def f(x):\n    import wave\n    return wave.open(x)")["f"]
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    before = key(function)
    monkeypatch.setitem(sys.modules, "wave", importlib.import_module("wave"))
    assert key(function) == before


def test_what_is_installed_in_another_folder_is_a_library_s_and_what_only_lies_there_is_the_readers(
    tmp_path, monkeypatch
):
    keys = []
    for factor in (3, 4):
        folders = {name: tmp_path / f"{name} {factor}" for name in ("installed", "lies_there")}
        for name, folder in folders.items():
            folder.mkdir()
            (folder / f"{name}.py").write_text(f"def times(x):\n    return {factor} * x\n")
            monkeypatch.syspath_prepend(folder)
            monkeypatch.delitem(sys.modules, name, raising=False)
        (folders["installed"] / "installed-1.0.dist-info").mkdir()
        in_a_new_process = runpy.run_path(fingerprints.__file__)["Fingerprints"]()  # which looks where libraries lie
        keys.append([in_a_new_process.key(importlib.import_module(name).times) for name in folders])
    (of_library, of_reader), (same, other) = keys
    assert of_library == same and of_reader != other
