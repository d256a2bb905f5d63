# Every target makes its own virtual environment first: nothing else has to be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

DEMO := demo
REAL := real
# galaxies of the demo's mock survey, and further options of the two training scripts
COUNT := 6000
TOWERS :=
GENERATOR :=
export OMP_WAIT_POLICY ?= passive
export MPLBACKEND ?= Agg

.PHONY: demo real test test-slow fuzz lint bench clean help

help:
	@echo "make demo       mock survey -> train both stages -> generate spectra -> pictures, in $(DEMO)/"
	@echo "make real DATA=FOLDER   the same scripts on real SDSS and Legacy Surveys files, in $(REAL)/"
	@echo "make test       the default test suite"
	@echo "make test-slow  every test, the long ones included"
	@echo "make fuzz       10,000 damaged and hostile files for every reader"
	@echo "make lint       ruff, on code and format"
	@echo "make bench      benchmarks: ratios measured in one run"
	@echo "make clean      remove the environment and what the demo made"

$(VENV)/runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(RUN) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/development: requirements-dev.txt $(VENV)/runtime
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The demo: each step is the command a user would type. What is done is not done again, and with
# --resume a step that was stopped goes on. A step that fails leaves no target.
.DELETE_ON_ERROR:

demo: $(DEMO)/generated.png $(DEMO)/evaluation/table.md
	@cat $(DEMO)/evaluation/table.md
	@echo "Pictures: $(DEMO)/generated.png, $(DEMO)/spectra/contact_sheet_001.png"
	@echo "Spectra: $(DEMO)/spectra/spectra, catalogue $(DEMO)/spectra/catalogue.fits"

$(DEMO)/survey.h5: $(VENV)/runtime
	@mkdir -p $(DEMO)
	$(RUN) -m datasets.mock $@ --count $(COUNT) --seed 1

$(DEMO)/contrastive.done: $(DEMO)/survey.h5
	$(RUN) train_contrastive.py --config params/demo_contrastive.yml --data.survey $(DEMO)/survey.h5 \
	    --run.output $(DEMO)/contrastive --resume $(TOWERS)
	@touch $@

$(DEMO)/generative.done: $(DEMO)/contrastive.done
	$(RUN) train_generative.py --config params/demo_generative.yml --data.survey $(DEMO)/survey.h5 \
	    --diffusion.contrastive $(DEMO)/contrastive/best.pt \
	    --run.output $(DEMO)/generative --resume $(GENERATOR)
	@touch $@

$(DEMO)/cutouts.done: $(DEMO)/survey.h5
	$(RUN) -m utils.export_cutouts $(DEMO)/survey.h5 $(DEMO)/cutouts --split test --count 16
	@touch $@

$(DEMO)/spectra/catalogue.fits: $(DEMO)/generative.done $(DEMO)/cutouts.done
	$(RUN) generate.py $(DEMO)/cutouts --checkpoint $(DEMO)/generative/best.pt \
	    --precision auto --output $(DEMO)/spectra --resume

$(DEMO)/generated.png: $(DEMO)/spectra/catalogue.fits
	$(RUN) -m figures.generated $(DEMO)/spectra --survey $(DEMO)/survey.h5 --output $@

$(DEMO)/evaluation/table.md: $(DEMO)/generative.done
	$(RUN) -m utils.evaluate --checkpoint $(DEMO)/generative/best.pt --survey $(DEMO)/survey.h5 \
	    --output $(DEMO)/evaluation --galaxies 256 --template-fit --precision auto

# Real input: the same commands on SDSS and Legacy Surveys files, with what the demo has trained.
# DATA holds sdss_spectra.h5, cutouts_field_5112.npz, frames/ and pairs/.
ifneq ($(filter real,$(MAKECMDGOALS)),)
ifeq ($(wildcard $(DATA)/sdss_spectra.h5),)
$(error make real DATA=FOLDER: name the folder of the survey files, the one with sdss_spectra.h5)
endif
endif
REAL_DONE := readers.txt evaluation/table.md field/catalogue.fits frames/catalogue.fits pairs.png

real: $(addprefix $(REAL)/,$(REAL_DONE))
	@cat $(REAL)/readers.txt $(REAL)/evaluation/table.md $(REAL)/pairs.txt
	@echo "Pictures: $(REAL)/field/contact_sheet_001.png, $(REAL)/pairs.png"

$(REAL)/readers.txt: $(VENV)/runtime
	@mkdir -p $(REAL)
	$(RUN) -m utils.check_files $(DATA) > $@.part
	@mv $@.part $@

