"""Google's own API descriptions (discovery documents) as a check of every request and every answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

COMPUTE, BILLING = "compute.v1.json", "cloudbilling.v1.json"
WIDE = frozenset({"int64", "uint64"})  # texts on the wire; Google takes numbers as well
SYSTEM = frozenset({"$alt"})  # sent by every generated client, described nowhere
MOST_REMEMBERED = 4096


class Method(NamedTuple):
    """One method of an API: what its description says about it."""

    id: str  # "compute.instances.insert"
    http: str
    path: re.Pattern[str]
    parameters: Mapping[str, Mapping[str, Any]]  # those of the query
    request: str  # the schema's name, "" without a body
    response: str
    required: tuple[str, ...]  # fields that a body of this method must have


class Route(NamedTuple):
    """A method, with what the path of a request says."""

    method: Method
    names: Mapping[str, str]


class Api:
    """One discovery document."""

    def __init__(self, file: str) -> None:
        """Raises: FileNotFoundError where the installed google-api-python-client has no such document."""
        place = resources.files("googleapiclient").joinpath("discovery_cache", "documents", file)
        document = json.loads(place.read_text())
        self.revision: str = document["revision"]
        self._urn = f"urn:{document['name']}"
        self._globals = frozenset(document["parameters"]) | SYSTEM
        schemas = document["schemas"]
        self._methods = tuple(_methods(document, document["servicePath"], schemas))
        defined = {"$defs": {name: _schema(schema, self._urn) for name, schema in schemas.items()}}
        resource = DRAFT202012.create_resource(defined)
        self._registry: Registry[Any] = Registry().with_resource(self._urn, resource)
        self._validators: dict[str, Draft202012Validator] = {}
        self._sound: set[tuple[str, bytes]] = set()

    def route(self, http: str, path: str) -> Route | None:
        """The method that `path` calls; None where there is none."""
        for method in self._methods:
            if method.http == http and (found := method.path.fullmatch(path)):
                return Route(method, found.groupdict())
        return None

    def faults_of_query(self, method: Method, query: Sequence[tuple[str, str]]) -> str:
        """What is wrong with the query parameters, or ""."""
        for name, value in query:
            if name in self._globals:
                continue
            described = method.parameters.get(name)
            if described is None:
                return f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            if fault := _fault_of_parameter(described, value):
                return f"Invalid value for field '{name}': '{value}'. {fault}"
        return ""

    def faults_of_body(self, method: Method, body: object) -> str:
        """What is wrong with a request's body, or ""."""
        if not method.request:
            return "" if body is None else "the method takes no body"
        if not isinstance(body, Mapping):
            return "the request has no JSON object as its body"
        missing = [name for name in method.required if body.get(name) in (None, "")]
        if missing:
            return f"Invalid value for field 'resource.{missing[0]}': ''. Required field not specified."
        return self._fault(method.request, body)

    def faults_of_answer(self, method: Method, raw: bytes) -> str:
        """What is wrong with the body of a success, or ""; the same bytes are looked at once."""
        if not method.response:
            return ""
        known = (method.response, sha256(raw).digest())
        if known in self._sound:
            return ""
        fault = self._fault(method.response, json.loads(raw))
        if not fault and len(self._sound) < MOST_REMEMBERED:
            self._sound.add(known)
        return fault

    def _fault(self, schema: str, value: object) -> str:
        if schema not in self._validators:
            reference = {"$ref": f"{self._urn}#/$defs/{schema}"}
            self._validators[schema] = Draft202012Validator(reference, registry=self._registry)
        error = best_match(self._validators[schema].iter_errors(value))
        if error is None:
            return ""
        return f"Invalid value for field 'resource.{'.'.join(map(str, error.absolute_path))}': {error.message[:300]}"


@cache
def load(file: str) -> Api:
    """The description in `file`, read once: half a second's work for Compute Engine's."""
    return Api(file)


def _methods(node: Mapping[str, Any], base: str, schemas: Mapping[str, Any]) -> Iterable[Method]:
    for described in node.get("methods", {}).values():
        request = described.get("request", {}).get("$ref", "")
        fields = schemas[request].get("properties", {}) if request else {}
        needed = tuple(
            name
            for name, field in fields.items()
            if described["id"] in field.get("annotations", {}).get("required", ())
        )
        yield Method(
            described["id"],
            described["httpMethod"],
            _pattern(f"/{base}{described['flatPath']}"),
            {n: p for n, p in described.get("parameters", {}).items() if p.get("location") == "query"},
            request,
            described.get("response", {}).get("$ref", ""),
            needed,
        )
    for inner in node.get("resources", {}).values():
        yield from _methods(inner, base, schemas)


def _pattern(flat_path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", flat_path)
    texts = [re.escape(part) if number % 2 == 0 else f"(?P<{part}>[^/]+)" for number, part in enumerate(parts)]
    return re.compile("".join(texts))


def _schema(described: Mapping[str, Any], urn: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of a discovery schema: objects are closed, 64-bit numbers are texts or numbers."""
    if "$ref" in described:
        return {"$ref": f"{urn}#/$defs/{described['$ref']}"}
    kind = described.get("type", "any")
    if kind == "any":
        return {}
    if kind == "object":
        properties = {name: _schema(field, urn) for name, field in described.get("properties", {}).items()}
        more = described.get("additionalProperties")
        rest: object = _schema(more, urn) if isinstance(more, Mapping) else False
        return {"type": "object", "properties": properties, "additionalProperties": rest}
    if kind == "array":
        return {"type": "array", "items": _schema(described["items"], urn)}
    if described.get("format") in WIDE:
        return {"type": ["string", "integer"], "pattern": r"^-?\d+$"}
    found: dict[str, Any] = {"type": kind}
    if "enum" in described:
        found["enum"] = described["enum"]
    return found


def _fault_of_parameter(described: Mapping[str, Any], value: str) -> str:
    kind = described.get("type")
    if kind == "integer" and not re.fullmatch(r"-?\d+", value):
        return "It is not an integer."
    if kind == "boolean" and value.lower() not in {"true", "false"}:
        return "It is neither true nor false."
    if "enum" in described and value not in described["enum"]:
        return f"It is none of {', '.join(described['enum'])}."
    if "pattern" in described and not re.fullmatch(described["pattern"], value):
        return f"Must be a match of regex '{described['pattern']}'."
    return ""
