# Each target builds what it needs from nothing: an environment in .venv, then its own work.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.nas-fpn-installed

# OpenMP threads spin where a core is taken: one thread a process, as many processes as cores.
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart check slow format export-matrix clean

quickstart: $(STAMP)  ## a real search, to its end: about five minutes on two cores
	$(BIN)/nas-fpn search runs/quickstart
	$(BIN)/nas-fpn table runs/quickstart

# Ray runs workers at niceness 15: starved where other tests run beside them. And it starts slowly.
check slow: export RAY_worker_niceness ?= 0
check slow: export RAY_raylet_start_wait_time_s ?= 300

check: $(STAMP)  ## format, lint, types, tests, doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow"

slow: $(STAMP)  ## the tests that take longer than a few seconds each
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m slow tests

format: $(STAMP)  ## what `check` asks for, done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# PATHS="--path DIR": folders with more distributions, of transformers or mmdetection
export-matrix: $(STAMP)  ## every neck to every law and format, and in environments with one library each
	NAS_FPN_WHOLE=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m slow tests/export
	$(BIN)/python benchmarks/export_matrix.py --write $(PATHS)

clean:  ## forget the quickstart's answer, so that it starts from nothing
	cd runs/quickstart && rm -rf history.jsonl best bank data

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@
