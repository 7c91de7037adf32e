# What a newcomer types. `make demo` and `make test` do all the set-up; nothing is installed outside of .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo quick test long laws-s3 slow lint docs check validate-k8s clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lmeraser_ray needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || { echo "Python's venv is missing: apt install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/lmeraser demo --workspace demo-workspace

# Two processes of one thread each; the tests of a file in one of them, for what they share.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
BY_FILE := --dist loadfile

# The save loop, about two minutes on two cores: no Ray, no process, a tenth of hypothesis's examples, nothing thorough.
quick: setup
	$(PYTEST) $(BY_FILE) --no-loadscope-reorder --hypothesis-profile quick

# What a change must pass, under 8 minutes on two quiet cores. It ends with its slowest 15 tests.
test: setup
	$(PYTEST) $(BY_FILE) --no-loadscope-reorder --durations 15

# What takes minutes each: real processes, nodes and full disks, some of it as root.
# A test that hangs where no signal reaches it, within a library, ends with its process: the log names it, and the others go on.
LONG := -v --durations 15 --timeout 600 --timeout-method thread

long: setup
	$(PYTEST) $(BY_FILE) -m long $(LONG)

# Every law again, in object storage.
laws-s3: setup
	$(PYTEST) tests/laws --workspaces s3

# The paper's large backbones, and four times hypothesis's examples.
slow: setup
	$(BIN)/python -m pytest -m slow
	$(PYTEST) -m "hypothesis and not long" --hypothesis-profile long

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
