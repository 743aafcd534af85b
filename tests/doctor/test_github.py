"""`mlx-publish doctor --github` on answers recorded in the shapes of GitHub's REST API."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.doctor.github_checks import REPO
from pipeline import Ended, User

GH = """\
#!/bin/sh
# Answers from files, as GitHub's own program would: NAME is a body, NAME.error a complaint with its status.
printf '%s\\n' "$*" >> "$FAKE_GH/log"
if [ -f "$FAKE_GH/all.error" ]; then cat "$FAKE_GH/all.error" >&2; exit "$(cat "$FAKE_GH/code")"; fi
for last; do :; done
if [ "$1 $2" = "repo view" ]; then last=view; fi
name=$(printf '%s' "$last" | tr '/?&=' '____')
if [ -f "$FAKE_GH/$name.error" ]; then cat "$FAKE_GH/$name.error" >&2; exit 1; fi
if [ -f "$FAKE_GH/$name" ]; then cat "$FAKE_GH/$name"; exit 0; fi
echo '{"message":"Not Found","status":"404"}'
echo 'gh: Not Found (HTTP 404)' >&2
exit 1
"""
COMMIT = "a" * 40
REVIEW = f"""\
name: card-review
on: [pull_request]
jobs:
  cards:
    permissions: {{contents: read}}
    uses: lab/mlx-publish/.github/workflows/card-review.yml@{COMMIT}
