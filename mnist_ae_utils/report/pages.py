"""The first page, as Markdown, and the part of it that stands in the project's README: all from the results."""

import re
from pathlib import Path

import jinja2

from mnist_ae_utils import chapter
from mnist_ae_utils.report.collect import SHOWN
from mnist_ae_utils.report.folder import ReportError
from mnist_ae_utils.report.kernel import ROOT
from mnist_ae_utils.results import is_headline, possible_interval

# Of a report whose header states no rules; it stands until one by the rules of rules.toml replaces it.
BEFORE_THE_RULES = (
    "This report is being replaced: a review found statements in it wrong. Its rules were not all stated before its "
    "numbers. That two stages beat end-to-end training with few labels, that the hybrid is less sensitive to wrong "
    "labels, and that embedded codes beat embedded pixels by so much do not hold against opponents with the same "
    "knowledge, tuning and data. That codes are not organized by class holds for k-means only. M1 was judged with "
    "another classifier than the published one. Intervals leave out the choice of test images. The accuracy from "
    "ten labels is level with the best published clustering, not above it."
)
COMMITTED = ROOT / "reports"  # the report that the project's README tells of


def duration(seconds):
    """Seconds as people say them, such as "1 h 02 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def quantity(value, unit):
    """A number as the tables show it: fractions as percent, ratios with a times sign."""
    if unit == "fraction":
        return f"{100 * value:.2f}%"
    if unit == "ratio":
        return f"{value:.1f}×"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def measured(entry):
    """The value with its interval, such as "98.21% (98.10% to 98.32%)", or why there is none."""
    if entry["value"] is None:
        return cell(entry["note"])
    mean, *ends = (quantity(number, entry["unit"]) for number in (entry["value"], *possible_interval(entry)))
    return f"{mean} ({' to '.join(ends)})" if ends else mean


def covered(entry):
    """Over what the interval goes: how many seeds, and whether the choice of test images as well."""
    return f"{len(entry['per_seed'])}{', images too' if entry.get('covers') == 'seeds and images' else ''}"


def title(entry):
    """What an entry measures, in words."""
    labels = f", {entry['n_labels']:,} labels" if entry["n_labels"] else ""
    unit = "" if entry["unit"] in ("fraction", "ratio") else f": {entry['unit']}"
    return cell(entry["headline"] + labels + unit)


def cell(text):
    """A text as a cell of a table: a bar does not split it, a new line does not end it."""
    return " ".join(text.replace("|", "\\|").split())


def rules(header):
    """When the rules were written, and what was known then: a sentence."""
    if "rules" not in header:
        return "The rules stood in the chapters' code, some of them written after earlier results."
    commit, _, date = header["rules"].partition(" of ")
    written = f"The rules are those of commit `{short(commit)}`{f' of {date}' if date else ''}"
    if chapter.seeds_of(header["seeds"])[0] >= chapter.CONFIRMATION:
        if header["dataset"]["name"] == "mnist":
            return f"{written}; on the seeds of this report nothing was run before."
        return f"{written}; on its seeds MNIST was run before. What else was known, the last chapter says."
    return f"{written}, written after earlier results on the same seeds: the verdicts are provisional."


def short(commit):
    """The commit as a table shows it; a plus says that files were changed."""
    return commit[:9] + "+" * (" " in commit)


def seeds(given):
    """The seeds of a report in words: a number of them, or "1000-1003", or "1000 and up"."""
    return f"{given[:-1]} and up" if str(given).endswith("-") else str(given)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
_TEMPLATES.filters |= {f.__name__: f for f in (duration, quantity, measured, title, cell, short, seeds, rules, covered)}


def page(results):
    """The first page as Markdown, from the content of ``results.json`` and nothing else."""
    entries = [{"note": "", "shown": None, "beside": ""} | entry for entry in results["results"]]
    shown = {place: [e for e in entries if e["shown"] == place] for place in SHOWN}
    shown["results"] = list(filter(is_headline, entries))
    elsewhere = {}  # by data set and claim
    for entry in shown["elsewhere"]:
        elsewhere.setdefault(entry["dataset"], {})[entry["headline"]] = entry
    facts = {"header": results["header"], "shown": shown, "elsewhere": elsewhere}
    text = _TEMPLATES.get_template("page.md.j2").render(facts, notice=notice(results), answer=answer(results))
    return re.sub(r"\n{3,}", "\n\n", text)


def answer(results):
    """The answer that the last chapter drew."""
    shown = (entry["claim"] for entry in results["results"] if entry.get("shown") == "answer")
    return next(shown, "The last chapter draws it, which was not run yet.")


def notice(results):
    """What every reader of the results must know first; "" if they were measured on MNIST, by rules fixed before."""
    data = results["header"]["dataset"]
    if "rules" not in results["header"]:
        return BEFORE_THE_RULES
    if data["notice"] or data["name"] == "mnist":
        return data["notice"]
    return f"THIS IS NOT MNIST but {data['name']}: figures published for MNIST do not compare."


_MARKS = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)


def readme_with(text, results):
    """The text of the project's README with its marked part made anew; ReportError if the marks are not there."""
    if not _MARKS.search(text):
        raise ReportError("README.md has no part between <!-- results:begin --> and <!-- results:end -->: put it back")
    loud = f"> **{notice(results)}**\n\n" if notice(results) else ""
    return _MARKS.sub(lambda found: f"{found[1]}\n{loud}{answer(results)}\n\n{found[2]}", text)
