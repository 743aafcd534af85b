"""Whether the token at hand may publish: asked before the conversion, by calls that only read."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mlx_publish.errors import BadInput, Refused
from mlx_publish.hub.client import WRITABLE, given_token, hub_api, hub_errors
from mlx_publish.hub.endpoint import judge_endpoint
from mlx_publish.hub.identity import Account, judge_resource, no_token, resource

_REMEDY = "Set HF_TOKEN to a token with write access to this repo."


def may_publish(repos: Iterable[str], *, create_pr: bool = False) -> None:
    """Raise `Refused` if it is clear before the conversion that nothing can be published to one of `repos`.

    Raises `BadInput` if the Hub has no TLS. Any token that may write somewhere may open a pull request on a repo
    that exists.

    The Hub is asked once whose the token is. Of a trusted publisher only the surroundings are judged: its token is
    exchanged when it is needed.
    """
    account: Account | None = None
    for repo in repos:
        judge_endpoint(writing=True)
        if resource():
            judge_resource(repo)
            continue
        if given_token() is None:
            raise no_token()
        with hub_errors(f"the token for {repo}"):
            account = account or Account(hub_api().whoami())
            _judge(repo, account, create_pr=create_pr)


def cannot_write() -> str:
    """Return why the token at hand may write nowhere; empty if it may somewhere."""
    if resource():
        return ""
    if given_token() is None:
        return "HF_TOKEN is not set"
    with hub_errors("HF_TOKEN"):
        return "HF_TOKEN is a read token" if Account(hub_api().whoami()).role == "read" else ""


def _judge(repo: str, account: Account, *, create_pr: bool) -> None:
    if account.role == "read":
        raise Refused(f"HF_TOKEN is a read token and cannot publish {repo}", check=WRITABLE, remedy=_REMEDY)
    api = hub_api()
    if create_pr:
        if not api.repo_exists(repo):
            raise no_repo(repo)
        return
    if api.repo_exists(repo):
        api.auth_check(repo, write=True)
        return
    names = account.names
    if repo.partition("/")[0].casefold() not in {name.casefold() for name in names}:
        raise Refused(
            f"this token cannot create {repo}: it belongs to {', '.join(names)}", check=WRITABLE, remedy=_REMEDY
        )


def judge_token() -> None:
    """Raise `BadInput` if the job says `MLX_PUBLISH_ONLY_READ=true` and HF_TOKEN may write to a repo.

    A job that runs a stranger's model shall hold nothing that could publish. Without a token nothing is asked.
    """
    if os.environ.get("MLX_PUBLISH_ONLY_READ") != "true" or given_token() is None:
        return
    with hub_errors("HF_TOKEN"):
        account = Account(hub_api().whoami())
    writes = any(right.startswith("repo.") and right.endswith(".write") for right in account.rights)
    if writes or account.role == "write":
        raise BadInput(
            "this job runs the model, but its token has write access",
            place="HF_TOKEN",
            remedy="Put a read token into the secret HF_READ_TOKEN; HF_TOKEN is only for publishing.",
        )


def no_repo(repo: str) -> Refused:
    """Return the error for a pull request on a repo that does not exist."""
    return Refused(
        f"{repo} does not exist, so no pull request can be opened on it",
        check="destination-ours",
        remedy="Create it first, or remove 'create_pr: true' from the recipe.",
    )
