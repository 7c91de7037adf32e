# What a newcomer types. `make demo` and `make test` do all the set-up; nothing is installed outside of .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test long laws-s3 slow lint docs check validate-k8s clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lmeraser_ray needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || { echo "Python's venv is missing: apt install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/lmeraser demo --workspace demo-workspace

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder  # two processes of one thread each

# A test that hangs where no signal reaches it, within a library, ends with its process: the log names it, and the others go on.
LONG := -v --durations 15 --timeout 600 --timeout-method thread

long: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m long $(LONG)  # real processes, nodes, full disks; some as root

laws-s3: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/laws --workspaces s3  # every law again, in object storage

slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # build/site/index.html; a dead link or an orphan page is an error

# KubeRay's CustomResourceDefinitions, a folder that anyone brings: make validate-k8s CRDS=DIR
CRDS ?= $(wildcard ../shared/crds)

validate-k8s: setup
	$(BIN)/python -m k8s.validate $(if $(CRDS),--crds $(CRDS))

check: lint test

clean:
	rm -rf .venv demo-workspace workspace build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
