"""What a reader adds to a chapter, in a real notebook kernel, with the runs of the smoke report at hand."""

import nbformat
import pytest
from kernel import ROOT, Kernel


@pytest.fixture(scope="module")
def cell(smoke_report):
    """A kernel that remembers the runs of the smoke report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_AE_CACHE", str(smoke_report.with_name("smoke-cache")))
        with Kernel() as kernel:
            yield kernel


def play(cell, number, until, out, change=("", "")):
    """Run the code cells of a notebook on the smoke profile, up to the one that holds `until`; one text is replaced."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    cell("%reset -f")
    last = next(i for i, c in enumerate(cells) if until in c.source)
    assert sum(change[0] in c.source for c in cells[: last + 1]) == 1 or not change[0]
    for each in cells[: last + 1]:
        shown = cell(each.source.replace(*change) if change[0] else each.source)
        assert "Error: " not in shown, f"{each.source}\n{shown}"
        if "parameters" in each.metadata.get("tags", []):
            cell(f'profile, dataset, device, out = "smoke", "mnist-5000", "cpu", {str(out)!r}')


def test_a_method_is_added_to_chapter_4s_figure_in_one_place(cell, tmp_path):
    mine = '"MLP on the upper half": partial(chapter.on_inputs, lambda data, seed: lambda x: x[:, :, :14].flatten(1)),'
    place = '    "joint": partial('
    play(cell, "04", "plots.paired_differences(", tmp_path, (place, f"    {mine}\n{place}"))
    shown = cell("print(*[(e['id'], e['n_labels']) for e in results.entries if 'upper' in e['id']])")
    assert shown.count("mlp_on_the_upper_half.accuracy") == 3, "at 10, 100 and all labels"
    figure = cell("""
figure = plots.curves({name: 1 - table for name, table in accuracy.items()}, "labels", "test error")
[text.get_text() for text in figure.axes[0].get_legend().get_texts()]""")
    assert "MLP on the upper half" in figure


def test_own_clustering_and_own_pseudo_labels_in_chapter_6(cell, tmp_path):
    play(cell, "06", "students = chapter.run(", tmp_path)
    shown = cell("""
from sklearn.cluster import KMeans

def by_kmeans(points, seed):
    fitted = KMeans(10, n_init=3, random_state=seed).fit(points)
    return fitted.labels_, fitted.transform(points).argmin(0)

def own_labels(data, *, seed):
    "Labels from nowhere but the brightness of an image, and no trust in half of them."
    brightness = data.train.images.mean((1, 2, 3)).numpy()
    return (10 * brightness.argsort().argsort() // len(brightness)), (brightness > np.median(brightness)).astype(float)

asked = partial(labeling, embedded, data, cluster=by_kmeans)
mine = {
    "k-means": partial(opinion_of_clusters, asked, embedded),
    "mine": partial(own_labels, data),
}
mine = {name: partial(student, of, data, share=0.5, channels=small, epochs=2) for name, of in mine.items()}
accuracy, found = chapter.run(mine).scores(), chapter.run(asked).first
print(len(found.asked), (labels[found.asked][found.clusters] == found.labels).all())
print(accuracy.notna().all(axis=None))""")
    assert "10 True\nTrue" in shown, shown
