# Every target makes its own virtual environment first: nothing else has to be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

DEMO := demo
DEMO_TRAIN := demo-train
REAL := real
TRAINING := weights-training
# galaxies of the mock survey of `make demo-train`, and further options of its training scripts
COUNT := 6000
TOWERS :=
GENERATOR :=
export OMP_WAIT_POLICY ?= passive
export MPLBACKEND ?= Agg

.PHONY: demo demo-train real weights test test-slow fuzz faults soak lint docs bench clean help

help:
	@echo "make demo         cutouts of mock galaxies -> spectra, pictures, a table, in $(DEMO)/"
	@echo "make demo-train   mock survey -> train both stages -> the same, in $(DEMO_TRAIN)/"
	@echo "make real DATA=FOLDER      spectra for real SDSS and Legacy Surveys images, in $(REAL)/"
	@echo "make weights DATA=FOLDER   train the weights that come with the project, in $(TRAINING)/"
	@echo "make test         the default test suite"
	@echo "make test-slow    every test, the long ones included"
	@echo "make fuzz         10,000 damaged and hostile files for every reader"
	@echo "make faults       kills, full disks and the like at random moments, 270 in all"
	@echo "make soak         an hour of generation with faults, and its memory"
	@echo "make lint         ruff, on code and format, and the links of the documentation"
	@echo "make docs         the documentation as a site, site/index.html"
	@echo "make bench        benchmarks: ratios measured in one run"
	@echo "make clean        remove the environment and what the demos made"

$(VENV)/runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(RUN) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/development: requirements-dev.txt $(VENV)/runtime
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Each step is the command a user would type. What is done is not done again, and with --resume a
# step that was stopped goes on. A step that fails leaves no target.
.DELETE_ON_ERROR:

# The weights that come with the project, on test galaxies of the mock survey they were trained on.
demo: $(DEMO)/generated.png $(DEMO)/evaluation/table.md
	@cat $(DEMO)/evaluation/table.md
	@echo "To look at: $(DEMO)/spectra/index.html, $(DEMO)/evaluation/index.html"
	@echo "Pictures: $(DEMO)/generated.png, $(DEMO)/spectra/contact_sheet_001.png"
	@echo "Spectra: $(DEMO)/spectra/spectra, catalogue $(DEMO)/spectra/catalogue.fits"

$(DEMO)/survey.h5: $(VENV)/runtime
	@mkdir -p $(DEMO)
	$(RUN) -m datasets.mock $@ --count 600 --seed 1

$(DEMO)/spectra/catalogue.fits: $(DEMO)/cutouts.done
	$(RUN) generate.py $(DEMO)/cutouts --weights mock-ugriz --precision auto \
	    --output $(DEMO)/spectra --resume

$(DEMO)/evaluation/table.md: $(DEMO)/survey.h5
	$(RUN) -m utils.evaluate --checkpoint weights/mock-ugriz.safetensors --survey $(DEMO)/survey.h5 \
	    --output $(DEMO)/evaluation --precision auto

%/cutouts.done: %/survey.h5
	$(RUN) -m utils.export_cutouts $< $*/cutouts --split test --count 16
	@touch $@

%/generated.png: %/spectra/catalogue.fits
	$(RUN) -m figures.generated $*/spectra --survey $*/survey.h5 --output $@

# Everything from the beginning: survey, both stages, spectra, pictures, table.
demo-train: $(DEMO_TRAIN)/generated.png $(DEMO_TRAIN)/evaluation/table.md
	@cat $(DEMO_TRAIN)/evaluation/table.md
	@echo "Pictures: $(DEMO_TRAIN)/generated.png, $(DEMO_TRAIN)/spectra/contact_sheet_001.png"

$(DEMO_TRAIN)/survey.h5: $(VENV)/runtime
	@mkdir -p $(DEMO_TRAIN)
	$(RUN) -m datasets.mock $@ --count $(COUNT) --seed 1

$(DEMO_TRAIN)/contrastive.done: $(DEMO_TRAIN)/survey.h5
	$(RUN) train_contrastive.py --config params/demo_contrastive.yml --data.survey $< \
	    --run.output $(DEMO_TRAIN)/contrastive --resume $(TOWERS)
	@touch $@

