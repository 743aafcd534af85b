"""`quantization` of config.json, as MLX reads it, and its copy for the Hub, `quantization_config`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlx_publish.errors import Fault
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.model.draft import MODEL

BLOCK, COPY = "quantization", "quantization_config"
SIZES: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((2, 3, 4, 5, 6, 8), (32, 64, 128)),
    "mxfp4": ((4,), (32,)),
    "mxfp8": ((8,), (32,)),
    "nvfp4": ((4,), (16,)),
}
"""Bits and group sizes by mode."""
_AGAIN = "Restore the block that the conversion wrote, or convert again."
_FIX = "Run the hook with --fix, or correct it by hand."


def quantization(model: ModelFolder, *, fix: bool) -> Iterator[Fault]:
    """Yield faults in both blocks; what they leave to a default or to each other can be mended."""
    config = model.config or {}
    block, copy = config.get(BLOCK), config.get(COPY)
    if block is None and (not isinstance(copy, Mapping) or "quant_method" in copy):
        return  # not quantized, or by somebody else
    own = block if block is not None else copy
    if not isinstance(own, Mapping):
        yield model.fault(MODEL, BLOCK, "is not a mapping with bits, group_size and mode", _AGAIN)
        return
    # Layers that differ from the rest have an entry of their own: the same numbers, or false.
    layers = {f"{BLOCK}.{name}": entry for name, entry in own.items() if isinstance(entry, Mapping)}
    wrong = [fault for path, entry in {BLOCK: own, **layers}.items() for fault in _wrong(entry, path)]
    alike = copy is None or (isinstance(copy, Mapping) and _whole(copy) == _whole(own))
    if wrong or not alike:
        yield from (model.fault(MODEL, key, message, _AGAIN) for key, message in wrong)
        if not wrong:
            yield from (model.fault(MODEL, key, message, _AGAIN) for key, message in _different(own, copy))
        return
    whole = _whole(own)
    for key, message in _short(block, copy, whole):
        yield model.fault(MODEL, key, message, _FIX, fixed=fix)
    if fix and not block == copy == whole:
        model.rewrite(MODEL, {**config, BLOCK: whole, COPY: whole})


def _whole(block: Mapping[str, object]) -> dict[str, object]:
    """Return a block with the mode that mlx-lm takes where none is named, behind the other two numbers."""
    first = {key: block[key] for key in ("group_size", "bits") if key in block}
    return {**first, "mode": "affine", **block}


def _short(block: object, copy: object, whole: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if block is None:
        yield COPY, f"no {BLOCK} next to it, which MLX reads"
    elif block != whole:
        yield f"{BLOCK}.mode", "this key is missing; mlx-lm assumes affine"
    if copy is None:
        yield BLOCK, f"no {COPY} next to it, which the Hub reads"
    elif block is not None and copy != block:
        yield COPY, f"differs from {BLOCK} in the mode, which one of them omits"


def _different(block: Mapping[str, object], copy: object) -> Iterator[tuple[str, str]]:
    if not isinstance(copy, Mapping):
        yield COPY, "is no mapping"
        return
    for key in dict.fromkeys((*block, *copy)):
        if block.get(key) != copy.get(key):
            yield f"{COPY}.{key}", f"says {copy.get(key)!r}, but {BLOCK} says {block.get(key)!r}"


def _wrong(block: Mapping[str, object], path: str) -> Iterator[tuple[str, str]]:
    """Yield keys whose numbers MLX cannot take, or that are not there."""
    mode = block.get("mode", "affine")
    if not isinstance(mode, str) or mode not in SIZES:
        yield f"{path}.mode", f"{mode!r} is not a mode of MLX; its modes: {', '.join(SIZES)}"
        return
    for key, allowed in zip(("bits", "group_size"), SIZES[mode], strict=True):
        value = block.get(key)
        if value is None:
            yield f"{path}.{key}", "this key is missing"
        elif type(value) is not int or value not in allowed:
            yield f"{path}.{key}", f"is {value!r}; {mode} allows {', '.join(map(str, allowed))}"
