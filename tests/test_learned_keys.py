"""Variants that learn, as a recipe asks for them: keys, short names, labels, flags, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlx_publish.errors import BadInput
from mlx_publish.methods import method_of, settings_given, settings_of
from mlx_publish.recipes.read import recipe_from_data, recipe_from_file, recipe_from_flags
from mlx_publish.recipes.variant import Variant, short_variant


def one(keys: object) -> Any:
    return Variant.model_validate(short_variant(keys))


@pytest.mark.parametrize("method", ["awq", "gptq", "dwq"])
def test_a_short_name_and_keys_and_flags_ask_for_the_same(method: str) -> None:
    found = one(f"4bit-{method}")
    assert found == one({"bits": 4, "method": method})
    assert (found.label, found.quantizer.name, found.quantized) == (f"4bit-{method}", method, True)
    assert one(f"2bit-gs32-{method}").label == f"2bit-gs32-{method}"
    flags = method_of(found.form).flags(found.form)
    assert flags == ["--bits", "4", "--group-size", "64", "--method", method]
    given = {"source": "a/b", "bits": "4", "group_size": "64", "method": method}
    assert recipe_from_flags(given).variants[0].form == found.form


@pytest.mark.parametrize("method", ["awq", "gptq", "dwq"])
def test_it_learns_and_is_bound_to_a_machine(method: str) -> None:
    assert one(f"4bit-{method}").quantizer.learns
    assert not one(f"4bit-{method}").quantizer.portable


@pytest.mark.parametrize("keys", [{"method": "rtn"}, {"method": "rtn", "bits": 4}])
def test_rtn_by_name_is_rounding(keys: dict[str, Any]) -> None:
    assert one(keys).form == one("4bit").form
    assert not one(keys).quantizer.learns
    assert one({**keys, "dtype": "bfloat16"}).quantized


def test_settings_stand_below_learning_and_have_defaults() -> None:
    found = one({"bits": 4, "method": "dwq", "learning": {"learning_rate": 2e-5}})
    assert found.form.options == {"method": "dwq", "learning": {"learning_rate": 2e-5}}
    assert settings_of(found.form.options, 4) == {"learning_rate": 2e-5, "batch_size": 4, "passes": 1}
    assert settings_of({"method": "dwq"}, 4)["learning_rate"] == 1e-5
    assert settings_of({"method": "gptq"}, 2) == {"fallback_bits": 2}
    assert settings_of({}, 4) == {}
    assert settings_given(found.form.options) == "{learning_rate: 2e-05}"
    assert settings_given({"learning": {"passes": "`x`", "other": 3}}) == settings_given({}) == ""


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"method": "gptq", "bits": 3}, "bits", "gptq can do 2, 4 or 8 bits, not 3"),
        ({"method": "dwq", "bits": 8}, "bits", "dwq learns scales below 8 bits: take 2, 3, 4, 5 or 6"),
        ({"method": "awq", "mode": "mxfp4"}, "mode", "awq writes affine weights of one width, not mxfp4; remove mode"),
        (
            {"method": "dwq", "mixed": "mixed_3_6"},
            "mixed",
            "dwq writes affine weights of one width, not mixed_3_6; remove mixed",
        ),
        ({"method": "awq", "group_size": 16}, "group_size", "awq takes a group size of 32, 64 or 128"),
        (
            {"method": "awq", "learning": {"passes": 2}},
            "learning",
            "passes is no setting of awq, which has grid",
        ),
        (
            {"method": "gptq", "bits": 8, "learning": {"fallback_bits": 6}},
            "learning",
            "fallback_bits is 6, less than the 8 bits of the variant",
        ),
        (
            {"bits": 4, "learning": {"grid": 8}},
            "learning",
            "rounding learns nothing; add method: awq, dwq or gptq, or remove learning",
        ),
        (
            {"method": "awq", "target_bpw": 4.6},
            "method",
            "awq has one width; take dwq to learn upon a plan, or bits",
        ),
        (
            {"method": "rtn", "target_bpw": 4.6},
            "method",
            "a plan is not written by rtn; take dwq to learn upon it, or remove method",
        ),
        (
            {"target_bpw": 4.6, "learning": {"passes": 2}},
            "learning",
            "a plan learns nothing by itself; add method: dwq, or remove learning",
        ),
        (
            {"method": "dwq", "target_bpw": 4.6, "bits": 4},
            "bits",
            "a plan chooses bits and groups of each module; take target_bpw or bits, not both",
        ),
    ],
)
def test_what_does_not_fit_together_is_named_by_its_key(keys: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        one(keys)
    (error,) = caught.value.errors()
    assert (error["ctx"]["key"], error["msg"]) == (key, words)


def test_an_error_has_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("source: a/b\nvariants:\n  - method: gptq\n    bits: 3\n")
    with pytest.raises(BadInput) as caught:
        recipe_from_file(path)
    assert str(caught.value) == f"{path}:4: variants[0].bits: gptq can do 2, 4 or 8 bits, not 3"


def test_a_setting_of_the_wrong_type_names_its_key(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("source: a/b\nvariants:\n  - method: dwq\n    learning:\n      learning_rate: 5\n")
    with pytest.raises(BadInput, match=r"m\.yaml:5: variants\[0\]\.learning\.learning_rate: "):
        recipe_from_file(path)


def test_the_advice_for_one_that_is_too_far_keeps_the_method_where_it_can() -> None:
    narrow, wide = one("2bit-gptq"), one("6bit-gs32-dwq")
    assert narrow.quantizer.better(narrow.form) == (
        "Use more bits (4bit-gptq) or a smaller group (group_size: 32), or bits by module (target_bpw)."
    )
    assert wide.quantizer.better(wide.form) == "Use more bits (8bit), or bits by module (target_bpw)."


def test_dwq_learns_upon_a_plan() -> None:
    found = one({"method": "dwq", "target_bpw": 4.6, "learning": {"passes": 2}})
    assert (found.quantizer.name, found.label) == ("dwq", "4.6bpw-dwq")
    assert found.form.bits is None
    assert found.form.options == {"target_bpw": 4.6, "method": "dwq", "learning": {"passes": 2}}
    assert method_of(found.form).flags(found.form) == ["--target-bpw", "4.6", "--method", "dwq"]
    assert method_of(found.form).bits_per_weight(found.form, 16) == 4.6
    assert "target_bpw: 5.1" in method_of(found.form).better(found.form)


@pytest.mark.parametrize("short", ["4.6bpw-dwq", "fits-16GB-dwq", "balanced-dwq"])
def test_a_cascade_has_a_short_name_which_is_its_label(short: str) -> None:
    assert (one(short).label, one(short).quantizer.name) == (short, "dwq")


def test_variants_of_one_width_and_several_methods_stand_beside_each_other() -> None:
    names = ["4bit", "4bit-awq", "4bit-gptq", "4bit-dwq"]
    recipe = recipe_from_data({"source": "a/b", "variants": names})
    assert [variant.label for variant in recipe.variants] == names
