"""Every figure of the course, one function each: the same colors for the same digit and the same method everywhere.

A function draws one figure and returns it: end the cell's last line with a semicolon, or the figure shows twice. Where
several methods are drawn, each is a table of numbers, seeds by what was varied, as `runs.Runs` gives them; a name that
METHOD_COLORS does not know gets a color that is still free in the figure. Beside them stand the tables of results.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from sklearn.metrics import confusion_matrix

from mnist_ae_utils import metrics, results

sns.set_theme(style="ticks", rc={"axes.grid": True, "grid.alpha": 0.35, "figure.dpi": 90, "axes.titlesize": 12})

DIGIT_COLORS = sns.color_palette("tab10", 10)
_C = sns.color_palette("colorblind", 10)
_VAE = "#7b3294"
METHOD_COLORS = {  # a preference: any other name gets a color that is still free in its figure
    # ways to a code, and the classifier on them
    "PCA": "0.45", "linear AE": _C[9], "dense AE": _C[0], "deep AE": _C[3], "convolutional AE": _C[2],
    "convolutional AE, no batch norm": _C[1], "random encoder": _C[7], "variational AE": _VAE,
    "variational AE, prior": _VAE, "plain AE": _C[0], "plain AE, one Gaussian": _C[0],
    "plain AE, mixture of ten": _C[9],
    # the two terms of the ELBO; errors of one method on two splits
    "KL divergence": _C[1], "- log p(x | z)": _C[0], "training": _C[1], "validation": _C[0],
    # what regularizes
    "none": "0.25", "weight decay": _C[4], "dropout": _C[5], "input noise": _C[9],
    # ways to use labels
    "frozen encoder + MLP": _C[2], "denoising encoder + MLP": _C[9], "fine-tuned": _C[4], "end to end": _C[3],
    "joint": _C[8], "MLP on pixels": _C[0], "MLP on PCA codes": "0.45", "MLP on random codes": _C[7],
    "logistic regression": _C[5],
    # a few labels
    "pseudo-labels": _C[1], "first student": _C[9], "second student": _C[2], "whole chain": _C[9],
    "chosen by the first student": _C[2], "M1 + M2": _C[4], "MLP on codes, variational AE": _VAE,
    "MLP on codes, plain AE": _C[0],
}  # fmt: skip
MARKERS = "osD^vPX*<>"
INTERVAL_SEEDS = 3  # fewer show no interval: that of two is thirteen times their spread, and would hide every line


def colors(names):
    """A color for each name: its own from METHOD_COLORS, else one that no other name here has."""
    known = {name: METHOD_COLORS[name] for name in names if name in METHOD_COLORS}
    free = itertools.cycle([c for c in sns.color_palette("husl", 12) if c not in known.values()])
    return {name: known[name] if name in known else next(free) for name in names}


def by_method(values):
    """A dict of tables by method; a table with two levels of columns, (method, x), is cut into one for each method."""
    if not isinstance(values, pd.DataFrame):
        return dict(values)
    if values.columns.nlevels == 1:
        return dict(values.items())
    return {name: values[name] for name in dict.fromkeys(values.columns.get_level_values(0))}


def _image(ax, image, **colors):
    """An image without axes; ink black on white unless told."""
    image = np.asarray(image.detach().cpu())
    ax.imshow(image.reshape(image.shape[-2:]), **{"cmap": "gray_r", "vmin": 0, "vmax": 1} | colors)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def digits(images, titles=None, columns=10, title=None):
    """A grid of images (n, 1, 28, 28), ink black on white, with an optional short title above each."""
    rows, height = -(-len(images) // columns), 1.2 if titles is not None else 0.95
    size = (0.95 * columns, height * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        ax.axis("on")
        _image(ax, image)
        ax.set_title("" if titles is None else str(titles[i]), fontsize=9, pad=2)
    fig.suptitle(title)
    return fig


def rows_of_images(rows, errors_against=None, title=None):
    """Named rows of images below each other, such as originals and each model's reconstructions.

    Parameters
    ----------
    rows : dict of Tensor (n, 1, 28, 28)
    errors_against : str, optional
        Name of the row of originals: every other row's label then tells its mean squared error per image.
    """
    n = len(next(iter(rows.values())))
    fig, axes = plt.subplots(len(rows), n, figsize=(0.85 * n + 1.8, 0.85 * len(rows) + 0.3), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            _image(ax, image.reshape(28, 28))
        label = name
        if errors_against and name != errors_against:
            label += f"\n{metrics.image_errors(images, rows[errors_against]).mean():.1f}"
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
    fig.suptitle(title, y=1 - 0.08 / fig.get_figheight())  # 0.08 inch above the title, however tall the figure
    fig.tight_layout(pad=0.3, rect=(0, 0, 1, 1 - 0.12 / fig.get_figheight()))
    return fig


def predicted_picture(classifier, picture, class_names="0123456789"):
    """A picture of your own as the classifier saw it, and the probability of each class: `metrics.predict_picture`."""
    winner, probabilities, image = metrics.predict_picture(classifier, picture)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 2.4), width_ratios=(1, 1.8), layout="constrained")
    _image(left, image)
    left.set(title="what the network saw")
    right.bar(list(class_names), 100 * probabilities[: len(class_names)], color=DIGIT_COLORS)
    title = f"it says {class_names[winner]}, with {probabilities[winner]:.1%}"
    right.set(title=title, xlabel="class", ylabel="probability (%)", ylim=(0, 100))
    return fig


def _plain_ticks(axis):
    """Plain numbers on a logarithmic axis, at 1, 2 and 5 of each decade."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def _log_y(ax):
    ax.set_yscale("log")
    _plain_ticks(ax.yaxis)


