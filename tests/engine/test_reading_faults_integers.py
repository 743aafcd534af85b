"""Faults of readers of packed integers, each in every form that can have it: none is silent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import packed_writers as writers
import reading_faults as faults
from mlx_publish.engine.derived import Derived
from mlx_publish.engine.reading_proof import prove
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import derived_of
from mlx_publish.errors import Refused
from mlx_publish.model.packed import packing_of
from mlx_publish.model.weights import read_header
from packed_sources import AWQ, GPTQ, ct
from packed_writers import layer
from tensor_file import write_tensors

UP, OTHER = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"
Write = Callable[..., Mapping[str, Any]]
FORMS: dict[str, tuple[Write, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "gptq": (writers.gptq, GPTQ, {}, {"with_index": False}),
    "gptq v2": (writers.gptq, GPTQ | {"checkpoint_format": "gptq_v2"}, {}, {"minus": 0, "with_index": False}),
    "gptq in another order": (writers.gptq, GPTQ | {"desc_act": True}, {"permuted": True}, {}),
    "awq": (writers.awq, AWQ, {}, {}),
    "awq gemv": (writers.awq_gemv, AWQ | {"version": "gemv"}, {}, {}),
    "compressed": (writers.compressed, ct(symmetric=False), {}, {"symmetric": False}),
    "bytes": (writers.in_bytes, ct(8, symmetric=False), {"bits": 8}, {"symmetric": False}),
}


class Source:
    """Two layers of one form."""

    def __init__(self, folder: Path, form: str, change: Callable[[Any], Any] = lambda tensors: tensors) -> None:
        write, block, of, how = FORMS[form]
        tensors: dict[str, Any] = {}
        for seed, stem in enumerate((UP, OTHER)):
            tensors |= writers.named(stem, write(layer(64, 96, seed=seed + 1, **of), **how))
        write_tensors(folder / "model.safetensors", change(tensors))
        config = {"model_type": "llama", "quantization_config": block}
        packing = packing_of(config, {}, read_header(folder / "model.safetensors"), "bfloat16")
        assert packing is not None
        self.files = TensorFiles(folder)
        self.derived: dict[str, Any] = dict(derived_of(packing))
        self.up, self.other = self.derived[f"{UP}.weight"], self.derived[f"{OTHER}.weight"]


def off_by_one(derived: Any) -> faults.Faulty:
    """A reader whose zero points are one less: each number is a step more."""

    class Shifted(type(derived)):  # type: ignore[misc]
        def zeros_of(self, *place: Any) -> Any:
            return super().zeros_of(*place) - 1

    return faults.Faulty(derived.weight, Shifted(derived.weight, derived.dtype))


def groups_rolled(derived: Any) -> faults.Faulty:
    """A reader that takes the scale of the group beside it."""

    class Rolled(type(derived)):  # type: ignore[misc]
        def scales_of(self, *place: Any) -> Any:
            return np.roll(super().scales_of(*place), 1, axis=1)

    return faults.Faulty(derived.weight, Rolled(derived.weight, derived.dtype))


def without_index(derived: Any) -> faults.Faulty:
    """A reader that takes columns in groups side by side."""
    parts = {part: name for part, name in derived.weight.parts.items() if part != "index"}
    return faults.misread(derived, parts=parts)


FAULTS: dict[str, Callable[[Source], Derived]] = {
    "the scales of another weight": lambda s: faults.with_parts_of(s.up, s.other, "scales"),
    "the zero points of another weight": lambda s: faults.with_parts_of(s.up, s.other, "zeros"),
    "the integers of another weight": lambda s: faults.with_parts_of(s.up, s.other, "weight"),
    "a zero point off by one": lambda s: off_by_one(s.up),
    "the scale of the group beside it": lambda s: groups_rolled(s.up),
    "groups of half the size": lambda s: faults.with_groups_of(s.up, 16),
    "two numbers of a byte exchanged": lambda s: faults.turned(s.up, faults.pairs_exchanged),
    "the row before": lambda s: faults.turned(s.up, faults.next_row),
    "MLX alone": lambda s: faults.as_mlx_computes(s.up, lambda array: array[::-1]),
}


@pytest.mark.parametrize("form", FORMS)
def test_two_readers_agree_on_each_form(form: str, tmp_path: Path) -> None:
    source = Source(tmp_path, form)
    read = prove(source.derived, source.files, [])
    assert read is not None
    assert (read.weights, read.numbers, read.apart, read.strange) == (2, 2 * 64 * 96, 0, [])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_a_reader_is_silent(form: str, fault: str, tmp_path: Path) -> None:
    if (form, fault) == ("gptq in another order", "groups of half the size"):
        pytest.skip("its index says which column is of which group")
    source = Source(tmp_path, form)
    faulty = FAULTS[fault](source)
    with pytest.raises(Refused, match=r"two readers of its quantized weights|zero point") as refused:
        prove({**source.derived, faulty.name: faulty}, source.files, [])
    assert refused.value.check in ("source-read", "weights-numbers")
    assert UP in str(refused.value)


def test_an_index_that_is_not_looked_at_is_found(tmp_path: Path) -> None:
    source = Source(tmp_path, "gptq in another order")
    with pytest.raises(Refused, match="two readers"):
        prove({**source.derived, f"{UP}.weight": without_index(source.up)}, source.files, [])


@pytest.mark.parametrize("way", ["minus-one", "as-they-are"])
def test_the_other_way_to_store_zero_points_of_gptq_is_found(way: str, tmp_path: Path) -> None:
    source = Source(tmp_path, "gptq v2" if way == "minus-one" else "gptq")
    faulty = faults.misread(source.up, options={**source.up.weight.options, "zeros": way})
    with pytest.raises(Refused, match=r"two readers|zero point"):
        prove({**source.derived, faulty.name: faulty}, source.files, [])
