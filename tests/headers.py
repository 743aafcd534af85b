"""Safetensors files of zeros, made of names, types and shapes; and what inspect would know of a source with them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mlx_publish.checks.base import run_in_groups
from mlx_publish.checks.facts import Loads, SourceFacts
from mlx_publish.checks.source import GROUPS
from mlx_publish.checks.twin import TwinFacts
from mlx_publish.evidence.report import Finding
from mlx_publish.model.files import MemoryFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.weights import DTYPE_BITS
from mlx_publish.recipes.recipe import Destination, Recipe, RecipeSpec

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 123456\n"
TYPES = frozenset({"llama", "mistral", "gemma2", "gpt2", "qwen3"})
LAYERS: Tensors = {
    "model.embed_tokens.weight": ("BF16", (128, 64)),
    "model.layers.0.self_attn.q_proj.weight": ("BF16", (64, 64)),
    "model.layers.0.mlp.down_proj.weight": ("BF16", (64, 128)),
    "model.norm.weight": ("BF16", (64,)),
}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128, "eos_token_id": 2}
TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 3, "b": 4, "</s>": 2}},
    "added_tokens": [{"content": "<end>", "id": 5}, {"content": "</s>", "id": 2}],
}


def header_bytes(header: object, data: int = 0) -> bytes:
    """A file with any header whatever, and some zeros."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def weight_bytes(tensors: Tensors) -> bytes:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    return header_bytes(header, end)


def index_bytes(weight_map: object) -> bytes:
    """An index."""
    return json.dumps({"metadata": {}, "weight_map": weight_map}).encode()


def facts(
    files: Mapping[str, bytes | dict[str, Any] | None] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tensors: Tensors = LAYERS,
    name: str = "acme/Tiny",
    **recipe: Any,
) -> SourceFacts:
    """A good source, but for what is given: `files` with None takes one away, `config` adds keys."""
    spec = RecipeSpec.model_validate({"source": name, "revision": COMMIT} | recipe)
    destinations = {variant.label: Destination(repo="acme/out") for variant in spec.variants}
    content: dict[str, bytes | dict[str, Any] | None] = {
        "config.json": CONFIG | dict(config or {}),
        "model.safetensors": weight_bytes(tensors),
        "tokenizer.json": TOKENIZER,
        "tokenizer_config.json": {"eos_token": "</s>", "chat_template": "{{ messages }}"},
        "generation_config.json": {"eos_token_id": 2},
        "LICENSE": b"do what you like",
        "README.md": b"---\nlicense: mit\n---\n",
        **(files or {}),
    }
    made = {
        path: json.dumps(data).encode() if isinstance(data, dict) else data
        for path, data in content.items()
        if data is not None
    }
    return SourceFacts(
        recipe=Recipe(spec, "tiny", None, destinations),
        variant=spec.variants[0],
        identity=COMMIT,
        source=Metadata(MemoryFiles(made)),
        loads=Loads("mlx-lm", "0.32.2", TYPES),
        twin=lambda: TwinFacts(None, "torch is not installed"),
    )


def judge(found: SourceFacts) -> dict[str, Finding]:
    """All findings by id; a failure goes before what else has the id."""
    findings = run_in_groups(GROUPS, found, found.recipe.accepted)
    return {finding.id: finding for finding in sorted(findings, key=lambda finding: finding.status == "fail")}


def failures(found: SourceFacts) -> list[str]:
    """The ids of what refuses."""
    return [id_ for id_, finding in judge(found).items() if finding.status == "fail"]


def find(check: str, found: SourceFacts) -> Finding:
    """The finding of one check."""
    return judge(found)[check]
