"""Quantized weights of a source that become MLX's by moving their bits: integers and scales are the source's own.

Each form has a module with a function that takes a weight and what is asked for; `FORMS` names them by the `form` of a
`PackedWeight`. What config and headers say of it stands in `model/repackable.py`; here the numbers are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import mlx.core as mx

from mlx_publish.engine.derived import Derived
from mlx_publish.engine.making import Way
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.repacked import Repack, RepackedRows
from mlx_publish.engine.repacking_fp8 import fp8_as_mxfp8
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight
from mlx_publish.model.repackable import why_not

Asked = Callable[[PackedWeight, Precision, mx.Dtype, TensorFiles], Repack | str]
"""Takes a weight that `why_not` has nothing against, and the type of scales and biases; returns why its numbers cannot
be repacked, as a part of a sentence, where that is so."""
FORMS: Mapping[str, Asked] = {"fp8": fp8_as_mxfp8}


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
        weight = getattr(tensor, "weight", None)
        made = repack_of(weight, packing, dtype, files) if isinstance(weight, PackedWeight) else "it is computed"
        if isinstance(made, str):
            return made
        repacks.append(made)
    return RepackedRows(files, repacks, shape)


def by_repacking(made: Mapping[str, Way], parameters: Parameters) -> dict[str, Way]:
    """Return ways with those that pack a parameter as the source holds it taking its integers."""
    return {path: _repacking(way, path, parameters) for path, way in made.items()}


def _repacking(way: Way, path: str, parameters: Parameters) -> Way:
    rows = parameters.derived(path) if way.packing else None
    if rows is None or way.packing is None:
        return way
    repack = repacked_rows(rows.tensors, rows.shape, way.packing, way.dtype, rows.files)
    return way if isinstance(repack, str) else replace(way, repack=repack)
