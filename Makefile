# `make demo` and `make test` do their own set-up: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check cover bench bench-peers soak soak-agents format clean

help:
	@echo "make demo    a swarm works, is killed with kill -9, goes on, and proves it"
	@echo "make test    every check and every test"
	@echo "make check   format, lint and types only"
	@echo "make cover   the tests with branch coverage"
	@echo "make bench   overwinter beside its baselines, medians and ratios; ARGS=--quick for a first impression"
	@echo "make bench-peers  the same work on LangGraph, autogen-core, Pykka, swarms and tantra"
	@echo "make soak    10,000 kills, for hours; KILLS=500 for less; started again it goes on"
	@echo "make soak-agents  1,000 agents at full speed, for an hour; SECONDS=600 for less"
	@echo "make format  format and mend what can be mended"
	@echo "make clean   remove the virtual environment and caches"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("overwinter needs Python 3.11 or later; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once; a minute or so)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/overwinter demo

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright

test: check
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'not alone'
	@echo "And those that measure time, with nothing beside them:"
	@$(BIN)/python -m pytest -m alone
	@echo "Every check and every test has passed."

cover: $(STAMP)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest tests/unit tests/integration tests/faults
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report
	@echo "persistence/ has every line and every branch tested, or this fails:"
	@$(BIN)/coverage report --include='src/overwinter/persistence/*' --skip-covered --fail-under=100

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(STAMP)
	@$(BIN)/python -m benchmarks.peers $(ARGS)

soak: $(STAMP)
	@$(BIN)/python -m tests.soak $(KILLS)

soak-agents: $(STAMP)
	@$(BIN)/python -m tests.soak_agents $(if $(SECONDS),--seconds $(SECONDS))

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-peers .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
