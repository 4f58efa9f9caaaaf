# One entry for each thing a reader does. Every target makes the environment first when it is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3#   the interpreter that makes .venv: 3.11 or newer
PROFILE ?= laptop#   what to run: smoke, laptop, study, real, paper, or a TOML file
DATA ?=#             folder with real chips, for a profile that reads one
CORES ?=#            processor cores to use; empty: all
WORKERS ?= 2#        processes of the test suite
UPGRADE ?=#          make lock UPGRADE=1 moves every pin to its newest release

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# -qq: errors only; a folder that PIP_FIND_LINKS names and pip ignores is no news.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Set before any kernel starts, so that two runs on one machine agree.
export PYTHONHASHSEED := 0
export MPLBACKEND := Agg
export TZ := UTC

.PHONY: help reproduce test test-slurm lint lab gallery notebooks lock readme doctor clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1	/' | expand -t 20
	@echo "  options: PROFILE=$(PROFILE) DATA=<folder> CORES=<n> PYTHON=$(PYTHON)"

reproduce: $(STAMP)  ## every result of PROFILE: data, pre-training, fine-tuning, tables, figures
	$(BIN)/sardino reproduce '$(PROFILE)' $(if $(DATA),--data '$(DATA)') $(if $(CORES),--cores '$(CORES)')
	$(BIN)/python tools/readme.py

test: lint  ## lint, types, tests, then every notebook against a new run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	$(BIN)/sardino reproduce smoke
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --nbval-lax --nbval-current-env \
		--nbval-cell-timeout 600 --nbval-sanitize-with tests/nbval.cfg tests/notebooks/*.ipynb

test-slurm: $(STAMP)  ## the sweep on a real SLURM of this machine (Debian: slurmctld slurmd slurm-client munge; as root)
	$(PIP) install --no-build-isolation -e '.[slurm]'
	SARDINO_SLURM=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 0 tests/study/slurm

lint: $(STAMP)  ## style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lab: $(STAMP)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=. notebooks

gallery: $(STAMP)  ## the published figures of all profiles on one page, results/gallery.html
	$(BIN)/python tools/gallery.py

notebooks: $(STAMP)  ## publish executed notebooks: the runs of laptop for readers, those of smoke for the tests
	$(BIN)/sardino reproduce smoke
	$(BIN)/python tools/publish.py smoke
	$(BIN)/python tools/publish.py laptop

lock: $(STAMP)  ## resolve requirements.lock (with hashes) and environment.yml from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet \
		$(if $(UPGRADE),--upgrade) --output-file requirements.lock
	$(BIN)/python tools/environment.py

readme: $(STAMP)  ## rewrite the numbers of README.md and docs/ from results/
	$(BIN)/python tools/readme.py

doctor: $(STAMP)  ## what this machine has, and what is wrong with it
	$(BIN)/sardino doctor

clean:  ## remove build/ and caches; .venv, results/ and figures/ stay
	rm -rf build .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find sardino tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last: an environment without it is half made and is made again from nothing;
# with an old one it is brought to the new lock in place.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "sardino needs Python 3.11 or newer, and '$(PYTHON)' is not that: name one, as in make PYTHON=python3.12" >&2; \
		exit 1; }
	@if [ -e $(STAMP) ]; then \
		echo "Bringing $(VENV) to requirements.lock."; rm $(STAMP); \
	else \
		echo "Making $(VENV) from requirements.lock (hashes checked; several minutes, up to 7 GB of disk)."; \
		$(PYTHON) -m venv --clear $(VENV) || { \
			echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }; \
	fi
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(STAMP); echo "$(VENV) is ready."
