"""Checks signatures of AWS requests (Signature Version 4) by computing them again."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from orchestrator.simulation.clouds.aws.protocol import AwsError, Scope
from orchestrator.simulation.clouds.wire import Request

VALID_FOR = timedelta(minutes=5)
UNKNOWN_KEY = ("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def check(request: Request, signed: Scope, keys: Mapping[str, str]) -> None:
    """Raises: AwsError unless one of `keys` (secret by access key) signed the request, and just now by real time."""
    secret = keys.get(signed.access_key)
    if secret is None:
        raise refused(signed, "unknown")
    stamp = request.headers.get("x-amz-date", "")
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise AwsError("IncompleteSignature", "the request has no X-Amz-Date", 400) from None
    if abs(datetime.now(UTC) - at) > VALID_FOR:
        raise refused(signed, "late")
    if not hmac.compare_digest(_signature(request, signed, secret, stamp), request.headers["authorization"]):
        raise refused(signed, "forged")


def refused(signed: Scope, why: str) -> AwsError:
    """The service's own words for a signature that is `unknown`, `late`, `forged` or `expired`."""
    if signed.service == "ec2":
        return {
            "unknown": AwsError(*UNKNOWN_KEY),
            "late": AwsError("RequestExpired", "Request has expired.", 400),
            "forged": AwsError(*UNKNOWN_KEY),
            "expired": AwsError("ExpiredToken", "The security token included in the request is expired", 400),
        }[why]
    return {
        "unknown": AwsError(
            "UnrecognizedClientException", "The security token included in the request is invalid.", 400
        ),
        "late": AwsError("InvalidSignatureException", "Signature expired: it is now earlier than allowed", 400),
        "forged": AwsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
            400,
        ),
        "expired": AwsError("ExpiredTokenException", "The security token included in the request is expired", 400),
    }[why]


def _signature(request: Request, signed: Scope, secret: str, stamp: str) -> str:
    """The Authorization header that the owner of `secret` would have sent."""
    header = request.headers["authorization"]
    listed = header.split("SignedHeaders=", 1)[-1].split(",", 1)[0].split(";")
    headers = {name: request.headers.get(name, "") for name in listed}
    again = AWSRequest(
        method=request.method, url=f"{request.base_url}{request.raw_path}", data=request.body, headers=headers
    )
    again.context["timestamp"] = stamp
    auth = SigV4Auth(Credentials(signed.access_key, secret), signed.service, signed.region)
    canonical = auth.canonical_request(again)
    signature = auth.signature(auth.string_to_sign(again, canonical), again)
    names = ";".join(listed)
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(again)}, SignedHeaders={names}, Signature={signature}"
