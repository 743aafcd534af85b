"""Numbers of config.json that conversion could ignore: repaired where there is a way to say them, else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig  # noqa: TID251 -- the reader of a converted model

from gate import as_transformers5, edit_json, gate, loaded, logits
from models import MISSING, make_model

THETA = 250_000.0  # the default of no class
LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
# phi3's heads have 16 dimensions here.
LONG = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 256,
    "short_factor": [1.0] * 8,
    "long_factor": [1.0 + n / 4 for n in range(8)],
}


def classic(folder: Path, arch: str, scaling: dict[str, Any], **more: object) -> Path:
    """The model in the spelling of transformers 4."""
    own: dict[str, object] = {"rope_scaling": {**scaling, "type": scaling["rope_type"]} if scaling else None}
    if arch == "phi3" and scaling:
        own["original_max_position_embeddings"] = scaling["original_max_position_embeddings"]
    return make_model(folder, arch, config={"rope_theta": THETA, **own, **more})


@pytest.mark.parametrize(
    ("arch", "scaling"),
    [
        ("llama", LINEAR),
        ("llama", LLAMA3),
        ("llama", YARN),
        ("mistral", {}),
        ("qwen2", {}),
        ("phi3", {}),
        ("phi3", LONG),
        ("gemma2", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("rope_type", "default"),
)
def test_rope_of_transformers_5_is_written_so_that_mlx_lm_reads_it(
    tmp_path: Path, arch: str, scaling: dict[str, Any]
) -> None:
    twin = classic(tmp_path / "twin", arch, scaling)
    source = as_transformers5(classic(tmp_path / "m", arch, scaling), rope_theta=THETA, **scaling)
    edit_json(source, "config.json", original_max_position_embeddings=MISSING)
    made = gate(source, "--dtype", "bfloat16")
    assert made.status("bf16")["config-understood"] == "fixed"
    assert f"rope_theta {THETA} from rope_parameters" in made.text
    config, folder = made.config("bf16"), made.model("bf16")
    assert config["rope_theta"] == THETA
    assert (config.get("rope_scaling") or {}).get("rope_type") == scaling.get("rope_type")
    # mlx-lm builds the same model, and the newer spelling that transformers reads is still there.
    rope, wanted = (loaded(where)[0].layers[0].self_attn.rope for where in (folder, twin))
    assert type(rope) is type(wanted)
    if not scaling:
        assert rope.base == THETA
    assert np.array_equal(logits(folder), logits(twin))
    assert np.abs(logits(folder) - logits(source)).max() > 1e-3, "the unmended source would do as well"
    read = AutoConfig.from_pretrained(str(folder)).rope_parameters
    assert (read["rope_theta"], read["rope_type"]) == (THETA, scaling.get("rope_type", "default"))


def test_a_part_of_the_dimensions_is_turned_as_rope_parameters_say(tmp_path: Path) -> None:
    twin = classic(tmp_path / "twin", "phi3", {}, partial_rotary_factor=0.5)
    source = as_transformers5(classic(tmp_path / "m", "phi3", {}), rope_theta=THETA, partial_rotary_factor=0.5)
    made = gate(source, "--dtype", "bfloat16")
    assert made.config("bf16")["partial_rotary_factor"] == 0.5
    assert np.array_equal(logits(made.model("bf16")), logits(twin))


def test_a_scaling_that_both_spellings_name_is_left_alone(tmp_path: Path) -> None:
    source = classic(tmp_path / "m", "llama", LLAMA3)
    made = gate(source, "--dtype", "bfloat16")
    assert made.status("bf16")["config-understood"] == "pass"
    assert made.config("bf16")["rope_scaling"] == {**LLAMA3, "type": "llama3"}
    assert np.array_equal(logits(made.model("bf16")), logits(source))


BY_LAYER = {
    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
# arch, keys of config.json, the check, words of its message.
REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "by layer type": (
        "gemma2",
        {"rope_parameters": BY_LAYER, "rope_theta": MISSING},
        "config-understood",
        "no layer uses the rope base 1e+06",
    ),
    "a scaling that the class has not": (
        "gemma2",
        {"rope_parameters": {**LINEAR, "rope_theta": THETA}, "rope_theta": MISSING},
        "config-understood",
        "base 250000 with the scaling linear",
    ),
    "a scaling that nobody knows": (
        "llama",
        {"rope_parameters": {**YARN, "rope_type": "spiral", "rope_theta": THETA}},
        "builds",
        "spiral",
    ),
    "a factor that the class asserts against": (
        "phi3",
        {"rope_scaling": {"type": "linear", "factor": 4, "long_factor": [1.0]}},
        "builds",
        "AssertionError",
    ),
    "part of the dimensions": (
        "llama",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "config-understood",
        "partial_rotary_factor = 0.5 is not supported by its MLX class",
    ),
    "a yarn factor": (
        "llama",
        {"rope_scaling": {**YARN, "attention_factor": 2.5, "mscale": 1.0, "mscale_all_dim": 1.0}},
        "config-understood",
        "2.5 in the config",
    ),
    "activation": ("llama", {"hidden_act": "gelu"}, "config-understood", "hidden_act = gelu is not supported"),
    "another length than the class takes": (
        "phi3",
        {
            "rope_scaling": {**LONG, "type": "longrope", "attention_factor": 2.5},
            "original_max_position_embeddings": 256,
        },
        "config-understood",
        "2.5 in the config",
    ),
}


def test_a_yarn_factor_that_the_config_names_is_what_the_class_computes(tmp_path: Path) -> None:
    scaling = {**YARN, "attention_factor": 2.5}
    source = edit_json(make_model(tmp_path / "m"), "config.json", rope_scaling=scaling)
    made = gate(source, "--variants", "bf16")
    assert loaded(made.model("bf16"))[0].layers[0].self_attn.rope.mscale == pytest.approx(2.5)


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_class_cannot_compute_is_refused(tmp_path: Path, case: str) -> None:
    arch, keys, check, words = REFUSED[case]
    source = edit_json(make_model(tmp_path / "m", arch), "config.json", **keys)
    made = gate(source, code=1)
    assert made.failed() == [check]
    assert words in made.message(check)
    assert words in made.text
