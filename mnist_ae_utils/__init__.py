"""Shared code of the course "Can an MNIST autoencoder learn ten-digit classification?".

Read the modules in this order; each imports only from those before it: data, models, training, evaluation,
experiments, plots, report.
"""

__version__ = "0.1.0"
