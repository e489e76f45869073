"""Networks in the browser: what takes them there (export), and a widget for a notebook (`explore`)."""

from mnist_ae_utils.live.widget import explore

__all__ = ["explore"]
