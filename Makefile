# Every target sets up what it needs: on a machine with only Python 3.11+, `make demo` or `make test` is enough.
# Another interpreter: make setup PYTHON=python3.12

PYTHON ?= python3
EXTRAS ?= dev,bench,docs,lab,notebook,serve
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test test-all test-lab lint types docs pytest format bench clean distclean FORCE

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## */\t/' | \
	    while IFS="$$(printf '\t')" read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: $(STAMP)  ## make .venv with the package, its extras and the developer tools
	@:

# The stamp is written last and holds the folder it was made in: an interrupted set-up, a moved or copied checkout
# and a vanished interpreter all start afresh; a changed pyproject.toml or constraints.txt only installs the difference.
ifneq ($(shell test -x $(BIN)/python && cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "make setup: no '$(PYTHON)' on this machine; install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make setup: pushforward needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make setup: '$(PYTHON)' comes without venv or ensurepip; install them (Debian and Ubuntu: apt install python3-venv), then run make again" >&2; exit 1; }
	@if ! test -x $(BIN)/python || test "$$(cat $(STAMP) 2>/dev/null)" != "$(CURDIR)"; then \
	    echo "making $(VENV) (about two minutes, once)"; rm -rf $(VENV); "$(PYTHON)" -m venv $(VENV); fi
	@rm -f $(STAMP)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt hatchling editables
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	@echo "compiling kernels (about a minute, once on a machine)"; $(BIN)/python -m pushforward.kernels || true
	@echo "$(CURDIR)" > $(STAMP)

FORCE:

demo: setup  ## fit real data, draw digits, write report.html (about two minutes)
	$(BIN)/pushforward demo

lab: setup  ## Flow Lab in the browser: pictures of flows to play with, live training, your model
	$(BIN)/pushforward lab

test: lint types docs pytest  ## lint, types, pages, tests, doctests: before every commit

test-all: lint types  ## the same with every product of options: weekly and before a release
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --exhaustive

test-lab: setup  ## Flow Lab in Chromium: needs node 20 and chromium; builds the page first
	cd web && npm ci --no-audit --no-fund && npm run check && npm run build
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_lab_browser.py tests/test_lab_maps.py

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy on src
	$(BIN)/mypy

pytest: setup  ## tests and doctests; one file: .venv/bin/pytest tests/test_imports.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

docs: setup  ## the pages in docs/ as HTML, in build/docs; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

format: setup  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup .bench/torch/.complete .bench/jax/.complete  ## speed beside other libraries; makes their environments in .bench
	$(BIN)/python benchmarks/peers.py $(ARGS)

# Peers stay out of .venv, and jax and torch out of each other's process.
.bench/%/.complete: benchmarks/requirements-%.txt constraints.txt
	rm -rf $(@D)
	"$(PYTHON)" -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check $(if $(filter torch,$*),-c constraints.txt) -r $<
	@touch $@

clean:  ## remove caches and built files; .venv stays
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## remove .venv and .bench as well
	rm -rf $(VENV) .bench
