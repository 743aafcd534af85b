"""What became of every tensor of the source: used, tied, fused, or left out for a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.source_model import SourceModel
from mlx_publish.evidence.conversion import Accounted
from mlx_publish.model.senses import is_language

Traces = dict[str, str | tuple[tuple[int, ...], str]]
_EACH = 512  # tensors that are tried one by one, each in a build of names that takes milliseconds
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_BUFFERS = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", ".masked_bias", ".attn.bias")


def account(found: SourceModel, config: Mapping[str, Any]) -> Accounted:
    """Return what became of the source's tensors: how many arrived, which did not and why."""
    lost, made = found.record.dropped()
    reasons = {name: _reason(name, found, config) for name in lost}
    unexplained = {name: size for name, size in lost.items() if reasons[name] is None}
    if unexplained:
        gone = set() if sum(unexplained.values()) == made else _without_effect(found, unexplained, made)
        reasons.update(dict.fromkeys(unexplained.keys() - gone, "fused"))
    return Accounted(
        source=len(found.record.before),
        model=len(found.record.after),
        dropped={name: reason for name, reason in reasons.items() if reason},
        unexplained=sorted(name for name, reason in reasons.items() if reason is None),
        renamed=str(found.prefix) if found.prefix else None,
    )


def _without_effect(found: SourceModel, lost: Mapping[str, int], made: int) -> set[str]:
    """Those that leave no trace: without them the class makes the same arrays, of the same shapes.

    Of tensors whose names differ in numbers alone one stands for all; where their sizes do not add up to what was
    made of them, each is asked for itself.
    """
    whole = _traces(found, found.arrays)
    kinds: dict[str, list[str]] = {}
    for name in lost:
        kinds.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    gone = {name for names in kinds.values() if _same_without(found, names, whole) for name in names}
    used = {name: size for name, size in lost.items() if name not in gone}
    if sum(used.values()) != made and len(used) <= _EACH:
        gone |= {name for name in used if _same_without(found, [name], whole)}
    return gone


def _same_without(found: SourceModel, names: Sequence[str], whole: Traces) -> bool:
    left_out = set(names)
    try:
        return _traces(found, {name: array for name, array in found.arrays.items() if name not in left_out}) == whole
    except (LookupError, TypeError, ValueError, AttributeError):
        return False  # the class asks for what is missing


def _traces(found: SourceModel, arrays: Mapping[str, mx.array]) -> Traces:
    """What is made of arrays by name: the source's own array, or the shape and type of a new one."""
    own = {id(array): name for name, array in arrays.items()}
    made = found.sanitized(dict(arrays))
    return {name: own.get(id(array)) or (tuple(array.shape), str(array.dtype)) for name, array in made.items()}


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
    head = found.arrays.get(name)
    if embedding is None or head is None or embedding.shape != head.shape:
        return None
    return "tied" if bool(mx.array_equal(embedding, head).item()) else None
