# `make help` lists the targets. The virtual environment is made where it is first needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARTEFACTS := table1 table2 table3 table4 table5 table6 table7 table8 \
             fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig9 fig10 fig11 methods
SCALE ?= smoke
WORDS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs bench clean reproduce report $(ARTEFACTS)

help:            ## this list
	@grep -E '^[a-z0-9]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/' | expand -t 18

setup: $(READY)  ## virtual environment in .venv with mixkd and its development tools

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is $$($(PYTHON) --version); mixkd takes Python 3.11 to 3.13: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(READY)

demo: $(READY)   ## a teacher and four students on handwritten digits: one table, one figure
	$(BIN)/python -m experiments.demo

test: $(READY)   ## the tests
	$(BIN)/python -m pytest

lint: $(READY)   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)   ## the documentation, in site/; a broken link fails it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(READY)  ## what mixkd costs, against bare loops and naive use: WORDS='training --repeats 3'
	$(BIN)/python -m experiments.bench $(WORDS)

reproduce: $(READY)  ## every table and figure of the paper: SCALE=smoke, laptop or paper; WORDS='plan=true'
	$(BIN)/mixkd reproduce all scale=$(SCALE) $(WORDS)

table1: ## one table or figure, table1 to table8, fig2 to fig11, methods: SCALE, WORDS
$(ARTEFACTS): $(READY)
	$(BIN)/mixkd reproduce $@ scale=$(SCALE) $(WORDS)

report: $(READY) ## tables, figures, claims and a page from the runs that are there: SCALE
	$(BIN)/mixkd report scale=$(SCALE) $(WORDS)

clean:           ## the virtual environment and caches; runs and reports stay
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
