# Everything runs from .venv, which is set up at first use and again when the pins change.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart install docs test unit check gpu clean

quickstart: .venv/.installed
	$(BIN)/python -m dmgan.launch

# Everything with its extras and the developer's tools, as the tests want it. Fewer: pip install -c constraints.txt ".[serve]"
install: .venv/.installed
	@echo "installed in .venv: $(BIN)/python -m dmgan.launch --help"

# What is made from the code (docs/configuration.md; a test says where it is not current), and the site in build/site.
docs: .venv/.installed
	$(BIN)/python -m dmgan.launch config docs > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md
	$(SITE)

# A link that leads nowhere is an error.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/mkdocs.yml

# Three processes keep two cores at work: tests of jobs wait a quarter of their time.
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 30 --durations-min 5

# The whole: style, types, layers, unit tests, multi-process tests. Manifests are checked by tests/k8s.
test: check
	$(PYTEST)

unit: .venv/.installed
	$(PYTEST) -m "not distributed"

# On a machine with a GPU: its tests, then the table of docs/speed.md. Neither Ray nor DeepSpeed is needed; another
# Python that has torch for CUDA, pytest, torchvision and the small packages of pyproject.toml will do: make gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python
GPU_BATCHES ?= 10 64

gpu:
	$(GPU_PYTHON) -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "make gpu: torch sees no GPU")'
	$(GPU_PYTHON) -m pytest -m gpu tests/dmgan/training/test_gpu.py
	for batch in $(GPU_BATCHES); do $(GPU_PYTHON) -m benchmarks.training --preset cub --batch $$batch --rounds 10 \
		--ours float32 bfloat16 float32-compiled bfloat16-compiled || exit 1; done > gpu.md
	cat gpu.md

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run
	$(BIN)/hadolint k8s/Dockerfile
	$(SITE)

.venv/.installed: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: 2 GB, a few minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch ".[serve,clip,export,video,tensorboard,mlflow,wandb,local-s3,dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
