# What one does with filmroom from a checkout. Each step is taken once, and again only when what
# it is made from has changed. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
STATIC := src/filmroom/static
WEB := $(shell find web/src web/public -type f) web/index.html web/vite.config.ts web/tsconfig.json
OHIF := $(wildcard web/ohif/*.mjs) web/ohif/pinned.json
TESTS ?= tests
CRASH_ROUNDS ?= 100
NODES_ROUNDS ?= 50
FUZZ_SECONDS ?= 600
PYTEST := $(BIN)/python -m pytest
ELSEWHERE := FILMROOM_TEST_STORES=postgresql+s3

.PHONY: help env serve test elsewhere check lint bench crash hostile fuzz docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: .venv/.installed $(STATIC)/console/index.html $(STATIC)/ohif/.stamp ## server, command line, front-end and OHIF, into .venv

serve: env ## a server at http://127.0.0.1:8080 and FILMROOM, port 11112, with sample studies
	exec $(BIN)/filmroom serve --samples

test: env lint ## install the peers the tests talk to, and run all tests
	tools/setup_tests.sh
	$(BIN)/python web/build.py test
	CI=1 $(PYTEST) $(TESTS)
	[ "$(TESTS)" != tests ] || CI=1 $(ELSEWHERE) FILMROOM_CRASH_ROUNDS=5 $(PYTEST) -m elsewhere tests

elsewhere: env ## the tests again, with all that is stored in PostgreSQL and an object store; half an hour
	tools/setup_tests.sh
	CI=1 $(ELSEWHERE) $(PYTEST) tests/interop tests/journeys

check: lint ## style, types, floors and unit tests; fast
	$(PYTEST) -q tests/unit tests/wire tests/house

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env ## compare with Orthanc on this machine, half an hour; BENCH=--quick for a few minutes; pixels: bench/pixels.py
	tools/setup_tests.sh
	$(BIN)/python bench/compare.py $(BENCH)

crash: env ## kill it, cut its power, fail its disk and what it stands on; CRASH_ROUNDS, NODES_ROUNDS; two hours
	tools/setup_tests.sh
	@[ "$$(id -u)" -eq 0 ] || echo "Without root there are no power cuts: they are skipped." >&2
	[ "$$(id -u)" -ne 0 ] || export FILMROOM_POWER_CUT_ROUNDS=$(CRASH_ROUNDS); \
	    CI=1 FILMROOM_CRASH_ROUNDS=$(CRASH_ROUNDS) FILMROOM_FAULTS=all FILMROOM_OUTAGE_SECONDS=30 \
	    FILMROOM_NODES_ROUNDS=$(NODES_ROUNDS) \
	    $(PYTEST) -rP -m crash tests

hostile: env ## broken and malicious input on every door; then what is large, slow or many
	tools/setup_tests.sh
	CI=1 $(PYTEST) -m hostile tests
	CI=1 FILMROOM_BIG_MIB=4096 FILMROOM_TEN_MIB=1024 FILMROOM_PRESSURE_OBJECTS=40 \
	    $(PYTEST) -s tests/journeys/test_big_objects.py tests/journeys/test_bounded_*.py

fuzz: env ## random input for FUZZ_SECONDS, ten minutes unless told otherwise
	$(BIN)/python -m fuzz.run --seconds $(FUZZ_SECONDS)

docs: .venv/.installed ## write the generated pages of docs/ anew
	$(BIN)/python tools/make_conformance.py
	$(BIN)/python tools/make_reference.py
	$(BIN)/python tools/make_codecs.py

clean: ## remove everything that was built; filmroom-data stays
	rm -rf .venv web/node_modules $(STATIC) build dist .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2> /dev/null || true

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "filmroom needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml hatch_build.py | $(BIN)/python
	@echo "Installing Python packages; the first time takes a minute"
	FILMROOM_SKIP_FRONTEND=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

.venv/.node: .venv/.installed web/build.py
	$(BIN)/python web/build.py node
	@touch $@

web/node_modules/.package-lock.json: web/package-lock.json .venv/.node
	@echo "Installing npm packages"
	$(BIN)/python web/build.py packages
	@touch $@

$(STATIC)/console/index.html: $(WEB) web/node_modules/.package-lock.json
	@echo "Building the front-end"
	$(BIN)/python web/build.py console
	@touch $@

$(STATIC)/ohif/.stamp: $(OHIF) web/node_modules/.package-lock.json
	$(BIN)/python web/build.py ohif
	@touch $@