$(DEMO_TRAIN)/generative.done: $(DEMO_TRAIN)/contrastive.done
	$(RUN) train_generative.py --config params/demo_generative.yml \
	    --data.survey $(DEMO_TRAIN)/survey.h5 \
	    --diffusion.contrastive $(DEMO_TRAIN)/contrastive/best.pt \
	    --run.output $(DEMO_TRAIN)/generative --resume $(GENERATOR)
	@touch $@

$(DEMO_TRAIN)/spectra/catalogue.fits: $(DEMO_TRAIN)/generative.done $(DEMO_TRAIN)/cutouts.done
	$(RUN) generate.py $(DEMO_TRAIN)/cutouts --checkpoint $(DEMO_TRAIN)/generative/best.pt \
	    --precision auto --output $(DEMO_TRAIN)/spectra --resume

$(DEMO_TRAIN)/evaluation/table.md: $(DEMO_TRAIN)/generative.done
	$(RUN) -m utils.evaluate --checkpoint $(DEMO_TRAIN)/generative/best.pt \
	    --survey $(DEMO_TRAIN)/survey.h5 --output $(DEMO_TRAIN)/evaluation \
	    --galaxies 256 --template-fit --precision auto

# Real images and spectra with the weights that come with the project. DATA holds
# sdss_spectra.h5, cutouts_field_5112.npz, frames/ and pairs/.
ifneq ($(filter real weights,$(MAKECMDGOALS)),)
ifeq ($(wildcard $(DATA)/sdss_spectra.h5),)
$(error DATA=FOLDER: name the folder of the survey files, the one with sdss_spectra.h5)
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

# Real spectra with images rendered for them, where they are and farther away: semi-synthetic.
SEMISYNTHETIC = $(RUN) -m datasets.mock.semisynthetic $@ --spectra $(DATA)/sdss_spectra.h5
%/semisynthetic.h5: $(VENV)/runtime
	@mkdir -p $*
	$(SEMISYNTHETIC) --moved 4

$(REAL)/semisynthetic_test.h5: $(VENV)/runtime
	@mkdir -p $(REAL)
	$(SEMISYNTHETIC) --moved 1 --seed 2

$(REAL)/evaluation/table.md: $(REAL)/semisynthetic_test.h5 $(REAL)/semisynthetic.h5
	$(RUN) -m utils.evaluate --checkpoint weights/sdss-ugriz.safetensors --survey $< \
	    --training-survey $(REAL)/semisynthetic.h5 --output $(REAL)/evaluation --precision auto

# Real cutouts, and cutouts of the same galaxies from the frames.
$(REAL)/field/catalogue.fits: $(VENV)/runtime
	$(RUN) generate.py $(DATA)/cutouts_field_5112.npz --weights sdss-ugriz \
	    --bands u,g,r,i,z --unit nanomaggy --pixel-scale 0.396 --precision auto \
	    --output $(REAL)/field --resume

$(REAL)/cutouts.done: $(REAL)/field/catalogue.fits
	$(RUN) -m utils.cut_frames $(DATA)/frames/frame-*.fits.bz2 --positions $< --output $(REAL)/cutouts
	@touch $@

$(REAL)/frames/catalogue.fits: $(REAL)/cutouts.done
	$(RUN) generate.py $(REAL)/cutouts --weights sdss-ugriz --precision auto \
	    --output $(REAL)/frames --resume

# True pairs of colour JPEGs and spectra.
$(REAL)/pairs/catalogue.fits: $(VENV)/runtime
	$(RUN) generate.py "$(DATA)/pairs/*.jpeg" --weights mock-rgb \
	    --pixel-scale 0.1 --precision auto --output $(REAL)/pairs --resume

$(REAL)/pictures.h5: $(VENV)/runtime
	@mkdir -p $(REAL)
	$(RUN) -m datasets.mock $@ --count 600 --seed 1 --pictures

$(REAL)/pairs.png: $(REAL)/pairs/catalogue.fits $(REAL)/pictures.h5
	$(RUN) -m figures.pairs $(REAL)/pairs --table $(DATA)/pairs/pairs.csv \
	    --survey $(REAL)/pictures.h5 --output $@ > $(REAL)/pairs.txt

# The weights themselves: hours on CPUs, minutes on a GPU. The model cards say what was run on what.
WEIGHTS := mock-ugriz sdss-ugriz mock-rgb
weights: $(WEIGHTS:%=$(TRAINING)/%.safetensors)