def curves(tables, xlabel, ylabel, *, log_x=False, log_y=False, references=None, title=None, ax=None):
    """Mean over seeds against x, with the 95% interval as a band; of one or two seeds, dots instead of a band.

    Parameters
    ----------
    tables : dict of DataFrame, or DataFrame with columns (method, x)
        By method: one row a seed, one column for each x.
    references : dict of float, optional
        Horizontal dashed lines by label.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    tables = by_method(tables)
    for marker, (name, color) in zip(itertools.cycle(MARKERS), colors(tables).items(), strict=False):
        table = tables[name]
        means, intervals = zip(*(results.confidence_interval(column) for _, column in table.items()), strict=True)
        ax.plot(table.columns, means, marker=marker, ms=5, color=color, label=name)
        if len(table) >= INTERVAL_SEEDS:
            ax.fill_between(table.columns, *np.transpose(intervals), color=color, alpha=0.15, lw=0)
        else:
            ax.plot(table.columns, table.T, ".", ms=4, color=color, alpha=0.5)
    for style, (label, level) in zip(itertools.cycle((":", "--", "-.")), (references or {}).items(), strict=False):
        ax.axhline(level, color="0.3", ls=style, lw=1.2, label=label)
    if log_x:
        ax.set_xscale("log")
        ax.set_xticks(sorted({x for table in tables.values() for x in table.columns}))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        ax.xaxis.set_minor_locator(NullLocator())
    if log_y:
        _log_y(ax)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(fontsize=9)
    return ax.figure


def every_run(tables, xlabel, ylabel, *, reference=None, title=None):
    """Every run of a sweep as a dot on logarithmic axes, and the mean over seeds; a diverged run is a cross on top.

    Parameters
    ----------
    tables : dict of DataFrame, or DataFrame with columns (method, x)
        By method: one row a seed, one column for each x, such as learning rates; NaN for a run that diverged, which
        leaves a gap in the line.
    reference : (str, float), optional
        A horizontal dashed line's label and height.
    """
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    tables = by_method(tables)
    shift = 1.05 ** (np.arange(len(tables)) - (len(tables) - 1) / 2)  # so that dots of two methods do not overlap
    for factor, marker, (name, color) in zip(shift, itertools.cycle(MARKERS), colors(tables).items(), strict=False):
        table = tables[name]
        at = factor * table.columns.to_numpy(dtype=float)
        ax.plot(at, table.mean(skipna=False), color=color, lw=1.5, marker=marker, ms=0, label=name)
        for of_seed in table.to_numpy():
            ax.plot(at, of_seed, marker, color=color, ms=5, alpha=0.6)
            gone = at[np.isnan(of_seed)]
            top = np.full(len(gone), 0.95)  # in units of the axes' height
            ax.plot(gone, top, "X", color=color, ms=8, transform=ax.get_xaxis_transform())
    if any(table.isna().any(axis=None) for table in tables.values()):
        ax.plot([], [], "X", color="0.3", ls="", label="diverged")
    if reference:
        ax.axhline(reference[1], color="0.3", ls="--", lw=1.2, label=reference[0])
    ticks = sorted({x for table in tables.values() for x in table.columns})
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel, title=title, xticks=ticks)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "235" else "")
    ax.legend(fontsize=9)
    return fig


def bars(heights, xlabel, ylabel, title=None):
    """One bar per number of `heights`, counted from 1."""
    fig, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    ax.bar(np.arange(1, len(heights) + 1), heights, color=METHOD_COLORS["variational AE"], width=0.8)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=(0.4, len(heights) + 0.6))
    return fig


def histories(runs, ylabel, title=None, log_y=True, training=False, ax=None):
    """Validation figure against epochs, one line a seed; with `training`, the training loss dotted.

    `runs` is a `runs.Runs`, or maps names to `runs.Outcomes`; a run that diverged has no line, and the legend says so.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name, color in colors(runs).items():
        of_seeds, finished = runs[name], runs[name].finished
        for history in (trained.history for trained in finished):
            ax.plot(history.epoch, history.validation, color=color, alpha=0.8, lw=1.5)
            if training:
                ax.plot(history.epoch, history.loss, color=color, alpha=0.8, lw=1.2, ls=":")
        diverged = len(of_seeds) - len(finished)
        ax.plot([], [], color=color, label=name + f" ({diverged} of {len(of_seeds)} diverged)" * bool(diverged))
    if training:
        ax.plot([], [], color="0.3", label="solid: validation")
        ax.plot([], [], color="0.3", ls=":", label="dotted: training")
    if log_y:
        _log_y(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=ylabel, title=title)
    ax.legend(fontsize=9)
    return ax.figure


