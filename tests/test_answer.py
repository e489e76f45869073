"""Chapter 9 on made-up results that must be supported, refuted, mixed and undecided, and with chapters missing.

Its project is a folder of the test, in which no other reports lie but those that the test makes.
"""

import json
import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from kernel import Kernel
from nbformat.v4 import new_code_cell
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from mnist_ae_utils import chapter, data, results
from mnist_ae_utils.report import collect, pages

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "09_answer.ipynb"
CHAPTERS = list(results.RULES["contrasts"])
ACCURACIES = {"04_hybrid_classification": "hybrid.accuracy", "06_few_labels": "few_labels.accuracy"}


FASHION = {"profile": "smoke", "dataset": "fashion-mnist", "checksum": "abc", "seeds": "1000-1003"}
SETTINGS = {"profile": "smoke", "dataset": "mnist-5000", "checksum": data.load("mnist-5000").checksum, "seeds": 2}


@pytest.fixture(scope="module")
def execute():
    """A function that runs the notebook on what lies in a folder, and returns its error: all in one kernel."""
    with Kernel() as kernel:

        def run(folder):
            notebook = load_notebook_node(str(NOTEBOOK))
            project = "import warnings\nwarnings.resetwarnings()\nwarnings.simplefilter('default')\n" \
                      "from pathlib import Path\nfrom mnist_ae_utils import data\n" \
                      f"data.PROJECT_ROOT = Path({str(folder)!r})"  # fmt: skip
            notebook.cells.insert(0, new_code_cell(project, metadata={"tags": []}))
            error = kernel.run(parameterize_notebook(notebook, {"profile": "smoke", "out": str(folder)}))
            nbformat.write(notebook, folder / "09.ipynb")
            return error

        yield run


def outputs(tmp_path):
    """What the cells of the executed notebook show, as text."""
    return json.dumps([cell.get("outputs") for cell in nbformat.read(tmp_path / "09.ipynb", as_version=4).cells])


def leave(out, differences, left_out=(), settings=SETTINGS):
    """Leave made-up results of the chapters, made with `settings`, in the folder `out`.

    `differences` are those of each primary contrast, by the letter of the claim that it decides, or by its id.
    """
    for name in set(CHAPTERS) - set(left_out):
        of_chapter = results.Results(name, settings, out)
        if name in ACCURACIES:
            n_labels = 10 if name.startswith("06") else 55_000
            accuracy = [0.98, 0.981, 0.979] if settings is SETTINGS else [0.85, 0.851, 0.849]
            of_chapter.add(ACCURACIES[name], accuracy, "fraction", n_labels=n_labels, headline=f"Accuracy of {name}")
        if name.startswith("06"):
            of_chapter.add_failures("few_labels.failure_rate", [False, True, *[False] * 8, True], split="train")
        for rule in of_chapter.rules:
            per_seed = differences.get(rule["id"], differences.get(rule.get("primary"), UP))
            for n in rule.get("n_labels", [None]):
                of_chapter.compare(rule["id"], per_seed, n_labels=55_000 if n == "all" else n)
        of_chapter.save()


