"""Every notebook as a student gets it, and run from the first cell to the last; what may import what."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import cells
import nbformat
import numpy as np
import pandas as pd
import pytest

import mnist_ae_utils
from mnist_ae_utils import chapter, models, report
from mnist_ae_utils import results as measured
from mnist_ae_utils.report import check, collect, notebooks, verify

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"profile", "dataset", "seeds", "latent_dim", "device", "out"}
# A module imports only from those before it; modules in one group, separated by spaces, not from each other.
ORDER = (
    "corruptions data", "machine", "pictures", "models", "training", "metrics", "results", "fingerprints", "runs",
    "trainings", "few_labels", "chapter", "checks", "figures", "plots", "predictions", "live.export", "live.widget",
    "report.folder", "report.kernel", "report.engine", "report.notebooks", "report.collect", "report.pages",
    "report.verify", "report.live_page", "report.formulas", "report.paper", "report.online", "report.book",
    "report.slides", "report.check", "report.run", "report.bundle", "report.command", "__main__",
)  # fmt: skip


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def imported(source):
    """Modules of the package that a source imports, such as "data" and "report.page"; "" for the package itself."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for package, *parts in (name.split(".") for name in names):
            if package == "mnist_ae_utils":
                yield ".".join(parts[: 1 + (parts[0] in ("live", "report") if parts else 0)])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stripped_and_readable(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs are stripped"
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    values = {}
    exec(parameters.source, values)
    assert set(values) - {"__builtins__"} == PARAMETERS
    assert values["profile"] == "quick" and values["seeds"] is None and values["out"] is None
    assert "smoke" not in parameters.source, "the profile of the tests is not offered"
    assert max(len(cell.source.splitlines()) for cell in code if "source" not in cell.metadata) <= 25
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("**The question of this chapter.**", "**What to expect.**", "**Run time**", "*Predict:*",
                 "**What to see.**", "## Exercises"):  # fmt: skip
        assert part in prose, f"{path.name} lacks {part}"
    assert [cell.metadata.get("exercises") for cell in notebook.cells][-1] == path.stem
    if path.stem in measured.RULES["contrasts"]:
        opening = cells.announced(path.stem)
        before_code = notebook.cells[: notebook.cells.index(code[0])]
        assert any(cell.source == opening for cell in before_code), "it announces its contrasts"
        assert prose.index("## What was measured") < prose.index("## What was found, and why")
        assert sum("chapter.found(" in cell.source for cell in code) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_that_show_the_packages_code_hold_its_text(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if (expected := cells.expected(cell)) is not None:
            assert cell.source == expected, f"{cell.source.splitlines()[0]}: run `make cells`"


def prose(path):
    """What the Markdown of a notebook or page says, without titles, code, formulas and links."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown" and "rules" not in cell.metadata
        )
    text = re.sub(r"^# .*", "", text, flags=re.MULTILINE)
    return re.sub(r"```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)|\$[^$]*\$", "", text, flags=re.DOTALL)


def headings(path):
    """The anchors of a notebook's or page's headings, as a link names them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower().replace("`", "")).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", [*NOTEBOOKS, *notebooks.pages()], ids=lambda path: path.stem)
def test_every_chapter_that_is_named_is_a_link_and_every_link_leads_to_a_heading(path):
    assert not re.findall(r"[Cc]hapters?\s+\d|\bthe last chapter", prose(path)), "link it"
    for target, anchor in re.findall(r"\]\(([\w.]+\.(?:ipynb|md))(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
        assert not anchor or anchor in headings(path.parent / target), f"{target}#{anchor}"


def test_the_glossary_says_where_each_term_is_explained_and_the_section_names_it():
    (glossary,) = (path for path in notebooks.pages() if path.stem == "GLOSSARY")
    text = glossary.read_text(encoding="utf-8")
    terms = re.findall(r"^## (.*)\n\n((?:.+\n)+)", text, re.MULTILINE)
    assert len(terms) == text.count("\n## ") >= 50
    assert [term for term, _ in terms] == sorted((term for term, _ in terms), key=str.casefold)
    for term, said in terms:
        assert re.search(r"\]\(0\d_\w+\.ipynb#[\w-]+\)\.\n$", said), f"{term}: say where it is explained"


def test_every_work_beside_a_result_is_in_the_bibliography():
    bibliography = (ROOT / "notebooks" / "REFERENCES.md").read_text(encoding="utf-8")
    entries = json.loads((ROOT / "reports" / "results.json").read_text(encoding="utf-8"))["results"]
    sources = {entry["reference"]["source"] for entry in entries if entry["reference"]}
    works = [re.search(r'#(\w)">(\w+)[^<]* (\d{4})</a>', measured.cited(source)) for source in sources]
    assert works and all(works), "an author and a year"
    for letter, author, year in (work.groups() for work in works):
        of_letter = bibliography.partition(f"## {letter.upper()}\n")[2].partition("\n## ")[0]
        assert re.search(rf"^{author}, .*\({year}\)", of_letter, re.MULTILINE), f"{author} {year}"


def names(node, context):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def of_functions(source):
    """Names that the functions and classes of a cell read and do not give values themselves."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
            own |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef)} | names(node, ast.Store)
            yield from names(node, ast.Load) - own


def assigned(source):
    """Names to which the statements of a cell give values; not what `|=` adds to, nor a comprehension's own."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AugAssign):
            own = [g.target for n in ast.walk(node) for g in getattr(n, "generators", ())]
            yield from names(node, ast.Store) - set().union(*(names(target, ast.Store) for target in own))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_function_finds_its_variables_as_they_were_after_all_cells_have_been_run(path):
    sources = [re.sub(r"^[%!].*", "", cell.source, flags=re.MULTILINE) for cell in code_cells(path)]
    for number, source in enumerate(sources):
        later = {name for other in sources[number + 1 :] for name in assigned(other)}
        changed = sorted(later & set(of_functions(source)))
        assert not changed, f"{source.splitlines()[0]}: exercises call it at the end"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_imports_the_report(path):
    code = "\n".join(re.sub(r"^[%!].*", "", cell.source, flags=re.MULTILINE) for cell in code_cells(path))
    assert not [module for module in imported(code) if module.startswith("report")]


def test_a_module_imports_only_from_those_before_it():
    package = Path(mnist_ae_utils.__file__).parent
    found = [path.relative_to(package).with_suffix("").parts for path in package.rglob("*.py")]
    modules = {".".join(parts) for parts in found if parts[-1] != "__init__" and "site" not in parts}
    assert modules == {name for group in ORDER for name in group.split()}
    before = set()
    for group in ORDER:
        for name in group.split():
            later = set(imported((package / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))) - before
            assert not later, f"{name} imports {', '.join(sorted(later))}"
        before |= set(group.split())
    names = [name for group in ORDER[:-1] for name in group.split()]
    outer = dict.fromkeys(name.split(".")[0] for name in names)
    assert ", ".join(outer) in " ".join(mnist_ae_utils.__doc__.split())
    of_report = [name.removeprefix("report.") for name in names if name.startswith("report.")]
    assert ", ".join(of_report) in " ".join(report.__doc__.split())


def test_all_notebooks_together_hold_less_than_2750_lines_of_code():
    own = {path.stem: [cell for cell in code_cells(path) if "bootstrap" not in cell.metadata] for path in NOTEBOOKS}
    lines = {name: sum(bool(line.strip()) for cell in cells for line in cell.source.splitlines())
             for name, cells in own.items()}  # fmt: skip
    assert sum(lines.values()) < 2750, lines


def test_every_notebook_runs_and_leaves_results_in_the_schema(smoke_report):
    results = json.loads((smoke_report / "results.json").read_text())
    header = results["header"]
    assert header["profile"] == "smoke" and header["dataset"]["name"] == "mnist-5000" and not header["failed"]
    assert "NOT ALL OF MNIST" in header["dataset"]["notice"]
    for path in NOTEBOOKS:
        file = smoke_report / "results" / f"{path.stem}.json"
        entries = collect.read_chapter(file, collect.made_with(header), path.stem)
        rules = measured.RULES["contrasts"].get(path.stem, ())
        announced = {rule["id"] for rule in rules if "dataset" not in rule}  # the others are on MNIST
        assert {entry["id"] for entry in entries if "above" in entry} == announced
        assert header["notebooks"][path.stem]["seconds"] > 0
    assert check.problems(smoke_report) == [] and (smoke_report / "html" / "index.html").exists()


def test_the_networks_that_the_notebooks_keep_reproduce_their_figures(smoke_report):
    names = {path.stem for path in (smoke_report / "models").glob("*.safetensors")}
    assert {name for name in names if not name.startswith("best_hybrid")} == {
        "linear_autoencoder", "dense_autoencoder", "dense_autoencoder_2", "hybrid", "end_to_end", "fine_tuned",
        "end_to_end_distorted", "cnn_distorted", "vae", "vae_2_codes", "plain_2_codes", "vae_narrow",
        "restoring_autoencoder", "student_0", "student_1", "student_100_labels",
    }  # fmt: skip
    assert verify.differing(smoke_report) == 0


def test_the_networks_of_a_full_report_fit_into_12_mb(smoke_report):
    """Found out before it runs for hours: the same networks, its classifiers twice as wide, its students more seeds."""
    sizes = {}
    for path in (smoke_report / "models").glob("*.safetensors"):
        of = models.kept(path)
        wider = {"channels": [2 * c for c in of["settings"]["channels"]]} if of["network"] == "ConvClassifier" else {}
        network = getattr(models, of["network"])(**of["settings"] | wider)
        sizes[path.stem] = sum(2 * weights.numel() for weights in network.state_dict().values())
    full = chapter.seeds_of("1000-", max(chapter.N_SEEDS, measured.planned_seeds("06_few_labels")))
    others = sum(size for name, size in sizes.items() if not name.startswith("best_hybrid"))
    best_hybrids = 3 * 450_000  # at each number of labels, be they networks or not
    assert others + (len(full) - 2) * sizes["student_0"] + best_hybrids < 12e6


def test_executed_notebooks_hold_no_errors_and_no_path_of_this_machine(smoke_report):
    for path in NOTEBOOKS:
        text = (smoke_report / "notebooks" / path.name).read_text()
        assert '"output_type": "error"' not in text
        for place in (str(ROOT), str(Path.home()), str(smoke_report)):
            assert place not in text or len(place) < 4, f"{path.name} names {place}"


def test_every_executed_notebook_shows_that_it_did_not_run_on_all_of_mnist(smoke_report):
    for path in NOTEBOOKS:
        notebook = nbformat.read(smoke_report / "notebooks" / path.name, as_version=4)
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert "NOT ALL OF MNIST" in json.dumps(outputs), path.name


def test_the_answer_finds_what_the_chapters_leave_and_links_to_their_figures(smoke_report):
    entries = measured.read(smoke_report)["09_answer"]
    claims = {entry["id"]: entry for entry in entries}
    assert all("p " in claims[f"claim_{letter}"]["note"] for letter in "abcdefghi"), "every claim has contrasts"
    html = smoke_report / "html"
    for page in (html / "index.html", html / "notebooks" / "09_answer.html"):
        rows = re.findall(r"<tr[^>]*>.*?</tr>", page.read_text(), re.DOTALL)
        links = [link for row in rows for link in re.findall(r'href="([^"]+\.html#[^"]+)"', row)]
        assert len(links) == 9, page.name
        for target, _, anchor in (link.partition("#") for link in links):
            assert f'id="{anchor}"' in (page.parent / target).read_text(), f"{page.name} links to #{anchor}"


def test_committed_reports_are_small():
    built = ("html", "slides", "quick", "smoke", "full")
    kept = [path for path in (ROOT / "reports").glob("*") if not path.name.startswith(built)]
    files = [file for path in kept for file in [path, *path.rglob("*")] if file.is_file()]
    not_kept = re.compile(r"reports/[^/]+/(html|slides|models|notebooks)/")  # of reports on other data
    files = [file for file in files if not not_kept.match(file.relative_to(ROOT).as_posix())]
    if not files:
        pytest.skip("no full report yet")
    networks = sum(file.stat().st_size for file in files if file.suffix == ".safetensors")
    assert networks < 12e6 and sum(file.stat().st_size for file in files) - networks < 15e6


@pytest.mark.parametrize(
    "lost, kept_in",
    [((0, 0, 0), 0), ((1, 0, 0), 0), ((1, 0, 0, 0), 0), ((1, 1, 0), 1), ((1, 1, 0, 0), 2 / 4), ((1, 0), None)],
)
def test_of_three_runs_chapter_6_keeps_a_good_one_unless_two_failed(lost, kept_in, capsys):
    """Runs that failed call the first class the second, all alike; the others err each in its own images."""
    (source,) = (c.source for c in code_cells(ROOT / "notebooks" / "06_few_labels.ipynb") if c.id == "three-runs")
    labels, recorded = np.arange(1000) % 10, {}
    found = [np.where(labels == 0, 1, labels) if failed else labels.copy() for failed in lost]
    for run, of in enumerate(found):
        of[10 * run : 10 * run + 10] = 5
    same = np.array([[np.mean(one == other) for other in found] for one in found])
    results = SimpleNamespace(add=lambda id, value, *unit, **stated: recorded.update({id: value}))
    names = {"np": np, "same": same, "worst": pd.Series([float(not failed) for failed in lost]), "results": results}
    exec(source, names | {"failure": {"upper_bound": 0.124}})
    assert recorded.get("few_labels.failure_rate_of_three") == kept_in
    assert ("two or three of three do in 4.2%" if len(lost) > 2 else "there are 2") in capsys.readouterr().out
