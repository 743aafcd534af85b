"""Fused weights: right to the last bit that float32 gives, and the same in numpy and MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- weights are fused by it
import numpy as np
import pytest
from mlx.utils import tree_flatten  # noqa: TID251
from numpy.typing import NDArray

from adapted_links import links_of
from adapters import PREFIX, Tensors, fused, pair, put_mlx, put_peft, random
from mlx_publish.engine.adapting import halves
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.rows import bits_of
from mlx_publish.engine.source_model import load_source
from models import make_model
from tensor_file import bfloat16, float32, read_tensors

Numbers = NDArray[Any]
Q = "model.layers.0.self_attn.q_proj"
CLOSE = 2e-6


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama in float32 whose head is its own."""
    return make_model(tmp_path_factory.mktemp("base") / "Tiny", dtype="float32", tie=False)


def made(base: Path, adapter: Path, work: Path) -> dict[str, Numbers]:
    """Return the fused parameters as they are converted; asserts that MLX computes the same bits."""
    mx.set_default_device(mx.cpu)
    source = load_source(links_of(base, adapter, work))
    rows = Parameters(source)
    arrays = dict(tree_flatten(source.model.parameters()))
    by_rows = {path: rows.array(path) for path in rows.paths}
    for path, array in by_rows.items():
        mx.eval(arrays[path])
        np.testing.assert_array_equal(bits_of(array), bits_of(arrays[path]), err_msg=path)
    return {path: np.array(array.astype(mx.float32)) for path, array in by_rows.items()}


def of_q(made: dict[str, Numbers]) -> Numbers:
    return made[f"{Q}.weight"]


def weights(base: Path) -> Tensors:
    return read_tensors(base / "model.safetensors")


def peft(tmp_path: Path, tensors: Tensors, **config: object) -> Path:
    return put_peft(tmp_path / "adapter", tensors, **config)


def test_lora_is_added_with_its_scale_and_all_else_stays(base: Path, tmp_path: Path) -> None:
    tensors, old = pair(Q, 64, 64), weights(base)
    now = made(base, peft(tmp_path, tensors), tmp_path / "links")
    a, b = tensors.values()
    np.testing.assert_allclose(of_q(now), fused(old[f"{Q}.weight"], b, a, 2.0), atol=CLOSE)
    others = {name for name in now if name != f"{Q}.weight"}
    assert all(np.array_equal(now[name], old[name]) for name in others)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"use_rslora": True}, 8 / 2),
        ({"alpha_pattern": {"q_proj": 3}}, 3 / 4),
        ({"alpha_pattern": {r"^model\.layers\.\d+\.self_attn\.q_proj": 1}}, 1 / 4),
        ({"alpha_pattern": {"k_proj": 3, "other.q_proj": 5}}, 2),
        ({"r": 16, "rank_pattern": {"layers.0.self_attn.q_proj": 4}}, 2),
        ({"r": 16, "rank_pattern": {"q_proj": 4}, "use_rslora": True, "lora_alpha": 6}, 3),
    ],
)
def test_the_scale_is_that_of_the_module(base: Path, tmp_path: Path, config: dict[str, object], scale: float) -> None:
    tensors = pair(Q, 64, 64)
    now = of_q(made(base, peft(tmp_path, tensors, **config), tmp_path / "links"))
    a, b = tensors.values()
    np.testing.assert_allclose(now, fused(weights(base)[f"{Q}.weight"], b, a, scale), atol=CLOSE)


def test_dora_gives_rows_the_lengths_that_were_trained(base: Path, tmp_path: Path) -> None:
    lengths = 1 + random(64, seed=5)
    tensors = pair(Q, 64, 64)
    both = {**tensors, f"{PREFIX}{Q}.lora_magnitude_vector": lengths}
    now = of_q(made(base, peft(tmp_path, both, use_dora=True), tmp_path / "links"))
    a, b = tensors.values()
    np.testing.assert_allclose(now, fused(weights(base)[f"{Q}.weight"], b, a, 2.0, lengths), atol=CLOSE)
    np.testing.assert_allclose(np.linalg.norm(now, axis=1), lengths, rtol=1e-5)


def test_an_embedding_is_adapted_by_its_rows(base: Path, tmp_path: Path) -> None:
    rows, columns = weights(base)["model.embed_tokens.weight"].shape
    a, b = random(4, rows), random(columns, 4)
    name = f"{PREFIX}model.embed_tokens.lora_embedding_"
    now = made(base, peft(tmp_path, {f"{name}A": a, f"{name}B": b}), tmp_path / "links")
    expected = fused(weights(base)["model.embed_tokens.weight"], a.T, b.T, 2.0)
    np.testing.assert_allclose(now["model.embed_tokens.weight"], expected, atol=CLOSE)


