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

# In parts at once, for most of them wait more than they compute: whole systems, what talks to servers, the rest. Of all
# but the last the output comes when all are done.
apart=("tests/e2e/test_[a-k]*.py" "tests/e2e/test_[l-z]*.py" tests/contract tests/wire)
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
parts=()
set -m # jobs of their own, or Ctrl-C would be ignored by all that they start
for number in "${!apart[@]}"; do
  # shellcheck disable=SC2086 # a pattern is meant to become files
  "$bin/python" -m pytest ${apart[$number]} > "$said/$number" 2>&1 < /dev/null &
  parts+=($!)
done
set +m
trap 'kill -INT "${parts[@]}" 2>/dev/null || true; exit 130' INT TERM
status=0
"$bin/python" -m pytest --ignore=tests/e2e --ignore=tests/contract --ignore=tests/wire || status=$?
for part in "${parts[@]}"; do wait "$part" || status=$?; done
cat "$said"/*
exit "$status"
