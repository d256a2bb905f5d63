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

# The demo: each step is the command a user would type; what is done is not done again, and a
# training that was stopped goes on.
resume = $(if $(wildcard $(1)),--resume)

demo: $(DEMO)/generated.png $(DEMO)/evaluation/table.md
	@cat $(DEMO)/evaluation/table.md
	@echo "Pictures: $(DEMO)/generated.png, $(DEMO)/spectra/contact_sheet_001.png"
	@echo "Spectra: $(DEMO)/spectra/spectra, catalogue $(DEMO)/spectra/catalogue.fits"

$(DEMO)/survey.h5: $(VENV)/runtime
	@mkdir -p $(DEMO)
	$(RUN) -m datasets.mock $@ --count 6000 --seed 1

$(DEMO)/contrastive.done: $(DEMO)/survey.h5
	$(RUN) train_contrastive.py --config params/demo_contrastive.yml --data.survey $(DEMO)/survey.h5 \
	    --run.output $(DEMO)/contrastive $(call resume,$(DEMO)/contrastive/last.pt)
	@touch $@

$(DEMO)/generative.done: $(DEMO)/contrastive.done
	$(RUN) train_generative.py --config params/demo_generative.yml --data.survey $(DEMO)/survey.h5 \
	    --diffusion.contrastive $(DEMO)/contrastive/best.pt \
	    --run.output $(DEMO)/generative $(call resume,$(DEMO)/generative/last.pt)
	@touch $@

$(DEMO)/cutouts.done: $(DEMO)/survey.h5
	$(RUN) -m utils.export_cutouts $(DEMO)/survey.h5 $(DEMO)/cutouts --split test --count 16
	@touch $@

$(DEMO)/spectra/catalogue.fits: $(DEMO)/generative.done $(DEMO)/cutouts.done
	$(RUN) generate.py $(DEMO)/cutouts --checkpoint $(DEMO)/generative/best.pt \
	    --output $(DEMO)/spectra $(call resume,$(DEMO)/spectra/generate.json)

$(DEMO)/generated.png: $(DEMO)/spectra/catalogue.fits
	$(RUN) -m figures.generated $(DEMO)/spectra --survey $(DEMO)/survey.h5 --output $@

$(DEMO)/evaluation/table.md: $(DEMO)/generative.done
	$(RUN) -m utils.evaluate --checkpoint $(DEMO)/generative/best.pt --survey $(DEMO)/survey.h5 \
	    --output $(DEMO)/evaluation --galaxies 160

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
