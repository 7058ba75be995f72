# Every command that a developer or CI runs. `make` alone lists them.

PYTHON ?= python3
# Passed to every pip install, for instance to choose an index with CPU builds of torch.
PIP_ARGS ?=
# The main job on a file of your own: make parity CHECKPOINT=path-or-name IMAGE=path
CHECKPOINT ?=
IMAGE ?=
# The model of the first overlay.
VARIANT ?= sam2.1_hiera_tiny

VENV := .venv
REFERENCES := .references
MADE := $(VENV)/.made
REFERENCES_MADE := $(REFERENCES)/.made
PEERS := .peers
PEERS_MADE := $(PEERS)/.made
BROWSER := .browser
BROWSER_MADE := $(BROWSER)/.made
DOCS := .docs
UPSTREAMS := .upstreams
DOCS_MADE := $(DOCS)/.made
PY := $(VENV)/bin/python
SCRATCH := .parity
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
INSTALL_REFERENCES := $(REFERENCES)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) \
	-c parity/references/constraints.txt
INSTALL_DOCS := $(DOCS)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS)
INSTALL_PEERS := $(PEERS)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) \
	-c parity/bench/peers-constraints.txt
COVERAGE := --cov=samblocks --cov-report=term:skip-covered
# From 3.12 on Python tells of lines by itself (sys.monitoring); before, a tracer makes the tests take 1.8 times as long.
WATCHES = $(shell $(PY) -c 'import sys; print("yes" if hasattr(sys, "monitoring") else "")')
MAIN_JOB := $(PY) -m parity run --quick --reference meta --reference ultralytics

.DEFAULT_GOAL := help
.PHONY: help parity overlay test coverage check format references peers goldens mutants calibrate layouts processors browser bench engines bench-readme bench-cuda docs dist upstreams lock-check clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

parity: $(MADE) $(REFERENCES_MADE)  ## the main job: a checkpoint in, upstream's numbers out, every block and stage judged
ifeq ($(strip $(CHECKPOINT)),)
	@mkdir -p $(SCRATCH)/checkpoints
	$(PY) -m parity synthesize sam2.1_hiera_tiny --out $(SCRATCH)/checkpoints/sam2.1_hiera_tiny.pt
	$(PY) -m parity synthesize sam_vit_b --out $(SCRATCH)/checkpoints/sam_vit_b.pth
	$(MAIN_JOB) --checkpoint $(SCRATCH)/checkpoints/sam2.1_hiera_tiny.pt \
		--checkpoint $(SCRATCH)/checkpoints/sam_vit_b.pth $(if $(IMAGE),--image "$(IMAGE)")
else
	$(MAIN_JOB) --checkpoint "$(CHECKPOINT)" $(if $(IMAGE),--image "$(IMAGE)")
endif

overlay: $(MADE)  ## a first overlay: weights that are made up, a photograph, one click
	@mkdir -p $(SCRATCH)/checkpoints
	$(PY) -m parity synthesize $(VARIANT) --out $(SCRATCH)/checkpoints/$(VARIANT).pt
	$(PY) -m samblocks segment parity/data/truck.jpg --model $(SCRATCH)/checkpoints/$(VARIANT).pt \
		--point 510,245 -o $(SCRATCH)/overlay.png
	@echo "The weights are made up, and so is the mask: --model takes a name of samblocks list, or a file of yours."

test: $(MADE)  ## the tests: no network, no upstream package; with coverage where Python can watch lines cheaply
	$(if $(WATCHES),COVERAGE_CORE=sysmon )$(PY) -m pytest -n 2 $(if $(WATCHES),$(COVERAGE))

engines: $(PEERS_MADE)  ## the tests of the runtimes behind our modules, in their environment
	PYTHONPATH=. $(PEERS)/bin/python -m pytest -m engines tests/engines

coverage: $(MADE)  ## the tests, and which lines of samblocks they run
	$(PY) -m pytest -n 2 $(COVERAGE)

check: $(MADE)  ## format, lint, types and floors
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(MADE)  ## put every file into the house's format
	$(VENV)/bin/ruff check --fix --exit-zero .
	$(VENV)/bin/ruff format .

browser: $(BROWSER_MADE)  ## the demo's page, driven in Chromium, which must be installed (Debian: apt install chromium)
	$(BROWSER)/bin/python -m pytest -q -m browser -p no:unraisableexception tests/demo

references: $(REFERENCES_MADE)  ## the environment of the upstream packages that parity compares with

peers: $(PEERS_MADE)  ## the environment of the runtimes that bench and engines compare with

goldens: $(MADE) $(REFERENCES_MADE)  ## record upstream's outputs, by which `make test` judges every block
	$(PY) -m parity record --reference meta --reference ultralytics

mutants: $(MADE) $(REFERENCES_MADE)  ## plant bugs in our own code: each must be seen
	$(PY) -m parity mutants

calibrate: $(MADE) $(REFERENCES_MADE)  ## honest variations of our own runs: none may raise an alarm
	$(PY) -m parity calibrate

