"""Weights that differ from those of another conversion: the limits of what is called rounding, and what to do."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.published import PUBLISHED, Facts
from mlx_publish.checks.remade import judge
from mlx_publish.commands._differences import print_differences
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.weight_differences import TensorDifference, WeightDifferences
from mlx_publish.text.console import Console
from samples import make_evidence

CODES = TensorDifference("a.weight", "codes", "4 bits", 100_000, 300, 1, 1.0)
ROUNDED = WeightDifferences(tensors=3, large=1, values=100_000, changed=[CODES])
HERE = {"device": "cpu", "backend": "cpu", "architecture": "arm64", "system": "Darwin", "mlx": "0.32.4"}

LIMITS: dict[str, tuple[dict[str, Any], str]] = {
    "as measured": ({}, "rounding"),
    "all that rounding changes of a model": ({"differ": 1000}, "rounding"),
    "more than that": ({"differ": 1001}, "other"),
    "one far value": ({"far": 1}, "other"),
    "few from a code that a tie would not round to": ({"unlikely": 30}, "rounding"),
    "many of them": ({"unlikely": 31}, "other"),
    "signs of zeros alone": ({"differ": 0, "largest": 0, "zeros": 50_000}, "rounding"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_rounding_has_limits(name: str) -> None:
    change, kind = LIMITS[name]
    assert judge(replace(ROUNDED, changed=[replace(CODES, **change)])).kind == kind


@pytest.mark.parametrize(("dtype", "kind"), [("BF16", "other"), ("F32", "rounding")])
def test_only_scales_in_float32_may_all_differ_in_their_last_digit(dtype: str, kind: str) -> None:
    scales = TensorDifference("a.scales", "scales", dtype, 1600, 1500, 1, 1.0)
    assert judge(replace(ROUNDED, changed=[CODES, scales])).kind == kind


def test_rounding_in_one_tensor_of_many_is_none() -> None:
    assert judge(replace(ROUNDED, large=2)).kind == "rounding"
    judged = judge(replace(ROUNDED, large=3))
    assert judged.kind == "other"
    assert judged.why == "only 1 of 3 large tensors differ, and another device rounds in all of them"


def again(
    weights: WeightDifferences | None, *, mlx: str = "0.32.4", made_on: bool = False, beside: str = ""
) -> Finding:
    """The finding about another conversion in which the weights differ, and the file `beside` them."""
    listed = {"model.safetensors": "a" * 64, "config.json": "b" * 64}
    data: dict[str, Any] = make_evidence()
    files = [{"path": path, "size": 1, "sha256": digest} for path, digest in listed.items()]
    data["model"] |= {"files": files} | ({"made_on": HERE} if made_on else {})
    made = {**listed, "model.safetensors": "c" * 64} | ({beside: "d" * 64} if beside else {})
    facts = Facts(
        evidence=Evidence.of(data),
        sha256=listed,
        sizes={},
        tensors=(),
        config={},
        texts={},
        rendered="",
        made=made,
        weights=weights,
        tools={"mlx": mlx},
    )
    [finding] = run_checks([check for check in PUBLISHED if check.id == "made-again"], facts)
    return finding


LAYOUT = WeightDifferences(tensors=3, large=1)
OTHER = replace(LAYOUT, missing=["a.weight"])


@pytest.mark.parametrize(
    ("weights", "words", "remedy"),
    [
        (ROUNDED, "rounding of another device: 300 of 100,000 values differ (0.30 %)", "Do not take it for verified"),
        (LAYOUT, "the same tensors in another layout: all 3 tensors", "The weights are the same, but their file"),
        (OTHER, "other weights: a.weight: missing", "Do not use it"),
        (None, "1 of 2 files differ: model.safetensors", "The source does not convert to these bytes."),
    ],
)
def test_each_kind_fails_in_words_of_its_own_and_with_its_next_step(
    weights: WeightDifferences | None, words: str, remedy: str
) -> None:
    finding = again(weights)
    assert finding.status == "fail"
    assert words in finding.message
    assert finding.remedy.startswith(remedy)
    # Other versions are the first thing to try, whatever differs.
    assert again(weights, mlx="0.33.0").remedy == "Try again after: pip install mlx==0.32.4"


def test_rounding_is_not_excused_where_the_evidence_names_the_cpu_and_these_versions() -> None:
    assert again(ROUNDED, made_on=True).details["weights"]["kind"] == "other"
    assert again(ROUNDED, made_on=True, mlx="0.33.0").details["weights"]["kind"] == "rounding"
    assert again(ROUNDED, beside="config.json").remedy.startswith("Do not use it")


def test_the_table_has_the_ten_most_different_tensors_and_counts_the_rest() -> None:
    changed = [replace(CODES, name=f"layer{number}.weight", differ=number) for number in range(1, 30)]
    found = replace(
        ROUNDED, changed=changed, missing=["gone.scales"], reshaped={"b.weight": "U8 [1] instead of U8 [2]"}
    )
    out = io.StringIO()
    print_differences(Console(out), found)
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert [row[0] for row in rows[:4]] == ["tensor", "gone.scales", "b.weight", "layer29.weight"]
    assert len(rows) == 1 + 10 + 1
    assert rows[-1][:3] == ["and", "21", "more;"]
    print_differences(Console(empty := io.StringIO()), LAYOUT)
    assert empty.getvalue() == ""
