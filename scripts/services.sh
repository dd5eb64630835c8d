#!/usr/bin/env bash
# Installs the services that tests talk to, where they are missing and this user may install; CI fails without them.
set -euo pipefail

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"; else return 1; fi
}

PATH="$PATH:/usr/sbin:/sbin"
wanted=()
command -v sshd >/dev/null || wanted+=(openssh-server)
command -v ssh >/dev/null || wanted+=(openssh-client)
for daemon in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client; do # run by root alone
  [ "$(id -u)" != 0 ] || command -v "${daemon%%:*}" >/dev/null || wanted+=("${daemon#*:}")
done
[ ${#wanted[@]} -gt 0 ] || exit 0

echo "installing ${wanted[*]} for the tests" >&2
if command -v apt-get >/dev/null && as_root env DEBIAN_FRONTEND=noninteractive \
  sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends ${wanted[*]}" >&2; then
  exit 0
fi
if [ "${CI:-}" = true ]; then
  echo "error: the tests need ${wanted[*]}, which cannot be installed here" >&2
  exit 1
fi
echo "tests that need ${wanted[*]} are skipped: apt-get install ${wanted[*]}" >&2
