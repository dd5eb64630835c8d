"""What runs on a host, for any POSIX shell: looking at it, taking its lock, ending what runs under it.

Arguments come as `$1`, `$2`, ... and are never parts of a script. An answer consists of sections: a line `MARK NAME`
with a mark that is new for every call, so that nothing a program prints can pass for one.
"""

from __future__ import annotations

from collections.abc import Sequence

FULL, NO_LINKS, STILL_RUNNING, NOT_OURS = 74, 75, 76, 77  # exit codes
LONGEST_LOCK = 65536  # bytes
KILL_ROUNDS = 25  # of a fifth of a second, for SIGTERM and again for SIGKILL

_BEGIN = """\
mark=$1 folder=$2
case $folder in /*) ;; *) folder=$HOME/$folder ;; esac
say() { printf '\\n%s %s\\n' "$mark" "$1"; }
within() { if command -v timeout >/dev/null 2>&1; then timeout "$@"; else shift; "$@"; fi; }
"""
_LOCK = f"""\
say folder; printf '%s' "$folder"
say clock; date +%s
if [ -e "$folder/lock" ] || [ -L "$folder/lock" ]; then say lock; head -c {LONGEST_LOCK} "$folder/lock" 2>/dev/null; fi
"""
_HARDWARE = """\
say cpus; nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
say memory; sed -n 's/^MemTotal: *//p' /proc/meminfo 2>/dev/null
at=$folder; while [ ! -d "$at" ] && [ "$at" != / ]; do at=$(dirname "$at"); done
say disk; df -Pk "$at" 2>/dev/null | tail -n 1
say system; uname -srm
say python
for python in python3 /usr/libexec/platform-python python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 \
 python3.8 python3.7 python3.6; do
  "$python" -I -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 6))' \
   </dev/null 2>/dev/null && break
done
say containers
for each in podman docker apptainer singularity; do command -v "$each" >/dev/null 2>&1 && echo "$each"; done
if command -v nvidia-smi >/dev/null 2>&1; then
  say nvidia; within 20 nvidia-smi --query-gpu=uuid,name,memory.total --format=csv,noheader,nounits </dev/null 2>&1
  code=$?; say nvidia-code; echo $code
  say nvidia-apps; within 20 nvidia-smi --query-compute-apps=gpu_uuid --format=csv,noheader </dev/null 2>/dev/null
elif command -v rocm-smi >/dev/null 2>&1; then
  say rocm; within 20 rocm-smi --showproductname --showmeminfo vram --csv </dev/null 2>/dev/null
fi
"""
_END = "say end\n"

LOOK = _BEGIN + _LOCK + _END
PROBE = _BEGIN + _LOCK + _HARDWARE + _END

# A hard link appears whole or not at all and replaces nothing: of several that try, one has the lock. The draft is
# complete before that, so no lock is ever half written, whenever the connection or the host goes.
TAKE = (
    _BEGIN
    + f"""\
id=$3 bytes=$4
umask 077
mkdir -p "$folder/leases" || exit {FULL}
draft=$folder/.draft.$id.$$
trap 'rm -f "$draft"' EXIT
trap 'exit 1' HUP INT TERM
cat > "$draft" || exit {FULL}
[ "$(($(wc -c < "$draft")))" -eq "$bytes" ] || exit {FULL}
mkdir -p "$folder/leases/$id" || exit {FULL}
ln "$draft" "$folder/lock" 2>/dev/null
[ -e "$folder/lock" ] || {{ rmdir "$folder/leases/$id"; exit {NO_LINKS}; }}
cmp -s "$draft" "$folder/lock" || rmdir "$folder/leases/$id" 2>/dev/null
"""
    + _LOCK
    + _END
)

# Whatever a lease's job starts has ISOFLOP_LEASE in its environment and is found by it, also what left its group.
RELEASE = (
    _BEGIN
    + f"""\
id=$3
if [ -e "$folder/lock" ] && grep -qF "\\"id\\": \\"$id\\"" "$folder/lock"; then
  running() {{ grep -l -a -s -F "ISOFLOP_LEASE=$id" /proc/[0-9]*/environ 2>/dev/null | sed 's|/proc/||; s|/.*||'; }}
  for signal in TERM KILL; do
    pids=$(running); [ -n "$pids" ] || break
    kill -$signal $pids 2>/dev/null
    round=0
    while [ $round -lt {KILL_ROUNDS} ] && [ -n "$(running)" ]; do sleep 0.2; round=$((round + 1)); done
  done
  [ -z "$(running)" ] || exit {STILL_RUNNING}
  rm -rf "$folder"/.gone.* 2>/dev/null
  if [ -d "$folder/leases/$id" ]; then mv "$folder/leases/$id" "$folder/.gone.$id" || exit {FULL}; fi
  rm -f "$folder/lock" || exit {FULL}
  ( rm -rf "$folder/.gone.$id" </dev/null >/dev/null 2>&1 & )
fi
"""
    + _LOCK
    + _END
)

# For a lock that nobody can read, which names no lease to end.
BREAK = _BEGIN + 'rm -f "$folder/lock"\n' + _LOCK + _END

# Prints "NAME MS" for every reference point: the quickest of three TCP handshakes, each one round trip.
REFERENCE = """\
import socket, sys, time
for word in sys.argv[1:]:
    name, host, port = word.rsplit(" ", 2)
    found = []
    for _ in range(3):
        begun = time.time() if not hasattr(time, "perf_counter") else time.perf_counter()
        try:
            socket.create_connection((host, int(port)), 5).close()
        except OSError:
            break
        found.append(1000 * (time.perf_counter() - begun))
    if found:
        print("%.3f %s" % (min(found), name))
"""


def command(script: str, mark: str, folder: str, *arguments: str) -> Sequence[str]:
    """The words that run `script`."""
    return ["/bin/sh", "-c", script, "sh", mark, folder, *arguments]


def sections(text: str, mark: str) -> dict[str, str] | None:
    """What each section holds, stripped; None where the answer was cut off before its end."""
    found: dict[str, str] = {}
    for part in f"\n{text}".split(f"\n{mark} ")[1:]:
        name, _, content = part.partition("\n")
        found[name.strip()] = content.strip()
    return found if "end" in found else None
