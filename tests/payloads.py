"""Payloads of GitHub's events for a repo of a test: recorded ones (tests/events), with its names and commits in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act import Checkout

EVENTS = Path(__file__).parent / "events"
_REPOSITORY = {"full_name": "lab/models", "default_branch": "main"}


def push(checkout: Checkout, ref: str) -> dict[str, Any]:
    """A tag was pushed, on what is checked out."""
    commit = checkout.git("rev-parse", "HEAD")
    return recorded("push_tag", ref=ref, after=commit, head_commit={"id": commit}, repository=_REPOSITORY)


def deleted(ref: str) -> dict[str, Any]:
    """A tag was deleted."""
    return recorded("push_tag_deleted", ref=ref, repository=_REPOSITORY)


def dispatch(**payload: object) -> dict[str, Any]:
    """Another system asks."""
    return recorded(
        "repository_dispatch", action="mlx-publish", branch="main", client_payload=payload, repository=_REPOSITORY
    )


def form(**fields: str) -> dict[str, Any]:
    """The form, as the web page sends it: all fields are strings."""
    inputs = {name.replace("_", "-"): value for name, value in fields.items()}
    return recorded(
        "workflow_dispatch", inputs=inputs, workflow=".github/workflows/publish.yml", repository=_REPOSITORY
    )


def pull_request(checkout: Checkout, *, fork: bool = False) -> dict[str, Any]:
    """What is checked out was proposed to main, from the repo itself or from a fork of it."""
    repo = {"fork": fork, "full_name": "x/models" if fork else "lab/models"}
    head = {"sha": checkout.git("rev-parse", "HEAD"), "ref": "cards", "repo": repo}
    base = {"sha": checkout.git("rev-parse", "origin/main"), "ref": "main", "repo": _REPOSITORY}
    return recorded("pull_request", pull_request={"head": head, "base": base}, repository=_REPOSITORY)


def schedule(cron: str) -> dict[str, Any]:
    """The clock. GitHub publishes no example: it is no webhook."""
    told = recorded("workflow_dispatch", repository=_REPOSITORY)
    return {"schedule": cron, **{key: told[key] for key in ("organization", "repository", "workflow")}}


def recorded(name: str, **changes: object) -> dict[str, Any]:
    """A recorded payload with other values for keys that it has; what is empty in it takes any key."""
    payload: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    _change(payload, changes)
    return payload


def _change(data: dict[str, Any], changes: Mapping[str, Any]) -> None:
    assert not data or set(changes) <= set(data), f"GitHub sends no {sorted(set(changes) - set(data))}"
    for key, value in changes.items():
        if isinstance(data.get(key), dict):
            _change(data[key], value)
        else:
            data[key] = value
