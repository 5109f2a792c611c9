# make demo: install, ingest, index, ask. make test: the test suite. Both start from a bare machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo/packages.db
DATA ?= ../shared/data
COLLECTIONS ?= scifact cranfield

.PHONY: corpus demo test lint docs kills fuzz load bench growth scale quality install constraints clean

install: $(VENV)/.installed

# All requirements in one go, held to constraints.txt: the resolver must see them together.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,demo,test,lint,bench]'
	$(BIN)/pip check
	touch $@

corpus: install
	$(BIN)/ragqa ingest --packages --db $(DEMO)
	$(BIN)/ragqa index --db $(DEMO)

demo: corpus
	$(BIN)/ragqa ask "what is shot-scraper?" --db $(DEMO)

# Two processes, each with whole files: some share what was built for the file.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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
	$(BIN)/python -m ragqa.evaluate.bench --data $(DATA) --folder .demo/bench

# How times, files and memory grow at 1,000, 10,000 and 100,000 passages: a quarter of an hour and more.
growth: install
	$(BIN)/python -m ragqa.evaluate.bench --data $(DATA) --folder .demo/bench/growth --only growth

# Encoding on two Ray nodes, and LanceDB at 10,000, 100,000 and 1,000,000 passages: an hour, 10 GB.
scale: install
	$(BIN)/python -m ragqa.evaluate.scale --data $(DATA) --folder .demo/scale

# What every config that needs no model hub is worth on BEIR folders under DATA, any grade above 0 relevant.
CONFIGS := fts dense hybrid fts-colbert hybrid-colbert default colbert-exact colbert-shortlist ragatouille
quality: install
	for name in $(COLLECTIONS); do \
		$(BIN)/ragqa ingest $(DATA)/$$name --db .demo/$$name.db && \
		$(BIN)/ragqa eval run $(DATA)/$$name --db .demo/$$name.db --runs .demo/runs.db --retrieval-only \
			--binary $(CONFIGS:%=-c %) || exit 1; \
	done

# Resolve everything anew and write what was chosen to constraints.txt.
constraints:
	rm -rf .demo/resolve && $(PYTHON) -m venv .demo/resolve
	.demo/resolve/bin/pip install --quiet '.[all,demo,test,lint,bench]'
	.demo/resolve/bin/pip check
	.demo/resolve/bin/pip freeze --all --exclude pip --exclude ragqa | sed 's/+cpu$$//' > constraints.txt
	rm -rf .demo/resolve

clean:
	rm -rf $(VENV) .demo
