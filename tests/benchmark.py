"""How fast a training step is, beside the usual loop: a `DataLoader` that turns PIL images into tensors one by one.

``python tests/benchmark.py`` (or ``make bench``) leaves the ratios for the next quick report.
"""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from mnist_ae_utils import chapter, data, models, results, training

MODELS = {  # by the end of the id: its name in words, and what makes it
    "dense_ae": ("Dense autoencoder", lambda: models.DenseAutoencoder(32)),
    "conv_ae": ("Convolutional autoencoder", lambda: models.ConvAutoencoder(32, channels=(16, 32))),
}
BATCH_SIZE = 128


class PilImages(Dataset):
    """What `torchvision.datasets.MNIST` with `ToTensor` does: bytes, made a PIL image, made a tensor, one by one."""

    def __init__(self, images):
        self.images = (255 * images[:, 0].cpu()).round().to(torch.uint8)
        self.transform = ToTensor()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index].numpy()))


def loader_epoch(model, images, device):
    """Seconds that one epoch takes with a `DataLoader`, a batch moved to the device at each step."""
    loader = DataLoader(PilImages(images), batch_size=BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for batch in loader:
        loss = training.reconstruction_loss(model, batch.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()  # waits for a GPU
    return time.perf_counter() - start


def run(out=None, dataset="auto", device="auto", n_images=12_800, repeats=5):
    """Time both loops in turn, print the table and record the ratios for the report.

    Parameters
    ----------
    out : path, optional
        The results go to ``<out>/results/benchmark.json``; that of the quick report unless told.
    n_images : int
        Images in the epoch that is timed.
    repeats : int
        Pairs of epochs per model; each gives one ratio.

    Returns
    -------
    Path
        Of the file written.
    """
    device = chapter.choose_device(device)
    loaded = data.load(dataset, device)
    images = loaded.train.first(min(n_images, len(loaded.train))).images
    out = Path(chapter.report_folder("quick", loaded.name) if out is None else out)
    made_with = {"dataset": loaded.name, "checksum": loaded.checksum}  # whatever profile the report has
    measured = results.Results("benchmark", made_with, out)
    if (path := out / "results" / "benchmark.json").exists():
        results.load(path)  # somebody's own file of that name is not replaced
    steps = -(-len(images) // BATCH_SIZE)
    how = f"{steps} steps of {BATCH_SIZE} images on {device}, {torch.get_num_threads()} threads"
    print(f"{how}, {repeats} pairs of epochs")
    print(f"{'model':10} {'DataLoader, ms a step':>22} {'this loop, ms a step':>22} {'ratio':>8}")
    for name, (headline, build) in MODELS.items():
        pairs = []
        for repeat in range(repeats + 1):
            slow = loader_epoch(build().to(device), images, device)
            fast = training.train(
                build().to(device), training.reconstruction_loss, (images,), epochs=1, batch_size=BATCH_SIZE
            ).seconds
            if repeat:  # the first pair warms up
                pairs.append((slow, fast))
        slow, fast = np.median(pairs, axis=0) * 1000 / steps
        ratios = [a / b for a, b in pairs]
        print(f"{name:10} {slow:22.2f} {fast:22.2f} {np.median(ratios):8.1f}")
        note = f"per pair of epochs of {how}; not per seed"
        measured.add(f"speed.{name}", ratios, "ratio", split="train", note=note, headline=headline, shown="speed")
    return results.write(out, "benchmark", made_with, measured.entries)


if __name__ == "__main__":
    print(f"written to {run()}")
