# `make` runs the pipeline, `make test` runs the tests, `make docs` builds the documentation.
# Each installs first what it needs.
PYTHON ?= python3
# For a machine without an NVIDIA card: the address of PyTorch's own index of CPU-only packages
# (docs/install.md, "Without CUDA"). Empty: the packages of the default index, with CUDA on Linux.
TORCH_INDEX ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
# DVC and pip say nothing about newer versions of themselves: the versions are pinned.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DVC_NO_ANALYTICS := 1

# Two tests at a time, one thread each: most tests are small programs that would only wait for
# one another's threads.
TEST := OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal

.PHONY: repro test lint docs audit lock clean

repro: .venv/installed
	@echo "Running the stages of dvc.yaml: 2 to 3 minutes on two cores the first time, afterwards only what has changed"
	dvc repro
	@if git diff --quiet HEAD -- .; then echo "Done: reports/index.html is made, and all is as in the last commit."; \
	else echo "Done: reports/index.html is made. It differs from the last commit; other processors round differently."; \
	echo "Commit it, so that you can come back to it: git commit -m \"First run\" ."; fi
	@echo "Next: . .venv/bin/activate, then the commands of README, \"Run an experiment\""

test: .venv/installed-dev
	$(TEST)

lint: .venv/installed-dev
	ruff format --check .
	ruff check .
	mypy

# README, the guides and the API from the docstrings, as a site that opens from the file system.
docs: .venv/installed-docs
	python -m sphinx --builder html --fail-on-warning --keep-going --quiet -c docs -d build/doctrees . build/docs
	@echo "Done: open build/docs/index.html"

# Whether anything is known against the locked packages. Without --strict, pip-audit passes over a
# package of which the database says nothing and finds everything well; without a network it ends in
# a traceback, of which the last line is told.
AUDIT := .venv/audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off
LOCKS := requirements.txt requirements-dev.txt requirements-docs.txt requirements-audit.txt
audit: .venv/audit/installed
	@$(AUDIT) $(LOCKS:%=-r %) 2> .venv/audit/told && cat .venv/audit/told || { \
		if grep -q '^Traceback' .venv/audit/told; \
		then echo "Nothing was checked: the advisory database of PyPI could not be asked:" \
			"$$(tail -n 1 .venv/audit/told). Try again with a network." >&2; \
		else cat .venv/audit/told >&2; fi; exit 1; }

.venv/audit/installed: requirements-audit.txt
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --require-hashes -r requirements-audit.txt
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12, say") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt requirements-base.txt | .venv/bin/python
	@echo "Installing the locked packages into .venv: 1 to 10 minutes, 5 to 6 GB with CUDA (docs/install.md, \"Without CUDA\": 1.5 GB)"
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

.venv/installed-docs: requirements-docs.txt .venv/installed
	pip install --quiet --require-hashes --no-deps -r requirements-docs.txt
	@touch $@

# The lock files, from pyproject.toml. torch and its CUDA packages are in requirements.txt only:
# the development packages that ask for torch are told that nobody does, and installed as locked.
COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet
lock:
	$(COMPILE) pyproject.toml --extra torch -o requirements.txt
	$(COMPILE) pyproject.toml -c requirements.txt -o requirements-base.txt
	printf "torch; python_version < '3'\ntorchvision; python_version < '3'" > .venv/without-torch.txt
	$(COMPILE) pyproject.toml --group dev -c requirements.txt --override .venv/without-torch.txt -o requirements-dev.txt
	$(COMPILE) --group docs -c requirements.txt -c requirements-dev.txt -o requirements-docs.txt
	$(COMPILE) --group audit -c requirements-dev.txt -o requirements-audit.txt

clean:
	rm -rf .venv build data/* models/* checkpoints
