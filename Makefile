# The commands people use. What they do is in scripts/, CMakePresets.json and story/.
#
#   make sim SEEDS=1000        make fuzz FUZZ_SECONDS=600        make test STAGES="unit asan"

SEEDS ?= 300
FUZZ_SECONDS ?= 60
STAGES ?=
JOBS := $(shell nproc)

.DEFAULT_GOAL := help
.PHONY: help run build test sim fuzz bench format lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## build, and tell the story with real processes
	@scripts/install.sh build
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) --target holdfast story
	@exec story/run.sh

build: ## build/release/src/holdfast/holdfast
	@scripts/install.sh build
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) --target holdfast

test: ## everything that continuous integration checks
	@scripts/install.sh build test
	@SEEDS=$(SEEDS) scripts/test.sh $(STAGES)

sim: ## simulated histories with faults: SEEDS=1000
	@scripts/install.sh build
	@cmake --preset sim >/dev/null
	@cmake --build --preset sim -j $(JOBS) --target holdfast_sim
	@build/sim/src/sim/holdfast_sim --seeds $(SEEDS)

fuzz: ## libFuzzer on every decoder: FUZZ_SECONDS=60
	@scripts/install.sh build test
	@FUZZ_SEED=0 FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/test.sh fuzz

bench: ## measure, against other brokers too
	@scripts/install.sh build bench
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) --target holdfast bench
	@exec bench/run.sh

format: ## clang-format every source
	@scripts/install.sh build test
	@find src story bench tests -name '*.h' -o -name '*.cc' | xargs --no-run-if-empty clang-format-19 -i

lint: ## clang-tidy on what changed
	@scripts/install.sh build test
	@scripts/lint.py --budget-s 3600

clean: ## remove build/
	@rm -rf build
