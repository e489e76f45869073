# Everything a reader needs, as short commands. `make` alone lists them. Each makes or updates .venv first (install.py).
# CPU=1 takes the CPU build of torch, CPU=0 the default one; install.py is told by the environment.

PYTHON3 ?= python3
PYTHON := .venv/bin/python

.PHONY: help install book pdf slides report full check test faults bundle lab cells assignments solutions bench lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' Makefile

install: ## make or update .venv with the pinned versions (CPU=0|1 decides for a build of torch)
	@$(PYTHON3) install.py

book: install ## render the committed report as a book and open it: no training
	$(PYTHON) -m mnist_ae_utils book

pdf: install ## the same as one PDF, reports/html/book.pdf; needs Chromium or Chrome
	$(PYTHON) -m mnist_ae_utils book --pdf

slides: install ## make slides for class of the committed report's chapters and open them: no training
	$(PYTHON) -m mnist_ae_utils slides

report: install ## run the notebooks on the quick profile and render the book, into reports/quick
	$(PYTHON) -m mnist_ae_utils report --profile quick

full: install ## the report that reports/ holds: all images, as many seeds as the rules plan, about nine hours
	$(PYTHON) -m mnist_ae_utils report --profile full --out reports

check: install ## whether the committed report's notebooks, results, figures and pages belong together
	$(PYTHON) -m mnist_ae_utils check

test: install ## check the style and run every test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest --numprocesses $$($(PYTHON) -c 'import os; print(os.cpu_count() + 1)') --dist worksteal

faults: install ## break smoke reports on purpose, at random, and compare what becomes of them
	$(PYTHON) tests/faults.py

bundle: install ## make a folder from which a class is set up without network: bundle/
	$(PYTHON) -m mnist_ae_utils bundle

lab: install ## open the notebooks in JupyterLab
	$(PYTHON) -m jupyter lab notebooks

cells: install ## write the package's text, and the project's address, into the cells and files that show them
	PYTHONPATH=exercises $(PYTHON) tests/cells.py

assignments: install ## make the exercises' notebooks of exercises/: for students, into notebooks/exercises/
	$(PYTHON) exercises/build.py

solutions: install ## the same with solutions, for teachers, into solutions/
	$(PYTHON) exercises/build.py --solutions

bench: install ## time a training step against a DataLoader loop
	$(PYTHON) tests/benchmark.py

# After a change of pyproject.toml; then repeat the pins in environment.yml.
lock: install ## resolve requirements.lock anew
	$(PYTHON) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --extra test --extra install --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove what is built; keeps the environment, the data, finished trainings and reports/
	rm -rf reports/quick reports/quick-* reports/smoke reports/smoke-* reports/html reports/slides .pytest_cache .ruff_cache *.egg-info
	find mnist_ae_utils tests -name __pycache__ -type d -exec rm -rf {} +
