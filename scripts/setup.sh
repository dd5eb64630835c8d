#!/usr/bin/env bash
# Makes .venv with isoflop and its development extra, installing what a fresh Debian lacks; does nothing when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

note() { printf '\033[2m%s\033[0m\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"; else return 1; fi
}

install_debian() {
  command -v apt-get >/dev/null && as_root env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -qq && apt-get install -y -qq $*" >&2
}

find_python() {
  for name in python3 python3.11 python3.12 python3.13; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      command -v "$name"
      return
    fi
  done
  return 1
}

python=$(find_python) || { install_debian python3 python3-venv && python=$(find_python); } || {
  echo "error: Python 3.11 or newer is needed (Debian 12: apt-get install python3 python3-venv)" >&2
  exit 2
}

stamp=$("$python" -c 'import hashlib, pathlib, sys; print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes() + sys.version.encode() + str(pathlib.Path().absolute()).encode()).hexdigest())')
compile() { .venv/bin/python -m compileall -q orchestrator providers policies || true; } # else a short command compiles for a third of its time
if [ -x .venv/bin/isoflop ] && [ "$(cat .venv/isoflop-stamp 2>/dev/null)" = "$stamp" ]; then
  compile
  exit 0
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  note "installing python3-venv"
  install_debian python3-venv || {
    echo "error: this Python cannot make virtual environments, and installing python3-venv takes root: apt-get install python3-venv" >&2
    exit 2
  }
fi
note "setting up .venv (a minute or two the first time)"
"$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' >&2
compile
echo "$stamp" > .venv/isoflop-stamp
