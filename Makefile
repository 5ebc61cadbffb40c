# Everything a person does with this checkout. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
DATA ?= vnc
STRATEGIES ?= random,entropy,entropy+pretrain
SEEDS ?= 0-4
PROTOCOL ?= reduced
SEED ?= 1
FAULTS ?= 100
N ?= 50
# Tests wait for processes more than they compute.
WORKERS ?= 3

.PHONY: help setup demo test test-slow bench-labels bench-rank bench-candidates bench-wait
.PHONY: bench-training bench-segment bench-grey bench-first-campaign chaos chaos-campaign chaos-backup chaos-border
.PHONY: lint types proto proto-check check clean

help: ## List the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make the virtual environment with everything in it

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup ## The main job on a phantom, or with IMAGE=… LABELS=… [VOXEL=z,y,x] on your data
	$(BIN)/biosegment demo --out $(OUT) $(if $(IMAGE),--image $(IMAGE)) $(if $(LABELS),--labels $(LABELS)) $(if $(VOXEL),--voxel-size $(VOXEL)) $(DEMO_ARGS)

test: setup ## Lint, types, contract and every test under a minute
	$(MAKE) --no-print-directory check
	$(BIN)/pytest -m 'not slow' -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: setup ## The tests over a minute
	$(BIN)/pytest -m slow --timeout 1200

chaos: setup ## Faults inflicted on the running platform, compared with peace: SEED=1 FAULTS=100 [ONLY=regex]
	$(BIN)/python -m tests.chaos --seed $(SEED) --faults $(FAULTS) $(if $(ONLY),--only '$(ONLY)')

chaos-campaign: setup ## A campaign twice, once killed in every phase; on the phantom, or DATA_ROOT=… (vnc/ in it)
	$(BIN)/python -m tests.chaos.campaign $(if $(DATA_ROOT),--data $(DATA_ROOT)/vnc)

chaos-border: setup ## Peers that do not finish what they begin, and how long others wait: BENCH_ARGS=…
	$(BIN)/python -m tests.chaos.border $(BENCH_ARGS)

chaos-backup: setup ## Backups under load, restored and compared: N=50
	$(BIN)/python -m tests.chaos.backup --count $(N)

bench-labels: setup ## Learning curves: DATA=… STRATEGIES=a,b SEEDS=0-4 PROTOCOL=reduced|full [BENCH_ARGS=…]
	$(BIN)/python -m benchmarks.label_efficiency --data '$(DATA)' --strategies '$(STRATEGIES)' --seeds '$(SEEDS)' --protocol $(PROTOCOL) $(BENCH_ARGS)

bench-rank: setup ## What ranking costs beside the bare network; BENCH_ARGS=--quick for a short run
	$(BIN)/python -m benchmarks.rank $(BENCH_ARGS)

bench-candidates: setup ## What finding candidates in a large uncertainty volume takes, in memory and reads
	$(BIN)/python -m benchmarks.candidates $(BENCH_ARGS)

bench-wait: setup ## The wait between the last answer of a batch and the next proposals, in its parts
	$(BIN)/python -m benchmarks.wait $(BENCH_ARGS)

bench-first-campaign: setup ## A first campaign with the defaults, on a phantom or DATA_ROOT=… (vnc/ in it)
	$(BIN)/python -m benchmarks.first_campaign $(if $(DATA_ROOT),--data $(DATA_ROOT)/vnc) $(BENCH_ARGS)

bench-training: setup ## What a training step costs beside the network's own work
	$(BIN)/python -m benchmarks.training_step $(BENCH_ARGS)

bench-segment: setup ## Segmentation beside the bare network and MONAI's sliding window; memory; cost of a block
	$(BIN)/python -m benchmarks.segment $(BENCH_ARGS)

bench-grey: setup ## IoU of one version on a picture stored in many ways; DATA_ROOT=… (vnc/ in it), else a phantom
	$(BIN)/python -m benchmarks.grey $(BENCH_ARGS)

check: lint types proto-check ## Every static check

lint: setup ## ruff, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup ## mypy --strict
	$(BIN)/mypy

proto: setup ## Format the protos and generate clients/biosegment/v1
	VENV=$(VENV) scripts/proto.sh

proto-check: setup ## buf lint, format, breaking; generated code is fresh
	VENV=$(VENV) scripts/proto_check.sh

clean: ## Remove the environment and what the demo left
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
