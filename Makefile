# `make help` lists what there is. Everything runs in $(VENV), which is made and filled when it is first needed.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.colorize_nb-installed

.DEFAULT_GOAL := help
.PHONY: help install demo test step docs check-docs export readme bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r t d; do printf '%-18s %s\n' "$$t" "$$d"; done

$(STAMP): settings.ini setup.py pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'colorize_nb needs Python 3.10 or newer, this is '+sys.version.split()[0]+': say make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[dev]"
	@touch $(STAMP)

install: $(STAMP)  ## make the virtual environment and install the package into it

demo: $(STAMP)  ## colorize the packaged sample pictures into OUT (default: demo)
	$(BIN)/python -m colorize_nb demo --out $(OUT)

test: $(STAMP)  ## all tests: notebooks in step, their cells, end to end, docs
	$(BIN)/python tools/run_tests.py

step: $(STAMP)  ## only the quick part: are notebooks, modules and README in step?
	$(BIN)/python tools/run_tests.py step

docs: $(STAMP)  ## build the site into _docs (Quarto), or Markdown pages where there is no Quarto
	@if command -v quarto > /dev/null; then $(BIN)/nbdev-docs; else \
	  echo 'No Quarto here (https://quarto.org): building Markdown and plain HTML pages.'; \
	  $(BIN)/python tools/check_docs.py --out _docs; fi

check-docs: $(STAMP)  ## check every local link, anchor and picture of the docs
	$(BIN)/python tools/check_docs.py

export: $(STAMP)  ## write the modules from the notebooks, clean the notebooks, write README.md
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tools/make_readme.py

readme: $(STAMP)  ## write README.md from nbs/index.ipynb
	$(BIN)/python tools/make_readme.py

bench: $(STAMP)  ## measure speed; table on the screen, figures in bench/results.json
	$(BIN)/python bench/run.py

clean:  ## remove what was built, but not $(VENV)
	rm -rf _proc _docs build dist *.egg-info .pytest_cache $(OUT)
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
