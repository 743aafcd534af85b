"""Conversion by mlx-lm, all variants of a recipe in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlx_lm.convert import convert as mlx_lm_convert

from mlx_publish.errors import Refused


def convert(source: str, variants: Sequence[dict[str, Any]], progress: Callable[[str], None]) -> dict[str, Any]:
    """Convert the folder `source` once for each variant, into `variant["folder"]`, which must not exist.

    A variant has `folder`, `label`, `quantize`, `bits`, `group_size`, `mode`, `mixed` and `dtype` as
    `mlx_lm.convert` takes them. Raises `Refused` where mlx-lm cannot.
    """
    for number, variant in enumerate(variants, 1):
        progress(f"converting {variant['label']} ({number} of {len(variants)})")
        try:
            mlx_lm_convert(
                source,
                mlx_path=variant["folder"],
                quantize=variant["quantize"],
                q_bits=variant["bits"],
                q_group_size=variant["group_size"],
                q_mode=variant["mode"],
                quant_predicate=variant["mixed"],
                dtype=variant["dtype"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"mlx-lm cannot convert it to {variant['label']}: {error}", check="converts",
                remedy="Try a newer mlx-lm, or another variant.",
            ) from error  # fmt: skip
    return {"folders": [str(Path(variant["folder"])) for variant in variants]}
