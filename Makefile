# Everything that is done with the course is done from here; all it needs is make and Python.
PYTHON ?= python3
SCALE ?= teaching
PINS ?= -c constraints.txt
EXTRAS := notebooks,scale,oracles,dev,peers

VENV := .venv
READY := $(VENV)/.ok
PART := $(VENV)/.part
RUN := $(VENV)/bin/python -m

# The CPU build of torch. An unreachable index costs seconds per package, so whoever brings wheels
# or an index is not sent there. For the CUDA build: rm -r .venv && make course TORCH_INDEX=
TORCH_INDEX ?= $(if $(PIP_FIND_LINKS)$(PIP_EXTRA_INDEX_URL),,$(CPU_INDEX))
CPU_INDEX = $(shell sed -n 's/^torch-cpu-index = "\([^"]*\)".*/\1/p' pyproject.toml)

STRIP := nbstripout --keep-id --extra-keys "metadata.papermill cell.metadata.papermill \
	cell.metadata.execution metadata.language_info.version"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help course test unit lint tidy notebook gallery docs report clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' Makefile

course: $(READY)  ## run every notebook and judge its claims: pages and a table in build/
	$(RUN) lfi_helpers.course run --scale $(SCALE) --workers 2

test: lint  ## everything a change must pass: lint, environment, tests, notebooks
	$(RUN) pytest

unit: $(READY)  ## the tests without the notebooks
	$(RUN) pytest --ignore=tests/test_notebooks.py

lint: $(READY)  ## style, stripped notebooks, environments that agree
	$(RUN) ruff check . && $(RUN) ruff format --check .
	$(RUN) $(STRIP) --verify notebooks/*.ipynb && $(RUN) lfi_helpers.course lint
	$(VENV)/bin/python tools/sync_env.py --check

tidy: $(READY)  ## repair what lint complains about, as far as a program can
	$(RUN) ruff check --fix . && $(RUN) ruff format .
	$(RUN) $(STRIP) notebooks/*.ipynb
	$(VENV)/bin/python tools/sync_env.py

notebook: $(READY)  ## one notebook: make notebook NB=30 SCALE=full
	$(if $(NB),,$(error which one? for example: make notebook NB=30))
	$(RUN) lfi_helpers.course run $(NB) --scale $(SCALE)

gallery: $(READY)  ## write each notebook's headline figure to docs/gallery/
	$(RUN) lfi_helpers.course gallery

docs: course gallery  ## run what has changed, then refresh the pictures and the map of the course

report: $(READY)  ## show the table of the last run again
	$(RUN) lfi_helpers.course report

clean:  ## remove what runs leave behind (the virtual environment stays)
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +

# ---- the virtual environment --------------------------------------------------------------------
# .ok says: complete, and younger than the list of dependencies; .part: not finished. What was
# left half-made, has lost its Python, or was moved or copied here with its folder (and imports the
# course from elsewhere) is made anew; anything else is kept and only brought up to date.
SUPPORTED := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
WANTED = $(PYTHON) is not a Python 3.11-3.13 with venv: install one (Debian, Ubuntu: \
	apt install python3-venv) or name one you have: make $(MAKECMDGOALS) PYTHON=python3.12
WHERE := import importlib.util as u; print(*u.find_spec("lfi_helpers").submodule_search_locations)

ifneq ($(wildcard $(READY)),)
ifneq ($(shell $(VENV)/bin/python -I -c '$(WHERE)' 2>/dev/null),$(realpath lfi_helpers))
$(shell mv $(READY) $(PART))
endif
endif

$(READY): pyproject.toml constraints.txt
	$(if $(shell $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null && echo yes),,$(error $(WANTED)))
	@echo "setting up $(VENV): a few minutes, once"; test ! -e $(PART) && \
	$(RUN) pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $(PART); rm -f $@
	@$(RUN) pip install -q $(PINS) $(addprefix --extra-index-url ,$(TORCH_INDEX)) torch hatchling
	@$(RUN) pip install -q $(PINS) --no-build-isolation -e ".[$(EXTRAS)]" && mv $(PART) $@
