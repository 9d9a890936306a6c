# `make help` lists what there is. Everything runs in $(VENV), which is made and filled when it is first needed.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo
WORKERS ?= 2

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
METADATA := settings.ini setup.py pyproject.toml
CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-room step docs check-docs look export readme bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r t d; do printf '%-18s %s\n' "$$t" "$$d"; done

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'colorize_nb needs Python 3.10 or newer, this is '+sys.version.split()[0]+': say make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv $(VENV)

$(CORE): $(METADATA) | $(BIN)/python
	$(PIP) -e .
	@touch $(CORE)

$(DEV): $(METADATA) | $(BIN)/python
	$(PIP) -e ".[dev]"
	@touch $(CORE) $(DEV)

install: $(DEV)  ## make the virtual environment and install the package with all that development needs

demo: $(CORE)  ## colorize the packaged sample pictures into OUT (default: demo); installs only the core
	$(BIN)/python -m colorize_nb demo --out $(OUT)

test test-all test-room step: export OMP_NUM_THREADS = 1
test test-all test-room step: export OMP_WAIT_POLICY = PASSIVE
test test-all test-room step: export MPLBACKEND = agg
test test-all test-room step: export PYTHONUTF8 = 1

# Some rooms together, the others one by one: the processes that run notebooks keep what these made.
ROOMS := $(filter-out images results try_it,$(notdir $(patsubst %/,%,$(wildcard nbs/*/))))
TOGETHER := color|io|metrics cli|colorizer evaluate|study recipes|tutorials
BATCHES := $(TOGETHER) $(filter-out $(subst |, ,$(TOGETHER)),$(ROOMS))
NOTEBOOKS = $(BIN)/python tools/test_notebooks.py $(patsubst %,'%',$(BATCHES)) --workers $(WORKERS) --flags '$(FLAGS)'

test: $(DEV)  ## notebooks and tests, within a quarter of an hour on two cores
	$(NOTEBOOKS)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope -m "not slow"

test-all: FLAGS = slow
test-all: $(DEV)  ## the same and all that is long: slow cells, docs, browser, fresh environments, large pictures
	$(NOTEBOOKS)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope

test-room: $(DEV)  ## the notebooks and tests of one room: make test-room ROOM=io
	@test -n "$(ROOM)" || { echo 'say which room: make test-room ROOM=io'; exit 2; }
	$(BIN)/nbdev-test nbs/$(ROOM) --n-workers $(WORKERS)
	$(BIN)/python -m pytest -q -m "not slow" tests/test_$(ROOM)*.py

step: $(DEV)  ## the quick part: are notebooks, modules and README in step, imports and lines in order?
	$(BIN)/python -m pytest -q -m "not slow" tests/test_house.py

docs: $(DEV)  ## build the site into _docs (Quarto), or Markdown pages where there is no Quarto
	@if command -v quarto > /dev/null; then $(BIN)/nbdev-docs; else \
	  echo 'No Quarto here (https://quarto.org): building Markdown and plain HTML pages.'; \
	  $(BIN)/python tools/check_docs.py --out _docs; fi

check-docs: $(DEV)  ## check every local link, anchor and picture of the docs
	$(BIN)/python tools/check_docs.py

look: $(DEV)  ## open every page of _docs in a browser, wide, on a phone and in the dark
	$(BIN)/python tools/look_at_site.py _docs

export: $(DEV)  ## write the notebooks' heads, the modules from them, clean them, write README.md
	$(BIN)/python tools/heads.py
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tools/make_readme.py

readme: $(DEV)  ## write README.md from nbs/index.ipynb
	$(BIN)/python tools/make_readme.py

bench: $(DEV)  ## measure speed; table on the screen, figures in bench/results.json
	$(BIN)/python bench/run.py

clean:  ## remove what was built, but not $(VENV)
	rm -rf _proc _docs build dist *.egg-info .pytest_cache $(OUT)
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
