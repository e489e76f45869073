"""Every figure of the course, one function each: the same colors for the same digit and the same method everywhere.

A function draws one figure and returns it: end the cell's last line with a semicolon, or the figure shows twice. Where
several methods are drawn, each has a DataFrame, one row a seed and one column for each x that was varied, NaN for a run
that diverged: a dict by method, or one DataFrame with columns (method, x), as `runs.Runs.scores` gives it. References
are dashed lines, levels by label. A name that METHOD_COLORS does not know gets a color still free in its figure.
"""

import itertools
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from sklearn.metrics import confusion_matrix

from mnist_ae_utils import figures, metrics, results

sns.set_theme(style="ticks", rc={"axes.grid": True, "grid.alpha": 0.35, "figure.dpi": 90, "axes.titlesize": 12})
figures.show_fine()

DIGIT_COLORS = sns.color_palette("tab10", 10)
_C, _VAE, _GOLD = sns.color_palette("colorblind", 10), "#7b3294", "#a68a00"  # _C has a yellow, too light for a line
METHOD_COLORS = {  # a preference: any other name gets a color that is still free in its figure
    # ways to a code, and the classifier on them
    "PCA": "0.45", "linear AE": _C[9], "dense AE": _C[0], "deep AE": _C[3], "convolutional AE, no batch norm": _C[1],
    "convolutional AE": _C[2], "random encoder": _C[7], "variational AE": _VAE, "variational AE, prior": _VAE,
    "variational AE, mixture of ten": _VAE,
    "plain AE": _C[0], "plain AE, one Gaussian": _C[0], "plain AE, mixture of ten": _C[9],
    "KL divergence": _C[1], "- log p(x | z)": _C[0],  # the two terms of the ELBO
    "training": _C[1], "validation": _C[0],  # errors of one method on two splits
    "none": "0.25", "weight decay": _C[4], "dropout": _C[5], "input noise": _C[9],  # what regularizes
    # ways to use labels, many and few
    "frozen encoder + MLP": _C[2], "denoising encoder + MLP": _C[9], "fine-tuned": _C[4], "end to end": _C[3],
    "joint": _GOLD, "MLP on pixels": _C[0], "MLP on PCA codes": "0.45", "MLP on random codes": _C[7],
    "logistic regression": _C[5], "pseudo-labels": _C[1], "whole chain": _C[9], "first student": _C[9],
    "second student": _C[2], "third student": _C[3], "chosen by the second student": _C[3], "M1 + M2": _C[4],
    "best frozen hybrid": _C[9], "end to end, with distortions": _C[1], "end to end, distortions": _C[1],
    "end to end, noise": _GOLD, "restoring encoder + MLP": _C[4], "fine-tuned, with distortions": _C[6],
    "small CNN, with distortions": _C[5], "spreading, codes": "#00605a", "spreading, pixels": "#9c755f",
    "nearest neighbor": _C[6], "SVM on pixels": "0.15", "restoring AE": _C[9],
    "MLP, variational AE": _VAE, "MLP, plain AE": _C[0], "label spreading, variational AE": "#00605a",
    "label spreading, plain AE": _C[9],
    "M1+M2, random start": _C[3], "M1+M2, head start": _C[2], "real images": "0.25",
    # ways to find an image strange
    "reconstruction error": _C[1], "error, class never seen": _C[1], "error, class seen": "#7a4f05",
    "neighbors, codes": _C[0], "neighbors, class never seen": _C[0], "neighbors, class seen": "#083d63",
    "Mahalanobis, codes": _C[9], "neighbors, pixels": _C[4], "PCA error": "0.45",
    "ink": _C[5], "ideal": "0.25", "softmax": _C[2], "softmax, end to end": _C[3],
}  # fmt: skip
MARKERS = "osD^vPX*<>"
VERDICTS = "09_answer.ipynb#verdicts"  # where the claims of the article are decided
INTERVAL_SEEDS = 3  # fewer show no interval: that of two is thirteen times their spread, and would hide every line


def colors(names):
    """A color for each name: its own from METHOD_COLORS, else one that no other name here has."""
    known = {name: METHOD_COLORS[name] for name in names if name in METHOD_COLORS}
    free = itertools.cycle([c for c in sns.color_palette("husl", 12) if c not in known.values()])
    return {name: known[name] if name in known else next(free) for name in names}


