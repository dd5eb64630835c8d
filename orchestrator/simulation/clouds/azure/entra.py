"""The login of the simulated Azure (Microsoft Entra ID): OpenID discovery and tokens for a client's secret."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs

from orchestrator.simulation.clouds.azure.arm import reply
from orchestrator.simulation.clouds.faults import Kind
from orchestrator.simulation.clouds.wire import Reply, Request

LIFETIME_S = 3599
WORDS = {
    Kind.UNAUTHORISED: (401, "invalid_client", "AADSTS7000215: Invalid client secret provided."),
    Kind.EXPIRED: (401, "invalid_client", "AADSTS7000222: The provided client secret keys are expired."),
    Kind.SKEW: (401, "invalid_client", "AADSTS700024: Client assertion is not within its valid time range."),
    Kind.ERROR: (500, "server_error", "An internal error."),
}


class Entra:
    """One tenant with one client."""

    def __init__(self, *, tenant: str, client: str, secret: str) -> None:
        self.tenant, self._client, self._secret = tenant, client, secret
        self._tokens: set[str] = set()

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization header carries a token of ours."""
        kind, _, token = authorization.partition(" ")
        return kind.lower() == "bearer" and token in self._tokens

    def discovery(self, request: Request) -> Reply:
        """Where the tenant's endpoints are."""
        root = f"{request.base_url}/{self.tenant}"
        return reply(
            {
                "issuer": f"{root}/v2.0",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
                "token_endpoint": f"{root}/oauth2/v2.0/token",
            }
        )

    def token(self, request: Request) -> Reply:
        """A token for the client credentials grant."""
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != "client_credentials":
            return reply({"error": "unsupported_grant_type", "error_description": "AADSTS70003"}, 400)
        if form.get("client_id") != self._client:
            words = "AADSTS700016: Application with this identifier was not found in the directory."
            return reply({"error": "unauthorized_client", "error_description": words}, 400)
        if not secrets.compare_digest(form.get("client_secret", ""), self._secret):
            return refuse(Kind.UNAUTHORISED)
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        body = {
            "token_type": "Bearer",
            "expires_in": LIFETIME_S,
            "ext_expires_in": LIFETIME_S,
            "access_token": token,
        }
        return reply(body)


def refuse(kind: Kind) -> Reply:
    """The login's own words for a fault."""
    if kind is Kind.THROTTLE:
        return reply(
            {"error": "temporarily_unavailable", "error_description": "Too many requests"}, 429, Retry_After="10"
        )
    status, error, words = WORDS[kind]
    return reply({"error": error, "error_description": words}, status)
