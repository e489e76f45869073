"""The slides, opened from their folder in headless Chromium without network, on a screen of 1280x720 pixels."""

import base64
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from chromium import console_errors, requested, visit
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from once import made_once
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from stub_notebooks import SETTING

from mnist_ae_utils.report import check, folder, run, slides
from mnist_ae_utils.report.folder import ReportError

LECTURES = "01_linear_autoencoder", "04_hybrid_classification", "06_few_labels"
SCREEN = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}

# What is wrong with the slides of a page, a line each; every step of a slide is shown.
WRONG = """
const wrong = [], print = document.querySelector(".pdf-page");
for (const slide of Reveal.getSlides()) {
  const { h, v } = Reveal.getIndices(slide);
  if (!print) Reveal.slide(h, v, 99);
  const box = slide.getBoundingClientRect(), say = (what) => wrong.push(`slide ${h}.${v}: ${what}`);
  if (Math.abs(box.width - 1280) > 1 || Math.abs(box.height - 720) > 1) say(`is ${box.width}x${box.height}`);
  for (const part of slide.querySelectorAll("*")) {
    const { left, right, top, bottom, width, height } = part.getBoundingClientRect();
    if (!width || part.closest("aside, annotation")) continue;
    const name = `${part.tagName} ${part.className} "${part.textContent.slice(0, 30)}"`;
    if (left < box.left || right > box.right || top < box.top || bottom > box.bottom) say(`${name} lies beyond it`);
    const scrolls = part.scrollWidth > part.clientWidth || part.scrollHeight > part.clientHeight + 1;
    if (scrolls && part.matches("pre, .figure, .table")) say(`${name} scrolls`);
    if (part.tagName == "IMG" && !(part.naturalWidth && height >= 200)) say(`a figure is ${height} pixels high`);
    const own = [...part.childNodes].some((node) => node.nodeType == 3 && node.data.trim());
    const size = parseFloat(getComputedStyle(part).fontSize);
    if (own && size < (part.closest("math") ? 10 : 15)) say(`${name} has letters of ${size} pixels`);
  }
}
return wrong;
"""


def opened(browser, page, query=""):
    """Open a page of slides, ready to be shown."""
    visit(browser, page, query, SCREEN)
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return window.Reveal && Reveal.isReady()"))


def shown(browser):
    """Text of all slides, in order."""
    return browser.execute_script(
        "return Reveal.getSlides().map(s => { const c = s.cloneNode(true);"
        "c.querySelectorAll('aside, annotation').forEach(e => e.remove()); return c.textContent; })"
    )


@pytest.fixture(scope="module")
def lectures(smoke_report, tmp_path_factory):
    """The folder of the slides of the smoke report."""

    def make(folder):
        out = Path(shutil.copytree(smoke_report, folder / "smoke", ignore=shutil.ignore_patterns("html")))
        assert run.rendered(out, slides.render) == out / "slides" / "index.html" and check.problems(out) == []

    return made_once(tmp_path_factory, "with slides", make) / "smoke" / "slides"


@pytest.fixture()
def made(tmp_path):
    """Make slides of notebooks that are given by name, as lists of cells: their folder."""

    def make(**chapters):
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        header = {"profile": "quick", "rules": "abc", "commit": "abc", "notebooks": {}, "failed": [], **SETTING}
        (tmp_path / "results.json").write_text(json.dumps({"header": header, "results": []}))
        for name, cells in chapters.items():
            nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / f"{name.strip('_')}.ipynb")
        return slides.render(tmp_path).parent

    return make


def cell(source, slide_type="slide", *outputs, **more):
    """A cell with that slide type; Markdown, if it has no outputs."""
    metadata = {"slideshow": {"slide_type": slide_type, **more}}
    if outputs:
        return new_code_cell(source, outputs=list(outputs), metadata=metadata)
    return new_markdown_cell(source, metadata=metadata)


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def table(n_rows):
    rows = "".join(f"<tr><td>row {i}</td><td>{'as long as a sentence ' * 3}</td></tr>" for i in range(n_rows))
    markup = f"<table><thead><tr><th>what</th><th>how</th></tr></thead><tbody>{rows}</tbody></table>"
    return new_output("display_data", {"text/html": markup})


