"""What is said of a comparison, from numbers alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.reference import MAX_NMSE, NOT_ASKED, REFERENCE, ROUNDING, ReferenceFacts
from mlx_publish.evidence.proof import BeyondContext, Disputed, ReferenceProof
from mlx_publish.evidence.report import Finding

PROOF = ReferenceProof(
    positions=256,
    nmse=4e-13,
    worst_position=4e-13,
    same_first_choice=1.0,
    problem="",
    class_="X",
    beyond_context=None,
    disputed=None,
    not_covered=[],
    against="transformers",
    versions={"torch": "2.13.0", "transformers": "5.24.0"},
    computed_in="float32 on the CPU, both",
    sequences=4,
    tokens_sha256="",
)


def judged(**found: Any) -> Finding:
    return run_checks(REFERENCE, ReferenceFacts(replace(PROOF, **found)))[0]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, "pass"),
        ({"nmse": ROUNDING}, "pass"),
        ({"nmse": 1.1 * ROUNDING}, "warn"),
        ({"nmse": MAX_NMSE}, "warn"),
        ({"nmse": 1.1 * MAX_NMSE}, "fail"),
        ({"same_first_choice": 254 / 256}, "pass"),
        ({"same_first_choice": 253 / 256}, "fail"),
        ({"nmse": None, "same_first_choice": None, "problem": "logits that are not numbers"}, "fail"),
    ],
)
def test_the_limits(found: dict[str, Any], status: str) -> None:
    finding = judged(**found)
    assert finding.status == status
    assert bool(finding.remedy) == (status != "pass")


def test_the_numbers_and_the_reference_are_named() -> None:
    assert judged().message == (
        "the unquantized MLX model matches transformers 5.24.0: normalised squared error 4.0e-13, "
        "same first choice at 100.0 % of positions"
    )
    found = judged(nmse=0.2, same_first_choice=0.5).message
    assert "differs from transformers 5.24.0: normalised squared error 2.0e-01" in found
    assert "limit 1e-05" in found


def test_a_problem_is_named() -> None:
    problem = "logits of 12 tokens in MLX and of 13 in the reference"
    assert problem in judged(nmse=None, problem=problem).message


@pytest.mark.parametrize(
    ("within", "beyond", "words"),
    [
        (0.1, 1e-13, "it computes at every length what is meant for texts longer than 4096 positions"),
        (0.1, 0.1, "limit 1e-05"),
        (0.1, None, "limit 1e-05"),
        (1e-13, 0.1, "not covered: rope beyond 4096 positions"),
        (1e-13, 1e-13, "positions"),
    ],
)
def test_the_two_sets_of_factors_of_longrope(within: float, beyond: float | None, words: str) -> None:
    found = judged(nmse=within, beyond_context=BeyondContext(4096, 256, beyond, None, None, ""))
    assert found.message.endswith(words)


@pytest.mark.parametrize(("nmse", "status"), [(1e-13, "warn"), (0.1, "fail"), (None, "fail")])
def test_a_known_dispute_is_told_where_it_is_all_that_differs(nmse: float | None, status: str) -> None:
    disputed = Disputed("time_step_min", 0.001, 0.0, 256, nmse, nmse, 1.0, "")
    found = judged(nmse=6e-3, same_first_choice=0.9, disputed=disputed)
    assert found.status == status
    told = "except for time_step_min, which both read differently: normalised squared error 6.0e-03"
    assert (told in found.message) is (status == "warn")


def test_what_is_not_covered_is_listed() -> None:
    assert judged(not_covered=["one thing", "another"]).message.endswith("not covered: one thing, another")


@pytest.mark.parametrize("facts", [NOT_ASKED, ReferenceFacts(None, "the recipe does not request a reference check")])
def test_without_a_comparison_the_reason_is_told(facts: ReferenceFacts) -> None:
    finding = run_checks(REFERENCE, facts)[0]
    assert finding.status == "skip"
    assert finding.message == "not compared with transformers: the recipe does not request a reference check"


def test_a_known_deviation_can_be_accepted() -> None:
    facts = ReferenceFacts(replace(PROOF, nmse=None, problem="x", versions={}))
    assert run_checks(REFERENCE, facts, lambda _: "known since the first release")[0].status == "warn"
