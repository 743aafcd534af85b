"""With `--json` an error is an object on standard output, whatever failed, beside the text on standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it comes with check-jsonschema
import pytest

from mlx_publish import cli
from mlx_publish.children.engine import Children
from mlx_publish.commands import _run as commands
from mlx_publish.errors import Interrupted, Refused, SurroundingsError

SCHEMA_FILE = Path(__file__).parents[1] / "scripts/mlx_publish/schemas/error.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/tiny.yaml").write_text("source: acme/Tiny\n")
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def errors(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    shown = capsys.readouterr()
    record: dict[str, Any] = json.loads(shown.out)
    jsonschema.validate(record, SCHEMA)
    for fault in record["error"]["faults"]:
        assert fault["message"].split("\n")[0] in shown.err
    error: dict[str, Any] = record["error"]
    return error


def test_with_json_each_fault_of_a_recipe_is_an_object(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "recipes/own.yaml").write_text("source: a/b\nvarients: [4bit]\nprivate: yes\n")
    assert cli.main(["inspect", "--recipe", "own", "--json"]) == 2
    found = errors(capsys)
    assert (found["exit_code"], found["kind"]) == (2, "bad-input")
    assert {(fault["file"], fault["line"], fault["key"]) for fault in found["faults"]} == {
        ("recipes/own.yaml", 2, "varients"),
        ("recipes/own.yaml", 3, "private"),
    }
    assert "Write true, without quotes." in {fault["remedy"] for fault in found["faults"]}


@pytest.mark.parametrize("words", [["dance"], ["run", "--nonsense"], ["run", "--work"], ["plan"], ["hook", "x", "y"]])
def test_with_json_wrong_usage_is_an_object_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    # A value that is missing must not swallow the flag.
    assert cli.main([*words, "--json"]) == 2
    assert errors(capsys)["kind"] == "bad-input"


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (Refused("it is broken", remedy="Fix it."), 1, "refused"),
        (ZeroDivisionError("x"), 3, "bug"),
        (SurroundingsError("no network"), 4, "surroundings"),
        (Interrupted("enough"), 130, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_with_json_every_exit_code_has_its_kind(
    error: BaseException, code: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setattr(commands, "run_command", run)
    monkeypatch.setattr(Children, "start", lambda *_: None)
    assert cli.main(["run", "--recipe", "tiny", "--json"]) == code
    found = errors(capsys)
    assert (found["exit_code"], found["kind"]) == (code, kind)


def test_with_json_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--source", "hf_abcdefghijklmnop", "--json"]) == 2
    shown = capsys.readouterr()
    assert "hf_abcdefghijkl" not in shown.out + shown.err
    assert "***" in json.loads(shown.out)["error"]["faults"][0]["message"]


def test_a_hook_prints_its_faults_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "recipes/own.yaml").write_text("source: a/b\nvarients: [4bit]\n")
    assert cli.main(["hook", "mlx-recipe", "recipes/own.yaml", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "mlx-publish/hook/1"
    assert [(fault["file"], fault["line"]) for fault in record["faults"]] == [("recipes/own.yaml", 2)]
