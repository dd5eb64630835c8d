"""AWS's wire protocols by botocore's own models: requests read and checked, answers written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from botocore.loaders import Loader
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from moto.core.model import ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.serialize import get_serializer_class

from orchestrator.simulation.clouds.wire import Reply, Request

# By the name that a request is signed for.
SERVICES: Mapping[str, str] = {
    "ec2": "ec2",
    "pricing": "pricing",
    "servicequotas": "service-quotas",
    "ssm": "ssm",
    "sqs": "sqs",
    "sts": "sts",
}
ISO = "%Y-%m-%dT%H:%M:%S.000Z"


class AwsError(Exception):
    """An answer that is one of AWS's errors."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        self.code, self.message, self.status = code, message, status
        super().__init__(f"{code}: {message}")


class Call(NamedTuple):
    """One request, read."""

    service: str  # botocore's name
    region: str
    access_key: str
    operation: str
    params: Mapping[str, Any]


class Scope(NamedTuple):
    """What the credential of a signature says."""

    access_key: str
    region: str
    service: str  # the name it is signed for


@cache
def model(service: str) -> Any:
    """The service's description as moto reads botocore's. Reading EC2's takes a third of a second."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def scope(request: Request) -> Scope:
    """Of a request signed with Signature Version 4. Raises: AwsError where it is not signed."""
    header = request.headers.get("authorization", "")
    credential = next(
        (part.split("=", 1)[1] for part in header.replace(",", " ").split() if part.startswith("Credential=")), ""
    )
    words = credential.split("/")
    if len(words) != 5 or words[4] != "aws4_request":
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    if words[3] not in SERVICES:
        raise AwsError("InvalidAction", f"no service is called {words[3]} here", 404)
    return Scope(words[0], words[2], words[3])


def operation_of(request: Request) -> str:
    """The operation's name as the request says it; "" where it says none."""
    target = request.headers.get("x-amz-target", "")
    if target:
        return target.rsplit(".", 1)[-1]
    return dict(parse_qsl(request.body.decode("utf-8", "replace"))).get("Action", "")


def read(request: Request, signed: Scope) -> Call:
    """The request as its service understands it.

    Raises: AwsError for an unknown operation, and for parameters that the service's description does not have, lacks,
    or has with another type.
    """
    service = SERVICES[signed.service]
    described = model(service)
    name = operation_of(request)
    if name not in described.operation_names:
        raise AwsError("InvalidAction", f"The action {name} is not valid for this web service.")
    operation = described.operation_model(name)
    params = _query(request, operation) if is_query(service) else _json(request, operation)
    if operation.input_shape is not None:
        report = ParamValidator().validate(params, operation.input_shape)
        if report.has_errors():
            text = report.generate_report()
            raise AwsError("MissingParameter" if "Missing required" in text else _invalid(service), text)
    return Call(service, signed.region, signed.access_key, name, params)


def write(call: Call, result: Mapping[str, Any]) -> Reply:
    """A success."""
    described = model(call.service)
    serializer = get_serializer_class(call.service, described.metadata["protocol"])(
        described.operation_model(call.operation)
    )
    serializer.context.request_id = request_id(call)
    answer = serializer.serialize(result)
    body = answer["body"]
    kind = answer["headers"]["Content-Type"]
    return Reply(answer["status_code"], body if isinstance(body, bytes) else body.encode(), kind=kind)


def write_error(service: str, error: AwsError) -> Reply:
    """An error as `service` (botocore's name) says it."""
    described = model(service)
    if not is_query(service):
        kind = f"application/x-amz-json-{described.metadata['jsonVersion']}"
        body = json.dumps({"__type": error.code, "message": error.message})
        return Reply(error.status, body.encode(), (("x-amzn-errortype", error.code),), kind)
    code, text = _escaped(error.code), _escaped(error.message)
    if described.metadata["protocol"] == "ec2":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>"
            "<RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
        )
    else:
        body = (
            f'<ErrorResponse xmlns="{described.metadata["xmlNamespace"]}"><Error><Type>Sender</Type>'
            f"<Code>{code}</Code><Message>{text}</Message></Error>"
            "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
        )
    return Reply(error.status, body.encode(), kind="text/xml;charset=UTF-8")


def moment(value: datetime) -> datetime:
    """A time of a request as an aware one: moto reads it as naive UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def request_id(call: Call) -> str:
    """An id that the same request always has."""
    digest = hashlib.sha256(repr((call.operation, call.region, sorted(call.params))).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def is_query(service: str) -> bool:
    """Whether `service` speaks forms and XML; the others speak JSON."""
    return model(service).metadata["protocol"] in {"ec2", "query"}


def has_pages(service: str, operation: str) -> bool:
    """Whether the operation's answer may name a next page."""
    described = model(service)
    if operation not in described.operation_names:
        return False
    shape = described.operation_model(operation).output_shape
    return shape is not None and "NextToken" in shape.members


def _invalid(service: str) -> str:
    return "InvalidParameterValue" if service == "ec2" else "ValidationException"


def _query(request: Request, operation: Any) -> dict[str, Any]:
    """Of a form; what its own serialiser would not write again is a parameter that the service does not have."""
    described = operation.service_model
    try:
        sent = dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))
    except ValueError as error:
        raise AwsError("MalformedQueryString", f"The query string is malformed: {error}") from error
    if sent.get("Version") != described.metadata["apiVersion"]:
        raise AwsError("NoSuchVersion", f"The requested version ({sent.get('Version')}) is not valid")
    try:
        params: dict[str, Any] = PROTOCOL_PARSERS[described.metadata["protocol"]](operation).parse(_part(values=sent))
    except (TypeError, ValueError) as error:
        raise AwsError("InvalidParameterValue", f"a value has the wrong type: {error}") from error
    again = create_serializer(described.metadata["protocol"], False).serialize_to_request(params, operation)["body"]
    unknown = sorted(set(sent) - set(again))
    if unknown:
        raise AwsError("UnknownParameter", f"The parameter {unknown[0]} is not recognized")
    return params


def _json(request: Request, operation: Any) -> dict[str, Any]:
    try:
        sent = json.loads(request.body or b"{}")
    except ValueError as error:
        raise AwsError("SerializationException", f"no JSON: {error}") from error
    unknown = _unknown(sent, operation.input_shape, "")
    if unknown:
        raise AwsError("SerializationException", f"{unknown} is not a member of {operation.name}")
    try:
        params: dict[str, Any] = PROTOCOL_PARSERS["json"](operation).parse(_part(body=request.body))
    except (AttributeError, TypeError, ValueError) as error:
        raise AwsError("SerializationException", f"a value has the wrong type: {error}") from error
    return params


def _part(**parts: Any) -> Any:
    """The part of a request that moto's parser of the protocol looks at."""
    return parts


def _unknown(value: Any, shape: Any, place: str) -> str:
    """The place of the first key that `shape` does not have; "" where it has all."""
    if shape is None:
        return ""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, item in value.items():
            if key not in shape.members:
                return f"{place}.{key}".lstrip(".")
            if found := _unknown(item, shape.members[key], f"{place}.{key}"):
                return found
    if shape.type_name == "list" and isinstance(value, list):
        return next((found for item in value if (found := _unknown(item, shape.member, place))), "")
    return ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
