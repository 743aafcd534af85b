"""The comparison of x86-64 with arm64: what it calls different, and rounding under QEMU where that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import arm64_environment
import compared_files
import same_bytes
from compared_files import Compared
from mlx_publish.recipes.plan import read_plan
from models import make_model
from same_bytes import Failed, Machine
from tensor_file import float32, read_tensors, write_tensors

ROOT = Path(__file__).parents[1]
MODES = {
    **{f"affine{bits}": ("affine", bits, 64) for bits in (2, 3, 4, 5, 6, 8)},
    "affine4-32": ("affine", 4, 32),
    "mxfp4": ("mxfp4", 4, 32),
    "nvfp4": ("nvfp4", 4, 16),
    "mxfp8": ("mxfp8", 8, 32),
}
QUANTIZED = f"""
import hashlib, sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
import mlx.core as mx
from mlx_publish.engine.rounding import quantize
weights = mx.load(sys.argv[1])
for mode, bits, group in {list(MODES.values())}:
    for name in sorted(weights):
        mlx = mx.quantize(weights[name], group_size=group, bits=bits, mode=mode, stream=mx.cpu)
        for parts in (mlx, quantize(weights[name], group, bits, mode)):
            digest = hashlib.sha256(b"".join(bytes(memoryview(part.view(mx.uint8))) for part in parts))
            print(mode, bits, name, digest.hexdigest())