def by_method(values):
    """A dict of tables by method; a table with two levels of columns, (method, x), is cut into one for each method."""
    if isinstance(values, pd.DataFrame) and values.columns.nlevels > 1:
        return {name: values[name] for name in dict.fromkeys(values.columns.get_level_values(0))}
    return dict(values)


def _styles(tables):
    """Name, table, color and marker of each method."""
    return list(zip(tables, tables.values(), colors(tables).values(), itertools.cycle(MARKERS), strict=False))


def _grid(rows, columns, width, height, title, layout="constrained", **options):
    """A figure of this size in inches with a title, and its axes (rows, columns)."""
    fig, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout=layout, **options)
    fig.suptitle(title)
    return fig, axes


def _log(axis, tables=None, number="{x:g}"):
    """Make an axis logarithmic, with plain numbers: at the x of the tables, else at 1, 2 and 5 of each decade."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    ticks = sorted({x for table in (tables or {}).values() for x in table.columns})
    places = {"ticks": ticks} if ticks else {"major_locator": LogLocator(subs=(1, 2, 5), numticks=20)}
    axis.set(**places, major_formatter=number, minor_locator=NullLocator())


def _references(draw_line, levels, factor=1):
    """A dashed line for each label and level; `draw_line` is the `axhline` or `axvline` of some axes."""
    for style, (label, level) in zip(itertools.cycle((":", "--", "-.")), (levels or {}).items(), strict=False):
        draw_line(factor * level, color="0.3", ls=style, lw=1.2, label=label)


def _finish(ax, legend=True, **settings):
    """Set what the settings say, add a legend unless told, and return the figure."""
    ax.set(**settings)
    if legend:
        ax.legend(fontsize=9)
    return ax.figure


def _image(ax, image, **colors):
    """An image without axes; ink black on white unless told."""
    ax.imshow(image.numpy(force=True).reshape(image.shape[-2:]), **{"cmap": "gray_r", "vmin": 0, "vmax": 1} | colors)
    ax.set(xticks=[], yticks=[])


def digits(images, titles=None, columns=10, title=None):
    """A grid of images (n, 1, 28, 28), ink black on white, with an optional short title above each."""
    rows, height = -(-len(images) // columns), 0.95 if titles is None else 1.2
    fig, axes = _grid(rows, columns, 0.95 * columns, height * rows, title)
    longest = max((len(line) for text in titles or [] for line in str(text).splitlines()), default=0)
    size = 9 * min(1, 13 / max(longest, 1))  # 13 letters fit above an image; names of clothes are longer than digits
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        _image(ax, image)
        ax.set_title("" if titles is None else str(titles[i]), fontsize=size, pad=2)
    plt.setp(axes.flat[len(images) :], frame_on=False, xticks=[], yticks=[])
    return fig


def rows_of_images(rows, errors_against=None, title=None):
    """Named rows of images (n, 1, 28, 28), and their mean squared error per image against the row `errors_against`."""
    n = len(next(iter(rows.values())))
    fig, axes = plt.subplots(len(rows), n, figsize=(0.85 * n + 1.8, 0.85 * len(rows) + 0.3), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            _image(ax, image.reshape(28, 28))
        against = None if errors_against in (None, name) else rows[errors_against]
        error = "" if against is None else f"\n{metrics.image_errors(images, against).mean():.1f}"
        line[0].set_ylabel(name + error, rotation=0, ha="right", va="center", fontsize=10)
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


def curves(tables, xlabel, ylabel, *, log_x=False, log_y=False, references=None, title=None, ax=None):
    """Mean over seeds against x, with the 95% interval as a band; of one or two seeds, dots instead of a band."""
    ax, tables = ax or plt.subplots(figsize=(7.5, 4.5), layout="constrained")[1], by_method(tables)
    for name, table, color, marker in _styles(tables):
        means, intervals = zip(*(results.confidence_interval(column) for _, column in table.items()), strict=True)
        ax.plot(table.columns, means, marker=marker, ms=5, color=color, label=name)
        if len(table) >= INTERVAL_SEEDS:
            ax.fill_between(table.columns, *np.transpose(intervals), color=color, alpha=0.15, lw=0)
        else:
            ax.plot(table.columns, table.T, ".", ms=4, color=color, alpha=0.5)
    _references(ax.axhline, references)
    if log_x:
        _log(ax.xaxis, tables, "{x:,g}")
    if log_y:
        _log(ax.yaxis)
    return _finish(ax, xlabel=xlabel, ylabel=ylabel, title=title)


def every_run(tables, xlabel, ylabel, *, reference=None, title=None):
    """Every run of a sweep as a dot on logarithmic axes, and the mean over seeds, by x such as a learning rate.

    A diverged run (NaN) is a cross on top, and a gap in the line. `reference` is a dashed line: (label, height).
    """
    tables = by_method(tables)
    _, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    shift = 1.05 ** (np.arange(len(tables)) - (len(tables) - 1) / 2)  # so that dots of two methods do not overlap
    for factor, (name, table, color, marker) in zip(shift, _styles(tables), strict=True):
        at = factor * table.columns.to_numpy(dtype=float)
        ax.plot(at, table.mean(skipna=False), color=color, lw=1.5, marker=marker, ms=0, label=name)
        ax.plot(at, table.T, marker, color=color, ms=5, alpha=0.6)
        gone = np.where(table.isna().T, 0.95, np.nan)  # in units of the axes' height
        ax.plot(at, gone, "X", color=color, ms=8, transform=ax.get_xaxis_transform())
    if any(table.isna().any(axis=None) for table in tables.values()):
        ax.plot([], [], "X", color="0.3", ls="", label="diverged")
    if reference:
        ax.axhline(reference[1], color="0.3", ls="--", lw=1.2, label=reference[0])
    _log(ax.xaxis, tables)
    ax.set_yscale("log")
    ax.yaxis.set(major_formatter="{x:g}", minor_formatter=lambda x, _: f"{x:g}" if f"{x:g}"[0] in "235" else "")
    return _finish(ax, xlabel=xlabel, ylabel=ylabel, title=title)


def bars(heights, xlabel, ylabel, title=None):
    """One bar per number of `heights`, counted from 1."""
    _, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    ax.bar(np.arange(1, len(heights) + 1), heights, color=METHOD_COLORS["variational AE"], width=0.8)
    return _finish(ax, legend=False, xlabel=xlabel, ylabel=ylabel, title=title, xlim=(0.4, len(heights) + 0.6))


def histories(runs, ylabel, title=None, log_y=True, training=False, ax=None):
    """Validation figure against epochs of `runs.Outcomes` by name, a line a seed; with `training`, the loss dotted."""
    ax = ax or plt.subplots(figsize=(7.5, 4.2), layout="constrained")[1]
    for name, color in colors(runs).items():
        for history in (trained.history for trained in runs[name].finished):
            ax.plot(history.epoch, history.validation, color=color, alpha=0.8, lw=1.5)
            if training:
                ax.plot(history.epoch, history.loss, color=color, alpha=0.8, lw=1.2, ls=":")
        n, diverged = len(runs[name]), len(runs[name]) - len(runs[name].finished)
        ax.plot([], [], color=color, label=name + f" ({diverged} of {n} diverged)" * bool(diverged))
    if training:
        ax.plot([], [], color="0.3", label="solid: validation")
        ax.plot([], [], color="0.3", ls=":", label="dotted: training")
    if log_y:
        _log(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(ax, xlabel="epoch", ylabel=ylabel, title=title)


def learning_curves(panels, ylabel, title=None):
    """Training loss (dotted) and validation error (solid) against optimizer steps: a panel for each `runs.Outcomes`."""
    fig, axes = _grid(1, len(panels), 2.9 * len(panels) + 1.2, 3.6, title, sharey=True)
    for ax, (name, of_seeds) in zip(axes.flat, panels.items(), strict=True):
        for history in (trained.history for trained in of_seeds.finished):
            for split, style, values in (("training", ".:", history.loss), ("validation", ".-", history.validation)):
                ax.plot(history.step, values, style, ms=4, color=METHOD_COLORS[split], alpha=0.8, label=split)
        ax.set(title=name, xlabel="optimizer step")
        _log(ax.yaxis)
    axes.flat[0].set_ylabel(ylabel)
    axes.flat[-1].legend(handles=axes.flat[0].lines[:2], fontsize=9)  # one line of each split
    return fig


def error_grids(grids, title=None):
    """Heat maps of errors by method, over two named settings; on one color scale (dark: small), the least framed."""
    values = np.concatenate([values[np.isfinite(values)] for values in map(np.asarray, grids.values())])
    limits = {"vmin": values.min(), "vmax": np.quantile(values, 0.9)}  # one bad setting shall not wash out the others
    fig, axes = _grid(1, len(grids), 0.85 * sum(grid.shape[1] for grid in grids.values()) + 2, 2.9, title, sharey=True)
    for ax, (name, grid) in zip(axes.flat, grids.items(), strict=True):
        sns.heatmap(grid, annot=True, fmt=".2f", cmap="crest_r", **limits, cbar=False, linewidths=1, ax=ax)
        row, column = np.unravel_index(np.nanargmin(grid.to_numpy()), grid.shape)
        ax.add_patch(plt.Rectangle((column, row), 1, 1, fill=False, ec=_C[3], lw=3, clip_on=False))
        ax.set(title=name)
        ax.tick_params(left=False, bottom=False, labelrotation=0)
        ax.label_outer()
    return fig


def training_against_validation(paths, title=None):
    """Validation error against training error; dashed lines join points with the same gap between the two.

    `paths` lists by method the (short label, training error, validation error) of each strength; a validation error of
    more than 1.3 times the least one is left outside of the figure.
    """
    _, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
    for i, (name, points, color, marker) in enumerate(_styles(paths)):
        ax.plot(*np.transpose([at for _, *at in points]), marker, ls="-", lw=1.2, color=color, label=name)
        offset = (7, -10 + 14 * (i % 2))  # below or above, so that close points of two methods stay legible
        for label, *at in points:
            ax.annotate(label, at, offset, textcoords="offset points", fontsize=9, annotation_clip=True)
    shown = np.array([at for points in paths.values() for _, *at in points])  # (n, 2)
    shown = shown[shown[:, 1] <= 1.3 * shown[:, 1].min()]
    margin = 0.12 * np.ptp(shown, axis=0) + 0.01
    (left, bottom), (right, top) = shown.min(0) - margin, shown.max(0) + margin
    for gap in MaxNLocator(6).tick_values(max(0, bottom - right), top - left):
        x = min(right, top - gap)  # where the line leaves the figure
        if left < x and bottom < x + gap:
            ax.plot((left, right), (left + gap, right + gap), color="0.75", lw=0.8, ls="--", zorder=0)
            ax.annotate(f"gap {gap:g}", (x, x + gap), (-5, -5), textcoords="offset points", fontsize=8, color="0.4",
                        ha="right", va="top", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    return _finish(ax, xlim=(left, right), ylim=(bottom, top), title=title, ylabel="validation error",
                   xlabel="training error (squared error per image)")  # fmt: skip


def intervals(measured, xlabel, title=None, references=None, percent=False, log_x=False, ax=None):
    """One row per method: its seeds as dots, their mean, and its 95% interval as a bar if there are three or more.

    `measured` holds each one's seeds, fractions if shown as `percent`; with `log_x`, zero runs off the left border.
    """
    measured, factor = by_method(measured), 100 if percent else 1
    ax = ax or plt.subplots(figsize=(7.5, 0.55 * len(measured) + 1.3), layout="constrained")[1]
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
    _references(ax.axvline, references, factor)
    if log_x:
        _log(ax.xaxis)
    ax.set_yticks(range(len(measured)), measured)
    return _finish(ax, bool(references), xlabel=xlabel, title=title, ylim=(len(measured) - 0.5, -0.7))


def comparison(rows, xlabel, title=None):
    """Methods side by side, by (row, method): mean and 95% interval; of one or two seeds, their dots instead."""
    rows = by_method(rows)
    styles = _styles(dict.fromkeys(name for row in rows.values() for name in row))
    step = min(0.17, 0.85 / len(styles))
    _, ax = plt.subplots(figsize=(8.5, max(0.62, 0.15 * len(styles)) * len(rows) + 1.5), layout="constrained")
    for (i, (name, _, color, marker)), (y, row) in itertools.product(enumerate(styles), enumerate(rows.values())):
        values, at = np.asarray(row[name], dtype=float), y + step * (i - (len(styles) - 1) / 2)
        mean, interval = results.confidence_interval(values)
        ax.plot(mean, at, marker, color=color, ms=7, label=None if y else name)
        if len(values) >= INTERVAL_SEEDS:
            ax.plot(interval, (at, at), color=color, lw=2)
        else:
            ax.plot(values, np.full(len(values), at), ".", color=color, ms=4, alpha=0.5)
    for y in range(1, len(rows)):
        ax.axhline(y - 0.5, color="0.85", lw=0.8)
    ax.set(xlabel=xlabel, title=title, ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=rows)
    ax.grid(False, axis="y")
    ax.figure.legend(loc="outside lower center", ncols=min(4, len(styles)), fontsize=9)
    return ax.figure


def codes_2d(panels, labels, class_names, title=None):
    """Scatter plots of two-dimensional codes or embeddings, colored by digit, one panel per entry.

    `panels`: points (n, 2) of classes `labels` (n,), or pairs (points, labels), by title; say there what was measured.
    """
    fig, axes = _grid(1, len(panels), 5.2 * len(panels) + 0.8, 5, title)
    for ax, (name, points) in zip(axes.flat, panels.items(), strict=True):
        points, shown = points if isinstance(points, tuple) else (points, labels)
        ax.scatter(*np.asarray(points).T, c=[DIGIT_COLORS[d] for d in np.asarray(shown)], s=6, alpha=0.6, lw=0)
        ax.set(title=name, xticks=[], yticks=[])
    class_legend(axes.flat[0], class_names, "outside right center")
    return fig


def class_legend(ax, class_names, loc):
    """A legend of the classes' colors, beside the figure that `ax` is part of."""
    for name, color in zip(class_names, DIGIT_COLORS, strict=True):
        ax.plot([], [], "o", color=color, label=name)
    ax.figure.legend(title="class", loc=loc)


