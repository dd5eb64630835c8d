"""Lambda's REST API, version 1.8.3 (the vendor has no SDK): calls, and what its error codes mean to us."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.domain.secret import Secret
from orchestrator.kit.documents import Document, readable
from orchestrator.kit.rest import THROTTLED, Rest
from providers.lambda_cloud.translate import NAME

BASE = "/api/v1"
THROTTLED_S, UPSTREAM_S, REFUSED_S = 5.0, 15.0, 60.0


class Throttled(TransientError):
    """Too many requests: this one has had no effect."""


class Refused(TransientError):
    """Parameters that Lambda does not take: this call has had no effect, and is hardly going to."""


# Lambda's codes, from the API's description, that say what to do by themselves.
FINAL: Mapping[str, Callable[[str], ProviderError]] = MappingProxyType(
    {
        "global/invalid-api-key": lambda detail: AuthError(NAME, detail),
        "global/account-inactive": lambda detail: AuthError(NAME, detail),
        "global/invalid-address": lambda detail: AuthError(NAME, detail),
        "global/quota-exceeded": lambda detail: QuotaError(NAME, detail, Scope.PROVIDER),
        "instance-operations/launch/insufficient-capacity": lambda detail: CapacityError(NAME, detail, Scope.REGION),
        "global/object-does-not-exist": lambda detail: LeaseNotFound(NAME, detail),
    }
)


def explain(status: int, body: object) -> ProviderError | None:
    """Our error for one of Lambda's: by its code alone, for its texts may change. None for a success."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return Throttled(NAME, "too many requests", THROTTLED_S) if status == THROTTLED else None
    code, message = str(error.get("code", "")), str(error.get("message", ""))[:300]
    detail = f"{code}: {message}" if message else code
    if status == THROTTLED:
        return Throttled(NAME, detail, THROTTLED_S)
    if code in FINAL:
        return FINAL[code](detail)
    if _upstream(code, "quota"):
        return QuotaError(NAME, detail, Scope.PROVIDER)
    if _upstream(code, "capacity", "exhaust"):
        return CapacityError(NAME, detail, Scope.REGION)
    refused = status in {400, 409} and not code.startswith("provider/")
    return Refused(NAME, detail, REFUSED_S) if refused else TransientError(NAME, detail, UPSTREAM_S)


def _upstream(code: str, *words: str) -> bool:
    """Whether it is a fault of the providers behind Lambda that speaks of one of `words`; such codes have no list."""
    return code.startswith("provider/") and any(word in code for word in words)


class LambdaClient:
    """One account. `pace` returns when the next request may go out."""

    def __init__(
        self,
        *,
        endpoint_url: str,
        key: Secret,
        ca_file: str,
        clock: Clock,
        pace: Callable[[], None],
    ) -> None:
        """Raises: TransientError where `ca_file` cannot be read."""
        self._key, self._pace = key, pace
        self._rest = Rest(NAME, endpoint_url, authorise=self._headers, explain=explain, clock=clock, ca_file=ca_file)

    def instance_types(self) -> Document:
        """InstanceTypesItem by name. Raises: AuthError, TransientError."""
        return _document(self._read("/instance-types"), "instance types")

    def regions_of_images(self) -> tuple[str, ...]:
        """Regions that have an image: the nearest that the API has to a list of regions.

        Raises: AuthError, TransientError.
        """
        with readable(NAME):
            names = (image.within("region").text("name") for image in _list(self._read("/images"), "images"))
            return tuple(dict.fromkeys(names))

    def instances(self) -> tuple[Document, ...]:
        """Every instance of the account that is not terminated. Raises: AuthError, TransientError."""
        return _list(self._read("/instances"), "instances")

    def instance(self, identifier: str) -> Document:
        """One instance. Raises: LeaseNotFound, AuthError, TransientError."""
        return _document(self._read(f"/instances/{quote(identifier, safe='')}"), "instance")

    def launch(self, order: Mapping[str, object]) -> str:
        """The id of a new instance.

        Raises: CapacityError, QuotaError, AuthError; Throttled, Refused, LeaseNotFound (something that `order` names is
        not there): nothing was bought; any other TransientError: it is in doubt.
        """
        data = _document(self._write("POST", "/instance-operations/launch", order), "launch")
        with readable(NAME):
            ids = data.texts("instance_ids")
        if len(ids) != 1:
            raise TransientError(NAME, f"a launch of one instance gave {len(ids)} ids")
        return ids[0]

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances, all or none. Raises: LeaseNotFound where one is unknown; AuthError, TransientError."""
        self._write("POST", "/instance-operations/terminate", {"instance_ids": list(ids)})

    def ssh_keys(self) -> Mapping[str, tuple[str, str]]:
        """Id and public key of every SSH key by name. Raises: AuthError, TransientError."""
        with readable(NAME):
            return {
                key.text("name"): (key.text("id"), key.text("public_key"))
                for key in _list(self._read("/ssh-keys"), "SSH keys")
            }

    def add_ssh_key(self, name: str, public: str) -> None:
        """Register a key. Raises: Refused for a name that is taken; AuthError, TransientError."""
        self._write("POST", "/ssh-keys", {"name": name, "public_key": public})

    def delete_ssh_key(self, identifier: str) -> None:
        """Forget a key. Raises: Refused, LeaseNotFound where it is unknown; AuthError, TransientError."""
        self._write("DELETE", f"/ssh-keys/{quote(identifier, safe='')}")

    def rulesets(self) -> tuple[Document, ...]:
        """Every firewall ruleset. Raises: AuthError, TransientError."""
        return _list(self._read("/firewall-rulesets"), "firewall rulesets")

    def add_ruleset(self, name: str, region: str, rules: Sequence[Mapping[str, object]]) -> str:
        """The id of a new ruleset. Raises: QuotaError, Refused, AuthError, TransientError."""
        body = {"name": name, "region": region, "rules": list(rules)}
        data = _document(self._write("POST", "/firewall-rulesets", body), "firewall ruleset")
        with readable(NAME):
            return data.text("id")

    def change_ruleset(self, identifier: str, rules: Sequence[Mapping[str, object]]) -> None:
        """Replace the rules. Raises: LeaseNotFound, AuthError, TransientError."""
        self._write("PATCH", f"/firewall-rulesets/{quote(identifier, safe='')}", {"rules": list(rules)})

    def _headers(self) -> Mapping[str, str]:
        self._pace()  # asked for before every attempt, so that those after a failure keep the pace as well
        return {"authorization": f"Bearer {self._key.reveal()}"}

    def _read(self, path: str) -> object:
        return _data(self._rest.read(BASE + path).body, path)

    def _write(self, method: str, path: str, body: object = None) -> object:
        return _data(self._rest.write(method, BASE + path, body).body, path)


def _data(body: object, path: str) -> object:
    if not isinstance(body, Mapping) or "data" not in body:
        raise TransientError(NAME, f"{path}: a success without data", 30.0)
    return body["data"]


def _document(data: object, place: str) -> Document:
    with readable(NAME):
        return Document(data, place)


def _list(data: object, place: str) -> tuple[Document, ...]:
    if not isinstance(data, list):  # a missing list is no empty one
        raise TransientError(NAME, f"{place}: a {type(data).__name__}, not a list", 30.0)
    with readable(NAME):
        return tuple(Document({"items": data}, place).each("items"))
