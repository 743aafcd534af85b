"""Write the drafter of a source, and compare it with what mlx-vlm makes of the same tensors.

It is written from the bits of the source, by numpy, a tensor or an expert at a time. What was written is then read by
MLX and compared with what mlx-vlm's own operations give of the source's tensors, so that neither side stands for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.drafter_check import different
from mlx_publish.engine.placed import Placed
from mlx_publish.engine.rows import INTEGERS, bits_of
from mlx_publish.engine.stream import ShardWriter
from mlx_publish.engine.tensor_files import FLOATS, TensorFiles
from mlx_publish.errors import Refused
from mlx_publish.evidence.drafter import DrafterMade
from mlx_publish.model.drafter_parts import FIRST_HALF, KEYS, PLUS_ONE, SECOND_HALF, STACKED, VALUES, Part
from mlx_publish.text.progress import Step, Tell

Bits = NDArray[Any]
_MATRIX = 2
_WORD = 64
"""mlx-vlm leaves modules alone whose numbers are no multiple of it."""
_ROUTER = ".gate.weight"
_TWICE, _ALL, _STRAY = (1.6, 2.6), 0.9, 0.01
"""As `norms` judges the model's own scales."""


def drafter(
    source: str, parts: Sequence[dict[str, Any]], folder: str, bits: int | None, group_size: int, progress: Tell
) -> DrafterMade:
    """Write the drafter that `parts`, the fields of a `Part` each, describe, of the folder `source` to `folder`.

    With `bits` all its matrices are quantized whose rows `group_size` divides, but routers.
    Raises `Refused` where a number of the source is none, or where nothing can be quantized.
    """
    device = mx.default_device()
    mx.set_default_device(mx.cpu)  # its bytes are those of the CPU on every machine
    try:
        return _Writer(Path(source), [_part(part) for part in parts], Path(folder), bits, group_size).run(progress)
    finally:
        mx.set_default_device(device)


def _part(fields: dict[str, Any]) -> Part:
    return Part(**{**fields, "sources": tuple(fields["sources"]), "shape": tuple(fields["shape"])})


