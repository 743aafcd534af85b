"""Ids, ends and templates, by the files alone."""

from __future__ import annotations

from typing import Any

import pytest

from headers import TOKENIZER, Tensors, facts, failures, find


def tokenizer(**parts: Any) -> dict[str, Any]:
    return {"tokenizer.json": {**TOKENIZER, **parts}}


@pytest.mark.parametrize(
    "parts",
    [
        {"added_tokens": [{"content": "<far>", "id": 128}]},
        {"model": {"vocab": {"<far>": 500}}},
        {"model": {"vocab": [["x", 0.0]] * 128 + [["<far>", 0.0]]}},
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "transformer.wte.weight",
        "transformer.word_embeddings.weight",
        "tok_embeddings.weight",
        "backbone.embedding.weight",
        "gpt_neox.embed_in.weight",
    ],
)
def test_an_id_without_a_row_is_named(name: str, parts: dict[str, Any]) -> None:
    source = facts(tokenizer(**parts), tensors={name: ("BF16", (128, 64))}, config={"vocab_size": 9999})
    finding = find("ids-fit", source)
    assert "ids-fit" in failures(source)
    assert "'<far>'" in finding.message
    assert f"{name} has 128 rows" in finding.message


def test_config_decides_where_no_embedding_is_known() -> None:
    strange: Tensors = {"strange.weight": ("BF16", (128, 64))}
    files = tokenizer(added_tokens=[{"content": "<far>", "id": 100}])
    assert failures(facts(files, tensors=strange, config={"vocab_size": 100})) == ["ids-fit"]
    assert failures(facts(files, tensors=strange, config={"vocab_size": 101})) == []
    assert find("ids-fit", facts(files, tensors=strange, config={"vocab_size": None})).status == "skip"


def test_the_embedding_of_an_image_encoder_is_another_one() -> None:
    tensors: Tensors = {
        "model.embed_tokens.weight": ("BF16", (4, 64)),
        "vision_model.embeddings.weight": ("BF16", (999, 64)),
    }
    assert "ids-fit" in failures(facts(tensors=tensors))


def test_older_tokenizers_are_told_and_none_is_refused() -> None:
    assert find("tokenizer", facts({"tokenizer.json": None, "tokenizer.model": b"x"})).status == "warn"
    assert failures(facts({"tokenizer.json": None})) == ["tokenizer"]


NO_END = {"tokenizer_config.json": {"chat_template": "{{ messages }}"}, "generation_config.json": None}


def test_a_chat_model_without_an_end_is_refused() -> None:
    source = facts(NO_END, config={"eos_token_id": None})
    assert failures(source) == ["stop-ids"]
    assert "would never stop" in find("stop-ids", source).message


def test_a_plain_model_without_an_end_is_told() -> None:
    source = facts(NO_END | {"tokenizer_config.json": {}}, config={"eos_token_id": None})
    assert find("stop-ids", source).status == "warn"


@pytest.mark.parametrize(
    ("files", "config"),
    [
        ({}, {"eos_token_id": 2}),
        ({"generation_config.json": {"eos_token_id": [2]}}, {}),
        ({"tokenizer_config.json": {"eos_token": {"content": "</s>"}, "chat_template": "x"}}, {}),
        ({}, {"text_config": {"eos_token_id": 2}}),
    ],
)
def test_an_end_may_be_named_anywhere(files: dict[str, Any], config: dict[str, Any]) -> None:
    source = facts(NO_END | files, config={"eos_token_id": None, **config})
    assert find("stop-ids", source).message == "generation ends at 2"


@pytest.mark.parametrize("id_", [128, -1])
def test_an_end_that_never_comes(id_: int) -> None:
    source = facts(config={"eos_token_id": id_})
    assert failures(source) == ["stop-ids"]
    assert f"the EOS id {id_} is outside" in find("stop-ids", source).message
    assert failures(facts({"generation_config.json": {"eos_token_id": [2, id_]}})) == ["stop-ids"]


@pytest.mark.parametrize("content", [b'{"eos_token_id": 2,', b"[]", b"\xff"])
def test_a_broken_generation_config_is_told_and_not_refused(content: bytes) -> None:
    source = facts({"generation_config.json": content})
    assert failures(source) == []
    finding = find("stop-files", source)
    assert finding.status == "warn"
    assert "generation_config.json" in finding.message
    assert "is repaired" in finding.message
    assert find("stop-ids", source).message == "generation ends at 2"


@pytest.mark.parametrize(
    ("generation", "config", "hidden"),
    [
        ({"eos_token_id": 5}, {"eos_token_id": [2, 5]}, "2"),
        ({"eos_token_id": [4]}, {"eos_token_id": 3}, "2, 3"),
        ({"eos_token_id": 5}, {"eos_token_id": None}, "2"),
    ],
)
def test_a_narrow_generation_config_is_told(generation: dict[str, Any], config: dict[str, Any], hidden: str) -> None:
    finding = find("stop-files", facts({"generation_config.json": generation}, config=config))
    assert finding.status == "warn"
    assert f"hides the EOS id(s) {hidden} that" in finding.message
    assert "merged" in finding.message


@pytest.mark.parametrize("generation", [None, {}, {"eos_token_id": None}, {"eos_token_id": [2, 5]}])
def test_what_hides_nothing_passes(generation: dict[str, Any] | None) -> None:
    assert find("stop-files", facts({"generation_config.json": generation})).status == "pass"


