"""The last look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.upload import UPLOAD, Parcel
from samples import make_evidence, record

A, B = "a" * 64, "b" * 64
FILES = [{"path": "config.json", "size": 1, "sha256": A}, {"path": "model.safetensors", "size": 1, "sha256": B}]
MODEL = make_evidence()["model"] | {"files": FILES}
EVIDENCE = record(model=MODEL)
NOW = {"config.json": A, "model.safetensors": B, "README.md": "c", "mlx-publish.json": "d"}
GOOD = Parcel(EVIDENCE, NOW, "card", "card", ())


def test_what_was_measured_and_rendered_may_leave() -> None:
    findings = run_checks(UPLOAD, GOOD)
    assert {finding.id: finding.status for finding in findings} == {
        **dict.fromkeys(("evidence-complete", "checks-complete", "facts-known", "licence-allowed"), "pass"),
        "rebuilt-equal": "skip",
        **dict.fromkeys(
            ("bytes-unchanged", "plan-reviewed", "card-rendered", "only-model-files", "no-secrets"), "pass"
        ),
    }
    messages = {finding.id: finding.message for finding in findings}
    assert messages["bytes-unchanged"] == "2 files have the digests of the evidence"


def test_a_chart_that_is_the_rendered_one_may_leave() -> None:
    parcel = replace(GOOD, sha256=NOW | {"ladder.svg": "e"}, chart="drawn", rendered_chart="drawn")
    assert {finding.status for finding in run_checks(UPLOAD, parcel)} == {"pass", "skip"}


def test_a_picture_that_is_the_drawn_one_may_leave() -> None:
    parcel = replace(GOOD, sha256=NOW | {"picture.png": A}, picture=A, drawn_picture=A)
    assert {finding.status for finding in run_checks(UPLOAD, parcel)} == {"pass", "skip"}


FAILING: list[tuple[str, dict[str, Any], str, str]] = [
    ("evidence-complete", {"evidence": record(model=MODEL, smoke=None)}, "has no smoke", "'mlx-publish smoke'"),
    (
        "evidence-complete",
        {"evidence": record(model=MODEL, fidelity=None)},
        "has no fidelity",
        "'mlx-publish fidelity'",
    ),
    (
        "evidence-complete",
        {"evidence": record(model=MODEL, smoke=None, fidelity=None)},
        "no smoke and no fidelity",
        "accept",
    ),
    ("bytes-unchanged", {"sha256": NOW | {"config.json": "x"}}, "the evidence: config.json", "run --force"),
    ("bytes-unchanged", {"sha256": NOW | {"new.json": "x"}}, "the evidence: new.json", "run --force"),
    ("bytes-unchanged", {"sha256": {"config.json": A}}, "the evidence: model.safetensors", "run --force"),
    ("bytes-unchanged", {"sha256": NOW | {"sub/README.md": "x"}}, "the evidence: sub/README.md", "run --force"),
    (
        "bytes-unchanged",
        {"sha256": NOW | dict.fromkeys("zyxwvu", "x")},
        "differ from the evidence: u, v, w, x, y",
        "run --force",
    ),
    ("card-rendered", {"card": "card "}, "model/README.md differs from the card", "card --force"),
    ("card-rendered", {"card": ""}, "model/README.md differs from the card", "notes"),
    (
        "card-rendered",
        {"chart": "drawn", "rendered_chart": "drawn otherwise"},
        "model/ladder.svg differs from the card",
        "card --force",
    ),
    ("card-rendered", {"picture": A, "drawn_picture": B}, "model/picture.png differs from the card", "card --force"),
    ("card-rendered", {"picture": A}, "model/picture.png differs from the card", "card --force"),
    ("card-rendered", {"drawn_picture": A}, "model/picture.png differs from the card", "card --force"),
    ("card-rendered", {"chart": "drawn"}, "model/ladder.svg differs from the card", "card --force"),
    ("card-rendered", {"rendered_chart": "drawn"}, "model/ladder.svg differs from the card", "card --force"),
    ("no-secrets", {"leaks": ("config.json:3: a GitHub token",)}, "config.json:3: a GitHub token", "Revoke it"),
    ("only-model-files", {"strangers": (".env", "x.log")}, ".env, x.log", "Remove them from model/."),
]


@pytest.mark.parametrize(("check", "changes", "message", "remedy"), FAILING)
def test_failures_name_cause_and_next_step(check: str, changes: dict[str, Any], message: str, remedy: str) -> None:
    (finding,) = (finding for finding in run_checks(UPLOAD, replace(GOOD, **changes)) if finding.status == "fail")
    assert finding.id == check
    assert message in finding.message
    assert remedy in finding.remedy


@pytest.mark.parametrize(("check", "changes"), [(check, changes) for check, changes, _, _ in FAILING])
def test_only_missing_measurements_can_be_accepted(check: str, changes: dict[str, Any]) -> None:
    findings = run_checks(UPLOAD, replace(GOOD, **changes), lambda _: "the owner wants it")
    status = {finding.id: finding.status for finding in findings}[check]
    assert status == ("warn" if check == "evidence-complete" else "fail")
