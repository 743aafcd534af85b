"""What lies beside the weights, sources that are quantized already, groups that do not fit, options that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gate import as_transformers5, edit_json, gate, loaded, same_files, stored, stored_dtypes
from models import make_model
from pipeline import digests

# Bytes that a careless reader would change.
SIDE = {
    "LICENSE": b"Apache \xe2\x80\x94 as it is\r\n",
    "NOTICE": b"no newline at the end",
    "NOTICE.txt": b"\n\n",
    "USE_POLICY.md": b"# Be kind\n",
    "tokenizer.model": bytes(range(256)),
    "preprocessor_config.json": b'{"do_resize":true , "a": "\\u00e9"}',
}
LEFT = {
    "modeling_tiny.py": b"raise SystemExit('run')\n",
    "configuration_tiny.py": b"raise SystemExit('run')\n",
    ".env": b"TOKEN=1\n",
    "notes.txt": b"mine\n",
    "training_args.bin": b"pickle",
    "LICENSE.py": b"raise SystemExit('run')\n",
}


def test_side_files_arrive_byte_for_byte_and_code_does_not(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m")
    for name, content in {**SIDE, **LEFT}.items():
        (source / name).write_bytes(content)
    (source / "assets").mkdir()
    (source / "assets" / "picture.py").write_bytes(b"raise SystemExit('run')\n")
    edit_json(source, "config.json", auto_map={"AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"})
    made = gate(source, "--variants", "4bit,bf16")
    for label in ("4bit", "bf16"):
        folder = made.model(label)
        assert same_files(source, folder, *SIDE, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
        assert {path.name for path in folder.iterdir()} == {
            *SIDE,
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        assert made.status(label)["no-code"] == "warn"
        assert made.message("no-code", label).endswith(
            "is neither run nor copied: LICENSE.py, assets/picture.py, configuration_tiny.py, modeling_tiny.py"
        )
        assert made.status(label)["legal-files"] == "pass"
    assert "neither run nor copied" in made.text


def test_groups_that_miss_the_layers_are_refused_and_smaller_ones_reach_them(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", hidden=96, heads=2)
    made = gate(source, code=1)
    assert made.failed() == ["groups-fit"]
    assert "Take group size 32." in made.text
    assert not (made.work / "4bit/convert.json").exists()
    # With another type for what is not quantized, which the config tells.
    made = gate(source, "--bits", "4", "--group-size", "32", "--dtype", "float16")
    label = "4bit-gs32-fp16"
    folder, config = made.model(label), made.config(label)
    assert config["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine"}
    assert config["torch_dtype"] == "float16"
    assert set(stored_dtypes(folder).values()) == {"U32", "F16"}
    arrays = stored(folder)
    matrices = [name for name, array in arrays.items() if name.endswith(".weight") and array.ndim == 2]
    assert all(name.replace(".weight", ".scales") in arrays for name in matrices)
    assert 4.9 < 8 * sum(array.nbytes for array in arrays.values()) / _parameters(source) < 5.1
    loaded(folder)


def _parameters(folder: Path) -> int:
    return sum(array.size for array in stored(folder).values())


def test_144_has_no_group_but_the_smallest(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", hidden=144, heads=2)
    for size in ("64", "32"):
        made = gate(source, "--bits", "4", "--group-size", size, code=1)
        assert "nvfp4, with groups of 16" in made.text
    made = gate(source, "--mode", "nvfp4")
    assert made.config("nvfp4")["quantization"] == {"group_size": 16, "bits": 4, "mode": "nvfp4"}
    loaded(made.model("nvfp4"))


QUANTIZED: dict[str, dict[str, Any]] = {
    "hqq": {"quantization_config": {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}},
    "quanto": {"quantization_config": {"quant_method": "quanto", "weights": "int4"}},
    "torchao": {"quantization_config": {"quant_method": "torchao"}},
    "BitNet": {"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}},
    "MLX": {"quantization": {"bits": 4, "group_size": 64}},
}


@pytest.mark.parametrize("method", QUANTIZED)
def test_a_quantized_source_is_refused_with_the_model_to_take_instead(tmp_path: Path, method: str) -> None:
    readme = "---\nlicense: apache-2.0\nbase_model: acme/Plain\nbase_model_relation: quantized\n---\n"
    source = make_model(tmp_path / "m", config=QUANTIZED[method], readme=readme)
    made = gate(source, "--bits", "8", code=1)
    assert made.failed("8bit") == ["unquantized"]
    assert method.lower() in made.text.lower()
    assert "Use the model it was made from: acme/Plain" in made.text


def test_a_config_left_over_on_plain_weights_changes_nothing_but_a_warning(tmp_path: Path) -> None:
    block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    made = gate(make_model(tmp_path / "m", config={"quantization_config": block}))
    plain = gate(make_model(tmp_path / "plain"))
    assert "fp8, 8 bits, and all weights are plain numbers" in " ".join(made.text.split())
    assert made.config() == plain.config()
    assert (made.model() / "model.safetensors").read_bytes() == (plain.model() / "model.safetensors").read_bytes()


def test_a_quantized_conversion_is_no_source(tmp_path: Path) -> None:
    made = gate(make_model(tmp_path / "m"))
    again = tmp_path / "again"
    again.mkdir()
    made.model().rename(again / "m-4bit")
    assert gate(again / "m-4bit", "--bits", "8", "--license", "mit", code=1).failed("8bit") == ["unquantized"]
    # Nor is one whose config was cleaned of it.
    edit_json(again / "m-4bit", "config.json", **dict.fromkeys(("quantization", "quantization_config")))
    said = gate(again / "m-4bit", "--bits", "8", "--license", "mit", code=1)
    assert "weights-numbers" in said.failed("8bit")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mode", "mxfp4", "--bits", "8"], "mxfp4 has 4 bits, not 8"),
        (["--mode", "nvfp4", "--group-size", "64"], "nvfp4 has a group size of 16, not 64"),
        (["--mixed", "mixed_3_6", "--mode", "mxfp8"], "the mixed recipes of mlx-lm are affine"),
        (["--mixed", "mixed_3_6", "--bits", "4"], "take bits or mixed, not both"),
        (["--dtype", "bfloat16", "--group-size", "32"], "dtype alone leaves the model unquantized"),
        (["--bits", "7"], "bits"),
    ],
)
def test_options_that_do_not_fit_are_bad_input(tmp_path: Path, flags: list[str], words: str) -> None:
    source = make_model(tmp_path / "m")
    made = gate(source, *flags, code=2)
    assert words in made.text
    assert not made.work.exists()


def test_a_run_that_was_done_before_is_left_as_it_is_and_a_changed_folder_is_made_again(tmp_path: Path) -> None:
    """A folder left from before: complete, or with a file that somebody changed or took away."""
    source = as_transformers5(make_model(tmp_path / "m"))
    made = gate(source)
    first = digests(made.model())
    assert "convert m · 4bit: unchanged" in gate(source).text
    (made.model() / "config.json").write_text("{}")
    (made.model() / "stray.py").write_text("left from before")
    (made.model() / "model.safetensors").unlink()
    assert digests(gate(source).model()) == first
