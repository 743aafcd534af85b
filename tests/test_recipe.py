"""What may stand in a recipe, and what its defaults are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mlx_publish.methods import METHODS
from mlx_publish.methods.rtn import FIXED_MODES
from mlx_publish.recipes.recipe import Destination, Recipe, RecipeSpec, Variant
from samples import make_recipe

AFFINE_BITS = (2, 3, 4, 5, 6, 8)
MIXED = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
SHORT = f"Short names: {', '.join(name for method in METHODS for name in method.short_names)}, bf16, fp16, fp32"
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def one(value: object) -> Variant:
    return RecipeSpec.model_validate({"source": "a/b", "variants": [value]}).variants[0]


def reason(value: object) -> tuple[str, str]:
    """Key and message of the one error."""
    with pytest.raises(ValidationError) as caught:
        one(value)
    (error,) = caught.value.errors()
    return error.get("ctx", {}).get("key", error["loc"][-1]), error["msg"]


@pytest.mark.parametrize("bits", AFFINE_BITS)
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("mode", [None, "affine"])
@pytest.mark.parametrize("dtype", [None, *DTYPES])
def test_affine_takes_all_bits_groups_and_types(bits: int, group: int, mode: str | None, dtype: str | None) -> None:
    found = one({"bits": bits, "group_size": group, "mode": mode, "dtype": dtype})
    assert (found.quantized, found.form.mode, found.form.bits, found.form.group_size) == (True, "affine", bits, group)
    expected = f"{bits}bit" + ("" if group == 64 else f"-gs{group}") + (f"-{DTYPES[dtype]}" if dtype else "")
    assert found.label == expected


@pytest.mark.parametrize("mode", FIXED_MODES)
@pytest.mark.parametrize("bits", [None, *AFFINE_BITS])
@pytest.mark.parametrize("group", [None, 16, 32, 64, 128])
def test_other_modes_have_one_width_and_one_group(mode: str, bits: int | None, group: int | None) -> None:
    right = FIXED_MODES[mode]
    keys = {"mode": mode, "bits": bits, "group_size": group}
    if bits not in (None, right[0]):
        assert reason(keys) == ("bits", f"{mode} has {right[0]} bits, not {bits}")
    elif group not in (None, right[1]):
        assert reason(keys) == ("group_size", f"{mode} has a group size of {right[1]}, not {group}")
    else:
        found = one(keys)
        assert (found.form.bits, found.form.group_size, found.label, found.quantized) == (*right, mode, True)


@pytest.mark.parametrize("mixed", MIXED)
@pytest.mark.parametrize("mode", [None, "affine", *FIXED_MODES])
@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("group", [None, 32, 64])
def test_mixed_is_affine_and_chooses_its_bits(
    mixed: str, mode: str | None, bits: int | None, group: int | None
) -> None:
    keys = {"mixed": mixed, "mode": mode, "bits": bits, "group_size": group}
    if mode in FIXED_MODES:
        assert reason(keys) == ("mode", f"the mixed recipes of mlx-lm are affine, not {mode}")
    elif bits:
        assert reason(keys) == ("bits", f"{mixed} chooses the bits itself; take bits or mixed, not both")
    else:
        found = one(keys)
        assert (found.form.bits, found.form.group_size, found.quantized) == (None, group or 64, True)
        assert found.label == mixed + ("-gs32" if group == 32 else "")


@pytest.mark.parametrize(("dtype", "short"), DTYPES.items())
def test_a_type_alone_is_unquantized(dtype: str, short: str) -> None:
    found = one({"dtype": dtype})
    assert (found.quantized, found.form.bits, found.form.group_size, found.label) == (False, None, None, short)
    assert one({"dtype": dtype, "mode": "affine"}).label == f"4bit-{short}"
    assert one({"dtype": dtype, "mixed": "mixed_3_6"}).label == f"mixed_3_6-{short}"
    assert one({"dtype": dtype, "mode": "mxfp4"}).label == f"mxfp4-{short}"


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"group_size": 16}, "group_size", "affine takes a group size of 32, 64 or 128"),
        ({"group_size": 16, "mixed": "mixed_3_6"}, "group_size", "affine takes a group size of 32, 64 or 128"),
        (
            {"dtype": "float16", "group_size": 32},
            "group_size",
            "dtype alone leaves the model unquantized; add bits, mode or mixed",
        ),
        ({"bits": 7}, "bits", "Input should be 2, 3, 4, 5, 6 or 8"),
        ({"bits": "4"}, "bits", "Input should be 2, 3, 4, 5, 6 or 8"),
        ({"bits": True}, "bits", "Input should be 2, 3, 4, 5, 6 or 8"),
        ({"group_size": 48}, "group_size", "Input should be 16, 32, 64 or 128"),
        ({"mode": "fp4"}, "mode", "Input should be 'affine', 'mxfp4', 'mxfp8' or 'nvfp4'"),
        ({"mixed": "mixed_1_2"}, "mixed", "Input should be 'mixed_2_6', 'mixed_3_4', 'mixed_3_6' or 'mixed_4_6'"),
        ({"dtype": "bf16"}, "dtype", "Input should be 'bfloat16', 'float16' or 'float32'"),
        ({"q_bits": 4}, "q_bits", "Extra inputs are not permitted"),
        ("four", 0, f"no variant is called 'four'. {SHORT}"),
        ("9bit", "bits", "Input should be 2, 3, 4, 5, 6 or 8"),
        ("44bit", 0, f"no variant is called '44bit'; did you mean 4bit? {SHORT}"),
    ],
)
def test_wrong_variants_name_their_key(keys: object, key: str, words: str) -> None:
    assert reason(keys) == (key, words)


@pytest.mark.parametrize(
    ("short", "same"),
    [
        *((f"{bits}bit", {"bits": bits}) for bits in AFFINE_BITS),
        *((mode, {"mode": mode}) for mode in FIXED_MODES),
        *((mixed, {"mixed": mixed}) for mixed in MIXED),
        *((short, {"dtype": dtype}) for dtype, short in DTYPES.items()),
        *((dtype, {"dtype": dtype}) for dtype in DTYPES),
    ],
)
def test_short_names_stand_for_a_mapping(short: str, same: dict[str, Any]) -> None:
    assert one(short) == one(same)
    assert one(short).label == DTYPES.get(short, short)


def test_the_default_is_one_variant_of_4_bits_in_groups_of_64() -> None:
    (found,) = RecipeSpec.model_validate({"source": "a/b"}).variants
    assert (found.label, found.form.bits, found.form.group_size, found.form.mode) == ("4bit", 4, 64, "affine")


def test_a_name_of_ones_own_wins() -> None:
    assert one({"name": "small", "bits": 4}).label == "small"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "-x", "../x", "x" * 65, "a\nb", "ä"])
def test_names_are_safe_as_paths_and_tags(name: str) -> None:
    for keys in ({"variants": [{"name": name}]}, {"name": name.ljust(97, "x") if len(name) > 64 else name}):
        with pytest.raises(ValidationError):
            RecipeSpec.model_validate({"source": "a/b", **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"license": "other"},
        {"license": "other", "license_name": "X"},
        {"license": "other", "license_link": "https://example.org"},
        {"variants": []},
        {"source": ""},
        {"revision": ""},
        {"revision": "-x"},
        {"revision": "a b"},
        {"base_model": "justaname"},
        {"base_model": "a/b/c"},
        {"base_model": "a/" + "b" * 96},
        {"accept": [{"check": "x", "reason": "short"}]},
        {"accept": [{"check": "", "reason": "long enough"}]},
        {"private": "yes"},
        {"private": 1},
        {"language": "en"},
        {"card": {"note": "x"}},
        {"smoke": {"max_tokens": 0}},
        {"smoke": {"max_tokens": 4097}},
        {"fidelity": {"tokens": 31}},
        {"fidelity": {"max_mean_kld": 0}},
        {"fidelity": {"min_same_first_choice": 1.1}},
        {"fidelity": {"max_perplexity_ratio": 0}},
        {"fidelity": {"reference": "torch"}},
        {"benchmark": {"trials": 1}},
        {"benchmark": {"prompt_tokens": []}},
        {"benchmark": {"prompt_tokens": 7}},
        {"benchmark": {"prompt_tokens": [128, 7]}},
        {"benchmark": {"prompt_tokens": [8] * 9}},
        {"benchmark": {"prompt_tokens": True}},
        {"benchmark": {"prompt_tokens": "128"}},
        {"benchmark": {"generation_tokens": 3}},
        {"benchmark": {"seconds": 4}},
        {"benchmark": {"max_spread": 0}},
        {"benchmark": {"max_drift": 1.1}},
    ],
)
def test_wrong_recipes(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RecipeSpec.model_validate({"source": "a/b", **keys})


def test_what_is_measured_where_nothing_is_said() -> None:
    found = RecipeSpec.model_validate({"source": "a/b"})
    fidelity, speed = found.fidelity, found.benchmark
    assert (fidelity.tokens, fidelity.reference) == (2048, "none")
    assert (fidelity.max_mean_kld, fidelity.min_same_first_choice, fidelity.max_perplexity_ratio) == (1.0, 0.4, 3.0)
    assert (speed.prompt_tokens, speed.generation_tokens, speed.trials) == ([128, 512, 2048], 128, 5)
    assert (speed.seconds, speed.max_spread, speed.max_drift) == (180, 0.15, 0.05)


@pytest.mark.parametrize(("given", "lengths"), [(8, [8]), ([8], [8]), ([512, 128], [512, 128]), ([8] * 8, [8] * 8)])
def test_one_length_of_a_prompt_may_stand_alone(given: object, lengths: list[int]) -> None:
    found = RecipeSpec.model_validate({"source": "a/b", "benchmark": {"prompt_tokens": given}})
    assert found.benchmark.prompt_tokens == lengths
    assert (
        make_recipe(benchmark={"prompt_tokens": given}).digest_of("benchmark")["benchmark"]["prompt_tokens"] == lengths
    )


def test_other_licences_need_name_and_link() -> None:
    spec = RecipeSpec.model_validate(
        {"source": "a/b", "license": "other", "license_name": "X", "license_link": "https://example.org"}
    )
    assert spec.license == "other"


def test_nothing_changes_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_recipe().spec.source = "x/y"  # type: ignore[misc]


def test_what_a_recipe_tells_of_itself() -> None:
    found = make_recipe(accept=[{"check": "licence", "reason": "the author wrote so"}])
    assert (found.source_name, found.base_model) == ("Tiny", "acme/Tiny")
    assert found.accepted("licence") == "the author wrote so"
    assert found.accepted("stops") is None
    assert found.digest_of("source", "private") == {"source": "acme/Tiny", "private": False}
    assert make_recipe(base_model="up/stream").base_model == "up/stream"


def test_lines_are_named_where_they_are_known_and_do_not_make_recipes_differ() -> None:
    plain = make_recipe()
    found = Recipe(plain.spec, "tiny", None, plain.destinations, "r.yaml", {"source": 3})
    assert (str(found.place_of("source")), str(found.place_of("to"))) == ("r.yaml:3", "r.yaml")
    assert found == Recipe(plain.spec, "tiny", None, plain.destinations, "r.yaml", {})


def test_destinations_have_a_name_and_a_text(tmp_path: Any) -> None:
    repo, folder = Destination(repo="acme/Tiny-4bit"), Destination(folder=tmp_path / "out")
    assert (repo.name, str(repo)) == ("Tiny-4bit", "acme/Tiny-4bit")
    assert (folder.name, str(folder)) == ("out", f"folder:{tmp_path / 'out'}")
