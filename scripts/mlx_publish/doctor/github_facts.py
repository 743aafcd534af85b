"""What `doctor --github` looks at in a repo of recipes. It changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlx_publish.doctor.github_api import GitHub, Unknown, find_repo
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.text import kit
from mlx_publish.text.yaml import parse_yaml

ENVIRONMENT = "huggingface"
WORKFLOWS = ("publish", "card-review", "drift")
_PAGE = "per_page=100"
_TAG = "refs/tags/recipe/v1"
"""A tag that publishes, by which rulesets are judged."""


@dataclass(frozen=True)
class SelfHosted:
    """A self-hosted runner."""

    id: int
    name: str
    online: bool
    labels: frozenset[str]


@dataclass(frozen=True)
class Environment:
    """The environment of the job that publishes."""

    reviewers: tuple[tuple[str, int], ...]
    """Kind, `User` or `Team`, and id of each."""
    tags: tuple[str, ...]
    """Patterns of the tags that may use it."""
    branches: tuple[str, ...]
    """Patterns of the branches that may; `*` where all refs may use it."""
    secrets: frozenset[str] | Unknown


@dataclass(frozen=True)
class Workflow:
    """A workflow of the repo, and what it calls."""

    kit: str
    """`owner/name` of the kit it calls; empty where it is the kit's own."""
    ref: str
    check: str
    """The name of the check that its first job becomes."""


@dataclass(frozen=True)
class BranchRules:
    """What protects the default branch, by rulesets or by branch protection; None where that is not known."""

    pull_request: bool | None
    checks: frozenset[str] | None


@dataclass(frozen=True)
class RepoFacts:
    """A repo of recipes, as GitHub's API describes it."""

    name: str
    private: bool
    default_branch: str
    runners: tuple[SelfHosted, ...] | Unknown
    variables: Mapping[str, str] | Unknown
    secrets: frozenset[str] | Unknown
    environment: Environment | Unknown
    """`Unknown` with the status 404 where there is none."""
    workflow_token: tuple[str, bool] | Unknown
    """Default permissions of the job's token, `read` or `write`; whether jobs may open pull requests."""
    branch: BranchRules
    tag_rules: frozenset[str] | Unknown
    """Types of the active rules for tags that publish."""
    workflows: Mapping[str, Workflow | None]
    """None where the file is missing."""
    fork_approval: str = ""
    """Whose first pull request from a fork waits for approval, of a public repo."""


def gather(root: Path, given: str | None) -> RepoFacts:
    """Ask about the repo that is named, else that of the folder `root`."""
    github = GitHub(root, find_repo(root, given))
    try:
        return _gather(github)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SurroundingsError(
            f"GitHub answered in a form that is not known here: {type(error).__name__}: {error}",
            remedy=f"Report it at {kit.address()}/issues, with: gh api repos/{github.repo}",
        ) from error


def _gather(github: GitHub) -> RepoFacts:
    about = github.get("")
    if isinstance(about, Unknown):
        raise BadInput(
            f"GitHub has no repo {github.repo}, or this account cannot see it",
            place="--repo",
            remedy="Check the spelling, and the account: gh auth status",
        )
    branch, private = str(about["default_branch"]), bool(about["private"])
    owner = github.repo.partition("/")[0] if (about.get("owner") or {}).get("type") == "Organization" else ""
    approval = {} if private else github.get("actions/permissions/fork-pr-contributor-approval")
    permissions = github.get("actions/permissions/workflow")
    return RepoFacts(
        name=github.repo,
        private=private,
        default_branch=branch,
        runners=_runners(github, owner),
        variables=_variables(github, owner),
        secrets=_secrets(github, "actions/secrets", "actions/organization-secrets" if owner else ""),
        environment=_environment(github),
        workflow_token=permissions
        if isinstance(permissions, Unknown)
        else (
            str(permissions["default_workflow_permissions"]),
            bool(permissions["can_approve_pull_request_reviews"]),
        ),
        branch=_branch(github, branch),
        tag_rules=_tag_rules(github),
        workflows={name: _workflow(github, name) for name in WORKFLOWS},
        fork_approval="" if isinstance(approval, Unknown) else str(approval.get("approval_policy") or ""),
    )


def _runners(github: GitHub, owner: str) -> tuple[SelfHosted, ...] | Unknown:
    """Return the repo's own, and those of its organization where they may be seen."""
    own = github.get(f"actions/runners?{_PAGE}")
    if isinstance(own, Unknown):
        return own
    shared = github.ask(f"orgs/{owner}/actions/runners?{_PAGE}") if owner else {"runners": []}
    if isinstance(shared, Unknown) and not own["runners"]:
        return shared
    return tuple(
        SelfHosted(
            int(runner["id"]),
            str(runner["name"]),
            runner["status"] == "online",
            frozenset(str(label["name"]).lower() for label in runner["labels"]),
        )
        for runner in (*own["runners"], *([] if isinstance(shared, Unknown) else shared["runners"]))
    )


