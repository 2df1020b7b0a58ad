# Everything runs from .venv, which is set up at first use and again when the pins change.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test unit check clean

quickstart: .venv/.installed
	$(BIN)/python -m dmgan.launch

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The whole: style, types, layers, unit tests, multi-process tests. Manifests are checked by tests/k8s.
test: check
	$(PYTEST)

unit: .venv/.installed
	$(PYTEST) -m "not distributed"

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run
	$(BIN)/hadolint k8s/Dockerfile

.venv/.installed: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: 2 GB, a few minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch ".[local-s3,dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
