"""Encoders of pictures and sound made small and kept whole: what joins them to the language model stays as it is.

Layers are cut to two, widths shrink in proportion, a picture has a few patches along a side; what is merged, pooled,
windowed or read of an earlier layer still is. A key is told by its name and its value, not by its family.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.torch_check.layers import whole_number
from mlx_publish.torch_check.sizes import NESTED, TOKEN, VOCABULARY
from mlx_publish.torch_check.towers import DEPTHS, OF_STAGES, PICTURES

LAYERS = 2
HEADS, HEAD_DIM = 2, 32
SIDE = 6
"""Patches along a side of a small picture, at least."""
_WIDTHS = ("embed_dim", "hidden_size", "d_model", "width", "dim")
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "heads", "encoder_attention_heads", "attention_heads")
_SHARED = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_HEAD_DIMS = ("head_dim", "global_head_dim", "qk_head_dim", "v_head_dim")
_OF_A_WIDTH = re.compile(
    r"(?:\w*_)?(?:hidden_size|embed_dim|d_model|width|hidden_dim|intermediate_size|ffn_dim|mlp_dim|projection_dim"
    r"|proj_dim|projector_(?:in|out)put_dim|(?:vision_)?output_dim|output_proj_dims|text_hidden_size|hidden_size_out)"
)
_INNER = re.compile(r"\w*(?:intermediate|ffn|mlp)\w*")
_POINTS = re.compile(r"\w*(?:indexes|indices|idxs|_layers|feature_layer|select_layer)")
_MERGES = ("spatial_merge_size", "merge_size", "downsample_factor", "pooling_kernel_size", "scale_factor")
_SMALLEST = 0.1
_SHARES = ("pixel_shuffle_ratio", "downsample_ratio")
_COUNTS = re.compile(
    r"mm_tokens_per_image|num_image_tokens?|image_seq_len(?:gth)?|image_token_length|vision_soft_tokens_per_image"
)
# What stands for pictures of any shape: how many tokens, of those that a processor lets be.
_SOFT = ("vision_soft_tokens_per_image", "default_output_length", "max_soft_tokens", "image_seq_length")
FEWEST_SOFT = 70
_AXIS = 256
_SPECIALS = 50
"""Ids at the end of the small vocabulary, which no text has."""
_SPECIAL = re.compile(r"(?:bos|eos|pad|unk)\w*|\w+_token")


# What a config may leave to the class, and a small one may not. Heads stay as the class has them.
_COMPLETED = frozenset({*DEPTHS, *_WIDTHS, "intermediate_size", "image_size", "patch_size"})


def completed(
    config: Mapping[str, object], resolved: Mapping[str, object], text: Mapping[str, object]
) -> dict[str, Any]:
    """Return a config with the sizes of its parts that it leaves to the class, as transformers reads them."""
    made = copy.deepcopy(dict(config))
    for key, part in made.items():
        known = text if key in NESTED else resolved.get(key)
        if isinstance(part, dict) and key in (*NESTED, *PICTURES) and isinstance(known, Mapping):
            made[key] = {**{name: known[name] for name in _COMPLETED if type(known.get(name)) is int}, **part}
    return made


@dataclass(frozen=True)
class Grid:
    """Patches along a side of a picture, before and after, and the sizes in pixels."""

    before: int
    after: int
    size_before: int
    size_after: int

    def tokens(self, count: int) -> int:
        """Return how many tokens the small picture has, where the source's has `count`."""
        small = count * self.after**2 / self.before**2
        return int(small) if small >= 1 and small.is_integer() else count

    def pixels(self, size: int) -> int:
        """Return a size of the small picture; multiples of a side stay such."""
        if size % self.size_before == 0:
            return size // self.size_before * self.size_after
        return max(1, round(size * self.size_after / self.size_before))


def small_senses(config: dict[str, Any], towers: Mapping[str, dict[str, Any]], text: int, small_text: int) -> None:
    """Make `towers`, which stand in `config`, small; `text` is the width of the language model, before and after."""
    grid = None
    for tower in towers.values():
        merge = _merge(config, tower)
        grid = _small_tower(tower, merge, text, small_text) or grid
    for key, value in config.items():
        if type(value) is int and grid and _COUNTS.fullmatch(key):
            config[key] = grid.tokens(value)
        elif type(value) is int and not grid and key in _SOFT:
            config[key] = min(value, FEWEST_SOFT)
        elif key == "image_grid_pinpoints" and grid and isinstance(value, list):
            config[key] = small_sizes(value, grid)


