"""Domain values to and from JSON, exactly, by the types of their fields.

Every dataclass of the domain is covered without a line of its own. Not pydantic: over plain dataclasses it ignores
unknown keys, cannot tell workloads apart by a class variable, and takes far longer to set up for a plan than `isoflop
plan` may take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from math import isfinite, isnan
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np

from orchestrator.domain.offerbook import OfferBook
from orchestrator.spec.columns import Json, Undecodable, Where, decode_book, encode_book

Encode: TypeAlias = Callable[[Any], Json]
Decode: TypeAlias = Callable[[Any, Where], Any]
SCALARS = (bool, int, float, str)
MOST = float("inf")
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True, slots=True)
class Codec:
    """Both directions of one type; `decode(encode(x), ()) == x`."""

    encode: Encode
    decode: Decode  # Raises: Undecodable


def to_json(value: object) -> Json:
    """Any value made of domain dataclasses, containers and scalars, in the form JSON can hold."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(to_json(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((to_json(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if not isinstance(value, Enum | OfferBook | bool | int | float | str | NoneType | datetime) and not is_dataclass(
        value
    ):
        raise TypeError(f"no codec for values of {type(value)}")
    return codec_of(value).encode(value)


def codec_of(value: object) -> Codec:
    """The codec of the value's own class."""
    kind: Any = type(value)
    return codec(kind)


@cache
def codec(kind: Any) -> Codec:
    """The codec of a type, made from its annotations on first use; of any other type, one that only encodes."""
    if kind is OfferBook:
        return Codec(encode_book, decode_book)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind)
    return _generic(get_origin(kind), get_args(kind))


def _generic(origin: Any, parts: tuple[Any, ...]) -> Codec:
    if origin in (Union, UnionType):
        return _union(parts)
    if origin is Literal:
        return _literal(parts)
    if origin in (tuple, frozenset):
        return _sequence(origin, parts)
    return Codec(to_json, _one_way)  # by the value itself: an array, `object`, a view's dictionary


def _one_way(_value: Any, _where: Where) -> Any:
    raise TypeError("a value written for people and programs is never read back")


def _float(value: Any) -> Json:
    if type(value) is int:  # a whole number stays as it was given: a snapshot's id looks at it
        return value
    number = float(value)
    if isfinite(number):
        return number
    return "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _to_float(value: Any, where: Where) -> float:
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    if type(value) not in (int, float):
        raise Undecodable(where, "is not a number")
    if not abs(value) < MOST:
        raise Undecodable(where, "is too large")
    number: float = value
    return number


def _exactly(kind: type, what: str) -> Decode:
    def decode(value: Any, where: Where) -> Any:
        if type(value) is not kind:
            raise Undecodable(where, f"is not {what}")
        return value

    return decode


def _moment(value: datetime) -> Json:
    if value.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return value.astimezone(UTC).isoformat()


def _to_moment(value: Any, where: Where) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise Undecodable(where, "is not a moment with a time zone")


_PLAIN: dict[Any, Codec] = {
    float: Codec(_float, _to_float),
    int: Codec(int, _exactly(int, "a whole number")),
    str: Codec(str, _exactly(str, "text")),
    bool: Codec(bool, _exactly(bool, "true or false")),
    NoneType: Codec(lambda value: value, _exactly(NoneType, "null")),
    datetime: Codec(_moment, _to_moment),
}


def _literal(allowed: tuple[Any, ...]) -> Codec:
    def decode(value: Any, where: Where) -> Any:
        if value not in allowed:
            raise Undecodable(where, f"is not one of {', '.join(map(repr, allowed))}")
        return value

    return Codec(lambda value: value, decode)


def _enum(kind: type[Enum]) -> Codec:
    def decode(value: Any, where: Where) -> Any:
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in kind)
            raise Undecodable(where, f"is not one of {allowed}") from None

    return Codec(lambda value: value.value, decode)


