"""The drafter that is written has the source's numbers, and a comparison with mlx-vlm's operations that sees faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what was written is read as its users read it
import numpy as np
import pytest
from numpy.typing import NDArray

import heads
from mlx_publish.engine.drafter import drafter as write
from mlx_publish.engine.drafter_check import different
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.errors import Refused
from mlx_publish.evidence.drafter import DrafterMade
from mlx_publish.model.drafters import drafter_of
from tensor_file import bfloat16, float32, read_tensors, write_tensors

FAMILIES: dict[str, tuple[heads.Shapes, Mapping[str, object]]] = {
    "qwen3_5_moe": (heads.qwen_moe(), {"num_hidden_layers": 1}),
    "nemotron_h": (heads.nemotron(), heads.NEMOTRON),
    "glm_moe_dsa": (heads.glm(), heads.GLM),
}
Tensors = dict[str, NDArray[Any]]


def made(
    folder: Path, kind: str, bits: int | None = None, change: Callable[[Tensors], object] = lambda _: None
) -> tuple[DrafterMade, list[Any]]:
    shapes, config = FAMILIES[kind]
    tensors = heads.random_tensors(shapes)
    change(tensors)
    (folder / "source").mkdir()
    write_tensors(folder / "source/model.safetensors", tensors)
    parts = drafter_of([kind], config, heads.infos(shapes)).parts
    order = [asdict(part) for part in parts]
    return write(str(folder / "source"), order, str(folder / "mtp"), bits, 32, lambda *_: None), list(parts)


@pytest.mark.parametrize("kind", FAMILIES)
def test_without_bits_each_tensor_is_the_sources_or_what_mlx_vlm_computes_of_it(tmp_path: Path, kind: str) -> None:
    answer, parts = made(tmp_path, kind)
    assert (answer.different, answer.quantized, answer.twice) == ([], 0, [])
    source, own = read_tensors(tmp_path / "source/model.safetensors"), read_tensors(tmp_path / "mtp/model.safetensors")
    assert set(own) == {part.name for part in parts}
    same = [part for part in parts if part.how == "same"]
    assert same
    for part in same:
        assert own[part.name].tobytes() == source[part.sources[0]].tobytes()
    for part in parts:
        if part.how == "plus one":
            assert np.array_equal(own[part.name], bfloat16(float32(source[part.sources[0]]) + np.float32(1)))
        if part.how == "stacked":
            assert np.array_equal(own[part.name], np.stack([source[name] for name in part.sources]))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("kind", FAMILIES)
def test_with_bits_all_matrices_but_routers_are_near_the_sources(tmp_path: Path, kind: str, bits: int) -> None:
    answer, parts = made(tmp_path, kind, bits)
    assert answer.different == []
    stored: Any = mx.load(str(tmp_path / "mtp/model.safetensors"))
    matrices = {part.name for part in parts if len(part.shape) > 1 and not part.name.endswith(".gate.weight")}
    packed = {name.removesuffix("scales") + "weight" for name in stored if name.endswith(".scales")}
    assert packed <= matrices
    assert len(packed) == answer.quantized > 3


FAULTS: Mapping[str, Callable[[Tensors], object]] = {
    "another bit": lambda own: own.update({"fc.weight": own["fc.weight"] ^ np.eye(64, 128, dtype=np.uint16)}),
    "a norm without its one": lambda own: own.update(
        {"norm.weight": bfloat16(float32(own["norm.weight"]) - np.float32(1))}
    ),
    "halves swapped": lambda own: own.update(
        {
            "layers.0.mlp.switch_mlp.gate_proj.weight": own["layers.0.mlp.switch_mlp.up_proj.weight"],
            "layers.0.mlp.switch_mlp.up_proj.weight": own["layers.0.mlp.switch_mlp.gate_proj.weight"],
        }
    ),
    "experts in another order": lambda own: own.update(
        {"layers.0.mlp.switch_mlp.down_proj.weight": own["layers.0.mlp.switch_mlp.down_proj.weight"][::-1]}
    ),
    "one is missing": lambda own: own.pop("layers.0.self_attn.k_norm.weight"),
    "one more": lambda own: own.update({"odd.weight": own["norm.weight"]}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_what_was_written_is_found(tmp_path: Path, fault: str) -> None:
    _, parts = made(tmp_path, "qwen3_5_moe")
    path = tmp_path / "mtp/model.safetensors"
    own = read_tensors(path)
    FAULTS[fault](own)
    write_tensors(path, own)
    assert different(TensorFiles(tmp_path / "source"), parts, tmp_path / "mtp", None, 32)


def test_a_swapped_scale_of_a_quantized_tensor_is_found(tmp_path: Path) -> None:
    _, parts = made(tmp_path, "qwen3_5_moe", 4)
    path = tmp_path / "mtp/model.safetensors"
    loaded: Any = mx.load(str(path))
    own = dict(loaded)
    own["fc.scales"] = own["fc.scales"][:, ::-1]
    mx.eval(list(own.values()))
    path.unlink()
    mx.save_safetensors(str(path), own, metadata={"format": "mlx"})
    assert different(TensorFiles(tmp_path / "source"), parts, tmp_path / "mtp", 4, 32) == ["fc.weight"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_head_with_a_number_that_is_none_is_refused(tmp_path: Path, value: float) -> None:
    def change(tensors: Tensors) -> None:
        tensors["mtp.fc.weight"][3, 5] = np.float32(value).view(np.uint32) >> 16

    with pytest.raises(Refused, match=r"mtp\.fc\.weight contains NaN or infinity"):
        made(tmp_path, "qwen3_5_moe", change=change)


def test_norms_that_have_their_one_already_are_told(tmp_path: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name, bits in tensors.items():
            if "norm" in name:
                tensors[name] = bfloat16(0.1 * float32(bits) + np.float32(1))

    answer, _ = made(tmp_path, "qwen3_5_moe", change=change)
    assert "norm.weight" in answer.twice
