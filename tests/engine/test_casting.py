"""One type in the result, and router biases that keep their values where the class computes with them in float32."""

from __future__ import annotations

from typing import Any

import mlx.core as mx  # noqa: TID251 -- the models are made for it
import pytest
from mlx import nn  # noqa: TID251
from mlx.utils import tree_flatten  # noqa: TID251

from mlx_publish.engine.casting import cast, main_type
from mlx_publish.evidence.conversion import Routing

CLOSE = [6.8 + n / 100 for n in range(32)]


class Model(nn.Module):  # type: ignore[misc]
    """A router whose bias is added in float32 to choose, or as well to what goes on."""

    def __init__(self, *, goes_on: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 64)
        self.gate = nn.Linear(64, 32, bias=False)
        self.norm = nn.RMSNorm(64)
        self.e_score_correction_bias = mx.array(CLOSE)
        self._goes_on = goes_on

    def __call__(self, ids: mx.array) -> Any:
        hidden = self.norm(self.embedding(ids))
        scores = self.gate(hidden) + self.e_score_correction_bias
        chosen = mx.argmax(scores, axis=-1, keepdims=True)
        return hidden * (mx.take_along_axis(scores, chosen, axis=-1) if self._goes_on else chosen)


class Keeping(Model):
    """A class that keeps all norms by itself."""

    def cast_predicate(self, path: str) -> bool:
        return "norm" not in path


def made(model: Model) -> Model:
    model.update_modules({"embedding": model.embedding, "gate": model.gate})
    model.embedding.set_dtype(mx.bfloat16)
    model.gate.set_dtype(mx.bfloat16)
    return model


def types(model: nn.Module) -> dict[str, mx.Dtype]:
    return {name: array.dtype for name, array in tree_flatten(model.parameters())}


def test_a_bias_that_only_chooses_stays_and_the_rest_has_one_type() -> None:
    model = made(Model(goes_on=False))
    routing = cast(model, mx.bfloat16)
    assert routing == Routing(kept=["e_score_correction_bias"])
    dtypes = types(model)
    assert dtypes.pop("e_score_correction_bias") == mx.float32
    assert set(dtypes.values()) == {mx.bfloat16}
    assert model.e_score_correction_bias.tolist() == pytest.approx(CLOSE)


def test_a_bias_that_would_widen_the_whole_model_is_rounded_and_named() -> None:
    model = made(Model(goes_on=True))
    routing = cast(model, mx.bfloat16)
    assert set(types(model).values()) == {mx.bfloat16}
    (counts,) = routing.merged.values()
    assert counts[0] < counts[1] == len(CLOSE)


def test_a_bias_whose_values_stay_distinct_is_nothing_to_tell() -> None:
    model = made(Model(goes_on=True))
    model.e_score_correction_bias = mx.arange(32).astype(mx.float32)
    assert cast(model, mx.bfloat16) == Routing()


def test_in_float32_nothing_is_rounded() -> None:
    model = made(Model(goes_on=True))
    assert cast(model, mx.float32) == Routing()
    assert set(types(model).values()) == {mx.float32}


def test_what_the_class_keeps_stays_besides() -> None:
    model = made(Keeping(goes_on=False))
    cast(model, mx.bfloat16)
    assert types(model)["norm.weight"] == mx.float32


def test_the_main_type_is_that_of_most_numbers() -> None:
    assert main_type(made(Model(goes_on=False))) == "bfloat16"
    assert main_type(nn.Module()) is None
