"""Weights in small floats are read to the last bit, by rows and whole, in every form that their makers publish."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is compared with
import numpy as np
import pytest
from numpy.typing import NDArray

import packed_floats
from mlx_publish.engine.derived import Derived
from mlx_publish.engine.float_rows import FloatRows
from mlx_publish.engine.reading_proof import prove
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import FORMS as READERS
from mlx_publish.engine.unpacking import derived_of, unpacked
from mlx_publish.errors import Refused
from mlx_publish.model.packed import Packing, packing_of
from mlx_publish.model.packed_weight import PackedWeight
from mlx_publish.model.weights import read_header
from mlx_publish.source.odd_types import copy_as_bytes
from packed_floats import FORMS
from small_floats import Written, raw, write_raw
from tensor_file import bfloat16

Form = Callable[[], Written]
Array = NDArray[np.float32]


class Laid:
    """A source on the disk, found and ready to be read."""

    def __init__(self, folder: Path, written: Written, dtype: str = "bfloat16") -> None:
        folder.mkdir()
        write_raw(folder / "source.safetensors", written.tensors)
        tensors = read_header(folder / "source.safetensors")
        packing = packing_of({"quantization_config": written.block}, written.side, tensors, dtype)
        assert packing is not None
        copy_as_bytes(folder / "source.safetensors", folder / "model.safetensors")
        self.packing: Packing = packing
        self.derived: dict[str, Derived] = derived_of(packing)
        self.files = TensorFiles(folder)
        self.arrays: Any = mx.load(str(folder / "model.safetensors"))

    def rows(self, name: str, weight: PackedWeight | None = None) -> NDArray[np.integer]:
        """All rows as bits; those of another reading of the weight where one is given."""
        derived = self.derived[name]
        derived = READERS[weight.form](weight, derived.dtype) if weight else derived
        return derived.read(self.files, 0, int(np.prod(derived.shape[:-1])))

    def of(self, name: str) -> PackedWeight:
        """What was found of a weight."""
        return next(weight for weight in self.packing.weights if weight.name == name)


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def form(request: pytest.FixtureRequest) -> Form:
    made: Form = request.param
    return made


def bits(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The bfloat16 of numbers by way of float32, (rows, columns)."""
    return bfloat16(values.astype(np.float32).reshape(-1, values.shape[-1]))


def test_each_number_is_the_float32_of_the_exact_one_rounded_once(form: Form, tmp_path: Path) -> None:
    written = form()
    source = Laid(tmp_path / "source", written)
    assert set(source.derived) == set(written.weights)
    for name, values in written.weights.items():
        assert tuple(source.derived[name].shape) == values.shape
        np.testing.assert_array_equal(source.rows(name), bits(values), err_msg=name)


def test_in_float32_nothing_is_rounded_but_the_product(form: Form, tmp_path: Path) -> None:
    written = form()
    source = Laid(tmp_path / "source", written, "float32")
    for name, values in written.weights.items():
        exact = values.astype(np.float32).reshape(-1, values.shape[-1])
        np.testing.assert_array_equal(source.rows(name).view(np.float32), exact, err_msg=name)


def test_mlx_computes_the_same_bits(form: Form, tmp_path: Path) -> None:
    written = form()
    source = Laid(tmp_path / "source", written)
    plain = unpacked(source.packing, source.derived, source.arrays)
    assert set(plain) == set(written.weights)
    for name, array in plain.items():
        whole = np.array(array.view(mx.uint16)).reshape(-1, array.shape[-1])
        np.testing.assert_array_equal(whole, source.rows(name), err_msg=name)


def test_any_range_of_rows_is_that_part_of_the_whole(form: Form, tmp_path: Path) -> None:
    source = Laid(tmp_path / "source", form())
    for name, derived in source.derived.items():
        whole = source.rows(name)
        for first in range(0, len(whole), 7):
            last = min(len(whole), first + 11)
            np.testing.assert_array_equal(derived.read(source.files, first, last), whole[first:last], err_msg=name)


def test_what_stands_for_no_weight_is_left_out_with_the_reason(tmp_path: Path) -> None:
    source = Laid(tmp_path / "source", packed_floats.nvfp4_modelopt())
    assert source.packing.beside == {
        "a.input_scale": "scales what goes into the layer",
        "k_proj.k_scale": "scales the cache of keys and values",
    }


def test_a_byte_that_is_no_number_stays_none(tmp_path: Path) -> None:
    written = packed_floats.fp8_blocks()
    dtype, shape, data = written.tensors["a.weight"]
    written.tensors["a.weight"] = (dtype, shape, bytes([0x7F, 0xFF]) + data[2:])
    source = Laid(tmp_path / "source", written)
    assert list(np.isnan((source.rows("a.weight").astype(np.uint32) << 16).view(np.float32))[0, :3]) == [1, 1, 0]
    assert np.isnan(np.array(source.derived["a.weight"].array(source.arrays).astype(mx.float32)))[0, :2].all()


def test_a_power_of_two_that_is_no_number_makes_its_block_none(tmp_path: Path) -> None:
    written = packed_floats.mxfp4_compressed()
    dtype, shape, data = written.tensors["a.w1.weight_scale"]
    written.tensors["a.w1.weight_scale"] = (dtype, shape, b"\xff" + data[1:])
    rows = (Laid(tmp_path / "source", written).rows("a.w1.weight").astype(np.uint32) << 16).view(np.float32)
    assert np.isnan(rows[0, :32]).all()
    assert np.isfinite(rows[0, 32:]).all()


