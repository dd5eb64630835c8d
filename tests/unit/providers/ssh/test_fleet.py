"""Fleet files: what they may say, and every fault with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Tier
from providers.ssh import fleet
from providers.ssh.settings import SshSettings

GOOD = """\
defaults: {user: gpu, usd_per_hour: 0.8, labels: {owner: lab}}
sites:
  tokyo: {latitude: 35.68, longitude: 139.69, country: JP, tier: edge, fabric: ethernet}
  berlin: {jurisdictions: [DE, EU], tier: hpc}
reference:
  Frankfurt: 192.0.2.1:443
hosts:
  gate: {address: gate.example, gateway: true}
  tokyo-1:
    address: 10.0.0.5
    port: 2222
    site: tokyo
    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3u tokyo
    jump: gate
    labels: {rack: "a 1"}
  berlin-1: {address: "::1", site: berlin, usd_per_hour: 2, folder: /var/lib/isoflop host}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        fleet.parse(text, "fleet.yaml")
    return str(refused.value).splitlines()


def test_hosts_have_what_they_say_over_what_the_defaults_say() -> None:
    found = fleet.parse(GOOD, "fleet.yaml")
    tokyo, berlin = found.hosts["tokyo-1"], found.hosts["berlin-1"]
    assert (tokyo.label, tokyo.usd_per_hour, tokyo.jump, tokyo.line) == ("gpu@10.0.0.5:2222", 0.8, "gate", 10)
    assert tokyo.labels == {"owner": "lab", "rack": "a 1"}
    assert (berlin.label, berlin.usd_per_hour, berlin.folder) == ("gpu@::1", 2.0, "/var/lib/isoflop host")
    assert found.hosts["gate"].gateway
    assert found.sites["tokyo"].tier is Tier.EDGE
    assert (found.sites["berlin"].latitude, found.sites["berlin"].jurisdictions) == (None, ("DE", "EU"))
    assert found.reference == {"Frankfurt": ("192.0.2.1", 443)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    port: 2222", "    port: 0", "fleet.yaml:11:11: hosts.tokyo-1.port: is a port, not '0'"),
        (
            "    port: 2222",
            "    prot: 22",
            "fleet.yaml:11:5: hosts.tokyo-1: unknown field 'prot' (did you mean 'port'?)",
        ),
        ("    site: tokyo", "", "fleet.yaml:10:5: hosts.tokyo-1.site: is missing (on the host, or under defaults)"),
        ("    jump: gate", "    jump: gat", "fleet.yaml:10:5: hosts.tokyo-1.jump: no host is called 'gat'"),
        ("    jump: gate", "    jump: tokyo-1", "fleet.yaml:10:5: hosts.tokyo-1.jump: leads back to itself"),
        ("latitude: 35.68", "latitude: 95", "is a number from -90 to 90, not '95'"),
        ("latitude: 35.68, ", "", "fleet.yaml:3:10: sites.tokyo: latitude and longitude come together"),
        ("user: gpu", 'user: "gp\\nu"', "fleet.yaml:1:18: defaults.user: 'gp\\nu' holds a line break"),
        ("user: gpu", "user: -oProxyCommand=x", "defaults.user: '-oProxyCommand=x' is no such thing"),
        ("usd_per_hour: 2", "usd_per_hour: 0", "fleet.yaml:16:58: hosts.berlin-1.usd_per_hour: is above 0"),
        ("usd_per_hour: 2", "usd_per_hour: .nan", "hosts.berlin-1.usd_per_hour: is a number from 0 to 1e+06"),
        ("usd_per_hour: 0.8, ", "", "fleet.yaml:10:5: hosts.tokyo-1.usd_per_hour: is missing"),
        ("tier: hpc", "tier: moon", "sites.berlin.tier: is one of hpc, cloud, edge, not 'moon'"),
        ("  gate: {", "  tokyo-1: {", "hosts: 'tokyo-1' stands there twice"),
        ("  gate: {", '  "a b": {', "hosts: 'a b' is no name"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3u tokyo", "/etc/ssh/key", "host_key: is a public key"),
        ("192.0.2.1:443", "192.0.2.1", "reference.Frankfurt: is HOST:PORT, not '192.0.2.1'"),
        ("gateway: true", "gateway: maybe", "hosts.gate.gateway: is true or false, not 'maybe'"),
        ("labels: {rack: ", "identity: /nowhere/id, labels: {rack: ", "fleet.yaml:15"),
        ("site: berlin", "site: a/b", "hosts.berlin-1.site: 'a/b' holds a '/'"),
        ("hosts:", "hosts: [", "fleet.yaml:9:3: expected"),
        ("sites:", "sites: 7 #", "fleet.yaml:3:3"),
    ],
)
def test_every_fault_has_its_line(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert any(said in line for line in faults(GOOD.replace(old, new, 1))), faults(GOOD.replace(old, new, 1))


def test_all_faults_are_told_at_once() -> None:
    assert len(faults(GOOD.replace("port: 2222", "port: x").replace("usd_per_hour: 2", "usd_per_hour: -1"))) == 2


@pytest.mark.parametrize("text", ["", "hosts: {}", "[]", "hosts: []", "- hosts", "\0", "a: &a [*a]", "hosts: {x: 7}"])
def test_nonsense_is_refused(text: str) -> None:
    assert "fleet.yaml" in faults(text)[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        fleet.load(tmp_path / "none.yaml")
    (tmp_path / "odd.yaml").write_bytes(b"hosts: \xff")
    with pytest.raises(ConfigError, match="no UTF-8"):
        fleet.load(tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "fleet is the path"),
        ({"fleet": "x", "quiet_s": -1.0}, "quiet_s is at least 0"),
        ({"fleet": "x", "lost_after_s": 0.0}, "lost_after_s is above 0"),
        ({"fleet": "x", "bandwidth_mib": 1000.0}, "no load test"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SshSettings(**settings)  # type: ignore[arg-type]
