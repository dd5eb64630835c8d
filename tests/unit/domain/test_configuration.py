from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


def _halves(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise ConfigError(f"{place} is a text")
    return tuple(value.split("/"))


@dataclass(frozen=True)
class Sample:
    slots: int = 1
    price: float = 0.5
    name: str = "x"
    loud: bool = False
    colour: Colour = Colour.RED
    parts: tuple[str, ...] = field(default=(), metadata={"read": _halves})

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"slots is at least 1, not {self.slots}")


def test_an_empty_table_gives_the_defaults() -> None:
    assert read(Sample, {}, where="sample") == Sample()


def test_every_type_is_read_and_a_whole_number_will_do_for_a_float() -> None:
    values = {"slots": 2, "price": 3, "name": "y", "loud": True, "colour": "green", "parts": "a/b"}
    assert read(Sample, values, where="sample") == Sample(2, 3.0, "y", True, Colour.GREEN, ("a", "b"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slot": 2}, "sample: unknown setting 'slot' (did you mean 'slots'?)"),
        ({"qqqq": 2}, "known: colour, loud, name, parts, price, slots"),
        ({"slots": 2.5}, "sample.slots is a whole number, not 2.5"),
        ({"slots": True}, "sample.slots is a whole number, not True"),
        ({"price": "1"}, "sample.price is a number, not '1'"),
        ({"price": float("nan")}, "sample.price is a number, not nan"),
        ({"price": float("inf")}, "sample.price is a number, not inf"),
        ({"loud": 1}, "sample.loud is true or false, not 1"),
        ({"name": 1}, "sample.name is a text, not 1"),
        ({"colour": "gren"}, "sample.colour is one of red, green, not 'gren' (did you mean 'green'?)"),
        ({"colour": 3}, "sample.colour is one of red, green, not 3"),
        ({"slots": 0}, "sample: slots is at least 1, not 0"),
        ({"parts": 3}, "sample.parts is a text"),
    ],
)
def test_a_bad_setting_is_named_with_what_was_expected(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Sample, values, where="sample")
    assert message in str(caught.value)
