"""The tiny models are models: MLX loads them without a word, converts them and generates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the models are made for it
import mlx_lm  # noqa: TID251
import pytest
from mlx.utils import tree_flatten  # noqa: TID251

import tiny_tokenizer
from models import ANSWER, ARCHITECTURES, MISSING, answer_table, make_model, make_scripted
from tensor_file import bfloat16, float32, read_tensors

BITS = [4, 8]


def convert(source: Path, to: Path, bits: int = 4) -> Path:
    mlx_lm.convert(str(source), str(to), quantize=True, q_bits=bits, q_group_size=64)
    return to


def ask(folder: Path, limit: int) -> Iterator[Any]:
    model, tokenizer = mlx_lm.load(str(folder))
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    yield from mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=limit)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_architecture_loads_converts_and_generates(tmp_path: Path, arch: str) -> None:
    source = make_model(tmp_path / "source", arch)
    model, _, config = mlx_lm.load(str(source), return_config=True)
    loaded = {name: value.shape for name, value in tree_flatten(model.parameters())}
    written = read_tensors(source / "model.safetensors")
    assert loaded == {name: value.shape for name, value in written.items()}
    assert config["model_type"] == arch
    responses = list(ask(convert(source, tmp_path / "made"), 4))
    assert responses[-1].generation_tokens == 4
    converted = json.loads((tmp_path / "made" / "config.json").read_text(encoding="utf-8"))
    assert converted["quantization"] == {"group_size": 64, "bits": 4, "mode": "affine"}


def test_two_runs_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (make_model(tmp_path / str(n), seed=n // 2) for n in range(3))
    names = sorted(path.name for path in first.iterdir())
    assert [(first / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]
    assert (first / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_shards_hold_the_same_tensors(tmp_path: Path) -> None:
    whole = read_tensors(make_model(tmp_path / "whole", tie=False) / "model.safetensors")
    sharded = make_model(tmp_path / "sharded", tie=False, shards=3)
    index = json.loads((sharded / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    assert len(set(index["weight_map"].values())) == 3
    for name, file in index["weight_map"].items():
        assert (read_tensors(sharded / file)[name] == whole[name]).all()
    mlx_lm.load(str(sharded))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_mlx_reads_the_dtype_that_was_asked_for(tmp_path: Path, dtype: str) -> None:
    weights: Any = mx.load(str(make_model(tmp_path / "m", dtype=dtype) / "model.safetensors"))
    assert {value.dtype for value in weights.values()} == {getattr(mx, dtype)}


def test_bfloat16_rounds_like_mlx() -> None:
    values = mx.random.normal((4096,), key=mx.random.key(1))
    theirs = values.astype(mx.bfloat16).astype(mx.float32)
    assert float32(bfloat16(memoryview(values))).tolist() == theirs.tolist()  # type: ignore[arg-type]


def test_files_can_be_left_out_and_the_config_can_lie(tmp_path: Path) -> None:
    folder = make_model(
        tmp_path / "m",
        chat_template=None,
        generation_config=False,
        license_file=False,
        readme=None,
        config={"rope_theta": MISSING, "vocab_size": 7},
    )
    names = {path.name for path in folder.iterdir()}
    assert names.isdisjoint({"generation_config.json", "LICENSE", "README.md"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "rope_theta" not in config
    assert config["vocab_size"] == 7
    assert "chat_template" not in (folder / "tokenizer_config.json").read_text(encoding="utf-8")


def test_each_word_and_special_token_is_one_id() -> None:
    tokenizer = tiny_tokenizer.build_tokenizer()
    assert [tokenizer.encode(token).ids for token in tiny_tokenizer.SPECIAL] == [[0], [1], [2]]
    assert all(len(tokenizer.encode(word).ids) == 1 for word in tiny_tokenizer.WORDS)
    assert tokenizer.decode(tokenizer.encode("naïve 東京 😀\n").ids) == "naïve 東京 😀\n"


@pytest.mark.parametrize("bits", BITS)
def test_a_scripted_model_says_its_answer_and_stops(tmp_path: Path, bits: int) -> None:
    source = make_scripted(tmp_path / "source", answer_table())
    responses = list(ask(convert(source, tmp_path / "made", bits), 50))
    assert "".join(response.text for response in responses) == ANSWER
    assert responses[-1].finish_reason == "stop"


@pytest.mark.parametrize("bits", BITS)
def test_every_first_choice_survives_quantization(tmp_path: Path, bits: int) -> None:
    table = {token: (token * 7 + 3) % 300 for token in range(320)}
    source = make_scripted(tmp_path / "source", table)
    for folder in (source, convert(source, tmp_path / "made", bits)):
        model, _ = mlx_lm.load(str(folder))
        # All of them as one prompt: what came before a token must not matter.
        chosen: Any = mx.argmax(model(mx.arange(320)[None])[0], axis=-1)
        assert dict(enumerate(chosen.tolist())) == table


def test_a_looping_model_never_stops(tmp_path: Path) -> None:
    source = make_scripted(tmp_path / "source", answer_table("abc", end=None))
    responses = list(ask(convert(source, tmp_path / "made"), 32))
    assert "".join(response.text for response in responses) == ("abc" * 11)[:32]
    assert responses[-1].finish_reason == "length"


def test_a_script_with_the_same_token_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"come twice: \['l'\]"):
        answer_table("Hello")
    with pytest.raises(ValueError, match="come twice"):
        answer_table("two\nlines")
    assert len(answer_table("Hello", words=["Hello"])) == 2
