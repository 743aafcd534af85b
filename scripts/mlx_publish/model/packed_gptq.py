"""Weights as AWQ and GPTQ pack them, and AutoRound in both ways: `qweight`, `qzeros`, `scales`, `g_idx` of a layer.

Sources: WQLinear_GEMM and WQLinear_GEMV of AutoAWQ; QuantLinear of AutoGPTQ and GPTQModel. With rows `out` and columns
`in` of the weight, GPTQ has qweight (in * bits / 32, out), AWQ (in, out / 8), and AWQ's gemv (out, in / 8). The first
two have scales (groups, out), the last (out, groups and what fills them up).
"""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.model.packed_gptq_said import Said, said_by
from mlx_publish.model.packed_misfit import misfit, plain_name, scales_beside, words_of
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

_BITS = (2, 3, 4, 8)
_AWQ_BITS = 4
_PER_WORD = 32 // _AWQ_BITS


def find_gptq(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the weights that lie as `qweight`. `Refused` where a tensor does not fit, or a packing is not read."""
    said = said_by(block)
    stems = [name.removesuffix(".qweight") for name in by_name if name.endswith(".qweight")]
    return Found(tuple(_weight(said, stem, by_name) for stem in stems))


def _weight(said: Said, stem: str, by_name: Mapping[str, TensorInfo]) -> PackedWeight:
    packed = by_name[f"{stem}.qweight"]
    if said.unread:
        raise misfit(
            packed.name,
            f"is packed as {said.unread}, an order for one kind of processor that is not read",
            "Use the model it was made from, or one quantized in the usual order (AWQ's gemm, gptq).",
        )
    words_of(packed)
    scales = scales_beside(packed.name, by_name.get(f"{stem}.scales"), f"{stem}.scales"[-100:])
    zeros, index = by_name.get(f"{stem}.qzeros"), by_name.get(f"{stem}.g_idx")
    if zeros is None and said.symmetric is not True:
        raise misfit(packed.name, "has no qzeros beside it, and quantization_config does not say that there are none")
    sides = {len(tensor.shape) for tensor in (packed, scales, *([zeros] if zeros else []))}
    if len(sides) != 1:
        raise misfit(scales.name, f"has the shape {list(scales.shape)} beside packed weights of {list(packed.shape)}")
    if zeros:
        words_of(zeros)
    layer = _Layer(said, stem, packed, scales, zeros, index)
    return layer.weight()


class _Layer:
    """The tensors of one layer, which together show how they are packed."""

    def __init__(
        self,
        said: Said,
        stem: str,
        packed: TensorInfo,
        scales: TensorInfo,
        zeros: TensorInfo | None,
        index: TensorInfo | None,
    ) -> None:
        self.said, self.stem = said, stem
        self.packed, self.scales, self.zeros = packed, scales, zeros
        self.index = index if index is not None and index.size else None

    def weight(self) -> PackedWeight:
        """Return the weight. `Refused` if shapes, or shapes and config, contradict each other."""
        (first, second), (groups, out) = self.packed.shape[-2:], self.scales.shape[-2:]
        if self.said.version == "gemv":
            return self._gemv(first, second * _PER_WORD)
        if second == out:
            return self._gptq(first, out, groups)
        if second * _PER_WORD == out:
            return self._awq(first, out, groups)
        raise misfit(
            self.packed.name,
            f"has the shape {list(self.packed.shape)}, which fits scales of {list(self.scales.shape)} neither as GPTQ "
            "nor as AWQ packs",
        )

    def _gptq(self, words: int, out: int, groups: int) -> PackedWeight:
        self._named("gptq", "GPTQ, along the input")
        bits = self._bits(words, out)
        columns = words * 32 // bits
        self._zeros_fit(groups, -(-out * bits // 32))
        if self.index and (self.index.shape != (columns,) or self.index.dtype not in ("I32", "I64")):
            raise misfit(
                self.index.name,
                f"is {self.index.dtype} {list(self.index.shape)}, and the weight has {columns} columns of {bits} bits",
            )
        if self.said.ordered and groups > 1 and not self.index:
            raise misfit(self.packed.name, "has no g_idx beside it, and quantization_config says desc_act")
        options: dict[str, int | float | str | bool] = {
            "zeros": self.said.zeros,
            "symmetric": self.said.symmetric is True,
        }
        return self._made("gptq", (out, columns), bits, self._group(columns, groups), options)

    def _awq(self, columns: int, out: int, groups: int) -> PackedWeight:
        self._named("awq", "AWQ, along the output")
        self._four_bits()
        self._zeros_fit(groups, out // _PER_WORD)
        if self.index:
            raise misfit(self.index.name, "says that columns are reordered, which AWQ does not do")
        return self._made("awq", (out, columns), _AWQ_BITS, self._group(columns, groups), {})

    def _gemv(self, out: int, columns: int) -> PackedWeight:
        self._four_bits()
        if self.scales.shape[-2] != out:
            raise misfit(self.packed.name, f"has {out} rows, and its scales {self.scales.shape[-2]}, unlike AWQ's gemv")
        each = self.said.group if self.said.group and self.said.group > 0 else columns
        groups = -(-columns // each)
        if not groups <= self.scales.shape[-1] < groups + 4 * _PER_WORD:
            raise misfit(self.scales.name, f"has {self.scales.shape[-1]} scales a row, and there are {groups} groups")
        self._zeros_fit(out, -(-self.scales.shape[-1] // _PER_WORD))
        return self._made("awq-gemv", (out, columns), _AWQ_BITS, each if groups > 1 else 0, {"groups": groups})

    def _named(self, method: str, way: str) -> None:
        if self.said.method not in ("", method):
            raise misfit(
                self.packed.name, f"is packed as {way}, and quantization_config says {self.said.method.upper()}"
            )

    def _four_bits(self) -> None:
        if self.said.bits not in (None, _AWQ_BITS) and not self.said.varies:
            raise misfit(
                self.packed.name, f"is packed as AWQ, which is done at 4 bits; the config says {self.said.bits}"
            )

    def _bits(self, words: int, out: int) -> int:
        """Return the bits that the shape of the zero points shows; those of the config where it allows several."""
        said = self.said.bits
        width = self.zeros.shape[-1] if self.zeros else None
        able = [bits for bits in _BITS if words * 32 % bits == 0 and width in (None, -(-out * bits // 32))]
        if said in able:
            return said
        if said is not None and not (self.said.varies and len(able) == 1):
            raise misfit(
                (self.zeros or self.packed).name,
                f"has the shape {list((self.zeros or self.packed).shape)}, which does not fit {said} bits, as the "
                "config says",
            )
        if len(able) != 1:
            raise misfit(self.packed.name, "does not show how many bits its integers have, nor does the config")
        return able[0]

    def _zeros_fit(self, rows: int, width: int) -> None:
        if self.zeros and self.zeros.shape[-2:] != (rows, width):
            raise misfit(
                self.zeros.name, f"has the shape {list(self.zeros.shape)}; scales and bits ask for {[rows, width]}"
            )

    def _group(self, columns: int, groups: int) -> int:
        """Return the columns of a group, 0 for all of them; with an index it only says how many groups there are."""
        said = self.said.group
        if said is not None:
            if said == -1 and groups == 1:
                return 0
            if said > 0 and -(-columns // said) == groups:
                return said if groups > 1 else 0
            if not self.said.varies:
                raise misfit(
                    self.scales.name,
                    f"has {groups} groups for {columns} columns, which is not the group size {said} of the config",
                )
        if groups < 1 or columns % groups:
            raise misfit(self.scales.name, f"has {groups} groups, which do not divide {columns} columns")
        return columns // groups if groups > 1 else 0

    def _made(
        self, form: str, shape: tuple[int, int], bits: int, group: int, options: Mapping[str, int | float | str | bool]
    ) -> PackedWeight:
        sides, experts = len(self.packed.shape), self.packed.shape[:-2]
        if any(part.shape[:-2] != experts for part in (self.scales, self.zeros) if part):
            raise misfit(self.scales.name, f"has the shape {list(self.scales.shape)}, of another number of experts")
        parts = {"weight": self.packed, "scales": self.scales, "zeros": self.zeros, "index": self.index}
        names = {part: tensor.name for part, tensor in parts.items() if tensor}
        block = (1, group)
        return PackedWeight(plain_name(self.stem, sides), form, (*experts, *shape), names, bits, block, options)
