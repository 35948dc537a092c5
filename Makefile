# `make study` and `make test` do all the set-up on a fresh machine; nothing else has to be typed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESULTS ?= results/quickstart
SET ?=

.PHONY: study test test-slow lint format bench clean

study: $(VENV)/.installed
	$(BIN)/wsss run quickstart --results $(RESULTS) $(SET)
	@$(BIN)/wsss report $(RESULTS)
	@echo "open file://$(abspath $(RESULTS))/report/report.html"

test: $(VENV)/.installed-dev
	$(BIN)/pytest -m "not slow and not ci" $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m "slow or ci" $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# pydensecrf is compiled on the spot; without a C++ compiler its comparisons are skipped.
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[crf]' \
		|| echo "pydensecrf could not be built: tests against it are skipped"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
