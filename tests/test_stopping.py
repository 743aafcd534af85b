"""The ids that end an answer: the union everywhere, or a refusal that says why."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from mlx_publish.model.stopping import Stopping, complete_stop_ids, stop_ids_in
from tiny_tokenizer import END_OF_TEXT, TURN_END, build_tokenizer

FAST = json.loads(build_tokenizer().to_str())
WORD = FAST["model"]["vocab"]["The"]
NAMED: dict[str, Any] = {"eos_token": "<|im_end|>"}


def complete(
    config: object = None,
    generation: Any = None,
    *,
    end: str | None = "<|im_end|>",
    chat: bool = True,
    **tokenizer: Any,
) -> Stopping:
    """`config` and `generation` are a value of eos_token_id, or the whole file."""
    whole = config if isinstance(config, dict) else {"eos_token_id": config, "vocab_size": 320}
    data = (
        generation
        if generation is None or isinstance(generation, bytes)
        else json.dumps({"eos_token_id": generation}).encode()
    )
    result = complete_stop_ids(whole, data, tokenizer, FAST, end, chat=chat)
    if not result.refusal:
        again = complete_stop_ids(
            {**whole, "eos_token_id": result.eos_token_id}, result.generation_config, tokenizer, FAST, end, chat=chat
        )
        assert (again.eos_token_id, again.generation_config) == (result.eos_token_id, result.generation_config)
    return result


def written(result: Stopping) -> Any:
    assert result.generation_config is not None
    return json.loads(result.generation_config)["eos_token_id"]


@pytest.mark.parametrize("value", [TURN_END, [TURN_END], [TURN_END, END_OF_TEXT]])
def test_what_is_complete_stays(value: Any) -> None:
    result = complete(value, value, **NAMED)
    assert result.changes == ()
    assert result.refusal == ""
    assert result.eos_token_id == value
    assert result.generation_config == json.dumps({"eos_token_id": value}).encode()
    assert complete(value, **NAMED).generation_config is None


def test_a_narrower_file_gets_what_the_other_names() -> None:
    result = complete([END_OF_TEXT, TURN_END], END_OF_TEXT)
    assert written(result) == result.eos_token_id == [END_OF_TEXT, TURN_END]
    assert [change.message for change in result.changes] == [
        "eos_token_id of generation_config.json is [0, 2] now, was 0"
    ]
    assert complete(END_OF_TEXT, [TURN_END]).ids == (TURN_END, END_OF_TEXT)


def test_the_end_of_a_turn_is_added() -> None:
    result = complete(END_OF_TEXT, END_OF_TEXT)
    assert written(result) == result.eos_token_id == [END_OF_TEXT, TURN_END]


def test_the_tokenizers_own_end_is_added() -> None:
    result = complete(TURN_END, eos_token={"content": "<|endoftext|>"})
    assert result.eos_token_id == [TURN_END, END_OF_TEXT]


def test_a_nested_config_counts_and_comes_to_the_top() -> None:
    config = {"text_config": {"eos_token_id": TURN_END, "vocab_size": 320}}
    assert stop_ids_in(config) == (TURN_END,)
    assert complete(config).eos_token_id == TURN_END


def test_other_settings_of_generation_stay() -> None:
    generation = b'{"temperature": 0.6, "eos_token_id": 0, "top_p": 0.9}'
    result = complete(END_OF_TEXT, generation)
    assert result.generation_config is not None
    assert list(json.loads(result.generation_config).items()) == [
        ("temperature", 0.6),
        ("eos_token_id", [0, 2]),
        ("top_p", 0.9),
    ]


@pytest.mark.parametrize("broken", [b'{"eos_token_id": 2,}', b"[2]", b"\xff\xfe", b""])
@pytest.mark.parametrize("chat", [True, False])
def test_an_unreadable_file_is_written_anew(broken: bytes, chat: bool) -> None:
    config = {"bos_token_id": 1, "eos_token_id": TURN_END, "pad_token_id": 0, "vocab_size": 320}
    result = complete(config, broken, chat=chat, end="<|im_end|>" if chat else None)
    assert result.generation_config is not None
    assert json.loads(result.generation_config) == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    assert "not readable" in result.changes[0].message


def test_a_byte_order_mark_costs_no_setting() -> None:
    plain = b'{"temperature": 0.6, "eos_token_id": 2}'
    result = complete(TURN_END, codecs.BOM_UTF8 + plain)
    assert result.generation_config == plain
    assert "byte order mark" in result.changes[0].message


def test_an_empty_object_gets_the_ids() -> None:
    assert written(complete(TURN_END, b"{}")) == TURN_END


def test_a_librarys_default_does_not_cut_answers() -> None:
    result = complete(WORD, TURN_END)
    assert result.ids == (TURN_END,)
    assert result.eos_token_id == TURN_END
    assert "ordinary token 'The'" in result.changes[0].message
    # Where nothing else is named it applies today.
    assert complete(WORD).ids == (WORD, TURN_END)


@pytest.mark.parametrize("value", ["2", 2.0, True, [TURN_END, "x"], [None]])
def test_what_is_no_id_is_replaced(value: Any) -> None:
    result = complete(value, value)
    assert result.eos_token_id == TURN_END
    assert written(result) == TURN_END


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"config": TURN_END, "end": "\n### User:"}, "ends an answer with '\\\\n### User:'"),
        ({"end": "The"}, "not a token to stop at"),
        ({"config": None, "end": None}, "neither config.json"),
        ({"config": [TURN_END, 320]}, "320 is outside the vocabulary of 320"),
        ({"config": -1}, "-1 is outside"),
        ({"config": {"eos_token_id": 9999}}, "9999 is outside the vocabulary of 286"),
    ],
)
def test_what_cannot_stop_is_refused(arguments: dict[str, Any], reason: str) -> None:
    result = complete(arguments.pop("config", None), **arguments)
    assert reason.replace("\\\\", "\\") in result.refusal


def test_a_unigram_vocabulary_is_a_list() -> None:
    fast = {"model": {"vocab": [["<unk>", 0.0], ["</s>", 0.0]]}, "added_tokens": []}
    result = complete_stop_ids({}, None, {"eos_token": "</s>"}, fast, "</s>", chat=True)
    assert result.eos_token_id == 1


def test_older_files_name_tokens_in_the_config() -> None:
    decoder = {"7": {"content": "</s>"}}
    result = complete_stop_ids({}, None, {"added_tokens_decoder": decoder}, None, "</s>", chat=True)
    assert result.eos_token_id == 7


@pytest.mark.parametrize(("config", "generation"), [(None, None), (2, None), (2, [2]), (None, 2), (2, b"{}")])
def test_without_a_template_what_agrees_stays(config: Any, generation: Any) -> None:
    result = complete(config, generation, end=None, chat=False, eos_token="<|endoftext|>")
    assert result.eos_token_id == config
    assert result.changes == ()
    assert result.refusal == ""


def test_without_a_template_contradictions_are_joined() -> None:
    result = complete(END_OF_TEXT, TURN_END, end=None, chat=False)
    assert written(result) == result.eos_token_id == [TURN_END, END_OF_TEXT]
