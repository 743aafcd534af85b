"""How checks become findings, and which of them a recipe may accept."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.checks import base
from mlx_publish.checks.base import Check, accept, run_checks
from mlx_publish.checks.registry import BY_STAGE
from mlx_publish.evidence.report import Finding, Status, verdict_of

ALL: tuple[Check[Any], ...] = tuple(check for checks in BY_STAGE.values() for check in checks)
SMALL = Check[int]("small", "It is small", "too much", lambda n: base.failed(f"{n} is large", "Take less.", number=n))
SAFE = Check[int]("safe", "It is safe", "harm", lambda n: base.failed(f"{n} harms", "Take none."), safety=True)
FINE = Check[int]("fine", "It is fine", "nothing", lambda n: base.passed("so it is"))


def reason(check: str) -> str | None:
    return f"because {check} is known" if check != "other" else None


def test_checks_run_in_order_on_one_target() -> None:
    assert run_checks((SMALL, FINE), 7) == (
        Finding("small", "fail", "7 is large", "Take less.", {"number": 7}),
        Finding("fine", "pass", "so it is"),
    )


def test_an_accepted_failure_is_a_warning_with_its_reason() -> None:
    small, safe, fine = run_checks((SMALL, SAFE, FINE), 7, reason)
    assert small == Finding(
        "small",
        "warn",
        "7 is large (accepted: because small is known)",
        "Take less.",
        {"number": 7, "accepted": "because small is known"},
    )
    assert (safe.status, safe.message) == ("fail", "7 harms")
    assert fine == Finding("fine", "pass", "so it is")
    assert (verdict_of([small, fine]), verdict_of([small, safe])) == ("pass", "refused")


@pytest.mark.parametrize("status", ["pass", "fixed", "warn", "skip"])
def test_only_failures_can_be_accepted(status: Status) -> None:
    finding = Finding("small", status, "so")
    assert accept(finding, reason) is finding


def test_what_is_not_named_is_not_accepted() -> None:
    assert accept(Finding("other", "fail", "so"), reason).status == "fail"


def test_words_for_each_status() -> None:
    assert base.fixed("mended", number=1) == base.Says("fixed", "mended", "", {"number": 1})
    assert base.warned("look", "Mend it.") == base.Says("warn", "look", "Mend it.", {})
    assert base.skipped("unknown") == base.Says("skip", "unknown")


def test_every_check_has_its_own_id_and_says_what_it_protects() -> None:
    ids = [check.id for check in ALL]
    assert len(set(ids)) == len(ids)
    assert all(check.title and check.protects and check.id == check.id.lower() for check in ALL)


def test_these_cannot_be_accepted_away() -> None:
    assert {check.id for check in ALL if check.safety} == {
        "no-code",
        "finite",
        "numbers-bound",
        "bytes-unchanged",
        "card-rendered",
        "only-model-files",
        "pictures-finite",
        "processor-files",
        "readable",
        "paths-inside",
        "tokenizer-ids",
        "ids-in-embedding",
        "numbers-finite",
        "template-safe",
        "template-same",
        "no-secrets",
        "modality",
        "modality-weights",
        "loads-as-written",
        "mtp-heads",
        "mtp-same",
        "end-ids",
        "links-inside",
        "file-names",
        "file-sizes",
        "evidence-attested",
        "facts-known",
        "checks-complete",
        "licence-allowed",
        "calibration-apart",
        "learning-helped",
        "earns-bytes",
        "plan-reviewed",
        "rebuilt-equal",
        "source-read",
    }
