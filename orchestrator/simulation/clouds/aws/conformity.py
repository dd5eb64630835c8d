"""Checks what the simulated AWS answers against the output shapes of botocore's models."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

from orchestrator.simulation.clouds.aws.protocol import model
from orchestrator.simulation.clouds.wire import Nonconforming, Reply

NUMBERS = {"integer": int, "long": int, "float": float, "double": float}


def check(service: str, operation: str, reply: Reply) -> None:
    """Every name, nesting and type of a success. Raises: Nonconforming."""
    described = model(service)
    shape = described.operation_model(operation).output_shape
    protocol = described.metadata["protocol"]
    if protocol == "json":
        if shape is not None:
            _json(json.loads(reply.body), shape, operation)
        elif reply.body not in {b"", b"{}"}:
            raise Nonconforming(f"{operation} answers nothing")
        return
    root = ET.fromstring(reply.body)  # noqa: S314 - written a moment ago by this process
    if _name(root) != f"{operation}Response":
        raise Nonconforming(f"the answer to {operation} is a {_name(root)}")
    own = {"requestId"} if protocol == "ec2" else {"ResponseMetadata"}
    children = [child for child in root if _name(child) not in own]
    if len(children) == len(root):
        raise Nonconforming(f"the answer to {operation} has no {own.pop()}")
    if protocol == "query":
        if [_name(child) for child in children] != [f"{operation}Result"]:
            raise Nonconforming(f"the answer to {operation} has no {operation}Result")
        children = list(children[0])
    _members(children, shape, operation)


def _members(children: list[ET.Element], shape: Any, place: str) -> None:
    described = {} if shape is None else shape.members  # an operation may answer nothing
    names = {member.serialization.get("name", key): (key, member) for key, member in described.items()}
    seen: set[str] = set()
    for child in children:
        name = _name(child)
        if name not in names:
            raise Nonconforming(f"{place} has no {name}")
        if name in seen:
            raise Nonconforming(f"{place}.{name} comes twice")
        seen.add(name)
        key, member = names[name]
        _xml(child, member, f"{place}.{key}")


def _xml(element: ET.Element, shape: Any, place: str) -> None:
    if shape.type_name == "structure":
        _members(list(element), shape, place)
    elif shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        for number, child in enumerate(element):
            if _name(child) != item:
                raise Nonconforming(f"{place} holds {_name(child)}, not {item}")
            _xml(child, shape.member, f"{place}[{number}]")
    elif len(element):
        raise Nonconforming(f"{place} is a {shape.type_name} and has children")
    else:
        _scalar(element.text or "", shape, place)


def _scalar(text: str, shape: Any, place: str) -> None:
    kind = shape.type_name
    try:
        if kind in NUMBERS:
            NUMBERS[kind](text)
        elif kind == "boolean" and text not in {"true", "false"}:
            raise ValueError(text)
        elif kind == "timestamp":
            datetime.fromisoformat(text)
    except ValueError as error:
        raise Nonconforming(f"{place} is a {kind}, not {text!r}") from error
    if kind == "string":
        _named(text, shape, place)


def _named(text: str, shape: Any, place: str) -> None:
    if shape.enum and text not in shape.enum:
        raise Nonconforming(f"{place} is one of {', '.join(shape.enum[:5])}, ..., not {text!r}")


def _json(value: Any, shape: Any, place: str) -> None:
    kind = shape.type_name
    if kind == "structure":
        _object(value, shape, place)
    elif kind == "list":
        if not isinstance(value, list):
            raise Nonconforming(f"{place} is no list")
        for number, item in enumerate(value):
            _json(item, shape.member, f"{place}[{number}]")
    elif kind == "map":
        for key, item in value.items():
            _json(item, shape.value, f"{place}.{key}")
    else:
        _plain(value, shape, place)


def _plain(value: Any, shape: Any, place: str) -> None:
    kinds = {"boolean": bool, "string": str, **dict.fromkeys(NUMBERS, int | float)}
    wanted = kinds.get(shape.type_name)
    flag = isinstance(value, bool)
    if wanted is not None and (not isinstance(value, wanted) or flag is not (wanted is bool)):
        raise Nonconforming(f"{place} is a {shape.type_name}, not {value!r}")
    if shape.type_name == "string":
        _named(value, shape, place)


def _object(value: Any, shape: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise Nonconforming(f"{place} is no object")
    missing = [name for name in shape.required_members if name not in value]
    if missing:
        raise Nonconforming(f"{place} lacks {missing[0]}")
    for key, item in value.items():
        if key not in shape.members:
            raise Nonconforming(f"{place} has no {key}")
        _json(item, shape.members[key], f"{place}.{key}")


def _name(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
