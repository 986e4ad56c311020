# Two commands do everything, set-up included: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# What goes through real streams runs one test at a time, for other work beside it would be the load that it is tested
# under, and in four processes: LSL inlets are never destroyed (liblsl can abort then), and those whose source has gone
# search for it on UDP ports of the range in which new streams must find theirs. test_bad_input leaves most of them.
# Three processes share the others, on two cores: one waits most of the time, for the demo's speech to be played; in their
# order, or the demo, alone in its file, would begin last.
# A test through streams that fails is run once more, and told as "rerun".
PYTEST := $(BIN)/python -m pytest
ALONE := $(PYTEST) --reruns 1

.PHONY: demo test test-all check clean

demo: $(READY)
	$(BIN)/corticast demo

test: check
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "not streams and not long"
	$(ALONE) -m "streams and not long" tests/test_bad_*.py
	$(ALONE) -m "streams and not long" tests/test_be*.py tests/test_[ac-l]*.py
	$(ALONE) -m "streams and not long" tests/test_m*.py
	$(ALONE) -m "streams and not long" tests/test_[n-z]*.py

test-all: check
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "not streams"
	$(ALONE) -m streams tests/test_bad_*.py
	$(ALONE) -m streams tests/test_be*.py tests/test_[ac-l]*.py
	$(ALONE) -m streams tests/test_m*.py
	$(ALONE) -m streams tests/test_[n-z]*.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy realtime encoders benchmarks tests

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[monitor,simulation,bench,bids,nwb,dataset,analysis,test]"
	touch $(READY)

clean:
	rm -rf .venv build *.egg-info
