"""How papermill runs a notebook here: it writes it once, at its end, however that comes."""

from papermill.engines import NBClientEngine, papermill_engines

NAME = "written-once"


class WrittenOnce(NBClientEngine):
    """By itself papermill writes the whole notebook, with its figures, twice a cell: a tenth of a report's time."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **options):
        """Execute the notebook; after an error or an interrupt, too, papermill writes what there is."""
        target, nb_man.output_path = nb_man.output_path, None
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            nb_man.output_path = target


papermill_engines.register(NAME, WrittenOnce)
