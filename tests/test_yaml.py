"""What no run of act shows: triggers, pins, rights, and that inputs and documentation agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mlx_publish.cli_parser import RECIPE_FLAGS
from mlx_publish.stages import NAMES

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return found


ACTION = load(ROOT / "action.yml")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_grant_nothing_on_top_and_pin_actions(path: Path) -> None:
    text, workflow = path.read_text(encoding="utf-8"), load(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert set(job.get("permissions", {}).values()) <= {"read", "write"}
        assert "timeout-minutes" in job
    for used in re.findall(r"uses: (\S+)(.*)", text):
        assert used[0] == "./" or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used[0]), used
        assert used[0] == "./" or re.fullmatch(r"\s+# v[\d.]+", used[1]), used
    assert not re.search(r"run:.*\$\{\{", text), "text of an event must not reach a script"


def test_publish_starts_on_tags_alone_and_gives_the_token_to_the_last_step() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "publish.yml")
    assert workflow["on"] == {"push": {"tags": ["*/v*"]}}
    job = workflow["jobs"]["publish"]
    assert job["runs-on"] == ["self-hosted", "macOS", "ARM64"]
    assert job["environment"] == "huggingface"
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    with_secret = [step.get("name") for step in job["steps"] if "secrets." in str(step)]
    assert with_secret == ["Publish"]
    assert workflow["concurrency"]["cancel-in-progress"] is False


def test_the_action_has_an_input_for_every_flag_and_hands_each_over_by_environment() -> None:
    step = ACTION["runs"]["steps"][0]
    handed = {key.removeprefix("MLX_PUBLISH_INPUT_").lower() for key in step["env"] if key.startswith("MLX_PUBLISH_")}
    assert handed == {*RECIPE_FLAGS, "recipe", "variant", "tag", "work", "force"}
    inputs = {"to" if name == "destination" else name.replace("-", "_") for name in ACTION["inputs"]}
    assert inputs == handed | {"stage"}
    assert "${{" not in step["run"]


def test_the_action_knows_every_stage() -> None:
    cases = re.search(r"^\s*(inspect[^)]*)\)", ACTION["runs"]["steps"][0]["run"], re.MULTILINE)
    assert cases
    assert [name.strip() for name in cases[1].split("|")] == [*NAMES, "run", "publish"]


def test_every_input_and_output_is_described() -> None:
    for entry in (*ACTION["inputs"].values(), *ACTION["outputs"].values()):
        assert len(entry["description"]) > 10
    for name in (*ACTION["inputs"], *ACTION["outputs"]):
        assert re.fullmatch(r"[a-z][a-z-]*", name)
