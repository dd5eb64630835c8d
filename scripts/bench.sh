#!/usr/bin/env bash
# Measures every figure that the README and docs quote, each as a ratio against a named baseline in the same run.
# Exits 1 where a target is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
missed=0
for script in benchmarks/bench_*.py benchmarks/sizing_accuracy.py benchmarks/carbon_shift.py; do
  printf '\n%s\n' "$script"
  case $script in
    benchmarks/bench_fleet.py) .venv/bin/python "$script" --quick || missed=1 ;; # without it: three minutes and a quiet machine
    *) .venv/bin/python "$script" || missed=1 ;;
  esac
done
exit "$missed"
