"""The simulated Lambda cloud: its REST API, version 1.8.3, in front of the market."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.lambda_cloud import errors
from orchestrator.simulation.clouds.lambda_cloud.accounts import Accounts
from orchestrator.simulation.clouds.lambda_cloud.errors import Failure
from orchestrator.simulation.clouds.lambda_cloud.instances import Instances
from orchestrator.simulation.clouds.lambda_cloud.spec import BadRequest, Spec
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Reply, Request

NAME = "lambda"
BASE = "/api/v1"
REQUEST_S, LAUNCH_S = 1.0, 12.0  # "one request per second", "one request per 12 seconds": the API's own text
SLACK_S = 0.001  # of clocks that count in floating point


class Route(NamedTuple):
    """One call of the API."""

    operation: str  # operationId of the description
    method: str
    path: re.Pattern[str]
    answer: Callable[[str, str, Any], object]  # (account, id in the path, body) -> data


class LambdaCloud:
    """One endpoint for all accounts; `keys` gives the account of every API key.

    With `rates` calls that come too quickly are refused. Without `spec` only what the simulator itself needs of a
    request is checked.
    """

    name = NAME

    def __init__(self, market: Market, *, keys: Mapping[str, str], spec: Spec | None, rates: bool) -> None:
        self._market, self._keys, self._spec, self._rates = market, dict(keys), spec, rates
        self._last: dict[tuple[str, str], tuple[datetime, float]] = {}
        accounts = Accounts(market)
        instances = Instances(market, accounts, self._keys)
        self._routes = tuple(
            Route(operation, method, re.compile(BASE + path), answer)
            for operation, method, path, answer in (
                ("listInstances", "GET", "/instances", instances.listing),
                ("getInstance", "GET", "/instances/(?P<id>[^/]+)", instances.get),
                ("postInstance", "POST", "/instances/(?P<id>[^/]+)", instances.rename),
                ("listInstanceTypes", "GET", "/instance-types", instances.types),
                ("launchInstance", "POST", "/instance-operations/launch", instances.launch),
                ("restartInstance", "POST", "/instance-operations/restart", instances.restart),
                ("terminateInstance", "POST", "/instance-operations/terminate", instances.terminate),
                ("listSSHKeys", "GET", "/ssh-keys", accounts.keys),
                ("addSSHKey", "POST", "/ssh-keys", accounts.add_key),
                ("deleteSSHKey", "DELETE", "/ssh-keys/(?P<id>[^/]+)", accounts.delete_key),
                ("listFilesystems", "GET", "/file-systems", accounts.none),
                ("listImages", "GET", "/images", accounts.images),
                ("firewallRulesetsList", "GET", "/firewall-rulesets", accounts.rulesets),
                ("createFirewallRuleset", "POST", "/firewall-rulesets", accounts.add_ruleset),
                ("getFirewallRuleset", "GET", "/firewall-rulesets/(?!global$)(?P<id>[^/]+)", accounts.ruleset),
                ("updateFirewallRuleset", "PATCH", "/firewall-rulesets/(?!global$)(?P<id>[^/]+)", accounts.change),
                ("deleteFirewallRuleset", "DELETE", "/firewall-rulesets/(?!global$)(?P<id>[^/]+)", accounts.delete),
            )
        )

    def operation(self, request: Request) -> str:
        """See Cloud: the operationId."""
        found = self._find(request)
        return found[0].operation if found else ""

    def handle(self, request: Request) -> Reply:
        """See Cloud."""
        try:
            found = self._find(request)
            if found is None:
                raise errors.missing("There is no such endpoint.")
            route, identifier = found
            account = self._account(request)
            self._within_rate(account, route.operation)
            body = self._body(request)
            with self._market.lock:
                data = route.answer(account, identifier, body)
        except Failure as failure:
            return failure.reply(*_retry(failure))
        return Reply(200, json.dumps({"data": data}).encode())

    def refuse(self, request: Request, fault: Fault) -> Reply:  # noqa: ARG002 - every call is refused alike
        """See Cloud. Nothing of a call is signed by the time: a wrong clock is no reason to refuse it."""
        if fault.kind is Kind.THROTTLE:
            return errors.throttled().reply(("Retry-After", f"{fault.seconds or 1:g}"))
        if fault.kind is Kind.ERROR:
            return errors.internal().reply()
        return errors.invalid_key().reply()

    def failing(self, request: Request, reply: Reply) -> Reply:  # noqa: ARG002
        """See Cloud: as a proxy in between would make it."""
        return errors.internal().reply()._replace(status=200)

    def endless(self, request: Request, reply: Reply) -> Reply:  # noqa: ARG002
        """See Cloud: nothing that we serve has pages."""
        return reply

    def check(self, request: Request, reply: Reply) -> None:
        """See Cloud."""
        if self._spec is not None:
            self._spec.check_reply(request, reply)

    def _find(self, request: Request) -> tuple[Route, str] | None:
        for route in self._routes:
            match = route.path.fullmatch(request.path)
            if match and route.method == request.method:
                return route, match.groupdict().get("id", "")
        return None

    def _account(self, request: Request) -> str:
        kind, _, credential = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                credential = base64.b64decode(credential, validate=True).decode().removesuffix(":")
            except ValueError:
                raise errors.invalid_key() from None
        account = self._keys.get(credential)
        if account is None:
            raise errors.invalid_key()
        return account

    def _within_rate(self, account: str, operation: str) -> None:
        if not self._rates:
            return
        limits = {"": REQUEST_S}
        if operation == "launchInstance":
            limits[operation] = LAUNCH_S
        with self._market.lock:
            now, real_s = self._market.clock.now(), time.monotonic()
            for kind, spacing_s in limits.items():
                at, real_at_s = self._last.get((account, kind), (None, 0.0))
                # A caller keeps its distance by its own clock: the market's, or the real one where that one stands.
                apart_s = max((now - at).total_seconds(), real_s - real_at_s) if at is not None else spacing_s
                if apart_s < spacing_s - SLACK_S:
                    raise errors.throttled()
            self._last.update({(account, kind): (now, real_s) for kind in limits})

    def _body(self, request: Request) -> Any:
        if self._spec is not None:
            try:
                self._spec.check_request(request)
            except BadRequest as error:
                raise errors.invalid(str(error)) from error
        if not request.body or request.method in {"GET", "DELETE"}:
            return {}
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise errors.invalid(f"The body is no JSON: {error}") from error
        if not isinstance(body, dict):
            raise errors.invalid("The body is no object.")
        return body


def _retry(failure: Failure) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", "1"),) if failure.status == 429 else ()
