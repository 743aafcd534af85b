"""What is said of a drafter that was tried, and of one that was not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.drafter import PROVEN, WRITTEN, DrafterFacts
from mlx_publish.evidence.drafter import Difference, DrafterMade, DrafterProof, DrafterUnproven
from mlx_publish.evidence.report import Finding

PROOF = DrafterProof(
    prompts=6,
    tokens=200,
    rounds=100,
    drafted=200,
    accepted=100,
    block_size=3,
    computed_in="float32",
    device="cpu",
    differences=[],
    seconds=1.0,
    plain_seconds=2.0,
    versions={"mlx-vlm": "0.7.10"},
)
MADE = DrafterMade(tensors=15, weight_bytes=1000, parameters=500, quantized=0, sha256={}, different=[], twice=[])


def proven(**changes: Any) -> Finding:
    [finding] = run_checks(PROVEN, replace(PROOF, **changes))
    return finding


def test_a_drafter_that_changes_nothing_passes_with_its_rate() -> None:
    finding = proven()
    assert finding.status == "pass"
    assert "100 of 200 drafted tokens accepted (50%), 2.00 tokens per round" in finding.message


@pytest.mark.parametrize(
    ("gap", "computed_in", "routed", "status"),
    [
        (0.0004, "float32", False, "pass"),
        (0.003, "float32", False, "fail"),
        (0.02, "float32", True, "pass"),
        (0.12, "float32", True, "fail"),
        (0.2, "as stored", False, "pass"),
        (0.3, "as stored", True, "fail"),
    ],
)
def test_another_text_is_a_fault_unless_rounding_decides(
    gap: float, computed_in: str, routed: bool, status: str
) -> None:
    finding = proven(differences=[Difference(2, 7, gap)], computed_in=computed_in, routed=routed)
    assert finding.status == status
    assert ("at token 8" in finding.message) == (status == "fail")


def test_most_answers_are_not_turned_by_ties() -> None:
    near = [Difference(number, 7, 0.001) for number in range(4)]
    assert proven(differences=near[:3]).status == "pass"
    assert proven(differences=near).status == "fail"


def test_a_drafter_of_which_nothing_is_accepted_is_a_warning() -> None:
    finding = proven(accepted=0)
    assert finding.status == "warn"
    assert "slow generation down" in finding.message


def test_one_that_generated_nothing_fails() -> None:
    assert proven(rounds=0, tokens=0).status == "fail"


def test_what_could_not_be_tried_fails_with_the_next_step_and_may_be_accepted() -> None:
    for missing, step in ((True, "bootstrap.sh -s vision"), (False, "Leave out mtp")):
        [finding] = run_checks(PROVEN, DrafterUnproven("why", missing=missing))
        assert finding.status == "fail"
        assert step in finding.remedy
        [accepted] = run_checks(PROVEN, DrafterUnproven("why", missing=missing), lambda _: "proven elsewhere")
        assert accepted.status == "warn"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"different": ["fc.weight"]}, "not what mlx-vlm makes of the source's tensors: fc.weight"),
        ({"tensors": 14}, "it is made of 14 tensors, and the source's heads have 15"),
        ({"twice": ["norm.weight"]}, "have one added already (norm.weight)"),
    ],
)
def test_a_drafter_of_other_numbers_fails_and_cannot_be_accepted(changes: dict[str, Any], words: str) -> None:
    facts = DrafterFacts(replace(MADE, **changes), None, 15)
    [finding] = run_checks(WRITTEN, facts, lambda _: "a reason that does not count")
    assert finding.status == "fail"
    assert words in finding.message


def test_a_whole_drafter_passes() -> None:
    [finding] = run_checks(WRITTEN, DrafterFacts(MADE, None, 15))
    assert (finding.status, finding.message) == (
        "pass",
        "all 15 tensors of the heads are in it, equal to the source",
    )
