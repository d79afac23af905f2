# make serve | test | lint | bench -- each creates what it needs in .venv
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: serve test lint bench clean

serve: .venv/.serve
	$(BIN)/rerank-server $(ARGS)

# Two runs: in one process, what training loads (forking data loaders, exporters) on top of every serving runtime has ended
# in a segmentation fault; and tests of the service watch the clock, so they have the machine to themselves.
test: .venv/.dev
	$(BIN)/python -m pytest --ignore=tests/unit/training $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit/training --numprocesses auto --maxprocesses 4 --dist loadfile --max-worker-restart 0 $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.dev
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean:
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.serve: pyproject.toml .constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[cpu]'
	@touch $@

.venv/.dev: pyproject.toml .constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[dev]'
	@touch $@ .venv/.serve