class _Writer:
    """A drafter on its way."""

    def __init__(self, source: Path, parts: Sequence[Part], folder: Path, bits: int | None, group_size: int) -> None:
        self._source, self._files = source, TensorFiles(source)
        self._parts, self._folder, self._bits, self._group_size = parts, folder, bits, group_size
        self._quantized = {part.name for part in parts if bits and _can_be_quantized(part, group_size)}
        self._means: dict[str, tuple[float, float]] = {}
        """Of each scale that one was added to: its mean, and the share that is below one."""

    def run(self, progress: Tell) -> DrafterMade:
        if self._bits and not self._quantized:
            raise Refused(
                f"groups of {self._group_size} divide no matrix of the multi-token heads",
                check="mtp-heads",
                remedy="Use a smaller group_size below mtp, or mtp: keep.",
            )
        planned = [announced for part in self._parts for announced in self._announced(part)]
        parameters = sum(math.prod(part.shape) for part in self._parts)
        with ShardWriter(self._folder, planned, parameters) as writer:
            for number, part in enumerate(self._parts):
                progress(Step("writing the drafter", number, len(self._parts)))
                for piece in self._made(part):
                    self._write(writer, part, piece)
            writer.finish()
        return DrafterMade(
            tensors=len({name for part in self._parts for name in part.sources}),
            weight_bytes=sum(array.nbytes for _, array in planned),
            parameters=parameters,
            quantized=len(self._quantized),
            sha256=writer.sha256,
            different=different(self._files, self._parts, self._folder, self._bits, self._group_size),
            twice=self._twice(),
        )

    def _announced(self, part: Part) -> Iterator[tuple[str, mx.array]]:
        """Yield names and shapes of what a part is stored as; the arrays are never computed."""
        dtype = FLOATS[part.dtype]
        if part.name not in self._quantized:
            yield part.name, mx.zeros(part.shape, dtype)
            return
        *rows, columns = part.shape
        stem, groups = part.name.removesuffix("weight"), columns // self._group_size
        yield part.name, mx.zeros((*rows, columns * int(self._bits or 0) // 32), mx.uint32)
        yield f"{stem}scales", mx.zeros((*rows, groups), dtype)
        yield f"{stem}biases", mx.zeros((*rows, groups), dtype)

    def _write(self, writer: ShardWriter, part: Part, bits: Bits) -> None:
        if part.name not in self._quantized:
            writer.write(part.name, bits.reshape(-1))
            return
        array = mx.array(bits).view(FLOATS[part.dtype])
        stem = part.name.removesuffix("weight")
        made = mx.quantize(array, group_size=self._group_size, bits=self._bits)
        for name, stored in zip(("weight", "scales", "biases"), made, strict=True):
            writer.write(f"{stem}{name}", bits_of(stored).reshape(-1))

    def _made(self, part: Part) -> Iterator[Bits]:
        """Yield the bits of a part, of stacked experts those of one after the other."""
        for name in part.sources:
            stored = self._files.stored[name]
            bits = self._read(stored)
            _judge(name, bits, part.dtype)
            if part.how == STACKED or len(part.sources) == 1:
                yield self._changed(part, bits)

    def _changed(self, part: Part, bits: Bits) -> Bits:
        if part.how == PLUS_ONE:
            return self._plus_one(part, bits)
        if part.how in (FIRST_HALF, SECOND_HALF):
            rows = part.shape[1]
            return np.ascontiguousarray(bits[:, :rows] if part.how == FIRST_HALF else bits[:, -rows:])
        if part.how in (KEYS, VALUES):
            by_head = bits.reshape(part.shape[0], -1, bits.shape[-1])
            keys, values = by_head[:, : part.split], by_head[:, part.split :]
            return np.ascontiguousarray(keys.swapaxes(1, 2) if part.how == KEYS else values)
        return bits

    def _plus_one(self, part: Part, bits: Bits) -> Bits:
        scale = _floats(bits, part.dtype) + np.float32(1)
        self._means[part.name] = float(scale.mean()), float((scale < 1).mean())
        if part.dtype == "F32":
            return np.asarray(scale.view(np.uint32))
        if part.dtype == "F16":
            halves: Bits = scale.astype(np.float16).view(np.uint16)
            return halves
        whole = scale.view(np.uint32)  # bfloat16 is its upper half, rounded to even
        rounded: Bits = ((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype(np.uint16)
        return rounded

    def _read(self, stored: Placed) -> Bits:
        buffer = np.empty(stored.info.nbytes, np.uint8)
        self._files.read_into(stored.path, stored.offset, memoryview(buffer.data))
        bits: Bits = buffer.view(INTEGERS[FLOATS[stored.info.dtype].size]).reshape(stored.info.shape)
        return bits

    def _twice(self) -> list[str]:
        found = [name for name, (mean, below) in self._means.items() if _TWICE[0] < mean < _TWICE[1] and below < _STRAY]
        return sorted(found) if self._means and len(found) / len(self._means) >= _ALL else []


def _can_be_quantized(part: Part, group_size: int) -> bool:
    matrix = part.name.endswith(".weight") and len(part.shape) >= _MATRIX and not part.name.endswith(_ROUTER)
    return matrix and part.shape[-1] % group_size == 0 and math.prod(part.shape) % _WORD == 0


def _floats(bits: Bits, dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16 if dtype == "F16" else np.float32).astype(np.float32)


def _judge(name: str, bits: Bits, dtype: str) -> None:
    """Raise `Refused` if one of a tensor's numbers is none."""
    if not np.isfinite(_floats(bits, dtype)).all():
        raise Refused(
            f"the source's {name[:200]} contains NaN or infinity",
            check="numbers-finite",
            remedy="Choose another source, or leave out mtp.",
        )
