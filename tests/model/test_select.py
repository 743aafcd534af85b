"""What travels and what stays behind."""

from __future__ import annotations

import pytest

from mlx_publish.model.files import FileEntry
from mlx_publish.model.select import carried_files, is_legal, is_tokenizer, side_files

LEGAL = (
    "LICENSE",
    "LICENCE",
    "license.txt",
    "LICENSE.md",
    "LICENSE-APACHE",
    "NOTICE",
    "Notice.txt",
    "COPYING",
    "USE_POLICY.md",
    "USAGE_POLICY",
    "acceptable_use_policy.md",
)
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "qwen.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
)
PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
NEVER = (
    "modeling.py",
    "license.py",
    "LICENSE.PY",
    "notice.pkl",
    "license.bin",
    "additional_chat_templates/x.py",
    "additional_chat_templates/.env",
    "additional_chat_templates/sub/x.jinja",
    "tokenization.py",
    ".env",
    "a.sh",
    "sub/LICENSE",
    "sub/tokenizer.json",
    ".hidden.tiktoken",
    "../x.tiktoken",
    "x.tiktoken/y.tiktoken",
    "pytorch_model.bin",
    "training_args.bin",
    "model.fp16.safetensors",
    "eval.json",
    "LICENSE\n",
)


@pytest.mark.parametrize("path", LEGAL)
def test_legal_texts_travel(path: str) -> None:
    assert is_legal(path)
    assert path in side_files({path: FileEntry(path, 1)})
    assert path in carried_files([path], [])


@pytest.mark.parametrize("path", TOKENIZER)
def test_the_tokenizer_travels(path: str) -> None:
    assert is_tokenizer(path)
    assert path in side_files({path: FileEntry(path, 1)})
    assert path in carried_files([path], [])


@pytest.mark.parametrize("path", [*PROCESSOR, "generation_config.json"])
def test_processors_travel(path: str) -> None:
    assert side_files({path: FileEntry(path, 1)}) == {path}
    assert carried_files([path], []) == {path}


@pytest.mark.parametrize("path", NEVER)
def test_code_pickles_and_strays_never_do(path: str) -> None:
    assert not is_legal(path)
    assert not is_tokenizer(path)
    assert side_files({path: FileEntry(path, 1)}) == set()
    assert carried_files([path], []) == set()


def test_conversion_needs_more_than_travels() -> None:
    weights = ["model-00001-of-00001.safetensors"]
    here = ["config.json", "model.safetensors.index.json", "README.md", "hf_quant_config.json"]
    assert carried_files([*here, *weights, "other.safetensors"], weights) == {*here, *weights}
    assert side_files({path: FileEntry(path, 1) for path in (*here, *weights)}) == set()
