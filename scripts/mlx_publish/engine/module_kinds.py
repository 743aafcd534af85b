"""What a module that can be quantized does in its model, by its class and its name, and how few bits it may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlx import nn

from mlx_publish.engine.backends import backend
from mlx_publish.evidence.conversion import VariantOrder

LEAST_GROUP = 32
"""Weights of the smallest group, of which there must be a whole number in a row."""
LEAST = 2
"""Bits of what has no floor of its own."""
FLOORS: Mapping[str, int] = {"router": 8, "indexer": 8, "state-space": 4, "embedding": 4, "head": 4}
"""Bits below which a kind is never planned: an error there is an error of choice, or one that stays in a state."""
_STATE_CONTROL = 8
"""Bits of the small products that set how a state decays and what enters it."""
_ROUTERS = "gate|router|wg|shared_expert_gate|modality_router"
_STATES = "mamba|mamba2|mixer|ssm|linear_attn|linear_attention|gated_delta_net|kda|conv|short_conv"
_STATE_SMALL = re.compile(r"(^|\.)(x_proj|dt_proj|bcdt_proj|in_proj_(a|b|ba)|[ab]_proj|[fg]_[ab]_proj)$")
_BY_NAME: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("indexer", re.compile(r"(^|\.)indexer(\.|$)")),
    ("router", re.compile(rf"(^|\.)({_ROUTERS})(\.(layer|proj|gate|gate_proj|wg))?$")),
    ("attention", re.compile(r"(^|\.)((self_attn|attn|attention|cross_attn|self_attention)(\.|$)|([qkvo]|qkv)_proj$)")),
    ("state-space", re.compile(rf"(^|\.)({_STATES})(\.|$)")),
    ("mlp", re.compile(r"(^|\.)(mlp|feed_forward|ffn|block_sparse_moe|shared_experts?|shared_mlp|moe)(\.|$)")),
)
_HEAD = re.compile(r"(^|\.)(lm_head|output|head|embed_out)$")
_EXPERTS = "SwitchLinear"


def quantizable(model: nn.Module) -> dict[str, Any]:
    """Return the modules that can be quantized, by path."""
    return {path: module for path, module in model.named_modules() if hasattr(module, "to_quantized")}


def wanted_by_class(model: nn.Module, order: VariantOrder) -> dict[str, bool | dict[str, Any]]:
    """Return what the model's class says of each of them for an order: False for never, True, or settings."""
    chosen = backend().predicate(model, order)
    return {path: chosen(path, module) if chosen else True for path, module in quantizable(model).items()}


def kind_of(path: str, module: nn.Module, *, head: bool) -> str:
    """Return the kind of a module as `ModuleSensitivity` names them; `head` says that its products are the logits."""
    if head or _HEAD.search(path):
        return "head"
    if hasattr(module, "as_linear"):
        return "embedding"
    if any(base.__name__.endswith(_EXPERTS) for base in type(module).__mro__):
        return "experts"
    return next((kind for kind, pattern in _BY_NAME if pattern.search(path)), "other")


def floor_of(path: str, kind: str, chosen: Any) -> int:
    """Return the fewest bits of a module; `chosen` is what the class's own predicate says of it.

    The bits that a class asks for count for routers. Elsewhere they are rules for formats that plans do not use
    (mlx_lm/models/granite.py: small floats underflow), and what is measured is better.
    """
    least = FLOORS.get(kind, LEAST)
    if kind == "state-space" and _STATE_SMALL.search(path):
        least = _STATE_CONTROL
    if kind == "router" and isinstance(chosen, dict):
        least = max(least, int(chosen.get("bits", least)))
    return least
