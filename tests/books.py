"""Books for the tests of what a reader sees: one of stub notebooks, and the course's own.

That of stub notebooks has what the course may not have now, such as a failed notebook.
"""

import pytest
from nbformat.v4 import new_markdown_cell
from once import made_once
from stub_notebooks import SETTING, contrast, entry, without_imports, write_notebook

MATHEMATICS = r"""## Mathematics

In a line, $\lVert x - \hat x \rVert^2$, and by itself:

$$\mathcal{L}(\theta) = \frac{1}{n} \sum_{i=1}^{n} \sum_{j=1}^{784} \left(x_{ij} - \hat{x}_{ij}\right)^2$$

\begin{align}
q_\phi(z \mid x) &= \mathcal{N}\bigl(\mu_\phi(x), \operatorname{diag} \sigma^2_\phi(x)\bigr) \\
\theta &\leftarrow (1 - \eta\lambda)\,\theta - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}
\end{align}
"""
LONG = "reconstructed = [image for image in range(100)]  # a line of code that is as wide as the style allows"
TABLE = """import pandas as pd
links = ['<a href="02_fails.ipynb#chapter-02-fails">the failure</a>', '<a href="REFERENCES.md#h">Hinton 2006</a>']
pd.DataFrame({'method': ['PCA', 'autoencoder'], 'error': [13.87, 3.0], 'see': links}).style"""
CELLS = [
    new_markdown_cell("A trustworthiness of one would be perfect. On to [the failure](02_fails.ipynb)."),
    new_markdown_cell("## Maps\n\nThe *trustworthiness* of a map says whether neighbors on it are neighbors."),
    new_markdown_cell(MATHEMATICS),
    "from mnist_ae_utils import figures\nfigures.show_fine()\n"
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('A line');",
    TABLE,
    f"for i in range(2):\n    {LONG}",
    "print('a line of output that is wider than any phone, ' * 5)",
]


@pytest.fixture(scope="module", params=["smoke", "stub"])
def book(request, tmp_path_factory):
    """Folder of a book that is ready to read: of stub notebooks, one of them failing, and of the course's own."""
    if request.param == "smoke":
        return request.getfixturevalue("smoke_report") / "html"
    return made_once(tmp_path_factory, "of stub notebooks", of_stubs) / "report" / "html"


def of_stubs(folder):
    from mnist_ae_utils.report import kernel, run  # not by the process that only hands tests out: they take seconds

    source = folder / "notebooks"
    entries = [entry(reference={"value": 0.988, "source": "Makhzani & Frey 2014"}), contrast()]
    write_notebook(source, "01_stub", CELLS, entries=entries)
    write_notebook(source, "02_fails", ["raise ValueError('as it must')"])
    (source / "REFERENCES.md").write_text("# References\n\n## H\n\nHinton, G. (2006).\n")
    (source / "GLOSSARY.md").write_text("# Glossary\n\n## Code\n\nSee [chapter 1](01_stub.ipynb#maps).\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "prepare", lambda *arguments: SETTING)
        patch.setattr(kernel, "START", without_imports(kernel.START))
        patch.setenv("LC_ALL", "xx_YY.UTF-8")  # a locale that is not installed, as in many a container
        run.report(out=folder / "report", source=source)


def pages(book):
    found = [book / "index.html", *sorted((book / "notebooks").rglob("*.html")), *book.glob("live.html")]
    assert len(found) > 1
    return found
