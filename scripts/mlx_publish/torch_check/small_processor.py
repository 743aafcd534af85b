"""The settings of an image processor for a small picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.torch_check.whole_towers import FEWEST_SOFT, Grid, grid_of, small_sizes

SIDE = 112
"""Pixels of a drawn picture, where no size of a tower says more."""
_SIZES = ("size", "crop_size", "max_image_size", "pad_size", "image_grid_pinpoints", "image_size")
_COUNTS = ("image_seq_length", "image_seq_len", "num_image_tokens")
_PATCHES = {
    "patch_size": "patch_size",
    "merge_size": "spatial_merge_size",
    "temporal_patch_size": "temporal_patch_size",
}


def small_processor(
    settings: Mapping[str, object], config: Mapping[str, object], small: Mapping[str, object]
) -> tuple[dict[str, Any], int]:
    """Return the settings for the `small` config of `config`, and the side of a picture in pixels.

    Where there are none, the tower's sizes are taken for those of its default.
    """
    grid = grid_of(config, small)
    side = grid.size_after if grid else SIDE
    if not settings:
        return _by_tower(small, grid), side
    made = {key: value for key, value in settings.items() if key != "auto_map"}
    for key, value in made.items():
        if grid and key in _SIZES:
            made[key] = small_sizes(value, grid)
        elif grid and key in _COUNTS and type(value) is int:
            made[key] = grid.tokens(value)
        elif key == "max_soft_tokens" and type(value) is int:
            made[key] = min(value, FEWEST_SOFT)
    return made, side


def _by_tower(small: Mapping[str, object], grid: Grid | None) -> dict[str, Any]:
    tower = small.get("vision_config")
    if not isinstance(tower, Mapping):
        return {}
    if grid:
        return {"size": {"height": grid.size_after, "width": grid.size_after}}
    return {name: tower[key] for name, key in _PATCHES.items() if type(tower.get(key)) is int}
