#!/usr/bin/env bash
# A continuum on this machine, as it happens: edge hosts behind a network of their own, a real Slurm, a simulated cloud.
# Three to four minutes; Ctrl-C ends it and leaves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "error: networks, namespaces and a Slurm of several nodes take root: sudo make demo-continuum" >&2
  exit 1
fi
bash scripts/setup.sh
bash scripts/services.sh
exec .venv/bin/python -m tests.e2e.continuum_demo