layouts: $(MADE) $(REFERENCES_MADE)  ## every layout of every variant, there and back; then to and from upstream's own loaders
	$(PY) -m parity layouts
	$(PY) -m parity layouts --live

processors: $(MADE) $(REFERENCES_MADE)  ## the tests and a live run with the kernels of other processors
	$(PY) -m parity processors

bench: $(MADE) $(REFERENCES_MADE) $(PEERS_MADE)  ## time and memory beside upstream's code and other runtimes, in turn
	@mkdir -p $(SCRATCH)
	$(PY) -m parity bench --threads 1 --threads 2 --json $(SCRATCH)/bench.json --html $(SCRATCH)/bench.html

bench-readme: $(MADE) $(REFERENCES_MADE) $(PEERS_MADE)  ## the same with one thread, into the README's table and picture
	@mkdir -p $(SCRATCH)
	$(PY) -m parity bench --json $(SCRATCH)/bench.json --readme README.md

bench-cuda: $(MADE) $(REFERENCES_MADE)  ## under 10 minutes on a GPU: segment-anything, sam2 and its compiled predictor
	@mkdir -p $(SCRATCH)
	$(PY) -m parity bench --device cuda --peer meta --peer vos_optimized --rounds 3 --no-error --budget 400 \
		--only vit-b --only hiera-t --only sam-decoder-64 --only memory-attention-7 --only video-1 --only video-4 \
		--json $(SCRATCH)/bench-cuda.json --html $(SCRATCH)/bench-cuda.html

docs: $(MADE) $(DOCS_MADE)  ## the documentation, in build/docs: strict, every link and anchor checked
	$(PY) docs/tables.py > docs/tables.md
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet

dist: $(MADE)  ## wheel and sdist, twice the same bytes, hashes, SBOM; tried in empty environments: WITH="python3.12==2.6.0 python3.13"
	PIP_ARGS="$(PIP_ARGS)" $(PY) .ci/dist.py $(foreach each,$(WITH),--with $(each))

upstreams: $(MADE) $(REFERENCES_MADE)  ## what the newest ultralytics, transformers and timm changed; the pins stay
	$(PYTHON) -m venv --clear $(UPSTREAMS)
	$(UPSTREAMS)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) setuptools wheel \
		$$(grep -E '^[a-z]' parity/references/requirements.txt | grep -v '^sam2==' | sed -E 's/^(ultralytics|transformers|timm)==.*/\1/')
	SAM2_BUILD_CUDA=0 $(UPSTREAMS)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) \
		--no-build-isolation $$(grep '^sam2==' parity/references/requirements.txt)
	$(PY) .ci/upstreams.py $(REFERENCES) $(UPSTREAMS)

lock-check: $(MADE)  ## re-verify checkpoints.lock online
	$(PY) -m samblocks lock-check

clean:  ## remove the environments and everything made by a run
	rm -rf $(VENV) $(REFERENCES) $(PEERS) $(BROWSER) $(DOCS) $(UPSTREAMS) $(SCRATCH) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE): pyproject.toml constraints.txt
	@echo "making $(VENV) with torch and the tools, which takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[dev]"
	@touch $@

# By ranges alone: gradio is behind with some of what constraints.txt pins.
$(BROWSER_MADE): pyproject.toml
	@echo "making $(BROWSER) with torch and gradio, which takes some minutes"
	$(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -e ".[browser]"
	@touch $@

# sam2 names torch as a requirement of its build: built without isolation, it uses the torch that is installed
# already instead of fetching another. Its CUDA extension only fills holes in masks and is not needed.
$(REFERENCES_MADE): parity/references/requirements.txt parity/references/constraints.txt
	@echo "making $(REFERENCES) with the upstream packages, which takes some minutes"
	$(PYTHON) -m venv $(REFERENCES)
	$(INSTALL_REFERENCES) setuptools wheel $$(grep '^torch==' parity/references/requirements.txt)
	$(INSTALL_REFERENCES) $$(grep -E '^[a-z]' parity/references/requirements.txt | grep -v '^sam2==')
	SAM2_BUILD_CUDA=0 $(INSTALL_REFERENCES) --no-build-isolation $$(grep '^sam2==' parity/references/requirements.txt)
	@touch $@

$(PEERS_MADE): parity/bench/peers.txt parity/bench/peers-constraints.txt
	@echo "making $(PEERS) with the runtimes, which takes some minutes"
	$(PYTHON) -m venv $(PEERS)
	$(INSTALL_PEERS) setuptools wheel $$(grep '^torch==' parity/bench/peers.txt)
	$(INSTALL_PEERS) $$(grep -E '^[a-z]' parity/bench/peers.txt | grep -v '^sam2==')
	SAM2_BUILD_CUDA=0 $(INSTALL_PEERS) --no-build-isolation $$(grep '^sam2==' parity/bench/peers.txt)
	$(INSTALL_PEERS) --no-deps -e .
	@touch $@

$(DOCS_MADE): docs/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(INSTALL_DOCS) -r docs/requirements.txt
	@touch $@
