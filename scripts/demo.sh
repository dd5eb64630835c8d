#!/usr/bin/env bash
# The main job on this machine: a real plan over real prices, then a real training job that is interrupted, resumes and is billed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
export PATH="$PWD/.venv/bin:$PATH" ISOFLOP_HOME="$PWD/.demo"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
end() { isoflop down --cancel >/dev/null 2>&1 || true; }
trap end EXIT
end
rm -rf "$ISOFLOP_HOME"
mkdir -p "$ISOFLOP_HOME"

say "1. What would it take? A 7 B model on 2 T tokens, within 30 days, in the EU, under \$200 000."
run isoflop plan examples/llama-7b.yaml --top 5

say "2. A job for this machine. The market is simulated, the machines it sells are this one, and one of them is reclaimed part-way."
cp examples/demo.toml "$ISOFLOP_HOME/config.toml"
run isoflop plan examples/char-transformer/job.yaml -o "$ISOFLOP_HOME/plan.json"

say "3. Run it: the control plane buys, launches, loses the machine, resumes on the next candidate and finishes."
run isoflop up
run isoflop apply "$ISOFLOP_HOME/plan.json" --watch

say "4. What happened, and what did it cost?"
run isoflop events
run isoflop bill
run isoflop down
