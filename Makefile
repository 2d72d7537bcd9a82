# Everything a person or a machine does with this repository. `make help` lists it.
# PYTHON=/path/to/python3.11 picks the interpreter that .venv is made from.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
OUT ?= out/no-cliff
PYTEST_ARGS ?=
SOBOL_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := pyproject.toml constraints.txt
EXAMPLES := $(wildcard examples/*.py)
# Not in `make bench`: a helper, what CI runs, and what takes an hour with its rivals.
NOT_IN_BENCH := $(addprefix benchmarks/,common.py sobol_accounting.py fashion_cnn.py lab_frontier.py)
BENCHMARKS := $(filter-out $(NOT_IN_BENCH),$(wildcard benchmarks/*.py))
# What `make audits` runs, each before what writes its page.
AUDITS := white_box one_run zoo published published_tables published_picture membership membership_page
RIVALS := .rivals
DEBIAN_PACKAGES := chromium dataset-fashion-mnist

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help study test check format docs examples sobol bench audits ci system clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

study: $(STAMPS)/lab ## run the paper's study and what answers it; prints where the reports are
	@$(BIN)/clifftop study no-cliff --out $(OUT)
	@$(BIN)/clifftop study no-cliff-answered --out $(OUT)-answered

test: $(STAMPS)/dev ## run every test, a file a core
	@if command -v chromium >/dev/null; then export CLIFFTOP_REQUIRE_BROWSER=1; fi; \
	export CLIFFTOP_SCREENSHOTS="$(CURDIR)/out/screenshots"; \
	if [ -d /usr/share/datasets/fashion-mnist ]; then export CLIFFTOP_REQUIRE_DATA=1; fi; \
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(STAMPS)/dev ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python --output-format min-text
	$(BIN)/lint-imports --no-logo

format: $(STAMPS)/dev ## rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMPS)/dev ## build the pages and run their examples; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -b doctest docs docs/_build/doctest
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "pages: docs/_build/html/index.html"

examples: $(STAMPS)/lab ## run the example scripts
	@set -e; for script in $(EXAMPLES); do echo "== $$script"; $(BIN)/python $$script; done

sobol: $(STAMPS)/lab ## epsilon at 20,000 settings: no exception, ordered ends, laws
	@$(BIN)/python benchmarks/sobol_accounting.py $(SOBOL_ARGS)

bench: $(STAMPS)/lab $(RIVALS)/.stamp ## run the benchmarks, rivals in an environment of their own
	@set -e; export CLIFFTOP_RIVALS_PYTHON=$(RIVALS)/bin/python; \
	for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

audits: $(STAMPS)/lab ## audit this library at length: two hours of CPU, records in benchmarks/records
	@set -e; export OMP_NUM_THREADS=1; \
	for name in $(AUDITS); do echo "== $$name"; $(BIN)/python benchmarks/audits/$$name.py; done

ci: system ## what continuous integration runs: system, check, docs, examples, test, sobol
	$(MAKE) check
	$(MAKE) docs
	$(MAKE) examples
	$(MAKE) test
	$(MAKE) sobol SOBOL_ARGS=--no-record

system: ## as root on Debian, install what browser and Fashion-MNIST tests use
	@if command -v chromium >/dev/null && [ -d /usr/share/datasets/fashion-mnist ]; then \
	  echo "system: $(DEBIAN_PACKAGES) are installed"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN_PACKAGES); } \
	  || echo "system: could not install $(DEBIAN_PACKAGES); the tests that need them will skip"; \
	else \
	  echo "system: $(DEBIAN_PACKAGES) not installed, and this is not root on Debian; their tests will skip"; \
	fi

clean: ## remove everything built (results in out/ stay)
	rm -rf $(VENV) $(RIVALS) build dist docs/_build .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Clifftop needs Python 3.11 or newer, found $(PYTHON) = $$($(PYTHON) --version 2>&1);" \
	    "run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS) && touch $@

RIVAL_PACKAGES := benchmarks/requirements-accounting.txt benchmarks/requirements-step-cost.txt

$(RIVALS)/.stamp: $(RIVAL_PACKAGES) constraints.txt
	$(PYTHON) -m venv --clear $(RIVALS)
	$(RIVALS)/bin/python -m pip install -q -c constraints.txt cryptography numpy scipy torch
	$(RIVALS)/bin/python -m pip install -q $(addprefix -r ,$(RIVAL_PACKAGES))
	@touch $@

$(STAMPS)/lab: $(STAMPS)/venv $(LOCKED)
	$(PIP) install -q -c constraints.txt -e '.[lab]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/lab
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@
