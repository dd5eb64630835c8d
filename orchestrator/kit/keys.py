"""SSH keys of a lease: one pair to log in with, one that proves that the machine is ours."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LOGIN, HOST = "login", "host"


class LeaseKeys(NamedTuple):
    """Public halves as OpenSSH writes them; the private one to log in with stays in its file.

    The host's private half is given to the machine at its start, so that the very first connection can be checked.
    """

    login_public: str
    login_file: Path
    host_public: str
    host_private: str

    def __repr__(self) -> str:
        return f"LeaseKeys(login_public={self.login_public!r}, host_public={self.host_public!r})"


class KeyRing:
    """The keys of every lease, in files that only their owner can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, token: str) -> LeaseKeys:
        """The keys of the lease bought with `token`; made on first use, the same from then on.

        Raises: ValueError for a token that is no plain name.
        """
        folder = self._place(token)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        login, host = _pair(folder / LOGIN), _pair(folder / HOST)
        return LeaseKeys(login, folder / LOGIN, host, (folder / HOST).read_text())

    def forget(self, token: str) -> None:
        """Remove the keys of a lease that is gone."""
        folder = self._place(token)
        for name in (LOGIN, HOST):
            (folder / name).unlink(missing_ok=True)
            (folder / f"{name}.pub").unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()

    def _place(self, token: str) -> Path:
        if not PLAIN.fullmatch(token):
            raise ValueError(f"{token!r} is no plain name: keys are kept in a folder of this name")
        return self._folder / token


def _pair(path: Path) -> str:
    """The public half of the key at `path`, which is made where there is none. Two makers agree on the first's."""
    if not path.exists():
        private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        fresh = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
        try:
            os.link(fresh, path)  # fails where another was quicker: then that one's key is the key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return _public(path)


def _public(path: Path) -> str:
    from_file = path.read_bytes()
    return _load(from_file).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _load(private: bytes) -> Ed25519PrivateKey:
    key = load_ssh_private_key(private, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("a lease's key is an Ed25519 key")
    return key
