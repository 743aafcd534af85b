"""A planned variant hits its target from below, or says by how much it does not; its name tells its bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.output import CONVERT, Built
from mlx_publish.checks.planned import PLANNED, PlannedFacts
from mlx_publish.evidence.report import Finding
from mlx_publish.machine.macs import HEADROOM, usable
from mlx_publish.methods.plan import Target
from mlx_publish.model.weights import TensorInfo, parse_header
from mlx_publish.recipes.plan import Others, Plan, PlannedModule, PlannedSource, digest_of_choice
from mlx_publish.recipes.recipe import Variant
from samples import quantized_layer, weight_file

WEIGHTS = 1 << 30


def plan(bits: int = 4, **changes: Any) -> Plan:
    group = 0 if bits == 16 else 64
    module = PlannedModule.model_validate(
        {"bits": bits, "group_size": group, "kld": 0.02, "kind": "mlp", "weights": WEIGHTS}
    )
    modules = {"model.layers.0.mlp.up_proj": module}
    keys: dict[str, Any] = {
        "source": PlannedSource(name="Tiny", identity="a" * 40),
        "target": {"target_bpw": 4.5},
        "bits_per_weight": 4.5,
        "predicted_kld": 0.02,
        "chosen": digest_of_choice(modules),
        "others": Others(weights=0, bytes=0),
        "modules": modules,
    }
    return Plan.model_validate(keys | changes)


def find(check: str, facts: PlannedFacts) -> Finding:
    (finding,) = (finding for finding in run_checks(PLANNED, facts) if finding.id == check)
    return finding


def facts(bits: float, target: Target, of: Plan | None = None, **more: Any) -> PlannedFacts:
    of = of or plan()
    return PlannedFacts(target, of, "a" * 40, bits, of.weight_bytes, **more)


BITS = Target(bits_per_weight=4.51)


def test_a_target_is_hit_from_below() -> None:
    found = find("target-hit", facts(4.5, BITS))
    assert (found.status, found.message) == ("pass", "4.500 bits per weight; 4.51 were asked for")


def test_above_the_target_is_refused_with_both_numbers() -> None:
    found = find("target-hit", facts(4.52, BITS))
    assert found.status == "fail"
    assert "4.520" in found.message
    assert "4.51" in found.message


def test_far_below_is_refused_where_a_step_would_have_fitted() -> None:
    far = Target(bits_per_weight=5.0)
    budget = 5 * WEIGHTS // 8
    found = find("target-hit", facts(4.5, far, budget_bytes=budget, step_bytes=1000))
    assert found.status == "fail"
    assert "more than 0.5% below the target (5 were asked for)" in found.message
    found = find("target-hit", facts(4.5, far, budget_bytes=budget, step_bytes=budget))
    assert found.status == "warn"
    assert "the next step of any module is 671 MB" in found.message


def test_a_model_too_small_for_the_budget_is_warned_about() -> None:
    found = find("target-hit", facts(8.5, Target(memory_gb=512), plan(8), budget_bytes=1 << 60))
    assert found.status == "warn"
    assert "the source itself is smaller, so every module has the widest rung" in found.message


@pytest.mark.parametrize(("share", "status"), [(0.99, "pass"), (1.01, "fail"), (0.95, "fail")])
def test_what_a_mac_lets_its_gpu_use_is_hit_within_three_percent(share: float, status: str) -> None:
    of = plan()
    cache = int(usable(8 << 30) * share / HEADROOM) - of.weight_bytes
    more = {"cache_bytes": cache, "budget_bytes": (1 << 31) - 1, "step_bytes": 1}
    found = find("target-hit", facts(4.5, Target(memory_gb=8), of, **more))
    assert found.status == status
    assert "of the 5.7 GB that a Mac with 8 GB lets its GPU use" in found.message


def test_weights_that_do_not_follow_the_plan_are_refused() -> None:
    found = find("target-hit", replace(facts(4.5, BITS), weight_bytes=plan().weight_bytes * 2))
    assert found.status == "fail"
    assert "but the plan gives" in found.message


def test_an_aim_says_what_was_predicted_and_who_measures() -> None:
    found = find("target-hit", facts(4.5, Target(aim="balanced")))
    assert found.status == "pass"
    assert "mean KLD predicted: 0.0200; fidelity measures it" in found.message
    found = find("target-hit", facts(4.5, Target(file="p.yaml"), plan(chosen="0" * 16)))
    assert "edited by hand, so nothing is predicted" in found.message


def test_a_plan_of_another_revision_is_a_warning() -> None:
    assert find("plan-source", facts(4.5, BITS)).status == "pass"
    found = find("plan-source", replace(facts(4.5, BITS), identity="b" * 40))
    assert found.status == "warn"
    assert "made from Tiny at aaaaaaaaaaaa, and this is bbbbbbbbbbbb" in found.message


TENSORS = parse_header(weight_file(quantized_layer(64, 256, 4, 64)))


def built(*names: str) -> Finding:
    own = Built(
        variant=Variant(target_bpw=4.6),
        source_tensors=(TensorInfo("layer.weight", "BF16", (64, 256), 2 * 64 * 256),),
        tensors={"model.safetensors": TENSORS},
        index=None,
        config={"torch_dtype": "bfloat16", "quantization": {"bits": 4, "group_size": 64, "mode": "affine"}},
        source_sha256={},
        sha256={},
        names=names,
    )
    (finding,) = (finding for finding in run_checks(CONVERT, own) if finding.id == "bits-per-weight")
    return finding


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Tiny-4.5bpw", "pass"), ("Tiny-MLX-balanced", "pass"), ("Tiny-4.5bit", "pass"), ("Tiny-4bit", "warn"),
        ("Tiny-8bit", "fail"), ("Tiny-5bpw", "fail"), ("Tiny-2-bit", "fail"), ("Tiny-1.5B", "pass"),
    ],
)  # fmt: skip
def test_a_name_that_tells_other_bits_than_the_plan_has_is_not_silent(name: str, status: str) -> None:
    found = built("4.5bpw", name)
    assert found.status == status, found.message
    assert "4.500 bits per weight" in found.message
    if status != "pass":
        assert name in found.message