def figure(smoke_report):
    notebook = nbformat.read(smoke_report / "notebooks" / f"{LECTURES[0]}.ipynb", as_version=4)
    return next(o for c in notebook.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", ()))


def test_every_slide_fits_the_screen_and_loads_nothing_from_elsewhere(lectures, browser):
    pages = sorted(path for path in lectures.glob("*.html") if path.name != "index.html")
    assert {path.stem for path in pages}.issuperset(LECTURES)
    for page in pages:
        opened(browser, page)
        assert browser.execute_script(WRONG) == [], page.name
        assert console_errors(browser) == [], page.name
        urls = requested(browser)
        assert len(urls) > 5 and all(url.startswith(lectures.as_uri()) for url in urls), page.name


@pytest.mark.parametrize("name", LECTURES)
def test_a_lecture_goes_from_the_question_by_predictions_to_what_was_found(lectures, browser, name):
    opened(browser, lectures / f"{name}.html")
    texts, stacks = shown(browser), browser.execute_script("return Reveal.getHorizontalSlides().length")
    assert 14 <= stacks <= 25 and len(texts) <= 40
    assert "The question of this chapter" in texts[0] and "NOT ALL OF MNIST" in texts[0]
    found = [i for i, text in enumerate(texts) if text.strip().startswith("What was found, and why")]
    asked = [i for i, text in enumerate(texts) if "Predict:" in text and i < found[0]]
    seen = [i for i, text in enumerate(texts) if "What to see." in text]
    assert len(asked) >= 4 and all(any(question < answer for answer in seen) for question in asked)
    assert not set(asked) & set(seen), "the prediction comes first"
    assert any("mean (95% interval)" in text for text in texts[: found[0]]), "the table of contrasts"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".slides .figure")) >= 9
    assert 3 <= len(browser.find_elements(By.CSS_SELECTOR, ".slides pre:not(.printed)")) <= 10


def test_formulas_are_mathml(lectures, browser):
    for name in (LECTURES[0], LECTURES[2]):
        opened(browser, lectures / f"{name}.html")
        sizes = browser.execute_script(
            "return [...document.querySelectorAll('.slides > section > section > :not(aside) math')].map(m => "
            "{ const i = Reveal.getIndices(m.closest('section')); Reveal.slide(i.h, i.v); "
            "const r = m.getBoundingClientRect(); return [r.width, r.height]; })"
        )
        assert len(sizes) >= 3 and all(width > 5 and height > 8 for width, height in sizes), sizes
        loaded = "return [...document.fonts].some(f => f.family.includes('STIX') && f.status == 'loaded')"
        assert browser.execute_script(loaded)
        assert not re.search(r"\$|\\(frac|sum|hat)\b", "".join(t for t in shown(browser) if "def " not in t))


def test_the_index_leads_to_every_lecture(lectures, browser):
    visit(browser, lectures / "index.html")
    links = browser.find_elements(By.CSS_SELECTOR, "li a:first-child")
    pages = {link.get_attribute("href") for link in links}
    assert pages.issuperset((lectures / f"{name}.html").as_uri() for name in LECTURES)
    links[0].click()
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return window.Reveal && Reveal.isReady()"))
    assert console_errors(browser) == []


def test_the_speakers_view_shows_what_is_not_on_the_slide(lectures, browser):
    opened(browser, lectures / f"{LECTURES[0]}.html")
    browser.execute_script("const open = window.open; window.open = (...all) => (window.view = open(...all));")
    browser.find_element(By.TAG_NAME, "body").send_keys("s")
    said = "return view.document.querySelector('.speaker-controls-notes .value')?.innerText"
    try:
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(said))
        notes = browser.execute_script(said)
        assert "How things are compared" in notes and "How things are compared" not in shown(browser)[0]
    finally:
        browser.execute_script("view.close()")


def test_each_slide_is_printed_whole_on_a_page_of_its_own(lectures, browser):
    opened(browser, lectures / f"{LECTURES[0]}.html", "?print-pdf")
    n_pages = "const n = document.querySelectorAll('.pdf-page').length; return n == Reveal.getTotalSlides() && n"
    n_slides = WebDriverWait(browser, 60).until(lambda b: b.execute_script(n_pages))
    assert browser.execute_script(WRONG) == []
    how = {"preferCSSPageSize": True, "printBackground": True}
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", how)["data"])
    assert len(re.findall(rb"/Type /Page\b", pdf)) == n_slides
    assert set(re.findall(rb"/MediaBox \[([^\]]*)\]", pdf)) == {b"0 0 960 540"}, "in points"


def test_what_is_too_much_for_a_slide_is_made_to_fit(made, smoke_report, browser):
    long = "A sentence of some length, of which there are many. "
    code = "\n".join(f"a_name_of_some_length_{i} = 'a text that goes on and on and on, to the end of the line', {i}"
                     for i in range(25))  # fmt: skip
    image = figure(smoke_report)
    page = made(_01_a=[
        cell(f"# Title\n\n{long * 15}"),
        cell("## Prose"), cell(long * 22, "-"),
        cell(code, "slide", printed("one line")),
        cell("plots.x()", "slide", image, image, show="output"), cell(long * 8, "fragment"),
        cell("table", "slide", table(60), show="output"), cell(long * 3, "-"), cell("Of the first.", "notes"),
    ]) / "01_a.html"  # fmt: skip
    opened(browser, page)
    assert browser.execute_script(WRONG) == []
    rows = [re.findall(r"row \d+", text) for text in shown(browser)]
    assert sum(rows, []) == [f"row {i}" for i in range(60)] and len([r for r in rows if r]) >= 3, "on several slides"
    assert len(browser.find_elements(By.CSS_SELECTOR, "aside.notes")) == 1


