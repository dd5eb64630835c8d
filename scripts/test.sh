#!/usr/bin/env bash
# Sets up what the tests need and runs every check: format, lint, types, layers, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
bash scripts/services.sh
bin=.venv/bin

if [ $# -gt 0 ]; then exec "$bin/python" -m pytest "$@"; fi

"$bin/ruff" format --check --quiet . || { echo "error: run '.venv/bin/ruff format .'" >&2; exit 1; }
"$bin/ruff" check --quiet .
"$bin/mypy"
"$bin/lint-imports" --no-logo
exec "$bin/python" -m pytest
