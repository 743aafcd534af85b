"""adapter_config.json: what an adapter is, how much it adds, and the model that it was trained on.

Source: PEFT's `LoraConfig` and mlx-lm's `tuner/utils.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mlx_publish.errors import Refused
from mlx_publish.model.names import shown

CONFIG = "adapter_config.json"
PEFT_WEIGHTS, MLX_WEIGHTS = "adapter_model.safetensors", "adapters.safetensors"
PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapters.npz")
HIGHEST_RANK = 8192
"""No trained adapter comes near; a rank is a length of loops and a factor of memory."""
Kind = Literal["lora", "dora", "full"]
_MERGED = "Merge it with the library that trained it, and use the merged model as the source."
# What changes the model otherwise than by adding a product of two matrices to a weight.
_OTHERWISE = {
    "layer_replication": "repeats layers",
    "alora_invocation_tokens": "acts on the tokens behind an invocation alone",
    "use_qalora": "pools its input by groups",
    "use_bdlora": "has block-diagonal matrices",
    "arrow_config": "chooses among several adapters for each token",
    "kasa_config": "has a diagonal matrix between its two",
    "monteclora_config": "samples its matrices",
    "megatron_config": "is split over the machines of a Megatron training",
}
_KNOWN = frozenset(
    (
        *("use_rslora", "use_dora", "loftq_config", "eva_config"),
        *("corda_config", "lora_ga_config", "velora_config", "runtime_config"),
    )
)
"""Keys that begin or end like those above and do not change what is computed, or are read."""
_MOVED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin that take the beginning out of the base: the saved matrices belong to a base that is nowhere."""
_MOST_PATTERNS, _LONGEST_PATTERN = 10_000, 300
_COSTLY = re.compile(r"\)[*+?{]|\\\d|\(\?P?[=<>]")
"""Repeated groups and references, with which a pattern can take for ever."""


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter by its config."""

    maker: Literal["peft", "mlx-lm"]
    kind: Kind
    base: str | None
    """The model that it was trained on: a repo, or a path of another machine."""
    revision: str | None
    rank_of: Callable[[str], int]
    """Takes the name of a module, as `model.layers.0.self_attn.q_proj`."""
    scale_of: Callable[[str], float]
    parameters: tuple[str, ...] = ()
    """Parameters that are adapted themselves, as `mlp.experts.gate_up_proj`: `target_parameters`."""
    tokens: Mapping[str, tuple[int, ...]] | tuple[int, ...] | None = None
    """Rows of an embedding that are trained, by its module or for the input embedding."""
    tied: bool = False
    """Whether an adapted embedding is adapted as the head of a tied model, too: `ensure_weight_tying`."""
    version: str = ""
    """Of PEFT, where it says so."""

    @property
    def weights(self) -> str:
        """Return the name of its file of tensors."""
        return PEFT_WEIGHTS if self.maker == "peft" else MLX_WEIGHTS


def read_adapter_config(config: Mapping[str, object] | None, paths: Mapping[str, object]) -> AdapterConfig:
    """Read the config of an adapter whose files are `paths`. `Refused` where it is none that can be fused."""
    if config is None:
        raise refused("has no adapter_config.json", "Choose a repo or folder that PEFT or mlx-lm saved an adapter in.")
    read = _mlx if "fine_tune_type" in config or "lora_parameters" in config else _peft
    adapter = read(config)
    if adapter.weights not in paths:
        pickle = next((name for name in PICKLES if name in paths), None)
        why = f"; {pickle} can run code when it is loaded, and is not read" if pickle else ""
        remedy = "Save the adapter with safe_serialization=True." if pickle else "Complete the adapter."
        raise refused(f"has no {adapter.weights}{why}", remedy)
    return adapter


def refused(message: str, remedy: str = _MERGED, place: str = "", check: str = "adapter-form") -> Refused:
    """Return what to raise of an adapter that cannot be fused."""
    return Refused(f"the adapter {message}" if not place else message, check=check, place=place, remedy=remedy)


def _peft(config: Mapping[str, object]) -> AdapterConfig:
    kind = config.get("peft_type")
    if kind != "LORA":
        named = shown(str(kind)) if kind is not None else "of no type that its config names"
        raise refused(f"is {named}; LoRA and DoRA can be fused")
    for key, why in _OTHERWISE.items():
        if config.get(key):
            raise refused(f"{why} ({key}), so no weights of a plain model can stand for it")
    for key, value in config.items():
        if value and key not in _KNOWN and (key.startswith("use_") or key.endswith("_config")):
            raise refused(f"has {shown(key)}, which is not known here and may change what is computed")
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_MOVED_BASE):
        raise refused(
            f"begins with {shown(begun)} (init_lora_weights), which changes the base that it belongs to",
            "Save it as plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion=...).",
        )
    ranks, alphas = _patterns(config, "rank_pattern"), _patterns(config, "alpha_pattern")
    rank, alpha = _rank(config.get("r", 8)), _number(config.get("lora_alpha", 8), "lora_alpha")
    stable = config.get("use_rslora") is True

    def rank_of(module: str) -> int:
        return _rank(_by_pattern(ranks, module, rank))

    def scale_of(module: str) -> float:
        own = _number(_by_pattern(alphas, module, alpha), "alpha_pattern")
        return own / (math.sqrt(rank_of(module)) if stable else rank_of(module))

    return AdapterConfig(
        "peft",
        "dora" if config.get("use_dora") is True else "lora",
        _text(config.get("base_model_name_or_path")),
        _text(config.get("revision")),
        rank_of,
        scale_of,
        parameters=tuple(_texts(config.get("target_parameters"))),
        tokens=_tokens(config.get("trainable_token_indices")),
        tied=config.get("ensure_weight_tying") is True,
        version=_text(config.get("peft_version")) or "",
    )


def _mlx(config: Mapping[str, object]) -> AdapterConfig:
    kind, settings = config.get("fine_tune_type", "lora"), config.get("lora_parameters")
    if kind not in ("lora", "dora", "full"):
        raise refused(f"has the fine_tune_type {shown(str(kind))}; lora, dora and full can be fused")
    if not isinstance(settings, Mapping):
        settings = {}
    rank = scale = 1.0
    if kind != "full":
        if "rank" not in settings or "scale" not in settings:
            raise refused("lacks rank or scale in lora_parameters", "Complete its adapter_config.json.")
        rank, scale = _rank(settings["rank"]), _number(settings["scale"], "lora_parameters.scale")
    return AdapterConfig(
        "mlx-lm", kind, _text(config.get("model")), None, rank_of=lambda _: int(rank), scale_of=lambda _: scale
    )


def _patterns(config: Mapping[str, object], key: str) -> Mapping[re.Pattern[str], object]:
    """Return values by patterns of module names, as PEFT matches them. `Refused` for what cannot be one."""
    given = config.get(key)
    if not given:
        return {}
    if not isinstance(given, Mapping) or len(given) > _MOST_PATTERNS:
        raise refused(f"has a {key} that is no list of patterns", "Correct its adapter_config.json.")
    patterns = {}
    for pattern, value in given.items():
        if len(pattern) > _LONGEST_PATTERN or _COSTLY.search(pattern):
            raise refused(f"has a pattern in {key} that is not matched safely: {shown(pattern)}", _MERGED)
        try:
            patterns[re.compile(rf"(.*\.)?({pattern})$")] = value
        except re.error as error:
            raise refused(f"has a wrong pattern in {key}, {shown(pattern)}: {error}", "Correct it.") from error
    return patterns


def _by_pattern(patterns: Mapping[re.Pattern[str], object], module: str, default: object) -> object:
    return next((value for pattern, value in patterns.items() if pattern.match(module)), default)


def _rank(value: object) -> int:
    if type(value) is not int or not 0 < value <= HIGHEST_RANK:
        raise refused(f"has the rank {shown(str(value))}; possible are 1 to {HIGHEST_RANK:,}", "Correct its config.")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e6:
        raise refused(f"has {key} {shown(str(value))}, which is no scale", "Correct its adapter_config.json.")
    return float(value)


def _tokens(value: object) -> Mapping[str, tuple[int, ...]] | tuple[int, ...] | None:
    if isinstance(value, Mapping):
        return {str(module): _ids(ids) for module, ids in value.items()}
    return _ids(value) if value else None


def _ids(value: object) -> tuple[int, ...]:
    ids = tuple(value) if isinstance(value, list) else ()
    if not ids or not all(type(number) is int and number >= 0 for number in ids) or len(set(ids)) < len(ids):
        raise refused("has trainable_token_indices that are not ids, each once", "Correct its adapter_config.json.")
    return ids


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))
