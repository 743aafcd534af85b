"""Weights that differ, tensor by tensor: how many values, by how many steps, and whether rounding explains it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251  it is what is imitated
import numpy as np
import pytest

import other_device
from mlx_publish.checks.remade import judge
from mlx_publish.engine.differences import differences
from mlx_publish.errors import Refused
from mlx_publish.evidence.evidence import MadeOnSpec
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.weight_differences import WeightDifferences
from other_device import Tensors, half_away, half_even, packed, unpacked
from tensor_file import bfloat16

MODES = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64)]
MODES += [("mxfp4", 4, 32), ("nvfp4", 4, 16), ("mxfp8", 8, 32)]
Weights = dict[str, "np.ndarray[Any, np.dtype[np.float32]]"]
LAYERS = ("model.embed_tokens", "model.layers.0.up_proj", "model.layers.0.down_proj", "lm_head")


def random_weights(seed: int = 0) -> Weights:
    """Four matrices of normal numbers in bfloat16."""
    rng = np.random.default_rng(seed)
    shape = (128, 512)
    values = (rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02) for _ in LAYERS)
    return {f"{stem}.weight": _rounded(matrix) for stem, matrix in zip(LAYERS, values, strict=True)}


def _rounded(values: Any) -> Any:
    return (bfloat16(values).astype(np.uint32) << 16).view(np.float32)


def quantized(weights: Weights, mode: str, bits: int, group: int) -> Tensors:
    """The tensors that MLX's CPU backend makes of weights, and a norm beside them."""
    tensors: Tensors = {}
    names = {mx.uint32: "U32", mx.uint8: "U8", mx.bfloat16: "BF16"}
    with mx.stream(mx.cpu):
        for name, values in weights.items():
            parts = mx.quantize(mx.array(values).astype(mx.bfloat16), group_size=group, bits=bits, mode=mode)
            for leaf, part in zip(("weight", "scales", "biases"), parts, strict=False):
                raw = np.array(part.view(mx.uint16) if part.dtype == mx.bfloat16 else part)
                tensors[f"{name.removesuffix('.weight')}.{leaf}"] = names[part.dtype], list(part.shape), raw.tobytes()
    norm = bfloat16(np.linspace(0.5, 1.5, 512, dtype=np.float32))
    return {**tensors, "model.norm.weight": ("BF16", [512], norm.tobytes())}


def compared(
    folder: Path, theirs: Tensors, ours: Tensors, block: Mapping[str, object], **options: Any
) -> WeightDifferences:
    """The differences between two models of one file."""
    paths = [str(other_device.write(folder / name, model)) for name, model in (("theirs", theirs), ("ours", ours))]
    published, rebuilt = ([("model.safetensors", path)] for path in paths)
    found = differences(published, rebuilt, [], block, lambda _: None, **options)
    # As it travels from the child.
    return from_json(WeightDifferences, json.loads(json.dumps(to_json(found))))


def block_of(mode: str, bits: int, group: int) -> dict[str, object]:
    return {"bits": bits, "group_size": group, "mode": mode}


@pytest.mark.parametrize("form", [form for form in MODES if form[0] == "affine"], ids=str)
def test_the_other_device_of_these_tests_is_this_one_but_for_ties(form: tuple[str, int, int]) -> None:
    weights = random_weights()
    tensors = quantized(weights, *form)
    assert other_device.elsewhere(tensors, weights, block_of(*form), half_even) == tensors


@pytest.mark.parametrize("form", MODES, ids=str)
def test_rounding_of_another_device_is_recognized_in_each_mode(form: tuple[str, int, int], tmp_path: Path) -> None:
    weights, block = random_weights(), block_of(*form)
    ours = quantized(weights, *form)
    theirs = other_device.elsewhere(ours, weights, block, half_away)
    found = compared(tmp_path, theirs, ours, block)
    judged = judge(found)
    if form[0] == "mxfp8":
        assert judged.kind == "layout"
        return
    assert judged.kind == "rounding", judged.why
    codes = [tensor for tensor in found.changed if tensor.part == "codes"]
    assert [tensor.name for tensor in codes] == list(weights)
    share = sum(tensor.differ for tensor in codes) / found.values
    assert 0.001 < share < 0.008
    assert all(tensor.far == tensor.unlikely == 0 for tensor in found.changed)
    # Counted without the module that is tested.
    first = codes[0]
    sides = [unpacked(model[first.name][2], form[1]).astype(int) for model in (ours, theirs)]
    if form[0] != "affine":
        sides = [np.where(side & 8, -(side & 7), side & 7) for side in sides]
    assert first.differ == np.count_nonzero(sides[0] != sides[1])
    assert first.largest == np.abs(sides[0] - sides[1]).max()
    assert first.values == 128 * 512


