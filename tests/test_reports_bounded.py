"""Reports and evidence: what this program writes it reads back, and what was put in their place it does not take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hook_trees import make_tree
from mlx_publish.evidence.report import Finding, Report
from mlx_publish.hooks import run_hook
from mlx_publish.work import Work

HOSTILE = {
    "integers of 5,000 digits": "9" * 5000,
    "nested 5,000 deep": "[" * 5000 + "]" * 5000,
    "nested 500 deep": "[" * 500 + "]" * 500,
    "no number": "NaN",
    "larger than any": "1e999",
    "cut off": '"',
}


@pytest.mark.parametrize("quoted", ["\ud800", "\x00", "\u2028", "x" * 100_000, 10**39, [[[[{}]]]]])
def test_a_report_that_quotes_what_a_config_may_hold_is_read_back(quoted: object, tmp_path: Path) -> None:
    report = Report("inspect", {"a": quoted}, (Finding("a", "pass", str(quoted)),), {"b": {"c": quoted}}, "pass")
    work = Work(tmp_path, "r")
    written = work.write_report("4bit", report)
    assert work.report("4bit", "inspect") == written
    assert written.untouched


@pytest.mark.parametrize("name", HOSTILE)
def test_a_report_that_cannot_be_read_counts_as_none(name: str, tmp_path: Path) -> None:
    work = Work(tmp_path, "r")
    work.write_report("4bit", Report("inspect", {}, (), {"a": 1}, "pass"))
    path = work.report_path("4bit", "inspect")
    path.write_text(path.read_text().replace('"a": 1', f'"a": {HOSTILE[name]}'))
    assert work.report("4bit", "inspect") is None


def test_a_report_of_a_terabyte_counts_as_none(tmp_path: Path) -> None:
    path = Work(tmp_path, "r").report_path("4bit", "inspect")
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert Work(tmp_path, "r").report("4bit", "inspect") is None


@pytest.mark.parametrize("name", HOSTILE)
def test_evidence_of_that_kind_is_a_problem_at_its_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (card,) = make_tree(tmp_path, 1)["mlx-card"]
    evidence = card.parent / "evidence.json"
    evidence.write_text(evidence.read_text().replace('"mean_kld": ', f'"mean_kld": {HOSTILE[name]}, "x": ', 1))
    monkeypatch.chdir(tmp_path)
    assert run_hook("mlx-card", (card,), recipes=tmp_path / "recipes") == 1
    said = capsys.readouterr().out
    assert f"{evidence}:" in said
    assert len(said) < 2000


def test_evidence_that_lacks_what_a_template_asks_for_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (card,) = make_tree(tmp_path, 1)["mlx-card"]
    evidence = card.parent / "evidence.json"
    data = json.loads(evidence.read_text())
    data["missing"] = {}
    data["fidelity"] = None
    evidence.write_text(json.dumps(data))
    monkeypatch.chdir(tmp_path)
    assert run_hook("mlx-card", (card,), recipes=tmp_path / "recipes") == 1
    assert "cannot be rendered as a card" in capsys.readouterr().out
