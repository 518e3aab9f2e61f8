PYTHON ?= python3
BIN := .venv/bin
SOURCES := src tests benchmarks examples

# Compiled modules are kept, so that the processes which tests start need not compile them anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: drill test suite exhaustive rounding flower check format bench clean

drill: .venv/installed
	$(BIN)/quintain drill

test: .venv/tested
	$(MAKE) --no-print-directory --jobs=2 check suite

# The tests of a file share what they make, so that one worker has all of them.
suite: .venv/tested
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -m "not exhaustive" -n 2 --dist loadfile -q

# More cases of what `make test` tests, for which minutes more are well spent.
exhaustive: .venv/tested
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -m exhaustive -n 2 --dist loadfile -q

# The tests that rest on floating-point results once more, under kernels of other processors (PyTorch's, MKL's, oneDNN's), on one thread and two.
rounding: ROUNDING := $(addprefix tests/,certify dp/rules harden laws leakage models threats training verify)
rounding: .venv/tested
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=2 $(BIN)/pytest -m rounding -q $(ROUNDING)
	ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=1 $(BIN)/pytest -m rounding -n 2 --dist loadfile -q $(ROUNDING)

# The tests that need Flower, whose pins clash with those of the tests above, in an environment of their own.
flower: .venv-flower/tested
	FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 .venv-flower/bin/python -m pytest tests/flower -q

check: .venv/tested
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# The indexes of what is registered, and the tables of attacks in the documents, are written from the classes and functions.
format: .venv/tested
	$(BIN)/python -m quintain.core.index
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: .venv/tested
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-flower runs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Quintain needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/tested: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@ .venv/installed

.venv-flower/tested: .venv/bin/python pyproject.toml
	.venv/bin/python -m venv .venv-flower
	.venv-flower/bin/pip install --quiet --editable '.[fed]' 'flwr[simulation]>=1.42,<1.43' 'pytest>=8' 'hypothesis>=6.100'
	touch $@