def moved(tensors: Tensors, name: str, bits: int, where: Any, steps: int) -> Tensors:
    """A copy in which some codes of a weight moved up, or down where there is no room."""
    dtype, shape, data = tensors[name]
    codes = unpacked(data, bits).astype(int)
    there = codes[where]
    codes[where] = np.where(there + steps < 2**bits, there + steps, there - steps)
    return {**tensors, name: (dtype, shape, packed(codes.astype(np.uint8), bits))}


def everywhere(tensors: Tensors, bits: int, share: float, steps: int, *, even: bool = False) -> Tensors:
    """A copy in which so many codes of every weight moved; from `even` codes only, as at ties."""
    rng = np.random.default_rng(1)
    for stem in LAYERS:
        codes = unpacked(tensors[f"{stem}.weight"][2], bits)
        places = np.flatnonzero(codes % 2 == 0) if even else np.arange(codes.size)
        where = rng.choice(places, int(share * codes.size), replace=False)
        tensors = moved(tensors, f"{stem}.weight", bits, where, steps)
    return tensors


FORM = ("affine", 4, 64)
WIDE = "model.layers.0.up_proj"


def changed_scale(tensors: Tensors, ulps: int, count: int = 1) -> Tensors:
    dtype, shape, data = tensors[f"{WIDE}.scales"]
    bits = np.frombuffer(data, np.uint16).copy()
    bits[:count] += np.uint16(ulps)
    return {**tensors, f"{WIDE}.scales": (dtype, shape, bits.tobytes())}


def swapped(tensors: Tensors) -> Tensors:
    one, other = (f"{stem}.weight" for stem in LAYERS[1:3])
    return {**tensors, one: tensors[other], other: tensors[one]}


def reshaped(tensors: Tensors) -> Tensors:
    dtype, (rows, columns), data = tensors[f"{WIDE}.weight"]
    return {**tensors, f"{WIDE}.weight": (dtype, [columns, rows], data)}


def norm(tensors: Tensors, ulps: int) -> Tensors:
    dtype, shape, data = tensors["model.norm.weight"]
    bits = np.frombuffer(data, np.uint16).copy()
    bits[3] += np.uint16(ulps)
    return {**tensors, "model.norm.weight": (dtype, shape, bits.tobytes())}


