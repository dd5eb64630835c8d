"""The SSH keys of a lease are made once, work with OpenSSH, and stay private."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.kit.keys import KeyRing


def test_the_same_token_has_the_same_keys_and_another_has_others(tmp_path: Path) -> None:
    first, again, other = KeyRing(tmp_path).of("a"), KeyRing(tmp_path).of("a"), KeyRing(tmp_path).of("b")
    assert first == again
    assert len({first.login_public, first.host_public, other.login_public, other.host_public}) == 4


def test_keys_asked_for_by_many_at_once_are_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({keys.login_public for keys in pool.map(lambda _: KeyRing(tmp_path).of("a"), range(16))}) == 1


def test_private_keys_are_readable_by_their_owner_alone_and_shown_by_no_repr(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "ring").of("a")
    assert keys.login_file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ring" / "a").stat().st_mode & 0o777 == 0o700
    assert "PRIVATE" not in repr(keys)
    assert sorted(path.name for path in (tmp_path / "ring" / "a").iterdir()) == ["host", "login"]


def test_openssh_reads_the_key(tmp_path: Path) -> None:
    tool = shutil.which("ssh-keygen")
    if tool is None:
        pytest.skip("ssh-keygen is not installed: apt-get install openssh-client")
    keys = KeyRing(tmp_path).of("a")
    read = subprocess.run([tool, "-y", "-f", str(keys.login_file)], capture_output=True, text=True, check=True)
    assert read.stdout.split()[:2] == keys.login_public.split()[:2]


def test_forgotten_keys_are_gone(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.of("a")
    ring.forget("a")
    ring.forget("a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("token", ["../x", "", "a/b", ".hidden", "a\n"])
def test_a_token_that_is_no_plain_name_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        KeyRing(tmp_path).of(token)
