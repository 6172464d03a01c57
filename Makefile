# Two commands: `make book`, then `make test`. `make` alone lists the rest.
# Windows without make: the same lines are in README.md.

ifeq ($(OS),Windows_NT)
  BIN := .venv/Scripts
  PYTHON ?= python
else
  BIN := .venv/bin
  # the first Python on the path that is new enough; bootstrap.py says so if none is
  PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
      $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit 0; }; done; echo python3)
endif
VPY := $(BIN)/python

# make book DATASET=isic2017 PROFILE=workshop DATA=../data SEED=1 NAME=trial
OPTIONS = $(if $(DATASET),--dataset "$(DATASET)") $(if $(PROFILE),--profile "$(PROFILE)") $(if $(DATA),--data "$(DATA)") \
          $(if $(SEED),--seed "$(SEED)") $(if $(NAME),--name "$(NAME)")

.DEFAULT_GOAL := help
.PHONY: help env book test lint format lock method screens slides vendor bench clean distclean

help:  ## this list
	@echo "make book     set up .venv if needed, run every notebook, build _build/html/index.html"
	@echo "              DATASET=synthetic|isic2017|isic2018|ph2|folder  PROFILE=quick|workshop|paper  DATA=folder  SEED=0  NAME=…"
	@echo "make test     all tests, and the executed notebooks once more (DATA=folder, if make book had it)"
	@echo "make lint     ruff, notebooks free of outputs, and spelling"
	@echo "make format   let ruff and nbstripout mend what lint complains about"
	@echo "make env      only set up .venv"
	@echo "make bench    measure speed"
	@echo "make slides   slides/index.html, from the marked cells of the executed chapters"
	@echo "make lock     make requirements.lock again from pyproject.toml (UPGRADE=1: newest versions)"
	@echo "make method   draw the picture of the method again"
	@echo "make screens  take the screens of README and front page from the built book (needs chromium)"
	@echo "make vendor   fetch the book's scripts again (needs npm)"
	@echo "make clean    remove the built book and caches; runs/ and .venv stay"
	@echo "make distclean  clean, and .venv"

env:
	@$(PYTHON) tools/bootstrap.py

book: env
	@$(BIN)/uslnet book $(OPTIONS)

ifneq ($(DATA),)
test: export USLNET_DATA := $(DATA)
endif
test: env
	@$(PYTHON) -c "import pathlib, sys; sys.exit(0 if any(pathlib.Path('book/notebooks').glob('*.ipynb')) \
	  else 'make test runs the executed notebooks again, and there are none yet. Run  make book  first.')"
	@$(VPY) -m pytest tests book/notebooks --nbval-lax -n auto

lint: env
	@$(VPY) -m ruff check .
	@$(VPY) -m ruff format --check .
	@$(VPY) tools/notebooks.py verify
	@$(VPY) tools/prose.py

format: env
	@$(VPY) -m ruff check --fix .
	@$(VPY) -m ruff format .
	@$(VPY) tools/notebooks.py strip

lock: env
	@$(VPY) tools/lock.py $(if $(UPGRADE),--upgrade)

method: env
	@$(VPY) tools/method_picture.py

screens: env
	@$(VPY) tools/screens.py

vendor: env
	@$(VPY) tools/vendor.py

slides: env
	@$(BIN)/uslnet slides --out slides

bench: env
	@$(VPY) tools/bench.py $(OUT)

clean:
	@$(PYTHON) -c "import shutil; [shutil.rmtree(p, ignore_errors=True) for p in \
	  ('_build', 'book/_build', 'book/notebooks', '.pytest_cache', '.ruff_cache', '.hypothesis')]"

distclean: clean
	@$(PYTHON) -c "import shutil; shutil.rmtree('.venv', ignore_errors=True)"