$(TRAINING)/survey.h5: $(VENV)/runtime
	@mkdir -p $(TRAINING)
	$(RUN) -m datasets.mock $@ --count 60000 --seed 1

$(TRAINING)/pictures.h5: $(VENV)/runtime
	@mkdir -p $(TRAINING)
	$(RUN) -m datasets.mock $@ --count 30000 --seed 1 --pictures

$(TRAINING)/contrastive.done: $(TRAINING)/survey.h5
	$(RUN) train_contrastive.py --config params/weights_contrastive.yml --data.survey $< \
	    --run.output $(TRAINING)/contrastive --resume
	@touch $@

$(TRAINING)/generative.done: $(TRAINING)/contrastive.done
	$(RUN) train_generative.py --config params/weights_generative.yml \
	    --data.survey $(TRAINING)/survey.h5 \
	    --diffusion.contrastive $(TRAINING)/contrastive/best.pt \
	    --run.output $(TRAINING)/generative --resume
	@touch $@

$(TRAINING)/sdss-contrastive.done: $(TRAINING)/semisynthetic.h5 $(TRAINING)/contrastive.done
	$(RUN) train_contrastive.py --config params/weights_contrastive.yml \
	    --config params/weights_sdss_contrastive.yml --data.survey $< \
	    --run.start_from $(TRAINING)/contrastive/best.pt \
	    --run.output $(TRAINING)/sdss-contrastive --resume
	@touch $@

$(TRAINING)/sdss-generative.done: $(TRAINING)/sdss-contrastive.done $(TRAINING)/generative.done
	$(RUN) train_generative.py --config params/weights_generative.yml \
	    --config params/weights_sdss_generative.yml --data.survey $(TRAINING)/semisynthetic.h5 \
	    --diffusion.contrastive $(TRAINING)/sdss-contrastive/best.pt \
	    --run.start_from $(TRAINING)/generative/best.pt \
	    --run.output $(TRAINING)/sdss-generative --resume
	@touch $@

$(TRAINING)/rgb-contrastive.done: $(TRAINING)/pictures.h5
	$(RUN) train_contrastive.py --config params/weights_contrastive.yml --data.survey $< \
	    --towers.stretch linear --optimiser.epochs 90 \
	    --run.output $(TRAINING)/rgb-contrastive --resume
	@touch $@

$(TRAINING)/rgb-generative.done: $(TRAINING)/rgb-contrastive.done
	$(RUN) train_generative.py --config params/weights_generative.yml \
	    --data.survey $(TRAINING)/pictures.h5 --parameters.optimiser.epochs 80 \
	    --diffusion.contrastive $(TRAINING)/rgb-contrastive/best.pt --diffusion.condition_views 4 \
	    --run.output $(TRAINING)/rgb-generative --resume
	@touch $@

$(TRAINING)/mock-ugriz.safetensors: $(TRAINING)/generative.done
	$(RUN) -m utils.export $(TRAINING)/generative/best.pt $@

$(TRAINING)/sdss-ugriz.safetensors: $(TRAINING)/sdss-generative.done
	$(RUN) -m utils.export $(TRAINING)/sdss-generative/best.pt $@

$(TRAINING)/mock-rgb.safetensors: $(TRAINING)/rgb-generative.done
	$(RUN) -m utils.export $(TRAINING)/rgb-generative/best.pt $@

test: $(VENV)/development
	$(RUN) -m pytest -q -n 2

test-slow: $(VENV)/development
	$(RUN) -m pytest -q -m "slow or not slow"

fuzz: $(VENV)/development
	$(RUN) -W ignore -m tests.fuzz

faults: $(VENV)/development
	$(RUN) -W ignore -m tests.faults

soak: $(VENV)/development
	$(RUN) -W ignore -m tests.soak

lint: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mkdocs build --quiet --strict

docs: $(VENV)/development
	$(BIN)/mkdocs build --quiet --strict
	@echo "the documentation: site/index.html"

bench: $(VENV)/development
	$(RUN) -m tests.benchmarks

clean:
	rm -rf $(VENV) $(DEMO) $(DEMO_TRAIN) $(REAL) .pytest_cache .ruff_cache .hypothesis
