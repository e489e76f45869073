"""Networks in the browser: JavaScript against PyTorch, the page in use, and the widget in a real JupyterLab.

The page is opened from its folder with the network off; its networks are the smoke report's, trained for seconds.
"""

import json
import math
import shutil
import statistics

import in_jupyterlab
import nbformat
import numpy as np
import pytest
import torch
from chromium import console_errors, visit
from conftest import ROOT
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from torch import nn

from mnist_ae_utils import corruptions, data, live, metrics, models, pictures
from mnist_ae_utils.live import export
from mnist_ae_utils.report import book, command, live_page, run
from mnist_ae_utils.report.folder import ReportError

PAGE_WEIGHT = 4 * 10**6  # bytes
PIXELS = "const c = arguments[0], d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;" \
         "return Array.from({length: c.width * c.height}, (_, i) => 1 - d[4 * i] / 255)"  # fmt: skip
READY = "return window.LIVE_READY !== undefined || document.querySelector('.problem') !== null"


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist-5000").test.first(100)


@pytest.fixture(scope="module")
def page(smoke_report):
    return smoke_report / "html" / "live.html"


@pytest.fixture()
def opened(browser, page):
    """The page, ready for use."""
    visit(browser, page)
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(READY))
    yield browser
    ours = "willReadFrequently"  # a hint for who reads pixels often, as these tests do
    assert [message for message in console_errors(browser) if ours not in message] == []


@pytest.fixture()
def blank(browser, tmp_path):
    """A browser on a page that holds nothing but the code that computes."""
    (tmp_path / "code.js").write_text(export.code("networks", "images"))
    (tmp_path / "index.html").write_text("<!doctype html><meta charset=utf-8><script src=code.js></script>")
    visit(browser, tmp_path / "index.html")
    return browser


def in_browser(browser, model, images, **options):
    """What `ask` of networks.js says of each image: a list of dicts."""
    weights, images = export.Weights(), images.flatten(1).tolist()
    network = export.network(model, weights, **options)
    script = "const [network, text, images] = arguments, weights = halfFloats(bytesOf(text));" \
             "return images.map((image) => { const a = ask(network, weights, image);" \
             "for (const key of ['code', 'drawn']) if (a[key]) a[key] = Array.from(a[key]); return a; })"  # fmt: skip
    return browser.execute_script(script, network, export.text(weights.half), images)


def lived_in(model, seed=0):
    """A network whose batch norms have seen data, and which is sure of something."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            nn.init.normal_(module.weight, 1, 0.2), nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, models.Standardize):
            module.mean.normal_(0, 0.5)
            module.scale.fill_(0.7)
    return model.eval()


class EveryActivation(nn.Module):
    """An autoencoder of the reader's own."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten())
        for n_in, activation in zip([784] + 8 * [9], export.ACTIVATIONS, strict=False):
            self.encoder.extend([nn.Linear(n_in, 9), activation()])
        self.decoder = nn.Sequential(nn.Linear(9, 784), nn.LeakyReLU(0.3), nn.ELU(0.7), nn.Unflatten(1, (1, 28, 28)))


