"""A real JupyterLab in a real browser, to which this machine is all there is."""

import contextlib
import os
import re
import subprocess
import sys
import time

from chromium import started
from selenium.webdriver.support.ui import WebDriverWait

from mnist_ae_utils import machine

PATIENCE = 600  # seconds, on a machine that does other things as well


@contextlib.contextmanager
def opened(folder, notebook, **environment):
    """A browser in which JupyterLab shows a notebook of the folder, its kernel idle; the server's log is in `log`."""
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
               "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}",
               "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
               "--LanguageServerManager.autodetect=False"]  # fmt: skip
    places = {name: str(folder / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    own = {name: value for name, value in os.environ.items() if name != machine.STILL}
    own |= places | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    log, browser = folder / "log", None
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=folder, env=own, stderr=file)
    try:
        until = time.monotonic() + PATIENCE
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) and time.monotonic() < until:
            time.sleep(0.2)
        address = found[0]
        browser = started(folder / "profile", "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")
        browser.set_window_size(1280, 1000)
        browser.get(f"{address}/lab/tree/{notebook}?reset")
        idle(browser)
        yield browser
    finally:
        if browser:
            browser.quit()
        server.kill()  # its kernel ends with it
        server.wait(60)


def is_idle(browser):
    """Whether a kernel is there and has nothing to do."""
    return browser.execute_script(
        "const context = window.jupyterapp?.shell?.currentWidget?.sessionContext;"
        "return Boolean(context?.isReady) && context.session?.kernel?.status === 'idle'")  # fmt: skip


def idle(browser):
    """Wait until the notebook's kernel has nothing to do."""
    WebDriverWait(browser, PATIENCE).until(is_idle)


def command(browser, name):
    """Do what an entry of JupyterLab's menus does; what takes long is not waited for."""
    browser.execute_script("window.jupyterapp.commands.execute(arguments[0])", name)


def cells(browser):
    """The notebook's cells as JupyterLab has them now, be they in sight or not: as in its file."""
    return browser.execute_script("return window.jupyterapp.shell.currentWidget.content.model.toJSON().cells")


def all_run(browser):
    """Wait until every code cell has been run by the kernel that is there now; return the cells."""

    counted = "return [...window.jupyterapp.shell.currentWidget.content.model.cells]"
    counted += ".filter((cell) => cell.type === 'code').map((cell) => cell.executionCount)"  # without their figures

    def found(b):
        counts = b.execute_script(counted)
        return counts == list(range(1, len(counts) + 1)) and is_idle(b)

    WebDriverWait(browser, PATIENCE, poll_frequency=2).until(found)
    return cells(browser)
