# One command for each thing; CI calls the same ones. `make` alone shows them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/molecule/resources
PYTHON := .venv/bin/python

.PHONY: help setup lock lint test nightly drill faults bench clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from the hashed lock; says what it installs
	@scripts/setup.sh

lock: setup ## Renew both locks from the one dependency list in pyproject.toml
	@scripts/lock.sh

lint: setup ## ruff, mypy --strict, yamllint, ansible-lint (production), shellcheck where it is installed
	@$(PYTHON) -m suite lint

test: setup ## Everything: lint, Python tests, molecule scenarios, the drill
	@$(PYTHON) -m suite all

nightly: setup ## Row surgery on 500 hostile schemas made at random, and the whole of `make test`
	@PGDR_HOSTILE_CASES=500 $(PYTHON) -m suite all

drill: setup ## Build the lab, protect an ERP database, destroy it, rebuild it elsewhere, prove it, print RTO and RPO
	@$(PYTHON) -m drill run

faults: setup ## Make silent faults in a lab one by one: when are people told, is it cured, what is lost
	@$(PYTHON) -m faults run

bench: setup ## Ratios against the bare tools and the requirement's scripts, side by side in one run
	@$(PYTHON) -m bench run

clean: ## Remove labs, caches and the virtual environment; images stay (podman rmi removes them)
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m lab down --all || true; fi
	@rm -rf .lab .cache .venv .mypy_cache .ruff_cache .pytest_cache
