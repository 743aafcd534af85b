"""The source's logits by MLX on a few short texts, for the comparison with another implementation.

On the CPU and in float32, also where there is Metal: what is to be proved is the mapping of the architecture, and
the rounding of half precision would hide a wrong constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import fit
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.tokenizing import own_tokenizer
from mlx_publish.evidence.digests import digest_of


def logits(
    source: str, texts: Sequence[Mapping[str, Any]], store: str, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Write to `store`, a safetensors file, the logits of the first `tokens` tokens of each `text`.

    Text N has `ids.N` (positions,) and `logits.N` (positions, vocabulary) in float32. `source` is a folder with a
    config that mlx-lm reads. Returns how many sequences and positions, and the SHA-256 of the ids as a JSON
    list of lists.
    """
    mx.set_default_device(mx.cpu)
    progress("loading the source")
    model = _model(Path(source))
    sequences = [ids for text in texts if (ids := _ids(Path(source), text["text"], text["tokens"]))]
    found: dict[str, mx.array] = {}
    for number, ids in enumerate(sequences):
        progress(f"text {number + 1} of {len(sequences)} with MLX")
        found |= {f"ids.{number}": mx.array(ids), f"logits.{number}": _logits(model, ids)}
    mx.save_safetensors(store, found)
    return {
        "sequences": len(sequences),
        "positions": sum(len(ids) for ids in sequences),
        "tokens_sha256": digest_of(sequences),
    }


def _model(folder: Path) -> nn.Module:
    # Wide from the start: a norm that is folded as 1 + w in bfloat16 is another norm.
    found = load_source(folder, wide=True)
    found.release()
    fit(found.model)
    return found.model


def _ids(folder: Path, text: str, tokens: int) -> list[int]:
    if (own := own_tokenizer(folder)) is not None:
        return [int(id_) for id_ in own.encode(text).ids[:tokens]]
    return [int(id_) for id_ in backend().load_tokenizer(folder).encode(text)[:tokens]]


def _logits(model: nn.Module, ids: list[int]) -> mx.array:
    """Of every position, (positions, vocabulary), read in two parts as a generation does, the second at an offset."""
    cache, half = backend().make_cache(model), -(-len(ids) // 2)
    parts = [model(mx.array([part]), cache=cache)[0] for part in (ids[:half], ids[half:]) if part]
    found = mx.concatenate(parts).astype(mx.float32)
    mx.eval(found)
    return found
