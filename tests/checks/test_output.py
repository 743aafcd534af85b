"""What convert says of what it built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.output import CONVERT, Built
from mlx_publish.evidence.conversion import KeptLayers
from mlx_publish.evidence.report import Finding
from mlx_publish.model.kept import sentence
from mlx_publish.model.weights import TensorInfo, parse_header
from mlx_publish.recipes.recipe import Variant
from samples import quantized_layer, weight_file

SOURCE = (TensorInfo("layer.weight", "BF16", (64, 256), 2 * 64 * 256),)
AFFINE = {"bits": 4, "group_size": 64, "mode": "affine"}
SIDE = {"tokenizer.json": "a", "tokenizer_config.json": "b", "LICENSE": "c"}
SEES = {"preprocessor_config.json": "e", "video_preprocessor_config.json": "f"}


def header(bits: int = 4, group: int = 64, **more: str) -> tuple[TensorInfo, ...]:
    return parse_header(weight_file(quantized_layer(64, 256, bits, group, **more)))


GOOD = Built(
    variant=Variant(),
    source_tensors=SOURCE,
    tensors={"model.safetensors": header()},
    index={"weight_map": {tensor.name: "model.safetensors" for tensor in header()}},
    config={"model_type": "llama", "torch_dtype": "bfloat16", "quantization": AFFINE},
    source_sha256=SIDE,
    sha256={**SIDE, "config.json": "d"},
)


def find(check: str, built: Built) -> Finding:
    (finding,) = (finding for finding in run_checks(CONVERT, built) if finding.id == check)
    return finding


def built_as(variant: Variant, tensors: tuple[TensorInfo, ...], **block: Any) -> Built:
    config = {"quantization": block} if block else {}
    return replace(GOOD, variant=variant, tensors={"model.safetensors": tensors}, index=None, config=config)


def test_a_good_conversion_passes_every_check() -> None:
    findings = run_checks(CONVERT, GOOD)
    assert [(finding.id, finding.status) for finding in findings] == [
        (check, "pass")
        for check in (
            "bits-per-weight",
            "index-agrees",
            "quantization-told",
            "precision",
            "tokenizer-same",
            "legal-files",
        )
    ]
    assert findings[0].details == {"bits_per_weight": 4.5}
    assert findings[2].message == "group_size 64, mode affine, bits 4, in config.json and in every tensor"
    assert "LICENSE" in findings[5].message


@pytest.mark.parametrize(
    ("variant", "tensors", "block"),
    [
        (Variant(bits=8), header(8), AFFINE | {"bits": 8}),
        (Variant(bits=4, group_size=32), header(4, 32), AFFINE | {"group_size": 32}),
        (Variant(mode="mxfp4"), header(4, 32, mode="mxfp4"), {"bits": 4, "group_size": 32, "mode": "mxfp4"}),
        (Variant(bits=4, dtype="float32"), header(4, 64, dtype="F32"), AFFINE),
        (Variant(bits=4, dtype="float32", group_size=32), header(4, 32, dtype="F32"), AFFINE | {"group_size": 32}),
        (Variant(mixed="mixed_3_6"), header(3), {"group_size": 64, "bits": 3, "mode": "affine"}),
    ],
)
def test_every_kind_of_variant_has_the_bits_of_its_name(
    variant: Variant, tensors: tuple[TensorInfo, ...], block: dict[str, Any]
) -> None:
    built = built_as(variant, tensors, **block)
    assert find("bits-per-weight", built).status == "pass"
    assert find("quantization-told", built).status == "pass"


def test_the_declared_type_decides_how_wide_scales_are() -> None:
    wide = tuple(replace(tensor, dtype="F32", nbytes=2 * tensor.nbytes) for tensor in SOURCE)
    built = replace(GOOD, source_tensors=wide, config={**GOOD.config, "torch_dtype": "bfloat16"})
    assert find("bits-per-weight", built).status == "pass"


def test_an_unquantized_variant() -> None:
    built = built_as(Variant(dtype="bfloat16"), SOURCE)
    assert {find("bits-per-weight", built).status, find("quantization-told", built).status} == {"pass"}
    assert find("bits-per-weight", built).details == {"bits_per_weight": 16.0}


def layers(widths: dict[str, int]) -> tuple[TensorInfo, ...]:
    """Layers of one shape with 4, 8 or 16 bits."""
    tensors: list[TensorInfo] = []
    for name, bits in widths.items():
        plain = (TensorInfo("layer.weight", "BF16", (64, 256), 2 * 64 * 256),) if bits == 16 else header(bits)
        tensors += [replace(tensor, name=tensor.name.replace("layer", name)) for tensor in plain]
    return tuple(tensors)


WIDER = {"layers.0.mlp.down_proj": {"bits": 8, "group_size": 64}}


def test_what_the_class_widens_is_told_and_the_others_have_the_bits_of_the_name() -> None:
    tensors = layers({"layers.0.mlp.up_proj": 4, "layers.0.mlp.down_proj": 8, "layers.0.router": 16})
    built = built_as(Variant(), tensors, **AFFINE, **WIDER)
    kept = KeptLayers({"layers.0.mlp.down_proj": 8}, ("layers.0.router",))
    finding = find("bits-per-weight", replace(built, kept=kept))
    assert finding.status == "pass"
    assert finding.details == {"bits_per_weight": round((4.5 + 8.5 + 16) / 3, 4)}
    assert finding.message.endswith("its MLX class keeps mlp.down_proj at 8 bits and leaves router unquantized")


def test_layers_that_groups_missed_are_refused_beside_those_that_the_class_widens() -> None:
    tensors = layers({"layers.0.mlp.up_proj": 16, "layers.0.mlp.down_proj": 8})
    built = built_as(Variant(), tensors, **AFFINE, **WIDER)
    finding = find("bits-per-weight", replace(built, kept=KeptLayers({"layers.0.mlp.down_proj": 8})))
    assert finding.status == "fail"
    assert "16.000 bits per weight in the other layers, far from the 4 in the name" in finding.message


def test_a_few_missed_layers_are_refused_too() -> None:
    tensors = layers({"a": 4, "b": 4, "c": 4, "d": 4, "e": 4, "missed": 16, "layers.0.mlp.down_proj": 8})
    built = built_as(Variant(), tensors, **AFFINE, **WIDER)
    finding = find("bits-per-weight", replace(built, kept=KeptLayers({"layers.0.mlp.down_proj": 8})))
    assert finding.status == "fail"


def test_many_kinds_of_layers_are_counted() -> None:
    kept = KeptLayers({f"model.layers.{n}.part{n}": 8 for n in range(9)})
    assert sentence(kept) == "keeps part0, part1, part2, part3, part4, part5 and 3 more at 8 bits"


def test_layers_that_are_not_rounded_by_importance_are_named() -> None:
    kept = KeptLayers(nearest=("model.layers.0.mlp.gate", "model.layers.1.mlp.gate"))
    assert sentence(kept) == "rounds mlp.gate by its own scales"


FAILING: list[tuple[str, Built, str, str]] = [
    (
        "bits-per-weight",
        built_as(Variant(), SOURCE),
        "16.000 bits per weight, far from the 4 in the name",
        "group size",
    ),
    (
        "bits-per-weight",
        built_as(Variant(bits=8), header(4), **AFFINE),
        "4.500 bits per weight, but the shapes give 8.5",
        "quantization block",
    ),
    (
        "bits-per-weight",
        built_as(Variant(dtype="float32"), SOURCE),
        "16.000 bits per weight, but the shapes give 32",
        "",
    ),
    ("bits-per-weight", replace(GOOD, tensors={}), "0.000 bits per weight", ""),
    (
        "index-agrees",
        replace(GOOD, index={"weight_map": {"layer.weight": "model.safetensors"}}),
        "disagree about layer.biases",
        "--force",
    ),
    (
        "index-agrees",
        replace(GOOD, index={"weight_map": {t.name: "other.safetensors" for t in header()}}),
        "disagree about layer.biases",
        "--force",
    ),
    ("index-agrees", replace(GOOD, tensors={}, index=None), "contains no weights", "--force"),
    (
        "quantization-told",
        replace(GOOD, config={"quantization": AFFINE | {"bits": 8, "group_size": 32}}),
        "differs in group_size, bits",
        "--force",
    ),
    ("quantization-told", replace(GOOD, config={}), "has no quantization block", "--force"),
    (
        "quantization-told",
        replace(GOOD, config={"quantization": AFFINE | {"mode": "mxfp4"}}),
        "differs in mode",
        "--force",
    ),
    (
        "quantization-told",
        replace(GOOD, variant=Variant(dtype="bfloat16")),
        "something is quantized that was not requested",
        "--force",
    ),
    ("tokenizer-same", replace(GOOD, sha256=SIDE | {"tokenizer.json": "x"}), "source's: tokenizer.json", "--force"),
    ("tokenizer-same", replace(GOOD, sha256={}), "tokenizer.json, tokenizer_config.json", "--force"),
    (
        "tokenizer-same",
        replace(GOOD, source_sha256=SIDE | SEES, sha256=SIDE | SEES | {"preprocessor_config.json": "x"}),
        "source's: preprocessor_config.json",
        "--force",
    ),
    (
        "tokenizer-same",
        replace(GOOD, source_sha256=SIDE | SEES, sha256=SIDE),
        "preprocessor_config.json, video_preprocessor_config.json",
        "--force",
    ),
    ("legal-files", replace(GOOD, sha256={}), "not carried over: LICENSE", "--force"),
    ("legal-files", replace(GOOD, sha256=SIDE | {"LICENSE": "x"}), "not carried over: LICENSE", "--force"),
]


@pytest.mark.parametrize(("check", "built", "message", "remedy"), FAILING)
def test_failures_name_cause_and_next_step(check: str, built: Built, message: str, remedy: str) -> None:
    finding = find(check, built)
    assert (finding.id, finding.status) == (check, "fail")
    assert message in finding.message
    assert remedy in finding.remedy
    assert finding.remedy


def test_layers_that_no_group_fits_are_no_excuse() -> None:
    odd = (TensorInfo("layer.weight", "BF16", (64, 144), 2 * 64 * 144),)
    finding = find("bits-per-weight", replace(built_as(Variant(), odd, **AFFINE), source_tensors=odd))
    assert (finding.status, finding.details) == ("fail", {"bits_per_weight": 16.0})
    assert "far from the 4 in the name" in finding.message
    assert "group size" in finding.remedy


def test_a_source_without_a_licence_file_is_told() -> None:
    finding = find("legal-files", replace(GOOD, source_sha256={"tokenizer.json": "a"}))
    assert (finding.status, "no licence file" in finding.message) == ("warn", True)
