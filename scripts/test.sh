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

# Two halves at once: those that talk to servers wait more than they compute. Their output comes when both are done.
talking=(tests/contract tests/wire)
said=$(mktemp)
trap 'rm -f "$said"' EXIT
set -m # a job of its own, or Ctrl-C would be ignored by all that it starts
"$bin/python" -m pytest "${talking[@]}" > "$said" 2>&1 < /dev/null &
half=$!
set +m
trap 'kill -INT "$half" 2>/dev/null || true; exit 130' INT TERM
status=0
"$bin/python" -m pytest "${talking[@]/#/--ignore=}" || status=$?
wait "$half" || status=$?
cat "$said"
exit "$status"