def test_templates() -> None:
    assert find("chat-template", facts({"tokenizer_config.json": {}})).status == "warn"
    twice = find("chat-template", facts({"chat_template.jinja": b"other"}))
    assert "chat_template.jinja and tokenizer_config.json differ; that in chat_template.jinja wins" in twice.message


@pytest.mark.parametrize("name", ["tiny-1b-instruct", "Tiny-Chat", "tiny-2b-it", "tiny-7B-Instruct-v0.3", "tiny-IT.v2"])
def test_a_chat_model_without_a_template_is_refused(name: str) -> None:
    none: dict[str, Any] = {"tokenizer_config.json": {}}
    finding = find("chat-template", facts(none, base_model=f"someone/{name}"))
    assert (finding.status, "no chat template" in finding.message) == ("fail", True)


@pytest.mark.parametrize("name", ["tiny-1b", "chatter-1b", "italic-7b", "institute-2b"])
def test_a_model_that_only_completes_needs_no_template(name: str) -> None:
    none: dict[str, Any] = {"tokenizer_config.json": {}}
    assert find("chat-template", facts(none, base_model=f"someone/{name}")).status == "warn"


def test_the_tag_conversational_makes_a_chat_model() -> None:
    card = b"---\ntags: [Conversational]\n---\n"
    finding = find("chat-template", facts({"tokenizer_config.json": {}, "README.md": card}))
    assert (finding.status, "'conversational'" in finding.message) == ("fail", True)


def test_named_templates_need_a_default() -> None:
    named = [{"name": "tool_use", "template": "{{ messages }}"}, {"name": "rag", "template": "x"}]
    finding = find("chat-template", facts({"tokenizer_config.json": {"chat_template": named}}))
    assert (finding.status, "rag, tool_use none is the default" in finding.message) == ("fail", True)
    whole = [*named, {"name": "default", "template": "y"}]
    kept = find("chat-template", facts({"tokenizer_config.json": {"chat_template": whole}}))
    assert (kept.status, "3 by name" in kept.message) == ("pass", True)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not end within 8 s"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ 'x' * 10 ** 10 }}", ""),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", ""),
    ],
)
def test_an_unsafe_template_is_refused(template: str, message: str) -> None:
    finding = find("template-safe", facts({"tokenizer_config.json": {"chat_template": template}}))
    assert (finding.status, message in finding.message) == ("fail", True), finding


@pytest.mark.parametrize(
    "auto_map", [{"AutoTokenizer": ["own_code.Own", None]}, {"AutoTokenizer": "own_code.Own"}, ["own_code.Own", None]]
)
def test_a_tokenizer_of_its_own_code_is_refused_where_there_is_no_other(auto_map: object) -> None:
    config = {"eos_token": "</s>", "tokenizer_class": "Own", "auto_map": auto_map}
    alone = facts({"tokenizer.json": None, "tiktoken.model": b"x", "tokenizer_config.json": config})
    assert failures(alone) == ["tokenizer"]
    assert "own_code.Own" in find("tokenizer", alone).message
    assert failures(facts({"tokenizer_config.json": config})) == []
    known = {**config, "tokenizer_class": "LlamaTokenizer"}
    older = {"tokenizer.json": None, "tokenizer.model": b"x", "tokenizer_config.json": known}
    assert find("tokenizer", facts(older)).status == "warn"


@pytest.mark.parametrize("value", ["1", 1.0, True, ["1"], [2, "</s>"], {"id": 2}, [[2]], [2, None], "</s>"])
def test_an_end_that_is_no_id_is_refused_with_its_file_and_key(value: object) -> None:
    places: list[tuple[Any, str, str]] = [
        (facts(config={"eos_token_id": value}), "eos_token_id", "config.json"),
        (facts(config={"text_config": {"eos_token_id": value}}), "text_config.eos_token_id", "config.json"),
        (facts({"generation_config.json": {"eos_token_id": value}}), "eos_token_id", "generation_config.json"),
    ]
    for source, key, file in places:
        assert failures(source) == ["end-ids"]
        assert find("end-ids", source).message.startswith(f"{key} of {file} is ")


@pytest.mark.parametrize("value", [2, [2], [2, 3], None, []])
def test_ids_a_list_of_them_or_nothing_may_name_the_ends(value: object) -> None:
    assert failures(facts(config={"eos_token_id": value})) == []
    assert failures(facts({"generation_config.json": {"eos_token_id": value}})) == []


def alone(config: dict[str, Any] | None = None, **files: Any) -> Any:
    return facts({"tokenizer_config.json": None, **files}, config=config)


def test_a_tokenizer_without_its_config_is_told_and_mended() -> None:
    assert failures(alone()) == []
    assert find("tokenizer-config", alone()).status == "warn"
    assert find("tokenizer-config", facts()).status == "pass"


def test_an_end_or_a_template_that_may_be_lost_with_its_config_is_refused() -> None:
    no_end = alone({"eos_token_id": None}, **{"generation_config.json": None})
    assert failures(no_end) == ["tokenizer-config"]
    added = [{"content": "<|im_start|>", "id": 6}]
    chats = alone(**{"tokenizer.json": {**TOKENIZER, "added_tokens": added}})
    assert failures(chats) == ["tokenizer-config"]
    assert "'<|im_start|>'" in find("tokenizer-config", chats).message
    files: dict[str, Any] = {"tokenizer.json": {**TOKENIZER, "added_tokens": added}}
    files["chat_template.jinja"] = b"{{ messages }}"
    assert failures(alone(**files)) == []