# Real spectra with images rendered for them: semi-synthetic. The demo's networks, trained further.
$(REAL)/semisynthetic.h5: $(VENV)/runtime
	@mkdir -p $(REAL)
	$(RUN) -m datasets.mock.semisynthetic $@ --spectra $(DATA)/sdss_spectra.h5

$(REAL)/contrastive.done: $(REAL)/semisynthetic.h5 $(DEMO)/contrastive.done
	$(RUN) train_contrastive.py --config params/demo_contrastive.yml --config params/real_contrastive.yml \
	    --data.survey $(REAL)/semisynthetic.h5 --run.start_from $(DEMO)/contrastive/best.pt \
	    --run.output $(REAL)/contrastive --resume
	@touch $@

$(REAL)/generative.done: $(REAL)/contrastive.done $(DEMO)/generative.done
	$(RUN) train_generative.py --config params/demo_generative.yml --config params/real_generative.yml \
	    --data.survey $(REAL)/semisynthetic.h5 --run.start_from $(DEMO)/generative/best.pt \
	    --diffusion.contrastive $(REAL)/contrastive/best.pt \
	    --run.output $(REAL)/generative --resume
	@touch $@

$(REAL)/evaluation/table.md: $(REAL)/generative.done
	$(RUN) -m utils.evaluate --checkpoint $(REAL)/generative/best.pt --survey $(REAL)/semisynthetic.h5 \
	    --output $(REAL)/evaluation --precision auto

# Real cutouts, and cutouts of the same galaxies from the frames: the demo's network, as it is.
$(REAL)/field/catalogue.fits: $(DEMO)/generative.done
	$(RUN) generate.py $(DATA)/cutouts_field_5112.npz --checkpoint $(DEMO)/generative/best.pt \
	    --bands u,g,r,i,z --unit nanomaggy --pixel-scale 0.396 --precision auto \
	    --output $(REAL)/field --resume

$(REAL)/cutouts.done: $(REAL)/field/catalogue.fits
	$(RUN) -m utils.cut_frames $(DATA)/frames/frame-*.fits.bz2 --positions $< --output $(REAL)/cutouts
	@touch $@

$(REAL)/frames/catalogue.fits: $(REAL)/cutouts.done
	$(RUN) generate.py $(REAL)/cutouts --checkpoint $(DEMO)/generative/best.pt \
	    --precision auto --output $(REAL)/frames --resume

# True pairs of colour JPEGs and spectra: networks trained on colour pictures of the mock survey.
$(REAL)/pictures.h5: $(VENV)/runtime
	@mkdir -p $(REAL)
	$(RUN) -m datasets.mock $@ --count 4000 --seed 1 --pictures

$(REAL)/rgb_contrastive.done: $(REAL)/pictures.h5
	$(RUN) train_contrastive.py --config params/demo_contrastive.yml --config params/rgb_contrastive.yml \
	    --data.survey $(REAL)/pictures.h5 \
	    --run.output $(REAL)/rgb_contrastive --resume
	@touch $@

$(REAL)/rgb_generative.done: $(REAL)/rgb_contrastive.done $(DEMO)/generative.done
	$(RUN) train_generative.py --config params/demo_generative.yml --config params/rgb_generative.yml \
	    --data.survey $(REAL)/pictures.h5 --run.start_from $(DEMO)/generative/best.pt \
	    --diffusion.contrastive $(REAL)/rgb_contrastive/best.pt \
	    --run.output $(REAL)/rgb_generative --resume
	@touch $@

$(REAL)/pairs/catalogue.fits: $(REAL)/rgb_generative.done
	$(RUN) generate.py "$(DATA)/pairs/*.jpeg" --checkpoint $(REAL)/rgb_generative/best.pt \
	    --pixel-scale 0.1 --precision auto --output $(REAL)/pairs --resume

$(REAL)/pairs.png: $(REAL)/pairs/catalogue.fits
	$(RUN) -m figures.pairs $(REAL)/pairs --table $(DATA)/pairs/pairs.csv \
	    --survey $(REAL)/pictures.h5 --output $@ > $(REAL)/pairs.txt

test: $(VENV)/development
	$(RUN) -m pytest -q -n 2

test-slow: $(VENV)/development
	$(RUN) -m pytest -q -m "slow or not slow"

fuzz: $(VENV)/development
	$(RUN) -W ignore -m tests.fuzz

lint: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/development
	$(RUN) -m tests.benchmarks

clean:
	rm -rf $(VENV) $(DEMO) $(REAL) .pytest_cache .ruff_cache .hypothesis
