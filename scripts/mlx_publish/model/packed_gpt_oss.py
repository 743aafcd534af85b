"""Experts of gpt-oss as its makers publish them: MXFP4 in `_blocks` of (experts, out, groups, 16) bytes and `_scales`.

Two floats (E2M1) a byte, the lower half first, times 2 ** (scale - 127). The rows of gate and up take turns, which
mlx-lm's class has as two weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.model.packed_blocks import misfit, missing
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

_GROUP = 32
_MADE = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}


def find_gpt_oss(_block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the experts by the names that mlx-lm's class has for them. `Refused` where a part is missing."""
    weights: list[PackedWeight] = []
    for name, blocks in by_name.items():
        stem, _, kind = name.removesuffix("_blocks").rpartition(".")
        if name.endswith("_blocks") and kind in _MADE and blocks.dtype == "U8":
            lacking = f"{stem}.{kind}_scales"
            if lacking not in by_name:
                raise missing(name, lacking)
            weights += _weights(stem, kind, blocks, by_name[lacking])
    return Found(tuple(weights))


def _weights(stem: str, kind: str, blocks: TensorInfo, scales: TensorInfo) -> list[PackedWeight]:
    made, shape = _MADE[kind], blocks.shape
    fits = (
        len(shape) == 4
        and blocks.size
        and shape[3] == _GROUP // 2
        and scales.shape == shape[:3]
        and not shape[1] % len(made)
    )
    if not fits or scales.dtype not in ("U8", "F8_E8M0"):
        raise misfit(scales, shape, ((1, _GROUP),))
    size = (shape[0], shape[1] // len(made), shape[2] * _GROUP)
    parts = {"weight": blocks.name, "scales": scales.name}
    options: dict[str, int | float | str | bool] = {"float": "e2m1", "scale": "e8m0", "each": True, "packed": "columns"}
    options["step"] = len(made)
    return [
        PackedWeight(f"{stem}.{name}.weight", "mxfp4", size, parts, 4, (1, _GROUP), {**options, "first": at})
        for at, name in enumerate(made)
    ]
