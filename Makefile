# `make help` lists the commands. Each sets up what it needs in .venv, and again only when the pins change.
PYTHON ?= python3
WORKERS ?= 1
PORT ?= 8000
OUTPUT ?= output
REQUEST ?= test_input.json
# The ComfyUI that each worker launches: the embedded one, or the folder of a real one. COMFY_HOST names a running one.
COMFYUI_PATH ?= $(CURDIR)/src/local_comfyui
# Not ComfyUI's own 8188: what runs there is yours.
COMFY_PORT ?= 18188
ifeq ($(COMFYUI_PATH),$(CURDIR)/src/local_comfyui)
COMFY_ARGS ?= --base-directory $(CURDIR)/.comfyui/worker-{number}
endif
ifdef COMFY_HOST
HOST := $(COMFY_HOST)
else
HOST := 127.0.0.1:\$$(($(COMFY_PORT) - 1 + {number}))
endif

BIN := .venv/bin
WORKER = sh -c 'COMFYUI_PATH=\"$(COMFYUI_PATH)\" COMFY_ARGS=\"$(COMFY_ARGS)\" COMFY_HOST=\"$(HOST)\" exec $(BIN)/python handler.py'

.DEFAULT_GOAL := help
.PHONY: help run serve test check bench format clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS='	' read -r name about; do printf '  make %-10s %s\n' "$$name" "$$about"; done

# `exec`, so that a SIGTERM to make reaches the program that stops all others, and not a shell around it.
run: .venv/runtime  ## send test_input.json through a local endpoint, worker and ComfyUI; pictures go to output/
	@exec $(BIN)/python -m local_runpod --port 0 once --worker "$(WORKER)" --request $(REQUEST) --output $(OUTPUT)

serve: .venv/runtime  ## keep the local endpoint up for curl on port 8000 (WORKERS=1 PORT=8000)
	@exec $(BIN)/python -m local_runpod --port $(PORT) serve --worker "$(WORKER)" --workers $(WORKERS)

test: .venv/dev .venv/js  ## run all tests
	$(BIN)/pytest -n 3 --dist loadgroup

check: .venv/dev  ## lint, format check, type check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev  ## run the benchmarks (minutes)
	$(BIN)/python -m benchmarks $(BENCH)

format: .venv/dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove everything that the commands made
	rm -rf .venv .comfyui output build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt pyproject.toml | .venv/bin/python
	@echo "setting up .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev: requirements.txt pyproject.toml | .venv/bin/python
	@echo "setting up .venv for development ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/runtime

# RunPod's JS client is tried too where there is npm.
.venv/js: tests/contract/runpod/js/package-lock.json | .venv/bin/python
	@if command -v npm >/dev/null; then cd tests/contract/runpod/js && npm ci --silent --no-fund --no-audit; \
		else echo "no npm here: the test of RunPod's JS client is skipped"; fi
	@touch $@

-include image.mk
