"""Values of config.json that no class could be built with are refused by their names, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headers import facts, find
from mlx_publish.checks.values import _wrong
from mlx_publish.errors import Refused
from mlx_publish.model.files import MemoryFiles, read_json_file

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.json"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0, not a size"),
        ({"hidden_size": -8}, "hidden_size is -8"),
        ({"vocab_size": "big"}, "vocab_size is 'big'"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"num_hidden_layers": 10**9}, "1,000,000,000, more layers than any model has"),
        ({"rope_parameters": "yarn"}, "rope_parameters is 'yarn', not an object"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": None}}, "rope_parameters.rope_theta is None"),
        ({"layer_types": [["full_attention"]]}, "layer_types is not a list of kinds"),
        ({"rms_norm_eps": "Infinity"}, "rms_norm_eps is 'Infinity'"),
        ({"text_config": {"hidden_size": None, "num_hidden_layers": 2.5}}, "text_config.num_hidden_layers is 2.5"),
    ],
)
def test_nonsense_is_named(keys: Mapping[str, Any], message: str) -> None:
    finding = find("config-values", facts(config=keys))
    assert finding.status == "fail"
    assert message in finding.message


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_published_config_is_refused(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    assert list(_wrong(config, "")) == []
    assert list(_wrong(config.get("text_config") or {}, "")) == []


def test_weights_that_lack_layers_are_refused() -> None:
    finding = find("layers-there", facts(config={"num_hidden_layers": 700}))
    assert finding.status == "fail"
    assert "700 layers" in finding.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ' + "[" * 900 + "]" * 900 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5,000 digits"),
    ],
)
def test_what_python_could_not_walk_or_count_is_refused(text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_json_file(MemoryFiles({"config.json": text.encode()}), "config.json")
