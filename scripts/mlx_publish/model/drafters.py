"""Multi-token heads: which tensors of a source they are, and what a drafter of mlx-vlm is made of.

A drafter is a small model beside the model: it proposes the next tokens, which the model then judges at once. The
layout is that of mlx-vlm 0.7.10 (`mlx_vlm/split_mtp.py`, `mlx_vlm/speculative/drafters`). What a head must have is
taken from the source's own layers, of which it is one more: names and shapes, without a formula for each family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.model.drafter_parts import Part, Unfit, parts_of
from mlx_publish.model.names import shown
from mlx_publish.model.senses import is_language
from mlx_publish.model.weights import TensorInfo

__all__ = ["DRAFTERS", "FOLDER", "Drafter", "Unfit", "declared", "drafter_of", "heads_of", "is_head", "unsupported"]

FOLDER = "mtp"
"""Where the drafter lies in the folder of its model."""
MLX_VLM = "mlx-vlm 0.7"
FLOATS = ("BF16", "F16", "F32")
_DECLARED = ("mtp_num_hidden_layers", "num_nextn_predict_layers", "num_mtp_modules", "mtp_transformer_layers")
_MOST, _NAMED = 16, 3
_HEAD = re.compile(r"(?:^|\.)(?:mtp|nextn)\w*(?:\.|$)")
_PREFIX = re.compile(r"^(?:(?:model|language_model)\.)*mtp\.")
_BEHIND = re.compile(r"^(?:(?:model|language_model|backbone|transformer)\.)*layers\.(\d{1,6})\.")
_LAYER = re.compile(r"^(.*layers\.(\d{1,6})\.)(.+)$")
Shape = tuple[int, ...]
Own = Mapping[str, TensorInfo]
Config = Mapping[str, object]


@dataclass(frozen=True)
class Drafter:
    """A drafter, as it is to be made."""

    model_type: str
    parts: tuple[Part, ...]
    depth: int
    """Layers that the heads have."""
    block_size: int
    """Tokens of a round, the model's own included: mlx-vlm's default."""
    tied: bool
    """Whether embedding and output are one where the config does not say."""


def heads_of(tensors: Iterable[TensorInfo], config: Config) -> tuple[TensorInfo, ...]:
    """Return the tensors of the source's multi-token heads; `config` is the text part of config.json."""
    layers = config.get("num_hidden_layers")
    return tuple(tensor for tensor in tensors if is_head(tensor.name, layers))


def is_head(name: str, layers: object) -> bool:
    """Return whether a tensor is of a multi-token head; `layers` is the config's `num_hidden_layers`."""
    behind = _BEHIND.match(name)
    return bool(_HEAD.search(name)) or (behind is not None and type(layers) is int and int(behind[1]) >= layers > 0)


def declared(config: Config) -> int:
    """Return how many layers of multi-token heads config.json declares."""
    return next((value for key in _DECLARED if type(value := config.get(key)) is int and value > 0), 0)


def unsupported(kinds: Iterable[str | None]) -> str:
    """Say why there is no drafter for a model of these types; empty if there is one."""
    known = [kind for kind in kinds if kind]
    if any(kind in _FAMILIES for kind in known):
        return ""
    named = next((kind for kind in known if kind in _LACKING), "")
    if named:
        return _LACKING[named]
    return f"neither mlx-lm nor {MLX_VLM} has a drafter for {shown(known[0] if known else 'a model without a type')}"


