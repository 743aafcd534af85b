"""From a webhook of the Hub to a dispatch of GitHub: a new version of a source asks for its recipe.

`event_of` is all that matters. `app` is a small WSGI application around it, for whatever serves those, as
`gunicorn mlx_publish.github.relay:app`; it reads MLX_PUBLISH_WEBHOOK_SECRET, GITHUB_REPOSITORY and GITHUB_TOKEN.

Payload and secret: https://huggingface.co/docs/hub/webhooks. Dispatch:
https://docs.github.com/en/rest/repos/repos#create-a-repository-dispatch-event
"""

from __future__ import annotations

import hmac
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypedDict

from mlx_publish.errors import BadInput, PublishError, Refused, SurroundingsError
from mlx_publish.github.request import DISPATCH, from_payload
from mlx_publish.recipes.patterns import is_commit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LARGEST = 1 << 20
"""Bytes of a webhook's body; the Hub sends some thousand."""
_NAMES = ("MLX_PUBLISH_WEBHOOK_SECRET", "GITHUB_REPOSITORY", "GITHUB_TOKEN")
_SECONDS = 30
_STATUS = {Refused: "401 Unauthorized", BadInput: "400 Bad Request", SurroundingsError: "502 Bad Gateway"}


class Dispatch(TypedDict):
    """Body of a repository_dispatch."""

    event_type: str
    client_payload: dict[str, str]


def event_of(body: bytes, given: str, secret: str) -> Dispatch | None:
    """Return the dispatch for a webhook; None if the webhook reports no new commit on a model's main.

    `given` is the header X-Webhook-Secret, `secret` its right value. Raises `Refused` if they differ, and `BadInput`
    for a body that is no webhook's payload.
    """
    from huggingface_hub import WebhookPayload  # noqa: PLC0415  0.2 s
    from pydantic import ValidationError  # noqa: PLC0415

    # In constant time, so that nobody learns the secret letter by letter.
    if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
        raise Refused("the webhook's secret is wrong", remedy="Set the same secret on the Hub and in the relay.")
    if len(body) > LARGEST:
        raise BadInput(
            f"the webhook has {len(body):,} bytes; the limit is {LARGEST:,}", place="body", remedy="Check who sends it."
        )
    try:
        webhook = WebhookPayload.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"not the payload of a Hub webhook: {first['msg']}", place="body", key=".".join(map(str, first["loc"]))
        ) from None
    if webhook.repo.type != "model" or webhook.event.scope != "repo.content" or webhook.event.action == "delete":
        return None
    commit = next(
        (ref.newSha for ref in webhook.updatedRefs or () if ref.ref == "refs/heads/main" and ref.newSha), None
    )
    if not is_commit(commit):
        return None
    payload = {"source": webhook.repo.name, "revision": str(commit), "callback": f"webhook {webhook.webhook.id}"}
    from_payload(payload)
    return {"event_type": DISPATCH, "client_payload": payload}


def app(environ: WSGIEnvironment, start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Answer a webhook (WSGI, PEP 3333): 202 sent, 204 nothing to do, 4xx refused, 500 not set up, 502 no GitHub."""
    status, answer = _answer(environ, os.environ)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(answer)))])
    return [answer]


def _answer(environ: WSGIEnvironment, settings: Mapping[str, str]) -> tuple[str, bytes]:
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if missing := [name for name in _NAMES if not settings.get(name)]:
        return "500 Internal Server Error", f"not set: {', '.join(missing)}\n".encode()
    if environ.get("REQUEST_METHOD") != "POST":
        return "405 Method Not Allowed", b"send webhooks with POST\n"
    if not length.isdigit() or int(length) > LARGEST:
        return "413 Content Too Large", b"the body is too large for a webhook\n"
    given, body = str(environ.get("HTTP_X_WEBHOOK_SECRET") or ""), environ["wsgi.input"].read(int(length))
    try:
        event = event_of(body, given, settings[_NAMES[0]])
        if event is not None:
            send(event, settings)
    except PublishError as error:
        return _STATUS.get(type(error), "500 Internal Server Error"), f"{error.message}\n".encode()
    if event is None:
        return "204 No Content", b""
    return "202 Accepted", f"requested {event['client_payload']['source']}\n".encode()


def send(event: Mapping[str, object], settings: Mapping[str, str]) -> None:
    """Send a dispatch to GITHUB_REPOSITORY with GITHUB_TOKEN. `SurroundingsError` if GitHub does not take it."""
    api = settings.get("GITHUB_API_URL") or "https://api.github.com"
    request = urllib.request.Request(  # noqa: S310  the address is the operator's
        f"{api}/repos/{settings['GITHUB_REPOSITORY']}/dispatches",
        data=json.dumps(event).encode(),
        method="POST",
        headers={
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "mlx-publish",
        },
    )
    # A redirect is followed without it.
    request.add_unredirected_header("Authorization", f"Bearer {settings['GITHUB_TOKEN']}")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        raise SurroundingsError(
            f"GitHub answered {error.code} to the dispatch",
            remedy="Check the token: it needs contents: write on the repo.",
        ) from None
    except OSError as error:
        raise SurroundingsError(f"GitHub did not answer: {error}", remedy="Send the webhook again.") from None
