"""What once ended in a crash of ours is a refusal with its reason, also where later stages want more of the source."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gate import edit_json, gate
from models import make_model

ON = ("--until", "fidelity")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_model(tmp_path / "m")


@pytest.mark.skipif(importlib.util.find_spec("hf_olmo") is not None, reason="this machine has what olmo wants")
def test_a_class_that_ends_the_process_is_refused(source: Path) -> None:
    made = gate(edit_json(source, "config.json", model_type="olmo"), *ON, code=1, command="run")
    assert made.failed() == ["builds"]
    assert "ai2-olmo" in made.message("builds")


def test_a_tokenizer_that_cannot_be_loaded_is_refused(source: Path) -> None:
    """The type is one that mlx-lm knows and transformers does not."""
    source.joinpath("tokenizer.json").unlink()
    source.joinpath("tiktoken.model").write_bytes(b"no token here")
    edit_json(source, "config.json", model_type="iquestcoder")
    edit_json(source, "tokenizer_config.json", tokenizer_class="TikTokenTokenizer")
    made = gate(source, *ON, code=1, command="run")
    assert made.failed() == ["tokenizer-ids", "ids-in-embedding"]
    assert "cannot be loaded" in made.message("tokenizer-ids")
