"""A written drafter beside what mlx-vlm makes of the source's tensors, by MLX alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_publish.engine.tensor_files import FLOATS, TensorFiles
from mlx_publish.model.drafter_parts import FIRST_HALF, KEYS, PLUS_ONE, SECOND_HALF, STACKED, VALUES, Part

_STEP = 1.05
"""Of a group's scale, how far a rounded number may be from its own: MLX moves the grid so that zero is on it."""
_HALF = 2.0**-9
"""How far a scale or a bias in bfloat16 may be from its own, of itself."""


def different(source: TensorFiles, parts: Sequence[Part], folder: Path, bits: int | None, group_size: int) -> list[str]:
    """Return the tensors of the drafter in `folder` that are not those that mlx-vlm's operations give."""
    written = TensorFiles(folder)
    stored: dict[str, Any] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        loaded: Any = mx.load(str(path))
        stored |= loaded
    wrong = []
    for part in parts:
        stem = part.name.removesuffix("weight")
        made, wanted = stored.pop(part.name, None), _wanted(part, _arrays(source, part))
        scales, biases = stored.pop(f"{stem}scales", None), stored.pop(f"{stem}biases", None)
        if made is None:
            wrong.append(part.name)
        elif scales is not None and biases is not None:
            if not bits or not _is_near(wanted, made, scales, biases, group_size, bits):
                wrong.append(part.name)
        elif not _is_same(wanted, made) or (part.how == "same" and not _same_bytes(source, written, part)):
            wrong.append(part.name)
    return [*wrong, *sorted(stored)]


def _arrays(source: TensorFiles, part: Part) -> list[mx.array]:
    """Return a part's tensors as MLX loads them, none of which stays in memory afterwards."""
    paths = [source.stored[name].path for name in part.sources]
    loaded: dict[Path, Any] = {path: mx.load(str(path)) for path in dict.fromkeys(paths)}
    return [loaded[path][name] for path, name in zip(paths, part.sources, strict=True)]


def _wanted(part: Part, arrays: Sequence[mx.array]) -> mx.array:
    """Return what `mlx_vlm` makes of a part's tensors."""
    if part.how == PLUS_ONE:
        return arrays[0] + 1.0
    if part.how == STACKED:
        return mx.stack(list(arrays))
    if part.how in (FIRST_HALF, SECOND_HALF):
        return mx.split(arrays[0], 2, axis=-2)[part.how == SECOND_HALF]
    if part.how in (KEYS, VALUES):
        rows = arrays[0].reshape(part.shape[0], -1, arrays[0].shape[-1])
        return rows[:, : part.split, :].swapaxes(-1, -2) if part.how == KEYS else rows[:, part.split :, :]
    return arrays[0]


def _is_same(wanted: mx.array, made: mx.array) -> bool:
    if wanted.dtype != made.dtype or wanted.shape != made.shape:
        return False
    return bool(mx.array_equal(wanted, made).item())


def _same_bytes(source: TensorFiles, written: TensorFiles, part: Part) -> bool:
    """Return whether a tensor lies in the drafter as in the source, byte by byte; zeros have two signs."""
    one, other = source.stored.get(part.sources[0]), written.stored.get(part.name)
    if one is None or other is None or one.info.nbytes != other.info.nbytes:
        return False
    step = 4 << 20
    for start in range(0, one.info.nbytes, step):
        length = min(step, one.info.nbytes - start)
        left, right = bytearray(length), bytearray(length)
        source.read_into(one.path, one.offset + start, memoryview(left))
        written.read_into(other.path, other.offset + start, memoryview(right))
        if left != right:
            return False
    return True


def _is_near(wanted: mx.array, made: mx.array, scales: mx.array, biases: mx.array, group_size: int, bits: int) -> bool:
    """Return whether each number of a quantized tensor is within a step of its own."""
    if scales.dtype not in FLOATS.values() or scales.shape[:-1] != wanted.shape[:-1]:
        return False
    scales, biases, own = (array.astype(mx.float32) for array in (scales, biases, wanted))
    numbers = mx.dequantize(made, scales, biases, group_size=group_size, bits=bits)
    if numbers.shape != own.shape:
        return False
    step = mx.repeat(mx.abs(scales), group_size, axis=-1)
    bound = (_STEP + 2**bits * _HALF) * step + _HALF * mx.max(mx.abs(own))
    return bool(mx.all(mx.abs(numbers - own) <= bound).item())
