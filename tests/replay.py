"""Time how long the chapters take when all trainings are remembered, and write it into the guide for teachers.

    python tests/replay.py quick full

Each chapter is executed twice with each profile named, the second time on the clock; what the first time does not find
on disk it trains, which for `full` takes hours.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from mnist_ae_utils.report import collect, kernel, notebooks

GUIDE = notebooks.NOTEBOOKS / "TEACHING.md"
MARKS = re.compile(r"(<!-- replay:begin -->\n).*?(<!-- replay:end -->)", re.DOTALL)
LONG = 3.0  # seconds from which on a cell is named


def replay(path, profile, out):
    """Execute a chapter and return its seconds and, by section, those of its long cells."""
    command = [sys.executable, "-m", "mnist_ae_utils", "report", "--profile", profile, "--only", path.name[:2]]
    subprocess.run([*command, "--out", str(out)], cwd=kernel.ROOT, check=True)
    seconds = collect.read(out / "results.json")["header"]["notebooks"][path.stem]["seconds"]
    section, long = "", {}
    for cell in nbformat.read(out / "notebooks" / path.name, as_version=4).cells:
        if cell.cell_type == "markdown" and (headings := re.findall(r"^##+ (.+)", cell.source, re.MULTILINE)):
            section = headings[-1]
        if (took := cell.metadata.get("papermill", {}).get("duration") or 0) >= LONG:
            long[section] = long.get(section, 0) + took
    return seconds, long


def table(profiles):
    """The table of all chapters, as Markdown, measured now."""
    lines = [f"| chapter | {' | '.join(f'`{profile}`' for profile in profiles)} | what takes longest |"]
    lines.append("| --- |" + " --- |" * (len(profiles) + 1))
    for path in notebooks.notebook_paths():
        measured = {}
        for profile in profiles:
            with tempfile.TemporaryDirectory() as folder:
                replay(path, profile, Path(folder, "first"))
                measured[profile] = replay(path, profile, Path(folder, "second"))
        long = max((of[1] for of in measured.values()), key=lambda sections: sum(sections.values()))
        named = "; ".join(f"*{section}*, {took:.0f} s" for section, took in long.items())
        lines.append(f"| {int(path.name[:2])} | {' | '.join(f'{of[0]:.0f} s' for of in measured.values())} | {named} |")
    hardware = collect.environment()["hardware"]
    machine = f"{hardware['cores']} cores ({hardware['cpu']})"
    lines += ["", f"Whole chapters, executed by `mnist-ae report` right after another run, on {machine}; the first run"]
    lines += [f"of a day may take twice as long. Cells of sections not named take less than {LONG:.0f} s each."]
    return "\n".join(lines)


if __name__ == "__main__":
    text = table(sys.argv[1:] or ["quick"])
    GUIDE.write_text(MARKS.sub(rf"\1{text}\n\n\2".replace("\\n", "\n"), GUIDE.read_text(encoding="utf-8")), "utf-8")
    print(text)
