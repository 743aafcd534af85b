"""Names and forms of tensors that transformers 5 saves and mlx-lm's classes do not read, as its `sanitize` misses them.

What a class makes is completed afterwards: experts that are stored one by one are stacked, those that are stored
turned are turned, parts that a class forgot to leave out go. `early` is for what `sanitize` itself would read wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlx.core as mx

from mlx_publish.model.senses import is_language

Weights = dict[str, mx.array]
_EXPERT = re.compile(r"(.*)\.experts\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
_GATE_UP = re.compile(r"(.*\.experts)\.gate_up_proj")
_NANOCHAT = (
    ("model.embed_tokens", "transformer.wte"), ("model.layers.", "transformer.h."),
    (".self_attn.o_proj", ".attn.c_proj"),
    (".self_attn.q_norm", ".attn.q_norm"), (".self_attn.k_norm", ".attn.k_norm"), (".self_attn.q_proj", ".attn.c_q"),
    (".self_attn.k_proj", ".attn.c_k"), (".self_attn.v_proj", ".attn.c_v"), (".mlp.fc1", ".mlp.c_fc"),
    (".mlp.fc2", ".mlp.c_proj"),
)  # fmt: skip


def early(weights: Weights, kind: str, config: Mapping[str, Any]) -> Weights:
    """What goes into `sanitize` of the class of a model type."""
    adapt = _EARLY.get(kind)
    return adapt(weights, config) if adapt else weights


def late(weights: Weights, wanted: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Weights:
    """What came out of `sanitize`, completed to the parameters that the class has: names and shapes in `wanted`."""
    if weights.keys() == wanted.keys():
        return weights
    found = {name: array for name, array in weights.items() if name in wanted or is_language(name)}
    return _renamed(_stacked(found, wanted, config), wanted)


def _stacked(weights: Weights, wanted: Mapping[str, Any], config: Mapping[str, Any]) -> Weights:
    """Experts one by one become the one tensor that the class has for them; LongCat's that compute nothing go."""
    groups: dict[tuple[str, str], dict[int, str]] = {}
    for name in weights.keys() - wanted.keys():
        if match := _EXPERT.fullmatch(name):
            groups.setdefault((match[1], match[3]), {})[int(match[2])] = name
    found, count = dict(weights), config.get("n_routed_experts")
    for (stem, part), names in groups.items():
        target = f"{stem}.switch_mlp.{part}.weight"
        if target in wanted and target not in weights and sorted(names) == list(range(len(names))):
            found[target] = mx.stack([found.pop(names[number]) for number in sorted(names)])
        elif config.get("zero_expert_num") and isinstance(count, int) and min(names) >= count:
            for name in names.values():
                del found[name]
    return found


def _renamed(weights: Weights, wanted: Mapping[str, Any]) -> Weights:
    """Names that stand in the words of another part of the same architecture, each where the class lacks just that."""
    found = {}
    for name, array in weights.items():
        others = (name.replace(one, other) for one, other in _LATE) if name not in wanted else ()
        found[next((new for new in others if new != name and new in wanted and new not in weights), name)] = array
    return found


# Kimi Linear's dense layers, and the norms of Olmo's linear ones.
_LATE = (
    ("block_sparse_moe.", "mlp."), ("attention_layer_norm", "input_layernorm"),
    ("feedforward_layer_norm", "post_attention_layernorm"), ("feedforward_layer_norm", "post_feedforward_layernorm"),
)  # fmt: skip


def _gpt_oss(weights: Weights, _config: Mapping[str, Any]) -> Weights:
    """Experts in bfloat16, (experts, in, out); the class reads them under the names that mxfp4 blocks become."""
    return {
        **{name: array for name, array in weights.items() if not _turned_expert(name)},
        **{f"{name}.weight": array.swapaxes(1, 2) for name, array in weights.items() if _turned_expert(name)},
    }


def _turned_expert(name: str) -> bool:
    return name.endswith((".experts.gate_up_proj", ".experts.down_proj"))


def _hub_experts(weights: Weights, config: Mapping[str, Any]) -> Weights:
    """Experts as (experts, out, in), which transformers 5 saves; the class reads the Hub's (experts, in, out)."""
    hidden = (config.get("text_config") or config).get("hidden_size")
    found = dict(weights)
    for stem, gate_up, down in _fused(weights):
        if down.shape[1] == hidden and down.shape[2] != hidden:
            found[f"{stem}.gate_up_proj"] = gate_up.swapaxes(1, 2)
            found[f"{stem}.down_proj"] = down.swapaxes(1, 2)
    return found


def _fused(weights: Weights) -> Iterator[tuple[str, mx.array, mx.array]]:
    for name, array in weights.items():
        match = _GATE_UP.fullmatch(name)
        if match and (down := weights.get(f"{match[1]}.down_proj")) is not None:
            yield match[1], array, down


def _replaced(*pairs: tuple[str, str]) -> Callable[[Weights, Mapping[str, Any]], Weights]:
    def replace(weights: Weights, _config: Mapping[str, Any]) -> Weights:
        found = {}
        for name, array in weights.items():
            new = name
            for one, other in pairs:
                new = new.replace(one, other)
            found[new] = array
        return found

    return replace


def _without_transformer(weights: Weights, _config: Mapping[str, Any]) -> Weights:
    """The Hub's gpt2 has names without the prefix that transformers saves, and the class puts its own in front."""
    return {name.removeprefix("transformer."): array for name, array in weights.items()}


_EARLY: Mapping[str, Callable[[Weights, Mapping[str, Any]], Weights]] = {
    "gpt_oss": _gpt_oss, "qwen3_vl_moe": _hub_experts, "gpt2": _without_transformer, "nanochat": _replaced(*_NANOCHAT),
    "kimi_k25": _replaced(("language_model.model.blocks.", "language_model.model.layers.")),
}  # fmt: skip