def rows(tmp_path, heading):
    """The rows, as lists of cells, of the tables in which a column has this heading."""
    found = []
    for cell in nbformat.read(tmp_path / "09.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            if f">{heading}</th>" in html:
                of_table = re.findall(r"<tr>(.*?)</tr>", html.partition("<tbody>")[2], re.DOTALL)
                found += [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in of_table]
    return found


@pytest.fixture(scope="module")
def answer(execute):
    """A function that runs the notebook on made-up results (see `leave`): its entries by id, and its text."""

    def run(folder, differences, left_out=()):
        leave(folder, differences, left_out)
        assert execute(folder) is None
        entries = results.read(folder)["09_answer"]
        return {entry["id"]: entry for entry in entries}, outputs(folder)

    return run


UP, DOWN = [0.6, 0.601, 0.602, 0.599], [-0.6, -0.601, -0.602, -0.599]
BETWEEN, TINY = [0.6, -0.3, 0.4, 0.1], [1e-5, -1e-5, 2e-5, 0.0]


def test_claims_come_out_as_their_contrasts_do(answer, tmp_path):
    differences = {"a": UP, "b": DOWN, "c": TINY, "d": DOWN, "batch_norm_stabilizes": UP, "g": BETWEEN, "i": UP,
                   "batch_norm_improves_reconstruction": DOWN}  # fmt: skip
    claims, text = answer(tmp_path, differences)
    expected = {"a": "supported", "b": "refuted", "c": "no difference that matters", "d": "refuted", "e": "supported",
                "f": "mixed", "g": "undecided", "h": "supported", "i": "supported"}  # fmt: skip
    assert {letter: claims[f"claim_{letter}"]["value"] for letter in expected} == expected
    assert claims["answer"]["value"] == "refuted" and "though its codes lose something" in claims["answer"]["claim"]
    assert "98.00%" in claims["answer"]["claim"] and "2 refuted" in claims["answer"]["claim"]
    assert "told how digits may be distorted, a student network is right on **98.00%**" in claims["answer"]["claim"]
    assert "lost a class in 2 of 11 seeds, 1 of them among the 3 that taught these" in claims["answer"]["claim"]
    assert "(The best hybrid minus the latter: +60.1 (+59.8 to +60.3) points.)" in claims["answer"]["claim"]
    assert "4 of 8 planned seeds" in claims["claim_a"]["note"] and "4 of 8 planned seeds" in claims["claim_b"]["note"]
    assert re.search(r"about \d+ would decide it", claims["claim_g"]["note"]), "how many seeds it takes is said"
    assert "image/png" in text
    beside = {letter: claims[f"claim_{letter}"].get("beside", "") for letter in "abdfgi"}
    assert beside["a"] == "" and beside["i"].startswith("read by the MLP: ") and beside["i"] in text
    assert beside["i"].count("points with") == 3 and "both having seen the same noise in training: " in beside["d"]
    assert "Batch norm makes the codes better" in beside["f"] and "Weight decay prevents overfitting" in beside["g"]
    assert "No report on other data is there" in text and "--profile smoke --dataset fashion-mnist" in text
    assert "claim_a.fashion-mnist" not in claims and "On fashion" not in text


def test_a_missing_chapter_is_named_and_the_rest_is_answered(answer, tmp_path):
    left_out = ["05_variational_autoencoder", "07_robustness"]
    claims, text = answer(tmp_path, {}, left_out)
    assert all(f"{name} has left no results" in text for name in left_out)
    assert claims["claim_i"]["value"] == "undecided" and "05_variational_autoencoder" in claims["claim_i"]["note"]
    assert claims["claim_e"]["value"] == claims["claim_a"]["value"] == "supported"
    assert claims["answer"]["value"] == "supported" and "**Yes, as a hybrid.**" in claims["answer"]["claim"]
    assert "(2 of the nine not measured yet)." in claims["answer"]["claim"]
    assert "p corrected for all 13 primary contrasts" in claims["claim_a"]["rule"], "missing ones make none milder"


def test_without_any_chapter_every_claim_is_undecided_and_every_chapter_named(answer, tmp_path):
    """And the full reports that are kept are shown, but do not count as if they were this one."""
    leave(tmp_path / "reports", {}, settings=FASHION | {"profile": "full", "dataset": "mnist"})
    leave(tmp_path / "reports" / "fashion-mnist", {"a": DOWN}, settings=FASHION | {"profile": "full"})
    claims, text = answer(tmp_path, {}, CHAPTERS)
    assert "Shown are the full reports" in text and "mnist: profile full, seeds 1000-1003" in text
    assert rows(tmp_path, "holds on fashion-mnist")[0][-1] == "no"
    assert "claim_a.fashion-mnist" not in claims and "On fashion-mnist" not in claims["answer"]["claim"]
    assert all(f"{name} has left no results" in text for name in CHAPTERS)
    assert {claims[f"claim_{letter}"]["value"] for letter in "abcdefghi"} == {"undecided"}
    begins = "**Whether the codes lose anything that a classifier reads from the pixels is undecided.** Whether round"
    assert claims["answer"]["claim"].startswith(begins)
    assert text.count("THIS IS NOT ALL OF MNIST") == 1


def test_a_chapter_run_with_other_settings_is_refused_before_anything_is_answered(execute, tmp_path):
    of_chapter = results.Results("04_hybrid_classification", SETTINGS | {"seeds": 3}, tmp_path)
    of_chapter.add("hybrid.accuracy", [0.98, 0.981, 0.979], "fraction", n_labels=55_000)
    of_chapter.save()
    refused = r"holds results made with seeds 3 instead of 2 \(04_hybrid_classification.json\)"
    assert re.search(refused, execute(tmp_path))
    assert "98.00%" not in outputs(tmp_path) and not (tmp_path / "results" / "09_answer.json").exists()


def test_a_damaged_results_file_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "03_regularization.json"
    for damaged in ('[{"id": ', "[]", '{"results": []}'):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="03_regularization.json is damaged .* run notebook 03_regularization"):
            results.read(tmp_path)
    assert results.read(tmp_path / "nowhere") == {}