"""
WEIGHTED = f"""
import hashlib, sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
import mlx.core as mx
import numpy as np
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.weighted import STEPS, quantize_rows, weights_of
chance = np.random.default_rng(22)
weights = mx.load(sys.argv[1])
for name in sorted(weights):
    of = weights[name].dtype
    bits_of = np.array(weights[name].view(mx.uint32 if of == mx.float32 else mx.uint16))
    importance = weights_of("".join(STEPS[step] for step in chance.integers(0, 36, bits_of.shape[-1])))
    for bits, group in ((2, 64), (3, 32), (4, 64), (5, 64), (6, 32), (8, 64)):
        parts = quantize_rows(bits_of, of, Precision(group, bits, "affine"), importance)
        print(bits, name, hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of a model that has been published on one side."""
    both = tmp_path / "ours", tmp_path / "theirs"
    for folder in both:
        make_model(folder, layers=1)
    for name in compared_files.NOT_CONVERTED:
        (both[0] / name).write_text("made from measurements")
    return both


def compared(folders: tuple[Path, Path]) -> Compared:
    return compared_files.compare("llama", "4bit", *folders)


def test_equal_files_are_equal_whatever_is_published_beside_them(folders: tuple[Path, Path]) -> None:
    result = compared(folders)
    assert result.differences == ()
    assert str(result).endswith("  equal")
    assert result.files == len(list(folders[1].iterdir())) - ("README.md" in {p.name for p in folders[1].iterdir()})
    assert result.size > (folders[1] / "model.safetensors").stat().st_size


def test_one_changed_value_is_found_and_its_tensor_named(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "model.safetensors"
    tensors = {name: values.copy() for name, values in read_tensors(path).items()}
    tensors["model.norm.weight"][3] ^= 1
    write_tensors(path, tensors)
    assert compared(folders).differences == ("model.safetensors model.norm.weight (1 of 128 bytes)",)
    assert "DIFFERENT: model.safetensors" in str(compared(folders))


def test_a_file_of_one_side_alone_is_a_difference_and_so_is_a_changed_text(folders: tuple[Path, Path]) -> None:
    (folders[1] / "LICENSE").unlink()
    (folders[0] / "config.json").write_text("{}")
    assert compared(folders).differences == ("LICENSE is missing on one side", "config.json")


def test_a_tensor_of_another_shape_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "model.safetensors"
    tensors = read_tensors(path)
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:32]
    write_tensors(path, tensors)
    assert "model.norm.weight (other type or shape)" in compared(folders).differences[0]


def test_a_rough_model_has_what_rounding_is_hard_on_and_is_the_same_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        source = make_model(tmp_path / name)
        same_bytes.roughen(source, tiny=True)
        made.append((source / "model.safetensors").read_bytes())
    assert made[0] == made[1]
    bits = read_tensors(tmp_path / "one" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert np.all(bits == 0, axis=1).any(), "zeros"
    assert (np.all(bits == bits[:, :1], axis=1) & (bits[:, 0] != 0)).any(), "constants"
    exponents = (bits >> 7) & 0xFF
    assert exponents.max() - exponents[exponents > 0].min() > 20, "far scales"
    assert ((exponents.max(axis=1) > 0) & (exponents.max(axis=1) < 8)).any(), "rows without a scale in mxfp4"


def test_the_plan_that_is_compared_has_every_width_and_an_importance_for_each_module(tmp_path: Path) -> None:
    plan = read_plan(same_bytes.write_a_plan(make_model(tmp_path / "Tiny")))
    assert {module.bits for module in plan.modules.values()} == {2, 3, 4, 5, 6, 8}
    assert set(plan.importance) == set(plan.modules)
    assert set().union(*plan.importance.values()) == set("0123456789abcdefghijklmnopqrstuvwxyz")
    assert plan.rounding == "weighted"


def test_a_command_that_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"`mlx-publish convert` exits with 2 on here:\n(.|\n)*no-such"):
        Machine("here", Path(sys.executable), tmp_path).run("convert", "--recipe", "no-such.yaml")


def test_without_the_environment_it_says_how_to_make_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arm64_environment, "python", lambda: None)
    assert same_bytes.main([]) == 4
    assert capsys.readouterr().err == "error: no environment for arm64; run: nox -s portable\n"


@pytest.fixture
def emulated() -> Path:
    """The Python for arm64."""
    if (python := arm64_environment.python()) is None:
        pytest.skip("no environment for arm64; to make it: nox -s portable -- --prepare")
    return python


def test_a_child_of_python_for_arm64_is_python_for_arm64(emulated: Path) -> None:
    asked = "import platform, subprocess, sys; print(platform.machine(), sys.executable, flush=True)"
    child = f"{asked}; subprocess.run([sys.executable, '-I', '-c', {asked!r}], env={{}}, check=True)"
    done = subprocess.run([emulated, "-I", "-c", child], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"aarch64 {emulated}"] * 2


def patterns() -> dict[str, NDArray[Any]]:
    """Return each finite number of both half precisions, and some of float32, above 2**-100 and in no order."""
    chance = np.random.default_rng(21)
    halves = np.arange(1 << 16, dtype=np.uint16)
    wide = chance.integers(0, 1 << 32, 1 << 15, dtype=np.uint32).view(np.float32)
    found: dict[str, NDArray[Any]] = {
        "bfloat16": halves[in_range(float32(halves))],
        "float16": halves.view(np.float16)[np.isfinite(halves.view(np.float16))],
        "float32": wide[in_range(wide)],
    }
    return {
        name: chance.permutation(values)[: len(values) // 128 * 128].reshape(-1, 128) for name, values in found.items()
    }


def in_range(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isfinite(values) & (np.abs(values) > 2.0**-100)


def test_a_quantizer_gives_the_same_bytes_on_arm64(emulated: Path, tmp_path: Path) -> None:
    source = make_model(tmp_path / "Tiny")
    same_bytes.roughen(source)
    matrices = {name: values for name, values in read_tensors(source / "model.safetensors").items() if values.ndim > 1}
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {**matrices, **patterns()})
    here, there = (
        subprocess.run([python, "-I", "-c", QUANTIZED, path], env={}, capture_output=True, text=True, check=True).stdout
        for python in (sys.executable, emulated)
    )
    lines = here.splitlines()
    assert len(lines) == 2 * len(MODES) * (len(matrices) + 3)
    assert lines[::2] == lines[1::2], "MLX's own and ours"
    assert here == there


def test_scales_by_importance_are_the_same_bytes_on_arm64(emulated: Path, tmp_path: Path) -> None:
    source = make_model(tmp_path / "Tiny")
    same_bytes.roughen(source)
    matrices = {name: values for name, values in read_tensors(source / "model.safetensors").items() if values.ndim > 1}
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {**matrices, **patterns()})
    here, there = (
        subprocess.run([python, "-I", "-c", WEIGHTED, path], env={}, capture_output=True, text=True, check=True).stdout
        for python in (sys.executable, emulated)
    )
    assert len(here.splitlines()) == 6 * (len(matrices) + 3)
    assert here == there


def test_all_sources_are_each_architecture_of_the_tests_in_three_types(tmp_path: Path) -> None:
    assert len(same_bytes.ALL) == 3 * len({other.arch for other in same_bytes.ALL})
    for other in same_bytes.ALL[::3]:
        tensors = read_tensors(other.make(tmp_path) / "model.safetensors")
        assert {values.dtype.name for values in tensors.values()} == {"uint16"}, str(other)
    for other in same_bytes.OTHERS:
        assert (other.arch, other.dtype) in {(known.arch, known.dtype) for known in same_bytes.ALL}
