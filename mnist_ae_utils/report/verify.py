"""Whether the networks that a report keeps reproduce its figures: they are loaded and asked, nothing is trained."""

import math

import torch

from mnist_ae_utils import data, metrics, models
from mnist_ae_utils.chapter import seeds_of
from mnist_ae_utils.report import collect, folder
from mnist_ae_utils.report.folder import ReportError

TOLERANCE = 1e-3  # of a figure: the weights are kept in half precision, and processors differ


def differing(out):
    """Compute the figure of each network in ``<out>/models``, print it beside the stated one; how many differ.

    Raises ReportError if there is no report, no network, or other data than it was made with.
    """
    if (content := collect.read(out / "results.json")) is None:
        raise folder.missing(out)
    header, entries, count = content["header"], content["results"], 0
    if not (paths := sorted((out / "models").glob("*.safetensors"))):
        raise ReportError(f"{out} keeps no networks: make the report anew")
    loaded = data.load(header["dataset"]["name"])
    if loaded.checksum != header["dataset"]["checksum"]:
        raise ReportError(f"the data are not those of the report: {data.describe(loaded)}")
    first_seed = seeds_of(header["seeds"])[0]
    for path in paths:
        try:
            found, stated = figure(path, loaded.test), _stated(models.kept(path), entries, first_seed)
        except ValueError as error:
            found, stated = str(error), None
        same = stated is not None and math.isclose(found, stated, rel_tol=TOLERANCE)
        count += not same
        print(f"{path.stem}: {found}{'' if stated is None else f', stated {stated}'}{'' if same else '  DIFFERS'}")
    return count


def figure(path, test):
    """What a kept network comes to on the test images, by the measure that its file names."""
    stated, network = models.kept(path), models.load(path.stem, path.parent)
    measured = getattr(metrics, stated["score"])
    torch.manual_seed(0)
    return measured(network, test.images, *([test.labels] if stated["score"] == "accuracy" else []))


def _stated(of, entries, first_seed):
    """The value that the results state for a kept network; ValueError if there is none."""
    for entry in entries:
        key = entry["notebook"], entry["id"], entry["split"], str(entry["n_labels"] or "")
        if key == (of["notebook"], of["id"], "test", of["n_labels"]):
            number = int(of["seed"]) - first_seed
            if 0 <= number < len(entry["per_seed"]):
                return entry["per_seed"][number]
    raise ValueError(f"results.json has no {of['id']} with seed {of['seed']}")


def chapter_of(path):
    """Of which notebook a file of a report is: that by which it is named, or, for a network, that which kept it."""
    if path.suffix != ".safetensors":
        return path.stem
    try:
        return models.kept(path)["notebook"]
    except ValueError:
        return None


def table(networks):
    """What the networks in a folder are, and which figure each reproduces, as Markdown."""
    lines = [
        "# Trained networks", "",
        "In half precision. `models.load(name)` makes one again; `mnist-ae verify` computes the figure of each.", "",
        "| name | network | settings | seed | reproduces |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for path in sorted(networks.glob("*.safetensors")):
        of = models.kept(path)
        settings = ", ".join(f"{name}={value!r}" for name, value in of["settings"].items())
        figure = f"`{of['id']}`" + (f", {int(of['n_labels']):,} labels" if of["n_labels"] else "")
        lines.append(f"| {path.stem} | `{of['network']}` | {settings} | {of['seed']} | {figure} |")
    return "\n".join(lines) + "\n"
