"""Experts, latent attention, hybrids and classes with ways of their own, from source to converted folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is compared with
import mlx_lm  # noqa: TID251
import numpy as np
import pytest
from numpy.typing import NDArray

from families import FAMILIES
from gate import edit_json, edit_tensors, gate, loaded, logits, same_tensors, stored, stored_dtypes
from models import make_model
from pipeline import User, read_json, write_recipe
from tensor_file import bfloat16, float32

Tensors = dict[str, NDArray[Any]]

SEED = 3  # of random models that by chance say no token of the template
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"
NORMS = ("layernorm.weight", "model.norm.weight", "language_model.norm.weight", "q_norm.weight", "k_norm.weight")


def family(folder: Path, arch: str, **options: Any) -> Path:
    """A hybrid has three layers of the one kind before one of the other; deepseek_v3 has a head of its own."""
    hybrid = arch in {"lfm2", "qwen3_5"}
    return make_model(folder, arch, **{"layers": 4 if hybrid else 2, "tie": arch != "deepseek_v3"} | options)


def renamed(folder: Path, name: Callable[[str], str]) -> Path:
    """Give each tensor another name."""

    def change(tensors: Tensors) -> None:
        new = {name(old): values for old, values in tensors.items()}
        tensors.clear()
        tensors.update(new)

    return edit_tensors(folder, change)


@pytest.mark.parametrize("arch", FAMILIES)
def test_every_family_equals_what_mlx_lm_makes(tmp_path: Path, arch: str) -> None:
    source = family(tmp_path / "m", arch)
    made = gate(source, "--variants", "8bit,bf16")
    assert made.failed("8bit") == made.failed("bf16") == []
    for label, options in {"8bit": {"quantize": True, "q_bits": 8, "q_group_size": 64}, "bf16": {}}.items():
        theirs = tmp_path / label
        mlx_lm.convert(str(source), str(theirs), **options)
        assert same_tensors(made.model(label), theirs), label


@pytest.mark.parametrize("arch", ["qwen3_moe", "deepseek_v3", "lfm2"])
def test_experts_latent_attention_and_hybrids_go_all_the_way_to_fidelity(tmp_path: Path, arch: str) -> None:
    recipe = write_recipe(
        tmp_path / "m.yaml",
        source=str(family(tmp_path / "m", arch, seed=SEED)),
        to=f"folder:{tmp_path}/out",
        variants=["8bit"],
    )
    User(tmp_path / "home").run("run", "--recipe", recipe, "--work", tmp_path / "work", "--until", "fidelity")
    found = read_json(tmp_path / "work/m/8bit/fidelity.json")
    assert found["verdict"] == "pass"
    assert found["result"]["mean_kld"] < 0.05


@pytest.mark.parametrize("head", [False, True])
def test_a_class_that_drops_its_head_by_itself_is_built_again_without_it(tmp_path: Path, head: bool) -> None:
    source = family(tmp_path / "m", "gemma3_text")
    if head:
        edit_tensors(source, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"]}))
    made = gate(source, "--variants", "4bit,bf16")
    names = stored_dtypes(made.model("bf16"))
    assert ("lm_head.weight" in names) is head
    assert made.status("4bit")["tensors-accounted"] == "pass"


@pytest.mark.parametrize("label", ["4bit", "5bit", "mxfp4", "nvfp4"])
def test_bits_that_a_class_raises_by_itself_are_told(tmp_path: Path, label: str) -> None:
    made = gate(family(tmp_path / "m", "granite"), "--variants", label)
    assert made.status(label)["bits-per-weight"] == "pass"
    words = "its MLX class keeps mlp.down_proj and self_attn.o_proj at 8 bits"
    assert words in made.message("bits-per-weight", label)
    result = read_json(made.work / label / "convert.json")["result"]
    assert result["kept_wider"] == words.removeprefix("its MLX class ")
    weights = sum(values.nbytes for values in stored(made.model(label)).values())
    assert result["bits_per_weight"] == pytest.approx(8 * weights / result["parameters"], abs=1e-4)


def test_a_router_bias_in_float32_stays_so_and_all_else_is_computed_as_before(tmp_path: Path) -> None:
    source = family(tmp_path / "m", "dots1")
    close = np.linspace(6.8, 7.1, 8, dtype=np.float32)
    edit_tensors(source, lambda tensors: tensors.update({BIAS: close}))
    made = gate(source, "--variants", "4bit,bf16")
    for label in ("4bit", "bf16"):
        types = stored_dtypes(made.model(label))
        assert {name for name, dtype in types.items() if dtype == "F32"} == {BIAS}
        model, _ = loaded(made.model(label))
        assert model(mx.array([[1, 2]])).dtype == mx.bfloat16
        assert made.message("routing-exact", label) == "1 router bias(es) stay in float32, as in the source"


def test_a_router_bias_that_the_class_leaves_out_is_named_and_the_experts_are_not(tmp_path: Path) -> None:
    made = gate(family(tmp_path / "m", "ernie4_5_moe"), code=1)
    bias = "model.layers.1.mlp.moe_statics.e_score_correction_bias"
    assert made.message("tensors-accounted") == (
        f"1 tensor(s) of the source have no place in the MLX model, first: {bias}"
    )


def test_float32_norms_in_a_bfloat16_model_are_cast_and_told(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m")
    edit_tensors(
        source,
        lambda tensors: tensors.update({name: float32(values) for name, values in tensors.items() if "norm" in name}),
    )
    made = gate(source, "--variants", "4bit,bf16")
    for label in ("4bit", "bf16"):
        assert "F32" not in stored_dtypes(made.model(label)).values()
        assert made.message("precision", label).startswith("bfloat16, float32 in the source, bfloat16 now")


def plus_one(which: Callable[[str], bool]) -> Callable[[Tensors], None]:
    """Store some norms as 1 + w."""

    def change(tensors: Tensors) -> None:
        for name, values in tensors.items():
            if name.endswith(NORMS) and which(name):
                tensors[name] = bfloat16(float32(values) + np.float32(1))

    return change


def turned(tensors: Tensors) -> None:
    """Store convolutions as MLX has them, which its class takes for a sign that norms are 1 + w."""
    for name, values in tensors.items():
        if name.endswith("conv1d.weight"):
            tensors[name] = np.ascontiguousarray(np.moveaxis(values, 2, 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([plus_one(lambda _: True)], "one is added to weights that already include it"),
        ([turned], "nothing is added to weights near 0"),
        ([plus_one(lambda name: "layers.2." in name)], "some are near 1"),
        ([plus_one(lambda name: "input_layernorm" in name)], "some are near 1"),
    ],
)
def test_norms_of_the_other_convention_are_refused(
    tmp_path: Path, changes: list[Callable[[Tensors], None]], words: str
) -> None:
    source = family(tmp_path / "m", "qwen3_5")
    for change in changes:
        edit_tensors(source, change)
    made = gate(source, code=1)
    assert made.failed() == ["norms-fit"]
    assert words in made.message("norms-fit")


def test_norms_in_the_convention_of_mlx_pass_with_convolutions_of_mlx(tmp_path: Path) -> None:
    source = family(tmp_path / "m", "qwen3_5")
    raw = logits(gate(source, "--variants", "bf16").model("bf16"))
    other = family(tmp_path / "other" / "m", "qwen3_5")
    edit_tensors(edit_tensors(other, plus_one(lambda _: True)), turned)
    assert np.array_equal(logits(gate(other, "--variants", "bf16").model("bf16")), raw)


PREFIXES: dict[str, Callable[[str], str]] = {
    "none": lambda name: name.removeprefix("model."),
    "another": lambda name: name.replace("model.", "transformer.", 1),
    "one more": lambda name: f"base.{name}",
}


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("name", PREFIXES.values(), ids=PREFIXES)
def test_names_with_another_prefix_are_read_and_told(tmp_path: Path, name: Callable[[str], str], tie: bool) -> None:
    plain = gate(make_model(tmp_path / "plain" / "m", tie=tie), "--variants", "bf16")
    source = renamed(make_model(tmp_path / "m", tie=tie), name)
    made = gate(source, "--variants", "4bit,bf16")
    assert same_tensors(made.model("bf16"), plain.model("bf16"))
    assert made.status("4bit")["tensors-accounted"] == "fixed"
    assert "where the MLX class reads 'model.'" in made.message("tensors-accounted")


def test_a_wrapper_s_text_part_is_found_beside_other_senses(tmp_path: Path) -> None:
    source = family(tmp_path / "m", "gemma3_text")
    plain = logits(gate(source, "--variants", "bf16").model("bf16"))
    other = family(tmp_path / "other" / "m", "gemma3_text")
    text = read_json(other / "config.json")
    edit_json(
        other, "config.json", model_type="gemma3", architectures=["Gemma3ForConditionalGeneration"], text_config=text
    )
    renamed(other, lambda name: f"model.language_model.{name.removeprefix('model.')}")
    tower = np.ones((4096, 64), np.uint16)
    edit_tensors(other, lambda tensors: tensors.update({"model.vision_tower.patch.weight": tower}))
    # The tower is larger than the text part, which is what the bits are compared with.
    made = gate(other, "--variants", "4bit,bf16", "--modality", "text")
    assert made.status()["bits-per-weight"] == "pass"
    assert "reads 'language_model.model.'" in made.message("tensors-accounted")
    assert np.array_equal(logits(made.model("bf16")), plain)


def test_names_that_fit_no_prefix_are_refused_in_words(tmp_path: Path) -> None:
    source = renamed(make_model(tmp_path / "m"), lambda name: name.replace("norm", "scale"))
    made = gate(source, code=1)
    assert made.failed() == ["builds"]


def test_infinity_is_written_as_a_number_that_json_has(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m")
    plain = logits(gate(source, "--variants", "bf16").model("bf16"))
    other = make_model(tmp_path / "other" / "m")
    path = other / "config.json"
    edit_json(other, "config.json", tagged=[0.0, {"__float__": "Infinity"}], bare=1)
    path.write_text(path.read_text().replace('"bare": 1', '"bare": -Infinity'))
    made = gate(other, "--variants", "bf16")
    config = made.config("bf16")
    assert config["tagged"] == [0.0, 3.4028234663852886e38]
    assert config["bare"] == -3.4028234663852886e38
    assert np.array_equal(logits(made.model("bf16")), plain)


@pytest.mark.parametrize("text", ["NaN", '{"__float__": "NaN"}'])
def test_nan_is_refused_however_it_is_written(tmp_path: Path, text: str) -> None:
    source = edit_json(make_model(tmp_path / "m"), "config.json", rope_theta="here")
    path = source / "config.json"
    path.write_text(path.read_text().replace('"here"', text))
    assert "config-numbers" in gate(source, code=1, command="inspect").failed()
