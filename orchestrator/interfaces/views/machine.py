"""Reports as JSON: the same facts as on the screen, one document per answer, one line per change when following."""

from __future__ import annotations

import json
from math import isfinite


def document(value: object) -> str:
    """Indented JSON that ends with a newline; keys in the order the report gives them."""
    return json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def line(value: object) -> str:
    """JSON on one line."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def finite(value: object) -> object:
    """`value` with NaN and infinities as None: JSON has neither, and both mean that there is no number."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
