# `make demo` and `make test` do their own set-up: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check cover bench soak format clean

help:
	@echo "make demo    a swarm works, is killed with kill -9, goes on, and proves it"
	@echo "make test    every check and every test"
	@echo "make check   format, lint and types only"
	@echo "make cover   the tests with branch coverage"
	@echo "make bench   what autosaving costs, a step at 10,000 messages, and 1,000 agents resumed"
	@echo "make soak    10,000 kills, for hours; KILLS=500 for less; started again it goes on"
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
	@$(BIN)/python benchmarks/autosave.py
	@$(BIN)/python benchmarks/long_conversation.py
	@$(BIN)/python benchmarks/resume.py 1000 20
	@$(BIN)/python benchmarks/many_agents.py
	@$(BIN)/python benchmarks/thousand.py
	@$(BIN)/python benchmarks/map_reduce.py

soak: $(STAMP)
	@$(BIN)/python -m tests.soak $(KILLS)

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
