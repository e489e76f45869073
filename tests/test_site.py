"""Books opened from their folders in headless Chromium with the network off, as a reader opens one by double click."""

import re
from urllib.parse import unquote

import nbformat
from books import pages
from chromium import console_errors, requested, visit
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ALL_IMAGES_SHOWN = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
FORMULAS = """
const rectangles = (list) => [...list].map((e) => e.getBoundingClientRect());
const article = document.querySelector("article"), plain = article.cloneNode(true);
plain.querySelectorAll("pre, code, annotation").forEach((e) => e.remove());
return {
    sizes: rectangles(article.querySelectorAll("math")).map((r) => [r.width, r.height]),
    stacked: [...article.querySelectorAll("math mfrac")].map((f) => rectangles(f.children))
        .map(([above, below]) => above.bottom <= below.top + 1),
    font: [...document.fonts].some((f) => f.family.includes("STIX") && f.status == "loaded"),
    unread: article.querySelectorAll(".math code").length,
    text: plain.textContent,
}
"""
CUT = """
return [...document.querySelectorAll("article pre, article img")]
    .filter((e) => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth)
    .map((e) => e.textContent || e.alt)
"""


def test_every_page_loads_whole_from_the_folder_sets_its_mathematics_and_fits_every_screen(book, browser):
    """All that is looked at on every page, in one visit: half of the time goes into opening it."""
    figures = formulas = fractions = 0
    for page in pages(book):
        visit(browser, page)
        of = browser.execute_script(FORMULAS)
        assert all(width > 3 and height > 5 for width, height in of["sizes"]), page.name
        assert all(of["stacked"]), page.name
        assert of["font"] or not of["sizes"], page.name
        assert not re.search(r"\$\$|\\(frac|sum|begin|mathbf|hat|lVert)\b", of["text"]), page.name
        assert not of["unread"], f"{page.name}: a formula could not be read"
        formulas, fractions = formulas + len(of["sizes"]), fractions + len(of["stacked"])
        # images far below are loaded when they are scrolled to
        browser.execute_script("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
        WebDriverWait(browser, 10).until(lambda b: b.execute_script(ALL_IMAGES_SHOWN), page.name)
        figures += len(browser.find_elements(By.CSS_SELECTOR, ".cell_output img"))
        # all widths where pages differ in more than their text: the first page, the live one, and one chapter
        first = page in pages(book)[:2] or page.name == "live.html"
        for width in (1920, 1280, 1024, 390) if first else (1280, 390):
            screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width + 1, page.name
            assert browser.execute_script(CUT) == [], f"{page.name} at {width} pixels"
        assert console_errors(browser) == [], page.name
        urls = requested(browser)
        assert urls and all(url.startswith(book.as_uri()) for url in urls), page.name
    assert figures >= 1 and formulas >= 3 and fractions >= 1


def test_no_page_refers_to_the_network_for_what_it_shows(book):
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"'](?:https?:)?//", re.IGNORECASE)
    for page in book.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page
    for sheet in book.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_book_does_not_show_how_an_exercise_is_checked(smoke_report):
    """For a check holds the way to its answer; the notebooks fold it, the book has nothing to fold."""
    book = smoke_report / "html"
    shown = [book / "_static" / "sections.js", *(book / "notebooks" / "exercises").glob("*.html")]
    assert len(shown) == 10
    for path in shown:
        text = re.sub(r"<[^>]*>", "", path.read_text(encoding="utf-8"))
        assert "NotImplementedError" in text and "checks.exercise(" not in text, path.name


def look_for(browser, words):
    """Type words into the search field, and wait: the links that are found."""
    browser.find_element(By.CSS_SELECTOR, ".bd-sidebar-primary .search-button-field").click()
    shown = WebDriverWait(browser, 10).until(lambda b: [f for f in b.find_elements(By.NAME, "q") if f.is_displayed()])
    shown[0].send_keys(words, Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, "#search-results > p"))
    return browser.find_elements(By.CSS_SELECTOR, "#search-results li a")


def test_search_leads_to_the_section_that_explains_a_word(book, browser):
    first, chapter, *_ = pages(book)
    visit(browser, first)
    explained = "maps" if "stub" in chapter.name else "what-the-codes-look-like"
    entry, *_ = [link for link in look_for(browser, "Trustworth") if "GLOSSARY" not in link.get_attribute("href")]
    assert entry.get_attribute("href").endswith(f"{chapter.name}#{explained}")
    assert "trustworth" in [mark.text for mark in browser.find_elements(By.TAG_NAME, "mark")]
    entry.click()
    WebDriverWait(browser, 10).until(lambda b: b.current_url.endswith(f"{chapter.name}#{explained}"))
    assert "trustworth" in browser.find_element(By.ID, explained).text
    assert console_errors(browser) == []


