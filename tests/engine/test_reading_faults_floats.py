"""Faults of readers of small floats, each in every form that can have it: none is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import packed_floats
import reading_faults as faults
from mlx_publish.engine.derived import Derived
from mlx_publish.engine.reading_proof import prove
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import derived_of
from mlx_publish.errors import Refused
from mlx_publish.model.packed import packing_of
from mlx_publish.model.weights import read_header
from mlx_publish.source.odd_types import copy_as_bytes
from packed_floats import FORMS
from small_floats import Written, write_raw

NAMES = [form.__name__ for form in FORMS]


class Source:
    """Weights of one form, of which the last is read wrongly."""

    def __init__(self, folder: Path, form: str) -> None:
        written: Written = getattr(packed_floats, form)()
        write_raw(folder / "source.bin", written.tensors)
        config = {"model_type": "llama", "quantization_config": written.block}
        packing = packing_of(config, written.side, read_header(folder / "source.bin"), "bfloat16")
        assert packing is not None
        copy_as_bytes(folder / "source.bin", folder / "model.safetensors")
        self.files = TensorFiles(folder)
        self.derived: dict[str, Any] = dict(derived_of(packing))
        self.one = list(self.derived.values())[-1]


def scales_rolled(derived: Any) -> Derived:
    """A reader that takes the scale of the block beside it."""

    class Rolled(type(derived)):  # type: ignore[misc]
        def _scales(self, rows: Any) -> Any:
            return np.roll(super()._scales(rows), 1, axis=-1)

    return faults.Faulty(derived.weight, Rolled(derived.weight, derived.dtype))


def of_wide_blocks(derived: Any) -> Derived:
    high, wide = derived.weight.block
    return faults.misread(derived, block=(high, wide // 2 if wide > 1 else 1))


def of_high_blocks(derived: Any) -> Derived:
    high, wide = derived.weight.block
    return faults.misread(derived, block=(2 * high if high else 1, wide))


def other_way(derived: Any) -> Derived:
    ways = {"times": "over", "over": "times"}
    options = derived.weight.options
    return faults.misread(derived, options={**options, "global": ways[str(options["global"])]})


FAULTS: dict[str, Callable[[Any], Derived]] = {
    "the scale of the block beside it": scales_rolled,
    "blocks of half the columns": of_wide_blocks,
    "blocks of other rows": of_high_blocks,
    "an exponent off by one": lambda one: faults.turned(one, faults.doubled),
    "the row before": lambda one: faults.turned(one, faults.next_row),
    "two numbers of a byte exchanged": lambda one: faults.turned(one, faults.pairs_exchanged),
    "MLX alone": lambda one: faults.as_mlx_computes(one, lambda array: -array),
    "the scale of the tensor the other way": other_way,
}


def cannot_have(fault: str, one: Any) -> bool:
    """Whether a weight is the same by a reader with this fault."""
    high, wide = one.weight.block
    unable: dict[str, bool] = {
        "the scale of the block beside it": wide == 0 or wide >= one.weight.shape[-1],
        "blocks of half the columns": wide <= 1,
        "blocks of other rows": high == 0 and wide == 0,
        "the scale of the tensor the other way": "global_scale" not in one.weight.parts,
    }
    return unable.get(fault, False)


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_a_reader_is_silent(form: str, fault: str, tmp_path: Path) -> None:
    source = Source(tmp_path, form)
    if cannot_have(fault, source.one):
        pytest.skip("its weight has no such thing")
    faulty = FAULTS[fault](source.one)
    with pytest.raises(Refused, match=r"two readers of its quantized weights|became shorter") as refused:
        prove({**source.derived, faulty.name: faulty}, source.files, [])
    if refused.value.check == "source-read":  # else it read beyond the end of the file
        assert faulty.name in str(refused.value)


@pytest.mark.parametrize("form", NAMES)
def test_two_readers_agree_on_each_form(form: str, tmp_path: Path) -> None:
    source = Source(tmp_path, form)
    read = prove(source.derived, source.files, [])
    assert read is not None
    assert 0 < read.numbers <= sum(int(np.prod(tensor.shape)) for tensor in source.derived.values())
    assert read.apart <= read.numbers // 1000


def test_the_scales_of_another_weight_are_found(tmp_path: Path) -> None:
    source = Source(tmp_path, "fp8_rows")
    one, other = source.derived.values()
    weight = replace(one.weight, parts={**one.weight.parts, "scales": other.weight.parts["scales"]})
    faulty = faults.Faulty(one.weight, type(one)(weight, one.dtype))
    with pytest.raises(Refused, match="two readers"):
        prove({**source.derived, faulty.name: faulty}, source.files, [])