"""
ENVIRONMENT = {
    "id": 161088068,
    "name": "huggingface",
    "can_admins_bypass": True,
    "protection_rules": [
        {
            "id": 3736,
            "type": "required_reviewers",
            "prevent_self_review": False,
            "reviewers": [{"type": "User", "reviewer": {"login": "ada", "id": 7, "type": "User"}}],
        },
        {"id": 3755, "type": "branch_policy"},
    ],
    "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
}


def runner(name: str = "mini", status: str = "online", *more: str) -> dict[str, Any]:
    labels = [{"id": 1, "name": label, "type": "read-only"} for label in ("self-hosted", "macOS", "ARM64")]
    labels += [{"id": 2, "name": label, "type": "custom"} for label in more]
    return {"id": 23, "name": name, "os": "macOS", "status": status, "busy": False, "labels": labels}


def secrets(*names: str) -> dict[str, Any]:
    listed = [
        {"name": name, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"} for name in names
    ]
    return {"total_count": len(listed), "secrets": listed}


def variables(**values: str) -> dict[str, Any]:
    return {"total_count": len(values), "variables": [{"name": name, "value": text} for name, text in values.items()]}


def ruleset(include: str, *types: str, enforcement: str = "active") -> dict[str, Any]:
    return {
        "id": 42,
        "name": "releases",
        "target": "tag",
        "source_type": "Repository",
        "source": "lab/models",
        "enforcement": enforcement,
        "conditions": {"ref_name": {"include": [include], "exclude": []}},
        "rules": [{"type": kind} for kind in types],
    }


CHECKS = {
    "type": "required_status_checks",
    "ruleset_id": 41,
    "parameters": {
        "strict_required_status_checks_policy": False,
        "required_status_checks": [{"context": "cards / cards", "integration_id": 15368}],
    },
}
PULL_REQUEST = {"type": "pull_request", "ruleset_id": 41, "parameters": {"required_approving_review_count": 0}}
GOOD: dict[str, Any] = {
    "": {
        "id": 1,
        "full_name": "lab/models",
        "private": True,
        "visibility": "private",
        "default_branch": "main",
        "owner": {"login": "lab", "type": "User"},
        "permissions": {"admin": True, "push": True, "pull": True},
    },
    "actions/runners?per_page=100": {"total_count": 1, "runners": [runner()]},
    "actions/variables?per_page=100": variables(),
    "actions/secrets?per_page=100": secrets("MLX_PUBLISH_TOKEN"),
    "environments/huggingface": ENVIRONMENT,
    "environments/huggingface/deployment-branch-policies?per_page=100": {
        "total_count": 1,
        "branch_policies": [{"id": 361471, "name": "*/v*", "type": "tag"}],
    },
    "environments/huggingface/secrets?per_page=100": secrets("HF_TOKEN"),
    "actions/permissions/workflow": {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True},
    "rules/branches/main?per_page=100": [PULL_REQUEST, CHECKS],
    "rulesets?targets=tag&per_page=100": [ruleset("refs/tags/*/v*")],
    "rulesets/42": ruleset("refs/tags/*/v*", "creation", "update", "deletion"),
    "contents/.github/workflows/publish.yml": REVIEW.replace("card-review", "publish"),
    "contents/.github/workflows/card-review.yml": REVIEW,
    "contents/.github/workflows/drift.yml": REVIEW.replace("card-review", "drift"),
}
DENIED = {"403": "gh: Resource not accessible by personal access token (HTTP 403)"}
GONE = {"404": "gh: Not Found (HTTP 404)"}


@dataclass
class GitHub:
    """A user beside a gh that answers for lab/models."""

    user: User
    answers: Path

    def put(self, answers: dict[str, Any]) -> None:
        """Answer to endpoints below the repo; a text is a file, `GONE` or `DENIED` an error."""
        for path, body in answers.items():
            self.write(f"repos/lab/models{path and '/'}{path}", body)

    def write(self, path: str, body: Any) -> None:
        name = path.translate(str.maketrans("/?&=", "____"))
        if body in (GONE, DENIED):
            (self.answers / f"{name}.error").write_text(next(iter(body.values())))
        else:
            (self.answers / name).write_text(body if isinstance(body, str) else json.dumps(body))

    def doctor(self, *words: str, code: int = 0) -> Ended:
        return self.user.run("doctor", "--github", *(words or ("--repo", "lab/models")), "--json", code=code)

    def checks(self, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
        return {check["id"]: check for check in json.loads(self.doctor(*words, code=code).out)["checks"]}


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    program, answers = tmp_path / "bin/gh", tmp_path / "answers"
    program.parent.mkdir()
    answers.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    more = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    # gh is shown no variable but GitHub's own.
    program.write_text(GH.replace("$FAKE_GH", str(answers)))
    fake = GitHub(User(tmp_path / "home", None, None, more), answers)
    fake.put(GOOD)
    return fake


def test_a_repo_with_all_settings_is_ready(github: GitHub) -> None:
    ended = github.doctor()
    assert "lab/models: ready" in ended.err
    checks = {check["id"]: check["status"] for check in json.loads(ended.out)["checks"]}
    assert checks == dict.fromkeys((check.id for check in REPO), "pass")
    log = (github.answers / "log").read_text()
    assert all(line.startswith("api ") and " -X" not in line for line in log.splitlines()), "it only reads"


def test_the_repo_is_that_of_the_current_folder_or_an_address(github: GitHub) -> None:
    (github.answers / "view").write_text("lab/models\n")
    assert "lab/models: ready" in github.user.run("doctor", "--github").text
    assert "lab/models: ready" in github.doctor("--repo", "https://github.com/lab/models.git").text
    assert "--repo: 'models' is not OWNER/NAME" in github.user.run("doctor", "--repo", "models", code=2).text


WRONG: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("visibility", "warn", {"": {**GOOD[""], "private": False}}, "fork", "fork-pr-contributor-approval"),
    (
        "visibility",
        "warn",
        {
            "": {**GOOD[""], "private": False},
            "actions/permissions/fork-pr-contributor-approval": {"approval_policy": "all_external_contributors"},
        },
        "once somebody approves it",
        "gh repo edit lab/models --visibility private",
    ),
    ("workflows", "fail", {"contents/.github/workflows/publish.yml": GONE}, "publish.yml on main", "mlx-publish init"),
    ("workflows", "warn", {"contents/.github/workflows/drift.yml": GONE}, "drift.yml on main", "mlx-publish init"),
    (
        "workflows",
        "fail",
        {"contents/.github/workflows/card-review.yml": REVIEW.replace(COMMIT, "v1")},
        "card-review.yml (@v1)",
        "gh api repos/lab/mlx-publish/commits/v1 --jq .sha",
    ),
    (
        "workflows",
        "fail",
        {"contents/.github/workflows/card-review.yml": REVIEW.replace(COMMIT, "$(id)")},
        "@$(id)",
        "commits/'$(id)' --jq .sha",
    ),
    (
        "runner",
        "fail",
        {"actions/runners?per_page=100": {"total_count": 0, "runners": []}},
        "no self-hosted runner",
        "registration-token",
    ),
    (
        "runner",
        "fail",
        {"actions/runners?per_page=100": {"total_count": 1, "runners": [runner("mini", "offline")]}},
        "offline: mini",
        "./svc.sh start",
    ),
    (
        "runner",
        "fail",
        {"actions/variables?per_page=100": variables(MLX_PUBLISH_RUNNER="models")},
        "no runner has the label models",
        "repos/lab/models/actions/runners/23/labels -f 'labels[]=models'",
    ),
    ("environment", "fail", {"environments/huggingface": GONE}, "no environment", "gh api -X PUT repos/lab/models/env"),
    (
        "environment",
        "fail",
        {"": {**GOOD[""], "private": False}, "environments/huggingface": {**ENVIRONMENT, "protection_rules": []}},
        "requires no reviewer",
        '"id":%s',
    ),
    (
        "environment",
        "warn",
        {"environments/huggingface": {**ENVIRONMENT, "protection_rules": []}},
        "only GitHub Enterprise",
        "restrict who may push tags",
    ),
    (
        "tag-policy",
        "fail",
        {"environments/huggingface": {**ENVIRONMENT, "deployment_branch_policy": None}},
        "not only tags",
        '"reviewers":[{"type":"User","id":7}]',
    ),
    (
        "tag-policy",
        "fail",
        {
            "environments/huggingface/deployment-branch-policies?per_page=100": {
                "total_count": 1,
                "branch_policies": [{"id": 1, "name": "v*", "type": "tag"}],
            }
        },
        "does not admit tags */v*",
        "-f name='*/v*' -f type=tag",
    ),
    (
        "publish-token",
        "fail",
        {"environments/huggingface/secrets?per_page=100": secrets()},
        "no secret HF_TOKEN",
        "gh secret set HF_TOKEN --env huggingface --repo lab/models",
    ),
    (
        "publish-token",
        "fail",
        {"actions/secrets?per_page=100": secrets("HF_TOKEN")},
        "every workflow can publish",
        "gh secret delete HF_TOKEN --repo lab/models",
    ),
    (
        "pull-requests",
        "fail",
        {
            "actions/secrets?per_page=100": secrets(),
            "actions/permissions/workflow": {
                "default_workflow_permissions": "read",
                "can_approve_pull_request_reviews": False,
            },
        },
        "may not create pull requests",
        "can_approve_pull_request_reviews=true",
    ),
    (
        "default-permissions",
        "warn",
        {
            "actions/permissions/workflow": {
                "default_workflow_permissions": "write",
                "can_approve_pull_request_reviews": True,
            }
        },
        "may write to the repo",
        "default_workflow_permissions=read",
    ),
    (
        "review-token",
        "warn",
        {"actions/secrets?per_page=100": secrets()},
        "no secret MLX_PUBLISH_TOKEN",
        "gh secret set MLX_PUBLISH_TOKEN --repo lab/models",
    ),
    (
        "branch-rules",
        "fail",
        {
            "rules/branches/main?per_page=100": [],
            "branches/main/protection": {"404": "gh: Branch not protected (HTTP 404)"},
        },
        "without a pull request",
        '"include":["~DEFAULT_BRANCH"]',
    ),
    (
        "branch-rules",
        "fail",
        {
            "rules/branches/main?per_page=100": [PULL_REQUEST],
            "branches/main/protection": {
                "required_status_checks": {"contexts": ["cards"], "checks": [{"context": "cards", "app_id": None}]}
            },
        },
        "without the check 'cards / cards'; it requires: cards",
        '"context":"cards / cards"',
    ),
    (
        "tag-rules",
        "fail",
        {"rulesets?targets=tag&per_page=100": []},
        "everybody who can push may publish",
        '"include":["refs/tags/*/v*"]',
    ),
    (
        "tag-rules",
        "fail",
        {"rulesets/42": ruleset("refs/tags/v*", "creation", "update", "deletion")},
        "creation, update, deletion",
        "gh api -X POST repos/lab/models/rulesets",
    ),
]


@pytest.mark.parametrize(("check", "status", "changes", "message", "command"), WRONG)
def test_what_is_not_set_is_named_with_its_command(
    github: GitHub, check: str, status: str, changes: dict[str, Any], message: str, command: str
) -> None:
    for path, body in changes.items():
        if isinstance(body, dict) and "404" in body:
            github.write(f"repos/lab/models/{path}", GONE)
            name = f"repos/lab/models/{path}".translate(str.maketrans("/?&=", "____"))
            (github.answers / f"{name}.error").write_text(body["404"])
        else:
            github.put({path: body})
    others = {"environments/huggingface": GONE}
    code = 4 if status == "fail" or changes == others else 0
    found = github.checks(code=code)[check]
    assert found["status"] == status
    assert message in found["message"]
    assert command in found["remedy"]


def test_every_check_of_a_repo_can_fail_or_warn() -> None:
    assert {name for name, *_ in WRONG} == {check.id for check in REPO}


@pytest.mark.parametrize(
    "path",
    ["refs/tags/*/v*", "refs/tags/**", "refs/tags/**/*", "refs/tags/*/*", "~ALL"],
)
def test_any_ruleset_that_covers_release_tags_will_do(github: GitHub, path: str) -> None:
    github.put({"rulesets/42": ruleset(path, "creation", "update", "deletion")})
    assert github.checks()["tag-rules"]["status"] == "pass"


def test_branch_protection_will_do_as_well_as_a_ruleset(github: GitHub) -> None:
    protection = {
        "required_pull_request_reviews": {"required_approving_review_count": 1},
        "required_status_checks": {"contexts": [], "checks": [{"context": "cards / cards", "app_id": 15368}]},
    }
    github.put({"rules/branches/main?per_page=100": [], "branches/main/protection": protection})
    assert github.checks()["branch-rules"]["status"] == "pass"


def test_a_trusted_publisher_needs_no_token(github: GitHub) -> None:
    github.put(
        {
            "environments/huggingface/secrets?per_page=100": secrets(),
            "actions/variables?per_page=100": variables(MLX_PUBLISH_TRUSTED="true"),
        }
    )
    assert github.checks()["publish-token"]["status"] == "pass"


def test_runners_of_the_organization_count(github: GitHub) -> None:
    none = {"total_count": 0, "runners": []}
    github.put({"": {**GOOD[""], "owner": {"login": "lab", "type": "Organization"}}})
    github.put({"actions/runners?per_page=100": none})
    assert "admin:org" in github.checks()["runner"]["remedy"]
    github.write("orgs/lab/actions/runners?per_page=100", {"total_count": 1, "runners": [runner("studio")]})
    assert github.checks()["runner"]["message"] == "online: studio"


@pytest.mark.parametrize("refused", [GONE, DENIED])
def test_what_this_account_may_not_see_is_not_known_and_no_failure(github: GitHub, refused: dict[str, str]) -> None:
    admin = ("actions/runners", "actions/variables", "actions/secrets", "environments/huggingface/secrets")
    github.put({f"{path}?per_page=100": refused for path in admin})
    github.put({"actions/permissions/workflow": refused, "rulesets?targets=tag&per_page=100": refused})
    github.put({"rules/branches/main?per_page=100": [], "branches/main/protection": refused})
    ended = github.doctor()
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    unknown = {name for name, check in checks.items() if "not known" in check["message"]}
    assert unknown == {
        *("runner", "publish-token", "pull-requests", "default-permissions"),
        *("review-token", "branch-rules", "tag-rules"),
    }
    assert all(checks[name]["status"] == "warn" and "admin" in checks[name]["message"] for name in unknown)
    assert "ready, as far as this account may see (7 not known)" in ended.text


def test_what_the_plan_does_not_offer_is_no_failure(github: GitHub) -> None:
    name = "repos_lab_models_rulesets_targets_tag_per_page_100.error"
    words = "gh: Upgrade to GitHub Pro or make this repository public to enable this feature. (HTTP 403)"
    (github.answers / name).write_text(words)
    found = github.checks()["tag-rules"]
    assert (found["status"], "this account's plan" in found["message"]) == ("warn", True)


@pytest.mark.parametrize(
    ("code", "error", "exit_code", "message"),
    [
        (4, "To get started with GitHub CLI, please run:  gh auth login", 4, "gh auth login"),
        (1, "gh: Bad credentials (HTTP 401)", 4, "gh auth login"),
        (1, "error connecting to api.github.com", 4, "gh failed: error connecting to api.github.com"),
        (1, "gh: Not Found (HTTP 404)", 2, "GitHub has no repo lab/models, or this account cannot see it"),
    ],
)
def test_a_gh_that_cannot_ask_says_what_to_do(
    github: GitHub, code: int, error: str, exit_code: int, message: str
) -> None:
    (github.answers / "all.error").write_text(error)
    (github.answers / "code").write_text(str(code))
    assert message in github.doctor(code=exit_code).text


def test_a_folder_that_is_no_repo_is_bad_input(github: GitHub) -> None:
    (github.answers / "view.error").write_text("failed to run git: fatal: not a git repository")
    ended = github.user.run("doctor", "--github", code=2)
    assert "--repo OWNER/NAME" in ended.text


def test_a_missing_gh_is_named_with_its_remedy(github: GitHub) -> None:
    github.user.more["PATH"] = str(github.answers)
    assert "gh" in github.user.run("doctor", "--github", "--repo", "lab/models", code=4).text


def test_an_answer_of_another_shape_is_no_crash(github: GitHub) -> None:
    github.put({"actions/runners?per_page=100": {"items": []}})
    assert "not known here: KeyError" in github.doctor(code=4).text


def test_a_private_repo_is_told_what_works_without_required_reviewers(github: GitHub) -> None:
    github.put({"environments/huggingface": GONE})
    checks = github.checks(code=4)
    asked, _, without = checks["environment"]["remedy"].partition("\n# on a plan without required reviewers:\n")
    assert "reviewers" in asked
    assert "reviewers" not in without
    assert "-X PUT" not in checks["tag-policy"]["remedy"], "it would take the reviewers away again"
    assert without.startswith("# printf ")


def test_a_command_stands_in_one_line_so_that_it_can_be_copied(github: GitHub) -> None:
    github.put({"rulesets?targets=tag&per_page=100": []})
    out = github.user.run("doctor", "--github", "--repo", "lab/models", code=4).out
    [line] = [line for line in out.splitlines() if "gh api -X POST repos/lab/models/rulesets" in line]
    body = line.strip().removeprefix("echo '").partition("' | ")[0]
    assert json.loads(body)["conditions"]["ref_name"]["include"] == ["refs/tags/*/v*"]


def test_a_remedy_can_be_pasted_into_a_shell(github: GitHub) -> None:
    empty = {"": GOOD[""], "actions/runners?per_page=100": {"total_count": 0, "runners": []}}
    for file in github.answers.iterdir():
        file.unlink()
    github.put(empty)
    remedies = [check["remedy"] for check in github.checks(code=4).values() if check["status"] in ("fail", "warn")]
    lines = [line for remedy in remedies for line in remedy.splitlines()]
    assert lines
    assert {line.split()[0] for line in lines} <= {"#", "gh", "printf", "echo", "mlx-publish"}
    for line in lines:
        subprocess.run(["sh", "-n", "-c", line], check=True)