def _sequence(origin: Any, parts: tuple[Any, ...]) -> Codec:
    many = origin is frozenset or (len(parts) == 2 and parts[1] is Ellipsis)
    inner = [codec(part) for part in (parts[:1] if many else parts)]

    def encode(value: Any) -> Json:
        if not many:
            return [part.encode(item) for part, item in zip(inner, value, strict=True)]
        items = [inner[0].encode(item) for item in value]
        return sorted(items, key=repr) if origin is frozenset else items

    def decode(value: Any, where: Where) -> Any:
        if not isinstance(value, list):
            raise Undecodable(where, "is not a list")
        if not many and len(value) != len(inner):
            raise Undecodable(where, f"has {len(value)} items instead of {len(inner)}")
        kinds = inner * len(value) if many else inner
        return origin(
            part.decode(item, (*where, row)) for row, (part, item) in enumerate(zip(kinds, value, strict=True))
        )

    return Codec(encode, decode)


def _union(members: tuple[Any, ...]) -> Codec:
    """Null, scalars by their own JSON type, or dataclasses by their tag (else by the fields they need)."""
    classes = tuple(member for member in members if is_dataclass(member))
    others = tuple(member for member in members if member is not NoneType and member not in classes)
    if others and (classes or (len(others) > 1 and not set(others) <= set(SCALARS))):
        raise TypeError(f"no codec for {members}")
    pick = _by_class(classes) if classes else _by_scalar(others)

    def encode(value: Any) -> Json:
        if value is None:
            return None
        if classes or len(others) == 1:
            return (codec_of(value) if classes else codec(others[0])).encode(value)
        return value if not isinstance(value, float) or isfinite(value) else _refuse(value)

    def decode(value: Any, where: Where) -> Any:
        if value is None and NoneType in members:
            return None
        return codec(pick(value, where)).decode(value, where)

    return Codec(encode, decode)


def _refuse(value: object) -> Json:
    raise ValueError(f"{value} has no JSON form beside text")


def _by_scalar(kinds: tuple[Any, ...]) -> Callable[[Any, Where], Any]:
    def pick(value: Any, where: Where) -> Any:
        if len(kinds) == 1:
            return kinds[0]
        found = type(value) if type(value) in kinds else float if type(value) is int and float in kinds else None
        if found is None:
            raise Undecodable(where, f"is not one of {', '.join(kind.__name__ for kind in kinds)}")
        return found

    return pick


def _by_class(classes: tuple[Any, ...]) -> Callable[[Any, Where], Any]:
    tagged = {_tag(kind): kind for kind in classes}
    needed = {kind: {item.name for item in fields(kind) if _required(item)} for kind in classes}

    def pick(value: Any, where: Where) -> Any:
        if not isinstance(value, dict):
            raise Undecodable(where, "is not an object")
        if len(classes) == 1:
            return classes[0]
        if None not in tagged:
            mark = value.get("kind")
            found = tagged.get(mark) if isinstance(mark, str) else None
            if found is None:
                raise Undecodable((*where, "kind"), f"is not one of {', '.join(map(str, tagged))}")
            return found
        fitting = [kind for kind in classes if needed[kind] <= set(value)]
        if len(fitting) != 1:
            raise Undecodable(where, f"is not one of {', '.join(kind.__name__ for kind in classes)}")
        return fitting[0]

    return pick


def _tag(kind: Any) -> str | None:
    """What tells the members of a union apart: the class variable KIND, or the default of a field `kind`."""
    if hasattr(kind, "KIND"):
        return str(kind.KIND)
    return next((str(item.default) for item in fields(kind) if item.name == "kind"), None)


def _required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _dataclass(kind: Any) -> Codec:
    """An object with one key per field in their order; a field with a default may be missing (older files)."""
    hints = get_type_hints(kind)
    parts = {item.name: codec(hints[item.name]) for item in fields(kind)}
    needed = [item.name for item in fields(kind) if _required(item)]
    mark: str | None = getattr(kind, "KIND", None)

    def encode(value: Any) -> Json:
        items = {name: part.encode(getattr(value, name)) for name, part in parts.items()}
        return {"kind": mark, **items} if mark else items

    def decode(value: Any, where: Where) -> Any:
        if not isinstance(value, dict):
            raise Undecodable(where, "is not an object")
        for name in needed:
            if name not in value:
                raise Undecodable((*where, name), "is missing")
        given = {}
        for name, item in value.items():
            if name in parts:
                given[name] = parts[name].decode(item, (*where, name))
            elif name != "kind" or item != mark:
                raise Undecodable((*where, name), "is not known to this version of isoflop")
        try:
            return kind(**given)
        except ValueError as error:
            raise Undecodable(where, str(error)) from error

    return Codec(encode, decode)
