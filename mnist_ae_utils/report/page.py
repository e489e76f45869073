"""The first page, as Markdown, and the part of it that stands in the project's README: all from the results."""

import re

from mnist_ae_utils.report import collect


def duration(seconds):
    """Seconds as people say them, such as "1 h 02 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def quantity(value, unit):
    """A number as the tables show it: fractions as percent, ratios with a times sign."""
    if value is None:
        return "–"
    if unit == "fraction":
        return f"{100 * value:.2f}%"
    if unit == "ratio":
        return f"{value:.1f}×"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def measured(entry):
    """The value with its interval, such as "98.21% (98.10% to 98.32%)", or why there is none."""
    text = quantity(entry["value"], entry["unit"])
    if entry["value"] is None:
        return entry["note"]
    if entry["ci"]:
        low, high = entry["ci"]
        if entry["unit"] == "fraction":  # Student's interval of two seeds can leave the possible range
            low, high = max(low, 0.0), min(high, 1.0)
        text += f" ({quantity(low, entry['unit'])} to {quantity(high, entry['unit'])})"
    return text


def title(entry):
    """What an entry measures, in words."""
    text = entry.get("headline") or entry["id"].replace(".", ": ").replace("_", " ")
    if entry["n_labels"]:
        text += f", {entry['n_labels']:,} labels"
    return text if entry["unit"] in ("fraction", "ratio") else f"{text}: {entry['unit']}"


def answer(entries):
    """The answer, as the last chapter drew it from the entries; without it, how to get it."""
    for entry in entries:
        if entry["id"] == "answer":
            return entry["claim"]
    text = "The answer is drawn by chapter 8 from what the others measure: run it after them."
    verdicts = [entry["value"] for entry in entries if entry["unit"] == "verdict"]
    counts = ", ".join(f"{verdicts.count(value)} {value}" for value in collect.VERDICTS if value in verdicts)
    return f"{text} Claims put to the test so far: {counts}." if verdicts else text


def table(columns, rows):
    """A Markdown table; a bar in a cell is kept from splitting it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def results_table(entries):
    """The results that carry a headline, beside published figures, as a Markdown table."""
    rows = []
    for entry in entries:
        if not entry.get("headline") or entry["split"] != "test":
            continue
        reference = entry["reference"]
        published = f"{quantity(reference['value'], entry['unit'])}, {reference['source']}" if reference else ""
        note = f" ({entry['note']})" if entry.get("note") and entry["value"] is not None else ""
        rows.append([title(entry) + note, measured(entry), len(entry["per_seed"]), published])
    return table(["on the test set", "value (95% interval)", "seeds", "published"], rows)


def speed_table(entries):
    """How fast training is, as a Markdown table; "" if it was not measured."""
    rows = []
    for entry in entries:
        if entry["id"].startswith("speed."):
            rows.append([title(entry), measured(entry), len(entry["per_seed"]), entry.get("note", "")])
    return table(["one training step", "times as fast (95% interval)", "pairs", "how"], rows) if rows else ""


def claims_table(entries):
    """The article's claims with their verdicts, as the last chapter left them; "" without it."""
    rows = []
    for entry in entries:
        if entry["id"].startswith("claim_"):
            rows.append([entry["id"][-1], entry["claim"], f"**{entry['value']}**", entry["note"]])
    return table(["", "claim", "verdict", "figure, and verdicts on its parts"], rows) if rows else ""


def verdicts_table(entries):
    """Every claim of the chapters, the rule that decides it, and the verdict, as a Markdown table."""
    rows = []
    for entry in entries:
        if entry["unit"] == "verdict" and not entry["id"].startswith(("claim_", "answer")):
            interval = " ({:.3g} to {:.3g})".format(*entry["ci"]) if entry["ci"] else ""
            chapter = f"[{entry['notebook'][:2]}](notebooks/{entry['notebook']}.ipynb)"
            p = "" if entry["p"] is None else f"{entry['p']:.2g}"
            rows.append([chapter, entry["claim"], f"**{entry['value']}**{interval}", p, entry["rule"]])
    return table(["chapter", "claim", "verdict (95% interval)", "p", "supported if"], rows)


