"""A base with an adapter: each tensor of the adapter in its place, and what a tied head becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlx_publish.model.adapted import Adapted, Factor, Fusing, Update
from mlx_publish.model.adapter_base import TURNED_EXPERTS, Base
from mlx_publish.model.adapter_config import AdapterConfig
from mlx_publish.model.adapter_draft import Draft, Same
from mlx_publish.model.adapter_mlx import place_mlx
from mlx_publish.model.adapter_parts import Parts, complete, not_placed, of_peft
from mlx_publish.model.weights import TensorInfo

_IN_ORDER = ("gate_up_proj", "gate_up_proj_bias", "gate_proj", "up_proj", "down_proj", "down_proj_bias")
"""Parameters as transformers registers them: PEFT wraps them so, the last one outermost."""
_SWAPPED_SINCE = (0, 21)
"""Version of PEFT from which on a stack (experts, out, in) surely is adapted as such, not as (experts, in, out)."""


Keys = Mapping[str, int | bool]


def fusing_of(adapter: AdapterConfig, tensors: Sequence[TensorInfo], base: Base, same: Same) -> Fusing:
    """Return what an adapter makes of its base. `Refused` naming the tensor that has no place there."""
    draft = Draft(base, same)
    if not tensors:
        raise not_placed(TensorInfo(adapter.weights, "", (), 0), "holds no tensors", "Complete the adapter.")
    config: Keys = {}
    if adapter.maker == "mlx-lm":
        changes = tuple(place_mlx(adapter, tensors))
    else:
        _place_peft(draft, adapter, tensors)
        changes, config = _with_head(draft, adapter)
    ranks = sorted({update.rank for change in changes for update in change.updates})
    return Fusing(adapter.kind, adapter.maker, tuple(ranks[:1] + ranks[-1:]), len(tensors), changes, config)


def _place_peft(draft: Draft, adapter: AdapterConfig, tensors: Sequence[TensorInfo]) -> None:
    parts, dora = of_peft(tensors), adapter.kind == "dora"
    for names, tensor in parts.whole:
        draft.whole(names, tensor)
    for module in parts.modules:
        first, name = next(iter(module.tensors.values())), module.module
        if tokens := module.tensors.get("tokens"):
            complete(module, {"tokens": True})
            draft.rows(name, tokens, _ids_of(adapter, name, tokens))
        elif parameters := _parameters(draft.base, adapter, name):
            if module.wraps >= len(parameters):
                raise not_placed(first, f"is one more than the {len(parameters)} parameters that are adapted there")
            parameter = parameters[len(parameters) - 1 - module.wraps]
            _stack(draft, module, parameter, adapter)
        elif "lora_embedding_A" in module.tensors or "lora_embedding_B" in module.tensors:
            draft.embedding(module, adapter.scale_of(name), adapter.rank_of(name), dora=dora)
        else:
            draft.matrix(module, adapter.scale_of(name), adapter.rank_of(name), dora=dora)


def _parameters(base: Base, adapter: AdapterConfig, module: str) -> Sequence[str]:
    """Return the parameters of a module that are adapted themselves, in the order in which they are wrapped."""
    named = (target.rpartition(".") for target in adapter.parameters)
    there = {name for of, _, name in named if _is_of(base, module, of, name)}
    return sorted(there, key=lambda name: (_IN_ORDER.index(name) if name in _IN_ORDER else len(_IN_ORDER), name))


def _is_of(base: Base, module: str, of: str, parameter: str) -> bool:
    """Return whether a target is a parameter of this module: `down_proj` alone is one of each that has such a one."""
    if of:
        return module == of or module.endswith(f".{of}")
    return base.stacked(module, parameter) is not None or base.find(f"{module}.{parameter}") is not None


def _ids_of(adapter: AdapterConfig, module: str, tensor: TensorInfo) -> tuple[int, ...]:
    ids = adapter.tokens
    if isinstance(ids, Mapping):
        ids = next((own for of, own in ids.items() if module == of or module.endswith(f".{of}")), None)
    if ids is None:
        raise not_placed(tensor, "has no ids in trainable_token_indices", "Complete adapter_config.json.")
    return ids


def _stack(draft: Draft, parts: Parts, parameter: str, adapter: AdapterConfig) -> None:
    """Place the updates of a parameter.

    Of stacked experts lora_A is (experts * rank, in) and lora_B (out, rank * experts), where the experts lie next to
    each other.
    """
    name = f"{parts.module}.{parameter}"
    scale, rank = adapter.scale_of(name), adapter.rank_of(name)
    complete(parts, {"lora_A": True, "lora_B": True})
    a, b = parts.tensors["lora_A"], parts.tensors["lora_B"]
    experts = draft.base.stacked(parts.module, parameter)
    if experts is None:
        _flat(draft, name, a, b, scale, rank)
        return
    draft.floats(b)
    count = len(experts.slots)
    sizes = (rank * count, rank * count)
    if len(a.shape) != 2 or len(b.shape) != 2 or (a.shape[0], b.shape[1]) != sizes:
        raise not_placed(a, f"and its pair are not {count} experts of rank {rank}", "Complete the adapter.")
    into, out = a.shape[1], b.shape[0]
    straight, turned = (out, into) == (experts.rows, experts.columns), (into, out) == (experts.rows, experts.columns)
    if not straight and not turned:
        shapes = f"{list(a.shape)} and {list(b.shape)}"
        raise not_placed(a, f"and its pair have the shapes {shapes}, and an expert {[experts.rows, experts.columns]}")
    if straight and turned:
        turned = bool(draft.base.kinds & TURNED_EXPERTS) or _is_older(adapter, a)
    for expert, slots in enumerate(experts.slots):
        of_a, of_b = Factor(a.name, not straight or turned, expert, count), Factor(b.name, False, expert, count, True)
        left, right = (of_a, replace(of_b, turned=True)) if of_a.turned else (of_b, of_a)
        draft.stacked(slots, a, Update(0, 0, left, right, scale, rank))


def _is_older(adapter: AdapterConfig, tensor: TensorInfo) -> bool:
    """Return whether square experts are adapted as (experts, in, out). `Refused` where nobody can tell."""
    version = tuple(map(int, re.findall(r"\d+", adapter.version)[:2]))
    if version >= _SWAPPED_SINCE:
        return False
    raise not_placed(
        tensor,
        "adapts square experts, and older versions of PEFT took their sides the other way round",
        "Load and save the adapter with PEFT 0.21 or newer, after comparing what it computes.",
    )


def _flat(draft: Draft, name: str, a: TensorInfo, b: TensorInfo, scale: float, rank: int) -> None:
    """Place the update of a parameter that is one matrix."""
    parts = Parts(name.removesuffix(".weight"), 0, {"lora_A": a, "lora_B": b})
    if draft.base.find(f"{parts.module}.weight") is not None:
        draft.matrix(parts, scale, rank, dora=False)
        return
    made = draft.target((name,), a)
    draft.dense(made, parts, scale, rank)


def _with_head(draft: Draft, adapter: AdapterConfig) -> tuple[tuple[Adapted, ...], Keys]:
    """Return the changes with what an embedding that is the head becomes, and the keys of the config that change.

    An adapter adapts one use of a tied matrix, or both. Where both stay the same it stays tied; else the head becomes
    a tensor of its own, as the base's class may have it.
    """
    base, changes = draft.base, dict(draft.changes())
    embedding, head = changes.get(base.embedding), changes.get(base.head)
    config: dict[str, int | bool] = {}
    if base.tied and (embedding or head):
        if embedding and head and _alike(embedding, head, draft.same):
            changes.pop(base.head)
        elif head is None and embedding and (_is_of_both(embedding, adapter) or _is_unchanged(embedding)):
            pass
        else:
            config["tie_word_embeddings"] = False
            changes[base.head] = head or _copied(base, embedding)
        embedding, head = changes.get(base.embedding), changes.get(base.head)
    return tuple(changes.values()), {**config, **_vocabulary(draft, embedding, head)}


def _is_of_both(embedding: Adapted, adapter: AdapterConfig) -> bool:
    """Return whether a change of the embedding is one of the tied head, too: PEFT's token rows are."""
    return adapter.tied or (embedding.rows_of is not None and not embedding.updates)


