"""What a simulated machine does at its start with the user data it was given."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator, Mapping

import yaml

from orchestrator.kit.machine import SCRIPT

LIMIT = re.compile(r'"\$lived" -ge (\d+) ')


def own_end_s(user_data: str) -> float | None:
    """Seconds of running after which the machine ends itself by its self-destruct timer; None where it has none."""
    for config in _cloud_configs(user_data):
        for file in config.get("write_files") or []:
            if isinstance(file, Mapping) and file.get("path") == SCRIPT:
                found = LIMIT.search(str(file.get("content", "")))
                return float(found.group(1)) if found else None
    return None


def logins(user_data: str) -> tuple[str, ...]:
    """The public keys that may log in as somebody."""
    keys: list[str] = []
    for config in _cloud_configs(user_data):
        for user in config.get("users") or []:
            if isinstance(user, Mapping):
                keys += user.get("ssh_authorized_keys") or []
    return tuple(keys)


def _cloud_configs(user_data: str) -> Iterator[Mapping[str, list[object]]]:
    parts = [user_data]
    if user_data.startswith(("Content-Type: multipart", "MIME-Version")):
        message = email.message_from_string(user_data)
        payloads = (part.get_payload(decode=True) for part in message.walk() if not part.is_multipart())
        parts = [payload.decode() for payload in payloads if isinstance(payload, bytes)]
    for part in parts:
        if part.startswith("#cloud-config"):
            document = yaml.safe_load(part)
            if isinstance(document, Mapping):
                yield document


def host_keys(user_data: str) -> tuple[str, str] | None:
    """The private and the public key by which the machine proves itself; None where it makes its own."""
    for config in _cloud_configs(user_data):
        keys: object = config.get("ssh_keys")
        if isinstance(keys, Mapping) and "ed25519_private" in keys:
            return str(keys["ed25519_private"]), str(keys.get("ed25519_public", ""))
    return None
