"""Tokenizer files mended for other clients: each kind, nothing else changed, nothing changed twice."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.errors import Refused
from mlx_publish.model.draft import json_bytes
from mlx_publish.model.portable import PLAIN, Repaired, portable
from tiny_tokenizer import CHATML, build_tokenizer, write_tokenizer

CONFIG, SPECIAL, JINJA, FAST = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.json",
)
TOOLS = "additional_chat_templates/tool_use.jinja"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    write_tokenizer(tmp_path, build_tokenizer())
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def edited(files: Mapping[str, bytes], path: str = CONFIG, drop: tuple[str, ...] = (), **keys: Any) -> dict[str, bytes]:
    data = {**json.loads(files[path]), **keys}
    return {**files, path: json_bytes({key: value for key, value in data.items() if key not in drop})}


def mended(files: Mapping[str, bytes], **options: bool) -> tuple[Repaired, dict[str, Any]]:
    """Mend, prove that a second time finds nothing to do, and read the config."""
    repaired = portable(files, **options)
    after = {**files, **repaired.files}
    assert portable(after, **options).files == {}
    assert portable(after).changes == ()
    assert FAST not in repaired.files
    return repaired, json.loads(after.get(CONFIG, b"{}"))


def test_good_files_stay_as_they_are(files: dict[str, bytes]) -> None:
    assert portable(files) == Repaired()
    odd = {
        **files,
        CONFIG: b'{"tokenizer_class":"GPT2Tokenizer",\n "model_max_length": 1000000000000000019884624838656}',
    }
    assert portable(odd).files == {}


@pytest.mark.parametrize("name", ["TokenizersBackend", "PythonBackend", "OwnTokenizer"])
def test_a_class_that_transformers_4_does_not_know(files: dict[str, bytes], name: str) -> None:
    repaired, config = mended(edited(files, tokenizer_class=name))
    assert config["tokenizer_class"] == PLAIN
    assert list(config) == list(json.loads(files[CONFIG]))
    assert [change.message for change in repaired.changes] == [
        f"tokenizer_class {PLAIN} instead of {name}, which transformers 4 does not know"
    ]


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "Qwen2TokenizerFast", "GemmaTokenizer", "PreTrainedTokenizer"])
def test_a_known_class_stays_unless_its_ids_differ(files: dict[str, bytes], name: str) -> None:
    assert mended(edited(files, tokenizer_class=name))[0] == Repaired()
    repaired, config = mended(edited(files, tokenizer_class=name), plain=True)
    assert config["tokenizer_class"] == PLAIN
    assert "ids differ" in repaired.changes[0].message


def test_a_class_stays_where_there_is_no_tokenizer_json(files: dict[str, bytes]) -> None:
    del files[FAST]
    assert mended(edited(files, tokenizer_class="OwnTokenizer"))[0] == Repaired()


def test_plain_names_the_class_where_no_config_does(files: dict[str, bytes]) -> None:
    del files[CONFIG]
    assert portable(files) == Repaired()
    assert mended(files, plain=True)[1] == {"tokenizer_class": PLAIN}


def test_the_way_to_code_that_does_not_travel_goes(files: dict[str, bytes]) -> None:
    both = {"AutoTokenizer": ["own.OwnTokenizer", None], "AutoModel": "own.OwnModel"}
    _, config = mended(edited(files, tokenizer_class="OwnTokenizer", auto_map=both))
    assert config["auto_map"] == {"AutoModel": "own.OwnModel"}
    assert config["tokenizer_class"] == PLAIN
    _, config = mended(edited(files, auto_map=["own.OwnTokenizer", None]))
    assert "auto_map" not in config


@pytest.mark.parametrize("path", [CONFIG, SPECIAL])
def test_a_list_of_extra_tokens_gets_its_older_name_in_its_place(files: dict[str, bytes], path: str) -> None:
    old = json.loads(files[path])
    new = {("extra_special_tokens" if key == "additional_special_tokens" else key): old[key] for key in old}
    repaired, _ = mended({**files, path: json_bytes(new)})
    assert repaired.files == {path: files[path]}


def test_extra_tokens_join_those_that_are_there(files: dict[str, bytes]) -> None:
    extra = [{"content": "<|im_end|>", "special": True}, "<|endoftext|>"]
    _, config = mended(edited(files, extra_special_tokens=extra))
    assert config["additional_special_tokens"] == ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    assert "extra_special_tokens" not in config


def test_named_extra_tokens_stay_and_null_goes(files: dict[str, bytes]) -> None:
    assert mended(edited(files, extra_special_tokens={"image_token": "<|im_start|>"}))[0] == Repaired()
    assert mended(edited(files, extra_special_tokens=None))[0].files == {CONFIG: files[CONFIG]}


def test_local_state_goes(files: dict[str, bytes]) -> None:
    local: dict[str, Any] = {
        "is_local": True,
        "local_files_only": False,
        "backend": "tokenizers",
        "name_or_path": "org/name",
    }
    paths: dict[str, Any] = {
        "tokenizer_file": None,
        "some_file": "/home/me/x",
        "other_dir": "C:\\me",
        "third_path": "~/x",
    }
    repaired, _ = mended(edited(files, **local, **paths))
    assert repaired.files == {CONFIG: files[CONFIG]}
    assert all(key in repaired.changes[0].message for key in (*local, *paths))
    assert mended(edited(files, sep_token="/", some_file="merges.txt"))[0] == Repaired()


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("pre", ["Metaspace", "ByteLevel"])
def test_prefix_space_without_the_slow_file(files: dict[str, bytes], flag: bool, pre: str) -> None:
    source = edited(files, FAST, pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": pre}]})
    _, config = mended(edited(source, tokenizer_class="LlamaTokenizerFast", add_prefix_space=flag))
    assert "add_prefix_space" not in config
    assert config["tokenizer_class"] == ("LlamaTokenizerFast" if flag and pre == "Metaspace" else PLAIN)


def test_prefix_space_that_harms_nobody_stays(files: dict[str, bytes]) -> None:
    llama = edited(files, tokenizer_class="LlamaTokenizer", add_prefix_space=True)
    assert mended({**llama, "tokenizer.model": b"spm"})[0] == Repaired()
    assert mended(edited(files, tokenizer_class="LlamaTokenizer", add_prefix_space=None))[0] == Repaired()
    assert mended(edited(files, add_prefix_space=False))[0] == Repaired()


def test_prefix_space_of_the_plain_class_is_that_of_tokenizer_json(files: dict[str, bytes]) -> None:
    _, config = mended(edited(files, add_prefix_space=True))
    assert config["add_prefix_space"] is False
    spaced = edited(files, FAST, pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True})
    assert mended(spaced)[1]["add_prefix_space"] is True


def test_a_template_in_its_file_comes_to_the_config_too(files: dict[str, bytes]) -> None:
    alone = {**edited(files, drop=("chat_template",)), JINJA: CHATML.replace("\n", "\r\n").encode()}
    repaired, config = mended(alone)
    assert config["chat_template"] == CHATML
    assert list(repaired.files) == [CONFIG]
    assert "older clients" in repaired.changes[0].message


def test_the_file_wins_where_two_places_disagree(files: dict[str, bytes]) -> None:
    repaired, config = mended({**files, JINJA: b"other"})
    assert config["chat_template"] == "other"
    assert [change.message for change in repaired.changes] == [
        f"the template default of {CONFIG} differed from {JINJA}, which wins in transformers"
    ]


def test_named_templates_are_kept(files: dict[str, bytes]) -> None:
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    assert mended(edited(files, chat_template=named))[0] == Repaired()
    repaired, config = mended({**edited(files, chat_template=named), JINJA: b"c"})
    assert config["chat_template"] == [{"name": "default", "template": "c"}, named[1]]
    assert "tool_use" in repaired.remarks[0]
    _, config = mended({**edited(files, drop=("chat_template",)), JINJA: b"a", TOOLS: b"b"})
    assert config["chat_template"] == named


def test_a_default_that_named_files_would_hide(files: dict[str, bytes]) -> None:
    repaired, config = mended({**files, TOOLS: b"b"})
    assert repaired.files[JINJA] == CHATML.encode()
    assert config["chat_template"][1] == {"name": "tool_use", "template": "b"}


def test_the_template_of_a_processor(files: dict[str, bytes]) -> None:
    legacy = {"chat_template.json": json_bytes({"chat_template": "old"})}
    repaired, config = mended({**edited(files, drop=("chat_template",)), **legacy})
    assert config["chat_template"] == "old"
    assert repaired.files[JINJA] == b"old"
    repaired, config = mended({**files, **legacy})
    assert repaired.files == {}
    assert "chat_template.json holds another" in repaired.remarks[0]


@pytest.mark.parametrize(
    ("path", "content", "place"),
    [
        (CONFIG, b'{\n "a": 1,\n}', f"{CONFIG}:3: not valid JSON"),
        (SPECIAL, b'{\n "a": "\xe4"}', f"{SPECIAL}:2: not UTF-8"),
        (SPECIAL, b"[]", f"{SPECIAL}:1: is not a JSON object"),
        (FAST, b"{", f"{FAST}:1: not valid JSON"),
        (CONFIG, "{}".encode("utf-16"), f"{CONFIG}:1: not UTF-8"),
        (CONFIG, b'{"a":' + b"[" * 100_000, f"{CONFIG}:1: is nested too deeply"),
        (CONFIG, b'{"chat_template": 1}', f"{CONFIG}: chat_template is neither"),
        (CONFIG, b'{"chat_template": [1]}', f"{CONFIG}: chat_template is neither"),
        (JINJA, b"a\n\xff", f"{JINJA}:2: not UTF-8"),
    ],
)
def test_broken_files_are_refused_with_their_place(
    files: dict[str, bytes], path: str, content: bytes, place: str
) -> None:
    with pytest.raises(Refused, match=place) as caught:
        portable({**files, path: content})
    assert caught.value.check == "tokenizer-portable"


def test_a_byte_order_mark_goes_and_nothing_else(files: dict[str, bytes]) -> None:
    marked = {path: codecs.BOM_UTF8 + data for path, data in files.items()}
    repaired = portable(marked)
    assert repaired.files == files
    assert len(repaired.changes) == 3


def test_half_a_surrogate_pair_survives(files: dict[str, bytes]) -> None:
    content = files[CONFIG].replace(b"{", b'{"odd": "\\ud800", "is_local": true,', 1)
    repaired = portable({**files, CONFIG: content})
    assert json.loads(repaired.files[CONFIG])["odd"] == "\ud800"


@pytest.mark.parametrize("empty", [b"", b"\n"])
def test_an_empty_template_overwrites_no_good_one(files: dict[str, bytes], empty: bytes) -> None:
    repaired, config = mended({**files, JINJA: empty})
    assert repaired.files == {JINJA: CHATML.encode()}
    assert config["chat_template"] == CHATML
    assert [change.message for change in repaired.changes] == [
        f"{JINJA} was empty; it holds the template of {CONFIG} now"
    ]