def test_search_finds_sections_with_all_words_and_says_if_there_are_none(book, browser):
    visit(browser, pages(book)[0])
    found = look_for(browser, "neighbors map")
    assert found and all("#" in link.get_attribute("href") for link in found)
    assert not look_for(browser, "neighbors xyzzy")
    assert browser.find_element(By.ID, "search-results").text == "No sections have these words."
    assert console_errors(browser) == []


def test_navigation_leads_through_the_book(book, browser):
    first, chapter, *_ = pages(book)
    visit(browser, first)
    assert "The answer" in browser.find_element(By.TAG_NAME, "article").text
    chapters = browser.find_elements(By.CSS_SELECTOR, ".bd-sidebar-primary a.reference.internal[href*='notebooks/']")
    assert len(chapters) == len([page for page in pages(book) if "notebooks" in page.relative_to(book).parts])
    chapters[0].click()
    WebDriverWait(browser, 10).until(lambda b: chapter.name in b.current_url)
    if len(pages(book)) > 2:
        browser.find_element(By.CSS_SELECTOR, "a.right-next").click()
        WebDriverWait(browser, 10).until(lambda b: pages(book)[2].name in b.current_url)
    browser.find_element(By.CSS_SELECTOR, ".bd-sidebar-primary a.reference.internal[href*='index.html']").click()
    WebDriverWait(browser, 10).until(lambda b: b.current_url.split("#")[0].endswith("/index.html"))
    assert console_errors(browser) == []


def test_every_figure_has_a_text_and_two_pixels_for_one(book):
    figures = 0
    for page in pages(book):
        outputs = page.read_text(encoding="utf-8").split('<div class="cell_output')[1:]
        for image in (
            image for output in outputs for image in re.findall("<img [^>]*>", output.partition("</div>")[0])
        ):
            of = dict(re.findall(r'(\w+)="([^"]*)"', image))
            assert re.fullmatch(r"[A-Z\d].{5,}\.", of["alt"]) and ".png" not in of["alt"], f"{page.name}: {image}"
            assert Image.open(page.parent / of["src"]).size[0] >= 2 * int(of["width"]), f"{page.name}: {image}"
            figures += 1
    assert figures >= 1


def test_code_is_copied_as_it_is_written(book, browser):
    chapter = pages(book)[1]
    notebook = nbformat.read(book.parent / "notebooks" / f"{chapter.stem}.ipynb", as_version=4)
    code = max((cell.source for cell in notebook.cells if cell.cell_type == "code"), key=len)
    visit(browser, chapter)
    blocks = browser.find_elements(By.CSS_SELECTOR, ".cell_input pre")
    block = next(block for block in blocks if block.get_attribute("textContent").rstrip() == code)
    copied = "document.addEventListener('copy', e => { window.copied = e.clipboardData.getData('text/plain') })"
    browser.execute_script(f"{copied}; navigator.clipboard && (navigator.clipboard.writeText = t => window.copied = t)")
    button = block.find_element(By.XPATH, "following-sibling::button")
    browser.execute_script("arguments[0].click()", button)
    WebDriverWait(browser, 10).until(lambda b: "success" in button.get_attribute("class"))
    assert browser.execute_script("return getSelection().toString() || window.copied") in (None, code)
    assert not browser.find_elements(By.CSS_SELECTOR, ".cell_output button.copybtn"), "output is not code"


def test_the_parameters_that_ran_stand_in_one_cell_with_their_comments(book):
    for page in pages(book):
        if page.parent.name == "notebooks" and page.stem[:2].isdigit():
            text = page.read_text(encoding="utf-8")
            blocks = [re.sub("<[^>]*>", "", block) for block in re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)]
            (parameters,) = (block for block in blocks if re.search(r"^device = ", block, re.MULTILINE))
            profile = "smoke" if "smoke" in str(book) else "quick"
            assert re.search(rf'^profile = "{profile}"  # ', parameters, re.MULTILINE), page.name
            assert re.search(r'^out = "', parameters, re.MULTILINE), "where its results went"


def test_every_link_within_the_book_leads_somewhere(book):
    texts = {page: page.read_text(encoding="utf-8") for page in book.rglob("*.html")}
    links = 0
    for page in pages(book):
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', texts[page]):
            path, _, anchor = unquote(link).partition("#")
            if re.match(r"\w+:", path):
                continue
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or f'id="{anchor}"' in texts[target], f"{page.name}: {link}"
            links += 1
    assert links > 10


def test_tables_name_what_they_show(book):
    cells = 0
    for page in pages(book):
        for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page.read_text(encoding="utf-8"), re.DOTALL):
            text = re.sub("<[^>]*>", "", cell).strip()
            assert not re.fullmatch(r"[a-z]\w*_\w*(\.\w+)*|fraction|ratio", text), f"{page.name}: {text}"
            cells += 1
    assert cells > 10
