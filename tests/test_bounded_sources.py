"""A source that costs more than any real model is refused by inspect, soon, at its place and with words that are short."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headers import facts, failures, find, header_bytes
from mlx_publish.checks.base import run_in_groups
from mlx_publish.checks.source import GROUPS
from mlx_publish.cli import main
from mlx_publish.errors import BadInput, Refused, in_file
from mlx_publish.model.tokenizer_bounds import judge_tokenizer
from models import make_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("whole") / "m", chat_template=None)


def replaced(content: str, pattern: object) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(name: str, *steps: object) -> dict[str, Any]:
    return {"type": "Sequence", name: list(steps)}


def charsmap(entry: bytes) -> str:
    return base64.b64encode((4).to_bytes(4, "little") + bytes(4) + entry + b"\0").decode()


GROWING: dict[str, Callable[[dict[str, Any]], object]] = {
    "a normalizer of a long text": lambda t: t.update(normalizer=replaced("x" * 10_000, {"String": "a"})),
    "a normalizer between all characters": lambda t: t.update(normalizer=replaced("x" * 100, {"Regex": ""})),
    "normalizers one after the other": lambda t: t.update(
        normalizer=sequence("normalizers", *[replaced("aa", {"String": "a"})] * 17)
    ),
    "normalizers in each other": lambda t: t.update(
        normalizer=sequence("normalizers", sequence("normalizers", *[replaced("aaaaaaaaaa", {"String": "a"})] * 5))
    ),
    "bytes made of bytes": lambda t: t.update(pre_tokenizer=sequence("pretokenizers", *[{"type": "ByteLevel"}] * 30)),
    "a table of long texts": lambda t: t.update(
        normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap(b"x" * 100_000)}
    ),
    "a decoder": lambda t: t.update(decoder=sequence("decoders", *[replaced("xxxx", {"String": "x"})] * 4)),
    "a text put around": lambda t: t.update(
        post_processor={"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100_000}
    ),
    "tokens put around": lambda t: t.update(
        post_processor={"type": "TemplateProcessing", "single": [], "special_tokens": {"a": {"ids": [1] * 100_000}}}
    ),
    "padding": lambda t: t.update(padding={"strategy": {"Fixed": 10**12}}),
    "padding to a multiple": lambda t: t.update(padding={"strategy": "BatchLongest", "pad_to_multiple_of": 10**9}),
    "a token of 20 MB": lambda t: t["model"]["vocab"].update({"x" * 20_000_000: 9}),
    "an added token of 20 MB": lambda t: t["added_tokens"].append({"id": 9, "content": "x" * 20_000_000}),
    "a merge of 20 MB": lambda t: t["model"]["merges"].append(["x" * 20_000_000, "y"]),
    "a pattern of 20 MB": lambda t: t.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "x" * 20_000_000}}),
    "tokens added by the hundred thousand": lambda t: t.update(
        added_tokens=[{"id": n, "content": f"<{n}>"} for n in range(200_000)]
    ),
    "a prefix of 20 MB": lambda t: t["model"].update(continuing_subword_prefix="x" * 20_000_000),
}


@pytest.mark.parametrize("name", GROWING)
def test_a_tokenizer_that_blows_up_is_refused_before_a_library_loads_it(name: str, whole: Path, tmp_path: Path) -> None:
    data = json.loads((whole / "tokenizer.json").read_text(encoding="utf-8"))
    GROWING[name](data)
    start = time.process_time()
    finding = find("readable", facts({"tokenizer.json": data}))
    assert time.process_time() - start < 10
    assert finding.status == "fail"
    assert finding.message.startswith("tokenizer.json: ")
    assert len(finding.message) < 300


REAL: dict[str, dict[str, Any]] = {
    "llama": {"normalizer": sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"}, replaced("\u2581", {"String": " "})),
              "decoder": sequence("decoders", replaced(" ", {"String": "\u2581"}), {"type": "ByteFallback"}, {"type": "Fuse"})},
    "gemma": {"normalizer": replaced("\u2581", {"String": " "})},
    "deepseek": {"pre_tokenizer": sequence("pretokenizers", {"type": "Split", "pattern": {"Regex": "x" * 900}}, {"type": "ByteLevel"})},
    "t5": {"normalizer": sequence("normalizers", {"type": "Precompiled", "precompiled_charsmap": charsmap("\u0635".encode() * 18)},
                                  replaced(" ", {"Regex": " {2,}"}))},
    "padded": {"padding": {"strategy": {"Fixed": 512}, "pad_to_multiple_of": None}, "truncation": {"max_length": 512}},
    "nothing": {"normalizer": None, "pre_tokenizer": None, "decoder": None, "post_processor": None, "padding": None},
    "odd": {"normalizer": [], "pre_tokenizer": "x", "decoder": {"type": 5}, "post_processor": {"single": 5}, "padding": {"strategy": []}},
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_what_real_tokenizers_do_is_read(name: str) -> None:
    judge_tokenizer(REAL[name])


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "a billion layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000, more layers"),
    "a billion layers in the older spelling": ({"n_layers": 10**9}, "n_layers is 1,000,000,000, more layers"),
    "a vocabulary of 10^12": ({"vocab_size": 10**12}, "vocab_size is 1000000000000, more than any model has"),
    "a width of 10^12": ({"hidden_size": 10**12}, "hidden_size is 1000000000000, more than any"),
    "heads without number": ({"num_attention_heads": 10**30}, "num_attention_heads is 1"),
    "in the part of a language model": ({"text_config": {"vocab_size": 10**12}}, "text_config.vocab_size is 1"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_size_that_no_model_has_is_refused_by_its_key(name: str) -> None:
    finding = find("config-values", facts(config=CONFIGS[name][0]))
    assert (finding.status, CONFIGS[name][1] in finding.message) == ("fail", True)


JSON = {
    "integers of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "nested 5,000 deep": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a key twice": b'{"eos_token_id": 1, "eos_token_id": 2}',
    "larger than any": b'{"a": "' + b"x" * (17 << 20) + b'"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("name", JSON)
def test_a_config_that_costs_or_says_two_things_is_refused(name: str, file: str) -> None:
    finding = find("readable", facts({file: JSON[name]}))
    assert finding.status == "fail"
    assert finding.message.startswith(file)
    assert len(finding.message) < 200


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": {"dtype": "Q4_K", "shape": [2], "data_offsets": [0, 1]}}, "a has the type 'Q4_K'"),
        ({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, "is not safetensors"),
        ({"a": {"dtype": "x" * 9999, "shape": [1], "data_offsets": [0, 4]}}, "a has the type 'xxx"),
        ({"__metadata__": {"a": {"b": 1}}}, "__metadata__ holds something else than texts"),
        ({"__metadata__": [1]}, "__metadata__ holds something else than texts"),
        ({"a": {"dtype": "U8", "shape": [10**30] * 500_000, "data_offsets": [0, 4]}}, "impossible shape or place"),
        ({"a": {"dtype": "U8", "shape": [1] * 40, "data_offsets": [0, 1]}}, "impossible shape or place"),
        ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 10**4200]}}, "holds a number of 4,201 digits"),
        ({"a" * 100_000: {"dtype": "U8", "shape": [1], "data_offsets": [3, 2]}}, "aaa has an impossible"),
    ],
)
def test_a_header_that_cannot_be_is_refused_in_short_words(header: dict[str, Any], words: str) -> None:
    finding = find(
        "readable",
        facts({"model.safetensors": header_bytes(header, 4)}),
    )
    assert finding.status == "fail"
    assert words in finding.message
    assert len(finding.message) < 300


def test_a_header_of_100_mb_is_not_read(whole: Path, tmp_path: Path) -> None:
    source = tmp_path / "m"
    source.mkdir()
    for path in whole.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    with (source / "model.safetensors").open("wb") as file:
        file.write((100_000_000).to_bytes(8, "little"))
        file.truncate(100_000_100)
    start = time.process_time()
    assert main(["inspect", "--source", str(source), "--work", str(tmp_path / "work")]) == 1
    assert time.process_time() - start < 10


def test_a_tokenizer_json_of_a_gigabyte_is_not_read(whole: Path, tmp_path: Path) -> None:
    source = tmp_path / "m"
    source.mkdir()
    for path in whole.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    for name in ("tokenizer.json", "tokenizer.model"):
        with (source / name).open("ab") as file:
            file.truncate(1 << 30)
        code = main(["inspect", "--source", str(source), "--work", str(tmp_path / "work")])
        assert code == 1
        (source / name).write_bytes((whole / name).read_bytes() if (whole / name).exists() else b"")


@pytest.mark.parametrize("head", [b"[", b'{"action": "mlx-publish", "a": ['])
def test_an_event_of_hundreds_of_megabytes_is_bad_input(head: bytes, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    with event.open("wb") as file:
        file.write(head)
        file.truncate(400 << 20)
    words = ["plan", "--event-name", "repository_dispatch", "--event", str(event), "--ref", "x"]
    assert main(words) == 2


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000 + "]" * 5000, "NaN", '"\\ud800"', '1, "action": 2'])
def test_an_event_that_no_reader_agrees_on_is_bad_input(value: str, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(f'{{"action": {value}}}')
    assert main(["plan", "--event-name", "repository_dispatch", "--event", str(event), "--ref", "x"]) == 2


@pytest.mark.parametrize("key", ["added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"])
def test_tokens_without_number_in_the_smaller_file_are_refused(key: str) -> None:
    tokens = [f"<{n}>" for n in range(200_000)]
    value = {str(n): {"content": token} for n, token in enumerate(tokens)} if key.endswith("decoder") else tokens
    finding = find("readable", facts({"tokenizer_config.json": {key: value}}))
    assert (finding.status, f"{key} adds 200,000 tokens" in finding.message) == ("fail", True)


@pytest.mark.parametrize(
    "keys",
    [
        {"model_type": "x" * 1_000_000},
        {"architectures": ["x" * 1_000_000]},
        {"architectures": ["x y"] * 100_000},
        {"eos_token_id": list(range(-200_000, 0))},
        {"x" * 1_000_000: float("nan")},
        {"vocab_size": "x " * 500_000},
        {"quantization_config": {"quant_method": "x" * 1_000_000}},
        {"auto_map": {"AutoModel": "x" * 1_000_000}},
    ],
)
def test_what_a_check_quotes_of_a_model_is_cut(keys: dict[str, Any]) -> None:
    source = facts(config=keys)
    for finding in run_in_groups(GROUPS, source):
        assert len(finding.message) < 2500
        assert len(finding.remedy) < 2500


def test_an_error_s_message_is_cut_and_its_words_stay() -> None:
    assert str(BadInput("x" * 1_000_000 + " is no repo")) == "x" * 200 + "… is no repo"
    assert len(str(Refused("x y" * 1_000_000))) < 21_000
    assert str(BadInput("all of this is said", place=in_file("r.yaml"))) == "r.yaml:1: all of this is said"


def test_a_good_source_is_read_as_before() -> None:
    assert failures(facts()) == []


def test_a_judgement_names_what_is_too_long() -> None:
    with pytest.raises(Refused, match=r"'x{40}'… has 20,000 characters, and 16,384 are the most that is read"):
        judge_tokenizer({"model": {"vocab": {"x" * 20_000: 1}}})
