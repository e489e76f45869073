"""A chapter in JupyterLab, as a student uses it: open, run all, predict, stop a training, start again from disk."""

import shutil
from pathlib import Path

import in_jupyterlab
import nbformat
import pytest
from in_jupyterlab import PATIENCE, all_run, command, idle
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTER = "01_linear_autoencoder.ipynb"
ENDLESS = "chapter.run(chapter.autoencoder(DenseAutoencoder, 7, effort=1_000_000))"
BARS = "runs ["  # what a progress bar writes


def cell_with(cells, text):
    (cell,) = (cell for cell in cells if text in "".join(cell["source"]))
    return cell


def active_outputs(browser):
    """What the active cell has put out, as text."""
    return browser.execute_script(
        "const cell = window.jupyterapp.shell.currentWidget.content.activeCell;"
        "return JSON.stringify(cell.model.outputs.toJSON())")  # fmt: skip


def shown(browser, css):
    """Elements of the page, after scrolling to the first: JupyterLab takes out of it what is far out of sight."""
    found = WebDriverWait(browser, PATIENCE).until(lambda b: b.find_elements(By.CSS_SELECTOR, css))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
    return found


def written(folder):
    """The files of a folder, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def activate(browser, text):
    """Make the cell whose source has that text the active one, and scroll to it."""
    browser.execute_script(
        "const { content, model } = window.jupyterapp.shell.currentWidget;"
        "const cells = content.widgets.map((w) => w.model.sharedModel.source);"
        "content.activeCellIndex = cells.findIndex((source) => source.includes(arguments[0]));"
        "return content.scrollToItem(content.activeCellIndex)", text)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, smoke_report):
    """A chapter as a student has it, but of the profile whose trainings are remembered; below it, one without end."""
    folder = tmp_path_factory.mktemp("class")
    notebook = nbformat.read(NOTEBOOKS / CHAPTER, as_version=4)
    cell_with(notebook.cells, 'profile = "quick"').source += '\nprofile, out = "smoke", "results"'
    nbformat.write(notebook, folder / CHAPTER)
    shutil.copytree(smoke_report.with_name("smoke-cache"), folder / "cache")
    return folder


def test_a_chapter_is_run_answered_stopped_and_run_again_from_disk(folder):
    with in_jupyterlab.opened(folder, CHAPTER, MNIST_AE_CACHE=str(folder / "cache")) as browser:
        assert not browser.find_elements(By.CSS_SELECTOR, ".jp-Dialog"), "it asks for no kernel"
        command(browser, "notebook:run-all-cells")
        outputs = [output for cell in all_run(browser) for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"]
        kinds = [kind for output in outputs for kind in output.get("data", {})]
        assert kinds.count("image/png") >= 10 and sum("widget-view" in kind for kind in kinds) >= 4
        assert any(BARS in "".join(output.get("text", "")) for output in outputs), "a progress bar"

        activate(browser, 'guesses.number("the deep autoencoder')
        (field,) = shown(browser, ".jp-Cell.jp-mod-active input[placeholder='a number']")
        field.send_keys("1000", Keys.TAB)
        WebDriverWait(browser, PATIENCE).until(lambda b: "noted" in b.page_source)
        activate(browser, "guesses.compare(")
        command(browser, "notebook:run-cell")
        WebDriverWait(browser, PATIENCE).until(lambda b: "off by" in active_outputs(b))
        assert active_outputs(browser).count("silent") >= 2

        command(browser, "notebook:insert-cell-below")
        source = "window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(arguments[0])"
        browser.execute_script(source, ENDLESS)
        command(browser, "notebook:run-cell")
        WebDriverWait(browser, PATIENCE).until(lambda b: "epoch" in active_outputs(b))
        command(browser, "notebook:interrupt-kernel")
        WebDriverWait(browser, PATIENCE).until(lambda b: "KeyboardInterrupt" in active_outputs(b))
        idle(browser)

        trained = written(folder / "cache")
        command(browser, "notebook:delete-cell")
        command(browser, "notebook:restart-run-all")
        shown(browser, ".jp-Dialog .jp-mod-accept")[0].click()
        all_run(browser)
        assert written(folder / "cache") == trained, "nothing was trained anew"
