"""Two questions to the Hub that change nothing: does it answer, and what may this token."""

from __future__ import annotations

from mlx_publish.errors import PublishError
from mlx_publish.hub.client import given_token, hub_api, hub_errors
from mlx_publish.hub.endpoint import judge_endpoint
from mlx_publish.hub.identity import resource, role_of


def greeting() -> str:
    """Ask for one model; returns nothing where the Hub answers, else why it does not."""
    from huggingface_hub import constants, get_session, hf_raise_for_status  # noqa: PLC0415

    try:
        judge_endpoint(token=given_token() is not None)
        with hub_errors("the Hub"):
            hf_raise_for_status(get_session().get(f"{constants.ENDPOINT}/api/models", params={"limit": 1}, timeout=10))
    except PublishError as error:
        return error.message
    return ""


def token_role() -> str:
    """`read`, `write` or `fineGrained` as the Hub calls them; empty without a token; or why there is no answer."""
    if named := resource():
        return f"trusted publisher of {named}"
    token = given_token()
    if token is None:
        return ""
    try:
        with hub_errors("the token"):
            told = hub_api(token=token).whoami()
    except PublishError as error:
        return error.message
    return role_of(told) or "unknown"
