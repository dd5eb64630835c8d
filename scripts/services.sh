#!/usr/bin/env bash
# Installs the services that tests talk to, where they are missing: for root and in CI, which fails without them. Nobody
# else gets a server installed by running tests. None is started: tests start their own, on ports of their own.
set -euo pipefail

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"; else return 1; fi
}

PATH="$PATH:/usr/sbin:/sbin"
wanted=()
command -v sshd >/dev/null || wanted+=(openssh-server)
command -v ssh >/dev/null || wanted+=(openssh-client)
[ "$(id -u)" != 0 ] || command -v ip >/dev/null || wanted+=(iproute2) # networks of namespaces are made by root alone
for shell in fish tcsh; do command -v "$shell" >/dev/null || wanted+=("$shell"); done # login shells that are not POSIX
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || wanted+=(libfaketime)      # clocks that are wrong
for program in podman:podman runc:runc catatonit:catatonit busybox:busybox-static; do # containers; run by root alone
  [ "$(id -u)" != 0 ] || command -v "${program%%:*}" >/dev/null || wanted+=("${program#*:}")
done
for daemon in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client slurmrestd:slurmrestd \
  slurmdbd:slurmdbd mariadbd:mariadb-server-core my_print_defaults:mariadb-client-core; do # run by root alone
  [ "$(id -u)" != 0 ] || command -v "${daemon%%:*}" >/dev/null || wanted+=("${daemon#*:}")
done
[ "$(id -u)" != 0 ] || compgen -G "/usr/lib/*/slurm-wlm/auth_jwt.so" >/dev/null || wanted+=(slurm-wlm-jwt-plugin)
[ ${#wanted[@]} -gt 0 ] || exit 0

# Debian's way to say that a package must not start its service: a policy that answers 101.
quietly='policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf "#!/bin/sh\nexit 101\n" > "$policy"; chmod 755 "$policy"; trap "rm -f $policy" EXIT; }
apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"'

if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || [ "${CI:-}" = true ]; }; then
  echo "installing ${wanted[*]} for the tests" >&2
  if as_root env DEBIAN_FRONTEND=noninteractive sh -c "$quietly" sh "${wanted[@]}" >&2; then exit 0; fi
fi
if [ "${CI:-}" = true ]; then
  echo "error: the tests need ${wanted[*]}, which cannot be installed here" >&2
  exit 1
fi
echo "tests that need ${wanted[*]} are skipped: apt-get install ${wanted[*]}" >&2
