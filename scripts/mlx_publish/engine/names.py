"""Names and forms of tensors that transformers 5 saves and mlx-lm's classes do not read, as its `sanitize` misses them.

What a class makes is completed afterwards: experts that are stored one by one are stacked, those that are stored
turned are turned, parts that a class forgot to leave out go. `early` is for what `sanitize` itself would read wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import mlx.core as mx

from mlx_publish.model.config import ModelConfig
from mlx_publish.model.senses import is_language

Weights = dict[str, mx.array]
Shapes = Mapping[str, tuple[int, ...]]
"""Names and shapes of the parameters that a class has."""
Adapt = Callable[[Weights, ModelConfig], Weights]
"""Makes of the source's tensors what `sanitize` of a class reads, by the config."""
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
    """Give layers that take keys and values of a layer before them those of that layer: transformers 5 saves none.

    The class has parameters for them and does not use them.
    """
    completed, text = dict(weights), config.text or config.raw
    if not text.get("num_kv_shared_layers"):
        return completed
    kinds = text.get("layer_types") or []
    for name in sorted(wanted.keys() - weights.keys()):
        if match := _KEYS.fullmatch(name):
            number = int(match[2])
            before = [n for n in range(number) if n < len(kinds) and number < len(kinds) and kinds[n] == kinds[number]]
            donors = [donor for n in reversed(before) if (donor := f"{match[1]}{n}{match[3]}") in weights]
            if donors and tuple(weights[donors[0]].shape) == wanted[name]:
                completed[name] = weights[donors[0]]
    return completed


def late(weights: Weights, wanted: Shapes, config: ModelConfig) -> Weights:
    """Complete what came out of `sanitize` to the parameters that the class has: names and shapes in `wanted`."""
    if {name: tuple(array.shape) for name, array in weights.items()} == wanted:
        return weights
    tied = not any(name.endswith(_HEAD) for name in wanted)
    kept = {
        name: array
        for name, array in weights.items()
        # A head beside a class that has none: engine/accounting says whether it is the embedding.
        if name in wanted or (is_language(name) and not (tied and name.endswith(_HEAD)))
    }
    renamed = _renamed(_stacked(kept, wanted, config), wanted)
    return _of_donor(_turned(renamed, wanted), wanted, config)


def _turned(weights: Weights, wanted: Shapes) -> Weights:
    """Turn convolutions in PyTorch's order, (channels, 1, width), that a class did not turn."""
    turned = dict(weights)
    for name, array in weights.items():
        shape, fitting = tuple(array.shape), wanted.get(name)
        if "conv" in name and len(shape) == 3 and shape != fitting and (shape[0], shape[2], shape[1]) == fitting:
            turned[name] = array.swapaxes(1, 2)
    return turned


def _stacked(weights: Weights, wanted: Shapes, config: ModelConfig) -> Weights:
    """Stack experts to the one tensor that the class has for them, and drop LongCat's that compute nothing."""
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
    """Rename tensors that have the words of another part of the same architecture, where the class lacks just that."""
    renamed = {}
    for name, array in weights.items():
        others = (name.replace(part, other) for part, other in _LATE) if name not in wanted else ()
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


def gpt_oss(weights: Weights, _config: ModelConfig) -> Weights:
    """Give the experts the names and the order that the class has, as what it makes of mxfp4 blocks.

    In bfloat16 they are (experts, in, out) and are turned. Those that are read of blocks are there by the names of the
    class, which then leaves the biases as they are: the numbers of gate and up take turns.
    """
    named = {}
    for name, array in weights.items():
        stem, _, kind = name.rpartition(".")
        if _is_turned_expert(name):
            named[f"{name}.weight"] = array.swapaxes(1, 2)
        elif kind == "gate_up_proj_bias" and f"{stem}.gate_proj.weight" in weights:
            named[f"{stem}.gate_proj.bias"] = array[..., ::2]
            named[f"{stem}.up_proj.bias"] = array[..., 1::2]
        elif kind == "down_proj_bias" and f"{stem}.gate_proj.weight" in weights:
            named[f"{stem}.down_proj.bias"] = array
        else:
            named[name] = array
    return named


