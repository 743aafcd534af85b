"""A stage that runs again says why; a file of the work folder that was changed is named when it is repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Published
from mlx_publish.evidence.report import Report
from mlx_publish.text.files import json_text
from pipeline import User, digests, read_json

WEIGHTS = "model.safetensors"


def test_a_changed_byte_is_named_repaired_and_no_failure(mine: Published, user: User) -> None:
    model = mine.variant / "model" / WEIGHTS
    before = digests(mine.variant / "model")[WEIGHTS]
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    summary = user.home / "summary.md"
    user.environment  # noqa: B018  makes the home
    user.more |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    text = user.run("convert", *mine.again()).text
    assert "fixed" in text
    assert f"{WEIGHTS} was changed since it was converted; running convert again" in text
    assert digests(mine.variant / "model")[WEIGHTS] == before
    assert f"{WEIGHTS} was changed since it was converted" in summary.read_text().replace("\\", "")


def test_what_was_repaired_stays_out_of_report_and_evidence(mine: Published, user: User) -> None:
    model = mine.variant / "model" / WEIGHTS
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    before = [check["id"] for check in read_json(mine.variant / "convert.json")["checks"]]
    user.run("convert", *mine.again())
    assert [check["id"] for check in read_json(mine.variant / "convert.json")["checks"]] == before


def test_a_missing_file_and_a_stray_one_are_named(mine: Published, user: User) -> None:
    (mine.variant / "model" / WEIGHTS).unlink()
    (mine.variant / "model" / "notes.txt").write_text("mine")
    text = user.run("convert", *mine.again()).text
    assert f"{WEIGHTS} is missing" in text
    assert "notes.txt was added since the model was converted" in text


def test_an_edited_card_is_rendered_again_and_named(mine: Published, user: User) -> None:
    card = mine.variant / "model" / "README.md"
    before = card.read_text()
    card.write_text(before + "The best model.\n")
    assert "README.md was changed since it was rendered; running card again" in user.run("card", *mine.again()).text
    assert card.read_text() == before
    assert "again" not in user.run("card", *mine.again()).text


def test_force_is_named(mine: Published, user: User) -> None:
    assert "running inspect again for 4bit: --force" in user.run("inspect", *mine.again(), "--force").text


def test_a_changed_variant_is_named(mine: Published, user: User) -> None:
    flags = mine.flags(mine.out, mine.root / "work", variants="4bit")
    flags = [word for word in flags if word not in ("--bits", "4")]
    text = user.run("inspect", *flags, "--license", "mit").text
    assert "running inspect again for 4bit: the recipe changed" in text


@pytest.mark.parametrize("stage", ["convert", "card"])
def test_another_version_is_named(mine: Published, user: User, stage: str) -> None:
    path = mine.variant / f"{stage}.json"
    inputs: dict[str, dict[str, object]] = {
        "card": {"generator": "0.0.1"},
        "convert": {"tools": {"mlx": "0.1", "mlx-lm": "0.2"}},
    }
    _rewrite(path, inputs[stage])
    text = user.run(stage, *mine.again()).text
    expected = {"card": "it was made by mlx-publish 0.0.1, and this is", "convert": "made with mlx 0.1 (now"}[stage]
    assert expected in text


def _rewrite(path: Path, inputs: dict[str, object]) -> None:
    """Change the inputs of a report as an earlier version would have written them, with its own digest."""
    data = read_json(path)
    data["inputs"] |= inputs
    report = Report.from_json(data)
    chain = replace(report.chain, own=report.behind({}, None).chain.own)
    path.write_text(json_text(replace(report, chain=chain).to_json()), encoding="utf-8")
