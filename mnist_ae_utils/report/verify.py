"""Whether the networks that a report keeps reproduce its figures: they are loaded and asked, nothing is trained."""

import math

from mnist_ae_utils import data, metrics, models
from mnist_ae_utils.chapter import part_of_test, seeds_of
from mnist_ae_utils.report import collect, folder
from mnist_ae_utils.report.folder import ReportError

TOLERANCE = 1e-3  # of an error or a bound: the weights are kept in half precision, and processors differ
OTHER_ANSWERS = 2  # test images: an accuracy may differ by so many, for the same reason
OTHER_DRAW = 5e-3  # of an ELBO that was estimated on a GPU: the same seed draws other binarizations and codes there


def differing(out):
    """Compute the figure of each network in ``<out>/models``, print it beside the stated one; how many differ.

    Raises ReportError if there is no report, no network, or other data than it was made with.
    """
    if (content := collect.read(out / "results.json")) is None:
        raise folder.missing(out)
    header, differ = content["header"], 0
    listed = [out / name for name in folder.listed(out) if name.endswith(".safetensors")]
    if not (paths := sorted({*listed, *(out / "models").glob("*.safetensors")})):
        raise ReportError(f"{out} keeps no networks: make the report anew")
    loaded = data.load(header["dataset"]["name"])
    if loaded.checksum != header["dataset"]["checksum"]:
        raise ReportError(f"the data are not those of the report: {data.describe(loaded)}")
    test = part_of_test(loaded.test, header["profile"])
    for path in paths:
        try:
            network, of = models.load(path.stem, path.parent), models.kept(path)
            expected, found = stated(of, content), figure(network, of["score"], test)
            tolerance = OTHER_DRAW if of["score"] == "elbo" and header["device"] != "cpu" else TOLERANCE
            if of["score"] == "accuracy":
                same = round(abs(found - expected) * len(test)) <= OTHER_ANSWERS
            else:
                same = math.isclose(found, expected, rel_tol=tolerance)
            said = f"{found}, stated {expected}"
        except ValueError as error:
            same, said = False, str(error)
        differ += not same
        print(f"{path.stem}: {said}{'' if same else '  DIFFERS'}", flush=True)
    return differ


def figure(network, score, test):
    """What a network comes to on the test images, by the function of `metrics` that is named by `score`."""
    return getattr(metrics, score)(network, test.images, *([test.labels] if score == "accuracy" else []))


def stated(of, content):
    """The value that a report's results state for a kept network; ValueError if there is none."""
    key = of.get("notebook"), of.get("id"), "test", of.get("n_labels")
    first_seed = seeds_of(content["header"]["seeds"])[0]
    for entry in content["results"]:
        if (entry["notebook"], entry["id"], entry["split"], entry["n_labels"]) == key:
            by_seed = dict(enumerate(entry["per_seed"], start=first_seed))
            if by_seed.get(of["seed"]) is not None:
                return by_seed[of["seed"]]
    raise ValueError(f"results.json has no {of.get('id')} with seed {of.get('seed')}")


def chapter_of(path):
    """Of which notebook a file of a report is: that by which it is named, or, for a network, that which kept it."""
    if path.suffix != ".safetensors":
        return path.stem
    try:
        return models.kept(path).get("notebook")
    except ValueError:
        return None


def table(networks, content):
    """What the networks in a folder are, and which figure of the report's `content` each reproduces, as Markdown."""
    lines = [
        "# Trained networks", "",
        "In half precision. `models.load(name)` makes one again; `mnist-ae verify` computes the figure of each.", "",
        "| name | network | settings | seed | reproduces | with this seed |", "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for path in sorted(networks.glob("*.safetensors")):
        of = models.kept(path)
        settings = ", ".join(f"{name}={value!r}" for name, value in of["settings"].items())
        figure = f"`{of['id']}`" + (f", {of['n_labels']:,} labels" if of["n_labels"] else "")
        try:
            value = f"{stated(of, content):{'.2%' if of['score'] == 'accuracy' else '.2f'}}"
        except ValueError:  # its notebook failed before it left results
            value = "not stated"
        lines.append(f"| {path.stem} | `{of['network']}` | {settings} | {of['seed']} | {figure} | {value} |")
    return "\n".join(lines) + "\n"
