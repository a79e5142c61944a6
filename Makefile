# The verbs of this project; CONTRIBUTING.md tells what they are for. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check lint types imports fuzz bench docs clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "authz needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python3 make ..." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "python -m venv failed: on Debian and Ubuntu, 'apt-get install python3-venv' brings what it lacks" >&2; exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing authz and a real Envoy (the first time takes about half a minute)"
	@$(PIP) install -c constraints.txt -e '.[envoy]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing authz and its development tools (the first time takes about half a minute)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## real Envoy, mTLS, allowed and denied calls; stays up until Ctrl-C (ONCE=1: exits)
	@$(BIN)/python envoy/demo.py $(if $(ONCE),--once)

test: $(VENV)/.dev ## run every test
	@$(BIN)/python -m pytest $(ARGS)

check: lint types imports test ## everything that CI runs

lint: $(VENV)/.dev ## ruff: style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

imports: $(VENV)/.dev ## the import contract: layers point down, the core is pure
	@$(BIN)/lint-imports --no-cache

fuzz: $(VENV)/.dev ## the property tests and fuzzers, a hundred times longer
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/properties tests/fuzz --timeout=3600 $(ARGS)

bench: $(VENV)/.dev ## latency and throughput, written under bench/results/
	@$(BIN)/python bench/run.py $(ARGS)

docs: $(VENV)/.dev ## regenerate the reference pages
	@$(BIN)/python docs/generate.py

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