def drafter_of(kinds: Iterable[str | None], config: Config, tensors: Sequence[TensorInfo]) -> Drafter:
    """Return the drafter of a source by its model types, the text part of its config and its headers.

    Raises `Unfit` if its heads are not there, not whole, of other shapes, or more than the drafter takes.
    """
    known = list(kinds)
    heads = heads_of(tensors, config)
    if not heads:
        there = f"config.json declares {told} layer(s) of them" if (told := declared(config)) else ""
        raise Unfit(f"the source has no multi-token heads{f', although {there}' if there else ''}")
    if reason := unsupported(known):
        raise Unfit(reason)
    family = next(_FAMILIES[str(kind)] for kind in known if kind in _FAMILIES)
    if strange := [tensor for tensor in heads if tensor.dtype not in FLOATS]:
        kind, name = shown(strange[0].dtype), shown(strange[0].name)
        raise Unfit(f"its heads are stored as {kind} ({name}), and a drafter is made of floats")
    names = {tensor.name for tensor in heads}
    own = family.own(config, heads)
    if len(own) != len(heads):
        raise Unfit(f"its heads have a tensor twice: {_some([name for name in names if name not in own])}")
    model = [tensor for tensor in tensors if tensor.name not in names and is_language(tensor.name)]
    wanted = dict(family.wanted(config, model, own))
    parts = tuple(family.parts(own, config))
    _compare({part.name: part for part in parts}, wanted)
    depth = family.depth(own)
    if (told := declared(config)) and told != depth:
        raise Unfit(f"config.json declares {told} layer(s) of multi-token heads, and the source has {depth}")
    return Drafter(family.model_type, parts, depth, depth + family.beyond, family.tied)


