"""A real browser for the tests of pages: headless Chromium, driven by selenium."""

import json
import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait


def started(profile, *more):
    """A fresh Chromium that logs its console and its requests; the test fails or is skipped where there is none."""
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        reason = "Chromium and chromedriver are needed (Debian: apt install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    switches = [
        "headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update",
        "disable-sync", "no-first-run", "disable-dev-shm-usage", f"user-data-dir={profile}", *more,
    ]  # fmt: skip
    for switch in switches:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(driver))


@pytest.fixture(scope="session")  # starting one takes seconds
def browser(tmp_path_factory):
    """A Chromium without network."""
    browser = started(tmp_path_factory.mktemp("profile"), "host-resolver-rules=MAP * ~NOTFOUND")
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield browser
    browser.quit()


def visit(browser, page, query="", screen=None):
    """Open a page with empty logs, as large as on a desktop or with the metrics of a `screen`, whatever was set."""
    browser.set_window_size(1280, 900)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    if screen:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri() + query)
    WebDriverWait(browser, 20).until(lambda b: b.execute_script("return document.readyState") == "complete")
    browser.execute_async_script("document.fonts.ready.then(arguments[0])")


def console_errors(browser):
    return [line["message"] for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


def requested(browser):
    """Addresses that the page asked for; data written into it, and what the browser's own pages ask for, aside."""
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "blob:", "chrome:"))]
