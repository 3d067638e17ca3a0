# Written for GNU make 3.81, which macOS has. `make help` lists what there is.

STUDY ?= demo
SEEDS ?= 0
SEED ?= 0
DATA ?=
WEIGHTS ?=
GALLERIES ?=
DATASET ?= ham10000

LAUNCH ?=
PAIRS ?=
DETAILS ?=

NOTEBOOKS := 01_eda 02_preprocessing 03_training 04_evaluation 05_error_analysis

# What stands in targets must be plain before any shell sees it; other values reach it through the environment.
LEFT := $(value STUDY)
$(foreach c,a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9 _,$(eval LEFT := $$(subst $(c),,$$(LEFT))))
NUMBERS := $(value SEEDS) $(value SEED)
$(foreach c,0 1 2 3 4 5 6 7 8 9,$(eval NUMBERS := $$(subst $(c),,$$(NUMBERS))))
NUMBERS += $(filter-out 0,$(filter 0%,$(value SEEDS) $(value SEED)))
ifneq ($(LEFT)$(strip $(NUMBERS)),)
$(error STUDY is a name of lower-case letters, digits and _, SEEDS and SEED are numbers such as 0 or 12; not \
  '$(value STUDY)' with '$(value SEEDS)' and '$(value SEED)')
endif
$(foreach name,DATA WEIGHTS PYTHON,$(if $(findstring $$,$(subst $$$$,,$(value $(name)))),\
  $(error $(name) has a $$ in it, which make takes for a variable: write $$$$ in its place)))

# An environment of your own: make report PYTHON=python3
ifeq ($(origin PYTHON),undefined)
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/.synced
PYTHONPATH := # packages of another project would come before those of .venv
endif
# Kernels run in notebooks/, so the library needs its whole path.
export PYTHONPATH := $(CURDIR)/lib$(if $(PYTHONPATH),:$(PYTHONPATH))
# What else is set for another project's Python and Jupyter.
unexport JUPYTER_PATH PYTHONHOME PYTHONWARNINGS PYTHONOPTIMIZE
export JUPYTER_PREFER_ENV_PATH := 1
export PYTHON STUDY DATA WEIGHTS GALLERIES

RUN := "$$PYTHON" -m skinlesion
SET := $${DATA:+--set "data=$$DATA"} $${WEIGHTS:+--set "weights=$$WEIGHTS"} $${GALLERIES:+--set "galleries=$$GALLERIES"}

OUT := reports/local/$(STUDY)
PAGES := $(foreach seed,$(SEEDS),$(foreach notebook,$(NOTEBOOKS),$(OUT)/seed-$(seed)/$(notebook).html))

# What a page is made from, beside its notebook and what the notebooks before it left.
LIBRARY := $(shell find lib/skinlesion -type f -not -path '*/__pycache__/*')

.DEFAULT_GOAL := help
.PHONY: help report pages runs ablation publish paper verify reproduce data check-data bench costs test stress lint lab lock \
  clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  STUDY=demo       a study of parameters/ or an arm of arms.yaml (demo, quick, paper, paper_lesion, …)'
	@echo '  SEEDS="0 1 2"    one run a seed; SEED=0 is the one that `reproduce` and `publish` take'
	@echo '  DATA=folder      where HAM10000 lies, instead of the study'"'"'s `data`'
	@echo '  DATASET=name     what `data` and `check-data` are about: ham10000 or isic2018_test'
	@echo '  WEIGHTS=path     a state_dict, a name of torchvision'"'"'s, or none'
	@echo '  GALLERIES=false  leave photographs out of the reports'
	@echo '  PAIRS="a_and_b"  components that `ablation` exchanges together as well'
	@echo '  LAUNCH=command   what training is launched with, such as "srun --gres=gpu:1"'
	@echo '  PYTHON=python3   an environment of your own, instead of .venv'

