"""The live page: networks of a report, digits to ask them about, and maps, as files beside the book's page."""

import io
import json
import shutil
import zlib
from functools import partial

import numpy as np
import torch
from PIL import Image

from mnist_ae_utils import data, metrics, models, training
from mnist_ae_utils.chapter import part_of_test
from mnist_ae_utils.live import export
from mnist_ae_utils.report import collect, verify
from mnist_ae_utils.report.folder import ReportError

NETWORKS = {  # by the name under which a report keeps it: what the page calls it
    "hybrid": "The article's hybrid", "best_hybrid": "The best hybrid", "end_to_end": "End to end",
    "end_to_end_distorted": "End to end, distortions", "student": "Taught by ten labels",
}  # fmt: skip
MAPS = {"plain_2_codes": "Plain autoencoder", "vae_2_codes": "Variational autoencoder"}
UNTRAINED_DECODER = ("end_to_end", "end_to_end_distorted")  # they have one, since they are built like the hybrid
SLIDERS = "vae_narrow"
OPTIONAL = "best_hybrid"  # not kept where the best reader of codes is no network
N_DIGITS, N_TRAY = 2_000, 20  # on the maps; in each half of the tray


def write(out, target):
    """Write the page's files, of the report in the folder `out`, into the folder `target`.

    Returns whether the report keeps all networks that the page shows; nothing is written if not. ReportError if one is
    damaged, or the data that it was trained on are not at hand and cannot be had.
    """
    if not _names(out):
        return False
    try:
        text = json.dumps(content(out), separators=(",", ":"))
    except (ValueError, data.DataError) as error:
        raise ReportError(f"the live page cannot be made: {error}") from None
    (target / "live-data.js").write_text(f"window.LIVE = {text};\n", encoding="utf-8")
    script = export.code("networks", "images", "explore", "page")
    (target / "live.js").write_text(f"(() => {{\n{script}}})();\n", encoding="utf-8")  # its names are its own
    for name in ("live.css", "live.md"):
        shutil.copy(export.HERE / name, target)
    return True


def _names(report):
    """The names under which a report keeps what the page shows, by what the page calls it; {} unless all are there."""
    there = {path.stem for path in (report / "models").glob("*.safetensors")}
    students = _students(report)
    names = {name: students[0] if name == "student" and students else name for name in (*NETWORKS, *MAPS, SLIDERS)}
    names = {name: kept for name, kept in names.items() if name != OPTIONAL or kept in there}
    return names if there.issuperset(names.values()) else {}


def _students(report):
    """The names of the students that ten labels taught, by their seeds."""
    seeds = [path.stem.removeprefix("student_") for path in (report / "models").glob("student_*.safetensors")]
    return [f"student_{seed}" for seed in sorted(map(int, filter(str.isdecimal, seeds)))]


def content(report):
    """What page.js reads as window.LIVE, of a report that keeps the networks. ValueError, DataError: as in `write`."""
    names, stated = _names(report), collect.read(report / "results.json")
    loaded = _data(stated["header"]["dataset"])
    test, weights = part_of_test(loaded.test, stated["header"]["profile"]), export.Weights()
    names["student"], asked = _asked(report, loaded, stated["header"]["dataset"])
    networks = {name: models.load(kept, report / "models") for name, kept in names.items()}
    exported = {name: export.network(of, weights, name not in UNTRAINED_DECODER) for name, of in networks.items()}
    figure = partial(_figure, report, stated, names)
    some = test.first(min(N_DIGITS, len(test)))
    shown = {name: title for name, title in NETWORKS.items() if name in names}
    says = {name: metrics.class_probabilities(networks[name], [some.images]) for name in shown}
    tray = _tray(says, some.labels)
    codes = metrics.encode(networks["hybrid"], some.images)
    kl = _kl(networks[SLIDERS], some.images)
    return {
        "names": loaded.class_names, "notice": loaded.notice,
        "networks": [{"title": title, "figure": figure(name), **exported[name]} for name, title in shown.items()],
        "tray": [{"index": i, "label": int(some.labels[i]), "hard": hard} for i, hard in tray],
        "tray_png": _png(torch.cat([some.images[[i for i, _ in tray]], *([asked[0]] if asked else [])])),
        "digits_png": _png((some.images * 15).round() / 15),  # sixteen shades are enough to look at, and half the size
        "labels": some.labels.tolist(),
        "of_student": says["student"].argmax(1).tolist(),
        "maps": [{"title": title, "figure": figure(name), "network": exported[name],
                  "points": _points(metrics.encode(networks[name], some.images))} for name, title in MAPS.items()],
        "flat": {"title": f"{codes.shape[1]} numbers, laid flat (UMAP)",
                 "network": exported["hybrid"], "points": _points(metrics.umap_embedding(codes.numpy(), 0)),
                 "codes": export.text(export.half(codes))},
        "sliders": {"network": exported[SLIDERS], "order": kl.argsort(descending=True).tolist(),
                    "dimensions": [f"number {i + 1} (KL {of:.2f} nats)" for i, of in enumerate(kl.tolist())],
                    "figure": f"A narrow variational autoencoder: {figure(SLIDERS)}"},
        "oracle": asked and {
            "asked": [{"label": label} for label in asked[1]], "n_test": len(test),
            "counts": _counts(networks["student"], test), "figure": f"With the right answers: {figure('student')}"},
        "n_weights": weights.length, "weights": export.text(zlib.compress(weights.half, 9)),
    }  # fmt: skip


