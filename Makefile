# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# The demo's run folder.
DEMO ?= runs/demo

# Tests run side by side, one more than there are cores: some wait for processes of their own.
TEST_PROCESSES ?= $(shell expr $$(nproc) + 1)

.PHONY: help install lint test test-flower docs demo clean

help:
	@echo "make demo   install, draw synthetic faces, audit four defenses on twenty of them"
	@echo "make test   install, then lint, type-check and test"
	@echo "make test-flower  test what needs Flower, in an environment of its own"
	@echo "make docs   build the documentation's site into site/; any warning is an error"
	@echo "make lint   ruff and mypy alone"
	@echo "make clean  remove the environment and the demo's runs"

install: $(INSTALLED)

# torch comes first and pinned: an open range would fetch another build of it.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --maxprocesses 8 --dist worksteal

# Flower wants other versions of these than everything else is tested with.
FLOWER := .venv-flower
$(FLOWER)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(FLOWER)
	grep -vE '^(certifi|packaging|protobuf)==' constraints.txt > $(FLOWER)/constraints.txt
	$(FLOWER)/bin/pip install --quiet --constraint $(FLOWER)/constraints.txt torch
	$(FLOWER)/bin/pip install --quiet --constraint $(FLOWER)/constraints.txt --editable ".[dev,flower]"
	touch $@

test-flower: $(FLOWER)/.installed
	$(FLOWER)/bin/python -m pytest tests/updates tests/defenses/test_frameworks.py tests/test_examples.py

# In an environment of its own: the package is read, not imported.
DOCS := .venv-docs
$(DOCS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --constraint constraints.txt \
		mkdocs mkdocs-jupyter mkdocs-material "mkdocstrings[python]" ruff
	touch $@

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

# A step whose output is complete is not done again.
demo: $(INSTALLED)
	@echo "== 1/2  draw 1,600 synthetic faces, in CelebA's own file layout"
	$(BIN)/python -m ggl_lightning.data.synthetic --root $(DEMO)/faces --count 1600 --seed 2203
	@echo "== 2/2  audit four defenses on twenty people that nothing was learnt from"
	$(BIN)/python audit.py --config configs/audit/demo.yaml \
		--data.images.init_args.root $(DEMO)/faces --out_dir $(DEMO) --exp_name audit

clean:
	rm -rf .venv $(FLOWER) $(DOCS) site $(DEMO)