def _compare(made: Mapping[str, Part], wanted: Mapping[str, Shape]) -> None:
    """Raise `Unfit` unless the drafter's tensors are those of its class, each in its shape."""
    if missing := [name for name in wanted if name not in made]:
        raise Unfit(f"its heads are not whole: {_some(missing)} is missing")
    if more := [part.sources[0] for name, part in made.items() if name not in wanted]:
        raise Unfit(f"{MLX_VLM}'s drafter has no place for {_some(more)}")
    for name, shape in wanted.items():
        if made[name].shape != shape:
            own = list(made[name].shape)
            raise Unfit(f"{shown(made[name].sources[0])} gives {shown(name)} the shape {own}, not {list(shape)}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name) for name in names[:_NAMED]) + more


@dataclass(frozen=True)
class _Family:
    """Heads as Qwen 3.5 has them: `mtp.*`, with layers of full attention."""

    model_type: str
    beyond: int
    """How much longer than its depth mlx-vlm lets a round be."""
    tied: bool = False
    shifted: bool = False
    """Whether the source stores the scales of norms less one."""
    one: bool = False
    """Whether it is one head, whatever the number of its layers."""
    experts: Mapping[str, str] | None = None
    """Other names of an expert's projections."""

    def own(self, config: Config, heads: Sequence[TensorInfo]) -> Own:
        """Return the heads by the names that the drafter knows them by."""
        del config
        return {_PREFIX.sub("", tensor.name): tensor for tensor in heads}

    def parts(self, own: Own, config: Config) -> Iterator[Part]:
        """Yield what is made of tensors."""
        return parts_of(own, config, shifted=self.shifted, experts=self.experts or {})

    def wanted(self, config: Config, model: Sequence[TensorInfo], own: Own) -> Iterator[tuple[str, Shape]]:
        """Yield name and shape of all that the drafter has: layers as the model's own, and what joins them."""
        layer = _layer(model, "self_attn.q_proj.weight")
        width = _width(layer, "input_layernorm.weight")
        yield "fc.weight", (width, 2 * width)
        for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
            yield f"{name}.weight", (width,)
        for number in range(max(1, min(self.depth(own), _MOST))):
            for part in self.parts(layer, config):
                yield f"layers.{number}.{part.name}", part.shape

    def depth(self, own: Own) -> int:
        """Return how many layers the heads have; what has other layers is one head."""
        return 1 if self.one else len({name.split(".")[1] for name in own if name.startswith("layers.")})


class _Nemotron(_Family):
    """Heads of Nemotron-H: a layer for each letter of a pattern, attention or experts, all of them one head."""

    def wanted(self, config: Config, model: Sequence[TensorInfo], own: Own) -> Iterator[tuple[str, Shape]]:
        del own
        pattern, by_kind = pattern_of(config), {"*": "mixer.q_proj.weight", "E": "mixer.gate.weight"}
        if not pattern or set(pattern) - set(by_kind) or len(pattern) > _MOST:
            raise Unfit(f"config.json gives its heads the layers {shown(pattern)!r}; {MLX_VLM} drafts from * and E")
        for number, kind in enumerate(pattern):
            layer = _layer(model, by_kind[kind])
            width = _width(layer, "norm.weight")
            for part in self.parts(layer, config):
                yield f"layers.{number}.{part.name}", part.shape
        yield "layers.0.eh_proj.weight", (width, 2 * width)
        yield "layers.0.enorm.weight", (width,)
        yield "layers.0.hnorm.weight", (width,)
        yield f"layers.{len(pattern) - 1}.final_layernorm.weight", (width,)


class _Glm(_Family):
    """Heads of GLM 5: one layer behind the last one, with norms and a projection of its own."""

    def own(self, config: Config, heads: Sequence[TensorInfo]) -> Own:
        own, last = {}, str(config.get("num_hidden_layers"))
        for tensor in heads:
            found = _LAYER.match(tensor.name)
            if found is None or found[2] != last:
                raise Unfit(f"{MLX_VLM} drafts from one layer behind the last, not from {shown(tensor.name)}")
            own["mtp." + found[3].replace("shared_head.norm.", "shared_head_norm.")] = tensor
        return own

    def wanted(self, config: Config, model: Sequence[TensorInfo], own: Own) -> Iterator[tuple[str, Shape]]:
        del own
        layer = _layer(model, "mlp.gate.weight", "self_attn.indexer.wk.weight")
        width = _width(layer, "input_layernorm.weight")
        for part in self.parts(layer, config):
            yield f"mtp.{part.name}", part.shape
        yield "mtp.eh_proj.weight", (width, 2 * width)
        for name in ("enorm", "hnorm", "shared_head_norm"):
            yield f"mtp.{name}.weight", (width,)


def pattern_of(config: Config) -> str:
    """Return the layers of a Nemotron head, a letter each; transformers 5 writes words."""
    pattern = config.get("mtp_hybrid_override_pattern") or _letters(config.get("mtp_layers_block_type"))
    return pattern if isinstance(pattern, str) else ""


def _letters(words: object) -> str:
    return "".join(LETTERS.get(str(word), "?") for word in words) if isinstance(words, list) else ""


LETTERS: Mapping[str, str] = {
    "mamba": "M",
    "linear_attention": "M",
    "attention": "*",
    "full_attention": "*",
    "moe": "E",
    "mlp": "-",
}
"""Layers of Nemotron-H in words, of the config's authors and of transformers 5, and the letters that mlx-vlm reads."""


def _layer(model: Sequence[TensorInfo], *having: str) -> Own:
    """Return the last layer of the model that has these tensors, by the names within it."""
    layers: dict[str, dict[str, TensorInfo]] = {}
    for tensor in model:
        if found := _LAYER.match(tensor.name):
            layers.setdefault(found[1], {})[found[3]] = tensor
    for layer in reversed(layers.values()):
        if all(name in layer for name in having):
            return layer
    raise Unfit(f"the source has no layer with {having[0]} that its heads could be compared with")


def _width(layer: Own, norm: str) -> int:
    if norm not in layer or len(layer[norm].shape) != 1:
        raise Unfit(f"the source's layers have no {norm}")
    return layer[norm].shape[0]


_LACKING: Mapping[str, str] = {
    "qwen3_next": f"{MLX_VLM} splits the heads of qwen3_next, but its model gives them no hidden states",
    "glm4_moe_lite": f"{MLX_VLM} splits the heads of glm4_moe_lite, but has no class that loads them",
}
_QWEN = _Family("qwen3_5_mtp", 2, tied=True, shifted=True)
_FAMILIES: Mapping[str, _Family] = {
    "qwen3_5": _QWEN,
    "qwen3_5_moe": _QWEN,
    "nemotron_h": _Nemotron("nemotron_h_mtp", 1, one=True, experts={"up_proj": "fc1", "down_proj": "fc2"}),
    "glm_moe_dsa": _Glm("glm_moe_dsa_mtp", 1, one=True),
}
DRAFTERS = frozenset(_FAMILIES)
"""Model types, as mlx-lm names them, for which a drafter can be made."""
