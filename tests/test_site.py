"""The book opened from its folder in headless Chromium with the network off, as a reader opens it by double click.

The book of stub notebooks has what the course may not have now, such as a failed notebook; the other is the course's.
"""

import re

import pytest
from chromium import console_errors, requested, visit
from nbformat.v4 import new_markdown_cell
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from stub_notebooks import SETTING, contrast, entry, write_notebook

from mnist_ae_utils.report import run

MATHEMATICS = r"""## Mathematics

In a line, $\lVert x - \hat x \rVert^2$, and by itself:

$$\mathcal{L}(\theta) = \frac{1}{n} \sum_{i=1}^{n} \sum_{j=1}^{784} \left(x_{ij} - \hat{x}_{ij}\right)^2$$

\begin{align}
q_\phi(z \mid x) &= \mathcal{N}\bigl(\mu_\phi(x), \operatorname{diag} \sigma^2_\phi(x)\bigr) \\
\theta &\leftarrow (1 - \eta\lambda)\,\theta - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}
\end{align}
"""
CELLS = [
    new_markdown_cell("A trustworthiness of one would be perfect. On to [the failure](02_fails.ipynb)."),
    new_markdown_cell(MATHEMATICS),
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "import pandas as pd\npd.DataFrame({'method': ['PCA', 'autoencoder'], 'error': [13.87, 3.0]})",
    "print('a line of output that is wider than any phone, ' * 5)",
]


@pytest.fixture(scope="module", params=["stub", "smoke"])
def book(request, tmp_path_factory):
    """Folder of a book that is ready to read: of stub notebooks, one of them failing, and of the course's own."""
    if request.param == "smoke":
        return request.getfixturevalue("smoke_report") / "html"
    folder, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("report with a space")
    entries = [entry(reference={"value": 0.988, "source": "Makhzani & Frey 2014"}), contrast()]
    write_notebook(folder, "01_stub", CELLS, entries=entries)
    write_notebook(folder, "02_fails", ["raise ValueError('as it must')"])
    (folder / "REFERENCES.md").write_text("# References\n\n## H\n\nHinton, G. (2006).\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "prepare", lambda *arguments: SETTING)
        patch.setenv("LC_ALL", "xx_YY.UTF-8")  # a locale that is not installed, as in many a container
        run.report(out=out, source=folder)
    return out / "html"


def pages(book):
    found = [book / "index.html", *sorted((book / "notebooks").glob("*.html")), *book.glob("live.html")]
    assert len(found) > 1
    return found


ALL_IMAGES_SHOWN = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"


def test_every_page_loads_whole_from_the_folder(book, browser):
    figures = 0
    for page in pages(book):
        visit(browser, page)
        assert console_errors(browser) == [], page.name
        urls = requested(browser)
        assert urls and all(url.startswith(book.as_uri()) for url in urls), page.name
        # images far below are loaded when they are scrolled to
        browser.execute_script("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
        WebDriverWait(browser, 10).until(lambda b: b.execute_script(ALL_IMAGES_SHOWN))
        figures += len(browser.find_elements(By.CSS_SELECTOR, ".cell_output img"))
    assert figures >= 1


def test_no_page_refers_to_the_network_for_what_it_shows(book):
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"'](?:https?:)?//", re.IGNORECASE)
    for page in book.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page
    for sheet in book.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_mathematics_is_set(book, browser):
    formulas = fractions = 0
    for page in pages(book):
        visit(browser, page)
        sizes = browser.execute_script(
            "return [...document.querySelectorAll('article math')].map(m => m.getBoundingClientRect())"
            ".map(r => [r.width, r.height])"
        )
        assert all(width > 3 and height > 5 for width, height in sizes), page.name
        formulas += len(sizes)
        stacked = browser.execute_script(
            "return [...document.querySelectorAll('article math mfrac')].map(f => [...f.children]"
            ".map(c => c.getBoundingClientRect())).map(([above, below]) => above.bottom <= below.top + 1)"
        )
        assert all(stacked), page.name
        fractions += len(stacked)
        if sizes:
            loaded = "return [...document.fonts].some(f => f.family.includes('STIX') && f.status == 'loaded')"
            assert browser.execute_script(loaded), page.name
        raw = "const a = document.querySelector('article').cloneNode(true);" \
              "a.querySelectorAll('pre, code, annotation').forEach(e => e.remove()); return a.textContent"  # fmt: skip
        assert not re.search(r"\$\$|\\(frac|sum|begin|mathbf|hat|lVert)\b", browser.execute_script(raw)), page.name
        assert not browser.find_elements(By.CSS_SELECTOR, ".math code"), f"{page.name}: a formula could not be read"
    assert formulas >= 3 and fractions >= 1


def test_search_finds_a_word_and_leads_to_it(book, browser):
    chapter = pages(book)[1]
    visit(browser, chapter)
    text = " ".join(p.text for p in browser.find_elements(By.CSS_SELECTOR, "article p"))
    word = max(re.findall(r"\b[a-z]{6,}\b", text), key=len)
    visit(browser, book / "index.html")
    browser.find_element(By.CSS_SELECTOR, ".bd-sidebar-primary .search-button-field").click()
    shown = WebDriverWait(browser, 10).until(lambda b: [f for f in b.find_elements(By.NAME, "q") if f.is_displayed()])
    shown[0].send_keys(word, Keys.ENTER)
    links = (By.CSS_SELECTOR, "#search-results li a")
    WebDriverWait(browser, 20).until(lambda b: b.find_elements(*links))
    WebDriverWait(browser, 20).until(lambda b: "finished" in b.find_element(By.ID, "search-results").text)
    found = next(link for link in browser.find_elements(*links) if chapter.name in link.get_attribute("href"))
    found.click()
    WebDriverWait(browser, 10).until(lambda b: chapter.name in b.current_url)
    assert word in browser.find_element(By.TAG_NAME, "article").text
    assert console_errors(browser) == []


def test_navigation_leads_through_the_book(book, browser):
    first, chapter, *_ = pages(book)
    visit(browser, first)
    assert "The answer" in browser.find_element(By.TAG_NAME, "article").text
    chapters = browser.find_elements(By.CSS_SELECTOR, ".bd-sidebar-primary a.reference.internal[href*='notebooks/']")
    assert len(chapters) == len([page for page in pages(book) if page.parent.name == "notebooks"])
    chapters[0].click()
    WebDriverWait(browser, 10).until(lambda b: chapter.name in b.current_url)
    if len(pages(book)) > 2:
        browser.find_element(By.CSS_SELECTOR, "a.right-next").click()
        WebDriverWait(browser, 10).until(lambda b: pages(book)[2].name in b.current_url)
    browser.find_element(By.CSS_SELECTOR, ".bd-sidebar-primary a.reference.internal[href*='index.html']").click()
    WebDriverWait(browser, 10).until(lambda b: b.current_url.split("#")[0].endswith("/index.html"))
    assert console_errors(browser) == []


def test_pages_fit_a_phone(book, browser):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    for page in pages(book):
        visit(browser, page)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        try:
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 391, page.name
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
