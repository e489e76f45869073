"""What a reader does with the course, in a real notebook kernel: own models, losses, clusterings, images; overrides."""

import pathlib
import re

import pytest
from conftest import ONE_CORE
from kernel import ROOT, Kernel

START = """
import time
from functools import partial
import numpy as np, torch
from torch import nn
from mnist_ae_utils import few_labels, metrics, models, plots, runs, training, trainings
from mnist_ae_utils.chapter import begin
from mnist_ae_utils.runs import recall
chapter = begin("99_mine", "smoke", "uci-digits", device="cpu", out={out!r})
data = chapter.data

class Mine(nn.Module):
    def __init__(self, latent_dim=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, latent_dim), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 784), nn.Unflatten(1, (1, 28, 28)))

    def forward(self, images):
        return self.decoder(self.encoder(images))

def l1(autoencoder, images):
    return (autoencoder(images) - images).abs().flatten(1).sum(1).mean()

def own_loop(data, *, seed, momentum=0.9):
    "An autoencoder, trained by a loop and an optimizer of my own."
    torch.manual_seed(seed)
    model = Mine(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=momentum)
    for _ in range(30):
        loss = l1(model, data.train.images)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    scores = {"test": metrics.reconstruction_error(model, data.test.images)}
    return trainings.Trained(model.eval(), training.History(), scores)

def timed(experiments, seeds=(0, 1, 2)):
    begin = time.perf_counter()
    found = chapter.run(experiments, seeds)
    print("seconds", time.perf_counter() - begin)
    return found

def files():
    return sorted(path.name for path in runs.cache_folder().glob("*.run"))
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel with a cache and workers of its own, which take longer to start than all that is done with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_AE_CACHE", str(tmp_path_factory.mktemp("reader") / "cache"))
        patch.delenv(*ONE_CORE)
        with Kernel() as kernel:
            yield kernel


@pytest.fixture
def cell(kernel, tmp_path):
    """The kernel with `START` run, and nothing else defined."""
    kernel("%reset -f")
    assert "uci-digits" in kernel(START.replace("{out!r}", repr(str(tmp_path))))
    return kernel


def seconds(shown):
    return float(re.search(r"seconds ([\d.]+)", shown)[1])


def numbers(shown):
    """The numbers of a printed list."""
    return [float(x) for x in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", shown)]


def test_an_own_model_beside_one_of_the_package(cell):
    shown = cell("""
mine = chapter.autoencoder(Mine, 8, effort=10)
theirs = chapter.autoencoder(models.DenseAutoencoder, 8, hidden=(16,), effort=10)
both = timed({"mine": mine, "dense AE": theirs})
plots.intervals(both.scores("test"), "reconstruction error (test)");""")
    assert "figure" in shown and "6/6 runs" in shown
    again = cell("before = files()\nboth = timed({'mine': mine, 'dense AE': theirs}); print(files() == before)")
    assert seconds(again) < 1 and "True" in again
    changed = cell("""
class Mine(Mine):
    def __init__(self, latent_dim=8):
        super().__init__(latent_dim)
        self.encoder[2] = nn.ReLU()

new = timed({"mine": chapter.autoencoder(Mine, 8, effort=10), "dense AE": theirs})
errors = [found["mine"][0].scores["test"] for found in (both, new)]
print(len(set(files()) - set(before)), len(both["mine"]), errors[0] != errors[1])""")
    assert "3 3 True" in changed, "three trainings, of the changed model only"


def test_own_loss_loop_settings_and_inputs(cell):
    shown = cell("""
def halves(data, seed):
    return lambda images: images[:, :, :14].flatten(1)

mine = {
    "my loss": chapter.autoencoder(Mine, 8, loss=l1), "my loop": partial(own_loop, data),
    "my momentum": partial(own_loop, data, momentum=0.5),
    "my settings": chapter.autoencoder(Mine, 8, batch_size=32, learning_rate=1e-3, weight_decay=0.5),
    "my inputs": chapter.on_inputs(halves, effort=10),
    "on my codes": chapter.on_inputs(trainings.codes, autoencoder=partial(own_loop, data)),
}
timed(mine, [0, 1])
again = timed(mine, [0, 1])
table = again.scores()
print(table.shape, table.notna().all(axis=None), table.nunique(axis=1).tolist())""")
    assert "(2, 6) True [6, 6]" in shown, shown
    assert float(re.findall(r"seconds ([\d.]+)", shown)[1]) < 1


def test_a_changed_function_of_the_package_is_used_everywhere_and_never_kept_under_the_originals_key(cell):
    shown = cell("""
several, single = chapter.autoencoder(Mine, 8), chapter.autoencoder(Mine, 4)
def errors():
    return [chapter.run(several).scores().tolist(), chapter.run(single, [7]).scores().tolist()]
plain = errors()
kept = training.reconstruction_loss
training.reconstruction_loss = l1
changed, again = errors(), errors()
training.reconstruction_loss = kept
restored = errors()
print(changed == again, restored == plain, *(a != b for x, y in zip(plain, changed) for a, b in zip(x, y)))""")
    assert "True True True True True" in shown, "used by workers (two seeds) and in the kernel (one), and then no more"
    shown = cell("""
linear = chapter.autoencoder(models.LinearAutoencoder, 8)
plain = chapter.run(linear).scores()
kept = models.LinearAutoencoder.forward
models.LinearAutoencoder.forward = lambda self, images: self.decoder(self.encoder(images)).clamp(0, 1)
changed = chapter.run(linear).scores()
models.LinearAutoencoder.forward = kept
print((plain != changed).all(), (chapter.run(linear).scores() == plain).all())""")
    assert "True True" in shown, "a method put into a class of the package"


def test_a_changed_number_of_the_package_is_refused_where_workers_would_not_know_of_it(cell):
    shown = cell("""
