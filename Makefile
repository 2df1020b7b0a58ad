# Everything runs from .venv, which is set up at first use and again when the pins change.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test unit check clean

quickstart: .venv/.installed
	$(BIN)/python -m dmgan.launch

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# The whole: style, types, layers, unit tests, multi-process tests. Manifests are checked by tests/k8s. End to end one after
# the other: draining a node, for one, asks every driver of the machine to stop.
test: check
	$(PYTEST) --ignore tests/end_to_end
	$(BIN)/python -m pytest tests/end_to_end

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