NETWORKS = {
    "every activation": EveryActivation,
    "linear": models.LinearAutoencoder, "dense, GELU": lambda: models.DenseAutoencoder(32, (128, 64), "GELU"),
    "convolutional": lambda: models.ConvAutoencoder(32, (16, 32)),
    "variational": lambda: models.VariationalAutoencoder(2, 50),
    "hybrid": models.encoder_and_mlp, "on feature maps": models.features_and_mlp, "CNN": models.ConvClassifier,
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_browser_computes_what_torch_does(name, blank, digits):
    torch.manual_seed(1)
    model = lived_in(NETWORKS[name]())
    few = digits.images[:20]
    answers = in_browser(blank, model, few)
    if "probabilities" in answers[0]:
        expected = metrics.class_probabilities(model, [few])
        assert torch.allclose(torch.tensor([a["probabilities"] for a in answers]), expected, atol=0.01)
    if hasattr(model, "encoder"):
        with torch.inference_mode():
            codes = model.encoder(few)
            drawn = model.decoder(codes).flatten(1)
        assert torch.allclose(torch.tensor([a["code"] for a in answers]), codes, atol=0.01, rtol=0.01)
        assert torch.allclose(torch.tensor([a["drawn"] for a in answers]), drawn, atol=0.01)
        errors = (drawn - few.flatten(1)).square().sum(1)
        assert torch.allclose(torch.tensor([a["error"] for a in answers]), errors, rtol=0.02)


@pytest.mark.parametrize("name", live_page._names(ROOT / "reports").values())
def test_the_committed_networks_say_and_draw_of_a_hundred_digits_what_torch_does(name, blank, digits):
    model = models.load(name, ROOT / "reports" / "models")
    draws = name not in live_page.UNTRAINED_DECODER and hasattr(model, "decoder")
    answers = in_browser(blank, model, digits.images, draws=draws)
    if name not in (*live_page.MAPS, live_page.SLIDERS):
        found = torch.tensor([a["probabilities"] for a in answers])
        expected = metrics.class_probabilities(model, [digits.images])
        assert torch.allclose(found, expected, atol=0.01)
        assert (found.argmax(1) == expected.argmax(1)).all()
    if draws:
        with torch.inference_mode():
            drawn = model.decoder(model.encoder(digits.images)).flatten(1)
        assert torch.allclose(torch.tensor([a["drawn"] for a in answers]), drawn, atol=0.01)
    assert all(("drawn" in answer) == (not name.startswith(("end_to_end", "student"))) for answer in answers)


NOT_KNOWN = [nn.Softmax(1), nn.MaxPool2d(3), nn.Conv2d(1, 2, 3, dilation=2), models.Standardize(3)]


@pytest.mark.parametrize("layer", NOT_KNOWN)
def test_a_layer_that_the_browser_does_not_know_is_named(layer):
    autoencoder = models.LinearAutoencoder(3)
    autoencoder.encoder = nn.Sequential(*autoencoder.encoder, layer) if isinstance(layer, models.Standardize) else \
        nn.Sequential(layer, *autoencoder.encoder)  # fmt: skip
    with pytest.raises(ValueError, match=type(layer).__name__):
        export.network(autoencoder, export.Weights())


def test_weights_too_large_for_half_precision_are_refused():
    weights = export.Weights()
    weights.add(torch.tensor([1.0, 1e6]))
    with pytest.raises(ValueError, match="half precision"):
        weights.half  # noqa: B018


def test_a_drawing_is_framed_as_pictures_frame_does_it(blank):
    for seed in range(5):
        random = np.random.default_rng(seed)
        ink = np.zeros((280, 280), np.float32)
        x, y = random.uniform(60, 220, (2, 6))
        for t in np.linspace(0, 1, 400):  # a bent stroke, wider than it is tall or the other way round
            at = t * 5
            i, part = min(int(at), 4), at - min(int(at), 4)
            px, py = (int(c[i] + part * (c[i + 1] - c[i])) for c in (x, y))
            ink[py - 11 : py + 11, px - 11 : px + 11] = 1
        found = blank.execute_script(
            "const f = frame(arguments[0], 280, 280); return Array.from(f.image)", ink.flatten().tolist()
        )
        expected = pictures.frame(255 * (1 - ink)).flatten()
        assert (torch.tensor(found) - expected).abs().max() < 0.02
    assert blank.execute_script("return frame(new Float32Array(100), 10, 10)") is None


def test_corruptions_are_those_of_chapter_7(blank, digits):
    def spoiled(name, strength, seed=1):
        script = "const [name, strength, seed, image] = arguments;" \
                 "return Array.from(CORRUPTIONS[name].of(Float32Array.from(image), strength, dice(seed)))"  # fmt: skip
        return torch.tensor(blank.execute_script(script, name, strength, seed, image.flatten().tolist())).view(
            1, 1, 28, 28
        )

    image = digits.images[:1]
    names = blank.execute_script("return Object.keys(CORRUPTIONS)")
    assert len(names) == 8
    assert torch.allclose(spoiled("blur", 1.3), corruptions.blur(image, 1.3), atol=1e-3)
    assert torch.allclose(spoiled("lost contrast", 0.4), corruptions.lower_contrast(image, 0.4), atol=1e-4)
    ways = {}
    for seed in range(40):  # whatever way the dice choose
        generator = torch.Generator().manual_seed(seed)
        ways[seed] = corruptions.rotate(image, 25, generator), corruptions.translate(image, 3.5, generator)
    for seed in range(4):
        turned, moved = spoiled("rotation", 25, seed), spoiled("shift", 3.5, seed)
        assert min((turned - expected).abs().max() for expected, _ in ways.values()) < 1e-3
        assert min((moved - expected).abs().max() for _, expected in ways.values()) < 1e-3
    assert (spoiled("erased square", 28) == 0).all() and (spoiled("missing rows", 28) == 0).all()
    assert len({tuple(row) for row in (spoiled("missing rows", 5) != image).any(-1).flatten().nonzero().tolist()}) <= 5
    flat = spoiled("noise", 0.2) - image
    assert 0.1 < flat.abs().mean() < 0.2 or flat.std() > 0.08  # half of it is cut off at 0 and 1
    peppered = (spoiled("salt and pepper", 0.3) != image).float().mean()
    assert 0.1 < peppered < 0.3  # a share of 0.3 is drawn, and half of it lands on what is black already


def probabilities(browser, part="draw"):
    rows = browser.find_elements(By.CSS_SELECTOR, f"[data-live={part}] .network")
    return [json.loads(row.get_attribute("data-probabilities")) for row in rows]


def pixels(browser, element):
    return torch.tensor(browser.execute_script(PIXELS, element))


def part(browser, name, css):
    found = browser.find_elements(By.CSS_SELECTOR, f"[data-live={name}] {css}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
    return found


def test_the_page_answers_at_once_and_is_light(opened, page):
    print(f"first answer after {opened.execute_script('return window.LIVE_READY'):.0f} ms")
    assert len(probabilities(opened)) >= 4 and all(abs(sum(row) - 1) < 0.01 for row in probabilities(opened))
    assert (
        sum(file.stat().st_size for file in (page.parent / "_static").glob("live*")) + page.stat().st_size < PAGE_WEIGHT
    )
    names = opened.find_elements(By.CSS_SELECTOR, "[data-live=draw] .network .name")
    assert len({name.text for name in names}) == len(names)
    links = [
        link.get_attribute("href")
        for link in opened.find_elements(By.CSS_SELECTOR, ".bd-sidebar-primary .toctree-l1 a")
    ]
    assert any(link.endswith("09_answer.html") for link in links)
    order = [link.split("/")[-1].split("#")[0] for link in links]
    assert order.index("09_answer.html") + 1 == order.index("live.html") or "live.html" not in order  # it is this page


def test_a_digit_from_the_tray_gets_torch_s_answers(opened, smoke_report):
    test = data.load("mnist-5000").test
    shown = test.images[:: max(1, len(test) // 250)]  # as `part_of_test` takes them for the smoke profile
    for button in part(opened, "draw", "button.tray")[-3:]:
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        index = int(button.get_attribute("aria-label").split()[2].rstrip(","))
        for name, found in zip(("hybrid", "end_to_end"), (probabilities(opened)[i] for i in (0, -3)), strict=True):
            model = models.load(name, smoke_report / "models")
            expected = metrics.class_probabilities(model, [shown[index : index + 1]])[0]
            assert torch.allclose(torch.tensor(found), expected, atol=0.01)
        seen = pixels(opened, part(opened, "spoil", "canvas.large")[0])
        assert torch.allclose(seen, shown[index].flatten(), atol=0.005)


def test_a_stroke_changes_the_answers_and_is_put_into_the_frame(opened):
    before = probabilities(opened)
    field = part(opened, "draw", "canvas.huge")[0]
    drag = ActionChains(opened, duration=20).move_to_element_with_offset(field, -20, -90).click_and_hold()
    for _ in range(6):
        drag.move_by_offset(8, 28)
    drag.release().perform()
    assert probabilities(opened) != before
    drawn = np.array(opened.execute_script(PIXELS, field)).reshape(280, 280)
    framed = pixels(opened, part(opened, "spoil", "canvas.large")[0]).view(28, 28)
    expected = pictures.frame(255 * (1 - drawn))[0]
    assert (framed - expected).abs().max() < 0.05
    ActionChains(opened).click(part(opened, "draw", "figure button")[0]).perform()
    assert not any(opened.execute_script(PIXELS, field))


def test_spoiling_changes_the_answers_and_can_be_undone(opened):
    before = probabilities(opened, "spoil")
    sliders = part(opened, "spoil", "input[type=range]")
    assert len(sliders) == 8
    for slider in sliders:
        slider.send_keys(Keys.END)
    assert probabilities(opened, "spoil") != before
    part(opened, "spoil", ".said button")[1].click()
    assert probabilities(opened, "spoil") == before and all(float(s.get_attribute("value")) == 0 for s in sliders)


def test_the_map_shows_what_torch_decodes_under_the_pointer(opened, smoke_report):
    for explorer, name in zip(part(opened, "map", ".two .explorer"), ("plain_2_codes", "vae_2_codes"), strict=True):
        model, cross = (
            models.load(name, smoke_report / "models"),
            explorer.find_element(By.CSS_SELECTOR, "canvas[tabindex]"),
        )
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", cross)
        seen = set()
        for offset in ((-70, 40), (60, -80), (0, 0)):
            ActionChains(opened, duration=0).move_to_element_with_offset(cross, *offset).perform()
            drawn = explorer.find_element(By.CSS_SELECTOR, "canvas.large")
            code = torch.tensor([float(x) for x in drawn.get_attribute("data-code").split()])
            with torch.inference_mode():
                expected = model.decoder(code[None]).flatten()
            assert torch.allclose(pixels(opened, drawn), expected, atol=0.012)
            seen.add(tuple(code.tolist()))
        assert len(seen) == 3
    timed = (
        "const s = document.querySelector('[data-live=map] canvas[tabindex]'), b = s.getBoundingClientRect();"
        "return Array.from({length: 60}, (_, i) => { const t = performance.now(); s.dispatchEvent(new PointerEvent("
        "'pointermove', {clientX: b.left + 3 * i, clientY: b.top + 2 * i})); return performance.now() - t; })"
    )
    print(f"a frame of the map: {statistics.median(opened.execute_script(timed)):.1f} ms (median)")


def test_a_path_between_two_digits_is_a_straight_line_of_codes(opened, smoke_report):
    cross = part(opened, "map", ".ae-live > .explorer canvas[tabindex]")[0]
    for offset in ((-60, 50), (70, -40)):
        ActionChains(opened, duration=0).move_to_element_with_offset(cross, *offset).click().perform()
    steps = part(opened, "map", ".ae-live > .explorer .strip canvas")
    assert len(steps) == 9
    model = models.load("hybrid", smoke_report / "models")
    shown = part(opened, "map", ".ae-live > .explorer canvas.large")[-1]
    last = torch.tensor([float(x) for x in shown.get_attribute("data-code").split()])
    with torch.inference_mode():
        assert torch.allclose(pixels(opened, steps[-1]), model.decoder(last[None]).flatten(), atol=0.012)


def test_sliders_draw_what_torch_decodes(opened, smoke_report):
    model = models.load("vae_narrow", smoke_report / "models")
    sliders, (drawn, *_) = part(opened, "sliders", "input[type=range]"), part(opened, "sliders", "canvas.large")
    assert len(sliders) == 12
    before = drawn.get_attribute("data-code")
    for slider in sliders[:3]:
        slider.send_keys(Keys.HOME)
    after = drawn.get_attribute("data-code")
    assert sum(a != b for a, b in zip(before.split(), after.split(), strict=True)) == 3
    with torch.inference_mode():
        expected = model.decoder(torch.tensor([[float(x) for x in after.split()]])).flatten()
    assert torch.allclose(pixels(opened, drawn), expected, atol=0.012)
    part(opened, "sliders", "button")[0].click()
    assert drawn.get_attribute("data-code") == before


def changed(page, folder, change):
    """A copy of the page in another folder, whose live-data.js holds what `change` makes of its content."""
    shutil.copytree(page.parent / "_static", folder / "_static")
    shutil.copy(page, folder)
    file, begin = folder / "_static" / "live-data.js", "window.LIVE = "
    content = json.loads(file.read_text().removeprefix(begin).rstrip(";\n"))
    change(content)
    file.write_text(f"{begin}{json.dumps(content, separators=(',', ':'))};\n")
    return folder / page.name


def test_the_oracle_s_answers_buy_the_accuracy_that_they_are_worth(browser, page, smoke_report, tmp_path):
    def ten_classes(content):  # a student trained for seconds may have heard of a class twice
        for label, one in enumerate(content["oracle"]["asked"]):
            one["label"] = label

    visit(browser, changed(page, tmp_path, ten_classes))
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(READY))
    test = data.load("mnist-5000").test
    test = data.Split(test.images[:: len(test) // 250], test.labels[:: len(test) // 250])
    says = metrics.predict(models.load(live_page._students(smoke_report)[0], smoke_report / "models"), test.images)
    result, selects = part(browser, "oracle", ".result")[0], part(browser, "oracle", "select")
    assert "No answer yet" in result.text
    part(browser, "oracle", "button")[0].click()
    assert result.text.startswith(f"{(says == test.labels).float().mean():.2%}") and "10 of 10" in result.text
    assert not browser.find_elements(By.CSS_SELECTOR, ".strip figure"), "all are read as the right answers say"
    answers = list(range(10))
    for k, wrong in ((says.mode().values.item(), 7), (2, 5)):  # one of them for what the student says most
        answers[k] = wrong
        selects[k].send_keys(str(wrong))
    named = torch.tensor(answers)[says]
    assert result.text.startswith(f"{(named == test.labels).float().mean():.2%}")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".strip figure")) == min(24, int((named != says).sum())) > 0
    part(browser, "oracle", "button")[1].click()
    assert "No answer yet" in result.text


def test_everything_can_be_done_by_keyboard(opened):
    def focus(css):
        element = part(opened, *css)[0]
        opened.execute_script("arguments[0].focus()", element)
        assert opened.execute_script("return document.activeElement === arguments[0]", element)
        return ActionChains(opened)

    before = probabilities(opened)
    focus(("draw", "canvas.huge")).send_keys(Keys.SPACE, *[Keys.ARROW_DOWN] * 6, *[Keys.ARROW_RIGHT] * 4).perform()
    drawn = probabilities(opened)
    assert drawn != before
    focus(("draw", "button.tray")).send_keys(Keys.ENTER).perform()
    assert probabilities(opened) == before != drawn  # the first of the tray is what the page begins with
    code = part(opened, "map", "canvas.large")[0]
    at = code.get_attribute("data-code")
    focus(("map", "canvas[tabindex]")).send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP).perform()
    assert code.get_attribute("data-code") != at
    focus(("sliders", "input")).send_keys(Keys.ARROW_RIGHT).perform()
    focus(("oracle", "select")).send_keys("3").perform()
    assert "with 1 of 10 answers" in part(opened, "oracle", ".result")[0].text
    unnamed = (
        "return [...document.querySelectorAll('canvas, button, select, input')].filter(e => e.closest('[data-live]'))"
        ".filter(e => !e.closest('[aria-hidden]') && !(e.getAttribute('aria-label') || e.textContent))"
        ".map(e => e.outerHTML)"
    )
    assert opened.execute_script(unnamed) == opened.execute_script(
        "return [...document.querySelectorAll('.map canvas:not([tabindex])')].map(e => e.outerHTML)"
    ), "only the marks of a map, over which the named field lies, have no name of their own"


def test_the_page_fits_a_phone(opened):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 391


@pytest.mark.parametrize("damage", ["missing", "cut off", "other weights"])
def test_damaged_networks_are_said_on_the_page(damage, browser, page, tmp_path):
    file = changed(page, tmp_path, lambda content: None).parent / "_static" / "live-data.js"
    text = file.read_text()
    content = {
        "missing": None,
        "cut off": text[: len(text) // 2],
        "other weights": text.replace('"weights":"', '"weights":"AAAA'),
    }
    if content[damage] is None:
        file.unlink()
    else:
        file.write_text(content[damage])
    visit(browser, tmp_path / "live.html")
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(READY))
    said = {problem.text for problem in browser.find_elements(By.CSS_SELECTOR, ".problem")}
    assert len(said) == 1 and "live-data.js" in said.pop()
    browser.get_log("browser")


def test_a_damaged_network_is_said_by_the_export(smoke_report, tmp_path, capsys):
    (tmp_path / "models").mkdir()
    for path in (smoke_report / "models").glob("*.safetensors"):
        shutil.copy(path, tmp_path / "models")
    shutil.copy(smoke_report / "results.json", tmp_path)
    damaged = tmp_path / "models" / "vae_2_codes.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ReportError, match="vae_2_codes"):
        live_page.write(tmp_path, tmp_path)
    damaged.unlink()
    assert live_page.write(tmp_path, tmp_path / "unused") is False, "it does not keep all that the page shows"
    (tmp_path / "README.md").write_text("# A report\n")
    assert command.main(["live", "--out", str(tmp_path)]) == 1
    assert "run chapters 4 to 6" in capsys.readouterr().err


def test_where_the_training_images_are_not_at_hand_the_page_says_so(smoke_report, browser, tmp_path):
    """As in a fresh clone without network, where part of MNIST takes its place."""
    out = tmp_path / "report"
    shutil.copytree(smoke_report, out, ignore=shutil.ignore_patterns("html"))
    results = json.loads((out / "results.json").read_text())
    results["header"]["dataset"]["checksum"] = "of all of MNIST"
    (out / "results.json").write_text(json.dumps(results))
    shutil.rmtree(out / "notebooks")
    (out / "notebooks").mkdir()
    visit(browser, run.rendered(out, book.render).with_name("live.html"))
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(READY))
    assert "not at hand" in browser.find_element(By.CSS_SELECTOR, "[data-live=oracle]").text
    assert len(probabilities(browser)) >= 4 and console_errors(browser) == []


def test_a_notebook_executed_without_a_browser_shows_a_still_picture(smoke_report):
    for chapter, cell in (("01", "live-map"), ("05", "live-sliders"), ("06", "live-restoring"), ("07", "live-clean")):
        (path,) = (smoke_report / "notebooks").glob(f"{chapter}_*.ipynb")
        notebook = nbformat.read(path, as_version=4)
        (outputs,) = (
            [o for o in c.outputs if o.output_type == "execute_result"] for c in notebook.cells if c.id == cell
        )
        assert "image/png" in outputs[0].data and not any("widget" in kind for kind in outputs[0].data)


def test_the_widget_carries_a_picture_for_what_shows_no_widgets(digits):
    autoencoder = models.ConvAutoencoder(2, (4, 8))
    bundle = live.explore(autoencoder, data.load("mnist-5000"))._repr_mimebundle_()
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= shown.keys()


NOTEBOOK = """import torch
from mnist_ae_utils import data, live, models
torch.manual_seed(0)
autoencoder = models.ConvAutoencoder({latent_dim}, (4, 8))
live.explore(autoencoder, data.load("mnist-5000"))"""


def run_cell(browser, latent_dim, shown):
    """Press Shift and Enter in the cell with that code, again if JupyterLab did not hear it, until the widget shows.

    What is out of sight, JupyterLab takes out of the page: cells are not counted, but found by what they say.
    """
    find = "return [...document.querySelectorAll('.jp-CodeCell')].find(c => c.textContent.includes(arguments[0]))"
    not_ready = (NoSuchElementException, ElementNotInteractableException, StaleElementReferenceException)

    def is_run(b):
        if (cell := b.execute_script(find, f"ConvAutoencoder({latent_dim},")) is None:
            return False
        if cell.find_element(By.CSS_SELECTOR, ".jp-InputPrompt").text.strip() != "[ ]:":
            return True
        cell.find_element(By.CSS_SELECTOR, ".cm-content").click()
        ActionChains(b).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).pause(1).perform()

    WebDriverWait(browser, 180, ignored_exceptions=not_ready).until(is_run)
    WebDriverWait(browser, 180).until(lambda b: b.find_elements(By.CSS_SELECTOR, f".ae-live {shown}"))