def test_dora_of_an_embedding_gives_columns_their_lengths(base: Path, tmp_path: Path) -> None:
    rows, columns = weights(base)["model.embed_tokens.weight"].shape
    a, b, lengths = random(4, rows), random(columns, 4), 1 + random(columns, seed=3)
    name = f"{PREFIX}model.embed_tokens.lora_"
    tensors = {f"{name}embedding_A": a, f"{name}embedding_B": b, f"{name}magnitude_vector": lengths}
    now = made(base, peft(tmp_path, tensors, use_dora=True), tmp_path / "links")
    expected = fused(weights(base)["model.embed_tokens.weight"].T, b, a, 2.0, lengths).T
    np.testing.assert_allclose(now["model.embed_tokens.weight"], expected, atol=CLOSE)


@pytest.mark.parametrize(
    "saved", ["lm_head.weight", "lm_head.modules_to_save.weight", "lm_head.modules_to_save.a.weight"]
)
def test_a_module_that_was_saved_whole_stands_in_the_place_of_the_base_s(
    base: Path, tmp_path: Path, saved: str
) -> None:
    head = random(*weights(base)["lm_head.weight"].shape)
    now = made(base, peft(tmp_path, {f"{PREFIX}{saved}": head}), tmp_path / "links")
    np.testing.assert_array_equal(now["lm_head.weight"], head)


def test_rows_of_single_tokens_are_replaced(base: Path, tmp_path: Path) -> None:
    rows = random(2, 64)
    name = f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"
    now = made(base, peft(tmp_path, {name: rows}, trainable_token_indices=[7, 3]), tmp_path / "links")
    old = weights(base)["model.embed_tokens.weight"].copy()
    old[[7, 3]] = rows
    np.testing.assert_array_equal(now["model.embed_tokens.weight"], old)


def test_factors_in_bfloat16_are_read_exactly(base: Path, tmp_path: Path) -> None:
    a, b = (bfloat16(values) for values in pair(Q, 64, 64).values())
    names = list(pair(Q, 64, 64))
    now = of_q(made(base, peft(tmp_path, dict(zip(names, (a, b), strict=True))), tmp_path / "links"))
    np.testing.assert_allclose(now, fused(weights(base)[f"{Q}.weight"], float32(b), float32(a), 2.0), atol=CLOSE)


def test_a_base_in_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    base = make_model(tmp_path / "Tiny")
    tensors = pair(Q, 64, 64)
    now = of_q(made(base, peft(tmp_path, tensors), tmp_path / "links"))
    a, b = tensors.values()
    exact = fused(float32(weights(base)[f"{Q}.weight"]), b, a, 2.0)
    assert np.abs(now - exact).max() <= np.abs(exact).max() * 2**-8
    np.testing.assert_array_equal(
        now, np.array(mx.array(exact.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32))
    )


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_of_mlx_lm_changes_the_parameters_of_the_class(base: Path, tmp_path: Path, kind: str) -> None:
    a, b, lengths = random(64, 4), random(4, 64), 1 + random(64, seed=9)
    tensors: Tensors = {f"{Q}.lora_a": a, f"{Q}.lora_b": b, **({f"{Q}.m": lengths} if kind == "dora" else {})}
    now = of_q(made(base, put_mlx(tmp_path / "adapter", tensors, kind), tmp_path / "links"))
    expected = fused(weights(base)[f"{Q}.weight"], b.T, a.T, 2.0, lengths if kind == "dora" else None)
    np.testing.assert_allclose(now, expected, atol=CLOSE)


def test_whole_parameters_of_mlx_lm_stand_in_the_place_of_the_base_s(base: Path, tmp_path: Path) -> None:
    norm, matrix = random(64), random(64, 64)
    tensors: Tensors = {"model.norm.weight": norm, f"{Q}.weight": matrix}
    now = made(base, put_mlx(tmp_path / "adapter", tensors, "full"), tmp_path / "links")
    np.testing.assert_array_equal(now["model.norm.weight"], norm)
    np.testing.assert_array_equal(of_q(now), matrix)


@pytest.mark.parametrize("size", [1, 2, 3, 64, 100, 257])
def test_sums_of_halves_are_sums(size: int) -> None:
    values = random(3, size)
    np.testing.assert_allclose(halves(values, 1), values.sum(1), atol=1e-6)
    np.testing.assert_array_equal(halves(values, 1), np.array(halves(mx.array(values), 1)))
    np.testing.assert_array_equal(halves(values.T, 0), np.array(halves(mx.array(values.T), 0)))