def _is_unchanged(embedding: Adapted) -> bool:
    return not (embedding.instead or embedding.updates or embedding.rows_of)


def _copied(base: Base, embedding: Adapted | None) -> Adapted:
    """Return the head as it was: the base's embedding, or the one that the adapter brings below its updates."""
    tensor = base.by_name[base.embedding]
    brought = embedding.instead if embedding and embedding.updates else None
    shape = embedding.shape if embedding and brought else tensor.shape
    return Adapted(base.head, tensor.dtype, shape, tensor.name, brought)


def _alike(one: Adapted, other: Adapted, same: Same) -> bool:
    """Return whether two changes of one matrix give the same numbers."""
    if bool(one.instead) != bool(other.instead) or len(one.updates) != len(other.updates):
        return False
    if one.instead and other.instead and not same(one.instead, other.instead, False):
        return False
    if one.magnitude or other.magnitude or one.rows_of or other.rows_of:
        return False
    return all(
        a.scale == b.scale
        and same(a.left.tensor, b.left.tensor, a.left.turned != b.left.turned)
        and same(a.right.tensor, b.right.tensor, a.right.turned != b.right.turned)
        for a, b in zip(one.updates, other.updates, strict=True)
    )


def _vocabulary(draft: Draft, embedding: Adapted | None, head: Adapted | None) -> Keys:
    """Return the size of a vocabulary that an adapter changed. `Refused` if embedding and head differ in it."""
    base = draft.base
    was = base.by_name[base.embedding].shape[0] if base.embedding else 0
    rows = embedding.shape[0] if embedding else was
    own = base.by_name.get(base.head)
    of_head = head.shape[0] if head else own.shape[0] if own and not base.tied else rows
    if rows != of_head and (embedding or head):
        name = (head if head and head.instead else embedding or head) or None
        tensor = TensorInfo((name.instead or name.name) if name else base.head, "", (), 0)
        raise not_placed(tensor, f"gives the embedding {rows:,} rows, and the output head has {of_head:,}")
    return {"vocab_size": rows} if rows != was else {}
