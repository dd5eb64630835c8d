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

# Three parts at once, for most of them wait more than they compute: whole systems, what talks to servers, the rest. Of
# the first two the output comes when all are done.
whole=(tests/e2e)
talking=(tests/contract tests/wire)
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
set -m # jobs of their own, or Ctrl-C would be ignored by all that they start
"$bin/python" -m pytest "${whole[@]}" > "$said/whole" 2>&1 < /dev/null &
parts=($!)
"$bin/python" -m pytest "${talking[@]}" > "$said/talking" 2>&1 < /dev/null &
parts+=($!)
set +m
trap 'kill -INT "${parts[@]}" 2>/dev/null || true; exit 130' INT TERM
status=0
"$bin/python" -m pytest "${whole[@]/#/--ignore=}" "${talking[@]/#/--ignore=}" || status=$?
for part in "${parts[@]}"; do wait "$part" || status=$?; done
cat "$said/talking" "$said/whole"
exit "$status"
