"""Names and forms of tensors that transformers 5 saves and mlx-lm's classes do not read, as its `sanitize` misses them.

What a class makes is completed afterwards: experts that are stored one by one are stacked, those that are stored
turned are turned, parts that a class forgot to leave out go. `early` is for what `sanitize` itself would read wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import mlx.core as mx

from mlx_publish.model.config import ModelConfig
from mlx_publish.model.senses import is_language

Weights = dict[str, mx.array]
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the parameters that a class has, by name."""
Adapt = Callable[[Weights, ModelConfig], Weights]
_EXPERT = re.compile(r"(.*)\.experts\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
_KEYS = re.compile(r"(.*layers\.)(\d+)(\.self_attn\.(?:k_proj|v_proj|k_norm)\.weight)")
_HEAD = "lm_head.weight"
_GATE_UP = re.compile(r"(.*\.experts)\.gate_up_proj")
_NANOCHAT = (
    ("model.embed_tokens", "transformer.wte"),
    ("model.layers.", "transformer.h."),
    (".self_attn.o_proj", ".attn.c_proj"),
    (".self_attn.q_norm", ".attn.q_norm"),
    (".self_attn.k_norm", ".attn.k_norm"),
    (".self_attn.q_proj", ".attn.c_q"),
    (".self_attn.k_proj", ".attn.c_k"),
    (".self_attn.v_proj", ".attn.c_v"),
    (".mlp.fc1", ".mlp.c_fc"),
    (".mlp.fc2", ".mlp.c_proj"),
)


def early(weights: Weights, config: ModelConfig) -> Weights:
    """Return what goes into `sanitize` of the class of a model type."""
    adapt = _EARLY.get(config.model_type or "")
    return adapt(weights, config) if adapt else weights


def _of_donor(weights: Weights, wanted: Shapes, config: ModelConfig) -> Weights:
    """Add keys and values of layers that take those of a layer before them, which transformers 5 does not save.

    The class has parameters for them and does not use them; they are given those of the layer that they follow.
    """
    whole, text = dict(weights), config.text or config.raw
    if not text.get("num_kv_shared_layers"):
        return whole
    kinds = text.get("layer_types") or []
    for name in sorted(wanted.keys() - weights.keys()):
        if match := _KEYS.fullmatch(name):
            number = int(match[2])
            before = [n for n in range(number) if n < len(kinds) and number < len(kinds) and kinds[n] == kinds[number]]
            donors = [donor for n in reversed(before) if (donor := f"{match[1]}{n}{match[3]}") in weights]
            if donors and tuple(weights[donors[0]].shape) == wanted[name]:
                whole[name] = weights[donors[0]]
    return whole


def late(weights: Weights, wanted: Shapes, config: ModelConfig) -> Weights:
    """What came out of `sanitize`, completed to the parameters that the class has: names and shapes in `wanted`."""
    if {name: tuple(array.shape) for name, array in weights.items()} == wanted:
        return weights
    tied = not any(name.endswith(_HEAD) for name in wanted)
    kept = {
        name: array
        for name, array in weights.items()
        # A head beside a class that has none: engine/accounting says whether it is the embedding.
        if name in wanted or (is_language(name) and not (tied and name.endswith(_HEAD)))
    }
    return _of_donor(_turned(_renamed(_stacked(kept, wanted, config), wanted), wanted), wanted, config)


def _turned(weights: Weights, wanted: Shapes) -> Weights:
    """Turn convolutions in PyTorch's order, (channels, 1, width), that a class did not turn."""
    turned = dict(weights)
    for name, array in weights.items():
        if "conv" in name and array.ndim == 3:
            channels, middle, last = array.shape
            if middle != last and wanted.get(name) == (channels, last, middle):
                turned[name] = array.swapaxes(1, 2)
    return turned


def _stacked(weights: Weights, wanted: Shapes, config: ModelConfig) -> Weights:
    """Stack experts to the one tensor that the class has for them; LongCat's that compute nothing go."""
    groups: dict[tuple[str, str], dict[int, str]] = {}
    for name in weights.keys() - wanted.keys():
        if match := _EXPERT.fullmatch(name):
            groups.setdefault((match[1], match[3]), {})[int(match[2])] = name
    stacked, count = dict(weights), config.raw.get("n_routed_experts")
    for (stem, part), names in groups.items():
        target = f"{stem}.switch_mlp.{part}.weight"
        if target in wanted and target not in weights and sorted(names) == list(range(len(names))):
            stacked[target] = mx.stack([stacked.pop(names[number]) for number in sorted(names)])
        elif config.raw.get("zero_expert_num") and isinstance(count, int) and min(names) >= count:
            for name in names.values():
                del stacked[name]
    return stacked


def _renamed(weights: Weights, wanted: Shapes) -> Weights:
    """Rename what has the words of another part of the same architecture, each where the class lacks just that."""
    renamed = {}
    for name, array in weights.items():
        others = (name.replace(old, new) for old, new in _LATE) if name not in wanted else ()
        renamed[next((new for new in others if new != name and new in wanted and new not in weights), name)] = array
    return renamed


# Kimi Linear's dense layers, and the norms of Olmo's linear ones.
_LATE = (
    ("block_sparse_moe.", "mlp."),
    (".attention.dense.", ".attention.o_proj."),
    ("attention_layer_norm", "input_layernorm"),
    ("feedforward_layer_norm", "post_attention_layernorm"),
    ("feedforward_layer_norm", "post_feedforward_layernorm"),
)


def _gpt_oss(weights: Weights, _config: ModelConfig) -> Weights:
    """Turn experts in bfloat16, (experts, in, out); the class reads them under the names that mxfp4 blocks become."""
    return {
        **{name: array for name, array in weights.items() if not _is_turned_expert(name)},
        **{f"{name}.weight": array.swapaxes(1, 2) for name, array in weights.items() if _is_turned_expert(name)},
    }


def _is_turned_expert(name: str) -> bool:
    return name.endswith((".experts.gate_up_proj", ".experts.down_proj"))


def _hub_experts(weights: Weights, config: ModelConfig) -> Weights:
    """Turn experts as (experts, out, in), which transformers 5 saves; the class reads the Hub's (experts, in, out)."""
    hidden = (config.text or config.raw).get("hidden_size")
    turned = dict(weights)
    for stem, gate_up, down in _fused(weights):
        if down.shape[1] == hidden and down.shape[2] != hidden:
            turned[f"{stem}.gate_up_proj"] = gate_up.swapaxes(1, 2)
            turned[f"{stem}.down_proj"] = down.swapaxes(1, 2)
    return turned


def _fused(weights: Weights) -> Iterator[tuple[str, mx.array, mx.array]]:
    for name, array in weights.items():
        match = _GATE_UP.fullmatch(name)
        if match and (down := weights.get(f"{match[1]}.down_proj")) is not None:
            yield match[1], array, down


def _gemma3n(weights: Weights, _config: ModelConfig) -> Weights:
    """Name the text part, saved for itself, as a part; the class reads it within the whole model."""
    if any(name.startswith("model.language_model.") for name in weights):
        return weights
    return {
        name.replace("model.", "model.language_model.", 1): array
        for name, array in weights.items()
        if name.startswith("model.")
    }


def _own_head(weights: Weights, _config: ModelConfig) -> Weights:
    """Give it a head of its own where the source has the embedding as its head: model/spellings says why."""
    embedding = weights.get("model.embed_tokens.weight")
    return weights if embedding is None else {"lm_head.weight": embedding, **weights}


def _replaced(*pairs: tuple[str, str]) -> Adapt:
    def replace(weights: Weights, _config: ModelConfig) -> Weights:
        renamed = {}
        for name, array in weights.items():
            for old, new in pairs:
                name = name.replace(old, new)  # noqa: PLW2901
            renamed[name] = array
        return renamed

    return replace


def _without_transformer(weights: Weights, _config: ModelConfig) -> Weights:
    """The Hub's gpt2 has names without the prefix that transformers saves, and the class puts its own in front."""
    return {name.removeprefix("transformer."): array for name, array in weights.items()}


_EARLY: Mapping[str, Adapt] = {
    "minicpm3": _own_head,
    "gemma3n": _gemma3n,
    "gpt_oss": _gpt_oss,
    "qwen3_vl_moe": _hub_experts,
    "gpt2": _without_transformer,
    "nanochat": _replaced(*_NANOCHAT),
    "kimi_k25": _replaced(("language_model.model.blocks.", "language_model.model.layers.")),
}
