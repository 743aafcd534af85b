"""Quantized weights of a source that become MLX's by moving their bits: integers and scales are the source's own.

Each form has a module with a function that takes a weight and what is asked for; `FORMS` names them by the `form` of a
`PackedWeight`. What config and headers say of it stands in `model/repackable.py`; here the numbers are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import mlx.core as mx

from mlx_publish.engine.derived import Derived, packed_of, weight_of
from mlx_publish.engine.making import Way
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.repacked import Repack, RepackedRows
from mlx_publish.engine.repacking_bitnet import bitnet_as_affine
from mlx_publish.engine.repacking_floats import in_e4m3, in_powers
from mlx_publish.engine.repacking_integers import integers_as_affine
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.evidence.conversion import Repacked
from mlx_publish.model.packed_weight import PackedWeight
from mlx_publish.model.repackable import why_not

Asked = Callable[[PackedWeight, Precision, mx.Dtype, TensorFiles], Repack | str]
"""Takes a weight that `why_not` has nothing against, and the type of scales and biases; returns why its numbers cannot
be repacked, as a part of a sentence, where that is so."""
FORMS: Mapping[str, Asked] = {
    "fp8": in_powers,
    "mxfp4": in_powers,
    "nvfp4": in_e4m3,
    "bitnet": bitnet_as_affine,
    **dict.fromkeys(("gptq", "awq", "awq-gemv", "packed-rows", "integer-rows"), integers_as_affine),
}


_CHANGED = "an adapter changes it"


def repack_of(weight: PackedWeight, packing: Precision, dtype: mx.Dtype, files: TensorFiles) -> Repack | str:
    """Return how a weight is repacked, or why it cannot be."""
    reason = why_not(weight, *packing)
    if reason or weight.form not in FORMS:
        return reason or f"nothing repacks {weight.form}"
    return FORMS[weight.form](weight, packing, dtype, files)


def repacked_rows(
    tensors: Sequence[Derived], shape: tuple[int, ...], packing: Precision, dtype: mx.Dtype, files: TensorFiles
) -> RepackedRows | str:
    """Return how derived tensors that lie one behind the other are repacked, or why one of them cannot be."""
    repacks: list[Repack] = []
    for tensor in tensors:
        weight = weight_of(tensor)
        made = repack_of(weight, packing, dtype, files) if weight else _CHANGED
        if isinstance(made, str):
            return made
        repacks.append(made)
    return RepackedRows(files, repacks, shape)


def by_repacking(made: Mapping[str, Way], parameters: Parameters) -> tuple[dict[str, Way], Repacked | None]:
    """Return ways with those that pack a parameter as the source holds it taking its integers; and what could not.

    The second has no `weights` yet, and is None where no quantized weight of the source is packed.
    """
    ways, reasons, total = dict(made), Counter[str](), 0
    for path, way in made.items():
        rows = parameters.derived(path) if way.packing else None
        if rows is None or way.packing is None or not any(map(packed_of, rows.tensors)):
            continue
        total += len(rows.tensors)
        repack = repacked_rows(rows.tensors, rows.shape, way.packing, way.dtype, rows.files)
        if isinstance(repack, str):
            reasons[repack] += len(rows.tensors)
        else:
            ways[path] = replace(way, repack=repack)
    return ways, Repacked(0, total, reasons=dict(reasons)) if total else None


def told(planned: Repacked | None, ways: Iterable[Way]) -> Repacked | None:
    """Return what became of the source's weights, once all of them are written."""
    repacks = [way.repack for way in ways if way.repack]
    read = [one for repack in repacks for one in repack.told]
    return planned and replace(
        planned,
        weights=sum(len(repack.repacks) for repack in repacks),
        groups=sum(one.groups for one in read),
        rounded=sum(one.rounded for one in read),
        off=max((one.off for one in read), default=0.0),
    )
