from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import CapacityError, TransientError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.testing.clock import FakeClock
from providers.local.machine import Host
from providers.local.provider import LocalProvider
from providers.local.settings import LocalSettings


def _provider(folder: Path, slots: int = 1) -> Provider:
    return LocalProvider(
        owner="me",
        settings=LocalSettings(slots=slots),
        clock=FakeClock(),
        state_dir=folder,
        host=Host(cpu="test", cores=1, memory_gib=1.0),
        devices=tuple,
    )


def _buy(provider: Provider, token: str) -> Lease:
    return provider.acquire(provider.offers()[0], 1, token=token, boot=Boot())


def _file(folder: Path) -> Path:
    (path,) = (folder / "leases").glob("*.json")
    return path


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_lease_file_cut_short_is_set_aside_and_its_slot_is_free(tmp_path: Path, part: float) -> None:
    provider = _provider(tmp_path)
    first = _buy(provider, "a")
    path = _file(tmp_path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert not provider.leases()
    assert provider.offers()[0].available == 1
    again = _buy(provider, "a")
    assert again.id != first.id
    assert [lease.id for lease in provider.leases()] == [again.id]
    assert path.with_suffix(".damaged").exists()


def test_the_draft_of_a_writer_that_was_killed_is_no_lease_and_is_cleared(tmp_path: Path) -> None:
    provider = _provider(tmp_path, slots=2)
    _buy(provider, "a")
    draft = tmp_path / "leases" / f".{_file(tmp_path).name}.0123"
    draft.write_text('{"id": "half')
    assert len(provider.leases()) == 1
    _buy(provider, "b")
    assert not draft.exists()
    assert len(provider.leases()) == 2


def test_a_writer_killed_after_the_lease_appeared_has_sold_it(tmp_path: Path) -> None:
    provider = _provider(tmp_path)
    lease = _buy(provider, "a")
    os.link(_file(tmp_path), tmp_path / "leases" / f".{_file(tmp_path).name}.0123")  # killed before it was dropped
    assert _buy(_provider(tmp_path), "a").id == lease.id


def test_a_state_folder_that_cannot_be_written_is_a_transient_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("in the way")
    with pytest.raises(TransientError, match=r"leases.*see that the disk is writable"):
        _buy(_provider(tmp_path), "a")


@pytest.mark.parametrize("trouble", ["gone", "a file", "a loop"])
def test_books_that_cannot_be_read_are_never_taken_for_empty_ones(tmp_path: Path, trouble: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    provider = _provider(state)
    assert provider.leases() == []
    _buy(provider, "a")
    shutil.move(state / "leases", tmp_path / "elsewhere")
    if trouble == "gone":
        shutil.rmtree(state)
    elif trouble == "a file":
        (state / "leases").write_text("in the way")
    else:
        (state / "leases").symlink_to(state / "leases")  # not even root can list it
    with pytest.raises(TransientError):
        provider.leases()


def test_no_slot_says_how_many_are_free(tmp_path: Path) -> None:
    provider = _provider(tmp_path)
    offer = provider.offers()[0]
    _buy(provider, "a")
    with pytest.raises(CapacityError, match="0 of 1 x this-machine are free"):
        provider.acquire(offer, 1, token="b", boot=Boot())


def test_a_lease_of_no_nodes_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    provider = _provider(tmp_path)
    with pytest.raises(ValueError, match="at least one node"):
        provider.acquire(provider.offers()[0], 0, token="a", boot=Boot())


def test_tokens_of_any_text_make_leases_of_their_own(tmp_path: Path) -> None:
    provider = _provider(tmp_path, slots=5)
    tokens = ["../../etc/passwd", "", "a\0b", "ä" * 300, "\ud800"]
    assert len({_buy(provider, token).id for token in tokens}) == 5
    assert sorted(lease.token for lease in provider.leases()) == sorted(tokens)
