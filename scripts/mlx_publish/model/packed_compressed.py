"""Integer weights of compressed-tensors: packed into words (`pack-quantized`), or a byte each (`int-quantized`).

Source: compressors/pack_quantized of compressed-tensors. A row of `weight_packed` holds the numbers of a row one behind
the other, each raised by half of its range; versions before 0.12 let none cross the end of a word. Zero points are
packed so down the columns, and `weight_shape` has the rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlx_publish.model.packed_compressed_said import Scheme, is_compressed, rotates, schemes_of
from mlx_publish.model.packed_misfit import misfit, plain_name, scales_beside, words_of
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

_PACKED, _WEIGHT = ".weight_packed", ".weight"
_BESIDE = {
    "input_scale": "scales what goes into the layer",
    "input_zero_point": "is the zero point of what goes into the layer",
    "output_scale": "scales what comes out of the layer",
    "output_zero_point": "is the zero point of what comes out of the layer",
}
_OF_CACHE = (".k_scale", ".v_scale", ".q_scale", ".k_zero_point", ".v_zero_point", ".q_zero_point")


def find_compressed(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the weights in packed integers, and in bytes. `Refused` where a tensor does not fit the others."""
    schemes = schemes_of(block)  # without one, nothing says how many bits words hold
    packed = [
        name.removesuffix(_PACKED)
        for name, tensor in by_name.items()
        if schemes and name.endswith(_PACKED) and tensor.dtype != "U8"
    ]
    plain = is_compressed(block)
    in_bytes = [
        name.removesuffix(_WEIGHT)
        for name, tensor in by_name.items()
        if plain and tensor.dtype == "I8" and name.endswith(_WEIGHT) and f"{name}_scale" in by_name
    ]
    if (packed or in_bytes) and rotates(block):
        raise misfit(
            [*packed, *in_bytes][0],
            "belongs to a model that turns its activations (transform_config), which mlx-lm does not",
            "Use the model it was made from.",
        )
    weights = [_packed(schemes, stem, by_name) for stem in packed]
    weights += [_in_bytes(schemes, stem, by_name) for stem in in_bytes]
    ends = [(f"{stem}.{end}", why) for stem in (*packed, *in_bytes) for end, why in _BESIDE.items()]
    beside = {name: why for name, why in ends if name in by_name}
    cache = dict.fromkeys((name for name in by_name if name.endswith(_OF_CACHE)), "scales what the cache keeps")
    return Found(tuple(weights), {**beside, **cache} if weights else {})


def _packed(schemes: Sequence[Scheme], stem: str, by_name: Mapping[str, TensorInfo]) -> PackedWeight:
    packed, beside = by_name[stem + _PACKED], _Beside(stem, by_name)
    if beside.get("scale_packed") or beside.get("meta"):
        raise misfit(
            packed.name,
            "is packed as marlin-24, an order for one kind of processor that is not read",
            "Use the model it was made from, or one quantized as pack-quantized.",
        )
    words_of(packed)
    scales = scales_beside(packed.name, beside.get("weight_scale"), f"{stem}.weight_scale"[-100:])
    rows, width = packed.shape[-2:]
    ways = {way: scheme for scheme in schemes for way in [_way(scheme, rows, width, scales, beside)] if way}
    if len(ways) > 1:
        ways = {way: scheme for way, scheme in ways.items() if scheme.names(stem)} or ways
    if len(ways) != 1:
        raise misfit(
            packed.name,
            f"has the shape {list(packed.shape)} and scales of {list(scales.shape)}, which fit "
            f"{'several' if ways else 'none'} of the schemes in quantization_config",
        )
    (way, scheme), *_ = ways.items()
    bits, columns, padded = way
    zeros = beside.zeros(scheme, scales)
    options = {"padded": padded, "zeros-packed": zeros is not None and zeros.dtype in ("I32", "U32")}
    return beside.weight(
        "packed-rows", packed, scales, zeros, (rows, columns), bits, options, shape=beside.get("weight_shape")
    )


