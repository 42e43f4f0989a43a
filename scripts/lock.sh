#!/bin/sh
# Renew the locks: the control node's (everything) and the database host's (pgdr's own dependencies only).
set -eu
cd "$(dirname "$0")/.."
common="--universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet"
# shellcheck disable=SC2086 # a list of options on purpose
.venv/bin/uv pip compile $common --group control --group infra --group lab --group test --group lint pyproject.toml -o requirements.lock
# shellcheck disable=SC2086
.venv/bin/uv pip compile $common -c requirements.lock pyproject.toml -o scripts/requirements-host.lock