report: $(ENVIRONMENT) ## Run the notebooks of a study and render its reports
	@$(RUN) inputs --study "$$STUDY" $(SET) $(OUT)/.inputs
	@if $(MAKE) -q --no-print-directory pages 2>/dev/null; \
	  then echo "Nothing to do: the reports of $(STUDY) are up to date."; \
	  else $(MAKE) --no-print-directory pages; fi
	@echo "Reports:"
	@for page in $(PAGES) reports/local/index.html; do echo "  $$page"; done

pages: $(PAGES) reports/local/index.html

# Parameters, and size and time of every file of the data and of the weights: changed only where one of them is.
$(OUT)/.inputs: ;

$(OUT)/.checked: $(OUT)/.inputs | $(ENVIRONMENT)
	@$(RUN) check --study "$$STUDY" $(SET)
	@touch $@

# Every file is written under another name and renamed when whole, so what stands after a failure or Ctrl-C is
# sound: make must not delete it.
.PRECIOUS: $(foreach file,$(NOTEBOOKS:=.html) eda.json split.csv predictions.csv metrics.json errors.json,$(OUT)/seed-%/$(file))

# With -j, seeds are run side by side and share the cores.
JOBS = $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS)))
SHARE = $(if $(filter -j%,$(MAKEFLAGS)),RUNS_AT_ONCE=$(firstword $(shell printf '%s\n' $(JOBS) $(words $(SEEDS)) | sort -n)))

# A page and the file its notebook leaves are made together (pattern rules with several targets run once), from the
# notebook, the library and the file that a notebook before it left. A training that is finished is not done again.
define page
$(OUT)/seed-%/$(1).html $(OUT)/seed-%/$(2): notebooks/$(1).ipynb $(LIBRARY) $(OUT)/.checked $(addprefix $(OUT)/seed-%/,$(3))
	@$$(if $$(LAUNCH),$(if $(filter 03_%,$(1)),echo "Training seed $$* of $$(STUDY)"; $$(LAUNCH) $$(RUN) train --study "$$$$STUDY" --seed $$* $$(SET)))
	@echo "Making $$(OUT)/seed-$$*/$(1).html"
	@$$(SHARE) $$(RUN) report --study "$$$$STUDY" --seed $$* $$(SET) $$< $$(OUT)/seed-$$*/$(1).html
endef
$(eval $(call page,01_eda,eda.json))
$(eval $(call page,02_preprocessing,split.csv))
$(eval $(call page,03_training,predictions.csv,split.csv))
$(eval $(call page,04_evaluation,metrics.json,predictions.csv))
$(eval $(call page,05_error_analysis,errors.json,predictions.csv))

runs: $(ENVIRONMENT) ## Make every planned run that is missing (-j2: two at once), and say what is there
	@$(RUN) plan
	@missing=$$($(RUN) plan --missing); test -z "$$missing" || { $(MAKE) -k --no-print-directory $$missing; \
	  status=$$?; $(RUN) plan; exit $$status; }

# One arm for each component of a study that can be taken away or exchanged: make ablation BASE=quick SEEDS="0 1"
BASE ?= quick
ABLATION = $(RUN) plan --ablation $(BASE) --pairs $(PAIRS) --seeds $(words $(SEEDS))

ablation: $(ENVIRONMENT) ## Exchange each component of BASE (quick) by itself: what each does, in a table and a figure
	@$(ABLATION)
	@missing=$$($(ABLATION) --missing); test -z "$$missing" || $(MAKE) -k --no-print-directory $$missing
	@$(RUN) report --study paper --set output=reports/local notebooks/06_paper_tables.ipynb reports/local/tables/06_paper_tables.html

run/%:
	@$(MAKE) --no-print-directory report STUDY=$(firstword $(subst /, ,$*)) SEEDS=$(notdir $*)

publish: $(ENVIRONMENT) ## Put a finished run (STUDY, SEED) among the published ones; WITH="pages model.safetensors trained_on.bin" adds these
	@$(RUN) publish --study "$$STUDY" --seed $(SEED) $(SET) $(addprefix --with ,$(WITH))

