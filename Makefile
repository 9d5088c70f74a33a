# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# The demo's run folder, and its settings; CI runs a shortened demo with other ones.
DEMO ?= runs/demo
DEMO_FACES ?= 3000
DEMO_TRAIN_TIME ?= 00:00:01:00
DEMO_AUDIT_ARGS ?=

# Tests run side by side, one more than there are cores: some wait for processes of their own.
TEST_PROCESSES ?= $(shell expr $$(nproc) + 1)

.PHONY: help install lint test test-flower docs demo clean

help:
	@echo "make demo   install, write synthetic faces, train a prior for a minute, audit three faces"
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
	$(FLOWER)/bin/python -m pytest tests/updates tests/defenses/test_frameworks.py

# In an environment of its own: the package is read, not imported.
DOCS := .venv-docs
$(DOCS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --constraint constraints.txt \
		mkdocs mkdocs-material "mkdocstrings[python]" ruff
	touch $@

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

# A step whose output is complete is not done again.
demo: $(INSTALLED)
	@echo "== 1/3  synthetic faces, in CelebA's own file layout"
	$(BIN)/python -m ggl_lightning.data.synthetic --root $(DEMO)/faces --count $(DEMO_FACES) --seed 2203
	@echo "== 2/3  train a prior for a minute, to show training (the audit uses the shipped one)"
	test -e $(DEMO)/prior/generator.safetensors || { \
		$(BIN)/python train_gan.py fit --config configs/gan/demo.yaml \
			--data.init_args.root $(DEMO)/faces --data.init_args.cache_dir $(DEMO)/cache \
			--trainer.logger.init_args.save_dir $(DEMO) --trainer.max_time $(DEMO_TRAIN_TIME) && \
		$(BIN)/python train_gan.py export --ckpt $(DEMO)/prior/checkpoints/last.ckpt \
			--output $(DEMO)/prior/generator.safetensors; }
	@echo "== 3/3  audit three held-out faces, undefended and under noise, beside nulls, bound and utility"
	$(BIN)/python audit.py --config configs/audit/demo.yaml \
		--data.images.init_args.root $(DEMO)/faces --out_dir $(DEMO) --exp_name audit $(DEMO_AUDIT_ARGS)

clean:
	rm -rf .venv $(FLOWER) $(DOCS) site $(DEMO)
