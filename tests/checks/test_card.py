"""Numbers belong to the bytes that they were measured on."""

from __future__ import annotations

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.card import CARD, Bound
from mlx_publish.evidence.report import Report, Verdict

NAMES = ("smoke", "fidelity", "benchmark")


def report(stage: str, model: str = "this", verdict: Verdict = "pass") -> Report:
    return Report(stage, {"model": model}, (), {}, verdict)


def bound(**changed: Report | None) -> Bound:
    reports = {name: report(name) for name in NAMES} | changed
    return Bound("this", {name: report for name, report in reports.items() if report})


def test_all_measured_on_these_bytes() -> None:
    numbers, measured = run_checks(CARD, bound())
    assert (numbers.id, numbers.status) == ("numbers-bound", "pass")
    assert "3 measurement(s), all of the model this" in numbers.message
    assert (measured.id, measured.status) == ("measured", "pass")


@pytest.mark.parametrize("name", NAMES)
def test_a_number_of_other_bytes_is_refused(name: str) -> None:
    stale = bound(**{name: report(name, "other")})
    numbers, measured = run_checks(CARD, stale, lambda _: "a reason that does not help")
    assert (numbers.status, numbers.message) == ("fail", f"measured on different bytes: {name}")
    assert numbers.remedy == f"Run 'mlx-publish {name}' again."
    assert (measured.status, measured.message) == ("warn", f"not measured: {name}")
    assert stale.why_missing(name) == ", because the last measurement was of different bytes"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_or_was_refused_does_not_count(name: str) -> None:
    gone, refused = bound(**{name: None}), bound(**{name: report(name, verdict="refused")})
    for incomplete in (gone, refused):
        assert not incomplete.fits(name)
        assert [check.status for check in run_checks(CARD, incomplete)] == ["pass", "warn"]
    assert gone.why_missing(name) == ""
    assert refused.why_missing(name) == f", because the stage {name} was refused"


@pytest.mark.parametrize("name", ["fidelity", "benchmark"])
def test_what_passed_without_a_number_does_not_count_and_says_why(name: str) -> None:
    result = {"not_measured": "drift: it fell by 17%"}
    numberless = bound(**{name: Report(name, {"model": "this"}, (), result, "pass")})
    assert not numberless.fits(name)
    assert numberless.why_missing(name) == ", because drift: it fell by 17%"
    numbers, measured = run_checks(CARD, numberless)
    assert (numbers.status, measured.status, measured.message) == ("pass", "warn", f"not measured: {name}")


def test_a_number_with_nothing_against_it_counts() -> None:
    assert bound(benchmark=Report("benchmark", {"model": "this"}, (), {"not_measured": None}, "pass")).fits("benchmark")


def test_what_was_measured_and_withheld_is_told_as_such() -> None:
    why = "measured, too unsteady to publish (±21 %): spread: 70.0 to 110.0 generation tokens/s"
    reports = {
        "smoke": Report("smoke", {"model": "this"}, (), {}, "pass"),
        "fidelity": Report("fidelity", {"model": "this"}, (), {}, "pass"),
        "benchmark": Report("benchmark", {"model": "this"}, (), {"not_measured": why}, "pass"),
    }
    withheld = Bound("this", reports)
    assert withheld.why_missing("benchmark") == f", because {why}"
    finding = run_checks(CARD, withheld)[1]
    assert (finding.status, finding.message) == ("warn", "benchmark: measured, too unsteady to publish (±21 %)")
    assert "--force" in finding.remedy
