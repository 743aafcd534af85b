"""Integer forms against what an own writer packed: no difference at all, in numpy and in MLX, by any rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import packed_writers as writers
from mlx_publish.engine import strips
from mlx_publish.engine.reading_proof import prove
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.errors import Refused
from packed_sources import CASES, GPTQ, V2, Source
from packed_writers import Numbers, layer


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_a_weight_is_the_float32_value_rounded_once(tmp_path: Path, name: str, dtype: str) -> None:
    of, tensors, block = CASES[name]
    source = Source(tmp_path, tensors, block, dtype)
    wanted = writers.rounded(of.values, dtype)
    assert source.name == "model.layers.0.mlp.up_proj.weight"
    assert source.derived.shape == of.whole.shape
    assert np.array_equal(source.read(), wanted)
    assert np.array_equal(source.mlx(), wanted)


@pytest.mark.parametrize("name", CASES)
def test_every_range_of_rows_is_read_alike(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of, tensors, block = CASES[name]
    monkeypatch.setattr(strips, "STRIP", 1)  # strips of the narrowest kind
    source = Source(tmp_path, tensors, block, "bfloat16")
    wanted = writers.rounded(of.values, "bfloat16")
    for first in range(len(wanted)):
        for last in range(first + 1, len(wanted) + 1):
            assert np.array_equal(source.read(first, last), wanted[first:last]), (first, last)


def test_experts_that_lie_in_one_tensor_are_read_one_by_one(tmp_path: Path) -> None:
    for number, name in enumerate(["awq", "gptq of 3 bits", "compressed asymmetric", "bytes by group", "awq gemv"]):
        ofs = [layer(40, 96, bits=CASES[name][0].bits, seed=seed) for seed in range(3)]
        if name in ("awq", "gptq of 3 bits", "awq gemv"):
            ofs = [layer(64, 96, bits=of.bits, seed=seed) for seed, of in enumerate(ofs)]
        write = {"awq": writers.awq, "awq gemv": writers.awq_gemv}.get(name)
        if write:
            each = [write(of) for of in ofs]
        elif name == "gptq of 3 bits":
            each = [writers.gptq(of, with_index=False) for of in ofs]
        elif name == "bytes by group":
            each = [writers.in_bytes(of, symmetric=False) for of in ofs]
        else:
            each = [writers.compressed(of, symmetric=False, shape=False) for of in ofs]
        stacked = {part: np.stack([one[part] for one in each]) for part in each[0]}
        source = Source(tmp_path / str(number), stacked, CASES[name][2], "bfloat16")
        wanted = writers.rounded(np.concatenate([of.values for of in ofs]), "bfloat16")
        assert source.name in ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj.weight")
        assert source.derived.shape == (3, *ofs[0].whole.shape)
        assert np.array_equal(source.read(), wanted)
        assert np.array_equal(source.mlx(), wanted)
        assert np.array_equal(source.read(17, 99), wanted[17:99])


@pytest.mark.parametrize("divides", [True, False])
def test_ternary_weights_are_divided_by_their_scale_or_multiplied(tmp_path: Path, divides: bool) -> None:
    ternary = np.random.default_rng(0).integers(-1, 2, (24, 20))
    scale = np.array([1.7], np.float32)
    block = {"quant_method": "bitnet", "linear_class": "bitlinear" if divides else "autobitlinear"}
    source = Source(tmp_path, writers.bitnet(ternary, scale), block, "bfloat16")
    numbers = ternary.astype(np.float32)
    wanted = writers.rounded(numbers / scale if divides else numbers * scale, "bfloat16")
    for first in range(24):
        for last in range(first + 1, 25):
            assert np.array_equal(source.read(first, last) & 0x7FFF, wanted[first:last] & 0x7FFF)
            assert np.array_equal(source.read(first, last), wanted[first:last])
    assert np.array_equal(source.mlx(), wanted)


def test_a_byte_that_is_no_ternary_number_is_refused(tmp_path: Path) -> None:
    tensors = writers.bitnet(np.zeros((8, 4), int), np.ones(1, np.float32))
    tensors["weight"][1, 2] |= 0b11
    source = Source(tmp_path, tensors, {"quant_method": "bitnet"}, "bfloat16")
    with pytest.raises(Refused, match="neither -1 nor 0 nor 1"):
        source.read()


def test_a_tensor_that_is_packed_along_the_input_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tensors, block = CASES["gptq"]
    source, took = Source(tmp_path, tensors, block, "bfloat16"), list[int]()
    read = TensorFiles.read_into

    def counted(self: TensorFiles, path: Path, start: int, buffer: memoryview) -> None:
        took.append(len(buffer))
        read(self, path, start, buffer)

    monkeypatch.setattr(TensorFiles, "read_into", counted)
    for first in range(0, 64, 2):
        source.read(first, first + 2)
    stored = sum(tensors[part].nbytes for part in ("qweight", "qzeros", "scales"))
    assert sum(took) == stored + 32 * tensors["g_idx"].nbytes


def test_strips_are_let_go_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, tensors, block = CASES["gptq of 8 bits"]
    monkeypatch.setattr(strips, "STRIP", 1)
    monkeypatch.setattr(strips, "KEPT", 7000)
    source = Source(tmp_path, tensors, block, "bfloat16")
    wanted, wrong = writers.rounded(of.values, "bfloat16"), list[int]()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        starts = [int(first) for first in rng.integers(0, 60, 50)]
        wrong.extend(
            first for first in starts if not np.array_equal(source.read(first, first + 4), wanted[first : first + 4])
        )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    kept = strips._OF[source.files]._strips.values()
    assert sum(strip.nbytes for strip in kept) <= 7000


def test_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("awq", "gptq", "compressed asymmetric", "bytes by group", "awq gemv")):
        _, tensors, block = CASES[name]
        source = Source(tmp_path / str(number), tensors, block, "bfloat16")
        with source.path.open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(Refused, match="became shorter"):
            source.read()


def faulty(tensors: Mapping[str, Numbers], part: str, change: Callable[[Numbers], Numbers]) -> dict[str, Numbers]:
    """Tensors with one of them changed."""
    return {**tensors, part: np.ascontiguousarray(change(tensors[part].copy()))}


def swapped(scales: Numbers) -> Numbers:
    """Scales of two groups in each other's place."""
    scales[[0, 1]] = scales[[1, 0]]
    return scales


