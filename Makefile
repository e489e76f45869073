# Everything a reader needs, as short commands. `make` alone lists them.
# CPU=1 installs the CPU build of torch (a tenth of the download); remembered for the next call.

PYTHON3 ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
UV := uv==0.13.9
CPU ?= $(if $(wildcard $(VENV)/.cpu),1)

ifeq ($(CPU),1)
ifneq ($(wildcard $(VENV)/lib/python3*/site-packages/torch/lib/libtorch_cuda*),)
$(error $(VENV) holds the CUDA build of torch. To replace it, remove the folder (rm -rf $(VENV)) and repeat the command)
endif
endif

.PHONY: help install report full test lab cells bench lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s%s\n", $$1, $$2 }' Makefile

install: $(READY) ## create .venv with the pinned versions (CPU=1: without CUDA)

report: $(READY) ## run the notebooks on the quick profile and render the book, into reports/quick
	$(PYTHON) -m mnist_ae_utils report --profile quick

full: $(READY) ## the report that reports/ holds: 5 seeds, all images, two hours
	$(PYTHON) -m mnist_ae_utils report --profile full --out reports

test: $(READY) ## check the style and run every test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest --numprocesses logical --dist worksteal

lab: $(READY) ## open the notebooks in JupyterLab
	cd notebooks && ../$(PYTHON) -m jupyter lab

cells: $(READY) ## write the package's text into the notebook cells that show it
	$(PYTHON) tests/cells.py

bench: $(READY) ## time a training step against a DataLoader loop
	$(PYTHON) -m mnist_ae_utils bench

# From the lock nothing else is fetched: setuptools is in it, hence no build isolation. With CPU=1 the versions are the
# same, but torch comes from its own index with other hashes, so none are checked; uv and setuptools come besides.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name one with: make PYTHON3=python3.12 ..." >&2; exit 1; }
	test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
ifeq ($(CPU),1)
	$(PYTHON) -m pip install "$(UV)"
	$(PYTHON) -m uv pip install --python $(PYTHON) --torch-backend=cpu --no-verify-hashes \
	  --constraint requirements.lock --editable ".[test]"
	touch $(VENV)/.cpu
else
	$(PYTHON) -m pip install --requirement requirements.lock
	$(PYTHON) -m pip install --no-deps --no-build-isolation --editable .
endif
	touch $@

# After a change of pyproject.toml; then repeat the pins in environment.yml.
lock: ## resolve requirements.lock anew
	test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet "$(UV)"
	$(PYTHON) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --extra test --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove what is built; keeps the environment, the data, finished trainings and reports/
	rm -rf reports/quick reports/quick-* reports/smoke reports/smoke-* reports/html .pytest_cache .ruff_cache *.egg-info
	find mnist_ae_utils tests -name __pycache__ -type d -exec rm -rf {} +
