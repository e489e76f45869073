"""Shared code of the course "Can an MNIST autoencoder learn ten-digit classification?".

Read the modules in this order; each imports only from those before it: corruptions, data, machine, pictures, models,
training, metrics, results, fingerprints, runs, trainings, few_labels, chapter, checks, figures, plots, predictions,
live, report.
"""

__version__ = "0.2.0"
