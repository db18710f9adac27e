# Every target sets itself up from a bare Python 3.11+; run it first in a fresh clone, or without a network later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# In the order of tests/file_order.py, the longest files first (ARGS=--record-durations measures them anew).
# Without carets in tracebacks: Python 3.11 parses source to place them, and fails where two threads do so at once.
# With bytecode kept, whatever the shell says: some hundred processes would otherwise compile the same modules.
PYTEST := PYTHONNODEBUGRANGES=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-readside test-programs test-postgres explore mutants model check docs bench chaos marketplace record package test-pythons lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Build .venv (every other target does it by itself)
	@$(PYTHON) scripts/setup_venv.py $(VENV)

demo: setup ## See sagas complete, fail and undo themselves, on a real Temporal server and PostgreSQL
	@$(BIN)/python -m marketplace.demo

dev: setup ## Run everything for development, with the Temporal Web UI, until Ctrl-C
	@$(BIN)/python -m marketplace.demo --stay

test: setup ## Run the tests of sagas, services and the store (ARGS="-k saga" passes options to pytest)
	@$(PYTEST) -m "not long and not program and not readside" $(ARGS)

test-readside: setup ## Test what follows the log: subscriptions, projections, sinks and reactions
	@$(PYTEST) -m "readside and not long" $(ARGS)

test-programs: setup ## Test the demo, the commands and the pages of the docs, as a person at the keyboard has them
	@$(PYTEST) -m "program and not long" $(ARGS)

test-postgres: setup ## Run the event store's tests on PostgreSQL 14 to 17 (ARGS="14" for some of them)
	@$(BIN)/python -m scripts.old_postgres $(ARGS)

explore: setup ## Run every saga of the tests once per fault at every step and undo, and show the tables
	@$(PYTEST) -m explore --explore $(ARGS)

mutants: setup ## Change the engine line by line and see whether exploration notices (ARGS="--sample 20", or ids)
	@nice $(BIN)/python -m tests.mutants $(ARGS)

model: setup ## Check the saga protocol in every state that it can come into (ARGS="--only resets", "--rule mark_done", "--list")
	@$(BIN)/python -m docs.protocol $(ARGS)

check: setup ## Check format, lint, types, import rules and event contracts
	@failed=0; \
	$(BIN)/ruff format --check --quiet . || failed=1; \
	$(BIN)/ruff check --quiet . || failed=1; \
	$(BIN)/mypy --no-error-summary || failed=1; \
	$(BIN)/lint-imports --no-cache --no-logo || failed=1; \
	$(BIN)/counteract contracts check || failed=1; \
	$(BIN)/counteract contracts check --modules counteract.lifecycle --folder counteract/contracts || failed=1; \
	exit $$failed

docs: ## Build the site of the documentation, and check its links and docstrings (ARGS="--into FOLDER --url ADDRESS")
	@$(PYTHON) scripts/setup_venv.py $(VENV) docs
	@$(BIN)/python -m scripts.site $(ARGS)

bench: setup ## Measure against others, side by side (ARGS="append load" for some parts, ARGS=-h lists them)
	@$(PYTHON) scripts/setup_venv.py $(VENV) bench \
	  || echo "The peers cannot be installed here: measuring without them"
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: setup ## Kill parts under load and check that every invariant holds (ARGS="--seed 7 --seconds 60")
	@$(BIN)/python -m marketplace.chaos $(ARGS)

marketplace: setup ## Run the benchmark's standard mix, and check its criteria (ARGS="--seconds 60 --concurrency 16 --seed 7")
	@$(BIN)/python -m marketplace.workload $(ARGS)

record: setup ## Record today's workflow histories for the replay tests
	@$(BIN)/python -m tests.replay.record

package: ## Build the sdist and the wheel with its bill of materials, twice, into dist/ (ARGS="--repository ADDRESS")
	@$(PYTHON) scripts/setup_venv.py $(VENV) package
	@$(BIN)/python -m scripts.package $(ARGS)

test-pythons: package ## Try the wheel on each Python from 3.11 to 3.13 that is here, and resolve it for 3.14
	@$(BIN)/python -m scripts.pythons dist

lock: ## Compile requirements/*.txt anew from requirements/*.in and pyproject.toml
	@$(PYTHON) scripts/lock_requirements.py $(ARGS)

clean: ## Remove the environment and everything generated
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
