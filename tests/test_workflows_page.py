"""docs/workflows.md and docs/security.md say what the workflows say."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it comes with check-jsonschema
import pytest
from ruamel.yaml import YAML

import mlx_publish
from mlx_publish.errors import BadInput
from mlx_publish.github.request import from_payload
from mlx_publish.text import kit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/workflows.md").read_text(encoding="utf-8")
PUBLISH, REVIEW, DRIFT = (
    (ROOT / ".github/workflows" / name).read_text() for name in ("publish.yml", "card-review.yml", "drift.yml")
)
SCHEMA = json.loads((ROOT / "scripts/mlx_publish/schemas/request.schema.json").read_text())


def load(text: str) -> dict[str, Any]:
    data: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return data


CALLERS = [load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_the_callers_call_what_there_is_with_what_it_takes() -> None:
    assert [caller["name"] for caller in CALLERS] == ["publish", "card-review", "drift"]
    for caller, ours in zip(CALLERS, (PUBLISH, REVIEW, DRIFT), strict=True):
        called = load(ours)
        [job] = caller["jobs"].values()
        assert job["uses"] == f"OWNER/mlx-publish/.github/workflows/{called['name']}.yml@COMMIT"
        takes = called["on"]["workflow_call"] or {}
        assert set(job.get("with", {})) <= set(takes.get("inputs", {}))
        assert set(job.get("secrets", {})) == set(takes.get("secrets", {}))
        asked: dict[str, str] = {}
        for one in called["jobs"].values():
            asked |= {key: right for key, right in one["permissions"].items() if asked.get(key) != "write"}
        assert job["permissions"] == asked
        assert caller["permissions"] == {}
    publish = CALLERS[0]
    ours = load(PUBLISH)["on"]
    assert publish["on"]["push"] == ours["push"]
    assert publish["on"]["repository_dispatch"] == ours["repository_dispatch"]
    form = publish["on"]["workflow_dispatch"]["inputs"]
    here = ours["workflow_dispatch"]["inputs"]
    assert {key: (one["type"], one.get("options")) for key, one in form.items()} == {
        key: (one["type"], one.get("options")) for key, one in here.items()
    }
    [job] = publish["jobs"].values()
    assert {key: f"${{{{ inputs.{key} }}}}" for key in form} | {"dry-run": "${{ inputs.dry-run || false }}"} == job[
        "with"
    ]


def test_variables_secrets_and_jobs_are_those_of_the_workflow() -> None:
    told = set(re.findall(r"^\| `(MLX_PUBLISH_\w+|HF_(?:READ_)?TOKEN)` \|", PAGE, re.MULTILINE))
    assert told == set(re.findall(r"(?:vars|secrets)\.(\w+)", PUBLISH))
    jobs = re.findall(
        r"^\| `(plan|run|attest|review|publish)` \| (hosted|`self-hosted, macOS, ARM64`) \|", PAGE, re.MULTILINE
    )
    assert {name: "hosted" if where == "hosted" else "own" for name, where in jobs} == {
        name: "hosted" if job["runs-on"] == "ubuntu-latest" else "own" for name, job in load(PUBLISH)["jobs"].items()
    }


def test_the_permissions_are_those_of_the_workflows_each_with_its_reason() -> None:
    table = re.findall(r"^\| (\S+\.yml) \| `(\w+)` \| (`[^|]+`) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    told = {(file, job): dict(re.findall(r"`([\w-]+): (\w+)`", rights)) for file, job, rights, _ in table}
    assert told == {
        (f"{load(text)['name']}.yml", name): job["permissions"]
        for text in (PUBLISH, REVIEW, DRIFT)
        for name, job in load(text)["jobs"].items()
    }
    assert all(len(why) > 20 for *_, why in table)


def test_every_step_of_the_kit_says_whose_kit_it_is() -> None:
    named = "${{ job.workflow_repository }}@${{ job.workflow_sha }}"
    steps = [step for text in (PUBLISH, REVIEW, DRIFT) for job in load(text)["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if step["uses"] == "$/"]
    assert len(ours) == 10
    assert all(step["env"]["MLX_PUBLISH_KIT"] == named for step in ours)


ACTION = load((ROOT / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"][0]


@pytest.mark.parametrize(
    ("workflow", "action", "repo", "ref"),
    [
        ("me/kit@c0ffee", "you/kit@v1", "me/kit", "c0ffee"),  # a workflow of the kit wins
        ("@", "you/kit@v1", "you/kit", "v1"),  # a runner that does not know job.workflow_repository
        ("", "you/kit@v1", "you/kit", "v1"),
        ("@", "@", kit.REPO, f"v{mlx_publish.__version__}"),  # used from the checkout
    ],
)
def test_the_action_names_the_running_kit_and_nothing_falls_back_to_the_constant(
    tmp_path: Path, workflow: str, action: str, repo: str, ref: str
) -> None:
    env = ACTION["env"]
    assert env["ACTION_REPOSITORY"] == "${{ github.action_repository }}"
    assert env["ACTION_REF"] == "${{ github.action_ref }}"
    assert "MLX_PUBLISH_KIT" not in env  # it would hide what the workflow says
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/bootstrap.sh").write_text('printf \'%s\' "$MLX_PUBLISH_KIT" > "$OUT"\n')
    owner, _, at = action.partition("@")
    given = {"ACTION": str(tmp_path), "ACTION_REPOSITORY": owner, "ACTION_REF": at, "STAGE": "run"}
    more = {"MLX_PUBLISH_KIT": workflow, "OUT": str(tmp_path / "out"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    subprocess.run(["sh", "-e", "-c", ACTION["run"]], env={"PATH": os.defpath, **given, **more}, check=True)
    said = {"MLX_PUBLISH_KIT": (tmp_path / "out").read_text()}
    assert (kit.repo(said), kit.ref(said)) == (repo, ref)


@pytest.mark.parametrize(
    ("payload", "good"),
    [
        ({"recipe": "small"}, True),
        ({"recipe": "small", "variants": ["4bit", "8bit"], "dry_run": True, "callback": "x"}, True),
        ({"source": "a/b", "revision": "refs/pr/1", "destination": "c/{source}-{bits}", "notes": "x\ny"}, True),
        ({"recipe": "a b"}, False),
        ({"source": "a"}, False),
        ({"recipe": "x", "extra": 1}, False),
        ({"recipe": "x", "dry_run": "perhaps"}, False),
        ({"recipe": "x", "callback": "\x07"}, False),
        ({"source": "a/b", "revision": "a..b", "destination": "c/d"}, False),
    ],
)
def test_the_schema_agrees_with_what_is_taken(payload: dict[str, Any], good: bool) -> None:
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(payload) is good
    if good:
        from_payload(payload)
    else:
        with pytest.raises(BadInput):
            from_payload(payload)
