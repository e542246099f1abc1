# Every target sets up what it needs: `make run` and `make test` work in a fresh clone.
# HOST and PORT reach the application: `make run PORT=8000`.

.PHONY: help run test full check compat bench format types lock
.DEFAULT_GOAL := help

PY := .venv/bin/python

help:
	@echo "make run      start the reference application on http://127.0.0.1:5000"
	@echo "make test     check, then every test: real Redis, real SQLite, real browsers"
	@echo "make full     every test with the long suites at full length; writes tests/FULL.md"
	@echo "make check    lint, format, types and import rules"
	@echo "make compat   the suites of Flask, five of its extensions and two applications, with our parts"
	@echo "make bench    measure"
	@echo "make format   rewrite the sources in the one format"
	@echo "make types    check the browser modules and write their .d.ts anew"
	@echo "make lock     pin the newest releases that pyproject.toml allows"

run: .venv/run.stamp
	@exec $(PY) -m server

check: .venv/dev.stamp node_modules/made.stamp
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports
	scripts/types --check

# A file stays with one worker, so its fixtures are made once. Browsers come first, as they take longest.
WORKERS ?= auto
test: check services
	$(PY) -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

full: check services
	$(PY) scripts/full.py

compat: .venv/dev.stamp services
	$(PY) scripts/compat.py

bench: .venv/dev.stamp services
	$(PY) -m bench

format: .venv/dev.stamp
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

types: node_modules/made.stamp
	scripts/types

lock:
	scripts/lock --upgrade

.PHONY: services
services:
	@scripts/setup services

.venv/made.stamp:
	@scripts/setup venv
	@touch $@

.venv/run.stamp: requirements/run.txt pyproject.toml | .venv/made.stamp
	@scripts/setup install requirements/run.txt
	@touch $@

# The second lock holds all of the first, so that `make run` after it has nothing to install.
.venv/dev.stamp: requirements/dev.txt pyproject.toml | .venv/made.stamp
	@scripts/setup install requirements/dev.txt
	@touch $@ .venv/run.stamp

node_modules/made.stamp: package.json package-lock.json .npmrc
	@scripts/setup node
	@touch $@
