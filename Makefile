# What a newcomer types. `make demo` and `make test` do all the set-up; nothing is installed outside of .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo quick test long laws-s3 slow simulate mutants fuzz fuzz-hour lint docs check
.PHONY: validate-k8s clean lock sbom images

# Python keeps what it compiled, whatever the shell says: torch, Ray and timm anew in each process of the tests is half of what they take to start.
unexport PYTHONDONTWRITEBYTECODE

setup: .venv/ready

# pip takes no file whose hash is not in the constraints; the package itself is built with what they brought. A file is
# compiled when it is first imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.venv/ready: pyproject.toml constraints.txt constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lmeraser_ray needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || { echo "Python's venv is missing: apt install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --require-hashes --requirement constraints.txt --requirement constraints-dev.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/lmeraser demo --workspace demo-workspace

# Two processes of one thread each; the tests of a file in one of them, for what they share.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
BY_FILE := --dist loadfile

# The save loop, below two minutes on two cores: no Ray, no process, one case of each test, a tenth of its examples, of each law but the main one its first sentence, nothing thorough.
quick: setup
	$(PYTEST) $(BY_FILE) --no-loadscope-reorder --hypothesis-profile quick

# What a change must pass, ten minutes on two cores when it was last timed. It ends with its slowest 15 tests.
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

# The paper's large backbones, every system on what erasures leave, every loss of power that is recorded, more races and a load of requests, and four times
# hypothesis's examples.
slow: setup
	$(BIN)/python -m pytest -m slow
	$(PYTEST) -m "hypothesis and not long" --hypothesis-profile long

# The whole queue on a simulated clock, disk and database: SEEDS simulations with faults, two at a time.
SEEDS ?= 10000

simulate: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.simulation.run --seeds 0:$(SEEDS) --processes 2

# Each parser of what comes from outside, a minute each, two at a time. A finding is in build/fuzz.
FUZZ := $(BIN)/python -m tests.fuzzing.run --jobs 2

fuzz: setup
	$(FUZZ) --seconds 60

# An hour each: half a day.
fuzz-hour: setup
	$(FUZZ) --seconds 3600

# Mutants of erasure/ and storage/, two at a time, a SAMPLE that the SEED draws or all: the share that the tests kill, and the rest.
SAMPLE ?= 200
SEED ?= 1

mutants: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation --sample $(SAMPLE) --seed $(SEED)

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

# The constraints, with hashes: after a change of pyproject.toml. UPGRADE=--upgrade takes the newest versions.
lock: setup
	$(BIN)/python -m supply.lock $(UPGRADE)

# The digests of the images of others, from their registries (docker with buildx): they are written into k8s/images.
images: setup
	$(BIN)/python -m k8s.digests

# The bill of materials, build/sbom.json; a licence that supply/licenses.yaml does not allow is an error.
sbom: setup
	$(BIN)/python -m supply.sbom
