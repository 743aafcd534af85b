"""What became of every tensor of the source: used, tied, fused, or left out for a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.source_model import SourceModel
from mlx_publish.model.senses import is_language

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_BUFFERS = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", ".masked_bias", ".attn.bias")


def account(found: SourceModel, config: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the source's tensors: how many arrived, which did not and why."""
    lost, made = found.record.dropped()
    reasons = {name: _reason(name, found, config) for name in lost}
    unexplained = {name: size for name, size in lost.items() if reasons[name] is None}
    if unexplained and sum(unexplained.values()) == made:
        reasons.update(dict.fromkeys(unexplained, "fused"))
        unexplained = {}
    return {
        "source": len(found.record.before),
        "model": len(found.record.after),
        "dropped": {name: reason for name, reason in reasons.items() if reason},
        "unexplained": sorted(unexplained),
    }


def _reason(name: str, found: SourceModel, config: Mapping[str, Any]) -> str | None:
    """Why a source tensor has no place in the MLX model; None where that cannot be told from its name."""
    if name.endswith(_BUFFERS):
        return "computed anew"
    if not is_language(name):
        return "not of the language model"
    layers = (config.get("text_config") or config).get("num_hidden_layers")
    parts = name.split(".")
    number = next((int(part) for part in parts if part.isdigit()), None)
    if "mtp" in name or (isinstance(layers, int) and number is not None and number >= layers):
        return "predicts more than one token"
    if name.endswith(_HEADS):
        return _tied(name, found)
    return None


def _tied(name: str, found: SourceModel) -> str | None:
    """A head may go where it is the embedding, and nowhere else."""
    arrays = dict(tree_flatten(found.model.parameters()))
    embedding = next(
        (array for path, array in arrays.items() if path.endswith(("embed_tokens.weight", "wte.weight"))), None
    )
    head = found.kept.get(name)
    if embedding is None or head is None or embedding.shape != head.shape:
        return None
    return "tied" if bool(mx.array_equal(embedding, head).item()) else None
