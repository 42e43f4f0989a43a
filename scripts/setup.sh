#!/bin/sh
# Make the virtual environment from the hashed lock. Needs Python 3.11 or newer; says what it installs.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

python=""
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 to 3.13 is needed (apt-get install python3)"

wanted=$(cat requirements.lock pyproject.toml infra/pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)
if [ -x .venv/bin/pgdr ] && [ "$(cat .venv/.pgdr-lock 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$(id -u)" = 0 ] || fail "Python's venv module is missing (sudo apt-get install python$version-venv)"
    say "installing python$version-venv with apt"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
fi

say "filling .venv: $("$python" --version), $(grep -c '^[a-z0-9].*==' requirements.lock) packages of requirements.lock"
.venv/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv
# uv itself comes from the lock too: pip checks its hash.
sed -n '/^uv==/,/^[a-z]/p' requirements.lock | sed '1!{/^[a-z]/d}' >.venv/uv.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
.venv/bin/uv pip sync --quiet --require-hashes requirements.lock
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable . --editable infra
printf '%s' "$wanted" >.venv/.pgdr-lock
say "ready"
