"""The tokenizer files of SmolLM2, rebuilt from what a GGUF file says about its vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONTROL = 3  # llama.cpp's token type of special tokens
ADDED = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def write_tokenizer(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into `folder`."""
    files = {
        "tokenizer.json": tokenizer(metadata),
        "tokenizer_config.json": tokenizer_config(metadata),
        "special_tokens_map.json": special_tokens_map(metadata),
    }
    for name, content in files.items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def tokenizer(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Byte-level BPE after every digit was split off, in the form of the `tokenizers` library."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    tokens = metadata["tokenizer.ggml.tokens"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id_, "content": tokens[id_], **ADDED, "special": True} for id_ in special_ids(metadata)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: id_ for id_, token in enumerate(tokens)},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }


def tokenizer_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers needs besides tokenizer.json."""
    tokens = metadata["tokenizer.ggml.tokens"]
    return {
        "add_prefix_space": metadata["tokenizer.ggml.add_space_prefix"],
        "added_tokens_decoder": {
            str(id_): {"content": tokens[id_], **ADDED, "special": True} for id_ in special_ids(metadata)
        },
        "additional_special_tokens": turn_tokens(metadata),
        **named_tokens(metadata),
        "chat_template": metadata["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        "tokenizer_class": "GPT2Tokenizer",
        "vocab_size": len(tokens),
    }


def special_tokens_map(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The named special tokens once more, where transformers 4 looks for them."""
    named = {role: {"content": token, **ADDED} for role, token in named_tokens(metadata).items()}
    return {"additional_special_tokens": turn_tokens(metadata), **named}


def named_tokens(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Role -> token, for example `eos_token` -> `<|im_end|>`."""
    roles = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    tokens = metadata["tokenizer.ggml.tokens"]
    return {f"{role}_token": tokens[metadata[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()}


def turn_tokens(metadata: Mapping[str, Any]) -> list[str]:
    """The tokens around a turn of a chat."""
    named = named_tokens(metadata)
    return [named["bos_token"], named["eos_token"]]


def special_ids(metadata: Mapping[str, Any]) -> list[int]:
    """The ids of all special tokens, ascending."""
    return [id_ for id_, kind in enumerate(metadata["tokenizer.ggml.token_type"]) if kind == CONTROL]