def _data(stated):
    """The data that a report was made with; in place of MNIST, the embedded part of it. DataError if there is none."""
    try:
        return data.load(stated["name"])
    except data.DataError:
        if stated["name"] != "mnist":
            raise
        return data.load("mnist-5000")


def _figure(report, stated, names, name):
    """What was measured for a network, in words."""
    of = models.kept(report / "models" / f"{names[name]}.safetensors")
    value = verify.stated(of, stated)
    if of["score"] == "accuracy":
        return f"right on {value:.2%} of the test images (seed {of['seed']})"
    return f"{'ELBO' if of['score'] == 'elbo' else 'error'} {value:.1f} (seed {of['seed']})"


def _tray(says, labels):
    """Pairs (index, whether it is hard): two digits of each class that all networks read, then those read worst."""
    right = torch.stack([probabilities.gather(1, labels[:, None])[:, 0] for probabilities in says.values()])
    read = torch.stack([probabilities.argmax(1) == labels for probabilities in says.values()]).all(0)
    easy = [i for label in range(10) for i in torch.nonzero(read & (labels == label))[: N_TRAY // 10, 0].tolist()]
    return [(i, False) for i in easy] + [(i, True) for i in right.mean(0).argsort()[:N_TRAY].tolist()]


def _asked(report, loaded, stated):
    """The name of a student, and the images (10, 1, 28, 28) whose labels it was given, with these.

    It is the first that heard of ten classes, if there is one. None for the images if they are not at hand.
    """
    heard = {}
    if loaded.checksum == stated["checksum"]:
        for name in _students(report):
            indices = models.kept(report / "models" / f"{name}.safetensors")["labelled"]
            heard[name] = loaded.train.images[indices], loaded.train.labels[indices].tolist()
    of_ten = [name for name, (_, labels) in heard.items() if len(set(labels)) == 10]
    name = [*of_ten, *_students(report)][0]
    return name, heard.get(name)


def _counts(student, test):
    """How many test images of each class (columns) a student gives each of its answers (rows): 10 lists of 10."""
    said = metrics.predict(student, test.images)
    return torch.zeros(10, 10, dtype=torch.long).index_put_((said, test.labels), torch.tensor(1), True).tolist()


def _kl(vae, images):
    """Mean KL divergence in nats of each number of a VAE's code (latent_dim,) from the prior."""
    mean, log_variance = metrics.in_batches(lambda batch: torch.stack(vae.posterior(batch), 1), images).unbind(1)
    return training.kl_from_prior(mean, log_variance).mean(0)


def _points(points):
    return np.asarray(points, dtype=float).round(3).tolist()


def _png(images, columns=50):
    """Base64 of a PNG that holds images (n, 1, 28, 28), row by row."""
    images = torch.cat([images, images.new_zeros(-len(images) % columns, 1, 28, 28)])
    pixels = (images * 255).round().to(torch.uint8).view(-1, columns, 28, 28).transpose(1, 2).reshape(-1, columns * 28)
    file = io.BytesIO()
    Image.fromarray(pixels.cpu().numpy()).save(file, "PNG", optimize=True)
    return export.text(file.getvalue())