def notice(header):
    """What every reader of the results must know first; "" if they were measured on MNIST."""
    data = header["dataset"]
    if data["notice"] or data["name"] == "mnist":
        return data["notice"]
    return f"THIS IS NOT MNIST but {data['name']}: figures published for MNIST do not compare."


def short(commit):
    """The commit as a table shows it; a plus says that there were local changes."""
    return commit[:9] + "+" * commit.endswith(" with local changes")


def page(results):
    """The whole first page as Markdown, from the content of results.json and nothing else."""
    header, entries = results["header"], results["results"]
    data, hardware = header["dataset"], header["hardware"]
    parts = ["# Can an MNIST autoencoder learn ten-digit classification?", ""]
    if notice(header):
        parts += [f"> **{notice(header)}**", ""]
    for name in header["failed"]:
        error = header["notebooks"][name]["error"]
        parts += [f"> **{name} failed**, so its results are missing or incomplete: {error}", ""]
    parts += ["## The answer", "", answer(entries), ""]
    if claims_table(entries):
        parts += ["## The article's claims", "", claims_table(entries), ""]
    parts += ["## Results beside published figures", "", results_table(entries), ""]
    if any(entry["unit"] == "verdict" for entry in entries):
        how = "Each rule was stated before the numbers. Differences are paired by seed; *p* is that of their t test, "
        how += "after Holm's correction for the number of the chapter's verdicts, and must be below 0.05."
        parts += ["## Verdicts", "", how, ""]
        parts += [verdicts_table(entries), ""]
    if speed_table(entries):
        parts += ["## Speed", "", "Beside a `DataLoader` loop that makes tensors of PIL images one by one.", ""]
        parts += [speed_table(entries), ""]
    gpu = f", {hardware['gpu']}" if hardware["gpu"] else ""
    facts = {
        "profile": f"{header['profile']}, {header['seeds']} seeds",
        "dataset": f"{data['name']}, {data['source']}, checksum `{data['checksum']}`",
        "hardware": f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB{gpu}; "
        f"trained on {header['device']}",
        "duration": duration(header["seconds_total"]),
        "started": header["started"],
        "commit": f"`{header['commit']}`",
        "versions": ", ".join(f"{name} {version}" for name, version in header["versions"].items()),
        "system": header["platform"],
    }
    parts += ["## How it was made", "", table(["what", "value"], facts.items()), ""]
    runs = []
    for name, entry in sorted(header["notebooks"].items()):
        link = f"[{name}](notebooks/{name}.ipynb)"
        (cost,) = [e["value"] for e in entries if e["id"] == "trainings.seconds" and e["notebook"] == name] or [None]
        core = duration(cost) if cost else ""
        runs.append([link, duration(entry["seconds"]), core, entry["started"], f"`{short(entry['commit'])}`"])
    parts += [table(["notebook", "took", "trainings", "started", "commit"], runs), ""]
    parts += ["*Took* is the longest of the executions at this commit: later ones reuse finished trainings.", ""]
    parts += ["*Trainings* is what they took in all, on one core each, whenever that was.", ""]
    options = f"--profile {header['profile']} --dataset {data['name']} --seeds {header['seeds']}"
    parts += ["To make it again (finished trainings are remembered on disk and not repeated):", ""]
    parts += ["```", f"python -m mnist_ae_utils report {options}", "```", ""]
    return "\n".join(parts)


def update_readme(path, results):
    """Replace the block between the marks ``results:begin`` and ``results:end`` in the project's README."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    marks = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)
    if marks.search(text):
        new = marks.sub(lambda found: found[1] + readme_block(results) + found[2], text)
        path.write_text(new, encoding="utf-8")


def readme_block(results):
    """The part of the project's README that comes from the results."""
    entries, loud = results["results"], notice(results["header"])
    first = f"> **{loud}**\n\n" if loud else ""
    claims = f"{claims_table(entries)}\n\n".replace("](notebooks/", "](reports/notebooks/")
    return f"\n{first}{answer(entries)}\n\n{claims.lstrip()}{results_table(entries)}\n\n"
