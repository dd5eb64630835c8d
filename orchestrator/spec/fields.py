"""Types of the job file's fields: how each scalar is read, what is said when it is wrong, and its JSON Schema."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import Framework, Method, Stack
from orchestrator.spec import quantity
from orchestrator.spec.quantity import QuantityError, shown

E = TypeVar("E", bound=StrEnum)
FLAW = "isoflop"  # the type of our own errors among pydantic's
LONGEST_TEXT = 4096
LONGEST_COMMAND = 100_000
NUMBERISH = re.compile(r"[+-]?\.?\d")
REFERENCE = re.compile(r"env:[A-Za-z_]\w*|file:/[^\0]+|k8s:[a-z0-9.-]+/[a-z0-9.-]+/[\w.-]+|ambient")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def flaw(message: str, hint: str = "") -> PydanticCustomError:
    """A field's error; the hint says what was expected."""
    return PydanticCustomError(FLAW, "{message}", {"message": message, "hint": hint})


def scalar(value: object, expected: str) -> str:
    """The text of a scalar as the user wrote it; a number of Python's own is written out."""
    if value is None:
        raise flaw("has no value", f"expected {expected}; leave the field out for its default")
    if isinstance(value, dict | list | tuple):
        shape = "a mapping" if isinstance(value, dict) else "a list"
        raise flaw(f"is {shape}", f"expected {expected}")
    return value if isinstance(value, str) else str(value)


def text(value: object) -> str:
    """One line of text without control characters, which could rewrite a terminal."""
    words = scalar(value, "text").strip()
    if not words:
        raise flaw("is empty", "expected text")
    if len(words) > LONGEST_TEXT:
        raise flaw(f"is longer than {LONGEST_TEXT} characters")
    if CONTROL.search(words):
        raise flaw(f"{shown(words)} holds control characters", "expected one line of plain text")
    return words


def measured(parse: Callable[[str], float], expected: str, *, zero: str) -> Callable[[object], float]:
    """A validator by `parse`; `zero` is what to say to a zero, "" where zero is fine."""

    def validate(value: object) -> float:
        try:
            number = parse(scalar(value, expected))
        except QuantityError as error:
            raise flaw(error.message, f"expected {error.expected}") from None
        if zero and number == 0:
            raise flaw(zero, f"expected {expected}")
        return number

    return validate


def _schema(expected: str, pattern: str, *, number: bool = True) -> WithJsonSchema:
    """A quantity in JSON Schema: a number in base units where that is allowed, or text with a unit."""
    words: dict[str, Any] = {"type": "string", "pattern": pattern}
    return WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, words], "description": expected} if number else words
    )


MOST_PORT = 65_535
DIGITS = r"[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9]+)?"
_TIME = rf"^\s*({DIGITS}\s*[A-Za-z]+\s*)+$"
_COUNT_SCHEMA = _schema("a count", rf"^\s*{DIGITS}\s*[A-Za-z ]*$")

Count = Annotated[
    float,
    PlainValidator(measured(quantity.count, quantity.COUNT.examples, zero="is 0: there is nothing to do")),
    _COUNT_SCHEMA,
]
Usd = Annotated[
    float,
    PlainValidator(
        measured(
            quantity.money_usd, quantity.MONEY.examples, zero="is $0, which buys nothing; leave it out for no limit"
        )
    ),
    _schema("US dollars", rf"^\s*((US)?\$|USD)?\s*{DIGITS}\s*[A-Za-z ]*$"),
]
Seconds = Annotated[
    float,
    PlainValidator(measured(quantity.duration_s, quantity.DURATION.examples, zero="is 0, which leaves no time")),
    _schema("a duration", _TIME, number=False),
]
SecondsOrZero = Annotated[
    float,
    PlainValidator(measured(quantity.duration_s, quantity.DURATION.examples, zero="")),
    _schema("a duration", _TIME, number=False),
]
Gib = Annotated[
    float,
    PlainValidator(measured(quantity.size_gib, quantity.SIZE.examples, zero="")),
    _schema("a size", rf"^\s*{DIGITS}\s*[A-Za-z]+\s*$", number=False),
]
PerSecond = Annotated[
    float,
    PlainValidator(measured(quantity.rate_per_s, quantity.RATE.examples, zero="is 0: there is nothing to serve")),
    _schema("a rate", rf"^\s*{DIGITS}.*(/|per|[rq]ps).*$", number=False),
]
Ratio = Annotated[
    float,
    PlainValidator(measured(quantity.ratio, quantity.RATIO.examples, zero="is 0, and must be above")),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": rf"^\s*{DIGITS}\s*%?$"},
            ]
        }
    ),
]
Text = Annotated[str, PlainValidator(text), WithJsonSchema({"type": "string", "minLength": 1})]


