"""Any text at all is read or refused as a user's error, and what is read agrees with PyYAML."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import SpecError
from orchestrator.spec.job import parse
from orchestrator.spec.reading import read
from orchestrator.spec.templates import KINDS, template

TOKENS = st.sampled_from(
    [
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "!t ",
        "'",
        '"',
        "|\n",
        "#",
    ]
)


KEYS = st.sampled_from(["a", "b", "<<", "'<<'", "? c\n", "*x "])
VALUES = st.sampled_from(
    ["", "1", "*x", "&x {p: 1}", "&x [*x]", "&x 2", "[*x, *x]", "{<<: *x}", "null", "!t {}", "|\n  text"]
)
LINES = st.lists(st.builds("{}: {}".format, KEYS, VALUES), max_size=6).map("\n".join)


@given(LINES | st.lists(TOKENS, max_size=30).map("".join) | st.text(max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with suppress(SpecError):  # any other error fails the test
        read(text, "f")


SPECIAL = st.sampled_from(
    ["", "null", "~", "a", "on", "1e9", "0777", "2026-01-01", "<<", "=", "y", "-", "!x", "&a", "*a"]
)
WORDS = SPECIAL | st.text("abcxyz0123456789 :#'\"[]{}é", max_size=8)
TREES = st.recursive(
    WORDS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


@given(TREES.filter(lambda tree: tree is not None), st.booleans())
def test_what_pyyaml_writes_is_read_back(tree: object, flow: bool) -> None:
    assert read(yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True), "f").data == tree


@given(st.sampled_from(KINDS), st.data())
@settings(deadline=None)
def test_a_job_file_with_a_damaged_line_is_read_or_refused_in_words(kind: str, data: st.DataObject) -> None:
    lines = [line for line in template(kind).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    row = data.draw(st.integers(0, len(lines) - 1))
    key, _, _ = lines[row].partition(":")
    lines[row] = data.draw(
        st.sampled_from(["", key, f"{key}: ", f"{key}: -1", f"{key}: .nan", f"{key}: [[x]]", f"{key}: {{a: b}}"])
    )
    with suppress(SpecError):
        parse("\n".join(lines), file="f", base=Path())
