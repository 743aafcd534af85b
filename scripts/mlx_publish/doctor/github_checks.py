"""What docs/getting-started.md wants set in a repo of recipes, and the command that sets what is missing.

A remedy can be pasted into a shell: words stand in it as comments.
"""

from __future__ import annotations

from shlex import quote

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.doctor import github_commands as commands
from mlx_publish.doctor.github_api import Unknown
from mlx_publish.doctor.github_commands import TAGS
from mlx_publish.doctor.github_facts import ENVIRONMENT, RepoFacts, Workflow
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.text import kit

LABELS = ("self-hosted", "macos", "arm64")
"""Labels of every job that needs a Mac; GitHub compares them without regard to case."""

_FIRST = "# create the environment first, see environment; then:"


def _unknown(facts: RepoFacts, what: str, answer: Unknown, scope: str = "repo") -> Says:
    """Return that something may not be read: a warning, for nobody knows whether it is set."""
    if answer.of_the_plan:
        return warned(
            f"{what}: not available to a {'private' if facts.private else 'public'} repo on this account's plan",
            "# upgrade the plan, or let only people you trust push to the repo",
            unknown=True,
        )
    return warned(
        f"{what}: not known; GitHub answered {answer.status} ({answer.why}), so this account needs admin rights",
        f"# run doctor as an admin of {facts.name}, or give gh more rights:\ngh auth refresh --scopes {scope}",
        unknown=True,
    )


def _visibility(facts: RepoFacts) -> Says:
    if facts.private:
        return passed("the repo is private")
    message = "the repo is public: a pull request from a fork may bring a workflow that runs on your Mac"
    if facts.fork_approval == "all_external_contributors":
        return warned(
            f"{message} once somebody approves it",
            f"# read workflows before you approve a run; or:\ngh repo edit {facts.name} --visibility private "
            "--accept-visibility-change-consequences",
        )
    return warned(
        message,
        f"gh api -X PUT repos/{facts.name}/actions/permissions/fork-pr-contributor-approval "
        "-f approval_policy=all_external_contributors",
    )


def _workflows(facts: RepoFacts) -> Says:
    missing = [name for name, workflow in facts.workflows.items() if workflow is None]
    if missing:
        files = ", ".join(f".github/workflows/{name}.yml" for name in missing)
        says = warned if missing == ["drift"] else failed
        return says(
            f"no {files} on {facts.default_branch}",
            f"mlx-publish init\n# or copy them from {kit.page('docs/workflows.md#in-your-repo')}; then commit and push",
        )
    present = {name: workflow for name, workflow in facts.workflows.items() if workflow is not None}
    loose = {name: workflow for name, workflow in present.items() if workflow.kit and not is_commit(workflow.ref)}
    if loose:
        workflow = next(iter(loose.values()))
        return failed(
            f"not pinned to a commit: {', '.join(f'{name}.yml (@{one.ref})' for name, one in loose.items())}",
            f"# replace @{workflow.ref} by the commit that this prints:\n"
            f"gh api repos/{workflow.kit}/commits/{quote(_ref(workflow))} --jq .sha",
        )
    return passed(f"{', '.join(present)} are there and pinned")


def _ref(workflow: Workflow) -> str:
    """Return the ref whose commit to pin to: the default branch where it is a placeholder."""
    return "HEAD" if workflow.ref.isupper() else workflow.ref


def _runner(facts: RepoFacts) -> Says:
    if isinstance(facts.runners, Unknown):
        return _unknown(facts, "self-hosted runners", facts.runners, "repo,admin:org")
    extra = "" if isinstance(facts.variables, Unknown) else facts.variables.get("MLX_PUBLISH_RUNNER", "")
    wanted = {*LABELS, *([extra.lower()] if extra else [])}
    macs = [runner for runner in facts.runners if runner.labels.issuperset(LABELS)]
    fitting = [runner for runner in macs if runner.labels >= wanted]
    online = [runner.name for runner in fitting if runner.online]
    if online:
        return passed(f"online: {', '.join(online)}")
    if fitting:
        names = ", ".join(runner.name for runner in fitting)
        return failed(f"offline: {names}", "# on that Mac, in the folder of the runner:\n./svc.sh start")
    if macs:
        return failed(
            f"no runner has the label {extra} of the variable MLX_PUBLISH_RUNNER",
            f"gh api -X POST repos/{facts.name}/actions/runners/{macs[0].id}/labels -f {quote(f'labels[]={extra}')}",
        )
    return failed(
        "no self-hosted runner with the labels self-hosted, macOS and ARM64",
        f"# on the Mac, follow https://github.com/{facts.name}/settings/actions/runners/new?arch=arm64&os=osx\n"
        "# the token for ./config.sh:\n"
        f"gh api -X POST repos/{facts.name}/actions/runners/registration-token --jq .token",
    )