def _way(scheme: Scheme, rows: int, width: int, scales: TensorInfo, beside: _Beside) -> tuple[int, int, bool] | None:
    """Return bits, columns and whether no number crosses words, if a weight can have been packed by a scheme."""
    bits, per_word = scheme.bits, 32 // scheme.bits
    groups = scales.shape[-1] if len(scales.shape) > 1 and scales.size > 1 else 1
    if scheme.group:
        columns = groups * scheme.group
    elif groups > 1:
        return None
    else:
        columns = width * 32 // bits if width * 32 % bits == 0 else width * per_word
    zeros = beside.get("weight_zero_point")
    heights = {-(-rows * bits // 32): False, -(-rows // per_word): True}
    if zeros is not None and zeros.dtype in ("I32", "U32") and not set(zeros.shape[-2:-1]) & set(heights):
        return None
    widths = {-(-columns // per_word): True, -(-columns * bits // 32): False}
    return (bits, columns, widths[width]) if width in widths else None


def _in_bytes(schemes: Sequence[Scheme], stem: str, by_name: Mapping[str, TensorInfo]) -> PackedWeight:
    weight, beside = by_name[stem + _WEIGHT], _Beside(stem, by_name)
    if len(weight.shape) not in (2, 3):
        raise misfit(weight.name, f"has the shape {list(weight.shape)}; weights have two sides, experts three")
    scales = scales_beside(weight.name, beside.get("weight_scale"), f"{stem}.weight_scale"[-100:])
    named = [scheme for scheme in schemes if scheme.names(stem)] or list(schemes)
    scheme = next((one for one in named if one.bits == 8), Scheme(8, 0, symmetric=True))
    return beside.weight("integer-rows", weight, scales, beside.zeros(scheme, scales), weight.shape[-2:], 8, {})


class _Beside:
    """The tensors of one layer."""

    def __init__(self, stem: str, by_name: Mapping[str, TensorInfo]) -> None:
        self._stem, self._by_name = stem, by_name

    def get(self, end: str) -> TensorInfo | None:
        """Return a tensor of the layer, None if it has none of the name."""
        return self._by_name.get(f"{self._stem}.{end}")

    def zeros(self, scheme: Scheme, scales: TensorInfo) -> TensorInfo | None:
        """Return the zero points, None if there are none. `Refused` if the config asks for some."""
        zeros = self.get("weight_zero_point")
        if zeros is None:
            if not scheme.symmetric:
                raise misfit(scales.name, "has no weight_zero_point beside it, and the scheme is not symmetric")
            return None
        if zeros.dtype not in ("I32", "U32", "I8"):
            raise misfit(zeros.name, f"holds zero points in {zeros.dtype}; bytes and words of 32 bits are read")
        return zeros

    def weight(
        self,
        form: str,
        packed: TensorInfo,
        scales: TensorInfo,
        zeros: TensorInfo | None,
        sides: Sequence[int],
        bits: int,
        options: Mapping[str, int | float | str | bool],
        shape: TensorInfo | None = None,
    ) -> PackedWeight:
        """Return the weight of these tensors. `Refused` where their shapes do not fit."""
        experts, (rows, columns) = packed.shape[:-2], sides
        each = _columns_each(scales, experts, rows, columns)
        per_word = 32 // bits
        in_words = zeros is not None and zeros.dtype != "I8"
        height = (-(-rows // per_word) if options.get("padded") else -(-rows * bits // 32)) if in_words else rows
        asked = [(*experts, height, *scales.shape[len(experts) + 1 :])]
        if zeros and zeros.shape not in asked and not (zeros.size == 1 and not in_words):
            raise misfit(zeros.name, f"has the shape {list(zeros.shape)}; the scales ask for {list(asked[0])}")
        index = self.get("weight_g_idx")
        if index and (index.dtype not in ("I32", "I64") or index.shape != (columns,)):
            raise misfit(index.name, f"is {index.dtype} {list(index.shape)}, and the weight has {columns} columns")
        if shape and (shape.dtype not in ("I64", "I32") or shape.size != len(packed.shape)):
            raise misfit(shape.name, f"is {shape.dtype} {list(shape.shape)} and not the sides of a weight")
        parts = {"weight": packed, "scales": scales, "zeros": zeros, "index": index, "shape": shape}
        names = {part: tensor.name for part, tensor in parts.items() if tensor}
        name = plain_name(self._stem, len(packed.shape))
        return PackedWeight(name, form, (*experts, rows, columns), names, bits, (1, each), options)


def _columns_each(scales: TensorInfo, experts: Sequence[int], rows: int, columns: int) -> int:
    """Return the columns of a group, 0 for all. `Refused` if the shape of the scales fits none."""
    if scales.size == 1 or scales.shape in ((*experts, rows), (*experts, rows, 1)):
        return 0
    if len(scales.shape) == len(experts) + 2 and scales.shape[:-1] == (*experts, rows):
        groups = scales.shape[-1]
        if groups and columns % groups == 0:
            return columns // groups
    raise misfit(scales.name, f"has the shape {list(scales.shape)}, which does not fit {rows} rows of {columns}")