def whole(value: object) -> int:
    """A whole number from 1 on."""
    expected = "a whole number from 1 to 1e9, without a unit, such as 4096"
    try:
        number = quantity.whole(scalar(value, expected))
    except QuantityError as error:
        raise flaw(error.message, f"expected {expected}") from None
    if not 1 <= number <= 10**9:
        raise flaw(f"{number} is out of range", f"expected {expected}")
    return number


Whole = Annotated[int, PlainValidator(whole), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10**9})]


def _port(value: object) -> int:
    number = whole(value)
    if number > MOST_PORT:
        raise flaw(f"{number} is out of range", f"expected a port from 1 to {MOST_PORT}")
    return number


Port = Annotated[int, PlainValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_PORT})]


def _peak(value: object) -> float:
    expected = "a number from 1 to 1000, such as 3: the largest rate over the mean"
    try:
        number = quantity.number(scalar(value, expected))
    except QuantityError as error:
        raise flaw(error.message, f"expected {expected}") from None
    if not 1 <= number <= 1000:
        raise flaw(f"{number:g} is out of range", f"expected {expected}")
    return number


PeakOverMean = Annotated[
    float, PlainValidator(_peak), WithJsonSchema({"type": "number", "minimum": 1, "maximum": 1000})
]


def _flag(value: object) -> bool:
    word = scalar(value, "true or false").strip().lower()
    if word not in {"true", "false", "yes", "no"}:
        raise flaw(f"{shown(word)} is neither true nor false", "expected true or false")
    return word in {"true", "yes"}


Flag = Annotated[
    bool,
    PlainValidator(_flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["true", "false", "yes", "no"]}]}),
]


def choice(value: object, allowed: tuple[str, ...], what: str) -> str:
    """One of the `allowed` words in any case, with the nearest of them in the error."""
    listed = f"one of {', '.join(allowed)}"
    word = scalar(value, listed).strip()
    found = next((known for known in allowed if known == word.lower()), None)
    if found is None:
        near = get_close_matches(word.lower()[:LONGEST_TEXT], allowed, n=1)
        mean = f"did you mean {near[0]}? " if near else ""
        raise flaw(f"{shown(word)} is not {what}", f"{mean}expected {listed}")
    return found


def member(kind: type[E], what: str, without: frozenset[E] = frozenset()) -> tuple[PlainValidator, WithJsonSchema]:
    """One word of an enumeration, as the validator and the schema of a field; `what` is for messages."""
    allowed = tuple(member.value for member in kind if member not in without)
    validator = PlainValidator(lambda value: kind(choice(value, allowed, what)))
    return validator, WithJsonSchema({"type": "string", "enum": list(allowed)})


_PRECISION = member(Precision, "a precision")
_TRAINABLE = member(Precision, "a precision to train in", frozenset({Precision.INT8, Precision.INT4}))
_METHOD = member(Method, "a method of fine-tuning")
_BILLING = member(Billing, "a kind of billing")
_STACK = member(Stack, "a serving stack")
_FRAMEWORK = member(Framework, "a framework that programs run on")
PrecisionWord = Annotated[Precision, *_PRECISION]
TrainablePrecision = Annotated[Precision, *_TRAINABLE]  # whole numbers hold no gradients
MethodWord = Annotated[Method, *_METHOD]
BillingWord = Annotated[Billing, *_BILLING]
StackWord = Annotated[Stack, *_STACK]
FrameworkWord = Annotated[Framework, *_FRAMEWORK]


def _listed(value: object) -> object:
    """A single word stands for a list of one."""
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_listed)


def _jurisdiction(value: object) -> str:
    expected = "EU, EEA or an ISO country code such as DE or US"
    word = scalar(value, expected).strip().upper()
    if not re.fullmatch(r"[A-Z]{2,4}", word):
        raise flaw(f"{shown(word)} is not a jurisdiction", f"expected {expected}")
    return word


Jurisdiction = Annotated[
    str, PlainValidator(_jurisdiction), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]{2,4}$"})
]


def _name(value: object) -> str:
    word = text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", word):
        raise flaw(f"{shown(word)} is not a name", "expected up to 63 letters, digits, dots, dashes or underscores")
    return word


NamePattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
Name = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": NamePattern})]


@dataclass(frozen=True, slots=True)
class Deadline:
    """Time left from now, or a moment (aware, UTC): exactly one of the two."""

    seconds: float | None = None
    moment: datetime | None = None


def _deadline(value: object) -> Deadline:
    expected = "a duration such as 30d, or a date such as 2026-12-31 or 2026-12-31T18:00+01:00"
    words = scalar(value, expected).strip()
    if re.match(r"\d{4}-", words):
        try:
            moment = datetime.fromisoformat(words)
            if re.fullmatch(r"\d{4}-\d\d-\d\d", words):
                moment = moment.replace(hour=23, minute=59, second=59)  # by a day means by its end
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise flaw(f"{shown(words)} is not a date", f"expected {expected}") from None
        return Deadline(moment=moment)
    try:
        seconds = quantity.duration_s(words)
    except QuantityError as error:
        raise flaw(error.message, f"expected {expected}") from None
    if seconds == 0:
        raise flaw("is 0, which leaves no time", f"expected {expected}")
    return Deadline(seconds=seconds)


DeadlineField = Annotated[
    Deadline,
    PlainValidator(_deadline),
    WithJsonSchema({"type": "string", "pattern": rf"^\s*(\d{{4}}-|{DIGITS}\s*[A-Za-z])"}),
]


def _command(value: object) -> tuple[str, ...]:
    expected = "a list of words or one line of shell-like words"
    if isinstance(value, list | tuple):
        words = [scalar(word, "a word") for word in value]
    else:
        try:
            words = shlex.split(scalar(value, expected))
        except ValueError as error:
            raise flaw(f"cannot be split into words: {error}", "close the quotes, or write a list of words") from None
    if not words or not words[0]:
        raise flaw("is empty", f"expected {expected}")
    if any("\0" in word for word in words) or sum(map(len, words)) > LONGEST_COMMAND:
        raise flaw("holds a zero byte or is far too long", f"expected {expected}")
    return tuple(words)


Command = Annotated[
    tuple[str, ...],
    PlainValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
            ]
        }
    ),
]


def _variable(value: object) -> str:
    word = scalar(value, "a variable's name")
    if not VARIABLE.fullmatch(word):
        raise flaw(
            f"{shown(word)} is not a variable's name", "expected letters, digits and underscores, such as BATCH_SIZE"
        )
    if word.startswith("ISOFLOP_"):
        raise flaw(f"{word} is reserved", "isoflop sets the variables that begin with ISOFLOP_ itself")
    return word


Variable = Annotated[
    str,
    PlainValidator(_variable),
    WithJsonSchema({"type": "string", "pattern": "^(?!ISOFLOP_)[A-Za-z_][A-Za-z0-9_]*$"}),
]


def _environment(value: object) -> str:
    words = scalar(value, 'text; write "" for an empty value')
    if "\0" in words or len(words) > LONGEST_COMMAND:
        raise flaw("holds a zero byte or is far too long")
    return words


EnvironmentText = Annotated[
    str, PlainValidator(_environment), WithJsonSchema({"type": ["string", "number", "boolean"]})
]


def _reference(value: object) -> str:
    """A credential's reference; whatever else was written may be the credential itself and is never repeated."""
    expected = "env:NAME, file:/path, k8s:namespace/name/key or ambient"
    if not isinstance(value, str) or not REFERENCE.fullmatch(value):
        raise flaw(
            "is not a reference to a secret (the text is not shown)",
            f"expected {expected}: put the secret there, and only its reference here",
        )
    return value


Reference = Annotated[
    str, PlainValidator(_reference), WithJsonSchema({"type": "string", "pattern": "^(env:|file:/|k8s:|ambient$)"})
]


def _setting(value: object) -> float | str | bool:
    """A policy's setting: true and false, dollars, a number, or else text."""
    words = text(value)
    if words in {"true", "false", "True", "False"}:
        return words in {"true", "True"}
    if not words.startswith("$") and not NUMBERISH.match(words) and words.lstrip("+-.").lower() not in {"nan", "inf"}:
        return words
    try:
        return quantity.money_usd(words) if words.startswith("$") else quantity.number(words)
    except QuantityError as error:
        raise flaw(error.message, f"expected {error.expected}, true, false or a word") from None


SettingValue = Annotated[
    float | str | bool, PlainValidator(_setting), WithJsonSchema({"type": ["number", "string", "boolean"]})
]