def test_the_widget_works_in_jupyterlab(tmp_path):
    """In a browser of its own, to which this machine is all there is."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [nbformat.v4.new_code_cell(NOTEBOOK.format(latent_dim=n)) for n in (2, 8)]
    nbformat.write(notebook, tmp_path / "try.ipynb")
    with in_jupyterlab.opened(tmp_path, "try.ipynb") as browser:
        run_cell(browser, 2, "canvas[tabindex]")
        torch.manual_seed(0)
        model = models.ConvAutoencoder(2, (4, 8)).eval()
        cross = browser.find_element(By.CSS_SELECTOR, ".ae-live canvas[tabindex]")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cross)
        ActionChains(browser, duration=0).move_to_element_with_offset(cross, 40, 30).perform()
        drawn = browser.find_element(By.CSS_SELECTOR, ".ae-live canvas.large")
        code = torch.tensor([float(x) for x in drawn.get_attribute("data-code").split()])
        with torch.inference_mode():
            expected = model.decoder(code[None]).flatten()
        assert torch.allclose(pixels(browser, drawn), expected, atol=0.012)
        run_cell(browser, 8, "input[type=range]")
        sliders = browser.find_elements(By.CSS_SELECTOR, ".ae-live input[type=range]")
        assert len(sliders) == 8
        last = browser.find_elements(By.CSS_SELECTOR, ".ae-live canvas.large")[-1]
        before = last.get_attribute("data-code")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", sliders[0])
        sliders[0].send_keys(Keys.END)
        assert last.get_attribute("data-code") != before and math.isfinite(float(pixels(browser, last).sum()))
