"""Compare two files of results entry by entry and seed by seed, exactly, but for times: what moved, line by line.

    python tests/compare_results.py before/results.json after/results.json

Takes a report's results.json or a single notebook's file. Exit code 1 if anything moved.
"""

import json
import sys
from pathlib import Path

TIMES = (".seconds", "time_per_pass_ratio", "time_to_goal_ratio")  # ends of ids that depend on the machine
WORDS = {"note", "headline"}  # what says the same in other words


def entries(path):
    """The entries of a file by (notebook, id, split, labels), without times."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    found = content["results"] if isinstance(content, dict) else content
    named = {(e["notebook"], e["id"], e["split"], e["n_labels"]): e for e in found}
    assert len(named) == len(found), f"{path} has an entry twice"
    return {key: e for key, e in named.items() if not e["id"].endswith(TIMES) and not e["id"].startswith("speed.")}


def moved(before, after):
    """A line for each entry that is only in one of two files, or is not the same in both."""
    before, after = entries(before), entries(after)
    for key in sorted(before.keys() | after.keys(), key=str):
        if key not in after or key not in before:
            yield f"{'gone' if key not in after else 'new '} {key}"
            continue
        a, b = before[key], after[key]
        for field in sorted(set(a) | set(b) - WORDS):
            if field not in WORDS and a.get(field) != b.get(field):
                yield f"moved {key} {field}: {a.get(field)!r} -> {b.get(field)!r}"


if __name__ == "__main__":
    lines = list(moved(*sys.argv[1:3]))
    print("\n".join(lines) or f"{len(entries(sys.argv[1])):,} entries, all the same")
    sys.exit(bool(lines))