def small_sizes(value: Any, grid: Grid) -> Any:
    """Return a size in pixels, or a list or dict of such, of the small picture."""
    if isinstance(value, list):
        return [small_sizes(item, grid) for item in value]
    if isinstance(value, dict):
        return {key: small_sizes(item, grid) for key, item in value.items()}
    return grid.pixels(value) if type(value) is int and value > 0 else value


def grid_of(config: Mapping[str, object], small: Mapping[str, object]) -> Grid | None:
    """Return the grid of the first tower of pictures that has a size, of a config and its small one."""
    for before, after in _pairs(config, small):
        sizes = _side(before.get("image_size")), _side(after.get("image_size"))
        patch = _side(before.get("patch_size"))
        if sizes[0] and sizes[1] and patch and "patch_size" in before:
            return Grid(sizes[0] // patch, sizes[1] // patch, *sizes)
    return None


def _pairs(
    config: Mapping[str, object], small: Mapping[str, object]
) -> Iterator[tuple[Mapping[str, object], Mapping[str, object]]]:
    """Yield a part of a config with the same part of its small one, outermost first."""
    yield config, small
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(own := small.get(key), Mapping):
            yield from _pairs(value, own)


def tell_tokens_apart(config: Mapping[str, object], small: dict[str, Any]) -> None:
    """Give special tokens that differ in the source ids that differ, and equal ones the same."""
    ids = sorted({value for part, _ in _pairs(config, small) for _, value in _tokens(part)})
    known = {value: VOCABULARY - 1 - place % _SPECIALS for place, value in enumerate(ids)}
    for part, own in _pairs(config, small):
        if isinstance(own, dict):
            own.update({key: known[value] for key, value in _tokens(part)})


def _tokens(part: Mapping[str, object]) -> list[tuple[str, int]]:
    return [
        (key, value)
        for key, value in part.items()
        if type(value) is int and value >= 0 and TOKEN.fullmatch(key) and not _SPECIAL.fullmatch(key)
    ]


def _side(value: object) -> int:
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("height")
    return value if type(value) is int and value > 0 else 0


def _merge(config: Mapping[str, object], tower: Mapping[str, object]) -> int:
    """Return how many patches of a side at least become whole tokens together."""
    merges = [1]
    for part in (config, tower):
        sizes = (whole_number(part, key) or 0 for key in _MERGES)
        shares = (share for key in _SHARES if isinstance(share := part.get(key), float))
        merges += [size for size in sizes if 1 <= size <= SIDE]
        merges += [round(1 / share) for share in shares if _SMALLEST < share < 1]
    side = _side(tower.get("image_size")) // max(_side(tower.get("patch_size")), 1)
    for part in (config, tower):
        for count in (whole_number(part, key) or 0 for key in part if _COUNTS.fullmatch(key)):
            along = math.isqrt(max(count, 0))
            if side and along and along**2 == count and side % along == 0:
                merges.append(side // along)
    return math.lcm(*merges)


def _small_tower(tower: dict[str, Any], merge: int, text: int, small_text: int) -> Grid | None:
    """Make one tower small; return its grid, if its pictures have one size."""
    sizes = _Widths.of(tower, text, small_text)
    grid = None
    side, patch = _side(tower.get("image_size")), _side(tower.get("patch_size"))
    if side and patch and side >= patch:
        before, after = side // patch, merge * math.ceil(SIDE / merge)
        grid = (
            Grid(before, after, side, after * patch + side % patch)
            if after < before
            else Grid(before, before, side, side)
        )
    depth = next((tower[key] for key in DEPTHS if type(tower.get(key)) is int), 0)
    for key, value in list(tower.items()):
        if isinstance(value, dict) and key != "rope_parameters":
            grid = _small_tower(value, merge, text, small_text) or grid
        elif isinstance(value, (list, int)) and not isinstance(value, bool):
            tower[key] = _small(key, value, sizes, grid, depth)
    unit = patch * merge
    if type(window := tower.get("window_size")) is int and unit and window > 2 * unit and window % unit == 0:
        tower["window_size"] = 2 * unit
    return grid


def _small_grid(side: int, patch: int, merge: int) -> Grid | None:
    if not 0 < patch <= side:
        return None
    before, after = side // patch, merge * math.ceil(SIDE / merge)
    if after >= before:
        return Grid(before, before, side, side)
    return Grid(before, after, side, after * patch + side % patch)


def _small(key: str, value: Any, sizes: _Widths, grid: Grid | None, depth: int) -> Any:
    """Return the small value of a key of a tower."""
    if key in DEPTHS and value == depth:
        return min(value, LAYERS)
    if depth > LAYERS and isinstance(value, list) and len(value) == depth and not OF_STAGES.search(key):
        return [value[0], value[-1]]
    if depth > LAYERS and _POINTS.fullmatch(key):
        return _points(value, depth)
    if key == "image_size" and grid:
        return [grid.size_after] * len(value) if isinstance(value, list) else grid.size_after
    return value if isinstance(value, list) else _number(key, value, sizes, grid)


def _number(key: str, value: int, sizes: _Widths, grid: Grid | None) -> int:
    if key in _HEADS or key in _SHARED:
        return sizes.heads(value)
    if key in _HEAD_DIMS:
        return sizes.head_dim(value)
    if grid and _COUNTS.fullmatch(key):
        return grid.tokens(value)
    if key in _SOFT:
        return min(value, FEWEST_SOFT)
    return sizes.width(key, value) if _OF_A_WIDTH.fullmatch(key) else _positions(key, value, grid)


def _positions(key: str, value: int, grid: Grid | None) -> int:
    """Return the small number of learned positions, of a whole picture or along an axis."""
    if key == "position_embedding_size":
        return min(value, _AXIS)
    if key in ("num_position_embeddings", "num_patches") and math.isqrt(value) ** 2 == value:
        return min(value, (grid.after if grid else SIDE) ** 2)
    return value


def _points(value: Any, depth: int) -> Any:
    """Return numbers of layers, from the front or from the end, as many of two layers as there were of all."""
    if type(value) is int:
        return value if -LAYERS <= value < LAYERS else _point(value, depth)
    if not all(type(item) is int for item in value) or not value:
        return value
    kept = sorted({_point(item, depth) for item in value}, key=[_point(item, depth) for item in value].index)
    return kept[-max(1, min(len(kept), round(len(value) * LAYERS / depth))) :]


def _point(value: int, depth: int) -> int:
    if value < 0:
        return max(value, -LAYERS)
    return min(value * LAYERS // max(depth, 1), LAYERS - 1)


@dataclass(frozen=True)
class _Widths:
    """Widths of a tower and of the language model, before and after."""

    key: str
    own: int
    small: int
    text: int
    small_text: int
    all_heads: int
    few_heads: int
    head: int
    small_head: int

    @classmethod
    def of(cls, tower: Mapping[str, object], text: int, small_text: int) -> _Widths:
        """Return the sizes that a tower names. Without heads of its own its width stays a multiple of the default."""
        key = next((key for key in _WIDTHS if whole_number(tower, key)), "")
        own = whole_number(tower, key) or 1
        heads = next((count for key in _HEADS if (count := whole_number(tower, key))), 0)
        head = next((size for key in _HEAD_DIMS if (size := whole_number(tower, key))), own // heads if heads else 0)
        few = min(heads, HEADS)
        few_dims = min(HEAD_DIM, head)
        small = few * few_dims if heads and head * heads == own else 2 * HEADS * HEAD_DIM if heads else own
        return cls(key, own, min(small, own), text, small_text, heads, few, head, few_dims)

    def heads(self, value: int) -> int:
        """Return the small number of heads, or of those that are shared."""
        return self.few_heads if value >= self.all_heads else max(1, min(value, self.few_heads // 2))

    def head_dim(self, value: int) -> int:
        """Return the small size of a head; one of twice the size stays so."""
        return self.small_head * max(1, round(value / max(self.head, 1)))

    def width(self, key: str, value: int) -> int:
        """Return the small width: the tower's own, that of the language model, or in proportion to the tower's."""
        if key == self.key:
            return self.small
        if value == self.text and not _INNER.fullmatch(key):
            return self.small_text
        if self.small == self.own:
            return value
        return max(8, round(value * self.small / self.own / 8) * 8)