def confusion(labels, predictions, class_names, title=None):
    """Confusion matrix as counts; the correct ones are left blank so that the errors can be told apart."""
    counts = confusion_matrix(labels, predictions, labels=range(len(class_names)))
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    _, ax = plt.subplots(figsize=(6, 5.2), layout="constrained")
    scale = {"label": "test images, errors only"}
    sns.heatmap(errors, mask=errors == 0, annot=True, fmt="d", cmap="rocket_r", ax=ax, square=True,
                xticklabels=class_names, yticklabels=class_names, cbar_kws=scale)  # fmt: skip
    return _finish(ax, legend=False, xlabel="predicted", ylabel="true", title=title)


def feature_maps(images, maps, title=None):
    """Each image (left) and its feature maps (n, channels, height, width), on one gray scale per row."""
    n, channels = maps.shape[:2]
    fig, axes = _grid(n, channels + 1, 0.75 * (channels + 1), 0.8 * n + 0.4, title, layout=None)
    for line, image, row in zip(axes, images, maps, strict=True):
        _image(line[0], image)
        for ax, feature_map in zip(line[1:], row, strict=True):
            _image(ax, feature_map, vmax=row.max().item())
    fig.tight_layout(pad=0.2)
    return fig


def filters(weights, columns=16, title=None):
    """First-layer filters (n, 1, height, width) or (n, 784): blue negative, red positive, each on its own scale."""
    side, rows = round(weights[0].numel() ** 0.5), -(-len(weights) // columns)
    fig, axes = _grid(rows, columns, 0.7 * columns, 0.72 * rows + 0.3, title, layout=None)
    plt.setp(axes, frame_on=False, xticks=[], yticks=[])
    for ax, weight in zip(axes.flat, weights, strict=False):
        limit = weight.abs().max().item()
        _image(ax, weight.reshape(side, side), cmap="RdBu_r", vmin=-limit, vmax=limit)
    fig.tight_layout(pad=0.2)
    return fig


def paired_differences(differences, xlabel, title=None):
    """Mean paired differences, by (row, column): green above 0, red below, white where the 95% interval holds 0."""
    rows = by_method(differences)
    means = pd.DataFrame([{x: results.confidence_interval(row[x])[0] for x in row} for row in rows.values()])
    signs = [{x: np.sign(row[x].mean()) * (results.p_value(row[x]) < 0.05) for x in row} for row in rows.values()]
    decided = pd.DataFrame(signs)
    _, ax = plt.subplots(figsize=(1.05 * means.shape[1] + 2.6, 0.45 * len(rows) + 1.2), layout="constrained")
    cmap = sns.blend_palette(["#e8a798", "white", "#9fd0a5"], as_cmap=True)
    sns.heatmap(decided, annot=means, fmt="+.2f", mask=means.isna(), cmap=cmap, vmin=-1, vmax=1, cbar=False,
                linewidths=1, linecolor="0.9", ax=ax, annot_kws={"color": "black"}, yticklabels=list(rows),
                xticklabels=[c if isinstance(c, str) else f"{c:,}" for c in means])  # fmt: skip
    ax.tick_params(length=0)
    ax.grid(False)
    return _finish(ax, legend=False, xlabel=xlabel, title=title)


def results_table(of):
    """What a chapter recorded, as a table: in words, with unit, interval, what that covers, and what was published.

    It is folded, since it can be longer than the chapter; a click opens it.
    """
    rows = [{
        "what was measured": results.name(entry["id"]), "images": entry["split"].replace("train", "training"),
        "labels": _labels_text(entry), "mean (95% interval)": results.mean_text(entry), "unit": results.unit(entry),
        "interval over": results.seeds_text(entry) + " and images" * (entry.get("covers") == "seeds and images"),
        "published": _published(entry),
    } for entry in of.entries if "claim" not in entry]  # fmt: skip
    unfolds = f"<summary>All {len(rows)} results of this chapter</summary>"
    return HTML(f"<details>{unfolds}{_wide_table(rows).to_html()}</details>")


def _labels_text(entry):
    return f"{entry['n_labels']:,}" if entry["n_labels"] else ""


def _published(entry):
    if not entry["reference"]:
        return ""
    value = results.number_text(entry["reference"]["value"] * (100 if entry["unit"] == "fraction" else 1))
    return f"{value}, {results.cited(entry['reference']['source'])}"


def contrast_table(of):
    """The contrasts of a chapter: mean and interval, p, which claim one decides; beside those of the committed report.

    They stand in the order of the rules, where a claim may go on with that before it. p is that of a t test that the
    mean is the rule's threshold, one contrast alone. The committed report is that of the full profile, if it was made
    on the same data; its column is left out where it is what runs.
    """
    committed, rows, shown = results.committed(of), [], None
    place = {rule["id"]: at for at, rule in enumerate(of.rules)}
    contrasts = [entry for entry in of.entries if "claim" in entry and entry["unit"] != "verdict"]
    for entry in sorted(contrasts, key=lambda entry: (place[entry["id"]], entry["n_labels"] or 0)):
        asked = entry["claim"], entry["rule"]
        what, difference = asked if asked != shown else ("", "")  # said once for several numbers of labels
        shown = asked
        row = {
            "what is asked": what, "difference": difference, "labels": _labels_text(entry),
            "mean (95% interval)": results.difference_text(entry),
            "p": results.p_text(results.p_value(entry["per_seed"], entry["above"])) if entry["ci"] else "",
            "decides": f'<a href="{VERDICTS}">claim {entry["primary"]}</a>' if "primary" in entry else "",
        }  # fmt: skip
        if committed:
            theirs = committed.get((entry["id"], entry["labels"]))
            row["committed report"] = results.difference_text(theirs) if theirs else ""
        rows.append(row)
    return _wide_table(rows)


def verdict_table(reports):
    """The article's claims on several data sets, {name: `results.report`}, a row for each contrast that decides one.

    Each report is judged by itself; whether a verdict holds is asked of that of the first on each of the others.
    """
    judged = {name: results.judge_claims(entries, name) for name, (_, entries) in reports.items()}
    rows = []
    for letter in results.RULES["claims"]:
        asked = [(rule, n) for rule in results.deciding(letter) for n in rule.get("n_labels", [""])]
        for rule, n in asked:
            of = {name: [part for part in claims[letter][1] if (part["id"], part["labels"]) == (rule["id"], n)]
                  for name, claims in judged.items()}  # fmt: skip
            said = {name: _said(parts) for name, parts in of.items()}
            what = f"{rule['claim']}: {rule['contrast']}"
            row = {"claim": letter, "what is compared": what, "labels": _number_of_labels(n)}
            rows.append(row | _side_by_side(said, of))
        if len(asked) > 1:
            said, of = ({name: claims[letter][i] for name, claims in judged.items()} for i in (0, 1))
            what = {"claim": letter, "what is compared": "all of the claim", "labels": ""}
            rows.append(what | _side_by_side(said, of))
    return _wide_table(rows)


def _number_of_labels(n):
    """One of a rule's numbers of labels as tables show it."""
    return n if isinstance(n, str) else f"{n:,}"  # "all", or "" where none is named


def _wide_table(rows):
    """A table whose texts do not touch those of the next column, without columns in which nothing stands."""
    table = pd.DataFrame(rows)
    return table.loc[:, (table != "").any()].style.hide(axis="index").set_properties(**{"padding-right": "1em"})


def _said(parts):
    """The verdict on a contrast, the only one of `parts`, and what it rests on."""
    if not parts:
        return "undecided: not measured"
    return f"{parts[0]['verdict']}: {results.decided_text(parts[0] | {'n_labels': None})}"  # they have a column


def _side_by_side(said, of):
    """Columns of `verdict_table`: what is `said` by name of a report, and if the parts `of` the first hold there."""
    first, *others = of
    row = {first: said[first]}
    for name in others:
        row |= {name: said[name], f"holds on {name}": results.holds(of[first], of[name])}
    return row


def headline_table(reports):
    """The figures that reports, {name: `results.report`}, show on their first pages: mean and 95% interval in each."""
    cells, titles = {}, {}
    for name, (_, entries) in reports.items():
        most = max((entry["n_labels"] or 0 for entry in entries), default=0)
        for entry in (entry for entry in entries if "claim" not in entry):
            n = entry["n_labels"]
            key = entry["id"], entry["split"], "" if not n else "all" if n == most else f"{n:,}"
            cells[key, name] = results.mean_text(entry)
            if results.is_headline(entry):
                titles.setdefault(key, {"figure": entry["headline"], "labels": key[-1], "unit": results.unit(entry)})
    return _wide_table(row | {name: cells.get((key, name), "") for name in reports} for key, row in titles.items())


def estimate_table(reports, notebook):
    """A notebook's contrasts on several data sets, as estimates: mean and 95% interval in each, without verdicts.

    `reports` are {name: `results.report`}.
    """
    of = {(name, e["id"], e["labels"]): e for name, (_, entries) in reports.items() for e in entries if "above" in e}
    rows, shown = [], None
    for rule in results.RULES["contrasts"][notebook]:
        for n in rule.get("n_labels", [""]):
            asked = {"what is asked": rule["claim"], "difference": rule["contrast"]}
            row = dict.fromkeys(asked, "") if asked == shown else asked  # said once for several numbers of labels
            found = {name: of.get((name, rule["id"], n)) for name in reports}
            sizes = {name: results.difference_text(entry) if entry else "" for name, entry in found.items()}
            rows.append(row | {"labels": _number_of_labels(n)} | sizes)
            shown = asked
    return _wide_table(rows)


def effects(contrasts, title=None):
    """Contrasts as `Results.claims` gives them, one row each on its own scale: mean, interval, threshold, verdict.

    The gray band holds the differences that do not matter, where the rule of a contrast names them.
    """
    rows = max(1, len(contrasts))
    fig, axes = plt.subplots(rows, 1, figsize=(10, 0.62 * rows + 0.6), squeeze=False, layout="constrained")
    marks = {"supported": "#2a7a3b", "refuted": "#b3402a", "undecided": "0.35"}
    for ax, entry in zip(axes[:, 0], contrasts, strict=False):
        scale, color = 100 if entry["unit"] == "fraction" else 1, marks.get(entry["verdict"], "#3b5f9e")
        if entry.get("matters"):
            ax.axvspan(-scale * entry["matters"], scale * entry["matters"], color="0.88", lw=0)
        ax.axvline(scale * entry["above"], color="0.2", lw=1)
        if entry["value"] is not None:
            ends = scale * np.array(entry["ci"] or [entry["value"]] * 2)
            ax.plot(ends, [0, 0], color=color, lw=3, alpha=0.5, solid_capstyle="butt")
            ax.plot(scale * entry["value"], 0, "o", color=color)
        ax.set(yticks=[], ylim=(-1, 1))
        ax.margins(x=0.15)
        ax.tick_params(labelsize=8)
        sns.despine(ax=ax, left=True)
        labels = f", {entry['n_labels']:,} labels" if entry["n_labels"] else ""
        said = textwrap.fill(f"{entry['primary']}  {entry['claim']}{labels}", 62)
        ax.text(-0.02, 0.5, said, transform=ax.transAxes, ha="right", va="center", fontsize=9)
        size = results.difference_text(entry | {"ci": None})  # the bar shows the interval
        ax.text(1.02, 0.5, f"{entry['verdict']}\n{size}", transform=ax.transAxes, va="center", fontsize=9, color=color)
    fig.suptitle(title)
    return axes[:, 0]
