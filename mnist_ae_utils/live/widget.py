"""The widget: an autoencoder in a notebook, computed by the browser."""

import base64

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from IPython.display import Image

from mnist_ae_utils import figures, machine, metrics, plots
from mnist_ae_utils.live import export

N_IMAGES, N_STEPS = 1_000, 9  # on the map; along a number of the code, in the still picture


class Explorer(anywidget.AnyWidget):
    """What `explore` shows where a browser is there to show it."""

    _esm = export.code("networks", "images", "explore", "widget")
    _css = export.code(style="live")
    content = traitlets.Dict().tag(sync=True)

    def __init__(self, content, still):
        self.still = still
        super().__init__(content=content)

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if not bundle:
            return bundle
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        image, of_image = self.still  # what shows no widgets, such as GitHub, shows the picture
        return data | {"image/png": base64.b64encode(image).decode()}, metadata | {"image/png": of_image}


def explore(autoencoder, data):
    """A map of an autoencoder's codes, and sliders along them, in the browser: the last expression of a cell.

    `autoencoder` is one of `models`, or of your own from such layers, trained; of the test images of `data`, a
    `data.Dataset`, the first thousand are shown. A code of two numbers is a map, every place of which the decoder
    draws; of more, UMAP lays the codes flat, and sliders change the numbers that vary most. The network runs in the
    browser, and needs no kernel from then on.

    Where a notebook is executed without a browser, as for a report, a still picture takes its place. ValueError if the
    browser does not know one of the layers.
    """
    some, weights = data.test.first(min(N_IMAGES, len(data.test))), export.Weights()
    network, codes = export.network(autoencoder.eval(), weights), metrics.encode(autoencoder, some.images).cpu()
    points = np.asarray(codes) if codes.shape[1] == 2 else metrics.umap_embedding(codes.numpy(), 0)
    order = codes.var(0).argsort(descending=True).tolist()
    still = _still(autoencoder, codes, points, some.labels.cpu(), data.class_names, order)
    if not machine.is_watched():
        image, metadata = still
        return Image(image, **metadata)
    return Explorer({
        "network": network, "weights": export.text(weights.half), "codes": codes.tolist(), "points": points.tolist(),
        "labels": some.labels.tolist(), "names": data.class_names, "order": order,
        "images": export.text(export.image_bytes(some.images)) if codes.shape[1] > 2 else "",  # a plane shows none
        "dimensions": [f"number {i + 1} (varies by {spread:.2f})" for i, spread in enumerate(codes.std(0).tolist())],
    }, still)  # fmt: skip


def _still(autoencoder, codes, points, labels, class_names, order):
    """The map, beside what the decoder draws at the places of two numbers, or along the busiest: a `figures.png`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
    left.scatter(*points.T, c=[plots.DIGIT_COLORS[label] for label in labels], s=8, lw=0)
    plots.class_legend(left, class_names, "outside left center")
    steps = torch.linspace(-2, 2, N_STEPS) * codes.std(0)[:, None] + codes.mean(0)[:, None]  # (latent_dim, N_STEPS)
    if codes.shape[1] == 2:
        left.set(title="codes of test images", xlabel="first number", ylabel="second number")
        walks = torch.cartesian_prod(steps[1].flip(0), steps[0]).flip(1)
        right.set(title="what the decoder draws there", xlabel="first number", ylabel="second number")
    else:
        left.set(title="codes of test images, laid flat by UMAP", xticks=[], yticks=[])
        walks = torch.cat([codes[:1].repeat(N_STEPS, 1).index_copy(1, torch.tensor([i]), steps[i][:, None])
                           for i in order[:N_STEPS]])  # fmt: skip
        right.set(title="one image, one number changed in each row", xlabel="from -2 to 2 deviations")
    device = next(autoencoder.parameters()).device
    tiles = metrics.in_batches(autoencoder.decoder, walks.to(device)).cpu().view(-1, N_STEPS, 28, 28)
    right.imshow(tiles.transpose(1, 2).reshape(-1, 28 * N_STEPS), cmap="gray_r")
    right.set(xticks=[], yticks=[])
    if codes.shape[1] > 2:
        rows = order[:N_STEPS]
        right.set_yticks(28 * np.arange(len(rows)) + 14, [f"number {i + 1}" for i in rows])
    right.grid(False)
    figure.suptitle("A still picture of what can be explored where the notebook runs", fontsize=10, color="0.35")
    picture = figures.png(figure)
    plt.close(figure)
    return picture
