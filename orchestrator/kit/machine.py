"""What a bought machine is told at its start (cloud-init): who may log in, who it is, and when it ends itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.errors import UserError
from orchestrator.domain.lease import Boot

USER = "isoflop"
FOLDER = "/var/lib/isoflop"
LIVED = f"{FOLDER}/lived_s"
SCRIPT = "/usr/local/lib/isoflop/lifetime"
SERVICE, TIMER = "/etc/systemd/system/isoflop-lifetime.service", "/etc/systemd/system/isoflop-lifetime.timer"
TICK_S = 60
BEYOND_ASCII = re.compile(r"[^\x20-\x7e\n]")
NO_FILES: Mapping[str, str] = MappingProxyType({})
MERGE = "list(append)+dict(no_replace,recurse_list)+str()"  # as cloud-init's "Merging user data sections" has it

# Counts its own minutes instead of asking the clock, which may be wrong, or the uptime, which a reboot sets back.
LIFETIME = """\
#!/bin/sh
# Ends this machine after {lifetime_s} s of running, should nobody be left to give it back.
set -eu
lived=$(cat {lived} 2>/dev/null || echo 0)
lived=$((lived + {tick_s}))
echo "$lived" > {lived}.new
mv {lived}.new {lived}
if [ "$lived" -ge {lifetime_s} ]; then {end}; fi
"""
SERVICE_UNIT = """\
[Unit]
Description=The machine's own end, should nobody be left to give it back
[Service]
Type=oneshot
ExecStart={script}
"""
TIMER_UNIT = """\
[Unit]
Description=Counts the minutes that this machine has lived
[Timer]
OnBootSec={tick_s}
OnUnitActiveSec={tick_s}
AccuracySec=1
[Install]
WantedBy=timers.target
"""


class Identity(NamedTuple):
    """Who may log in and how the machine proves itself: OpenSSH keys."""

    login_public: tuple[str, ...]
    host_public: str = ""
    host_private: str = ""


def user_data(
    boot: Boot,
    identity: Identity,
    *,
    end: Sequence[str] = ("systemctl", "poweroff"),
    files: Mapping[str, str] = NO_FILES,
    most: int = 16384,
) -> str:
    """Cloud-init user data: a user `isoflop` that the keys open, its host key, its folder, and a self-destruct timer.

    Every value travels as JSON, which YAML contains, so nothing a user writes can become another key or command. The
    user's own `boot.user_data` goes along as a part of its own, as it is. `end` is the command by which the machine
    ends itself after `boot.lifetime_s` seconds of running; what that stops of the bill is the vendor's to say. `files`
    are texts by path that root alone may read and run, for such a command.

    Raises: UserError where the whole has more than `most` bytes (EC2 takes 16 384) or a key holds a line break.
    """
    keys = [*identity.login_public, *boot.ssh_public_keys]
    for key in (*keys, identity.host_public):
        if "\n" in key.strip() or "\r" in key.strip():
            raise UserError("an SSH public key is one line")
    config: dict[str, object] = {
        "users": [
            {
                "name": USER,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [key.strip() for key in keys],
            }
        ],
        "disable_root": True,
        "ssh_pwauth": False,
        "write_files": [
            _file(f"{FOLDER}/run", f"{json.dumps({'run': boot.run_id})}\n", "0644"),
            *(_file(path, content, "0700") for path, content in files.items()),
        ],
        "runcmd": [["install", "-d", "-o", USER, "-g", USER, "-m", "0755", f"{FOLDER}/lease"]],
    }
    if identity.host_private:
        config["ssh_deletekeys"] = True
        config["ssh_keys"] = {"ed25519_private": identity.host_private, "ed25519_public": identity.host_public}
    if boot.lifetime_s is not None:
        _self_destruct(config, boot.lifetime_s, end)
    ours = f"#cloud-config\n{_yaml(config)}\n"
    whole = _joined(ours, boot.user_data) if boot.user_data else ours
    if len(whole.encode()) > most:
        raise UserError(f"the machine's start-up text has {len(whole.encode())} bytes; this provider takes {most}")
    return whole


def _self_destruct(config: dict[str, object], lifetime_s: float, end: Sequence[str]) -> None:
    whole_s = max(TICK_S, int(lifetime_s))
    script = LIFETIME.format(lifetime_s=whole_s, lived=LIVED, tick_s=TICK_S, end=" ".join(end))
    files, commands = config["write_files"], config["runcmd"]
    assert isinstance(files, list)  # noqa: S101 - made a few lines above
    assert isinstance(commands, list)  # noqa: S101
    files += [
        _file(SCRIPT, script, "0755"),
        _file(SERVICE, SERVICE_UNIT.format(script=SCRIPT), "0644"),
        _file(TIMER, TIMER_UNIT.format(tick_s=TICK_S), "0644"),
    ]
    commands += [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", "isoflop-lifetime.timer"]]


def _yaml(config: Mapping[str, object]) -> str:
    """JSON that YAML reads alike: ASCII alone, with characters beyond 16 bits in YAML's own escape."""
    whole = json.dumps(config, indent=1, ensure_ascii=False)
    return BEYOND_ASCII.sub(lambda found: _escaped(ord(found[0])), whole)


def _escaped(code: int) -> str:
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def _file(path: str, content: str, mode: str) -> dict[str, str]:
    return {"path": path, "content": content, "permissions": mode, "owner": "root:root"}


def _joined(ours: str, theirs: str) -> str:
    """Both as parts of one MIME message, whose boundary neither contains.

    Ours comes first and theirs is merged into it: their lists are appended, a setting of ours is not replaced.
    """
    message = MIMEMultipart()
    message.attach(MIMEText(ours, "cloud-config", "utf-8"))
    part = MIMEText(theirs, "x-shellscript" if theirs.startswith("#!") else "cloud-config", "utf-8")
    part["X-Merge-Type"] = MERGE
    message.attach(part)
    return message.as_string()
