"""Accelerators by the words that users write: what is taken, what is said about it, what is refused."""

from __future__ import annotations

import pytest

from orchestrator.catalog import accelerators
from orchestrator.catalog.lookup import look_up
from orchestrator.domain.errors import UserError

KNOWN = accelerators.load()


def names(words: str) -> list[str]:
    return [device.name for device in look_up(words, KNOWN).devices]


@pytest.mark.parametrize("device", KNOWN, ids=lambda device: device.name)
def test_every_device_goes_by_its_own_name_in_any_case_without_a_note(device: accelerators.Accelerator) -> None:
    for word in (device.name, device.name.lower(), f" {device.name.upper()} "):
        chosen = look_up(word, KNOWN)
        assert chosen.devices == (device,)
        assert chosen.notes == ()


def test_chips_sold_on_several_boards_mean_that_of_eight_gpu_nodes_and_a_note_says_so() -> None:
    chosen = look_up("H100,A100,MI300X", KNOWN)
    assert [device.name for device in chosen.devices] == ["H100-SXM", "A100-80GB", "MI300X"]
    assert len(chosen.notes) == 2
    assert "H100 is taken as H100-SXM" in chosen.notes[0]
    assert "A100-40GB" in chosen.notes[1]


@pytest.mark.parametrize(
    ("word", "name"),
    [("h100-sxm5", "H100-SXM"), ("A100-80G", "A100-80GB"), ("rtx4090", "RTX-4090"), ("a100-pcie", "A100-PCIe-80GB")],
)
def test_a_vendors_spelling_is_understood_and_said(word: str, name: str) -> None:
    chosen = look_up(word, KNOWN)
    assert [device.name for device in chosen.devices] == [name]
    assert f"{word} is taken as {name}" in chosen.notes[0]


@pytest.mark.parametrize("word", ["TPU", "RTX", "RTX-6000", "Jetson"])
def test_a_word_for_different_chips_is_refused_with_the_choices(word: str) -> None:
    with pytest.raises(UserError, match="may mean different accelerators") as caught:
        look_up(word, KNOWN)
    assert sum(device.name in str(caught.value) for device in KNOWN) >= 2


@pytest.mark.parametrize(("word", "hint"), [("MI300", "did you mean MI300X?"), ("abacus", "known: K80")])
def test_an_unknown_name_is_refused_with_the_nearest(word: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        look_up(word, KNOWN)
    assert hint in str(caught.value)


def test_the_order_is_kept_and_a_device_named_twice_is_taken_once() -> None:
    assert names("MI300X, H100 ,h100-sxm,") == ["MI300X", "H100-SXM"]


@pytest.mark.parametrize("words", ["", " , "])
def test_no_name_at_all_is_refused(words: str) -> None:
    with pytest.raises(UserError, match="names no accelerator"):
        look_up(words, KNOWN)
