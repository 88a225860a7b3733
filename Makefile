# The two commands: `make` runs the pipeline, `make test` runs the tests. Both install first.
PYTHON ?= python3
# For a machine without an NVIDIA card: the address of PyTorch's own index of CPU-only packages
# (README, "Install without CUDA"). Empty: the packages of the default index, with CUDA on Linux.
TORCH_INDEX ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
# DVC and pip say nothing about newer versions of themselves: the versions are pinned.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DVC_NO_ANALYTICS := 1

# Two tests at a time, one thread each: most tests are small programs that would only wait for
# one another's threads.
TEST := OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal

.PHONY: repro test lint lock clean

repro: .venv/installed
	dvc repro
	@echo "Done. Look at reports/index.html; the figures in numbers: dvc metrics show"

test: .venv/installed-dev
	$(TEST)

lint: .venv/installed-dev
	ruff format --check .
	ruff check .
	mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12, say") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt requirements-base.txt | .venv/bin/python
ifeq ($(TORCH_INDEX),)
	pip install --quiet --require-hashes -r requirements.txt
else
	pip install --quiet --require-hashes -r requirements-base.txt
	pip install --quiet --index-url $(TORCH_INDEX) $$(sed -nE 's/^(torch|torchvision)==([^ ;]*).*/\1==\2/p' requirements.txt)
	pip install --quiet $$(sed -nE 's/^(accelerate)==([^ ;]*).*/\1==\2/p' requirements.txt)
endif
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	pip install --quiet --require-hashes --no-deps -r requirements-dev.txt
	@touch $@

# The lock files, from pyproject.toml. torch and its CUDA packages are in requirements.txt only:
# the development packages that ask for torch are told that nobody does, and installed as locked.
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet
lock:
	$(COMPILE) --extra torch -o requirements.txt
	$(COMPILE) -c requirements.txt -o requirements-base.txt
	printf "torch; python_version < '3'\ntorchvision; python_version < '3'" > .venv/without-torch.txt
	$(COMPILE) --group dev -c requirements.txt --override .venv/without-torch.txt -o requirements-dev.txt

clean:
	rm -rf .venv data/* models/* checkpoints
