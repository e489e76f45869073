"""What is made once, for all workers that run the tests."""

import json
import os
import traceback

from filelock import FileLock


def made_once(tmp_path_factory, name, make):
    """A folder that `make(folder)` fills, and whether it could is said: once for all workers, by the first to ask."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of the session, in which every worker has a folder of its own
    folder, outcome = shared / name, shared / f"{name}.json"
    with FileLock(shared / f"{name}.lock"):
        if not outcome.exists():
            outcome.write_text(json.dumps("it took too long"))  # said to all, not tried again by each
            folder.mkdir()
            try:
                make(folder)
                said = ""
            except Exception:
                said = traceback.format_exc()
            outcome.write_text(json.dumps(said))
    said = json.loads(outcome.read_text())
    assert not said, said
    return folder
