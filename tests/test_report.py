"""The envelope of reports."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.evidence.report import SCHEMA, Finding, Report, Status, verdict_of

FULL = Report(
    "convert",
    {"source": "abc"},
    (Finding("licence", "fail", "none is known", "Write one.", {"seen": 1}), Finding("stops", "pass", "it stops")),
    {"model": "def"},
    "refused",
)


@pytest.mark.parametrize("status", ["pass", "fixed", "warn", "skip"])
def test_only_a_failure_refuses(status: Status) -> None:
    found = Finding("a", status, "so")
    assert verdict_of([found, found]) == "pass"
    assert verdict_of([found, Finding("b", "fail", "not so"), found]) == "refused"


def test_reports_survive_json() -> None:
    data = FULL.to_json()
    assert list(data) == ["schema", "stage", "verdict", "inputs", "checks", "result", "chain"]
    assert data["schema"] == SCHEMA
    assert data["checks"][0] == {
        "id": "licence",
        "status": "fail",
        "message": "none is known",
        "remedy": "Write one.",
        "details": {"seen": 1},
    }
    assert Report.from_json(data) == FULL


@pytest.mark.parametrize(
    "broken",
    [
        {"stage": "x"},
        FULL.to_json() | {"checks": [{"nonsense": 1}]},
        FULL.to_json() | {"verdict": ["pass"]},
        FULL.to_json() | {"verdict": "fine"},
        FULL.to_json() | {"inputs": []},
        FULL.to_json() | {"result": None},
        FULL.to_json() | {"checks": [{"id": "a", "status": "good", "message": ""}]},
        FULL.to_json() | {"checks": [{"id": "a", "status": "pass", "message": ["x"]}]},
        FULL.to_json() | {"checks": [{"id": "a", "status": "pass", "message": "", "details": 1}]},
    ],
)
def test_other_data_is_no_report(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Report.from_json(broken)
