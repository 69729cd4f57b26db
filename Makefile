# The two that a newcomer needs: `make demo` and `make test`. Python >= 3.11 and a package index are all they ask for.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := domain application projections api migrations caseledger
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test serve bench bench-tiny faults check format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.%-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/ready ## one case, end to end, over HTTP on an embedded database
	@$(BIN)/caseledger demo

test: .venv/ready ## every test, on a PostgreSQL that they start themselves
	@$(BIN)/python -m pytest

serve: .venv/ready ## run the service
	@exec $(BIN)/caseledger serve

bench: .venv/ready ## every benchmark against its peer; some ten minutes, writes benchmarks/results/latest.json
	@$(BIN)/python -m benchmarks

bench-tiny: .venv/ready ## the same at tiny sizes: that it works, never how fast
	@$(BIN)/python -m benchmarks --tiny

bench-%: .venv/ready ## one row, such as bench-append-8
	@$(BIN)/python -m benchmarks $*

faults: .venv/ready ## 200 rounds of kill -9 under load, outside CI; some ten minutes
	@$(BIN)/python -m tests.faults.rounds --rounds 200

check: .venv/ready ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/ready ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv: .venv/ready ## build the virtual environment from the lock

# Two stamps, each written last, so that a build that was interrupted is begun again: the locked packages, and the
# project itself on top. pip's own output may name the index that this machine uses, with a password in it: it goes
# to a file, and addresses are blanked before any of it is shown.
SHOW_LOG = { sed -E "s,[a-z+]+://[^[:space:]]+,(address),g; s,host='[^']*',host=(address),g" $(@D)/install.log >&2; exit 1; }
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input install

.venv/locked: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python >= 3.11 is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@echo 'building .venv from requirements-dev.lock (once; about 86 MB to download)'
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes --no-deps --only-binary :all: -r requirements-dev.lock >$(@D)/install.log 2>&1 || $(SHOW_LOG)
	@touch $@

.venv/ready: .venv/locked pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --no-index --editable . >$(@D)/install.log 2>&1 || $(SHOW_LOG)
	@touch $@

# Keeps the versions that are locked; `make lock UPGRADE=--upgrade` takes the newest that the ranges allow.
UPGRADE ?=
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --extra service --python-version 3.11 --no-annotate \
  --no-header --no-emit-index-url --no-emit-find-links $(UPGRADE)

lock: .venv-lock/compiled ## write both lock files anew from pyproject.toml
	@for lock in requirements.lock requirements-dev.lock; do \
	  { echo '# made by make lock'; grep -v '^# made by' $$lock; } >.venv-lock/new && cat .venv-lock/new >$$lock; done

.PHONY: .venv-lock/compiled
.venv-lock/compiled: .venv-lock/ready
	@$(COMPILE) pyproject.toml --group dev --output-file requirements-dev.lock >$(@D)/install.log 2>&1 || $(SHOW_LOG)
	@$(COMPILE) pyproject.toml --constraints requirements-dev.lock --output-file requirements.lock >$(@D)/install.log 2>&1 || $(SHOW_LOG)

.venv-lock/ready: Makefile
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip --disable-pip-version-check install uv==$(UV_VERSION) >$(@D)/install.log 2>&1 || $(SHOW_LOG)
	@touch $@

clean: ## remove what was built; never the data in var/
	rm -rf .venv .venv-lock build dist caseledger.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find $(PACKAGES) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