@pytest.fixture(scope="module")
def beside(answer, tmp_path_factory):
    """The notebook beside a report on other data, of which two chapters failed: its entries by id, and its folder.

    One of them left nothing, the other a part.
    """
    here = tmp_path_factory.mktemp("here")
    there = here / "reports" / "smoke-fashion-mnist"
    leave(there, {"b": DOWN, "d": BETWEEN, "e": TINY}, ["05_variational_autoencoder"], settings=FASHION)
    path = there / "results" / "04_hybrid_classification.json"
    content = json.loads(path.read_text())
    lost = ("best_hybrid_beats_end_to_end", 100)
    content["results"] = [entry for entry in content["results"] if (entry["id"], entry["n_labels"]) != lost]
    path.write_text(json.dumps(content))
    return answer(here, {"batch_norm_stabilizes": DOWN, "e": TINY})[0], here


def test_verdicts_on_other_data_stand_beside_and_whether_they_hold(beside):
    claims, here = beside
    expected = {"a": ("supported", "yes"), "b": ("refuted", "no"), "c": ("undecided", "undecided"),
                "d": ("undecided", "undecided"), "e": ("no difference that matters", "yes"), "f": ("supported", "no"),
                "i": ("undecided", "undecided")}  # fmt: skip
    table = rows(here, "holds on fashion-mnist")
    assert len(table) == 16, "thirteen contrasts, and three claims of several"
    for letter, (verdict, holds) in expected.items():
        of_claim = [row for row in table if row[0] == letter]
        there = claims[f"claim_{letter}.fashion-mnist"]
        assert there["value"] == verdict and there["dataset"] == "fashion-mnist" and "on fashion-mnist" in there["rule"]
        assert of_claim[-1][-2].startswith(verdict) and of_claim[-1][-1] == holds
    assert [row[-1] for row in table if row[0] == "c"] == ["undecided", "yes", "yes", "undecided"]
    assert claims["claim_f"]["value"] == "mixed" and [row[-1] for row in table if row[0] == "f"] == ["no", "yes", "no"]
    rest = "threshold -0.2 points, corrected p below 0.001, 4 of 8 planned seeds"
    assert table[1][3:] == [f"supported: +60.1 (+59.8 to +60.3) points, {rest}",
                            f"refuted: -60.1 (-60.3 to -59.8) points, {rest}", "no"]  # fmt: skip
    assert [row[-2] for row in table if "not measured" in row[-2]] == ["undecided: not measured"] * 2
    said = ("On fashion-mnist, verdicts that hold: 4; that do not: 2; undecided there or here: 3 "
            "(claims not measured there: 1).")
    assert claims["answer"]["claim"].endswith(said)


def test_estimates_stand_beside_those_on_other_data(beside):
    table = rows(beside[1], "what is asked")
    asked = [rule["claim"] if n == of[0] else ""  # said once for several numbers of labels
             for notebook in ("05_variational_autoencoder", "06_few_labels", "08_doubt")
             for rule in results.RULES["contrasts"][notebook] for of in [rule.get("n_labels", [""])] for n in of]
    assert [unescape(row[0]) for row in table] == asked
    (ten,) = (row for row in table if row[0] == "Ten chosen labels are enough for 99 of 100 images")
    assert ten[-2:] == ["+60.1 (+59.8 to +60.3) points"] * 2


def test_headline_figures_stand_beside_those_on_other_data_at_as_many_labels_or_at_all(beside):
    (hybrid, *_), few = rows(beside[1], "figure"), rows(beside[1], "figure")[-1]
    assert hybrid[:3] == ["Accuracy of 04_hybrid_classification", "all", "%"]
    assert hybrid[3:] == ["98.00 (97.75 to 98.25)", "85.00 (84.75 to 85.25)"]
    assert few[:3] == ["Accuracy of 06_few_labels", "10", "%"]


