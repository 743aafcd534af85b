"""What became of every tensor of the source: used, tied, fused, or left out for a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import keeps_senses
from mlx_publish.engine.in_place import apart
from mlx_publish.engine.reordering import reordered
from mlx_publish.engine.source_model import SourceModel
from mlx_publish.engine.tensor_files import evaluate
from mlx_publish.evidence.conversion import Accounted
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.senses import is_language

Traces = dict[str, str | tuple[tuple[int, ...], str]]
_EACH = 512  # tensors that are tried one by one, each in a build of names that takes milliseconds
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_POSITIONS = (".position_ids", ".inv_freq")
# SigLIP's and CLIP's pooled answer for a whole image, of which no token of a prompt is made.
_POOLING = re.compile(r"(^|\.)vision_(model|tower)\.(vision_model\.)?head\.")
_BUFFERS = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", ".masked_bias", ".attn.bias")


Tied = Callable[[str, SourceModel], bool]
"""Tells whether a head is the embedding."""


def account(source: SourceModel, config: ModelConfig, tied: Tied | None = None) -> Accounted:
    """Return what became of the source's tensors: how many arrived, which did not and why.

    Nothing is read of them but heads and embedding, to compare them; `tied` knows it already.
    """
    lost, made = source.record.dropped()
    reasons = {name: _reason(name, source, config, tied or _is_tied) for name in lost}
    if keeps_senses():
        reasons.update(dict.fromkeys(reordered(source, [name for name in lost if reasons[name] is None]), "reordered"))
        made -= sum(lost[name] for name, reason in reasons.items() if reason == "reordered")
    unexplained = {name: size for name, size in lost.items() if reasons[name] is None}
    if unexplained:
        gone = set() if sum(unexplained.values()) == made else _without_effect(source, unexplained, made)
        reasons.update(dict.fromkeys(unexplained.keys() - gone, "fused"))
    return Accounted(
        source=len(source.record.before),
        model=len(source.record.after),
        dropped={name: reason for name, reason in reasons.items() if reason},
        unexplained=sorted(name for name, reason in reasons.items() if reason is None),
        renamed=str(source.prefix) if source.prefix else None,
    )


def _without_effect(source: SourceModel, lost: Mapping[str, int], made: int) -> set[str]:
    """Return those that leave no trace: without them the class makes the same arrays, of the same shapes.

    Of tensors whose names differ in numbers alone the first stands for all; where their sizes do not add up to what was
    made of them, each is asked for itself.
    """
    whole = _traces(source, source.arrays)
    kinds: dict[str, list[str]] = {}
    for name in lost:
        kinds.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    gone = {name for names in kinds.values() if _is_same_without(source, names, whole) for name in names}
    used = {name: size for name, size in lost.items() if name not in gone}
    if sum(used.values()) != made and len(used) <= _EACH:
        gone |= {name for name in used if _is_same_without(source, [name], whole)}
    return gone


def _is_same_without(source: SourceModel, names: Sequence[str], whole: Traces) -> bool:
    left_out = set(names)
    try:
        return _traces(source, {name: array for name, array in source.arrays.items() if name not in left_out}) == whole
    except (LookupError, TypeError, ValueError, AttributeError):
        return False  # the class asks for what is missing


def _traces(source: SourceModel, arrays: Mapping[str, mx.array]) -> Traces:
    """Return what is made of arrays by name: the source's own array, or the shape and type of a new one."""
    given = apart(arrays)
    own = {id(array): name for name, array in given.items()}
    made = source.sanitized(dict(given))
    return {name: own.get(id(array)) or (tuple(array.shape), str(array.dtype)) for name, array in made.items()}


def heads_to_compare(source: SourceModel, config: ModelConfig) -> dict[str, str]:
    """Return heads of the source that may go only if they are the embedding, with the path of the embedding."""
    pairs: dict[str, str] = {}

    def noted(name: str, source: SourceModel) -> bool:
        head, path = source.arrays.get(name), _embedding(source)
        if head is not None and path and head.shape == dict(tree_flatten(source.model.parameters()))[path].shape:
            pairs[name] = path
        return False

    for name in source.record.dropped()[0]:
        _reason(name, source, config, noted)
    return pairs


def _embedding(source: SourceModel) -> str:
    """Return the path of the model's embedding; empty if none is called like one."""
    paths = (path for path, _ in tree_flatten(source.model.parameters()))
    return next((path for path in paths if path.endswith(("embed_tokens.weight", "wte.weight"))), "")


def _reason(name: str, source: SourceModel, config: ModelConfig, tied: Tied) -> str | None:
    """Return why a source tensor has no place in the MLX model; None if its name does not show it."""
    if name.endswith(_BUFFERS):
        return "computed anew"
    if name in source.idle:
        return "a bias of zeros"
    if not is_language(name):
        return _of_a_tower(name) if keeps_senses() else "not of the language model"
    layers = (config.text or config.raw).get("num_hidden_layers")
    parts = name.split(".")
    number = next((int(part) for part in parts if part.isdigit()), None)
    if "mtp" in name or (isinstance(layers, int) and number is not None and number >= layers):
        return "predicts more than one token"
    return "tied" if name.endswith(_HEADS) and tied(name, source) else None


def _of_a_tower(name: str) -> str | None:
    """Return why a tensor of a tower may go: it is computed anew, or no image or sound in a prompt asks for it."""
    if name.endswith(_POSITIONS):
        return "computed anew"
    return "not asked by a prompt" if _POOLING.search(name) else None


def _is_tied(name: str, source: SourceModel) -> bool:
    """Return whether a head is the embedding: it may go then, and nowhere else."""
    embedding = dict(tree_flatten(source.model.parameters())).get(_embedding(source))
    head = source.arrays.get(name)
    if embedding is None or head is None or embedding.shape != head.shape:
        return False
    other = next((theirs for theirs, array in source.arrays.items() if array is embedding), None)
    if other is not None and source.files.same_bytes(name, other):
        return True
    evaluate([head, embedding])
    return bool(mx.array_equal(embedding, head).item())