def test_metadata_say_where_a_cell_goes(made, browser):
    parameters = new_code_cell("injected = 1", metadata={"tags": ["injected-parameters"]})
    page = made(
        _01_a=[
            cell("# The title\n\nA question, [later](02_b.ipynb#x) or [there](03_c.ipynb), $x^2$"),
            cell("In a step.", "fragment"), cell("For the speaker.", "notes"), cell("Left out.", "skip"),
            new_markdown_cell("Without a word."), parameters,
            cell("## Section"), cell("### Below", "subslide"), cell("*Predict:* what?", "subslide"),
            cell("shown = 1", "slide", printed("  the outcome\n"), printed("a warning", "stderr")),
            cell("hidden = 1", "-", printed("only this"), show="output"),
            cell("plots.x()", "slide", table(1)),
            cell("silent = 1", "slide", printed("not this"), show="code"),
            cell(r"No formula: $\nonsense{$", "-"),
        ],
        _02_b=[cell("# Later")],
        _03_c=[new_markdown_cell("# No slides")],
    )  # fmt: skip
    assert sorted(path.name for path in page.glob("*.html")) == ["01_a.html", "02_b.html", "index.html"]
    opened(browser, page / "01_a.html")
    texts = [" ".join(text.split()) for text in shown(browser)]
    everything = " ".join(texts)
    for absent in ("speaker", "Left out", "Without a word", "injected", "a warning", "hidden", "not this"):
        assert absent not in everything, absent
    assert [len(s) for s in browser.execute_script(
        "return Reveal.getHorizontalSlides().map(s => [...s.querySelectorAll('section')].map(() => 1))")
    ] == [1, 3, 1, 2, 1]  # fmt: skip
    assert texts[0].startswith("The title") and "In a step." in texts[0] and "seeds 2" in texts[0]
    assert texts[2] == "Below" and texts[3] == "Below Predict: what?", "under the heading above"
    assert texts[4] == "Section shown = 1 the outcome only this"
    assert texts[5] == "Section plots.x()" and "row 0" in texts[6], "what was drawn is on a slide of its own"
    assert "silent" in texts[7] and r"\nonsense{" in texts[7]
    (link,) = browser.find_elements(By.CSS_SELECTOR, ".slides a")
    assert link.get_attribute("href") == (page / "02_b.html").as_uri()
    (step,) = browser.find_elements(By.CSS_SELECTOR, ".fragment")
    assert "For the speaker." in browser.find_element(By.CSS_SELECTOR, "aside.notes").get_attribute("textContent")
    browser.execute_script("Reveal.slide(0, 0)")
    assert not step.is_displayed()
    browser.execute_script("Reveal.next()")
    WebDriverWait(browser, 10).until(lambda b: step.is_displayed())


def test_slides_take_the_place_of_earlier_ones_and_of_nothing_else(made, tmp_path):
    page = made(_01_a=[cell("# One")], _02_b=[cell("# Two")])
    (tmp_path / "notebooks" / "02_b.ipynb").unlink()
    assert made(_01_a=[cell("# Changed")]) == page
    assert not (page / "02_b.html").exists() and "Changed" in (page / "01_a.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks", "results.json", "slides"]
    (page / "01_a.html").write_text("mine")
    with pytest.raises(ReportError, match=r"slides holds what no report left so: 01_a.html\. Move it away"):
        made(_01_a=[cell("# Again")])
    assert (page / "01_a.html").read_text() == "mine"


def test_a_report_from_before_there_were_slides_says_what_to_do(made, tmp_path):
    with pytest.raises(ReportError, match="do not say what is on their slides: run `mnist-ae report` again"):
        made(_01_a=[new_markdown_cell("# Old")])
    assert not (tmp_path / "slides").exists()


def test_the_check_tells_slides_of_other_results(lectures, tmp_path):
    out = tmp_path / "smoke"
    shutil.copytree(lectures.parent, out)
    (out / "slides" / "results.json").write_text("{}")
    (out / "slides" / "index.html").write_text("changed")
    assert check.problems(out) == [
        "slides/index.html was changed", "slides/results.json was changed",
        "slides/ is slides of other results: run `mnist-ae slides`",
    ]  # fmt: skip
    assert folder.of_others(out, [out / "results.json"]) == []