def _environment(facts: RepoFacts) -> Says:
    environment, put = facts.environment, commands.put_environment(facts)
    if facts.private:
        put += f"\n# on a plan without required reviewers:\n# {commands.put_environment(facts, reviewed=False)}"
    if isinstance(environment, Unknown):
        if environment.status == 404:
            return failed(f"no environment {ENVIRONMENT}, so nobody is asked before publishing", put)
        return _unknown(facts, f"environment {ENVIRONMENT}", environment)
    if environment.reviewers:
        return passed(f"{ENVIRONMENT} has {len(environment.reviewers)} required reviewer(s)")
    if facts.private:
        return warned(
            f"the environment {ENVIRONMENT} requires no reviewer; in private repos only GitHub Enterprise offers that",
            "# on Enterprise; else restrict who may push tags, see tag-rules:\n" + commands.put_environment(facts),
        )
    return failed(f"the environment {ENVIRONMENT} requires no reviewer", put)


def _tag_policy(facts: RepoFacts) -> Says:
    environment, put = facts.environment, commands.put_environment(facts, reviewed=not facts.private)
    add = (
        f"gh api -X POST repos/{facts.name}/environments/{ENVIRONMENT}/deployment-branch-policies "
        f"-f name='{TAGS}' -f type=tag"
    )
    if isinstance(environment, Unknown):
        if environment.status == 404:
            return failed(f"no environment {ENVIRONMENT} that only tags {TAGS} may use", f"{_FIRST}\n{add}")
        return _unknown(facts, "tags of the environment", environment)
    if environment.branches:
        return failed(
            f"not only tags may use the environment {ENVIRONMENT}: {', '.join(environment.branches)}",
            f"{put}\n{add}"
            if "*" in environment.branches
            else f"# remove them at https://github.com/{facts.name}/settings/environments, then:\n{add}",
        )
    if TAGS not in environment.tags:
        return failed(f"the environment {ENVIRONMENT} does not admit tags {TAGS}", add)
    return passed(f"only tags {', '.join(environment.tags)} may use {ENVIRONMENT}")


def _publish_token(facts: RepoFacts) -> Says:
    if not isinstance(facts.secrets, Unknown) and "HF_TOKEN" in facts.secrets:
        return failed(
            "HF_TOKEN is a secret of the repo, so every workflow can publish",
            f"gh secret set HF_TOKEN --env {ENVIRONMENT} --repo {facts.name}\n"
            f"gh secret delete HF_TOKEN --repo {facts.name}",
        )
    if not isinstance(facts.variables, Unknown) and facts.variables.get("MLX_PUBLISH_TRUSTED") == "true":
        return passed("MLX_PUBLISH_TRUSTED is true: each destination has to name this repo as a trusted publisher")
    set_it = (
        f"gh secret set HF_TOKEN --env {ENVIRONMENT} --repo {facts.name}\n# or be a trusted publisher:\n"
        f"# gh variable set MLX_PUBLISH_TRUSTED --body true --repo {facts.name}"
    )
    environment = facts.environment
    if isinstance(environment, Unknown) and environment.status == 404:
        return failed("no secret HF_TOKEN, since its environment is missing", f"{_FIRST}\n{set_it}")
    secrets = environment if isinstance(environment, Unknown) else environment.secrets
    if isinstance(secrets, Unknown):
        return _unknown(facts, f"secrets of the environment {ENVIRONMENT}", secrets)
    if "HF_TOKEN" in secrets:
        return passed(f"HF_TOKEN is a secret of the environment {ENVIRONMENT}")
    return failed("nothing may publish: no secret HF_TOKEN, and no trusted publisher", set_it)