def learning_curves(panels, ylabel, title=None):
    """Training loss (dotted) and validation error (solid) against optimizer steps, one panel per entry.

    Parameters
    ----------
    panels : dict of runs.Outcomes
        By the panel's title; one line per seed, none for a run that diverged.
    """
    size = (2.9 * len(panels) + 1.2, 3.6)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (name, of_seeds) in zip(axes.flat, panels.items(), strict=True):
        for history in (trained.history for trained in of_seeds.finished):
            for split, style, values in (("training", ".:", history.loss), ("validation", ".-", history.validation)):
                ax.plot(history.step, values, style, ms=4, color=METHOD_COLORS[split], alpha=0.8, label=split)
        ax.set(title=name, xlabel="optimizer step")
        _log_y(ax)
    handles = dict(zip(*axes.flat[0].get_legend_handles_labels()[::-1], strict=True))
    axes.flat[0].set_ylabel(ylabel)
    axes.flat[-1].legend(handles.values(), handles.keys(), fontsize=9)
    fig.suptitle(title)
    return fig


def error_grids(grids, title=None):
    """Heat maps of errors, the least of each grid framed, all on one color scale (dark: small).

    Parameters
    ----------
    grids : dict of DataFrame
        By method; index and columns are named and hold the settings. NaN stands for "diverged".
    """
    values = np.concatenate([grid.to_numpy().ravel() for grid in grids.values()])
    values = values[np.isfinite(values)]
    limits = (values.min(), np.quantile(values, 0.9))  # one bad setting shall not wash out the others
    size = (0.85 * sum(grid.shape[1] for grid in grids.values()) + 2, 2.9)
    fig, axes = plt.subplots(1, len(grids), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (name, grid) in zip(axes.flat, grids.items(), strict=True):
        sns.heatmap(grid, annot=True, fmt=".2f", cmap="crest_r", vmin=limits[0], vmax=limits[1], cbar=False,
                    linewidths=1, ax=ax)  # fmt: skip
        row, column = np.unravel_index(np.nanargmin(grid.to_numpy()), grid.shape)
        ax.add_patch(Rectangle((column, row), 1, 1, fill=False, ec=_C[3], lw=3, clip_on=False))
        ax.set(title=name)
        ax.tick_params(left=False, bottom=False, labelrotation=0)
    for ax in axes.flat[1:]:
        ax.set_ylabel("")
    fig.suptitle(title)
    return fig


def training_against_validation(paths, title=None):
    """Validation error against training error; dashed lines join points with the same gap between the two.

    Points with a validation error more than 1.3 times the least one are left outside of the figure.

    Parameters
    ----------
    paths : dict of list of (str, float, float)
        By method: short label, training error and validation error of each strength.
    """
    fig, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
    color = colors(paths)
    for i, (marker, (name, points)) in enumerate(zip(itertools.cycle(MARKERS), paths.items(), strict=False)):
        x, y = np.transpose([point[1:] for point in points])
        ax.plot(x, y, marker, ls="-", lw=1.2, color=color[name], label=name)
        for label, *at in points:
            offset = (7, -10 + 14 * (i % 2))  # below or above, so that close points of two methods stay legible
            ax.annotate(label, at, offset, textcoords="offset points", fontsize=9, annotation_clip=True)
    shown = np.array([point[1:] for points in paths.values() for point in points])  # (n, 2)
    shown = shown[shown[:, 1] <= 1.3 * shown[:, 1].min()]
    margin = 0.12 * np.ptp(shown, axis=0) + 0.01
    (left, bottom), (right, top) = shown.min(0) - margin, shown.max(0) + margin
    for gap in MaxNLocator(6).tick_values(max(0, bottom - right), top - left):
        x = min(right, top - gap)  # where the line leaves the figure
        if left < x and bottom < x + gap:
            ax.plot((left, right), (left + gap, right + gap), color="0.75", lw=0.8, ls="--", zorder=0)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.annotate(f"gap {gap:g}", (x, x + gap), (-5, -5), textcoords="offset points", fontsize=8,
                        color="0.4", ha="right", va="top", bbox=box)  # fmt: skip
    ax.set(xlim=(left, right), ylim=(bottom, top), title=title)
    ax.set(xlabel="training error (squared error per image)", ylabel="validation error")
    ax.legend(fontsize=9)
    return fig


def intervals(measured, xlabel, title=None, references=None, percent=False, log_x=False, ax=None):
    """One row per method: its seeds as dots, their mean, and its 95% interval as a bar if there are three or more.

    Parameters
    ----------
    measured : DataFrame, or dict of sequence of float
        Per-seed values by name, NaN for a run that diverged.
    references : dict of float, optional
        Vertical dashed lines by label.
    percent : bool
        Show fractions as percent.
    log_x : bool
        A logarithmic axis; what reaches zero runs off its left border.
    """
    measured = by_method(measured)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 0.55 * len(measured) + 1.3), layout="constrained")
    factor = 100 if percent else 1
    for y, (name, color) in enumerate(colors(measured).items()):
        values = factor * np.asarray(measured[name], dtype=float)
        if diverged := np.isnan(values).sum():
            ax.annotate(f"diverged in {diverged} of {len(values)} seeds", (0.5, y), color=color, fontsize=9,
                        xycoords=("axes fraction", "data"), ha="center", va="center")  # fmt: skip
            continue
        mean, interval = results.confidence_interval(values)
        ax.plot(values, np.full(len(values), y), "o", color=color, alpha=0.35, ms=5)
        ax.plot(mean, y, "|", color=color, ms=18, mew=2.5)
        if len(values) >= INTERVAL_SEEDS:
            ends = np.clip(interval, 0, 100) if percent else interval  # Student's interval may leave what is possible
            ax.plot(ends, (y, y), color=color, lw=2.5)
        ax.annotate(f"{mean:.2f}", (mean, y), (0, 11), textcoords="offset points", ha="center", fontsize=9)
    for style, (label, level) in zip(itertools.cycle((":", "--", "-.")), (references or {}).items(), strict=False):
        ax.axvline(factor * level, color="0.3", ls=style, lw=1.2, label=label)
    ax.set_yticks(range(len(measured)), measured)
    ax.set(xlabel=xlabel, title=title, ylim=(len(measured) - 0.5, -0.7))
    if log_x:
        ax.set_xscale("log")
        _plain_ticks(ax.xaxis)
    if references:
        ax.legend(fontsize=9)
    return ax.figure