def changed(weight: PackedWeight, **options: int | float | str | bool) -> PackedWeight:
    return dataclasses.replace(weight, options={**weight.options, **options})


def reblocked(weight: PackedWeight, *block: int) -> PackedWeight:
    return dataclasses.replace(weight, block=block)


FAULTS: tuple[tuple[str, Form, str, Callable[[PackedWeight], PackedWeight]], ...] = (
    ("e4m3 as e5m2", packed_floats.fp8_blocks, "a.weight", lambda w: changed(w, float="e5m2")),
    ("e5m2 as e4m3", packed_floats.fp8_e5m2, "a.weight", lambda w: changed(w, float="e4m3")),
    ("block too low", packed_floats.fp8_blocks, "a.weight", lambda w: reblocked(w, 100, 128)),
    ("block too wide", packed_floats.fp8_blocks, "a.weight", lambda w: reblocked(w, 128, 149)),
    ("rows as columns", packed_floats.fp8_fbgemm, "a.down_proj", lambda w: reblocked(w, 1, 0)),
    ("one scale for all experts", packed_floats.fp8_experts, "a.gate_up_proj", lambda w: changed(w, each=False)),
    ("powers as e4m3", packed_floats.fp8_powers, "a.weight", lambda w: changed(w, scale="e4m3")),
    ("tiles as groups", packed_floats.fp8_powers, "a.weight", lambda w: reblocked(w, 32, 31)),
    ("gate as up", packed_floats.gpt_oss, "model.layers.0.mlp.experts.gate_proj.weight", lambda w: changed(w, first=1)),
    ("scales as e8m0", packed_floats.nvfp4_compressed, "a.weight", lambda w: changed(w, scale="e8m0")),
    ("multiplied", packed_floats.nvfp4_compressed, "a.weight", lambda w: changed(w, **{"global": "times"})),
    ("divided", packed_floats.nvfp4_modelopt, "a.weight", lambda w: changed(w, **{"global": "over"})),
    ("group of 32", packed_floats.nvfp4_modelopt, "a.weight", lambda w: reblocked(w, 1, 17)),
    (
        "no global scale",
        packed_floats.nvfp4_modelopt,
        "a.weight",
        lambda w: dataclasses.replace(w, parts={k: v for k, v in w.parts.items() if k != "global_scale"}),
    ),
)


@pytest.mark.parametrize(("form", "name", "fault"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_no_fault_of_one_implementation_agrees_with_the_other(
    form: Form, name: str, fault: Callable[[PackedWeight], PackedWeight], tmp_path: Path
) -> None:
    source = Laid(tmp_path / "source", form())
    whole = np.array(source.derived[name].array(source.arrays).view(mx.uint16))
    wrong = source.rows(name, fault(source.of(name)))
    assert (wrong != whole.reshape(wrong.shape)).any()


@pytest.mark.parametrize(
    ("form", "weight", "part", "change"),
    [
        (packed_floats.fp8_blocks, "a.weight", "a.weight_scale_inv", lambda x: (1 / x.view(np.float32)).view(np.uint8)),
        (packed_floats.mxfp4_compressed, "a.w1.weight", "a.w1.weight_scale", lambda x: x + 1),
        (packed_floats.mxfp4_compressed, "a.w1.weight", "a.w1.weight_packed", lambda x: x >> 4 | x << 4),
        (packed_floats.nvfp4_turned, "a.down_proj", "a.down_proj", lambda x: x >> 4 | x << 4),
        (
            packed_floats.gpt_oss,
            "model.layers.0.mlp.experts.down_proj.weight",
            "model.layers.0.mlp.experts.down_proj_scales",
            lambda x: x[::-1],
        ),
    ],
    ids=[
        "scale inverted",
        "power off by one",
        "nibbles in the other order",
        "rows in the other order",
        "scales swapped",
    ],
)
def test_the_numbers_depend_on_what_lies_there(
    form: Form, weight: str, part: str, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], tmp_path: Path
) -> None:
    written = form()
    dtype, shape, data = written.tensors[part]
    written.tensors[part] = (dtype, shape, change(np.frombuffer(data, np.uint8)).tobytes())
    rows = Laid(tmp_path / "source", written).rows(weight)
    assert (rows != bits(written.weights[weight])).any()


def test_scales_of_bytes_beside_a_plain_model_are_not_taken_for_a_form(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_raw(path, {"a.weight": raw("BF16", np.zeros((4, 4), np.uint16)), "a.k_scale": raw("F32", np.float32(1))})
    assert packing_of({}, {}, read_header(path), "bfloat16") is None


def test_the_own_reader_of_the_proof_agrees_in_every_number(form: Form, tmp_path: Path) -> None:
    source = Laid(tmp_path / "source", form())
    read = prove(source.derived, source.files, [])
    assert read is not None
    assert (read.weights, read.apart, read.whole) == (len(source.derived), 0, len(source.derived))


def test_a_reader_with_a_fault_of_its_own_is_refused_by_the_name_of_the_weight(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Laid(tmp_path / "source", form())
    codes = FloatRows.codes
    monkeypatch.setattr(FloatRows, "codes", lambda rows: codes(rows)[:, ::-1])
    with pytest.raises(Refused, match="two readers of its quantized weights") as refused:
        prove(source.derived, source.files, [])
    assert any(name in str(refused.value) for name in source.derived)
