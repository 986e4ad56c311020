# Two commands do everything, set-up included: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-all check clean

demo: $(READY)
	$(BIN)/corticast demo

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long"

test-all: check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy realtime encoders benchmarks tests

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[monitor,simulation,bench,bids,nwb,analysis,test]"
	touch $(READY)

clean:
	rm -rf .venv build *.egg-info