def _pull_requests(facts: RepoFacts) -> Says:
    if not isinstance(facts.secrets, Unknown) and "MLX_PUBLISH_TOKEN" in facts.secrets:
        return passed("MLX_PUBLISH_TOKEN opens pull requests")
    if isinstance(facts.workflow_token, Unknown):
        return _unknown(facts, "whether jobs may open pull requests", facts.workflow_token)
    default, may_open = facts.workflow_token
    if not may_open:
        return failed("GitHub Actions may not create pull requests", commands.workflow_token(facts, default))
    return passed("GitHub Actions may create pull requests")


def _default_permissions(facts: RepoFacts) -> Says:
    if isinstance(facts.workflow_token, Unknown):
        return _unknown(facts, "default permissions of jobs", facts.workflow_token)
    default, _ = facts.workflow_token
    if default != "read":
        return warned(
            "jobs that name no permissions may write to the repo; the kit's workflows name theirs",
            commands.workflow_token(facts, "read"),
        )
    return passed("jobs may only read unless a workflow says more")


def _review_token(facts: RepoFacts) -> Says:
    if isinstance(facts.secrets, Unknown):
        return _unknown(facts, "secrets of the repo", facts.secrets)
    if "MLX_PUBLISH_TOKEN" not in facts.secrets:
        return warned(
            "no secret MLX_PUBLISH_TOKEN: card-review does not start by itself on pull requests that jobs open",
            "# with a fine-grained token for this repo (contents and pull requests: write):\n"
            f"gh secret set MLX_PUBLISH_TOKEN --repo {facts.name}",
        )
    return passed("MLX_PUBLISH_TOKEN is set")


def _branch_rules(facts: RepoFacts) -> Says:
    review = facts.workflows.get("card-review")
    check = review.check if review and review.check else "cards / cards"
    rules, branch = facts.branch, facts.default_branch
    create = commands.protect_branch(facts, check)
    if rules.pull_request is None or rules.checks is None:
        return _unknown(facts, f"protection of {branch}", Unknown(403, "branch protection is for admins"))
    if not rules.pull_request:
        return failed(f"{branch} can be pushed to without a pull request", create)
    if check not in rules.checks:
        others = f"; it requires: {', '.join(sorted(rules.checks))}" if rules.checks else ""
        return failed(f"{branch} can be merged to without the check '{check}'{others}", create)
    return passed(f"{branch} requires a pull request and the check '{check}'")


def _tag_rules(facts: RepoFacts) -> Says:
    if isinstance(facts.tag_rules, Unknown):
        return _unknown(facts, f"rules for tags {TAGS}", facts.tag_rules)
    missing = [kind for kind in commands.RESTRICTED if kind not in facts.tag_rules]
    if missing:
        return failed(
            f"everybody who can push may publish: no ruleset restricts the {', '.join(missing)} of tags {TAGS}",
            commands.protect_tags(facts),
        )
    return passed(f"a ruleset restricts tags {TAGS}")


REPO: tuple[Check[RepoFacts], ...] = (
    Check("visibility", "The repo is private", "workflows of strangers on your Mac", _visibility),
    Check("workflows", "The workflows exist and are pinned", "a kit that changes without review", _workflows),
    Check("runner", "A Mac is online as a runner", "jobs that wait for a day and fail", _runner),
    Check("environment", "Publishing requires a reviewer", "a publication that nobody approved", _environment),
    Check("tag-policy", "Only release tags can publish", "a branch that publishes", _tag_policy),
    Check("publish-token", "The token is where only publishing sees it", "a token in every workflow", _publish_token),
    Check("pull-requests", "Jobs can open pull requests", "cards that nobody can review", _pull_requests),
    Check("default-permissions", "Jobs are read-only by default", "a workflow that writes", _default_permissions),
    Check("review-token", "Pull requests start card-review", "a review that waits to be started", _review_token),
    Check("branch-rules", "Cards are merged after review only", "a card that nobody checked", _branch_rules),
    Check("tag-rules", "Tags that publish are protected", "a tag that anybody can push", _tag_rules),
)


def summary(facts: RepoFacts, failures: int, unknown: int) -> str:
    """Return the verdict in a line."""
    if failures:
        return f"{facts.name}: not ready, {failures} problem{'' if failures == 1 else 's'}"
    return f"{facts.name}: ready" + (f", as far as this account may see ({unknown} not known)" if unknown else "")
