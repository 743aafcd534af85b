"""Sources that see and are quantized, some with their tower: read exactly, and converted as their plain numbers are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import packed_writers as writers
from fp8_source import NUMBERS, in_fp8, spread, write_any
from mlx_publish.children.vision import VARIABLE
from packed_models import packed
from packed_sources import AWQ
from pipeline import User, read_json
from tensor_file import bfloat16, float32, read_tensors, write_tensors
from vision_faults import whole

WEIGHTS = "model.safetensors"
BLOCK = (32, 32)
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": list(BLOCK)}
Pair = tuple[Path, Path]


def in_awq(model: Path, folder: Path) -> Pair:
    """A source of 4 bits, and its plain numbers."""
    return packed(model, folder, writers.awq, AWQ)


def in_blocks(model: Path, folder: Path) -> Pair:
    """A source in blocks of fp8, and its plain numbers."""
    source, twin = folder / "packed", folder / "plain"
    for path in (source, twin):
        shutil.copytree(model, path)
    held, plain = dict(read_tensors(model / WEIGHTS)), dict(read_tensors(model / WEIGHTS))
    for name in [name for name in plain if name.endswith("_proj.weight")]:
        codes, scales = in_fp8(float32(plain[name]), BLOCK, powers=False)
        held[name], held[f"{name}_scale_inv"] = codes, scales
        plain[name] = bfloat16(NUMBERS[codes] * spread(scales, BLOCK, codes.shape))
    write_any(source / WEIGHTS, held)
    write_tensors(twin / WEIGHTS, plain)
    config = read_json(source / "config.json")
    (source / "config.json").write_text(json.dumps(config | {"quantization_config": FP8}), encoding="utf-8")
    return source, twin


@pytest.mark.nightly
@pytest.mark.parametrize("write", [in_awq, in_blocks])
def test_a_quantized_source_with_a_tower_becomes_what_its_plain_numbers_become(
    write: Callable[[Path, Path], Pair], tmp_path: Path, vision_models: Path, vision_python: Path
) -> None:
    """The projections of Mistral 3's tower have the names of the language model's: they are packed, too."""
    model = tmp_path / "mistral3"
    shutil.copytree(vision_models / "mistral3", model)
    whole(model)
    user, made = User(tmp_path / "home", more={VARIABLE: str(vision_python)}), []
    for source in write(model, tmp_path):
        given = ("--source", source, "--license", "apache-2.0", "--base-model", "acme/m", "--bits", "4")
        user.run("convert", *given, "--work", tmp_path / "work", "--to", f"folder:{tmp_path}/out/{source.name}")
        folder = tmp_path / "work" / source.name / "4bit"
        made.append((folder / "model" / WEIGHTS).read_bytes())
        towers = read_json(folder / "convert.json")["result"]["towers"]
        assert towers
        assert {tower["bits"] for tower in towers} == {None}
    assert made[0] == made[1]
    found = read_json(tmp_path / "work/packed/4bit/convert.json")["checks"]
    [read] = [check["message"] for check in found if check["id"] == "source-read"]
    assert "from 28 quantized" in read
