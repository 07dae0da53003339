# If PYTHON or ENGINE_PROBE_FLAVOUR is set, .venv is checked against it; if a set-up was cut off, .venv is made again.
# Otherwise dates tell whether it is current.
ifneq ($(ENGINE_PROBE_FLAVOUR)$(PYTHON)$(shell test -s .venv.lock && echo cut off),)
NAMED := $(if $(PYTHON),--this-python)
.PHONY: .venv/.engine-probe-ready .venv/.engine-probe-sweep-ready
endif
# Bytecode that must not lie beside the sources goes to build/: without any, each process of a sweep or a test would
# compile all that it imports, vLLM too.
ifdef PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/bytecode
unexport PYTHONDONTWRITEBYTECODE
endif
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
# What a sweep needs, and what everything else needs beside it.
SWEEP_READY := .venv/.engine-probe-sweep-ready
READY := .venv/.engine-probe-ready
SETUP := pyproject.toml tools/environment.py $(wildcard tools/bootstrap/*.py tools/locks/*.txt)

# Two processes, each with whole files, so that a file's fixtures are made once (those with vLLM all in the same one:
# tests/support/processes/distribution.py). Three take as long on two cores.
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-23s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(SWEEP_READY): $(SETUP)
	@$(PYTHON) tools/environment.py $(NAMED)

$(READY): $(SETUP)
	@$(PYTHON) tools/environment.py --dev $(NAMED)

sweep: $(SWEEP_READY) ## set up, then profile the embedded model on the real vLLM
	@$(BIN)/python -m engine_probe sweep $(ARGS)

# What the notebooks open. A folder that is there is kept.
RECORDINGS := anatomy elsewhere hardware.json inside integrity knee pool ranks
recordings: $(RECORDINGS:%=runs/%) ## record what the notebooks open: runs and sweeps of a small real model (minutes)

notebooks: recordings | $(READY) ## execute every notebook on those recordings
	@$(BIN)/python -m tests.support.processes.notebooks

runs/anatomy: | $(SWEEP_READY)
	@$(BIN)/python -m engine_probe profile --model smollm2 --num-prompts 72 --request-rate 3 --input-len 160 --output-len 48 \
		--seed 1 --out $@ --block-size 32 --num-gpu-blocks-override 97 --max-model-len 512 --max-num-batched-tokens 512 --enforce-eager

runs/knee: | $(SWEEP_READY)
	@$(BIN)/python -m engine_probe sweep smoke --out $@

runs/hardware.json: | $(SWEEP_READY)
	@mkdir -p runs && { $(BIN)/python -m engine_probe validate --quick --only memory,gemm --json $@ || test -s $@; }

# Predictions alone: of four published engines, of the sweep and the run of other notebooks, and of cards that are not here.
PUBLISHED := gpt2-xl deepseek-llm-7b-chat qwen1.5-14b-chat falcon-40b
runs/elsewhere: | $(SWEEP_READY) runs/knee runs/anatomy
	@rm -rf $@.part && mkdir -p $@.part
	@for model in $(PUBLISHED); do $(BIN)/python -m engine_probe plan --model $$model --device "H100 NVL" --dtype float16 \
		--max-num-batched-tokens 8192 --max-num-seqs 1024 --json $@.part/$$model.json || exit 1; done
	@$(BIN)/python -m engine_probe plan --model llama-3.1-8b --devices L4,L40S,H100,H200 --max-model-len 8192 \
		--slo ttft:500 tpot:30 --requests-per-second 20 --json $@.part/plan.json
	@$(BIN)/python -m engine_probe sweep smoke --twin runs/knee --out $@.part/twin
	@$(BIN)/python -m engine_probe predict runs/anatomy --set "num_gpu_blocks_override=[49,145,193]" --out $@.part/what_if \
		--json $@.part/what_if.json
	@mv $@.part $@

# After the hardware, whose ceilings it carries.
runs/inside: | $(SWEEP_READY) runs/hardware.json
	@$(BIN)/python -m engine_probe profile --model smollm2 --num-prompts 32 --request-rate 2 --input-len 96 --output-len 24 \
		--seed 1 --operators 8@40 --out $@ --dtype float32 --block-size 32 --num-gpu-blocks-override 129 --max-model-len 512 \
		--max-num-batched-tokens 128 --enforce-eager

runs/integrity: | $(SWEEP_READY)
	@$(BIN)/python -m engine_probe sweep integrity --set workload.num_prompts=32 --out $@

# One core for each rank, as it were a GPU.
runs/ranks: | $(SWEEP_READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m engine_probe sweep notebooks/two_ranks.toml --out $@

runs/pool: | $(SWEEP_READY)
	@$(BIN)/python -m engine_probe sweep kv_pressure --set "engine.arguments.num_gpu_blocks_override=[49,97,145]" --out $@

test: $(READY) ## set up, then the everyday test suite
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not readme" $(ARGS)

test-fast: $(READY) ## tests without an engine or a browser, in less than a minute: the loop before a commit
	@$(BIN)/python -m pytest $(PARALLEL) --ignore tests/vllm -m "not vllm and not slow and not readme and not lengthy" $(ARGS)

test-slow: $(READY) ## tests that start many engines or simulate for minutes
	@$(BIN)/python -m pytest $(PARALLEL) -m slow $(ARGS)

test-hostile: $(READY) ## give mutated files of every kind to every command that reads them (ARGS="--inputs 5000 --seed 1")
	@$(BIN)/python -m tests.hostile $(ARGS)

test-hostile-faults: $(READY) ## let every function of the probe fail at its first and at a later call (ARGS="--sample 40 --first-only")
	@$(BIN)/python -m tests.hostile.faults $(ARGS)

test-hostile-processes: $(READY) ## kill processes, starve hosts, record a long run (ARGS="kills hosts long --write docs/results/hostile.md")
	@$(BIN)/python -m tests.hostile.processes $(ARGS)

test-readme: $(READY) ## run every command and snippet of the README as printed, on a machine made busy
	@$(BIN)/python -m pytest -m readme $(ARGS)

test-versions: $(READY) ## test the probe on every vLLM it declares (downloads 1.1 GB once)
	@$(BIN)/python -m tools.vllm_versions.versions $(ARGS)

test-upstream: $(READY) ## run vLLM's own scheduler tests without the probe and with it on every scheduler (downloads 45 MB once)
	@$(BIN)/python -m tools.upstream $(ARGS)

screenshot: runs/knee | $(READY) ## draw the README's pictures, from the sweep of make recordings (needs a Chromium)
	@$(BIN)/python -m tools.pictures.screenshot $< && $(BIN)/python -m tools.pictures.screenshot --plan

readme-table: runs/knee | $(READY) ## write the README's first table, from the sweep of make recordings
	@$(BIN)/python -m tools.pictures.readme_table $<

terminal-pictures: $(READY) ## draw the docs' pictures of a terminal while profile and a sweep run (needs tmux; ten minutes; KEEP=runs/knee)
	@$(BIN)/python -m tools.pictures.capture_terminal profile --at start="starting vLLM" --at running="waiting .* preempted" -- \
		engine_probe profile --model tiny --num-prompts 400 --max-concurrency 16
	@$(BIN)/python -m tools.pictures.capture_terminal sweep --at start="starting vLLM" --at running="point [5-9] of" \
		$(if $(KEEP),--keep $(KEEP)) -- \
		engine_probe sweep

docs: $(READY) ## write docs/sweep_files.md, docs/price_lists.md and the JSON Schema of sweep files
	@$(BIN)/python -m tools.reference_pages.sweep_reference && $(BIN)/python -m tools.reference_pages.price_reference

lint: $(READY) ## check the style with ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY) ## run mypy --strict on the product packages
	@$(BIN)/mypy

wheel: $(READY) ## build the wheel into dist/
	@$(BIN)/python -m build --wheel

lock: $(READY) ## resolve tools/locks anew from pyproject.toml
	@$(BIN)/python tools/lock.py

measure-set-up: $(READY) ## time fresh set-ups with uv and pip into docs/results/set_up.md (needs a quiet machine)
	@$(BIN)/python -m tools.results.measure_set_up $(ARGS)

measure-calibration: $(READY) ## measure how often conclusions from simulated sweeps are true (ARGS="--sweeps 500 --only curves")
	@$(BIN)/python -m tools.calibration $(ARGS)

clean: ## remove the environment and everything built
	rm -rf .venv .venv.lock .venv.log dist build .mypy_cache .ruff_cache .pytest_cache

.PHONY: help sweep recordings notebooks screenshot readme-table terminal-pictures test test-fast test-slow test-hostile test-hostile-faults test-hostile-processes test-readme test-versions test-upstream docs lint types wheel lock measure-set-up measure-calibration clean
