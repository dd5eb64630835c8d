"""Checks the self-signed tokens that service accounts send to the simulated Google Cloud."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def fault(authorization: str, accounts: Mapping[str, str]) -> str:
    """What is wrong with an `Authorization` header, or ""; `accounts` gives a public key in PEM by e-mail address.

    Times are not looked at: a market's clock is not the client's.
    """
    parts = authorization.removeprefix("Bearer ").split(".")
    if not authorization.startswith("Bearer ") or len(parts) != 3:
        return "Request is missing required authentication credential. Expected OAuth 2 access token."
    try:
        claims = json.loads(_decoded(parts[1]))
        signature = _decoded(parts[2])
        key = accounts[claims["iss"]]
        public = load_pem_public_key(key.encode())
        if not isinstance(public, RSAPublicKey):
            return "The service account's key is no RSA key."
        public.verify(signature, f"{parts[0]}.{parts[1]}".encode(), PKCS1v15(), hashes.SHA256())
    except (ValueError, KeyError, TypeError, InvalidSignature):
        return "Request had invalid authentication credentials. Expected OAuth 2 access token."
    return ""


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
