"""Weights that a source holds quantized, read as plain numbers: exactly, but for one rounding to the type they get.

Each form has a module with a class that is a `Derived`; `FORMS` names them by the `form` of a `PackedWeight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import mlx.core as mx

from mlx_publish.engine.casting import TYPES
from mlx_publish.engine.derived import Derived
from mlx_publish.engine.unpacking_bitnet import BitNet
from mlx_publish.engine.unpacking_compressed import IntegerRows, PackedRows
from mlx_publish.engine.unpacking_floats import ScaledFloats
from mlx_publish.engine.unpacking_gptq import Awq, AwqGemv, Gptq
from mlx_publish.evidence.records import from_json
from mlx_publish.model.packed import PACKED_FILE, Packing
from mlx_publish.model.packed_weight import PackedWeight
from mlx_publish.text.files import read_json

FORMS: Mapping[str, Callable[[PackedWeight, mx.Dtype], Derived]] = {
    **dict.fromkeys(("fp8", "mxfp4", "nvfp4"), ScaledFloats),
    "gptq": Gptq,
    "awq": Awq,
    "awq-gemv": AwqGemv,
    "packed-rows": PackedRows,
    "integer-rows": IntegerRows,
    "bitnet": BitNet,
}


def packing_beside(folder: Path) -> Packing | None:
    """Return how the weights of a folder are packed, by the file that lies beside them; None where there is none."""
    content = read_json(folder / PACKED_FILE)
    return from_json(Packing, content) if content is not None else None


def derived_of(packing: Packing) -> dict[str, Derived]:
    """Return the weights of a packing by their names."""
    return {weight.name: FORMS[weight.form](weight, TYPES[packing.dtype]) for weight in packing.weights}


def unpacked(packing: Packing, derived: Mapping[str, Derived], arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Return the arrays of a source with plain weights in place of what stands for them, lazily."""
    taken = {name for tensor in derived.values() for name in tensor.takes} | set(packing.beside)
    plain = {name: array for name, array in arrays.items() if name not in taken}
    made = {name: tensor.array({part: arrays[part] for part in tensor.takes}) for name, tensor in derived.items()}
    return {**plain, **made}


def idle_biases(
    packing: Packing, arrays: Mapping[str, mx.array], wanted: Iterable[str], *, unread: bool = False
) -> Iterator[str]:
    """Yield biases of packed weights that are all zeros and for which a class has no parameter: they do nothing.

    `wanted` are the names of its parameters, which may begin otherwise than the source's. With `unread` no number is
    looked at: whoever reads them later has to see that they are zeros.
    """
    ends = {_end(name) for name in wanted}
    for weight in packing.weights:
        bias = f"{weight.name.removesuffix('weight')}bias"
        alone = weight.name.endswith(".weight") and bias in arrays and _end(bias) not in ends
        if alone and (unread or not mx.any(arrays[bias] != 0).item()):
            yield bias


def _end(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")[-3:])
