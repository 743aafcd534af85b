"""Small files of a source that are missing, dead or double: mended and told, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gate import edit_json, gate, loaded, logits
from models import make_model
from pipeline import User, read_json
from tiny_tokenizer import CHATML


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_model(tmp_path / "m", chat_template=None)


def test_a_missing_tokenizer_config_is_written_with_the_end(source: Path) -> None:
    before = read_json(source / "tokenizer_config.json")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        source.joinpath(name).unlink(missing_ok=True)
    source.joinpath("chat_template.jinja").write_text(CHATML)
    made = gate(source, "--bits", 8, "--group-size", 32)
    assert made.status("8bit-gs32")["tokenizer-portable"] == "fixed"
    assert "was written" in made.message("tokenizer-portable", "8bit-gs32")
    written = read_json(made.model("8bit-gs32") / "tokenizer_config.json")
    assert (written["tokenizer_class"], written["eos_token"]) == ("PreTrainedTokenizerFast", before["eos_token"])
    tokenizer = loaded(made.model("8bit-gs32"))[1]
    assert tokenizer.eos_token == before["eos_token"]
    assert tokenizer.has_chat_template


def test_a_chat_model_may_not_lose_its_template_with_the_config(source: Path) -> None:
    source.joinpath("tokenizer_config.json").unlink()
    made = gate(source, code=1, command="inspect")
    assert made.failed() == ["tokenizer-config"]


def cut_off(source: Path, name: str) -> Path:
    """Let a file be a link whose target was removed, as a cache of the Hub has them when it was pruned."""
    source.joinpath(name).unlink(missing_ok=True)
    source.joinpath(name).symlink_to(source.parent / "blobs" / "0123")
    return source


def inspect(source: Path, code: int) -> str:
    user = User(source.parent / "home")
    return user.run("inspect", "--source", source, "--work", source.parent / "work", code=code).text


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "LICENSE"])
def test_a_link_that_leads_nowhere_says_so(source: Path, name: str) -> None:
    text = inspect(cut_off(source, name), 1)
    assert f"{name} is a dangling link" in text
    assert "Download the model again" in text
    assert text.count("FAIL") == 1


def test_a_dead_link_that_nobody_needs_changes_nothing(source: Path) -> None:
    inspect(cut_off(source, "pytorch_model.bin"), 0)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_a_key_that_stands_twice_is_refused(source: Path, name: str) -> None:
    path = source / name
    text = path.read_text(encoding="utf-8") if path.exists() else "{}"
    path.write_text('{"a": 1, "a": 2' + (", " if text.strip("{} \n") else "") + text.strip().removeprefix("{"), "utf-8")
    made = gate(source, code=1, command="inspect")
    assert "the key 'a' appears twice" in made.text
    assert name in made.text


def test_a_generation_config_with_a_key_twice_is_written_anew(source: Path) -> None:
    source.joinpath("generation_config.json").write_text('{"eos_token_id": 3, "eos_token_id": 4}')
    made = gate(source, "--bits", 8, "--group-size", 32)
    ends = read_json(source / "config.json")["eos_token_id"]
    written = read_json(made.model("8bit-gs32") / "generation_config.json")["eos_token_id"]
    assert written == ends


def test_an_empty_quantization_config_says_nothing(source: Path) -> None:
    edit_json(source, "config.json", quantization_config={})
    made = gate(source, "--dtype", "bfloat16")
    assert made.failed("bf16") == []
    assert logits(made.model("bf16")).size
    assert json.loads(made.model("bf16").joinpath("config.json").read_text()).get("quantization_config") in (None, {})
