"""YAML 1.2 with the line of every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_publish.errors import BadInput
from mlx_publish.text.yaml import key_path, load_yaml, scalar


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def test_lines_of_mappings_and_lists(file: Path) -> None:
    file.write_text("# a remark\nsource: a/b\nvariants:\n  - bits: 4\n    mode: affine\n  - 8bit\ncard: {notes: x}\n")
    data, lines = load_yaml(file)
    assert data == {
        "source": "a/b",
        "variants": [{"bits": 4, "mode": "affine"}, "8bit"],
        "card": {"notes": "x"},
    }
    assert lines == {
        "source": 2,
        "variants": 3,
        "variants[0]": 4,
        "variants[0].bits": 4,
        "variants[0].mode": 5,
        "variants[1]": 6,
        "card": 7,
        "card.notes": 7,
    }


def test_values_are_plain_types(file: Path) -> None:
    file.write_text("a: 'x'\nb: 0x10\nc: 1.5\nd: true\ne:\nf: |\n  text\n")
    data, _ = load_yaml(file)
    assert [type(value) for value in data.values()] == [str, int, float, bool, type(None), str]


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "n", "NO"])
def test_words_that_yaml_1_1_takes_for_truths_are_text(file: Path, word: str) -> None:
    file.write_text(f"language: [{word}]\n{word}: {word}\n")
    assert load_yaml(file)[0] == {"language": [word], word: word}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (b"a: [1\n", ":2", "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\nb: c: d\n", ":2", "not valid YAML: mapping values are not allowed here"),
        (b"a: 1\na: 2\n", ":2", "not valid YAML: found duplicate key"),
        (b"\ta: 1\n", ":1", "not valid YAML: found character"),
        (b"a: 1\n---\nb: 2\n", ":2", "not valid YAML: but found another document"),
        (b"a: *b\n", ":1", "*b: anchors and aliases are not supported"),
        (b"a: \xff\n", "", "not valid YAML: invalid start byte"),
        (b"a: 2024-13-45\n", ":1", "not valid YAML: month must be in 1..12"),
        (b"a: \x07\n", "", "not valid YAML: "),
    ],
)
def test_broken_files_name_file_and_line(file: Path, text: bytes, place: str, words: str) -> None:
    file.write_bytes(text)
    with pytest.raises(BadInput) as caught:
        load_yaml(file)
    assert str(caught.value.place) == f"{file}{place}"
    assert caught.value.message.startswith(words)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<<: {}\n", 1),
        ("<<: {a: 1}\n", 1),
        ("<<: [{a: 1}, {b: 2}]\n", 1),
        ("<<: 3\n", 1),
        ("<<:\n", 1),
        ("a: 1\n<<: {b: 2}\n", 2),
        ("a:\n  <<: {b: 1}\n", 2),
        ("a: {<<: {b: 1}}\n", 1),
        ('!!merge "<<": {a: 1}\n', 1),
        ('a: {!!merge "<<": [{b: 1}]}\n', 1),
        ("a:\n- !!merge x: {b: 1}\n", 2),
        ("a: !!merge x\n", 1),
        ("? <<\n: {a: 1}\n", 1),
        ("a: <<\n", 1),
    ],
)
def test_merge_keys_are_refused_at_their_line_whatever_they_merge(file: Path, text: str, line: int) -> None:
    file.write_text(text)
    with pytest.raises(BadInput, match="<<: merge keys are not supported") as caught:
        load_yaml(file)
    assert str(caught.value.place) == f"{file}:{line}"


@pytest.mark.parametrize("text", ["a: &a\n  <<: *a\n", "a: &a {b: 1}\nc:\n  <<: *a\n", "a: &a [{b: 1}]\nc: {<<: *a}\n"])
def test_merges_of_aliases_are_refused_at_the_anchor(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInput, match="&a: anchors and aliases are not supported") as caught:
        load_yaml(file)
    assert str(caught.value.place) == f"{file}:1"


def test_a_quoted_merge_key_is_a_key(file: Path) -> None:
    file.write_text("a:\n  '<<': {b: 1}\n")
    assert load_yaml(file) == ({"a": {"<<": {"b": 1}}}, {"a": 1, "a.<<": 2, "a.<<.b": 2})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("-7", -7),
        ("+1", 1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("0b", "0b"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("-", "-"),
        ("_1", "_1"),
    ],
)
def test_numbers_are_those_of_yaml_1_2(file: Path, text: str, value: Any) -> None:
    file.write_text(f"a: [{text}]\n" if text != "-" else "a: ['-']\n")
    (item,) = load_yaml(file)[0]["a"]
    assert (type(item), item) == (type(value), value)


@pytest.mark.parametrize("text", ["a: x\u2028y\nb: 1\n", "a: x\x85y\nb: 1\n", "a: |\n  x\u2029y\nb: 1\n"])
def test_what_ends_a_line_in_yaml_1_1_alone_is_a_character(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    data, lines = load_yaml(file)
    assert data["a"].strip()[1] in "\x85\u2028\u2029"
    assert lines["b"] == text.count("\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!!str no", "no"),
        ("! 12", "12"),
        ("!!int 4", 4),
        ("!!null ''", None),
        ("!!seq [a]", ["a"]),
        ("!!map {a: b}", {"a": "b"}),
    ],
)
def test_tags_of_plain_data_that_fit_are_read(file: Path, text: str, value: Any) -> None:
    file.write_text(f"a: {text}\n")
    assert load_yaml(file)[0] == {"a": value}


@pytest.mark.parametrize(
    "tag",
    [
        "!!int x",
        "!!bool 1",
        "!!set {a}",
        "!!omap [a: b]",
        "!x a",
        "!x [a]",
        "!!python/name:os.system ''",
        "!!binary YQ==",
    ],
)
def test_other_tags_are_refused_at_their_line(file: Path, tag: str) -> None:
    file.write_text(f"a: 1\nb: {tag}\n")
    with pytest.raises(BadInput, match="not valid YAML: the tag !") as caught:
        load_yaml(file)
    assert str(caught.value.place) == f"{file}:2"


@pytest.mark.parametrize("text", ["x: 1\n? [a]\n: b\n", "x: 1\n? {a: b}\n: c\n", "x: 1\n{a: b}: c\n"])
def test_a_key_is_no_list_and_no_mapping(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInput, match="a key is a list or a mapping") as caught:
        load_yaml(file)
    assert str(caught.value.place) == f"{file}:2"


def test_keys_that_are_the_same_as_text_are_duplicates(file: Path) -> None:
    file.write_text("a:\n  1: x\n  '1': y\n")
    with pytest.raises(BadInput, match='found duplicate key "1"') as caught:
        load_yaml(file)
    assert str(caught.value.place) == f"{file}:3"


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.yaml: cannot be read: No such file or directory$"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match=r"cannot be read: Is a directory$"):
        load_yaml(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("4.5", 4.5),
        ("true", True),
        ("False", False),
        ("0x10", 16),
        ("no", "no"),
        ("yes", "yes"),
        ("mxfp4", "mxfp4"),
        ("", ""),
        ("null", "null"),
        ("~", "~"),
        ("[1, 2]", "[1, 2]"),
        ("{a: b}", "{a: b}"),
        ("a: b", "a: b"),
        ("*alias", "*alias"),
        ("@x", "@x"),
        ("'4'", "'4'"),
        ("# x", "# x"),
        ("2024-01-05", "2024-01-05"),
        ("2024-13-45", "2024-13-45"),
        ("!!bool x", "!!bool x"),
        ("a\x07", "a\x07"),
        ("1\n---\n2", "1\n---\n2"),
        ("!!python/object:os.system x", "!!python/object:os.system x"),
    ],
)
def test_text_of_flags_is_a_scalar_or_stays_as_it_is(text: str, value: Any) -> None:
    found = scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_paths_of_keys() -> None:
    assert key_path(("variants", 0, "bits")) == "variants[0].bits"
    assert key_path(()) == ""
