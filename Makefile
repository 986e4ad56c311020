# Two commands do everything, set-up included: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Three runs, on both cores: LSL inlets are never destroyed (liblsl can abort then), and a process collects them.
# Now and then LSL finds a stream too late where others start beside it: what fails is run again, and told as "rerun".
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --reruns 2

.PHONY: demo test test-all check clean

demo: $(READY)
	$(BIN)/corticast demo

test: check
	$(PYTEST) -m "not long" tests/test_[a-l]*.py
	$(PYTEST) -m "not long" tests/test_m*.py
	$(PYTEST) -m "not long" tests/test_[n-z]*.py

test-all: check
	$(PYTEST) tests/test_[a-l]*.py
	$(PYTEST) tests/test_m*.py
	$(PYTEST) tests/test_[n-z]*.py

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
