"""`isoflop hosts` over real SSH servers, from a fleet file and a configuration as a user writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.interfaces.cli.application import invoke
from tests.e2e.yard import Yard

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with Yard(tmp_path / "yard", hosts=2, gpus=2) as made:
        made.fields["host-0"]["host_key"] = None
        yield made


@pytest.fixture
def isoflop(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    home = tmp_path / "home"
    home.mkdir()
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(yaml.safe_dump(yard.document()))
    (home / "config.toml").write_text(
        f'[providers.local]\nenabled = false\n[providers.ssh]\nfleet = "{fleet}"\nbandwidth_mib = 0.1\nquiet_s = 0.0\n'
    )
    monkeypatch.setenv("ISOFLOP_HOME", str(home))

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = invoke(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_host_is_trusted_by_its_fingerprint_and_then_on_sale(isoflop: Run, yard: Yard) -> None:
    code, out, _ = isoflop("hosts", "list")
    assert code == 0
    assert "untrusted" in out
    assert "isoflop hosts trust host-0" in out
    code, out, _ = isoflop("hosts", "trust", "host-0", "--json")
    shown = json.loads(out)
    assert (code, shown["pinned"], shown["pinned_before"]) == (0, False, "")
    code, _, err = isoflop("hosts", "trust", "host-0", "--fingerprint", "SHA256:other")
    assert code == 2
    assert shown["fingerprint"] in err
    code, out, _ = isoflop("hosts", "trust", "host-0", "--fingerprint", shown["fingerprint"])
    assert code == 0
    assert "is known by this key from now on" in out
    _, out, _ = isoflop("hosts", "list", "--json")
    assert [host["state"] for host in json.loads(out)["hosts"]] == ["free", "free"]
    _, out, _ = isoflop("offers", "--live", "--provider", "ssh", "--json")
    assert "2x-L4" in out


def test_a_probe_tells_hardware_and_network(isoflop: Run) -> None:
    code, out, _ = isoflop("hosts", "probe", "host-1", "--json")
    (host,) = json.loads(out)["hosts"]
    assert code == 0
    assert (host["gpus"], host["accelerator"], host["state"]) == (2, "L4", "free")
    assert host["rtt_ms"] > 0
    assert host["gbit_s"] > 0
    code, out, _ = isoflop("hosts", "probe", "host-1")
    assert (code, "2 x L4" in out, "right" in out) == (0, True, True)


def test_a_strangers_lock_is_shown_and_broken_by_force_alone(isoflop: Run, yard: Yard) -> None:
    yard.hosts[1].folder.mkdir()
    (yard.hosts[1].folder / "lock").write_text("somebody was here")
    code, _, err = isoflop("hosts", "unlock", "host-1")
    assert code == 2
    assert "--force" in err
    assert yard.hosts[1].locked
    code, out, _ = isoflop("hosts", "unlock", "host-1", "--force")
    assert (code, yard.hosts[1].locked) == (0, False)
    assert "host-1 is free" in out
    assert isoflop("hosts", "unlock", "host-1")[0] == 0


def test_what_a_user_gets_wrong_is_said(isoflop: Run, yard: Yard, tmp_path: Path) -> None:
    assert "did you mean 'host-0'" in isoflop("hosts", "probe", "hots-0")[2]
    code, _, err = isoflop("hosts", "list", "--provider", "lab")
    assert (code, "no provider 'lab'" in err) == (2, True)
    yard.hosts[1].down()
    assert isoflop("hosts", "trust", "host-1")[0] == 4
    code, out, _ = isoflop("hosts", "forget", "host-1")
    assert (code, "forgot host-1" in out) == (0, True)
    (tmp_path / "fleet.yaml").write_text("hosts:\n  a: {adress: x}\n")
    code, _, err = isoflop("hosts", "list")
    assert code == 2
    assert "fleet.yaml:2:7: hosts.a: unknown field 'adress' (did you mean 'address'?)" in err
