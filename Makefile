# Everything is built in a virtual environment beside this file; nothing is installed elsewhere and nothing needs root.
# `PYTHON=python3.13 make test` uses an environment of its own for that interpreter (.venv-3.13).

PYTHON ?= python3
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test demo lint format bench mutants soak proto constraints clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@echo "preparing $(VENV) (once; takes about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group dev -e .
	@touch $@

setup: $(READY) ## prepare the virtual environment

test: $(READY) ## run all tests, with coverage
	@COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

demo: $(READY) ## start two example services and play a session (DEMO_ONCE=1 ends after it)
	@$(BIN)/python -m examples.demo

lint: $(READY) ## style, types, import floors, protobuf
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python proto/generate.py --check

format: $(READY) ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## measure, as ratios in interleaved runs (ROUNDS=3 for a quick look, SUITES=unary,publish for some)
	@$(BIN)/python -m tests.bench

mutants: $(READY) ## take each protection out and see a test fail (MUTANTS="seam -k deadline" for some)
	@$(BIN)/python -m tests.mutants $(MUTANTS)

soak: $(READY) ## many calls and cancelled streams leave nothing behind (SOAK_CALLS, SOAK_STREAMS: how many)
	@$(BIN)/python -m tests.soak

proto: $(READY) ## generate the Python modules from proto/
	@$(BIN)/python proto/generate.py

constraints: $(READY) ## compile constraints.txt anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group dev --upgrade \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o constraints.txt

clean: ## remove virtual environments and caches
	@rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* .chassis
