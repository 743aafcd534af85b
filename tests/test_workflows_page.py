"""docs/workflows.md and docs/security.md say what the workflows say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it comes with check-jsonschema
import pytest
from ruamel.yaml import YAML

from mlx_publish.errors import BadInput
from mlx_publish.github.request import from_payload

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
