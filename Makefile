# make demo | test | lint | clean. Makes .venv by itself; see scripts/install.sh. PYTHON=python3.12 chooses the interpreter.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?=
INPUTS := scripts/install.sh constraints.txt setup.py pyproject.toml package.xml CMakeLists.txt scripts/executable.py.in $(sort $(wildcard msg/*.msg))

.PHONY: demo test lint clean install
.DEFAULT_GOAL := install

install: $(STAMP)

$(STAMP): $(INPUTS)
	@scripts/install.sh $(VENV) $(PYTHON)
	@touch $@

demo: $(STAMP)
	@$(BIN)/biomech-fit demo $(ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/pyright --version >/dev/null 2>&1 && $(BIN)/pyright || echo "pyright could not fetch Node.js here; types were not checked."

clean:
	rm -rf $(VENV) build install log dist demo_output *.egg-info .pytest_cache .ruff_cache
	find biomech_fit test examples benchmark launch -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