def comparison(rows, xlabel, title=None):
    """Rows in which methods stand side by side: mean and 95% interval; of one or two seeds, their dots instead.

    Parameters
    ----------
    rows : dict of DataFrame, or DataFrame with columns (row, method)
        By row, then by method: one value per seed; NaN for a seed that diverged.
    """
    rows = by_method(rows)
    fig, ax = plt.subplots(figsize=(8.5, 0.62 * len(rows) + 1.5), layout="constrained")
    color = colors(dict.fromkeys(name for row in rows.values() for name in row))
    methods = list(color)
    for marker, (i, name) in zip(itertools.cycle(MARKERS), enumerate(methods), strict=False):
        for y, row in enumerate(rows.values()):
            values, at = np.asarray(row[name], dtype=float), y + 0.17 * (i - (len(methods) - 1) / 2)
            mean, interval = results.confidence_interval(values)
            ax.plot(mean, at, marker, color=color[name], ms=7, label=None if y else name)
            if len(values) >= INTERVAL_SEEDS:
                ax.plot(interval, (at, at), color=color[name], lw=2)
            else:
                ax.plot(values, np.full(len(values), at), ".", color=color[name], ms=4, alpha=0.5)
    for y in range(1, len(rows)):
        ax.axhline(y - 0.5, color="0.85", lw=0.8)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel=xlabel, title=title, ylim=(len(rows) - 0.5, -0.5))
    ax.grid(False, axis="y")
    fig.legend(loc="outside lower center", ncols=min(4, len(methods)), fontsize=9)
    return fig


