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
_KEYS = re.compile(r"(.*layers\.)(\d+)(\.self_attn\.(?:k_proj|v_proj|k_norm)\.weight)")
_HEAD = "lm_head.weight"
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


def _of_donor(weights: Weights, wanted: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Weights:
    """Keys and values of layers that take those of a layer before them, which transformers 5 does not save.

    The class has parameters for them and does not use them; they are given those of the layer that they follow.
    """
    found, text = dict(weights), config.get("text_config") or config
    if not text.get("num_kv_shared_layers"):
        return found
    kinds = text.get("layer_types") or []
    for name in sorted(wanted.keys() - weights.keys()):
        if match := _KEYS.fullmatch(name):
            number = int(match[2])
            before = [n for n in range(number) if n < len(kinds) and number < len(kinds) and kinds[n] == kinds[number]]
            donors = [donor for n in reversed(before) if (donor := f"{match[1]}{n}{match[3]}") in weights]
            if donors and tuple(weights[donors[0]].shape) == wanted[name]:
                found[name] = weights[donors[0]]
    return found


def late(weights: Weights, wanted: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Weights:
    """What came out of `sanitize`, completed to the parameters that the class has: names and shapes in `wanted`."""
    if {name: tuple(array.shape) for name, array in weights.items()} == wanted:
        return weights
    tied = not any(name.endswith(_HEAD) for name in wanted)
    found = {
        name: array
        for name, array in weights.items()
        # A head beside a class that has none: engine/accounting says whether it is the embedding.
        if name in wanted or (is_language(name) and not (tied and name.endswith(_HEAD)))
    }
    found = _turned(_renamed(_stacked(found, wanted, config), wanted), wanted)
    return _of_donor(found, wanted, config)


def _turned(weights: Weights, wanted: Mapping[str, tuple[int, ...]]) -> Weights:
    """Convolutions in PyTorch's order, (channels, 1, width), that a class did not turn."""
    return {
        name: array.swapaxes(1, 2) if "conv" in name and _is_turned(array.shape, wanted.get(name)) else array
        for name, array in weights.items()
    }


def _is_turned(shape: tuple[int, ...], wanted: tuple[int, ...] | None) -> bool:
    return len(shape) == 3 and tuple(shape) != wanted and (shape[0], shape[2], shape[1]) == wanted


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
    ("block_sparse_moe.", "mlp."), (".attention.dense.", ".attention.o_proj."),
    ("attention_layer_norm", "input_layernorm"),
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


def _gemma3n(weights: Weights, _config: Mapping[str, Any]) -> Weights:
    """Its text part saved for itself; the class reads it within the whole model."""
    if any(name.startswith("model.language_model.") for name in weights):
        return weights
    return {
        name.replace("model.", "model.language_model.", 1): array
        for name, array in weights.items()
        if name.startswith("model.")
    }


def _own_head(weights: Weights, _config: Mapping[str, Any]) -> Weights:
    """A head of its own where the source has the embedding as its head: model/spellings says why."""
    embedding = weights.get("model.embed_tokens.weight")
    return weights if embedding is None else {"lm_head.weight": embedding, **weights}


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
    "minicpm3": _own_head, "gemma3n": _gemma3n, "gpt_oss": _gpt_oss, "qwen3_vl_moe": _hub_experts,
    "gpt2": _without_transformer, "nanochat": _replaced(*_NANOCHAT),
    "kimi_k25": _replaced(("language_model.model.blocks.", "language_model.model.layers.")),
}  # fmt: skip
