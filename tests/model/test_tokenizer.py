"""The tokenizer's files, read and not run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlx_publish.errors import Refused
from mlx_publish.model.files import MemoryFiles
from mlx_publish.model.tokenizer import TokenizerInfo, read_tokenizer, stop_ids
from mlx_publish.model.vocabulary import read_vocabulary

CONFIG, JSON, JINJA = "tokenizer_config.json", "chat_template.json", "chat_template.jinja"


def model(**files: Any) -> MemoryFiles:
    """Files by name, where `__` stands for the dot; data that is no bytes becomes JSON."""
    return MemoryFiles(
        {
            name.replace("__", "."): data if isinstance(data, bytes) else json.dumps(data).encode()
            for name, data in files.items()
        }
    )


def read(**files: Any) -> TokenizerInfo:
    return read_tokenizer(model(**files))


def test_a_model_without_a_tokenizer() -> None:
    assert read() == TokenizerInfo(None, False, {}, (), False, (), {})


def test_class_and_special_tokens() -> None:
    info = read(
        tokenizer__json={},
        tokenizer_config__json={
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": "<s>",
            "eos_token": {"content": "</s>", "lstrip": False},
            "pad_token": None,
            "unk_token": 5,
        },
    )
    assert (info.tokenizer_class, info.fast) == ("GPT2Tokenizer", True)
    assert info.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    assert info.summary()["tokenizer_json"] is True


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"tokenizer_config__json": {"chat_template": "T"}}, CONFIG),
        ({"chat_template__json": {"chat_template": "T"}}, JSON),
        ({"chat_template__jinja": b"T"}, JINJA),
    ],
)
def test_the_template_is_found_in_each_place(files: dict[str, Any], place: str) -> None:
    info = read(**files)
    assert (info.templates, info.template_places) == ({"default": "T"}, (place,))


def test_of_several_places_the_first_wins_and_all_are_told() -> None:
    first, second, third = b"A", {"chat_template": "B"}, {"chat_template": "C"}
    info = read(chat_template__jinja=first, chat_template__json=second, tokenizer_config__json=third)
    assert (info.templates, info.template_places) == ({"default": "A"}, (JINJA, CONFIG, JSON))
    assert info.templates_differ
    info = read(chat_template__json=second, tokenizer_config__json=third)
    assert (info.templates, info.template_places) == ({"default": "C"}, (CONFIG, JSON))
    info = read(chat_template__json=second, tokenizer_config__json=second)
    assert (info.template_places, info.templates_differ) == ((CONFIG, JSON), False)


def test_templates_in_files_of_their_own_are_found_by_their_names() -> None:
    info = read_tokenizer(
        MemoryFiles(
            {JINJA: b"A", "additional_chat_templates/tool_use.jinja": b"B", "additional_chat_templates/x": b"C"}
        )
    )
    assert info.templates == {"default": "A", "tool_use": "B"}


def test_named_templates_are_all_kept() -> None:
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    info = read(tokenizer_config__json={"chat_template": named})
    assert info.templates == {"default": "A", "tool_use": "B"}
    assert info.summary()["chat_templates"] == ["default", "tool_use"]


@pytest.mark.parametrize(
    "value", [None, 5, {}, [], [5], [{"name": "default"}], [{"template": "A"}], [{"name": ["x"], "template": "A"}]]
)
def test_what_is_no_template_is_not_taken_for_one(value: object) -> None:
    info = read(tokenizer_config__json={"chat_template": value, "tokenizer_class": ["x"]})
    assert (info.templates, info.template_places, info.tokenizer_class) == ({}, (), None)


@pytest.mark.parametrize(
    ("config", "generation", "ids"),
    [
        (2, 7, (2, 7)),
        ([2, 7], 2, (2, 7)),
        (None, [9, 3], (3, 9)),
        (2, None, (2,)),
        (None, None, ()),
        ("2", [True, 4, None], (4,)),
    ],
)
def test_stop_ids_are_what_both_files_name(config: object, generation: object, ids: tuple[int, ...]) -> None:
    files = model(config__json={"eos_token_id": config}, generation_config__json={"eos_token_id": generation})
    assert stop_ids(files) == ids
    assert read_tokenizer(files).stop_ids == ids


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config__json": b"{"}, "tokenizer_config.json:1: not valid JSON"),
        ({"chat_template__json": b"[]"}, "chat_template.json: is not a JSON object"),
        ({"chat_template__jinja": b"\xff"}, "chat_template.jinja: not UTF-8"),
    ],
)
def test_broken_files_are_named(files: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as caught:
        read(**files)
    assert str(caught.value).startswith(message)


def test_added_tokens() -> None:
    entries = [{"content": "<s>", "id": 1}, {"content": "</s>", "id": 2}]
    assert read_vocabulary({"added_tokens": entries}).added == {"<s>": 1, "</s>": 2}
    assert read_vocabulary({}).added == {}


def test_an_empty_template_is_none_and_named_where_it_wins() -> None:
    config = json.dumps({"chat_template": "a"}).encode()
    hidden = read_tokenizer(MemoryFiles({"tokenizer_config.json": config, "chat_template.jinja": b" \n"}))
    assert (hidden.templates, hidden.empty) == ({"default": "a"}, "chat_template.jinja")
    blank = json.dumps({"chat_template": " "}).encode()
    assert read_tokenizer(MemoryFiles({"tokenizer_config.json": blank})).templates == {}
    good = read_tokenizer(MemoryFiles({"tokenizer_config.json": blank, "chat_template.jinja": b"b"}))
    assert (good.templates, good.templates_differ, good.empty) == ({"default": "b"}, False, "")