def _is_turned_expert(name: str) -> bool:
    return name.endswith((".experts.gate_up_proj", ".experts.down_proj"))


def hub_experts(weights: Weights, config: ModelConfig) -> Weights:
    """Turn experts as transformers 5 saves them, (experts, out, in), to the Hub's (experts, in, out)."""
    hidden = (config.text or config.raw).get("hidden_size")
    turned = dict(weights)
    for name, gate_up in weights.items():
        match = _GATE_UP.fullmatch(name)
        down = weights.get(f"{match[1]}.down_proj") if match else None
        if match and down is not None and _is_turned(gate_up.shape, down.shape, hidden):
            turned[name] = gate_up.swapaxes(1, 2)
            turned[f"{match[1]}.down_proj"] = down.swapaxes(1, 2)
    return turned


def _is_turned(gate_up: tuple[int, ...], down: tuple[int, ...], hidden: object) -> bool:
    """Return whether experts are (experts, out, in); where one of both is square, the other one says it."""
    return (gate_up[2] == hidden and hidden != gate_up[1]) or (down[1] == hidden and hidden != down[2])


def gemma3n(weights: Weights, _config: ModelConfig) -> Weights:
    """Put a text part that is saved for itself where the class reads it: within the whole model."""
    if any(name.startswith("model.language_model.") for name in weights):
        return weights
    return {
        name.replace("model.", "model.language_model.", 1): array
        for name, array in weights.items()
        if name.startswith("model.")
    }


def channels_last(made: Weights, given: Weights, convolutions: Collection[str]) -> Weights:
    """Put the channels of convolutions last whose sides are all alike, where a class takes them for MLX's already.

    PyTorch has (out, in, height, width). The classes tell the two orders apart by the sides: with as many channels as
    the kernel is wide they cannot. A file is in one order: where a convolution with other sides was left as it is, all
    of them are MLX's.
    """
    own = {id(array) for array in given.values()}
    left = [path for path in convolutions if path in made and id(made[path]) in own and made[path].ndim > 3]
    alike = [path for path in left if len(set(made[path].shape[1:])) == 1 and made[path].shape[-1] > 1]
    if len(alike) < len(left):
        return made
    return {**made, **{path: mx.moveaxis(made[path], 1, -1) for path in alike}}


_OUTER, _INNER = "vision_tower.", "vision_tower.vision_model."


def towers_placed(weights: Weights, wanted: Collection[str]) -> Weights:
    """Put a vision tower's names where the class of mlx-vlm reads them: transformers 5 leaves one level out."""
    if any(_INNER in name for name in weights) or not any(name.startswith(_INNER) for name in wanted):
        return weights
    return {name.replace(_OUTER, _INNER, 1): array for name, array in weights.items()}


def own_head(weights: Weights, _config: ModelConfig) -> Weights:
    """Add a head where the source has its embedding as head: model/spellings says why, or the class knows no other."""
    embedding = weights.get("model.embed_tokens.weight", weights.get("model.language_model.embed_tokens.weight"))
    return weights if embedding is None else {"lm_head.weight": embedding, **weights}


def replaced(*pairs: tuple[str, str]) -> Adapt:
    """Return what replaces parts of names, pair by pair."""

    def replace(weights: Weights, _config: ModelConfig) -> Weights:
        renamed = {}
        for name, array in weights.items():
            new = name
            for part, other in pairs:
                new = new.replace(part, other)
            renamed[new] = array
        return renamed

    return replace


def without_transformer(weights: Weights, _config: ModelConfig) -> Weights:
    """Drop the prefix that transformers saves: the class puts its own in front of the Hub's names."""
    return {name.removeprefix("transformer."): array for name, array in weights.items()}


_EARLY: Mapping[str, Adapt] = {
    "minicpm3": own_head,
    "paddleocr_vl": own_head,
    "gemma3n": gemma3n,
    "gpt_oss": gpt_oss,
    "qwen3_vl_moe": hub_experts,
    "gpt2": without_transformer,
    "nanochat": replaced(*_NANOCHAT),
    "kimi_k25": replaced(("language_model.model.blocks.", "language_model.model.layers.")),
}
