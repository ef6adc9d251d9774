# Each target makes .venv with what it needs; nothing else has to be installed but Python 3.11.

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin

.PHONY: test lint .venv

test: .venv/tested-with lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: .venv/tested-with
	$(BIN)/ruff check .

.venv: .venv/installed

# Stamps: rebuilt only when the requirements change. spoken-to-signed is used for its letters alone, so without what its
# own code would need.
.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps spoken-to-signed==0.4.0
	touch $@

.venv/tested-with: .venv/installed requirements-dev.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-warn-conflicts --requirement requirements-dev.txt
	touch $@
