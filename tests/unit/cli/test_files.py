"""Files of the user: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import files


def test_a_file_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    files.write(path, "größer\n")
    assert files.read(path) == "größer\n"
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_a_file_that_is_replaced_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("old")
    real.chmod(0o600)
    link = tmp_path / "link.json"
    link.symlink_to(real)
    files.write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"plan\.json cannot be written: No space left on device"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="No space left"):
        files.write(Path("/dev/full"), "x" * 100_000)


def test_a_loop_of_links_is_a_clear_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UserError, match="loop"):
        files.write(loop, "x")
    with pytest.raises(UserError, match="loop"):
        files.read(loop)


def test_a_folder_that_is_missing_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        files.write(tmp_path / "none" / "plan.json", "x")
    with pytest.raises(UserError, match="No such file"):
        files.read(tmp_path / "none")


def test_bytes_that_are_no_text_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match="byte 2 is not UTF-8"):
        files.read(path)
