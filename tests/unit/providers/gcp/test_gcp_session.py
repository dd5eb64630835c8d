"""Whose credentials are sent, and what is never asked on the side."""

from __future__ import annotations

import pytest

pytest.importorskip("google.auth", reason="Google's SDK is not installed (extra gcp)")
pytest.importorskip("googleapiclient", reason="Google's API descriptions are not installed (extra clouds)")

import google.auth
from google.auth.exceptions import DefaultCredentialsError
from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from orchestrator.domain.errors import AuthError
from orchestrator.domain.secret import Secret
from providers.gcp.session import Bounded, Session
from providers.gcp.settings import GcpSettings
from tests.wire.gcp_cloud import key_file

PUBLIC, PRIVATE = "https://compute.googleapis.com", "https://compute.example.org"


def session(endpoint: str = PRIVATE, credentials: str = "env:KEY", key: str = "") -> Session:
    settings = GcpSettings(project="some-project", credentials=credentials, compute_endpoint=endpoint)
    return Session(settings, lambda _: Secret(key))


@pytest.mark.parametrize("key", ["", "no JSON", "[]", "{}", '{"private_key": "canary"}', '"canary"'])
def test_a_reference_to_something_else_than_a_key_is_named_and_not_shown(key: str) -> None:
    with pytest.raises(AuthError, match="env:KEY") as refused:
        _ = session(key=key).instances
    assert "canary" not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_no_credentials_anywhere_is_an_auth_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(**_: object) -> None:
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", nothing)
    with pytest.raises(AuthError, match="default credentials were not found"):
        _ = session(credentials="ambient").instances


@pytest.mark.parametrize(("endpoint", "asks"), [(PUBLIC, True), (PRIVATE, False)])
def test_at_an_endpoint_of_ones_own_google_is_not_asked_on_the_side(endpoint: str, asks: bool) -> None:
    credentials = session(endpoint, key=key_file())._credentials.with_always_use_jwt_access(True)  # as the SDK does
    if not hasattr(credentials, "_set_blocking_regional_access_boundary_lookup"):
        pytest.skip("this google-auth asks nothing on the side")
    credentials._set_blocking_regional_access_boundary_lookup()
    asked: list[str] = []

    class Answer:
        status, headers, data = 404, {}, b"{}"

    def request(url: str, **_: object) -> Answer:
        asked.append(url)
        return Answer()

    credentials._create_self_signed_jwt(PUBLIC)
    credentials.before_request(request, "GET", f"{endpoint}/compute/v1/projects/p", {})
    assert bool(asked) == asks


@pytest.mark.parametrize(("ca_file", "trusted"), [("", True), ("/etc/our-ca.pem", "/etc/our-ca.pem")])
def test_a_connection_is_made_within_five_seconds_and_to_whom_the_settings_trust(
    monkeypatch: pytest.MonkeyPatch, ca_file: str, trusted: object
) -> None:
    sent: dict[str, object] = {}
    monkeypatch.setattr(HTTPAdapter, "send", lambda _self, _request, **options: sent.update(options))
    Bounded(ca_file).send(PreparedRequest(), timeout=20.0, verify=True)
    assert sent == {"timeout": (5.0, 20.0), "verify": trusted}