def test_the_first_page_shows_what_holds_on_other_data(beside):
    entries = list(beside[0].values())
    collect.check_entries(entries, "x")
    header = {
        "profile": "quick", "dataset": {"name": "mnist", "source": "", "checksum": "", "notice": ""}, "seeds": 2,
        "notebooks": {}, "failed": [], "rules": "none", "seconds_total": 1, "started": "", "commit": "none",
        "versions": {}, "platform": "", "device": "cpu",
        "hardware": {"cpu": "", "cores": 2, "memory_gib": 24, "gpu": None},
    }  # fmt: skip
    part = pages.page({"header": header, "results": entries}).split("## Does it hold on other data?")[1].split("##")[0]
    table = [line for line in part.splitlines() if line.startswith("|")]
    assert table[:2] == ["| | claim | mnist | fashion-mnist | holds |", "| --- | --- | --- | --- | --- |"]
    b = r"\| b \| .* \| \*\*supported\*\* \| \*\*refuted\*\*: .*: with 55,000 labels -60.1 \(.*\) points, .* \| no \|"
    assert len(table) == 11 and re.fullmatch(b, table[3])
    assert "with 1,000 labels +60.1 (+59.8 to +60.3) points, margin 0.2 points, corrected p" in table[4]
    assert table[10].endswith("| **undecided**: not measured there | undecided |")
    store = results.Results("06_few_labels", SETTINGS, "")
    store.add_failures("few_labels.failure_rate", [True] + [False] * 59, split="train", headline="How often it fails")
    page = pages.page({"header": header, "results": entries + store.entries})
    assert "| How often it fails (with 95% confidence, no more than 7.7%) | 1.67% (0.04% to 8.94%) | 60 |" in page
    assert "figure, and what decides it | measured too |" in page and f"{beside[0]['claim_i']['beside']} |" in page
    own = [entry for entry in entries if entry["shown"] != "elsewhere"]
    assert "other data?" not in pages.page({"header": header, "results": own})


def test_which_reports_stand_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PROJECT_ROOT", tmp_path)
    of = {name: FASHION | {"profile": "full", "dataset": name} for name in ("mnist", "fashion-mnist")}
    quick = results.Results("09_answer", of["mnist"] | {"profile": "quick"}, tmp_path / "reports" / "quick")
    leave(chapter.kept_folder("mnist"), {}, settings=of["mnist"])
    assert chapter.by_dataset(quick) == {}, "on one data set only"
    leave(chapter.kept_folder("fashion-mnist"), {}, settings=of["fashion-mnist"])
    for name, made_with in of.items():
        full = results.Results("09_answer", made_with, chapter.kept_folder(name))
        found = chapter.by_dataset(full)
        assert next(iter(found)) == name and {name: report[0] for name, report in found.items()} == of
    assert list(chapter.by_dataset(quick)) == ["mnist", "fashion-mnist"]
    for name in ("kmnist", "uci-digits"):
        leave(chapter.report_folder("quick", name), {}, settings=quick.made_with | {"dataset": name})
    assert list(chapter.by_dataset(quick)) == ["mnist", "fashion-mnist"], "it has nothing that could stand beside them"
    leave(quick.out, {}, settings=quick.made_with)
    assert list(chapter.by_dataset(quick)) == ["mnist", "kmnist", "uci-digits"], "of its own profile"


@pytest.mark.parametrize("changes", [{"above": 0.5}, {"primary": "a"}, {"matters": 0.3}])
def test_a_report_by_other_rules_is_left_out(tmp_path, changes):
    leave(tmp_path, {})
    assert results.report(tmp_path)[0] == SETTINGS
    for path in (tmp_path / "results").iterdir():
        content = json.loads(path.read_text())
        content["results"] = [e | changes if e.get("primary") else e for e in content["results"]]
        path.write_text(json.dumps(content))
    assert results.report(tmp_path) is None


def test_the_report_of_before_the_rules_is_left_out(tmp_path):
    of_old = {"id": "hybrid_is_right", "notebook": "04_hybrid_classification", "value": 0.01, "margin": 0.002}
    results.write(tmp_path, "04_hybrid_classification", SETTINGS, [of_old])
    assert results.report(tmp_path) is None and results.report(tmp_path / "nowhere") is None
