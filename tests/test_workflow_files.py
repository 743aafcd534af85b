"""What the workflows and the Action say, read as YAML: when they start, where they run, and what they may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from act import ROOT, STANDS_IN, read
from mlx_publish.commands import registry
from mlx_publish.commands._arguments import RECIPE_FLAGS
from mlx_publish.commands._command import Command
from mlx_publish.commands._parser import Parser
from mlx_publish.github.request import DISPATCH, RequestSpec, from_form
from mlx_publish.hub.provenance import PREDICATE, PREDICATE_TYPE, SUMS
from mlx_publish.signing.attested import MEASURED

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


PUBLISH, REVIEW, ACTION = (
    read(ROOT / name) for name in (".github/workflows/publish.yml", ".github/workflows/card-review.yml", "action.yml")
)


def options_of(command: Command) -> set[str]:
    parser = Parser()
    command.add_arguments(parser)
    return {action.dest for action in parser._actions}


def of_the_action() -> dict[str, Command]:
    return {name: command for name, command in registry().items() if command.of_the_action}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in FILES:
        yield from ((f"{path.name}: {name}", job) for name, job in read(path)["jobs"].items())


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for place, job in jobs():
        yield from ((place, step) for step in job["steps"])
    yield from (("action.yml", step) for step in ACTION["runs"]["steps"])


def test_the_files_are_those_that_are_meant() -> None:
    assert [path.name for path in FILES] == ["card-review.yml", "ci.yml", "drift.yml", "publish.yml", "release.yml"]
    assert (REVIEW["name"], PUBLISH["name"]) == ("card-review", "publish")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_allowed_on_top_and_nothing_runs_for_ever(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] > 0
        assert set(job["permissions"].values()) <= {"read", "write"}


def test_every_action_of_others_is_pinned_and_says_its_version() -> None:
    for place, step in steps():
        if used := step.get("uses"):
            assert used == "$/" or PINNED.fullmatch(used), place
    lines = [line for path in FILES for line in path.read_text().splitlines() if "uses:" in line and "$/" not in line]
    assert lines
    assert all(re.search(r"# v\d+\.\d+\.\d+$", line) for line in lines)
    text = "".join(path.read_text() for path in FILES)
    assert all(action in text for action in STANDS_IN)


def test_no_expression_is_put_into_a_script() -> None:
    scripts = [step["run"] for _, step in steps() if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_no_checkout_keeps_a_token() -> None:
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) >= 5
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_review_needs_no_secret_and_no_machine_of_one_s_own() -> None:
    assert set(REVIEW["on"]) == {"pull_request", "workflow_call"}
    assert REVIEW["on"]["pull_request"] is None
    [job] = REVIEW["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    assert job["permissions"] == {"contents": "read"}
    text = (ROOT / ".github/workflows/card-review.yml").read_text()
    assert "secrets" not in text.split("on:", 1)[1]
    assert "github.token" not in text


def test_a_stranger_cannot_start_what_publishes() -> None:
    assert set(PUBLISH["on"]) == {"push", "workflow_dispatch", "repository_dispatch", "workflow_call"}
    assert PUBLISH["on"]["push"] == {"tags": ["*/v*"]}
    assert PUBLISH["on"]["repository_dispatch"] == {"types": [DISPATCH]}
    for path in FILES:
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(read(path)["on"])


def test_a_tag_that_is_deleted_starts_no_job() -> None:
    # GitHub counts it as a push. The other jobs need the first; act cannot show it where they have a matrix.
    tagged = {path.name: read(path)["jobs"] for path in FILES if "tags" in (read(path)["on"].get("push") or {})}
    assert set(tagged) == {"publish.yml", "release.yml"}
    for all_jobs in tagged.values():
        (name, first), *others = all_jobs.items()
        assert first["if"] == "${{ !github.event.deleted }}"
        for _, job in others:
            assert name in (job["needs"] if isinstance(job["needs"], list) else [job["needs"]])
            assert not re.search(r"(always|failure|cancelled)\(\)", job["if"])


def test_who_may_do_what() -> None:
    assert {name: job["permissions"] for name, job in PUBLISH["jobs"].items()} == {
        "plan": {"contents": "read"},
        "run": {"contents": "read"},
        "attest": {"id-token": "write", "attestations": "write"},
        "review": {"contents": "write", "pull-requests": "write"},
        "publish": {"contents": "read", "id-token": "write", "attestations": "write"},
    }
    assert [name for name, job in PUBLISH["jobs"].items() if "environment" in job] == ["publish"]
    assert PUBLISH["jobs"]["publish"]["environment"] == "huggingface"
    # Machines of one's own run no job that may write to the repo.
    hosted = [name for name, job in PUBLISH["jobs"].items() if job["runs-on"] == "ubuntu-latest"]
    assert hosted == ["plan", "attest", "review"]


def test_tokens_are_in_one_step_of_their_job_only() -> None:
    with_token = [
        (name, step["name"])
        for name, job in PUBLISH["jobs"].items()
        for step in job["steps"]
        if "secrets." in str(step) or "github.token" in str(step)
    ]
    reading = [
        ("run", "Convert, test, measure, write the card"),
        ("publish", "Find the weights, or convert again"),
    ]
    writing = [("review", "Open or update the pull request"), ("publish", "Publish")]
    assert with_token == [reading[0], writing[0], reading[1], writing[1]]
    assert [step.get("name") for step in PUBLISH["jobs"]["publish"]["steps"]][-3:] == ["Publish", "Attest", "Clean up"]
    for name, title in reading:
        step = next(step for step in PUBLISH["jobs"][name]["steps"] if step.get("name") == title)
        of_the_machine = {"MLX_PUBLISH_EVIDENCE_KEY": "${{ vars.MLX_PUBLISH_EVIDENCE_KEY }}"} if name == "run" else {}
        reading_only = {"HF_TOKEN": "${{ secrets.HF_READ_TOKEN }}", "MLX_PUBLISH_ONLY_READ": "true"}
        assert {key: value for key, value in step["env"].items() if key != "MLX_PUBLISH_KIT"} == (
            reading_only | of_the_machine
        )
    assert all("env" not in job for job in PUBLISH["jobs"].values())


def test_evidence_is_attested_on_a_machine_that_runs_no_model() -> None:
    job = PUBLISH["jobs"]["attest"]
    assert "vars.MLX_PUBLISH_ATTEST_EVIDENCE == 'true'" in job["if"]
    assert job["runs-on"] == "ubuntu-latest"
    take, attest = job["steps"]
    assert take["uses"].startswith("actions/download-artifact@")
    assert attest["with"] == {
        "subject-path": "cards/**/evidence.json",
        "predicate-type": MEASURED,
        "predicate": "{}",
    }


def test_what_is_attested_is_what_the_action_wrote() -> None:
    attest = PUBLISH["jobs"]["publish"]["steps"][-2]
    assert attest["if"] == "vars.MLX_PUBLISH_ATTEST == 'true'"
    folder = "${{ steps.publish.outputs.provenance }}"
    assert attest["with"] == {
        "subject-checksums": f"{folder}/{SUMS}",
        "predicate-type": PREDICATE_TYPE,
        "predicate-path": f"{folder}/{PREDICATE}",
    }


def test_nothing_that_waits_is_dropped_for_another_recipe() -> None:
    assert PUBLISH["concurrency"]["cancel-in-progress"] is False
    for word in ("inputs.recipe", "inputs.source", "client_payload.recipe", "client_payload.source", "github.ref"):
        assert word in PUBLISH["concurrency"]["group"]


@pytest.mark.parametrize("trigger", ["workflow_dispatch", "workflow_call"])
def test_form_and_call_can_be_left_empty_and_say_what_each_field_is(trigger: str) -> None:
    inputs = PUBLISH["on"][trigger]["inputs"]
    assert all(len(entry["description"]) > 15 and not entry.get("required") for entry in inputs.values())
    assert len(inputs) <= 10  # GitHub shows no more


def test_the_choices_of_the_form_are_variants() -> None:
    for choice in PUBLISH["on"]["workflow_dispatch"]["inputs"]["variants"]["options"]:
        request = from_form({"source": "a/b", "destination": "c/{variant}", "variants": choice})
        assert request.names == (() if choice == "all" else tuple(choice.split(",")))


def test_every_output_that_a_job_asks_for_is_one_of_the_action() -> None:
    told = set(re.findall(r"steps\.\w+\.outputs\.([\w-]+)", str(PUBLISH)))
    assert told
    assert told <= set(ACTION["outputs"])
    plan = set(PUBLISH["jobs"]["plan"]["outputs"])
    assert set(re.findall(r"needs\.plan\.outputs\.([\w-]+)", str(PUBLISH["jobs"]))) <= plan
    for _, step in steps():
        if step.get("uses") == "$/":
            assert set(step["with"]) <= set(ACTION["inputs"])


def test_every_input_of_the_action_reaches_the_command_by_its_environment() -> None:
    [step] = ACTION["runs"]["steps"]
    handed = set(re.findall(r"inputs\.([\w-]+)", str(step["env"])))
    assert handed == set(ACTION["inputs"])
    keys = {
        key.removeprefix("MLX_PUBLISH_INPUT_").lower() for key in step["env"] if key.startswith("MLX_PUBLISH_INPUT")
    }
    options = {
        command.inputs.get(option, option) for command in of_the_action().values() for option in options_of(command)
    }
    assert set(RECIPE_FLAGS) <= keys <= options | set(RequestSpec.model_fields)
    assert step["env"]["MLX_PUBLISH_PYTORCH"] == "${{ inputs.pytorch }}"
    assert f'"MLX_PUBLISH_PYTORCH") == "{ACTION["inputs"]["pytorch"]["default"]}"' in (ROOT / "noxfile.py").read_text()
    assert all(len(one["description"]) > 10 for one in (ACTION["inputs"] | ACTION["outputs"]).values())
    assert all(re.fullmatch(r"[a-z][a-z-]*", name) for name in ACTION["inputs"] | ACTION["outputs"])


def test_the_action_knows_every_stage() -> None:
    [step] = ACTION["runs"]["steps"]
    cases = re.search(r"^\s*([\w-]+(?: \| [\w-]+){3,})\)", step["run"], re.MULTILINE)
    assert cases
    stages = [name.strip() for name in cases[1].split("|")]
    assert {*stages, "plan"} == set(of_the_action())
    assert all(stage in ACTION["inputs"]["stage"]["description"] for stage in (*stages, "plan"))


def test_what_is_published_was_converted_by_the_job_that_publishes_it() -> None:
    """By the step before, which holds no token that may write; a variable of the repo, and no recipe, says otherwise."""
    convert, upload = (
        next(step["with"] for step in PUBLISH["jobs"]["publish"]["steps"] if step.get("with", {}).get("stage") == stage)
        for stage in ("convert", "upload")
    )
    asked = "${{ vars.MLX_PUBLISH_REBUILD != 'false' && 'true' || '' }}"
    assert (convert["force"], upload["rebuild"]) == (asked, asked)
