"""Checks requests and answers against Azure's own OpenAPI 2.0 descriptions, where they are at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin

from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT4

ROOT = "azure/specification"
FILES = (
    "compute/resource-manager/Microsoft.Compute/ComputeRP/stable/2023-07-01/virtualMachine.json",
    "compute/resource-manager/Microsoft.Compute/ComputeRP/stable/2023-07-01/computeRPCommon.json",
    "compute/resource-manager/Microsoft.Compute/Skus/stable/2021-07-01/skus.json",
    "network/resource-manager/Microsoft.Network/stable/2023-05-01/networkInterface.json",
    "network/resource-manager/Microsoft.Network/stable/2023-05-01/publicIpAddress.json",
    "network/resource-manager/Microsoft.Network/stable/2023-05-01/virtualNetwork.json",
    "network/resource-manager/Microsoft.Network/stable/2023-05-01/networkSecurityGroup.json",
    "resources/resource-manager/Microsoft.Resources/stable/2021-04-01/resources.json",
)
MOST_WORDS = 300  # of a fault that is reported


class Operation(NamedTuple):
    """One operation of a description, with where its references start from."""

    id: str
    method: str
    pattern: re.Pattern[str]
    version: str  # the newest that the description knows
    parameters: Sequence[Mapping[str, Any]]  # resolved
    responses: Mapping[str, Any]
    base: str


class Specification:
    """Azure's descriptions from a folder that holds `azure/specification`.

    Newer API versions than the descriptions' are taken as well, for paths that they know: the SDK asks for newer ones.
    Enumerations that Azure calls open (`modelAsString`) are not enforced, since new machine sizes are no error.
    """

    def __init__(self, folder: Path) -> None:
        """Raises: OSError, ValueError where the descriptions cannot be read."""
        self._root = (folder / ROOT).resolve()
        documents = _reached({(self._root / name).as_uri() for name in FILES})
        resources = [(uri, DRAFT4.create_resource(document)) for uri, document in documents.items()]
        empty: Registry[Any] = Registry()
        self._registry = empty.with_resources(resources).crawl()
        self._operations = [operation for name in FILES for operation in self._read(name)]

    def operation(self, method: str, path: str) -> Operation | None:
        """What Azure calls this; paths are compared without regard to case."""
        return next((one for one in self._operations if one.method == method and one.pattern.fullmatch(path)), None)

    def fault(self, found: Operation, query: Sequence[tuple[str, str]], body: object) -> str:
        """What is wrong with a request, in words; "" where nothing is."""
        known = {p["name"].lower(): p for p in found.parameters if p.get("in") == "query"}
        given = {name.lower(): value for name, value in query}
        for name in given:
            if name not in known:
                return f"The query parameter '{name}' is not known to {found.id}."
        for name, parameter in known.items():
            if parameter.get("required") and not given.get(name):
                return f"The query parameter '{name}' is required."
        version = given.get("api-version", "")
        if version and version < found.version and version[:10] < found.version[:10]:
            return f"The api-version '{version}' is older than what this description knows ({found.version})."
        schema = next((p["schema"] for p in found.parameters if p.get("in") == "body"), None)
        if schema is None:
            return ""
        return self._misfit(schema, body, found.base) or self._unknown(schema, body, found.base, "")

    def misfit(self, found: Operation, status: int, body: object) -> str:
        """What is wrong with an answer of ours; "" where nothing is."""
        response = found.responses.get(str(status)) or found.responses.get("default")
        if response is None:
            return "" if status >= 400 else f"{found.id} has no answer {status}"
        schema = response.get("schema")
        return self._misfit(schema, body, found.base) if schema is not None else ""

    def _misfit(self, schema: Mapping[str, Any], value: object, base: str) -> str:
        whole = {"$ref": urljoin(base, schema["$ref"])} if "$ref" in schema else {"id": base, **schema}
        validator = Draft4Validator(whole, registry=self._registry)
        error: ValidationError | None = next(validator.iter_errors(value), None)
        if error is None:
            return ""
        place = ".".join(str(step) for step in error.absolute_path) or "body"
        return f"{place}: {error.message[:MOST_WORDS]}"

    def _unknown(self, schema: Mapping[str, Any], value: object, base: str, place: str) -> str:
        """The first member that no schema has a name for: Azure refuses those too."""
        if isinstance(value, list):
            items, base = self._resolved(schema, base)
            inner = items.get("items", {})
            return next(filter(None, (self._unknown(inner, item, base, place) for item in value)), "")
        if not isinstance(value, Mapping):
            return ""
        known, free = self._members(schema, base)
        for name, item in value.items():
            if name not in known:
                if free or not known:
                    continue
                return f"Could not find member '{name}' on object '{place or 'body'}'."
            inner, origin = known[name]
            found = self._unknown(inner, item, origin, f"{place}.{name}" if place else name)
            if found:
                return found
        return ""

    def _members(self, schema: Mapping[str, Any], base: str) -> tuple[dict[str, tuple[Mapping[str, Any], str]], bool]:
        """Properties of a schema and all it is made of, with where each is from; and whether others are allowed."""
        schema, base = self._resolved(schema, base)
        found = {name: (inner, base) for name, inner in schema.get("properties", {}).items()}
        free = bool(schema.get("additionalProperties"))
        for part in schema.get("allOf", ()):
            inherited, also = self._members(part, base)
            found, free = {**inherited, **found}, free or also
        return found, free

    def _resolved(self, schema: Mapping[str, Any], base: str) -> tuple[Mapping[str, Any], str]:
        while "$ref" in schema:
            address = urljoin(base, schema["$ref"])
            schema, base = self._registry.resolver(base).lookup(schema["$ref"]).contents, urldefrag(address).url
        return schema, base

    def _read(self, name: str) -> Iterator[Operation]:
        path = self._root / name
        base, document = path.as_uri(), _document(path)
        for template, methods in document["paths"].items():
            pieces = re.split(r"(\{[^}]+\})", template)
            pattern = "".join("[^/]+" if piece.startswith("{") else re.escape(piece) for piece in pieces)
            for method, about in methods.items():
                yield Operation(
                    about["operationId"],
                    method.upper(),
                    re.compile(pattern, re.IGNORECASE),
                    document["info"]["version"],
                    [self._resolved(parameter, base)[0] for parameter in about.get("parameters", ())],
                    about["responses"],
                    base,
                )


def _reached(uris: set[str]) -> dict[str, Any]:
    """These files and all that they refer to, by their addresses."""
    found: dict[str, Any] = {}
    waiting = sorted(uris)
    while waiting:
        uri = waiting.pop()
        if uri not in found:
            found[uri] = _document(Path(uri.removeprefix("file://")))
            waiting += [urldefrag(urljoin(uri, reference)).url for reference in _references(found[uri])]
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)


@cache
def _document(path: Path) -> Any:
    return _opened(json.loads(path.read_text(encoding="utf-8")))


@cache
def load(folder: Path) -> Specification:
    """The descriptions in a folder, read once. Raises: OSError, ValueError."""
    return Specification(folder)


def _opened(value: Any) -> Any:
    """`value` without its examples and the enumerations that Azure calls open."""
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    loose = isinstance(value.get("x-ms-enum"), dict) and value["x-ms-enum"].get("modelAsString")
    dropped = {"x-ms-examples", "enum"} if loose else {"x-ms-examples"}
    return {name: _opened(item) for name, item in value.items() if name not in dropped}
