"""What a bought machine is told at its start holds against whatever a user writes."""

from __future__ import annotations

import email
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import UserError
from orchestrator.domain.lease import Boot
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.machine import LIFETIME, SCRIPT, USER, Identity, user_data
from orchestrator.simulation.clouds.bootup import logins, own_end_s

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0PcAEteBydxoG82/+Ih4xaPUFgXQa3MYVtpKcsPjJ+"


def config_of(text: str) -> dict[str, object]:
    assert text.startswith("#cloud-config\n")
    parsed = yaml.safe_load(text)
    assert isinstance(parsed, dict)
    return parsed


@given(st.text(max_size=200), st.text(alphabet=st.characters(exclude_characters="\n\r"), max_size=80))
def test_no_word_of_a_user_becomes_a_key_or_a_command(run_id: str, key: str) -> None:
    plain = config_of(user_data(Boot(run_id="run-1"), Identity((KEY,))))
    config = config_of(user_data(Boot(run_id=run_id, ssh_public_keys=(key,)), Identity((KEY,))))
    assert config.keys() == plain.keys()
    assert config["runcmd"] == plain["runcmd"]
    (user,) = config["users"]  # type: ignore[misc]
    assert user["name"] == USER
    assert user["ssh_authorized_keys"] == [KEY, key.strip()]
    (file,) = config["write_files"]  # type: ignore[misc]
    assert json.loads(file["content"]) == {"run": run_id}


@pytest.mark.parametrize("evil", ["ssh-rsa A\nssh-rsa B", "ssh-rsa A\r- evil"])
def test_a_key_of_several_lines_is_refused(evil: str) -> None:
    with pytest.raises(UserError, match="one line"):
        user_data(Boot(ssh_public_keys=(evil,)), Identity((KEY,)))


def test_without_a_lifetime_there_is_no_timer() -> None:
    assert own_end_s(user_data(Boot(), Identity((KEY,)))) is None


@given(st.integers(60, 10**7))
def test_the_machine_ends_itself_after_its_lifetime(lifetime_s: int) -> None:
    assert own_end_s(user_data(Boot(lifetime_s=float(lifetime_s)), Identity((KEY,)))) == lifetime_s


def test_the_users_own_text_goes_along_whole_and_ours_stays() -> None:
    theirs = "#!/bin/sh\necho '--===============boundary=='\n# äöü\n"
    text = user_data(Boot(user_data=theirs, lifetime_s=600.0), Identity((KEY,)))
    parts = [part for part in email.message_from_string(text).walk() if not part.is_multipart()]
    payload = parts[1].get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode() == theirs
    assert parts[1].get_content_type() == "text/x-shellscript"
    assert (own_end_s(text), logins(text)) == (600.0, (KEY,))


def test_what_is_too_long_for_the_provider_is_refused_with_both_numbers() -> None:
    with pytest.raises(UserError, match="takes 16384"):
        user_data(Boot(user_data="#!/bin/sh\n" + "x" * 20000), Identity((KEY,)))


@pytest.mark.parametrize(("lived", "ends"), [("", False), ("0", False), ("540", True), ("10000", True)])
def test_the_timers_script_counts_its_own_minutes(tmp_path: Path, lived: str, ends: bool) -> None:
    count, ended = tmp_path / "lived_s", tmp_path / "ended"
    if lived:
        count.write_text(f"{lived}\n")
    script = LIFETIME.format(lifetime_s=600, lived=count, tick_s=60, end=f"touch {ended}")
    subprocess.run(["/bin/sh", "-c", script], check=True)
    assert ended.exists() is ends
    assert int(count.read_text()) == int(lived or 0) + 60


def test_cloud_init_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    tool = shutil.which("cloud-init")
    if tool is None:
        pytest.skip("cloud-init is not installed: apt-get install cloud-init")
    keys = KeyRing(tmp_path / "keys").of("lease-1")
    identity = Identity((keys.login_public,), keys.host_public, keys.host_private)
    file = tmp_path / "user-data"
    file.write_text(user_data(Boot(run_id='a"b\n- c: d', lifetime_s=600.0), identity))
    done = subprocess.run([tool, "schema", "--config-file", str(file)], capture_output=True, text=True, check=False)
    assert "Valid" in done.stdout, done.stdout + done.stderr
    assert SCRIPT in file.read_text()
