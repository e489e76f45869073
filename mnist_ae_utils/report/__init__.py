"""The report: papermill runs the notebooks, their results become one file, a page of answers, a book and slides.

Everything that the first page says is computed from ``<out>/results.json``. No notebook imports this subpackage. Read
its modules in this order; each imports only from those before it: folder, kernel, engine, notebooks, collect, pages,
verify, live_page, formulas, paper, online, book, slides, check, run, bundle, command.
"""
