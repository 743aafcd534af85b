"""Reports that somebody edits in the work folder, and weights that change together with all that is said of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Published
from mlx_publish.evidence.digests import FileDigest, folder_digest
from mlx_publish.evidence.report import Report
from mlx_publish.text.files import json_text
from mlx_publish.work import Work
from pipeline import User, digests, read_json

WEIGHTS = "model.safetensors"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = read_json(path)
    change(data)
    path.write_text(json_text(data), encoding="utf-8")


EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "inspect": ("convert", lambda data: data["result"]["licence"].update(id="mit")),
    "convert": ("smoke", lambda data: data["result"].update(bits_per_weight=8.5)),
    "smoke": ("card", lambda data: data["result"]["exchange"].update(answer="I am conscious.")),
    "fidelity": ("card", lambda data: data["result"].update(mean_kld=0.0)),
    "benchmark": ("card", lambda data: data["checks"][0].update(status="pass", message="steady")),
}


@pytest.mark.parametrize("stage", EDITS)
def test_an_edited_report_is_noticed_by_the_next_stage_and_by_upload_and_made_again(
    mine: Published, user: User, stage: str
) -> None:
    following, change = EDITS[stage]
    edit(mine.variant / f"{stage}.json", change)
    for command in (following, "upload"):
        said = user.run(command, *mine.again(), code=1).text
        assert f"{stage}.json of 4bit was changed after it was written" in said
        assert f"Run 'mlx-publish {stage} --force' with the same recipe and --work" in said
    assert not mine.out.exists()
    if stage in ("inspect", "smoke"):
        user.run(stage, *mine.again(), "--force")
        user.run("upload", *mine.again())
        assert read_json(mine.out / "mlx-publish.json")["licence"]["id"] == "apache-2.0"
        assert "conscious" not in (mine.out / "README.md").read_text(encoding="utf-8")


def test_a_report_that_was_signed_again_is_not_the_one_that_others_name(mine: Published, user: User) -> None:
    path = mine.variant / "convert.json"
    edit(path, lambda data: data["result"].update(kept_wider="is perfect"))
    report = Report.from_json(read_json(path))
    path.write_text(json_text(report.behind({"inspect": _report(mine, "inspect")}, None).to_json()), encoding="utf-8")
    said = user.run("card", *mine.again(), code=1).text
    assert "smoke.json of 4bit was made from another convert.json than the one next to it" in said


def _report(mine: Published, stage: str) -> Report:
    found = Work(mine.root / "work", "Scripted").report("4bit", stage)
    assert found
    return found


def test_reports_of_a_version_without_digests_are_made_again(mine: Published, user: User) -> None:
    for stage in ("inspect", "convert", "smoke", "fidelity", "benchmark", "card"):
        edit(mine.variant / f"{stage}.json", lambda data: data.pop("chain"))
    ended = user.run("publish", *mine.again())
    assert ": unchanged" not in ended.text
    assert all("chain" in read_json(path) for path in mine.variant.glob("*.json") if path.stem != "evidence")


def test_a_source_looked_at_again_makes_no_other_stage_run_again(mine: Published, user: User) -> None:
    user.run("run", *mine.again())
    user.run("inspect", *mine.again(), "--force")
    ended = user.run("run", *mine.again())
    assert ended.text.count(": unchanged") == 6, ended.text


def tamper(mine: Published) -> None:
    """Turn one bit of the weights, and let every report and the evidence say that it was always so."""
    path = mine.variant / "model" / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    was, now = read_json(mine.variant / "convert.json")["result"], hashlib.sha256(data).hexdigest()
    [old] = [file["sha256"] for file in was["files"] if file["path"] == WEIGHTS]
    files = [
        FileDigest(**{**file, "sha256": now if file["path"] == WEIGHTS else file["sha256"]}) for file in was["files"]
    ]
    work = Work(mine.root / "work", "Scripted")
    for stage in ("convert", "smoke", "fidelity", "benchmark"):
        text = work.report_path("4bit", stage).read_text(encoding="utf-8")
        text = text.replace(old, now).replace(was["model"], folder_digest(files))
        work.report_path("4bit", stage).unlink()
        work.write_report("4bit", Report.from_json(json.loads(text)))
    (mine.variant / "card.json").unlink()


@pytest.mark.parametrize("asked", ["policy", "flag"])
def test_weights_changed_with_all_that_is_said_of_them_are_found_by_converting_once_more(
    mine: Published, user: User, asked: str
) -> None:
    tamper(mine)
    user.home.mkdir(exist_ok=True)
    if asked == "policy":
        (user.home / "mlx-publish.yaml").write_text("publish: {rebuild: true}\n")
    more = ["--rebuild"] if asked == "flag" else []
    ended = user.run("upload", *mine.again(), *more, code=1)
    assert f"differ when converted again from the source: {WEIGHTS}" in ended.text
    assert not mine.out.exists()
    assert not list((mine.root / "work/Scripted").glob(".again-*"))
    user.run("convert", *mine.again(), "--force")
    assert "measured on different bytes" in user.run("upload", *mine.again(), *more, code=1).text


def test_without_being_asked_nothing_is_converted_twice_and_that_is_said(mine: Published, user: User) -> None:
    ended = user.run("upload", *mine.again())
    assert "in an empty folder" not in ended.text
    [told] = [check for check in read_json(mine.variant / "upload.json")["checks"] if check["id"] == "rebuilt-equal"]
    assert (told["status"], "publish.rebuild" in told["message"]) == ("skip", True)


def test_good_weights_are_converted_once_more_and_published(mine: Published, user: User) -> None:
    before = digests(mine.variant / "model")
    ended = user.run("upload", *mine.again(), "--rebuild")
    assert "converting 4bit once more, in an empty folder" in ended.text
    assert digests(mine.out) == before


def test_what_an_earlier_step_of_the_job_converted_is_not_converted_again(mine: Published, user: User) -> None:
    temporary = mine.root / "temporary"
    temporary.mkdir()
    user.more |= {"GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(temporary)}
    user.run("convert", *mine.again(), "--force")
    ended = user.run("upload", *mine.again(), "--rebuild")
    assert "converting 4bit once more" not in ended.text
    # Another job begins with an empty folder.
    for path in temporary.rglob("*.json"):
        path.unlink()
    assert "converting 4bit once more" in user.run("upload", *mine.again(), "--rebuild").text
