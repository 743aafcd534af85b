"""The identity for requests to the Hub: a trusted publisher's short token, or `HF_TOKEN`; no token file or keychain.

Reading uses `HF_TOKEN` where it is set, and nobody's name otherwise. The identity of a job is exchanged for a token
(`HF_OIDC_RESOURCE`) only where something is written: the token lives an hour, and conversion may take longer.
https://huggingface.co/docs/hub/trusted-publishers
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.errors import PublishError, Refused, SurroundingsError
from mlx_publish.hub.client import WRITABLE, exchanged, given_token, hub_api, hub_errors
from mlx_publish.hub.endpoint import judge_endpoint

_PUBLISHING = frozenset({"write", "fineGrained"})


def resource() -> str | None:
    """Return the repo for which this job is a trusted publisher, as `namespace/name`, or None."""
    return os.environ.get("HF_OIDC_RESOURCE", "").strip() or None


def judge_resource(repo: str) -> None:
    """Raise `Refused` if the job's identity cannot become a token for `repo`; nothing is exchanged."""
    named = resource()
    if named != repo:
        raise Refused(
            f"HF_OIDC_RESOURCE names {named}, but this job publishes {repo}",
            check=WRITABLE,
            remedy="A trusted publisher's token is for one repo: run each variant in a separate job, with --variant.",
        )
    # The condition under which huggingface_hub itself asks the job for an identity (its `_oidc.py`).
    minted = os.environ.get("GITHUB_ACTIONS") == "true" and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    if not (os.environ.get("HF_OIDC_ID_TOKEN") or minted):
        raise Refused(
            "HF_OIDC_RESOURCE is set, but this job has no OIDC identity to exchange",
            check=WRITABLE,
            remedy="Give the job 'permissions: id-token: write', or unset HF_OIDC_RESOURCE and set HF_TOKEN.",
        )


def writing_token(repo: str) -> str | bool:
    """Return the token to write with, or True for the exchanged one, which `hub_api` renews.

    Raises `Refused` if there is none, or where the exchange is refused, and `BadInput` if the Hub has no TLS.
    """
    judge_endpoint(writing=True)
    if resource():
        judge_resource(repo)
        _judge_client()
        exchanged()
        return True
    if token := given_token():
        return token
    raise no_token()


@dataclass(frozen=True)
class Account:
    """Owner and rights of a token, as the Hub answers `whoami`."""

    whoami: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """Namespaces of the owner: the account, and its organisations."""
        return [str(self.whoami.get("name")), *(str(org.get("name")) for org in self.whoami.get("orgs") or ())]

    def has_plan(self, namespace: str) -> bool | None:
        """Return whether an account or an organisation of it has a paid plan; None where the Hub does not tell."""
        own = [
            one
            for one in (self.whoami, *(self.whoami.get("orgs") or ()))
            if str(one.get("name")).casefold() == namespace.casefold()
        ]
        told = [one[key] for one in own for key in ("isPro", "isEnterprise", "plan") if key in one]
        return any(told) if told else None

    @property
    def role(self) -> str:
        """The token's role: `read`, `write` or `fineGrained`; empty if the Hub names none."""
        return str(((self.whoami.get("auth") or {}).get("accessToken") or {}).get("role") or "")

    @property
    def rights(self) -> list[str]:
        """Rights of a fine-grained token, such as `repo.write`, wherever they hold; empty for any other token."""
        fine = ((self.whoami.get("auth") or {}).get("accessToken") or {}).get("fineGrained") or {}
        scopes = [fine.get("global"), *(scope.get("permissions") for scope in fine.get("scoped") or ())]
        return [str(right) for scope in scopes for right in scope or ()]


def no_token() -> Refused:
    """Return the error for a job that would publish without a token."""
    return Refused(
        "no token to publish with",
        check=WRITABLE,
        remedy="Set HF_TOKEN to a token with write access, or set up a trusted publisher (HF_OIDC_RESOURCE).",
    )


def _judge_client() -> None:
    """Raise `SurroundingsError` if the client can exchange no identity."""
    try:
        from huggingface_hub.errors import OIDCError  # noqa: F401, PLC0415
    except ImportError:
        raise SurroundingsError(
            "this huggingface_hub does not support trusted publishers", remedy="Install huggingface_hub 1.20 or newer."
        ) from None


def greeting() -> str:
    """Ask the Hub for one model. Return why it does not answer; empty if it does."""
    from huggingface_hub import constants, get_session, hf_raise_for_status  # noqa: PLC0415

    try:
        judge_endpoint(token=given_token() is not None)
        with hub_errors("the Hub"):
            hf_raise_for_status(get_session().get(f"{constants.ENDPOINT}/api/models", params={"limit": 1}, timeout=10))
    except PublishError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Token:
    """Role of the token of the environment, and whether it can publish."""

    role: str
    """As the Hub calls it, `read`, `write` or `fineGrained`; or why it is not known."""
    publishes: bool
    """Whether a token of this role can publish at all."""


def token_at_hand() -> Token | None:
    """Return role and use of the token of the environment; None without one."""
    if named := resource():
        return Token(f"trusted publisher of {named}", publishes=True)
    token = given_token()
    if token is None:
        return None
    try:
        with hub_errors("the token"):
            role = Account(hub_api(token=token).whoami()).role
    except PublishError as error:
        return Token(str(error), publishes=False)
    return Token(role or "unknown", publishes=role in _PUBLISHING)