def codes_2d(panels, labels, class_names, title=None):
    """Scatter plots of two-dimensional codes or embeddings, colored by digit, one panel per entry.

    Parameters
    ----------
    panels : dict of array (n, 2)
        By title; say in it what was measured, such as the trustworthiness of a UMAP embedding. A panel with other
        labels may be given as a pair ``(points, labels)``.
    labels : array (n,)
    class_names : sequence of 10 str
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels) + 0.8, 5), squeeze=False, layout="constrained")
    for ax, (name, points) in zip(axes.flat, panels.items(), strict=True):
        points, shown = points if isinstance(points, tuple) else (points, labels)
        ax.scatter(*np.asarray(points).T, c=[DIGIT_COLORS[d] for d in np.asarray(shown)], s=6, alpha=0.6, lw=0)
        ax.set(title=name, xticks=[], yticks=[])
        ax.grid(False)
    handles = [
        Line2D([], [], marker="o", ls="", color=color, label=name)
        for name, color in zip(class_names, DIGIT_COLORS, strict=True)
    ]
    fig.legend(handles=handles, title="class", loc="outside right center")
    fig.suptitle(title)
    return fig


def confusion(labels, predictions, class_names, title=None):
    """Confusion matrix as counts; the correct ones are left blank so that the errors can be told apart."""
    counts = confusion_matrix(labels, predictions, labels=range(len(class_names)))
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    fig, ax = plt.subplots(figsize=(6, 5.2), layout="constrained")
    sns.heatmap(errors, mask=errors == 0, annot=True, fmt="d", cmap="rocket_r", ax=ax, square=True,
                xticklabels=class_names, yticklabels=class_names, cbar_kws={"label": "test images"})  # fmt: skip
    ax.set(xlabel="predicted", ylabel="true", title=title)
    return fig


def feature_maps(images, maps, title=None):
    """Each image (left) and its feature maps (n, channels, height, width), on one gray scale per row."""
    n, channels = maps.shape[:2]
    fig, axes = plt.subplots(n, channels + 1, figsize=(0.75 * (channels + 1), 0.8 * n + 0.4), squeeze=False)
    for line, image, row in zip(axes, images, maps, strict=True):
        _image(line[0], image)
        for ax, feature_map in zip(line[1:], row, strict=True):
            _image(ax, feature_map, vmax=row.max().item())
    fig.suptitle(title)
    fig.tight_layout(pad=0.2)
    return fig


def filters(weights, columns=16, title=None):
    """First-layer filters (n, 1, height, width) or (n, 784): blue negative, red positive, each on its own scale."""
    side = round(weights[0].numel() ** 0.5)
    rows = -(-len(weights) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(0.7 * columns, 0.72 * rows + 0.3), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, weight in zip(axes.flat, weights, strict=False):
        limit = weight.abs().max().item()
        _image(ax, weight.reshape(side, side), cmap="RdBu_r", vmin=-limit, vmax=limit)
    fig.suptitle(title)
    fig.tight_layout(pad=0.2)
    return fig


def results_table(of):
    """What a chapter recorded, as a table: value, interval, seeds and what it stands beside."""
    rows = []
    for entry in of.entries:
        if entry["unit"] == "verdict":
            continue
        reference = entry["reference"]
        labels = f" ({entry['n_labels']:,} labels)" if entry["n_labels"] else ""
        rows.append({
            "result": entry["id"] + labels,
            "split": entry["split"],
            "mean": "diverged" if entry["value"] is None else f"{entry['value']:.4g}",
            "95% interval": "" if not entry["ci"] else "{:.4g} to {:.4g}".format(*entry["ci"]),
            "seeds": len(entry["per_seed"]),
            "unit": entry["unit"],
            "beside": "" if not reference else f"{reference['value']:g}, {reference['source']}",
        })  # fmt: skip
    return pd.DataFrame(rows).style.hide(axis="index")


def verdict_table(of):
    """The verdicts of a chapter, after `Results.correct`: claim, rule, outcome."""
    rows = [
        {
            "claim": entry["claim"],
            "rule": entry["rule"],
            "95% interval of the difference": "" if not entry["ci"] else "{:.4g} to {:.4g}".format(*entry["ci"]),
            "p (Holm)": "" if entry["p"] is None else f"{entry['p']:.2g}",
            "verdict": entry["value"],
        }
        for entry in of.entries
        if entry["unit"] == "verdict"
    ]
    return pd.DataFrame(rows).style.hide(axis="index")


def paired_differences(differences, xlabel, title=None):
    """Table of mean paired differences: green above 0, red below, white where the 95% interval holds 0.

    Parameters
    ----------
    differences : dict of DataFrame, or DataFrame with columns (row, column)
        By row (method), then by column: one difference per seed.
    """
    differences = by_method(differences)
    columns = list(dict.fromkeys(column for row in differences.values() for column in row))
    means = np.full((len(differences), len(columns)), np.nan)
    decided = np.zeros_like(means)
    for i, row in enumerate(differences.values()):
        for column, values in row.items():
            j = columns.index(column)
            means[i, j], interval = results.confidence_interval(values)
            if interval and (interval[0] > 0 or interval[1] < 0):
                decided[i, j] = np.sign(means[i, j])
    fig, ax = plt.subplots(figsize=(1.05 * len(columns) + 2.6, 0.45 * len(differences) + 1.2), layout="constrained")
    colors = sns.blend_palette(["#e8a798", "white", "#9fd0a5"], as_cmap=True)
    sns.heatmap(decided, annot=means, fmt="+.2f", mask=np.isnan(means), cmap=colors, vmin=-1, vmax=1, cbar=False,
                linewidths=1, linecolor="0.9", ax=ax, annot_kws={"color": "black"}, yticklabels=list(differences),
                xticklabels=[c if isinstance(c, str) else f"{c:,}" for c in columns])  # fmt: skip
    ax.set(xlabel=xlabel, title=title)
    ax.tick_params(length=0)
    ax.grid(False)
    return fig
