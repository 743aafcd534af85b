"""A class of mlx-lm may multiply its weights in place, as Falcon-H1's does: each is multiplied once all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- it reads the files
import numpy as np
import pytest
from mlx_lm.models import llama  # noqa: TID251 -- it gets a class that multiplies

from mlx_publish.engine.in_place import apart, changed
from streamed import ORDERS, Parent, by_stream, digests, made, ordinary
from tensor_file import float32, read_tensors

TIMES = {"model.embed_tokens.weight": 4.0, "model.layers.1.mlp.up_proj.weight": 0.5, "model.norm.weight": 2.0}


@pytest.fixture
def multiplying(monkeypatch: pytest.MonkeyPatch) -> None:
    def sanitize(self: llama.Model, weights: dict[str, Any]) -> dict[str, Any]:
        for name, times in TIMES.items():
            weight = weights[name]
            weight *= times
        made: dict[str, Any] = plain(self, weights)
        return made

    plain = llama.Model.sanitize
    monkeypatch.setattr(llama.Model, "sanitize", sanitize)


@pytest.mark.usefixtures("multiplying")
def test_weights_are_multiplied_once_for_any_number_of_variants(tmp_path: Path) -> None:
    source = made(tmp_path / "m", "llama", shards=3)
    orders = [ORDERS[0], ORDERS[1], ORDERS[-1]]
    ordinary(source, tmp_path / "ordinary", orders)
    stored: dict[str, Any] = {}
    for path in source.glob("*.safetensors"):
        stored |= read_tensors(path)
    written = read_tensors(tmp_path / "ordinary/bf16/model.safetensors")
    assert written.keys() == stored.keys()
    for name, bits in written.items():
        assert np.array_equal(float32(bits), float32(stored[name]) * TIMES.get(name, 1.0)), name
    by_stream(Parent(source, tmp_path / "work"), tmp_path / "streamed", orders)
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")


def test_what_was_changed_in_place_is_found_and_the_own_object_is_as_before(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    mx.save_safetensors(path, {name: mx.full((2, 2), 3.0) for name in ("a", "b.w", "b.v")} | {"c": mx.array(3.0)})
    given: Any = mx.load(path)
    given |= {"in memory": mx.array([3.0])}
    own = apart(given)
    assert changed(own, given) == []
    for name in ("b.w", "c", "in memory"):
        array = given[name]
        array *= 2
    assert sorted(changed(own, given)) == ["b.w", "c", "in memory"]
    assert all(bool((array == 3).all().item()) for array in own.values())
    assert bool((given["b.w"] == 6).all().item())
