"""What a cache takes follows from the config, as it does from a model that has run."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx  # noqa: TID251 -- it runs the models
import pytest
from mlx_lm.models.cache import make_prompt_cache  # noqa: TID251 -- the caches are its own
from mlx_lm.utils import load_model  # noqa: TID251 -- it builds the models

from families import FAMILIES
from mlx_publish.engine.speed import cache_size
from mlx_publish.model.cache import cache_of
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.normalise import normalise_config
from models import ARCHITECTURES, make_model

LINEAR = ("lfm2", "qwen3_5")


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *FAMILIES])
def test_it_is_what_a_run_takes(tmp_path: Path, arch: str) -> None:
    folder = make_model(tmp_path / arch, arch, layers=3, tie=arch not in ("deepseek_v3",))
    config, _ = normalise_config(json.loads((folder / "config.json").read_text()))
    (folder / "config.json").write_text(json.dumps(config))
    model, _ = load_model(folder)
    cache = make_prompt_cache(model)
    model(mx.array([[1, 2, 3, 4, 5]]), cache=cache)  # sizes alone: nothing is computed
    real, said = cache_size(cache), cache_of(ModelConfig(config))
    assert said is not None
    if arch in LINEAR:  # the state of a layer is known up to what its convolution holds
        for tokens in (8192, 100_000):
            taken, expected = said.bytes_at(tokens), real.bytes_at(tokens)
            assert taken is not None
            assert expected is not None
            assert expected <= taken
    else:
        assert said == real


def test_a_class_that_sees_everything_has_no_window() -> None:
    config = {
        "model_type": "qwen3", "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 64, "hidden_size": 256,
        "sliding_window": 128, "use_sliding_window": True, "layer_types": ["sliding_attention"] * 4,
    }  # fmt: skip
    cache = cache_of(ModelConfig(config))
    assert cache is not None
    assert (cache.bytes_per_token, cache.window) == (4 * 2 * 2 * 4 * 64, 0)


def test_a_config_without_heads_says_nothing() -> None:
    assert cache_of(ModelConfig({"model_type": "mamba2", "num_hidden_layers": 4, "hidden_size": 64})) is None
