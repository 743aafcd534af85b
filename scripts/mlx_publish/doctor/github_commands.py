"""Commands that set what a repo of recipes lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlx_publish.doctor.github_api import Unknown
from mlx_publish.doctor.github_facts import ENVIRONMENT, RepoFacts

TAGS = "*/v*"
RESTRICTED = ("creation", "update", "deletion")
"""What a ruleset has to restrict of the tags that publish."""
_ADMIN = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
"""GitHub's repository role admin, who may still push such tags."""


def put_environment(facts: RepoFacts, *, reviewed: bool = True) -> str:
    """Return the command that makes the environment, for refs by name; it keeps the reviewers that are there.

    If there are none and it is to be `reviewed`, the reviewer is whoever runs the command.
    """
    environment = facts.environment
    known = () if isinstance(environment, Unknown) else environment.reviewers
    body: dict[str, object] = {
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True}
    }
    if known or reviewed:
        body["reviewers"] = [{"type": kind, "id": number} for kind, number in known] or [{"type": "User", "id": "%s"}]
    text = json.dumps(body, separators=(",", ":")).replace('"%s"', "%s")
    values = ' "$(gh api user --jq .id)"' if "%s" in text else ""
    return f"printf '{text}'{values} | gh api -X PUT repos/{facts.name}/environments/{ENVIRONMENT} --input -"


def workflow_token(facts: RepoFacts, default: str) -> str:
    """Return the command that lets jobs open pull requests, with the default permissions of their token."""
    return (
        f"gh api -X PUT repos/{facts.name}/actions/permissions/workflow -f default_workflow_permissions={default} "
        "-F can_approve_pull_request_reviews=true"
    )


def protect_branch(facts: RepoFacts, check: str) -> str:
    """Return the command that requires a pull request and a check for the default branch."""
    review = {
        "required_approving_review_count": 0,
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_review_thread_resolution": False,
    }
    checks = {"strict_required_status_checks_policy": False, "required_status_checks": [{"context": check}]}
    rules = [
        {"type": "pull_request", "parameters": review},
        {"type": "required_status_checks", "parameters": checks},
    ]
    return _ruleset(facts, {"name": "reviewed cards", "target": "branch"}, "~DEFAULT_BRANCH", rules)


def protect_tags(facts: RepoFacts) -> str:
    """Return the command that lets only admins push the tags that publish."""
    about = {"name": "tags that publish", "target": "tag", "bypass_actors": [_ADMIN]}
    return _ruleset(facts, about, f"refs/tags/{TAGS}", [{"type": kind} for kind in RESTRICTED])


def _ruleset(facts: RepoFacts, about: Mapping[str, object], include: str, rules: Sequence[object]) -> str:
    """Return the command that creates a ruleset."""
    body = {
        **about,
        "enforcement": "active",
        "conditions": {"ref_name": {"include": [include], "exclude": []}},
        "rules": rules,
    }
    text = json.dumps(body, separators=(",", ":"))
    return f"echo '{text}' | gh api -X POST repos/{facts.name}/rulesets --input -"
