from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.spec.reading import MOST_BYTES, Spot, read, read_text


def refused(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        read(text, "job.yaml")
    return str(caught.value)


def test_scalars_stay_as_they_were_written() -> None:
    text = "a: 30d\nb: 1e9\nc: 2026-01-01\nd: on\ne: 0777\nf: 'null'\ng: null\nh:\ni: !!str 5\n"
    expected = {
        "a": "30d",
        "b": "1e9",
        "c": "2026-01-01",
        "d": "on",
        "e": "0777",
        "f": "null",
        "g": None,
        "h": None,
        "i": "5",
    }
    assert read(text, "f").data == expected


def test_every_value_and_key_has_its_line_and_column() -> None:
    document = read("a:\n  b: [x, y]\n", "f")
    assert document.spot(("a", "b")) == Spot(2, 6)
    assert document.spot(("a", "b", 1)) == Spot(2, 10)
    assert document.spot(("a", "b"), key=True) == Spot(2, 3)
    assert document.spot(("a", "missing")) == document.spot(("a",)) == Spot(2, 3)


def test_json_reads_like_yaml_tabs_and_all() -> None:
    assert read('{\n\t"a": [1, null, true],\n\t"b": "x\\/y"}', "f").data == {"a": ["1", None, "true"], "b": "x/y"}


def test_aliases_and_merge_keys_stand_for_their_values() -> None:
    document = read("base: &b {p: 1, q: 2}\none: *b\ntwo:\n  <<: *b\n  q: 3\n", "f")
    assert document.data == {"base": {"p": "1", "q": "2"}, "one": {"p": "1", "q": "2"}, "two": {"p": "1", "q": "3"}}
    assert document.spot(("one", "p")) == Spot(2, 6)


@pytest.mark.parametrize("text", ["", "\n\n", "# a comment\n", "---\n...\n", "null\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert "is empty" in refused(text)
    assert "isoflop init" in refused(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "job.yaml:2:1: broken YAML: did not find expected ',' or ']'"),
        (
            "a:\n\tb: 1",
            "job.yaml:2:1: broken YAML: found character that cannot start any token (YAML indents with spaces",
        ),
        ('a: "x\nb: 2', "broken YAML: found unexpected end of stream"),
        ("a: b: c", "job.yaml:1:5: broken YAML: mapping values are not allowed"),
        (
            "a: @x",
            "job.yaml:1:4: broken YAML: found character that cannot start any token (text with '@' here needs quotes",
        ),
        ("a: 1\n---\nb: 2", "job.yaml:2:1: a second document begins here"),
        ("a: *x", "job.yaml:1:4: the alias 'x' has no anchor before it"),
        ("a: &x [*x]", "job.yaml:1:8: the alias 'x' contains itself"),
        ("? [a]\n: b", "a sequence cannot be a key"),
        ("a: &x 1\n*x : 2", "an alias cannot be a key"),
        ("a: \x00", "broken YAML: control characters are not allowed"),
        ("a: \ud800", "characters that are no text"),
    ],
)
def test_broken_text_is_refused_at_its_place(text: str, said: str) -> None:
    assert said in refused(text)


def test_duplicate_keys_and_foreign_tags_are_problems_that_do_not_stop_the_reading() -> None:
    document = read("a: 1\nb: !!python/object:os.system x\na: 2\nc: !thing [1]\n", "f")
    assert [(problem.line, problem.message) for problem in document.problems] == [
        (2, "the tag 'tag:yaml.org,2002:python/object:os.system' is not supported"),
        (3, "the key 'a' is given twice"),
        (4, "the tag '!thing' is not supported"),
    ]
    assert document.data == {"a": "1", "b": "x", "c": ["1"]}


def test_only_mappings_can_be_merged() -> None:
    document = read("a:\n  <<: x\n", "f")
    assert [problem.message for problem in document.problems] == ["only mappings can be merged"]


def test_a_bomb_of_aliases_is_refused_before_it_expands() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "more than 20000 values (aliases count as all that they stand for)" in refused("\n".join(lines))


def test_a_bomb_of_merge_keys_is_refused() -> None:
    base = ", ".join(f"k{i}: 1" for i in range(1000))
    merges = "".join(f"y{i}:\n  <<: *m\n" for i in range(1000))
    assert "more than 20000 values" in refused(f"x: &m {{{base}}}\n{merges}")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_without_recursion(opening: str) -> None:
    assert "nested more than 32 deep" in refused(opening * 100_000)


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    with pytest.raises(SpecError, match="is larger than 1 MiB"):
        read_text(path)
    assert "is larger than 1 MiB" in refused("x" * (MOST_BYTES + 1))


def test_a_file_that_is_not_utf8_is_refused_at_its_first_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"name: x\nmodel: caf\xe9\n")
    with pytest.raises(SpecError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:2:11: byte 0xe9 is not UTF-8 (save the file as UTF-8)"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_text(path) == "a: 1\n"


def test_a_missing_file_a_folder_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    for path in (tmp_path / "none.yaml", tmp_path, loop):
        with pytest.raises(SpecError, match="cannot be read") as caught:
            read_text(path)
        assert caught.value.exit_code == 2
