"""A credential that cannot be printed by accident."""

from __future__ import annotations


class Secret:
    """Wraps a credential; `repr`, `str` and formatting give `***`, and it refuses to be pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; call it only where the credential leaves the process."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled: pass its reference and resolve it where it is used")
