# Everything on a fresh machine: `make demo` runs the main job on real data, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all lint bench docs clean

$(BIN)/recipe: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/frameworks: $(BIN)/recipe
	$(BIN)/python -m pip install --quiet --constraint constraints.txt '.[frameworks]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --editable .
	touch $@

demo: $(BIN)/recipe           ## a digits classifier with silent faults, examined, and its repaired twin
	$(BIN)/python demo/demo.py

# Debian's Chromium, for the tests of the page, which are skipped where it is missing.
.venv/browser: $(BIN)/recipe
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium >/dev/null) || true
	touch $@

test: .venv/frameworks .venv/browser   ## the tests, with the laws over gallery and zoo
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(BIN)/recipe           ## ruff, mypy, import floors, current docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks demo
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py tests/test_docs.py

bench: .venv/frameworks       ## the figures in the documentation
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/detection.py

docs: $(BIN)/recipe           ## print the pages on checks from the checks
	$(BIN)/python -m trainrecipe.docs

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .trainrecipe
