"""What a config says of weights as AWQ and GPTQ pack them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.model.packed_misfit import whole_number

_UNREAD = ("gemv_fast", "llm-awq", "marlin", "bitblas", "qqq")
"""Orders that kernels read, and nothing else; names of AWQ's `version`, GPTQ's `checkpoint_format` and `backend`."""
MINUS_ONE, AS_THEY_ARE, EITHER = "minus-one", "as-they-are", "either"
"""How zero points are stored: GPTQ's first format has one less than the zero point."""


@dataclass(frozen=True)
class Said:
    """The words of a config, as far as they are known."""

    method: str = ""
    """`awq`, `gptq`; empty if it says nothing."""
    bits: int | None = None
    group: int | None = None
    """Columns of a group, -1 for all."""
    symmetric: bool | None = None
    zeros: str = EITHER
    ordered: bool = False
    """Whether columns were quantized in the order of their activations, so that groups have an index."""
    version: str = ""
    unread: str = ""
    """The name of an order that is not read."""
    varies: bool = False
    """Whether layers have settings of their own."""


def said_by(block: Mapping[str, object]) -> Said:
    """Return what a block of config.json, or a side file, says."""
    if not block:
        return Said()
    method, version = _method(block), _text(block, "version") or _text(block, "format")
    formats = (version, _text(block, "checkpoint_format"), _text(block, "packing_format"), _text(block, "backend"))
    marlin = "marlin" if block.get("is_marlin_format") is True else ""
    unread = marlin or next((name for name in _UNREAD if name in formats), "")
    return Said(
        method,
        _first(block, "bits", "w_bit", "wbits", "num_bits"),
        _first(block, "group_size", "q_group_size", "groupsize"),
        _symmetric(block),
        _zeros(block, method),
        block.get("desc_act") is True,
        version,
        unread,
        any(bool(block.get(key)) for key in ("dynamic", "extra_config")),
    )


def _symmetric(block: Mapping[str, object]) -> bool | None:
    symmetric, zeros = block.get("sym"), block.get("zero_point")
    if isinstance(symmetric, bool):
        return symmetric
    return not zeros if isinstance(zeros, bool) else None


def _method(block: Mapping[str, object]) -> str:
    """Return the packing that the config names; AutoRound has both."""
    named = _text(block, "quant_method") or _text(block, "quant_type")
    if "auto-round" in named or "autoround" in named:
        return "awq" if "awq" in _packing(block) else "gptq"
    if named in ("awq", "gptq"):
        return named
    if not named and any(key in block for key in ("w_bit", "q_group_size", "zero_point")):
        return "awq"
    return "gptq" if not named and any(key in block for key in ("desc_act", "damp_percent")) else ""


def _packing(block: Mapping[str, object]) -> str:
    """Return AutoRound's name of its packing; without one, transformers takes the last."""
    backend = _text(block, "backend")
    return _text(block, "packing_format") or (backend if ":" in backend else "") or "auto_round:gptq"


def _zeros(block: Mapping[str, object], method: str) -> str:
    """Return how zero points are stored.

    Source: auto_round/inference/backend.py has one less in `auto_round:auto_gptq` alone.
    """
    if method != "gptq":
        return EITHER
    if "auto" in _text(block, "quant_method"):
        packing = _packing(block)
        return MINUS_ONE if packing.endswith("gptq") or "gptq:" in packing else AS_THEY_ARE
    form = _text(block, "checkpoint_format") or _text(block, "format")
    return AS_THEY_ARE if form == "gptq_v2" else MINUS_ONE


def _first(block: Mapping[str, object], *keys: str) -> int | None:
    return next((number for key in keys if (number := whole_number(block.get(key))) is not None), None)


def _text(block: Mapping[str, object], key: str) -> str:
    value = block.get(key)
    return value.lower()[:100] if isinstance(value, str) else ""
