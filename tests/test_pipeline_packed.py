"""Sources in integers go the whole way, and become what the numbers that they stand for become."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what was written is read by it
import numpy as np
import pytest

import packed_writers as writers
from models import make_model
from packed_models import Write, packed
from packed_writers import Layer, Numbers
from pipeline import QUICK, User, checks, write_recipe

COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group", "symmetric": True},
        }
    },
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False, "desc_act": False}
WAYS: dict[str, tuple[Write, dict[str, Any], dict[str, bool]]] = {
    "awq": (writers.awq, AWQ, {}),
    "gptq": (writers.gptq, GPTQ, {}),
    "gptq in another order": (writers.gptq, GPTQ | {"desc_act": True}, {"permuted": True}),
    "compressed-tensors": (
        functools.partial(writers.compressed, symmetric=True),
        COMPRESSED,
        {"symmetric": True},
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_llama_in_integers_becomes_what_its_plain_twin_becomes(tmp_path: Path, name: str) -> None:
    write, block, how = WAYS[name]
    sources = packed(make_model(tmp_path / "tiny"), tmp_path, write, block, **how)
    ada = User(tmp_path / "home")
    made = []
    for source in sources:
        recipe = write_recipe(
            tmp_path / f"{source.name}.yaml",
            source=str(source),
            variants=[{"dtype": "bfloat16", "name": "bf16"}, {"bits": 8, "name": "8bit"}],
            **QUICK,
        )
        work = tmp_path / f"work-{source.name}"
        ada.run("run", "--recipe", recipe, "--work", work, "--until", "fidelity")
        made.append(work)
    for variant in ("bf16", "8bit"):
        one, other = (next(work.glob(f"*/{variant}/model/model.safetensors")).read_bytes() for work in made)
        assert one == other


def test_biases_of_zeros_that_the_class_does_not_have_are_left_out(tmp_path: Path) -> None:
    def with_bias(of: Layer, value: float) -> dict[str, Numbers]:
        return {**writers.gptq(of), "bias": np.full(len(of.whole), value, np.float16)}

    ada, tiny = User(tmp_path / "home"), make_model(tmp_path / "tiny")
    flags = ("--variants", "bf16", "--work")
    for value, code in ((0, 0), (0.5, 1)):
        folder = tmp_path / f"bias{code}"
        source, twin = packed(tiny, folder, functools.partial(with_bias, value=value), GPTQ)
        ended = ada.run("convert", "--source", source, *flags, folder / "work", code=code)
        if code:
            assert "bias" in ended.text
            return
        ada.run("convert", "--source", twin, *flags, folder / "work")
        one, other = (folder / "work" / name / "bf16/model/model.safetensors" for name in ("packed", "plain"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("arch", ["qwen3_moe", "qwen3_5"])
def test_experts_one_by_one_and_a_text_part_in_a_wrapper_are_read(tmp_path: Path, arch: str) -> None:
    ada, made = User(tmp_path / "home"), []
    for source in packed(make_model(tmp_path / "tiny", arch), tmp_path, writers.awq, AWQ):
        ada.run("convert", "--source", source, "--variants", "bf16", "--work", tmp_path / "work")
        made.append((tmp_path / "work" / source.name / "bf16/model/model.safetensors").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("name", ["awq", "gptq", "compressed-tensors"])
def test_four_bits_of_a_source_of_four_bits_are_its_own_integers(tmp_path: Path, name: str) -> None:
    write, block, how = WAYS[name]
    source, _ = packed(make_model(tmp_path / "tiny"), tmp_path, write, block, **how)
    variants = [{"bits": 4, "group_size": 32, "name": "4bit"}]
    recipe = write_recipe(tmp_path / "r.yaml", source=str(source), variants=variants)
    User(tmp_path / "home").run("convert", "--recipe", recipe, "--work", tmp_path / "work")
    # Zero points of their own make biases that bfloat16 does not hold; the check tells of them.
    told = "pass" if name == "compressed-tensors" else "warn"
    assert checks(tmp_path / "work/r/4bit", "convert")["integers-kept"] == told
    if name != "compressed-tensors":
        return
    arrays: Any = mx.load(str(next(tmp_path.glob("work/*/4bit/model/model.safetensors"))))
    stored: Any = mx.load(str(source / "model.safetensors"))
    stems = [name.removesuffix(".weight_packed") for name in stored if name.endswith(".weight_packed")]
    assert len(stems) == 14
    for stem in stems:
        # Both have the first number in the lowest bits, raised by half of the range.
        assert np.array_equal(arrays[f"{stem}.weight"], stored[f"{stem}.weight_packed"].view(mx.uint32)), stem