@pytest.mark.parametrize("name", ["awq", "gptq", "gptq in another order", "gptq of 3 bits", "compressed asymmetric"])
def test_a_swapped_scale_and_a_zero_point_off_by_one_give_other_numbers_in_both(tmp_path: Path, name: str) -> None:
    of, tensors, block = CASES[name]
    scales = "weight_scale" if "weight_scale" in tensors else "scales"
    zeros = "weight_zero_point" if "weight_scale" in tensors else "qzeros"
    wanted = writers.rounded(of.values, "bfloat16")
    for number, wrong in enumerate(
        (faulty(tensors, scales, swapped), faulty(tensors, zeros, lambda words: words & ~np.int32(7)))
    ):
        source = Source(tmp_path / str(number), wrong, block, "bfloat16")
        assert not np.array_equal(source.read(), wanted)
        assert np.array_equal(source.read(), source.mlx())


@pytest.mark.parametrize(
    ("name", "part", "change", "words"),
    [
        ("gptq in another order", "g_idx", lambda index: index + 1, "names groups from 1 to 3"),
        ("gptq in another order", "g_idx", lambda index: index - 1, "names groups from -1"),
        ("compressed in another order", "weight_g_idx", lambda index: index + 1, "names groups"),
        ("compressed", "weight_shape", lambda sides: sides[::-1], r"says \[96, 40\]"),
        ("gptq symmetric", "qzeros", lambda words: words ^ np.int32(15), "symmetric ones are stored as 7"),
        ("gptq symmetric v2", "qzeros", lambda words: words ^ np.int32(15), "symmetric ones are stored as 8"),
        ("gptq", "qzeros", lambda words: words | np.int32(15), "do not agree on what that is"),
        ("gptq without a config", "qzeros", lambda words: words ^ np.int32(1), "no config says"),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(
    tmp_path: Path, name: str, part: str, change: Callable[[Numbers], Numbers], words: str
) -> None:
    _, tensors, block = CASES[name]
    source = Source(tmp_path, faulty(tensors, part, change), block, "bfloat16")
    with pytest.raises(Refused, match=words) as caught:
        source.read()
    assert part in str(caught.value.place)


def test_symmetric_zero_points_of_the_other_format_are_refused(tmp_path: Path) -> None:
    of = layer(64, 96, symmetric=True)
    for number, (block, minus) in enumerate(((GPTQ, 0), (V2, 1))):
        source = Source(tmp_path / str(number), writers.gptq(of, minus=minus), block | {"sym": True}, "bfloat16")
        with pytest.raises(Refused, match="symmetric ones are stored as"):
            source.read()


def test_an_index_that_compressed_tensors_does_not_use_is_not_read(tmp_path: Path) -> None:
    of, tensors, block = CASES["compressed"]
    unused = tensors | {"weight_g_idx": np.full(96, -1, np.int32)}
    source = Source(tmp_path, unused, block, "bfloat16")
    assert np.array_equal(source.read(), writers.rounded(of.values, "bfloat16"))
    assert np.array_equal(source.mlx(), source.read())


def test_a_scale_that_is_no_number_gives_none_in_both(tmp_path: Path) -> None:
    for number, name in enumerate(("awq", "gptq", "compressed", "bytes by group")):
        _, tensors, block = CASES[name]
        part = "weight_scale" if "weight_scale" in tensors else "scales"
        wrong = faulty(tensors, part, lambda scales: np.full_like(scales, np.nan))
        source = Source(tmp_path / str(number), wrong, block, "bfloat16")
        assert np.isnan((source.read().astype(np.uint32) << 16).view(np.float32)).all()
        assert np.isnan((source.mlx().astype(np.uint32) << 16).view(np.float32)).all()


@pytest.mark.parametrize("name", CASES)
def test_the_reader_that_is_a_proof_of_this_one_agrees(tmp_path: Path, name: str) -> None:
    of, tensors, block = CASES[name]
    source = Source(tmp_path, tensors, block, "bfloat16")
    read = prove({source.name: source.derived}, source.files, ())
    assert read is not None
    assert (read.weights, read.apart, read.whole) == (1, 0, 1)
    assert read.numbers == of.whole.size


def test_a_zero_point_that_can_be_read_in_two_ways_is_found_wherever_it_is(tmp_path: Path) -> None:
    of = layer(2048, 64)
    tensors = writers.gptq(of)
    tensors["qzeros"][1, 100] |= np.int32(0xF00)  # of a row that is not among those that are compared
    source = Source(tmp_path, tensors, GPTQ, "bfloat16")
    with pytest.raises(Refused, match="do not agree on what that is"):
        prove({source.name: source.derived}, source.files, ())
