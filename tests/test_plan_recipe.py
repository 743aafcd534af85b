"""The keys of a plan: what they are called, what goes together, and where a pinned file lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.errors import BadInput
from mlx_publish.methods import METHODS, Form, method_of
from mlx_publish.methods.plan import AIMS, METHOD, Target, most_bytes, narrowest_group, target_of, width_of
from mlx_publish.model.size import estimate_bytes
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.plan_text import write_plan
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.recipes.write import pin, recipe_text
from test_plan_file import make_plan


def of_flags(**flags: str) -> Recipe:
    return recipe_from_flags({"source": "acme/Tiny", **flags})


def of_file(tmp_path: Path, **keys: Any) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps({"source": "acme/Tiny", **keys}, indent=1))
    return recipe_from_file(path)


@pytest.mark.parametrize(
    ("keys", "label", "options", "flags"),
    [
        ({"target_bpw": 4.6}, "4.6bpw", {"target_bpw": 4.6}, ["--target-bpw", "4.6"]),
        ({"target_bpw": 5}, "5bpw", {"target_bpw": 5}, ["--target-bpw", "5"]),
        ({"fits": "16GB"}, "fits-16GB", {"fits": "16GB"}, ["--fits", "16GB"]),
        ({"fits": "24 GB"}, "fits-24GB", {"fits": "24GB"}, ["--fits", "24GB"]),
        ({"fits": 36}, "fits-36GB", {"fits": "36GB"}, ["--fits", "36GB"]),
        ({"fits": "16 GiB", "context": 8192}, "fits-16GB", {"fits": "16GB"}, ["--fits", "16GB"]),
        (
            {"fits": "16GB", "context": 32768},
            "fits-16GB-32768",
            {"fits": "16GB", "context": 32768},
            ["--fits", "16GB", "--context", "32768"],
        ),
        ({"aim": "near-identical"}, "near-identical", {"aim": "near-identical"}, ["--aim", "near-identical"]),
        ({"plan": "plans/tiny 4.6bpw.yaml"}, "tiny-4.6bpw", {"plan": "plans/tiny 4.6bpw.yaml"}, None),
        ({"target_bpw": 4.6, "dtype": "float16"}, "4.6bpw-fp16", {"target_bpw": 4.6}, ["--target-bpw", "4.6"]),
    ],
)
def test_a_target_gives_name_options_and_flags(
    keys: dict[str, Any], label: str, options: dict[str, Any], flags: list[str] | None
) -> None:
    variant = Variant.model_validate(keys)
    assert (variant.label, dict(variant.form.options)) == (label, options)
    assert (variant.form.bits, variant.form.group_size, variant.form.mode) == (None, None, "affine")
    assert variant.quantizer is METHOD
    assert (METHOD.learns, METHOD.portable) == (True, True)
    assert flags is None or METHOD.flags(variant.form) == flags
    form = Form(True, mode="affine", options=options)  # as evidence has it
    assert method_of(form) is METHOD
    assert target_of(form) == target_of(variant)


@pytest.mark.parametrize("short", ["4.6bpw", "5bpw", "fits-16GB", "fits-16GB-32768", *AIMS])
def test_a_short_name_is_the_name_that_its_keys_get(short: str) -> None:
    (variant,) = of_flags(variants=short).variants
    assert variant.label == short
    assert variant.quantizer is METHOD


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"target_bpw": 4.6, "bits": 4}, "bits", "take target_bpw or bits, not both"),
        ({"fits": "8GB", "group_size": 64}, "group_size", "take fits or group_size, not both"),
        ({"aim": "balanced", "mixed": "mixed_3_6"}, "mixed", "take aim or mixed, not both"),
        ({"target_bpw": 4.6, "mode": "mxfp4"}, "mode", "a plan is affine, not mxfp4"),
        ({"target_bpw": 4.6, "fits": "8GB"}, "fits", "take target_bpw or fits, not both"),
        ({"aim": "balanced", "plan": "p.yaml"}, "plan", "take aim or plan, not both"),
        ({"context": 4096}, "context", "context is part of fits"),
        ({"target_bpw": 4.6, "context": 4096}, "context", "context is part of fits"),
        ({"target_bpw": 4.6, "dtype": "float32"}, "dtype", "take bfloat16 or float16"),
        ({"target_bpw": 1.5}, "target_bpw", "greater than or equal to 2"),
        ({"target_bpw": 17}, "target_bpw", "less than or equal to 16"),
        ({"fits": "lots"}, "fits", "'lots' is not the memory of a Mac; write it as 16GB"),
        ({"fits": "0GB"}, "fits", "is not the memory of a Mac"),
        ({"fits": "8GB", "context": 0}, "context", "greater than or equal to 1"),
        ({"aim": "best"}, "aim", "'near-identical', 'balanced' or 'smallest'"),
    ],
)
def test_what_does_not_go_together_is_refused_at_its_key(
    tmp_path: Path, keys: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(BadInput) as error:
        of_file(tmp_path, variants=["8bit", keys])
    fault = error.value.faults[0]
    assert (fault.key, fault.place.name) == (f"variants[1].{key}", str(tmp_path / "r.yaml"))
    lines = (tmp_path / "r.yaml").read_text().splitlines()
    assert f'"{key}"' in lines[fault.place.line - 1]
    assert words in fault.message


def test_auto_makes_the_three_aims(tmp_path: Path) -> None:
    for recipe in (of_file(tmp_path, variants="auto"), of_file(tmp_path, variants=["auto"]), of_flags(variants="auto")):
        assert [variant.label for variant in recipe.variants] == list(AIMS)
        assert len(recipe.destinations) == 3
    with pytest.raises(BadInput, match="write variants: auto"):
        of_flags(variants="auto,8bit")
    text = recipe_text({"source": "acme/Tiny", "variants": "auto"})
    (tmp_path / "written.yaml").write_text(text)
    assert [variant.label for variant in recipe_from_file(tmp_path / "written.yaml").variants] == list(AIMS)


def test_bits_in_a_destination_are_those_that_were_asked_for() -> None:
    recipe = of_flags(target_bpw="4.6", to="me/{source}-{bits}bit")
    assert str(recipe.destinations["4.6bpw"]) == "me/Tiny-4.6bit"
    with pytest.raises(BadInput, match=r"balanced has no single bit width for \{bits\}; use \{variant\}"):
        of_flags(aim="balanced", to="me/{source}-{bits}bit")
    assert width_of(Variant.model_validate({"bits": 3})) == "3"


def test_a_pinned_plan_lies_beside_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plans").mkdir()
    write_plan(tmp_path / "plans/tiny.yaml", make_plan())
    recipe = of_file(tmp_path, variants=["4bit", {"plan": "plans/tiny.yaml"}])
    assert recipe.plans == {"tiny": tmp_path / "plans/tiny.yaml"}
    monkeypatch.chdir(tmp_path / "plans")
    assert of_flags(plan="tiny.yaml").plans == {"tiny": tmp_path / "plans/tiny.yaml"}
    assert pin(recipe, "1" * 40)
    assert recipe_from_file(tmp_path / "r.yaml").spec.revision == "1" * 40


def test_a_plan_that_is_not_there_or_no_plan_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the plan file .*none\.yaml does not exist") as error:
        of_file(tmp_path, variants=[{"plan": "none.yaml"}])
    assert error.value.key == "variants[0].plan"
    assert "target_bpw" in error.value.remedy
    (tmp_path / "other.yaml").write_text("schema: mlx-publish/plan/1\n")
    with pytest.raises(BadInput, match="is not a quantization plan"):
        of_file(tmp_path, variants=[{"plan": "other.yaml"}])
    with pytest.raises(BadInput) as error:
        of_flags(plan="none.yaml")
    assert error.value.place.name == "--plan"


def test_a_recipe_is_read_elsewhere_without_its_plan(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("source: acme/Tiny\nvariants: [{plan: none.yaml}]\n")
    assert recipe_from_file(tmp_path / "r.yaml", elsewhere=True).plans["none"] == tmp_path / "none.yaml"


TENSORS = [TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (4096, 4096), 2 * 4096 * 4096)] * 1000


def bits(keys: dict[str, Any], tensors: list[TensorInfo] = TENSORS) -> float:
    variant = Variant.model_validate(keys)
    return 8 * estimate_bytes(tensors, variant, "bfloat16") / sum(tensor.size for tensor in tensors)


def test_the_size_is_foreseen_for_disk_and_memory() -> None:
    assert bits({"target_bpw": 4.6}) == pytest.approx(4.6)
    assert bits({"aim": "near-identical"}) > bits({"aim": "balanced"}) > bits({"aim": "smallest"}) > 4.5
    variant = Variant.model_validate({"fits": "16GB"})
    assert estimate_bytes(TENSORS, variant, "bfloat16") == most_bytes(variant)
    assert bits({"fits": "16GB"}, TENSORS[:10]) == 16
    odd = [TensorInfo("model.x.weight", "BF16", (4, 33), 264)]
    assert bits({"target_bpw": 4.6}, odd) == 16
    assert narrowest_group(variant) == 32
    assert narrowest_group(Variant.model_validate({"bits": 4})) == 64
    assert narrowest_group(Variant.model_validate({"dtype": "float16"})) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"target_bpw": 4.6}, "target_bpw: 5.1"),
        ({"fits": "16GB"}, "fits: 24GB"),
        ({"aim": "smallest"}, "aim: balanced"),
        ({"aim": "near-identical"}, "8bit"),
        ({"plan": "p.yaml"}, "p.yaml"),
    ],
)
def test_the_advice_is_the_next_wider_target(keys: dict[str, Any], words: str) -> None:
    variant = Variant.model_validate(keys)
    assert words in variant.quantizer.better(variant.form)


def test_targets_say_what_they_are() -> None:
    said = {Target(bits_per_weight=4.6).words, Target(memory_gb=16).words, Target(aim="balanced").words}
    assert said == {"4.6 bits per weight", "16 GB at 8,192 tokens", "balanced"}
    assert target_of(Variant.model_validate({"bits": 4})) is None
    assert [method.name for method in METHODS].index("plan") > 0
