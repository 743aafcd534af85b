"""A change says in which file it is, and at which key to look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mlx_publish.model.draft import CONFIG, SPECIAL
from mlx_publish.model.portable import portable
from mlx_publish.model.stopping import complete_stop_ids

CLASS = {"tokenizer_class": "PreTrainedTokenizerFast"}
BYTE_LEVEL = {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}, "model": {"vocab": {}}}
FILES: dict[str, tuple[Mapping[str, object], list[tuple[str, str]]]] = {
    "a mark": ({CONFIG: "\ufeff{}"}, [(CONFIG, "")]),
    "a mark elsewhere": ({CONFIG: {}, SPECIAL: "\ufeff{}"}, [(SPECIAL, "")]),
    "state of a machine": ({CONFIG: {"a": 1, "my_file": "/x", "is_local": True}}, [(CONFIG, "my_file")]),
    "no tokens": ({CONFIG: {"extra_special_tokens": None}}, [(CONFIG, "extra_special_tokens")]),
    "a list": ({CONFIG: {}, SPECIAL: {"extra_special_tokens": ["x"]}}, [(SPECIAL, "extra_special_tokens")]),
    "a class": ({CONFIG: {"tokenizer_class": "Unheard"}, "tokenizer.json": {}}, [(CONFIG, "tokenizer_class")]),
    "code": ({CONFIG: {**CLASS, "auto_map": ["a"]}, "tokenizer.json": {}}, [(CONFIG, "auto_map")]),
    "a space": (
        {CONFIG: {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}, "tokenizer.json": {}},
        [(CONFIG, "add_prefix_space")],
    ),
    "a space that is added": ({CONFIG: CLASS, "tokenizer.json": BYTE_LEVEL}, [(CONFIG, "add_prefix_space")]),
    "an empty template": (
        {CONFIG: {"chat_template": "x"}, "chat_template.jinja": ""},
        [(CONFIG, "chat_template")],
    ),
    "a template for older clients": ({CONFIG: {}, "chat_template.jinja": "x"}, [(CONFIG, "chat_template")]),
    "two templates": (
        {CONFIG: {"chat_template": "y"}, "chat_template.jinja": "x"},
        [(CONFIG, "chat_template")],
    ),
    "a template for processors": (
        {CONFIG: {}, "chat_template.json": {"chat_template": "x"}},
        [(CONFIG, "chat_template")],
    ),
}


def content(value: object) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_a_tokenizer_names_file_and_key(name: str) -> None:
    files, places = FILES[name]
    changes = portable({path: content(value) for path, value in files.items()}).changes
    assert [(change.file, change.key) for change in changes] == places


GENERATION: dict[str, tuple[bytes | None, list[tuple[str, str]]]] = {
    "fewer": (b'{"eos_token_id": 0}', [("config.json", "eos_token_id"), ("generation_config.json", "eos_token_id")]),
    "broken": (b"{", [("generation_config.json", "")]),
    "a mark": (b'\xef\xbb\xbf{"eos_token_id": 2}', [("generation_config.json", "")]),
}


@pytest.mark.parametrize("name", GENERATION)
def test_a_change_of_the_ends_names_file_and_key(name: str) -> None:
    generation, places = GENERATION[name]
    tokenizer: dict[str, Any] = {
        "added_tokens_decoder": {"0": {"content": "<|end|>"}, "2": {"content": "</s>"}},
        "eos_token": "</s>",
    }
    config = {"eos_token_id": 2, "vocab_size": 9}
    stopping = complete_stop_ids(config, generation, tokenizer, None, None, chat=True)
    assert [(change.file, change.key) for change in stopping.changes] == places


def test_an_ordinary_token_that_is_left_out_is_one_of_config_json() -> None:
    vocabulary = {"model": {"vocab": {"The": 0, "</s>": 1}}, "added_tokens": [{"id": 1, "content": "</s>"}]}
    config = {"eos_token_id": [0, 1]}
    stopping = complete_stop_ids(config, b'{"eos_token_id": 1}', {"eos_token": "</s>"}, vocabulary, "</s>", chat=True)
    assert [(change.file, change.key) for change in stopping.changes] == [("config.json", "eos_token_id")] * 2
