"""Cells run in a real notebook kernel, as a reader runs them."""

from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parents[1]


class Kernel:
    """A kernel in the folder of the notebooks; ``kernel("source")`` runs a cell."""

    def __init__(self):
        self.notebook = nbformat.v4.new_notebook()
        self.client = nbclient.NotebookClient(
            self.notebook, timeout=600, allow_errors=True, resources={"metadata": {"path": str(ROOT / "notebooks")}}
        )

    def __enter__(self):
        self.stack = self.client.setup_kernel()
        self.stack.__enter__()
        return self

    def __exit__(self, *raised):
        return self.stack.__exit__(*raised)

    def run(self, notebook):
        """Run the cells of a notebook up to one that fails, in a namespace of its own; the error's name and message."""
        self("%reset -f")
        self.client.nb = notebook
        try:
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    self.client.execute_cell(cell, index)
                    if failed := [f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]:
                        return failed[0]
        finally:
            self.client.nb = self.notebook
        return None

    def __call__(self, source):
        """What a cell printed and returned, "figure" for each of these; for an error, its name and message."""
        self.notebook.cells.append(nbformat.v4.new_code_cell(source))
        cell = self.client.execute_cell(self.notebook.cells[-1], len(self.notebook.cells) - 1)
        shown = []
        for output in cell.outputs:
            if output.output_type == "stream":
                shown.append(output.text)
            elif output.output_type == "error":
                shown.append(f"{output.ename}: {output.evalue}")
            else:
                shown.append("figure" if "image/png" in output.data else output.data.get("text/plain", ""))
        return "\n".join(shown)