kept, models.PIXELS = models.PIXELS, 28 * 28 + 0.0
try:
    chapter.run(chapter.autoencoder(models.LinearAutoencoder, 9))
finally:
    models.PIXELS = kept""")
    assert "RuntimeError: worker processes have other code than this kernel: models.LinearAutoencoder.__init__" in shown
    assert "9" in cell("chapter.run(chapter.autoencoder(models.LinearAutoencoder, 9))[0].model.encoder[1]")


def test_a_misspelled_argument_is_a_type_error_before_anything_trains(cell):
    for call in (
        "chapter.autoencoder(Mine, 8, lerning_rate=5.0)",
        "chapter.on_inputs(trainings.pixels, lerning_rate=5.0)",
    ):
        shown = cell(f"before = files()\n{call}")
        assert shown.startswith("TypeError") and "'lerning_rate'" in shown and "learning_rate" in shown
    shown = cell("chapter.run({'a': chapter.autoencoder(Mine, 6), 'b': partial(own_loop, data, mometum=1)})")
    assert (
        "TypeError: b: own_loop: got an unexpected keyword argument 'mometum'; it takes data, seed, momentum" in shown
    )
    assert "True" in cell("files() == before")


def test_a_trained_model_is_saved_and_loaded_without_the_cache(cell, tmp_path):
    shown = cell(f"""
model, path = chapter.run(chapter.autoencoder(Mine, 8))[0].model, {str(tmp_path / "mine.safetensors")!r}
models.save_weights(model, path)
loaded = models.load_weights(partial(Mine, 8), path)
print(torch.equal(metrics.encode(model, data.test.images), metrics.encode(loaded, data.test.images)))""")
    assert "True" in shown
    assert "ValueError" in cell("models.load_weights(partial(Mine, 9), path)")


def test_a_long_training_moves_the_bar(cell):
    shown = cell("""
def long(data, *, seed):
    model = Mine(8)
    training.train(model, l1, (data.train.images[:50],), epochs=400, transform=lambda x, _: (time.sleep(0.02), x)[1])
    return seed

chapter.run(partial(long, data), [0, 1]);""")
    assert len(set(re.findall(r"epoch (\d+) of 400", shown))) >= 2


def test_the_readmes_experiment_runs_as_it_stands(kernel, tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    start = 'begin("99_mine")'
    assert start in source
    source = source.replace(start, f'begin("99_mine", "smoke", "uci-digits", device="cpu", out={str(tmp_path)!r})')
    for file in ("photo.jpg", "mine.safetensors"):
        source = source.replace(f'"{file}"', repr(str(tmp_path / file)))
    draw = "from PIL import Image, ImageDraw\nphoto = Image.new('L', (200, 240), 235)\n"
    draw += "ImageDraw.Draw(photo).line([(100, 40), (100, 200)], fill=20, width=18)\n"
    kernel(f"%reset -f\n{draw}photo.save({str(tmp_path / 'photo.jpg')!r})")
    shown = kernel(source)
    assert "6/6 runs" in shown and shown.count("figure") == 2 and "Error" not in shown, shown
    loaded = kernel(f"models.load_weights(Mine, {str(tmp_path / 'mine.safetensors')!r}).encoder[1]")
    assert "out_features=32" in loaded


def test_own_pictures_as_a_dataset_and_a_photo_for_a_trained_model(cell, tmp_path):
    shown = cell(f"""
from PIL import Image
folder = {str(tmp_path / "my digits")!r}
import pathlib
for digit in range(10):  # white paper, dark ink, large, off center
    pathlib.Path(folder, str(digit)).mkdir(parents=True)
    of_digit = data.train.images[data.train.labels == digit][:14, 0].numpy()
    for i, image in enumerate(of_digit):
        paper = np.full((240, 200), 230, np.uint8)
        big = np.asarray(Image.fromarray((255 * image).astype(np.uint8)).resize((140, 140)))
        paper[20:160, 40:180] = (230 - 0.8 * big).astype(np.uint8)
        Image.fromarray(paper).save(f"{{folder}}/{{digit}}/{{i}}.png")
mine = begin("98_mine", "smoke", folder, seeds=1, device="cpu", out=f"{{folder}}-report")
print(mine.data.train.images.shape, mine.data.notice != "", mine.run(mine.autoencoder(Mine)).scores())""")
    assert "torch.Size([" in shown and "True" in shown and "seed" in shown, shown
    shown = cell("""
classifier = chapter.run(chapter.network(models.ConvClassifier, (8, 16, 32), effort=20), [0])[0].model
photos = [f"{folder}/{digit}/{i}.png" for digit in range(10) for i in range(5)]
right = [metrics.predict_picture(classifier, photo)[0] == int(photo.split("/")[-2]) for photo in photos]
print("right:", sum(right), "of", len(right))
plots.predicted_picture(classifier, photos[0]);""")
    assert int(re.search(r"right: (\d+) of 50", shown)[1]) > 40 and "figure" in shown, shown
    pathlib.Path(tmp_path, "my digits", "3", "broken.png").write_bytes(b"no picture")
    shown = cell('begin("98_mine", "smoke", folder, device="cpu", out=f"{folder}-report")')
    assert shown.splitlines()[-1].startswith("DataError: ") and "broken.png" in shown.splitlines()[-1]