def _variables(github: GitHub, owner: str) -> Mapping[str, str] | Unknown:
    """Return the repo's variables, over those of its organization."""
    own = github.get(f"actions/variables?{_PAGE}")
    if isinstance(own, Unknown):
        return own
    shared = github.get(f"actions/organization-variables?{_PAGE}") if owner else Unknown(404, "")
    listed = [*([] if isinstance(shared, Unknown) else shared["variables"]), *own["variables"]]
    return {str(entry["name"]): str(entry["value"]) for entry in listed}


def _secrets(github: GitHub, *paths: str) -> frozenset[str] | Unknown:
    """Return the names of secrets. Their values cannot be read."""
    answers = [github.get(f"{path}?{_PAGE}") for path in paths if path]
    if isinstance(answers[0], Unknown):
        return answers[0]
    known = [answer for answer in answers if not isinstance(answer, Unknown)]
    return frozenset(str(secret["name"]) for answer in known for secret in answer["secrets"])


def _environment(github: GitHub) -> Environment | Unknown:
    answer = github.get(f"environments/{ENVIRONMENT}")
    if isinstance(answer, Unknown):
        return answer
    rules = answer.get("protection_rules") or ()
    reviewers = [one for rule in rules if rule["type"] == "required_reviewers" for one in rule["reviewers"]]
    policy = answer.get("deployment_branch_policy")
    patterns: list[Any] = []
    if policy and policy["custom_branch_policies"]:
        listed = github.get(f"environments/{ENVIRONMENT}/deployment-branch-policies?{_PAGE}")
        patterns = [] if isinstance(listed, Unknown) else listed["branch_policies"]
    elif policy is None:
        patterns = [{"name": "*"}]
    else:
        patterns = [{"name": "protected branches"}]
    return Environment(
        tuple((str(one["type"]), int(one["reviewer"]["id"])) for one in reviewers),
        tuple(str(pattern["name"]) for pattern in patterns if pattern.get("type") == "tag"),
        tuple(str(pattern["name"]) for pattern in patterns if pattern.get("type") != "tag"),
        _secrets(github, f"environments/{ENVIRONMENT}/secrets"),
    )


def _branch(github: GitHub, branch: str) -> BranchRules:
    """Return what rulesets ask for, and branch protection, which only an admin may read."""
    name = quote(branch, safe="")
    rules = github.get(f"rules/branches/{name}?{_PAGE}")
    listed = [] if isinstance(rules, Unknown) else rules
    pull_request = any(rule["type"] == "pull_request" for rule in listed)
    checks = {check for rule in listed if rule["type"] == "required_status_checks" for check in _contexts(rule)}
    if pull_request and checks:
        return BranchRules(pull_request, frozenset(checks))
    protection = github.get(f"branches/{name}/protection")
    if isinstance(protection, Unknown):
        known = protection.why == "Branch not protected" and not isinstance(rules, Unknown)
        return BranchRules(pull_request or (False if known else None), frozenset(checks) if checks or known else None)
    pull_request = pull_request or bool(protection.get("required_pull_request_reviews"))
    return BranchRules(pull_request, frozenset(checks | set(_contexts({"parameters": protection}))))


def _contexts(rule: Any) -> Iterator[str]:
    """Yield the required checks of a rule, or of a branch's protection, which spells them otherwise."""
    checks = (rule.get("parameters") or {}).get("required_status_checks") or ()
    listed = checks.get("checks") or () if isinstance(checks, Mapping) else checks
    yield from (str(check["context"]) for check in listed)


def _tag_rules(github: GitHub) -> frozenset[str] | Unknown:
    listed = github.get(f"rulesets?targets=tag&{_PAGE}")
    if isinstance(listed, Unknown):
        return listed
    types: set[str] = set()
    for entry in listed:
        if entry.get("target") != "tag" or entry.get("enforcement") != "active":
            continue
        ruleset = github.get(f"rulesets/{int(entry['id'])}")
        if not isinstance(ruleset, Unknown) and _covers(ruleset.get("conditions") or {}):
            types |= {str(rule["type"]) for rule in ruleset.get("rules") or ()}
    return frozenset(types)


def _covers(conditions: Any) -> bool:
    names = conditions.get("ref_name") or {}
    included = any(_matches(str(pattern)) for pattern in names.get("include") or ())
    return included and not any(_matches(str(pattern)) for pattern in names.get("exclude") or ())


def _matches(pattern: str) -> bool:
    """Tell whether a pattern of a ruleset matches a tag that publishes: `*` stops at a slash, `**` does not."""
    words = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return pattern == "~ALL" or re.fullmatch(words, _TAG) is not None


def _workflow(github: GitHub, name: str) -> Workflow | None:
    text = github.file(f".github/workflows/{name}.yml")
    if isinstance(text, Unknown):
        return None
    data, _ = parse_yaml(text, f"{name}.yml")
    jobs = data.get("jobs") if isinstance(data, dict) else None
    called = re.compile(rf"(?P<kit>[\w-]+/[\w.-]+)/\.github/workflows/{name}\.yml@(?P<ref>\S+)")
    first = ""
    for key, job in (jobs if isinstance(jobs, dict) else {}).items():
        title = str((job or {}).get("name") or key)
        first = first or title
        if match := called.fullmatch(str((job or {}).get("uses") or "")):
            return Workflow(match["kit"], match["ref"], f"{title} / cards")
    return Workflow("", "", first)
