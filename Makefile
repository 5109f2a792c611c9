# make demo: install, ingest, index, ask. make test: the test suite. Both start from a bare machine.

PYTHON ?= python3
# Another interpreter's environment stands beside the one of python3.
VERSION := $(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
VENV := .venv$(VERSION)
BIN := $(VENV)/bin
DEMO := .demo/packages.db
DATA ?= ../shared/data
COLLECTIONS ?= scifact cranfield

.PHONY: corpus demo test test-base lint docs kills fuzz load bench growth scale quality requirements base install constraints clean

# All requirements of a kind in one go, held to constraints.txt: the resolver must see them together.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# llama.cpp without what this processor has beyond AVX2: compiled with AMX by GCC 12 it crashes
# (https://github.com/ggml-org/llama.cpp/issues/20824), and what pip keeps should run on another machine too.
LLAMA := CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF"

# What asking, indexing and evaluating need, and nothing else.
base: $(VENV)/.base
$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile --editable .
	touch $@

# The same and the tests, without what extras bring.
$(VENV)/.light: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[test]'
	$(BIN)/pip check
	touch $(VENV)/.base $@

# Everything, for those who work on ragqa.
install: $(VENV)/.all
$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(LLAMA) $(PIP) --editable '.[all,test,peers,lint]'
	$(BIN)/pip check
	$(BIN)/python -m tests.extensions
	touch $(VENV)/.base $(VENV)/.light $@

# The demo's documents: what these packages say of themselves (they are not installed), and those that are.
.demo/packages: constraints.txt | $(VENV)/.base
	rm -rf $@
	$(PIP) --no-deps --no-compile --target $@ shot-scraper datasette
	touch $@

# Noted when all of it was done: what was interrupted goes on.
corpus: .demo/.indexed
.demo/.indexed: $(VENV)/.base .demo/packages
	PYTHONPATH=.demo/packages $(BIN)/ragqa ingest --packages --db $(DEMO)
	$(BIN)/ragqa index --db $(DEMO)
	touch $@

demo: corpus
	$(BIN)/ragqa ask "what is shot-scraper?" --db $(DEMO)

# Two processes, each with whole files: some share what was built for the file.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test: install
	$(PYTEST)

# What needs no extra and no patience: a minute on an interpreter that has ragqa and pytest, and nothing else.
test-base: $(VENV)/.light
	$(PYTEST) -m "not slow"

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The reference of all commands, from their --help.
docs: install
	$(BIN)/python -m ragqa.cli.reference docs/commands.md

# What survives: commands killed at random moments, wild input, thousands of questions to `ragqa serve`.
kills: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.stress.kills
	$(BIN)/python -m tests.stress.crowd

fuzz: install
	$(BIN)/python -m tests.stress.fuzz

load: install
	$(BIN)/python -m tests.stress.load

# Ratios of ragqa's times to those of what a user would otherwise call, in one run.
bench: install
	$(BIN)/python -m tests.workshop.bench --data $(DATA) --folder .demo/bench

# How times, files and memory grow at 1,000, 10,000 and 100,000 passages: a quarter of an hour and more.
growth: install
	$(BIN)/python -m tests.workshop.bench --data $(DATA) --folder .demo/bench/growth --only growth

# Encoding on two Ray nodes, and LanceDB at 10,000, 100,000 and 1,000,000 passages: an hour, 10 GB.
scale: install
	$(BIN)/python -m tests.workshop.scale --data $(DATA) --folder .demo/scale

# What every config that needs no model hub is worth on BEIR folders under DATA, any grade above 0 relevant.
CONFIGS := fts dense hybrid fts-colbert hybrid-colbert default light colbert-exact colbert-shortlist ragatouille
quality: install
	for name in $(COLLECTIONS); do \
		$(BIN)/ragqa ingest $(DATA)/$$name --db .demo/$$name.db && \
		$(BIN)/ragqa eval run $(DATA)/$$name --db .demo/$$name.db --runs .demo/runs.db --retrieval-only \
			--binary $(CONFIGS:%=-c %) || exit 1; \
	done

# The tables of docs/requirements.md.
requirements: install
	$(BIN)/python -m tests.workshop.requirements

# Resolve everything anew and write what was chosen to constraints.txt.
constraints:
	rm -rf .demo/resolve && $(PYTHON) -m venv .demo/resolve
	$(LLAMA) .demo/resolve/bin/pip install --quiet '.[all,test,peers,lint]' shot-scraper datasette
	.demo/resolve/bin/pip check
	.demo/resolve/bin/pip freeze --all --exclude pip --exclude ragqa | sed 's/+cpu$$//' > constraints.txt
	rm -rf .demo/resolve

clean:
	rm -rf .venv .venv-* .demo ragqa/encoders/embedded/weights
