# Every target makes its own virtual environment first: nothing else has to be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

DEMO := demo
export OMP_WAIT_POLICY ?= passive
export MPLBACKEND ?= Agg

.PHONY: demo test test-slow lint bench clean help

help:
	@echo "make demo       mock survey -> train both stages -> generate spectra -> pictures, in $(DEMO)/"
	@echo "make test       the default test suite"
	@echo "make test-slow  every test, the long ones included"
	@echo "make lint       ruff, on code and format"
	@echo "make bench      benchmarks: ratios measured in one run"
	@echo "make clean      remove the environment and what the demo made"

$(VENV)/runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/development: requirements-dev.txt $(VENV)/runtime
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/runtime
	$(RUN) -m utils.demo $(DEMO)

test: $(VENV)/development
	$(RUN) -m pytest -q -n 2

test-slow: $(VENV)/development
	$(RUN) -m pytest -q -m "slow or not slow"

lint: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/development
	$(RUN) -m tests.benchmarks

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .ruff_cache .hypothesis
