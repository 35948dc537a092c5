# `make study` and `make test` do all the set-up on a fresh machine; nothing else has to be typed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESULTS ?= results/quickstart
SET ?=

.PHONY: study test test-fast test-slow test-lowest lint format docs linkcheck bench clean

study: $(VENV)/.installed
	$(BIN)/wsss run quickstart --results $(RESULTS) $(SET)
	@$(BIN)/wsss report $(RESULTS)
	@echo "open file://$(abspath $(RESULTS))/report/report.html"

# A test that takes five minutes ends its process: its threads' stacks are printed. Where a
# process ends, the run names its test and ends too: xdist 3.8.0 may wait for ever for another.
HANGS := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true --max-worker-restart=0

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest $(HANGS) -n auto --maxprocesses 8 --dist loadgroup -m "not slow and not ci" $(ARGS)

# What a change since main can break, by imports, and the tests of the house: seconds, not minutes.
test-fast: $(VENV)/.installed-dev
	$(BIN)/pytest -x -m "not slow and not ci" $$($(BIN)/python tests/affected.py) $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m "slow or ci" $(ARGS)

# The fast tests with the lowest versions that pyproject.toml allows, in an environment of their own.
LOWEST ?= .venv-lowest
test-lowest:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[foundation,segmentation]' \
		'pytest>=8' 'hypothesis>=6.100' 'grad-cam>=1.5' 'scikit-learn>=1.5'
	$(LOWEST)/bin/python -m pytest -m "not slow and not ci" $(or $(ARGS),tests/wsss_core tests/reports)

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html
	@echo "open file://$(abspath docs/_build/html)/index.html"

# Asks the hosts of external links, so no test does it.
linkcheck: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -q -b linkcheck -D nb_execution_mode=off docs docs/_build/links

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
	rm -rf $(VENV) $(LOWEST) build dist docs/_build *.egg-info