# The paper's tables are of every run that is published.
EVIDENCE := $(filter-out reports/local/%,$(wildcard reports/*/seed-*/*.xz reports/*/seed-*/m*.json))
PAPER := reports/tables/06_paper_tables.html reports/tables/07_road.html
RELEASED := reports/improved/seed-1

paper: $(PAPER) $(if $(wildcard $(RELEASED)/errors.json),$(RELEASED)/MODEL_CARD.md) ## Make the paper's tables from the published runs
	@$(RUN) paper
	@echo "The paper's tables: $(PAPER)"

$(PAPER): reports/tables/%.html: notebooks/%.ipynb $(EVIDENCE) $(wildcard parameters/*.yaml) $(LIBRARY) | $(ENVIRONMENT)
	@echo "Making $@ and its tables: minutes"
	@$(RUN) report --study paper --set output=reports $< $@

$(RELEASED)/MODEL_CARD.md: $(wildcard $(addprefix $(RELEASED)/,manifest.json metrics.json errors.json official.json portable.csv)) \
    $(LIBRARY) | $(ENVIRONMENT)
	@$(RUN) card $(RELEASED)

verify: $(ENVIRONMENT) ## Compute the published scores and tables again (DATA: with subgroups): no images, no GPU
	@$(RUN) verify $${DATA:+--data "$$DATA"} $(if $(DETAILS),--details)

reproduce: $(ENVIRONMENT) ## Make a published run again (STUDY, SEED, DATA, WEIGHTS) and say how close it came
	@$(RUN) reproduce --study "$$STUDY" --seed $(SEED) $(SET)

reports/local/index.html: $(PAGES) $(LIBRARY)
	@$(RUN) index reports/local

data: $(ENVIRONMENT) ## Download HAM10000, or DATASET=isic2018_test; a broken download goes on where it stopped
	@$(RUN) data --dataset $(DATASET) "$${DATA:-data/$(DATASET)}"

check-data: $(ENVIRONMENT) ## Say in one table whether the data are the published ones
	@$(RUN) check-data --dataset $(DATASET) "$${DATA:-data/$(DATASET)}"

bench: $(ENVIRONMENT) ## Measure training with plain loops and with the engine; written to reports/benchmarks/
	@$(RUN) bench

costs: $(ENVIRONMENT) ## Measure what MobileNetV2 and other networks cost: size, operations, memory, speed
	@$(RUN) costs

test: $(ENVIRONMENT) ## Run all tests
	"$$PYTHON" -m pytest --numprocesses auto

stress: $(ENVIRONMENT) ## Damage, forge and kill, and say what held: a quarter of an hour
	"$$PYTHON" tests/stress.py

lint: $(ENVIRONMENT) ## Check style, types, and that notebooks are committed without outputs
	"$$PYTHON" -m ruff check
	"$$PYTHON" -m ruff format --check
	"$$PYTHON" -m mypy
	"$$PYTHON" -m nbstripout --verify --keep-id notebooks/*.ipynb

lab: $(ENVIRONMENT) ## Open JupyterLab in the environment
	"$$PYTHON" -m jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/01_eda.ipynb

lock: $(ENVIRONMENT) ## Pin the newest versions that pyproject.toml admits
	"$$PYTHON" -m uv pip compile --universal --generate-hashes --upgrade --group dev pyproject.toml \
	  --quiet --output-file requirements.lock

clean: ## Remove what `make report` made: its reports, the demo's sample, the decoded stores; never a run's state or your data
	rm -rf reports/local/demo reports/local/index.html reports/local/images.html data/demo data/store
	find lib tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

distclean: clean ## Remove the environment as well
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.synced: requirements.lock pyproject.toml
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo 'error: Python 3.11 or newer is needed, and none is on the PATH' >&2; exit 1; fi; \
	test -x .venv/bin/python || { echo "Making .venv with $$($$found --version)"; $$found -m venv .venv; }
	@.venv/bin/python -m uv --version >/dev/null 2>&1 || \
	  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	@echo 'Installing the packages of requirements.lock (about 3 GB the first time on Linux)'
	@.venv/bin/python -m uv pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.lock
	@.venv/bin/python -m uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@
