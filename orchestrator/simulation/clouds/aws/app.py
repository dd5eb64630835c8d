"""The simulated AWS: EC2, its price list, Service Quotas, STS, SSM's public parameters and SQS at one address."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.simulation.clouds.aws import conformity, protocol, signature
from orchestrator.simulation.clouds.aws.catalogue import PROVIDER, Catalogue
from orchestrator.simulation.clouds.aws.machines import Instances
from orchestrator.simulation.clouds.aws.network import ACCOUNT, Network
from orchestrator.simulation.clouds.aws.paging import token
from orchestrator.simulation.clouds.aws.protocol import AwsError, Call
from orchestrator.simulation.clouds.aws.queue import Queue
from orchestrator.simulation.clouds.aws.selling import Selling
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Reply, Request, Wire

ACCESS_KEY_ID = "AKIAISOFLOPSIMULATED"
SECRET_ACCESS_KEY = "simulated/secret/of/no/value/anywhere/00"  # noqa: S105 - opens nothing but a simulation
ANYWHERE = frozenset({"DescribeRegions", "GetSpotPlacementScores"})  # answered in regions that sell nothing, too
KEYS: Mapping[str, str] = {ACCESS_KEY_ID: SECRET_ACCESS_KEY}


class AwsCloud:
    """One account, known by its keys; regions are told apart by the credential of the signature, as at AWS."""

    name = PROVIDER

    def __init__(self, market: Market, keys: Mapping[str, str]) -> None:
        self._market, self._keys = market, keys
        catalogue = Catalogue(market)
        self.network = Network(catalogue)
        instances = Instances(market, catalogue, self.network)
        self.queue = Queue(market, catalogue, instances)
        selling = Selling(market, catalogue)
        self._catalogue = catalogue
        self._handlers: Mapping[str, Callable[[Call], dict[str, Any]]] = {
            "DescribeRegions": selling.regions,
            "DescribeAvailabilityZones": selling.zones,
            "DescribeInstanceTypeOfferings": selling.offerings,
            "DescribeInstanceTypes": selling.types,
            "GetProducts": selling.products,
            "DescribeSpotPriceHistory": selling.spot_history,
            "GetSpotPlacementScores": selling.scores,
            "DescribeCapacityBlockOfferings": selling.blocks,
            "ListServiceQuotas": selling.quotas,
            "DescribeSubnets": self.network.subnets,
            "GetParameter": self.network.parameter,
            "DescribeImages": self.network.images,
            "DescribeSecurityGroups": self.network.groups,
            "CreateSecurityGroup": self.network.create_group,
            "AuthorizeSecurityGroupIngress": self.network.authorise,
            "RevokeSecurityGroupIngress": self.network.revoke,
            "RunInstances": instances.run,
            "DescribeInstances": instances.describe,
            "DescribeInstanceStatus": instances.statuses,
            "DescribeSpotInstanceRequests": instances.spot_requests,
            "TerminateInstances": instances.terminate,
            "CreateTags": instances.tag,
            "ReceiveMessage": self.queue.receive,
            "DeleteMessage": self.queue.delete,
            "GetCallerIdentity": _identity,
        }

    def operation(self, request: Request) -> str:
        """The action as the request names it."""
        return protocol.operation_of(request)

    def handle(self, request: Request) -> Reply:
        """Check signature and parameters, and answer."""
        service = "ec2"
        try:
            signed = protocol.scope(request)
            service = protocol.SERVICES[signed.service]
            signature.check(request, signed, self._keys)
            call = protocol.read(request, signed)
            return protocol.write(call, self._answer(call))
        except AwsError as error:
            return protocol.write_error(service, error)

    def _answer(self, call: Call) -> dict[str, Any]:
        if call.service == "ec2" and call.operation not in ANYWHERE and call.region not in self._catalogue.regions:
            raise AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
        handler = self._handlers.get(call.operation)
        if handler is None:
            raise AwsError("InvalidAction", f"The action {call.operation} is not simulated.")
        for kind in (Kind.ERROR, Kind.THROTTLE):  # those scripted for one region
            if self._market.struck(self.name, kind, call.operation, call.region):
                raise _fault(kind, call.service)
        return handler(call)

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """Throttled, failed or not authenticated, in the words of the service that is asked."""
        try:
            signed = protocol.scope(request)
        except AwsError as unsigned:
            return protocol.write_error("ec2", unsigned)
        service = protocol.SERVICES[signed.service]
        why = {Kind.UNAUTHORISED: "unknown", Kind.EXPIRED: "expired", Kind.SKEW: "late"}.get(fault.kind)
        error = signature.refused(signed, why) if why else _fault(fault.kind, service)
        reply = protocol.write_error(service, error)
        if fault.kind is Kind.THROTTLE and fault.seconds:
            return reply._replace(headers=(*reply.headers, ("retry-after", f"{fault.seconds:g}")))
        return reply

    def failing(self, request: Request, _: Reply) -> Reply:
        """A success with an error's body."""
        return protocol.write_error(self._service(request), AwsError("InternalError", "An internal error", 200))

    def endless(self, request: Request, reply: Reply) -> Reply:
        """The first page again and again: the token that it gives is one that it gave before."""
        service, operation = self._service(request), self.operation(request)
        if reply.status != 200 or not protocol.has_pages(service, operation):
            return reply
        first = token(operation, protocol.scope(request).region, 0)
        if protocol.is_query(service):
            element = f"<nextToken>{first}</nextToken><requestId>".encode()
            return reply._replace(body=_without_next(reply.body).replace(b"<requestId>", element, 1))
        body = json.dumps({**json.loads(reply.body), "NextToken": first})
        return reply._replace(body=body.encode())

    def check(self, request: Request, reply: Reply) -> None:
        """Raises: Nonconforming."""
        if reply.status == 200:
            conformity.check(self._service(request), self.operation(request), reply)

    def _service(self, request: Request) -> str:
        return protocol.SERVICES[protocol.scope(request).service]


def _without_next(body: bytes) -> bytes:
    start, end = body.find(b"<nextToken>"), body.find(b"</nextToken>")
    return body if start < 0 or end < 0 else body[:start] + body[end + len(b"</nextToken>") :]


def _fault(kind: Kind, service: str) -> AwsError:
    if kind is Kind.THROTTLE:
        if service == "ec2":
            return AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
        return AwsError("ThrottlingException", "Rate exceeded", 400)
    return AwsError("InternalError" if service == "ec2" else "InternalErrorException", "An internal error", 500)


def _identity(_: Call) -> dict[str, Any]:
    return {"UserId": "AIDAISOFLOPSIMULATED", "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/isoflop"}


def create(
    market: Market,
    *,
    keys: Mapping[str, str] = KEYS,
    specs: Path | None = None,  # noqa: ARG001 - AWS's descriptions come with its SDK
) -> Wire:
    """The application for `market`; `keys` are secret keys by access key."""
    return Wire(AwsCloud(market, keys), market)


def settings(url: str, folder: Path, *, ca_file: str = "") -> Mapping[str, object]:
    """The adapter's table for this cloud at `url`; the keys that it refers to are written into `folder`."""
    files = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}
    table: dict[str, object] = {"endpoint_url": url}
    for name, value in files.items():
        file = folder / f"aws-{name.replace('_', '-')}"
        file.write_text(value)
        file.chmod(0o600)
        table[name] = f"file:{file}"
    return {**table, **({"ca_file": ca_file} if ca_file else {})}
