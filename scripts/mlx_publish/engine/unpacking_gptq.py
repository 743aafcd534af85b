"""Weights as GPTQ and AWQ pack them: their rows lie in columns of the tensors."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.bit_streams import integers, mlx_integers, span
from mlx_publish.engine.stored_numbers import floats_from, floats_of, rows_of
from mlx_publish.engine.strips import columns_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking_integers import Integers, Numbers, misread
from mlx_publish.model.packed_gptq_said import EITHER, MINUS_ONE

_LIES_AT = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Where AWQ has each of eight outputs in a word: it writes 0, 2, 4, 6, 1, 3, 5, 7."""


class _InColumns(Integers):
    """What both have: scales and zero points of (groups, rows)."""

    def scales_of(self, files: TensorFiles, expert: int, first: int, last: int) -> NDArray[np.float32]:
        """Return the scales."""
        name = self.weight.parts["scales"]
        columns = columns_of(files, name, self._of(expert, self.groups), first, last)
        scales: NDArray[np.float32] = floats_from(columns, files.stored[name].info.dtype).T
        return scales

    @staticmethod
    def _of(expert: int, rows: int) -> tuple[int, int]:
        """Return the rows of a stored tensor that belong to an expert."""
        return expert * rows, (expert + 1) * rows


class Gptq(_InColumns):
    """qweight (columns * bits / 32, rows), qzeros (groups, rows * bits / 32), scales (groups, rows)."""

    def integers_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers:
        """Return the integers of rows of an expert."""
        rows = self._of(expert, self.shape[-1] * self.bits // 32)
        words = columns_of(files, self.weight.parts["weight"], rows, first, last)
        return integers(words.T, self.bits, self.shape[-1])

    def zeros_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers | int:
        """Return the zero points, or the one for all."""
        name = self.weight.parts.get("zeros")
        if name is None:
            return self.half
        start, stop, before = span(first, last, self.bits)
        words = columns_of(files, name, self._of(expert, self.groups), start, stop)
        stored = integers(words, self.bits, before + last - first)[:, before:].T
        return self._judged(stored.astype(np.int16), name)

    def _judged(self, stored: NDArray[np.int16], name: str) -> Numbers:
        """Return the zero points. `Refused` where what is stored can be read in two ways, or contradicts the config."""
        way, one = self.weight.options["zeros"], int(self.weight.options["zeros"] == MINUS_ONE)
        if way == EITHER:
            if not all_are(stored, self.half) and not all_are(stored, self.half - 1):
                raise misread(
                    name, "has zero points, and no config says whether they are stored minus one (checkpoint_format)"
                )
            return np.full_like(stored, self.half)
        if self.weight.options["symmetric"] and not all_are(stored, self.half - one):
            raise misread(
                name,
                f"holds zero points from {stored.min()} to {stored.max()}; symmetric ones are stored as "
                f"{self.half - one} in the checkpoint_format that the config says",
            )
        if one and (stored == (1 << self.bits) - 1).any():
            raise misread(
                name,
                f"stores the zero point {(1 << self.bits) - 1}, to which one is to be added: those who read it "
                "do not agree on what that is (AutoGPTQ says 0, exllama the next number, GPTQModel carries)",
            )
        zeros: NDArray[np.int16] = stored + np.int16(one)
        return zeros

    def _lazily(self, parts: Mapping[str, mx.array]) -> tuple[mx.array, mx.array | int, mx.array]:
        (rows, columns), scales = self.shape[-2:], parts["scales"].T
        whole = mlx_integers(parts["weight"].T, self.bits, columns)
        way = self.weight.options["zeros"]
        if "zeros" not in parts or way == EITHER:
            return whole, self.half, scales
        zeros = mlx_integers(parts["zeros"], self.bits, rows).T
        return whole, zeros + (way == MINUS_ONE), scales


class Awq(_InColumns):
    """qweight (columns, rows / 8), qzeros (groups, rows / 8), scales (groups, rows)."""

    def integers_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers:
        """Return the integers of rows of an expert."""
        return self._of_words(files, "weight", self._of(expert, self.shape[-1]), first, last)

    def zeros_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers | int:
        """Return the zero points, or the one for all."""
        if "zeros" not in self.weight.parts:
            return self.half
        return self._of_words(files, "zeros", self._of(expert, self.groups), first, last).astype(np.int16)

    def _of_words(self, files: TensorFiles, part: str, rows: tuple[int, int], first: int, last: int) -> Numbers:
        """Return what lies in a range of columns once they are unpacked and in order, turned: (columns, rows)."""
        start, stop = first // 8, -(-last // 8)
        words = columns_of(files, self.weight.parts[part], rows, start, stop)
        stored = integers(words, self.bits, 8 * (stop - start)).reshape(-1, stop - start, 8)
        every = stored[..., _LIES_AT].reshape(len(stored), -1)
        turned: Numbers = every[:, first - 8 * start : last - 8 * start].T
        return turned

    def _lazily(self, parts: Mapping[str, mx.array]) -> tuple[mx.array, mx.array | int, mx.array]:
        zeros = self._ordered(parts["zeros"]) if "zeros" in parts else self.half
        return self._ordered(parts["weight"]), zeros, parts["scales"].T

    def _ordered(self, words: mx.array) -> mx.array:
        shifts = mx.array(_LIES_AT * self.bits, mx.uint32)
        values = (words.view(mx.uint32)[..., None] >> shifts) & 15
        return values.reshape(words.shape[0], -1).T.astype(mx.int32)


class AwqGemv(Integers):
    """qweight (rows, columns / 8) in order, qzeros (rows, words), scales (rows, groups and what fills them up)."""

    def integers_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers:
        """Return the integers of rows of an expert."""
        return self._of_words(files, "weight", self._from(expert, first, last), self.shape[-1])

    def zeros_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers | int:
        """Return the zero points, or the one for all."""
        if "zeros" not in self.weight.parts:
            return self.half
        return self._of_words(files, "zeros", self._from(expert, first, last), self.groups).astype(np.int16)

    def scales_of(self, files: TensorFiles, expert: int, first: int, last: int) -> NDArray[np.float32]:
        """Return the scales."""
        return floats_of(files, self.weight.parts["scales"], *self._from(expert, first, last))[:, : self.groups]

    def _from(self, expert: int, first: int, last: int) -> tuple[int, int]:
        return expert * self.shape[-2] + first, expert * self.shape[-2] + last

    def _of_words(self, files: TensorFiles, part: str, rows: tuple[int, int], number: int) -> Numbers:
        return integers(rows_of(files, self.weight.parts[part], *rows), self.bits, number)

    def _lazily(self, parts: Mapping[str, mx.array]) -> tuple[mx.array, mx.array | int, mx.array]:
        whole = mlx_integers(parts["weight"], self.bits, self.shape[-1])
        zeros = mlx_integers(parts["zeros"], self.bits, self.groups) if "zeros" in parts else self.half
        return whole, zeros, parts["scales"][:, : self.groups]


def all_are(numbers: Numbers, number: int) -> bool:
    """Return whether all numbers are one."""
    return bool((numbers == number).all())