CASES: dict[str, tuple[Callable[[Tensors], Tensors], str, str]] = {
    "one step at ties, 0.3 %": (
        lambda t: everywhere(t, 4, 0.003, 1, even=True), "rounding", "784 of 262,656 values differ (0.30 %) in 4 tensors, by one step",
    ),
    "one step anywhere, 0.3 %": (lambda t: everywhere(t, 4, 0.003, 1), "other", "were not halfway between two"),
    "two steps, 0.3 %": (lambda t: everywhere(t, 4, 0.003, 2), "other", "0.30 % of its codes differ, by up to 2 steps"),
    "one step at ties, 3 %": (lambda t: everywhere(t, 4, 0.03, 1, even=True), "other", "3.0 % of its codes differ"),
    "one step at ties, 1.5 %": (lambda t: everywhere(t, 4, 0.015, 1, even=True), "other", "more than rounding changes"),
    "one code": (lambda t: moved(t, f"{WIDE}.weight", 4, [7], 1), "other", "only 1 of 4 large tensors differ"),
    "two tensors swapped": (swapped, "other", f"{WIDE}.weight and 1 more"),
    "a scale by seven ulps, its bias kept": (lambda t: changed_scale(t, 40), "other", "differ, by up to 40 ulps"),
    "many scales by one ulp": (lambda t: changed_scale(t, 1, 100), "other", "of its scales differ, by up to 1 ulp"),
    "a norm by two ulps": (lambda t: norm(t, 2), "other", "of its values differ, by up to 2 ulps"),
    "a missing tensor": (lambda t: {n: v for n, v in t.items() if n != "lm_head.biases"}, "other", "lm_head.biases: missing"),
    "an extra tensor": (lambda t: {**t, "evil\x1b[2J": ("U8", [1], b"x")}, "other", "evil\\x1b[2J: not in the source"),
    "another shape": (reshaped, "other", f"{WIDE}.weight: U32 [64, 128] instead of U32 [128, 64]"),
    "another order": (lambda t: dict(reversed(t.items())), "layout", "all 13 tensors have the same types, shapes and values"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_was_changed_is_named(name: str, tmp_path: Path) -> None:
    change, kind, words = CASES[name]
    ours = quantized(random_weights(), *FORM)
    judged = judge(compared(tmp_path, change(ours), ours, block_of(*FORM)))
    assert (judged.kind, words in judged.why) == (kind, True), judged
    assert judged.why.isprintable()


def test_a_scale_by_an_ulp_beside_rounding_is_rounding(tmp_path: Path) -> None:
    weights, block = random_weights(), block_of(*FORM)
    ours = quantized(weights, *FORM)
    theirs = changed_scale(other_device.elsewhere(ours, weights, block, half_away), 1)
    assert judge(compared(tmp_path, theirs, ours, block)).kind == "rounding"


def test_rounding_is_no_excuse_for_evidence_that_names_the_cpu(tmp_path: Path) -> None:
    weights, block = random_weights(), block_of(*FORM)
    ours = quantized(weights, *FORM)
    found = compared(tmp_path, other_device.elsewhere(ours, weights, block, half_away), ours, block)
    here = {"device": "cpu", "backend": "cpu", "architecture": "arm64", "system": "Darwin", "mlx": "0.32.4"}
    judged = judge(found, MadeOnSpec.model_validate(here))
    assert judged.kind == "other"
    assert "rounds the same on every machine" in judged.why
    there = MadeOnSpec.model_validate({**here, "device": "gpu", "backend": "cuda"})
    assert judge(found, there).kind == "rounding"


@pytest.mark.parametrize("piece", [1, 100, 4096, 1 << 30])
def test_the_size_of_the_pieces_does_not_change_the_result(piece: int, tmp_path: Path) -> None:
    weights = {name: values[:8] for name, values in random_weights().items()}
    for form in (("affine", 3, 32), ("nvfp4", 4, 16)):
        block = block_of(*form)
        ours = quantized(weights, *form)
        theirs = norm(other_device.elsewhere(ours, weights, block, half_away), 1)
        assert compared(tmp_path, theirs, ours, block, piece=piece) == compared(tmp_path, theirs, ours, block)


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    big = {name: np.tile(values, (32, 1)) for name, values in random_weights().items()}
    ours = quantized(big, *FORM)
    theirs = {name: (dtype, shape, bytes(len(data))) for name, (dtype, shape, data) in ours.items()}  # all differ
    published, rebuilt = (
        [("m", str(other_device.write(tmp_path / side, model)))] for side, model in (("a", theirs), ("b", ours))
    )
    size = Path(published[0][1]).stat().st_size
    del ours, theirs
    tracemalloc.start()
    found = differences(published, rebuilt, [], block_of(*FORM), lambda _: None, piece=1 << 13)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert judge(found).kind == "other"
    assert peak < size / 3


UNQUANTIZED = {
    "BF16": (np.uint16, "rounding"),
    "F16": (np.uint16, "rounding"),
    "F32": (np.uint32, "rounding"),
    "F64": (np.uint64, "rounding"),
    "I32": (np.uint32, "other"),
    "U8": (np.uint8, "other"),
    "BOOL": (np.uint8, "other"),
    "F4": (np.uint8, "other"),
}


@pytest.mark.parametrize("dtype", UNQUANTIZED)
def test_values_that_are_not_quantized_are_compared_in_ulps_of_their_type(dtype: str, tmp_path: Path) -> None:
    kind, verdict = UNQUANTIZED[dtype]
    numbers = np.arange(1000, 2000).astype(kind)
    shape = [2000 if dtype == "F4" else 1000]
    ours: Tensors = {"w": (dtype, shape, numbers.tobytes())}
    other = numbers.copy()
    other[5] += 1
    found = compared(tmp_path, {"w": (dtype, shape, other.tobytes())}, ours, {})
    [tensor] = found.changed
    assert (tensor.differ, tensor.largest, tensor.part) == (1, 1, "values")
    assert judge(found).kind == verdict


def test_ulps_are_counted_across_zero(tmp_path: Path) -> None:
    ours: Tensors = {"w": ("F32", [3], np.array([1e-45, 0.0, 1.0], np.float32).tobytes())}
    theirs: Tensors = {"w": ("F32", [3], np.array([-1e-45, -0.0, 1.0], np.float32).tobytes())}
    [tensor] = compared(tmp_path, theirs, ours, {}).changed
    assert (tensor.differ, tensor.zeros, tensor.largest) == (1, 1, 2)


def test_a_module_of_its_own_width_is_read_in_its_width(tmp_path: Path) -> None:
    weights = random_weights()
    ours = quantized(weights, *FORM)
    eight = {"lm_head.weight": weights["lm_head.weight"]}
    ours |= {name: value for name, value in quantized(eight, "affine", 8, 32).items() if name.startswith("lm_head")}
    block = {**block_of(*FORM), "lm_head": {"bits": 8, "group_size": 32}}
    found = compared(tmp_path, moved(ours, "lm_head.weight", 8, [3, 900], 5), ours, block)
    [tensor] = found.changed
    assert (tensor.dtype, tensor.differ, tensor.largest, tensor.mean) == ("8 bits", 2, 5, 5.0)


def test_tensors_that_moved_to_other_files_are_found_there(tmp_path: Path) -> None:
    ours = list(quantized(random_weights(), *FORM).items())
    write = other_device.write
    whole = write(tmp_path / "whole", dict(ours))
    parts = [("a", write(tmp_path / "a", dict(ours[:5]))), ("b", write(tmp_path / "b", dict(ours[5:])))]
    theirs = [(name, str(path)) for name, path in parts]
    found = differences(theirs, [("whole", str(whole))], [], block_of(*FORM), lambda _: None)
    assert judge(found).kind == "layout"
    twice = differences([*theirs, theirs[0]], [("whole", str(whole))], [], block_of(*FORM), lambda _: None)
    assert judge(twice).kind == "other"
    assert twice.extra_count == 5
    # The scales of a weight may be in a file that is published as it is.
    rest = differences(theirs[1:], theirs[1:], theirs[:1], block_of(*FORM), lambda _: None)
    assert (rest.tensors, rest.large, list(rest.changed)) == (13, 4, [])


def head(entry: object, **more: object) -> bytes:
    text = json.dumps({"w": entry, **more}).encode()
    return len(text).to_bytes(8, "little") + text


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "half a length": b"\x08\0\0",
    "a length beyond the file": (1 << 62).to_bytes(8, "little") + b"{}",
    "no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "a list": (2).to_bytes(8, "little") + b"[]",
    "an entry that is none": head(7),
    "no offsets": head({"dtype": "F32", "shape": [1]}),
    "an unknown type": head({"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}) + bytes(4),
    "a negative offset": head({"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}) + bytes(4),
    "offsets backwards": head({"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}) + bytes(4),
    "a gap": head({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}) + bytes(8),
    "an overlap": head(
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, v={"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}
    ) + bytes(8),
    "a huge size": head({"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}) + bytes(4),
    "sizes whose product is huge": head({"dtype": "F32", "shape": [1 << 62] * 9, "data_offsets": [0, 4]}) + bytes(4),
    "bytes that are not there": head({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}) + bytes(4),
    "bytes behind": head({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}) + bytes(5),
    "metadata of another kind": head({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, __metadata__=[1]) + bytes(4),
    "a pointer of git-lfs": b"version https://git-lfs.github.com/spec/v1\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_other_weights_and_no_crash(name: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(HOSTILE[name])
    ours = other_device.write(tmp_path / "ours", {"w": ("F32", [1], bytes(4))})
    found = differences([("m.safetensors", str(tmp_path / "theirs"))], [("m", str(ours))], [], {}, lambda _: None)
    judged = judge(found)
    assert judged.kind == "other"
    assert "a published file cannot be read: m.safetensors" in judged.why


def test_any_changed_byte_gives_a_result_and_no_crash(tmp_path: Path) -> None:
    weights = {name: values[:4, :64] for name, values in random_weights().items()}
    good = other_device.write(tmp_path / "ours", quantized(weights, *FORM))
    data, rng = good.read_bytes(), np.random.default_rng(2)
    end = 8 + int.from_bytes(data[:8], "little")
    kinds = set()
    for number in range(300):
        changed = bytearray(data)
        at = int(rng.integers(end if number % 2 else len(data)))
        changed[at] ^= int(rng.integers(1, 256))
        (tmp_path / "theirs").write_bytes(changed)
        found = differences([("t", str(tmp_path / "theirs"))], [("o", str(good))], [], block_of(*FORM), lambda _: None)
        kinds.add(judge(found).kind)
        json.dumps(to_json(found), allow_nan=False)
    assert "other" in kinds


def test_a_file_that_becomes_shorter_is_refused(tmp_path: Path) -> None:
    ours: Tensors = {"a": ("U8", [4096], bytes(4096)), "b": ("U8", [4096], bytes(4096))}
    paths = [other_device.write(tmp_path / side, ours) for side in ("theirs", "ours")]
    size = paths[0].stat().st_size

    def shorten(_: object) -> None:
        with paths[0].open("r+b") as file:
            file.truncate(size - 5000)

    with pytest.raises(Refused, match="changed while it was being read"):
        differences([("t", str(paths[0]))], [("o", str(paths[1]))], [], {}, shorten)
