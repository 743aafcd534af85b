"""What config.json says, and what it says wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.model.config import ModelConfig


@pytest.mark.parametrize(
    ("raw", "model_type"),
    [({"model_type": "llama"}, "llama"), ({}, None), ({"model_type": ""}, None), ({"model_type": 3}, None)],
)
def test_model_type(raw: dict[str, Any], model_type: str | None) -> None:
    assert ModelConfig(raw).model_type == model_type


@pytest.mark.parametrize(
    ("raw", "dtype"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": "torch.float16"}, "float16"),
        ({"dtype": "float32"}, "float32"),
        ({"torch_dtype": "bfloat16", "dtype": "float32"}, "bfloat16"),
        ({"text_config": {"dtype": "float16"}}, "float16"),
        ({"dtype": "float32", "text_config": {"dtype": "float16"}}, "float32"),
        ({"dtype": None}, None),
        ({}, None),
    ],
)
def test_declared_type(raw: dict[str, Any], dtype: str | None) -> None:
    assert ModelConfig(raw).dtype == dtype


@pytest.mark.parametrize(
    ("value", "names"),
    [(["A", "B"], ("A", "B")), ("A", ("A",)), (None, ()), ([], ()), (5, ()), ([5, "A"], ("A",)), ({"A": 1}, ())],
)
def test_architectures(value: object, names: tuple[str, ...]) -> None:
    assert ModelConfig({"architectures": value}).architectures == names


@pytest.mark.parametrize("key", ["quantization", "quantization_config"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_quantized_source_is_seen_wherever_it_says_so(key: str, nested: bool) -> None:
    raw: dict[str, Any] = {key: {"bits": 4}}
    assert ModelConfig({"text_config": raw} if nested else raw).quantization == {"bits": 4}
    assert ModelConfig({key: None}).quantization is None


def test_the_language_model_of_a_multimodal_config() -> None:
    config = ModelConfig(
        {
            "model_type": "outer",
            "architectures": ["Outer"],
            "max_position_embeddings": 1,
            "text_config": {"max_position_embeddings": 4096, "hidden_size": 64, "sliding_window": None},
        }
    )
    assert config.context == 4096
    assert config.summary() == {
        "model_type": "outer",
        "architectures": ["Outer"],
        "dtype": None,
        "context": 4096,
        "hidden_size": 64,
    }


@pytest.mark.parametrize("value", [None, "4096", 4096.0, True])
def test_a_context_that_is_no_number_is_not_known(value: object) -> None:
    assert ModelConfig({"max_position_embeddings": value}).context is None
