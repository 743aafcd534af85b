"""Weights in small floats become MLX's own forms of them to the last bit, or it is said why they cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx  # noqa: TID251 -- what is made is read by it
import numpy as np
import pytest

import packed_floats
from mlx_publish.engine.repacked import Repack
from mlx_publish.engine.repacking import repack_of
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed import packing_of
from mlx_publish.model.weights import read_header
from mlx_publish.source.odd_types import copy_as_bytes
from packed_floats import Maker, spread
from small_floats import Written, e2m1, e4m3, packed, raw, write_raw

MXFP4, MXFP8, NVFP4 = Precision(32, 4, "mxfp4"), Precision(32, 8, "mxfp8"), Precision(16, 4, "nvfp4")


def repacks(folder: Path, written: Written, precision: Precision) -> tuple[dict[str, Repack | str], TensorFiles]:
    """How each weight of a source is repacked, or why not."""
    write_raw(folder / "source.safetensors", written.tensors)
    tensors = read_header(folder / "source.safetensors")
    packing = packing_of({"quantization_config": written.block}, written.side, tensors, "bfloat16")
    assert packing is not None
    copy_as_bytes(folder / "source.safetensors", folder / "model.safetensors")
    files = TensorFiles(folder)
    return {weight.name: repack_of(weight, precision, mx.bfloat16, files) for weight in packing.weights}, files


def nvfp4(whole: float) -> Written:
    """ModelOpt's, with scales whose products with powers of two are floats of E4M3, too."""
    make = Maker(20)
    codes, scales = make.halves(20, 96), make.random.integers(0x20, 0x60, (20, 6), dtype=np.uint8)
    tensors = {
        "a.weight": raw("U8", packed(codes)),
        "a.weight_scale": raw("F8_E4M3", scales),
        "a.weight_scale_2": raw("F32", np.float32(whole)),
    }
    return Written({}, tensors, {"a.weight": e2m1(codes) * spread(e4m3(scales), (1, 16), (20, 96)) * whole})


EXACT: tuple[tuple[str, Callable[[], Written], Precision], ...] = (
    ("gpt-oss", packed_floats.gpt_oss, MXFP4),
    ("compressed-tensors mxfp4", packed_floats.mxfp4_compressed, MXFP4),
    ("fp8 with powers of two", packed_floats.fp8_powers, MXFP8),
    ("nvfp4 times a quarter", lambda: nvfp4(0.25), NVFP4),
    ("nvfp4 times one", lambda: nvfp4(1.0), NVFP4),
)


@pytest.mark.parametrize(("form", "precision"), [case[1:] for case in EXACT], ids=[case[0] for case in EXACT])
def test_what_is_repacked_is_the_source_to_the_last_bit(
    form: Callable[[], Written], precision: Precision, tmp_path: Path
) -> None:
    written = form()
    made, files = repacks(tmp_path, written, precision)
    assert set(made) == set(written.weights)
    for name, repack in made.items():
        assert not isinstance(repack, str), repack
        values = written.weights[name]
        rows = int(np.prod(values.shape[:-1]))
        for first in range(0, rows, 6):
            last = min(rows, first + 6)
            codes, scales = repack.read(files, first, last).parts
            whole = mx.dequantize(mx.array(codes), mx.array(scales), None, *precision, dtype=mx.float32, stream=mx.cpu)
            exact = values.reshape(rows, -1)[first:last]
            np.testing.assert_array_equal(np.array(whole), exact.astype(np.float32), err_msg=name)


@pytest.mark.parametrize(
    ("form", "precision", "reason"),
    [
        (packed_floats.fp8_blocks, MXFP8, "their scales are no powers of two"),
        (packed_floats.fp8_rows, MXFP8, "their scales are no powers of two"),
        (packed_floats.fp8_e5m2, MXFP8, "mxfp8 has no e5m2"),
        (packed_floats.fp8_blocks, MXFP4, "only mxfp8 has numbers of 8-bit floats"),
        (packed_floats.gpt_oss, NVFP4, "only mxfp4 has scales like theirs"),
        (packed_floats.nvfp4_modelopt, NVFP4, "their scales times that of the tensor are no floats of E4M3"),
        (packed_floats.nvfp4_compressed, NVFP4, "their scales times that of the tensor are no floats of E4M3"),
        (packed_floats.nvfp4_turned, NVFP4, "their numbers are packed along the other side"),
        (packed_floats.nvfp4_halves, NVFP4, "their experts have scales of their own"),
        (lambda: nvfp4(2.0**-12), NVFP4, "their scales times that of the tensor are no floats of E4M3"),
    ],
)
def test_what_would_be_rounded_is_not_repacked_and_the_reason_is_given(
    form: Callable[[], Written], precision: Precision, reason: str, tmp_path: Path
) -> None:
    assert set(repacks(tmp_path, form(), precision)[0].values()) == {reason}


def test_a_power_of_two_that_is_no_number_is_not_repacked(tmp_path: Path) -> None:
    written = packed_floats.mxfp4_compressed()
    dtype, shape, data = written.tensors["a.w1.weight_scale"]
    written.tensors["a.w1.weight_scale"] = (dtype, shape, b"\xff" + data[1:])
    assert repacks(tmp_path, written, MXFP4)[0] == {"a.w1.weight": "their scales are no numbers"}
