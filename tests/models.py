"""Tiny models in Hugging Face's layout, made with numpy: random ones, and ones that follow a script."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers

from shapes import ADDED_NORMS, Sizes, base_config, tensor_shapes
from tensor_file import bfloat16, write_tensors
from tiny_tokenizer import (
    CHATML,
    END_OF_TEXT,
    NAMES,
    TURN_END,
    TURN_START,
    WORDS,
    build_tokenizer,
    write_json,
    write_tokenizer,
)

Weights = dict[str, NDArray[np.float32]]

ARCHITECTURES = ("gemma2", "llama", "mistral", "phi3", "qwen2", "qwen3")
ANSWER = "The Moon passes in front of the Sun."
MISSING = object()  # as the value of an override of config.json: the key is left out
README = """\
---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
---

# A tiny model

Made for tests: it has the shape of a language model and knows nothing.
"""


def make_model(
    folder: Path,
    arch: str = "llama",
    *,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    vocab: int | None = None,
    heads: int = 4,
    kv_heads: int = 2,
    dtype: str = "bfloat16",
    chat_template: str | None = CHATML,
    tie: bool = True,
    generation_config: bool = True,
    license_file: bool = True,
    readme: str | None = README,
    shards: int = 1,
    config: Mapping[str, object] | None = None,
    tokenizer: Tokenizer | None = None,
    names: Mapping[str, str] = NAMES,
) -> Path:
    """Make a random model in the new `folder`.

    `vocab` is the tokenizer's size rounded up to a multiple of 64 unless given. `config` overrides keys of
    config.json only, never the tensors, so that a config can be made to lie; `MISSING` leaves a key out. A
    `tokenizer` of one's own comes with the `names` of its special tokens.
    """
    if arch == "gemma2" and not tie:
        raise ValueError("gemma2 has tied embeddings only")
    tokenizer = build_tokenizer() if tokenizer is None else tokenizer
    if arch.startswith("qwen"):  # their class in transformers normalizes, whatever tokenizer.json says
        tokenizer.normalizer = normalizers.NFC()
    sizes = Sizes(arch, hidden, layers, padded(tokenizer, vocab), heads, kv_heads, tie)
    weights = random_weights(sizes, tokenizer.get_vocab_size(), seed)
    write_model(folder, sizes, weights, dtype=dtype, shards=shards, overrides=config or {})
    write_tokenizer(folder, tokenizer, chat_template, names)
    write_papers(folder, generation_config=generation_config, license_file=license_file, readme=readme)
    return folder


def make_scripted(
    folder: Path,
    table: Mapping[int, int] | Sequence[tuple[int, int]],
    *,
    default: int = TURN_END,
    words: Sequence[str] = WORDS,
    seed: int = 0,
    dtype: str = "bfloat16",
    chat_template: str | None = CHATML,
    generation_config: bool = True,
    license_file: bool = True,
    readme: str | None = README,
    config: Mapping[str, object] | None = None,
) -> Path:
    """Make a llama whose first choice after a token is `table[token]`, or `default`, whatever came before.

    It is a first-order chain: in what it is to say no token may come twice, and none may be the last token of
    the prompt (`answer_table` makes such a table from a text and refuses others). The first choice survives
    quantization: its logit is about sqrt(vocab) = 18 and the others' are near 0.
    """
    tokenizer = build_tokenizer(words)
    size = padded(tokenizer, None)
    sizes = Sizes("llama", hidden=size, layers=1, vocab=size, heads=size // 64, kv_heads=1, tie=False)
    weights = scripted_weights(sizes, dict(table), default, seed)
    write_model(folder, sizes, weights, dtype=dtype, shards=1, overrides=config or {})
    write_tokenizer(folder, tokenizer, chat_template)
    write_papers(folder, generation_config=generation_config, license_file=license_file, readme=readme)
    return folder


def answer_table(
    answer: str = ANSWER,
    *,
    prompt_end: str = "<|im_start|>assistant\n",
    end: int | None = TURN_END,
    words: Sequence[str] = WORDS,
) -> dict[int, int]:
    """The table of a model that says `answer` after a prompt that ends in `prompt_end`, then the token `end`.

    With `end` None it goes back to the answer's first token and never stops. A word of `words` is one token,
    any other text one token a byte. A text in which a token comes twice is refused with ValueError.
    """
    tokenizer = build_tokenizer(words)
    ids = tokenizer.encode(answer).ids
    chain = [tokenizer.encode(prompt_end).ids[-1], *ids, ids[0] if end is None else end]
    spoken = chain[:-1]
    twice = {tokenizer.decode([id_]) for id_ in spoken if spoken.count(id_) > 1}
    if twice or end in spoken:
        raise ValueError(f"a token may come once in prompt end and answer, these come twice: {sorted(twice)}")
    return dict(zip(spoken, chain[1:], strict=True))


def padded(tokenizer: Any, vocab: int | None) -> int:
    """The number of embeddings: `vocab`, or the tokenizer's size rounded up to a multiple of 64."""
    size = int(tokenizer.get_vocab_size())
    if vocab is not None and vocab < size:
        raise ValueError(f"the tokenizer has {size} tokens, more than vocab={vocab}")
    return vocab or -(-size // 64) * 64


def random_weights(sizes: Sizes, used: int, seed: int) -> Weights:
    """Normal weights that keep the scale of what flows through them; embeddings from `used` on are zero."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in tensor_shapes(sizes).items():
        values = rng.standard_normal(shape, dtype=np.float32)
        if len(shape) > 1:
            weights[name] = values * np.float32(shape[-1] ** -0.5)
        else:
            less_one = sizes.arch in ADDED_NORMS and not name.endswith("linear_attn.norm.weight")
            centre = 1.0 if name.endswith("norm.weight") and not less_one else 0.0
            weights[name] = values * np.float32(0.1) + np.float32(centre)
    for name in (name for name in weights if name.endswith(("embed_tokens.weight", "lm_head.weight"))):
        # Padding, as in real models: its logit is 0, so a greedy generation never meets an unknown id.
        weights[name][used:] = 0
    return weights


def scripted_weights(sizes: Sizes, table: Mapping[int, int], default: int, seed: int) -> Weights:
    """One dimension a token: the embedding is the identity and lm_head the table, as a matrix of 0 and 1."""
    weights = random_weights(sizes, sizes.vocab, seed)
    for name in weights:
        if name.endswith("norm.weight"):
            weights[name] = np.ones_like(weights[name])
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            # Next to nothing, so that only the current token counts; zeros might be taken for damage.
            weights[name] *= np.float32(1e-3)
    weights["model.embed_tokens.weight"] = np.eye(sizes.vocab, dtype=np.float32)
    head = np.zeros((sizes.vocab, sizes.hidden), np.float32)
    for token in range(sizes.vocab):
        head[table.get(token, default), token] = 1
    weights["lm_head.weight"] = head
    return weights


def write_model(
    folder: Path, sizes: Sizes, weights: Weights, *, dtype: str, shards: int, overrides: Mapping[str, object]
) -> None:
    """Write config.json and the tensors."""
    folder.mkdir(parents=True)
    content = {**base_config(sizes, dtype), **overrides}
    present = {key: value for key, value in sorted(content.items()) if value is not MISSING}
    write_json(folder / "config.json", present)
    tensors = {name: cast(values, dtype) for name, values in weights.items()}
    if shards == 1:
        write_tensors(folder / "model.safetensors", tensors)
    else:
        write_shards(folder, tensors, shards)


def cast(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """The values as `dtype`: bfloat16 (as bits), float16 or float32."""
    return bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)


def write_shards(folder: Path, tensors: Mapping[str, NDArray[Any]], shards: int) -> None:
    """Deal the tensors, sorted by name, into `shards` files with an index."""
    names = sorted(tensors)
    where = {name: number * shards // len(names) + 1 for number, name in enumerate(names)}
    file = {n: f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)}
    total = sum(
        write_tensors(folder / file[n], {name: tensors[name] for name in names if where[name] == n}) for n in file
    )
    index = {"metadata": {"total_size": total}, "weight_map": {name: file[where[name]] for name in names}}
    write_json(folder / "model.safetensors.index.json", index)


def write_papers(folder: Path, *, generation_config: bool, license_file: bool, readme: str | None) -> None:
    """Write what lies beside weights and tokenizer."""
    if generation_config:
        ids = {"bos_token_id": TURN_START, "eos_token_id": TURN_END, "pad_token_id": END_OF_TEXT}
        write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})
    if license_file:
        shutil.copyfile(Path(__file__).parents[1] / "LICENSE", folder / "LICENSE")
    if readme is not None:
        (folder / "README.md").write_text(readme, encoding="utf-8", newline="\n")
