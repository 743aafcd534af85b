"""JSON of strangers is read within bounds, and a fault names its line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mlx_publish.text.bounds import CONFIG, EVIDENCE, HEADER, INDEX, VOCABULARY, Bounds, bounds_of
from mlx_publish.text.json_text import FaultyJson, parse, read, read_within

STRICT = Bounds(1 << 20, twice="refused")


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('{"a": 1,\n "b": [1,}', "not valid JSON: Expecting value", 2),
        ('{"a":\n' + "[" * 5000 + "]" * 5000 + "}", "is nested too deeply", 2),
        ('{"a":\n' + "[" * 100 + "]" * 100 + "}", "is nested too deeply", 2),
        ('{"a":\n\n' + '{"a":' * 5000 + "1" + "}" * 5001, "is nested too deeply", 3),
        ('{"a": 1,\n"b": ' + "9" * 5000 + "}", "holds a number of 5,000 digits", 2),
        ('{"a": -' + "9" * 50 + "}", "holds a number of 51 digits", 1),
        ('{"b": {"a": 1},\n"a": 1,\n"a": 2}', "the key 'a' appears twice in one object", 3),
        ('[{"a": 1},\n{"a": 1, "\\u0061": 1}]', "the key 'a' appears twice in one object", 2),
        ('{"a": NaN}', "holds NaN, which is not a JSON number", 0),
        ('{"a": -Infinity}', "holds -Infinity, which is not a JSON number", 0),
        ('{"a": 1e999}', "holds the number 1e999, which is larger than any", 0),
        ('{"a": "\\ud800"}', "holds half of a surrogate pair, which is no character", 0),
        ('{"\\udfff": 1}', "holds half of a surrogate pair, which is no character", 0),
        (b'{"a": 1,\n"b": "\xff"}', "not UTF-8: invalid start byte", 2),
        ("{}".encode("utf-16"), "not UTF-8: invalid start byte", 1),
        ('{"a\x00": 1}', "not valid JSON: Invalid control character at", 1),
        ("[" * (2 << 20), "is larger than 1,048,576 bytes, which no such file needs", 0),
    ],
)
def test_what_is_refused_is_told_with_its_line(text: str | bytes, message: str, line: int) -> None:
    with pytest.raises(FaultyJson) as caught:
        parse(text, STRICT)
    assert (caught.value.message, caught.value.line) == (message, line)


def test_numbers_and_characters_of_real_configs_are_read() -> None:
    text = '\ufeff{"model_max_length": 1000000000000000019884624838656, "time_step_limit": [0.0, Infinity], "a": "\\ud800"}'
    config = parse(text.encode(), CONFIG)
    assert (config["model_max_length"], config["time_step_limit"][1]) == (1000000000000000019884624838656, float("inf"))


def test_many_digits_in_a_text_are_no_number() -> None:
    assert parse('{"a": "' + "1" * 9000 + '", "b": 2}', STRICT)["b"] == 2


def test_of_two_keys_a_config_may_have_those_that_say_the_same_and_a_vocabulary_takes_the_last() -> None:
    assert parse('{"a": [1], "a": [1]}', CONFIG) == {"a": [1]}
    assert parse('{"a": 1, "a": 2}', VOCABULARY) == {"a": 2}
    for first, second in (("1", "true"), ("1", "1.0"), ('"1"', "1"), ("[1]", "[2]")):
        with pytest.raises(FaultyJson, match="'a' appears twice"):
            parse(f'{{"a": {first}, "a": {second}}}', CONFIG)
    for bounds in (EVIDENCE, HEADER):
        with pytest.raises(FaultyJson, match="'a' appears twice"):
            parse('{"a": 1, "a": 1}', bounds)


def test_no_more_of_a_file_is_read_than_it_may_have(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    start = time.monotonic()
    with pytest.raises(FaultyJson, match="larger than 4,194,304 bytes"):
        read(path, EVIDENCE)
    with pytest.raises(FaultyJson, match="larger than 10 bytes"):
        read_within(Path("/dev/zero"), 10)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "content",
    [
        b"[" * (15 << 20),
        b'{"a":' * (3 << 20),
        b'{"a": ' + b"1" * (15 << 20) + b"}",
        b'{"a": ' + b"1" * (15 << 20) + b".5}",
        b'{"a": "' + b'\\"' * (7 << 20),
        b'{"a":1,' * (2 << 20),
        b'"\\ud800' * (2 << 20),
    ],
)
def test_a_document_of_any_form_costs_seconds_at_most(content: bytes) -> None:
    start = time.process_time()
    with pytest.raises(FaultyJson):
        parse(content, Bounds(16 << 20))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("config.json", CONFIG), ("model.safetensors.index.json", INDEX), ("a/tokenizer.json", VOCABULARY)],
)
def test_each_file_of_a_model_has_its_bounds(name: str, bounds: Bounds) -> None:
    assert bounds_of(name) is bounds


def test_what_we_write_ourselves_is_read_back() -> None:
    data = {"a": [1, 2.5, None, True, "ä\u2028"], "b": {"c": []}}
    assert parse(json.dumps(data, ensure_ascii=False), EVIDENCE) == data
