"""From a GitHub event to a plan: jobs for recipes, and the machines that run them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import BadInput
from mlx_publish.evidence.records import to_json
from mlx_publish.github.request import DISPATCH, Request, from_form, from_payload
from mlx_publish.github.runner import Runner
from mlx_publish.github.wanted import asked_for, known_recipes, tagged
from mlx_publish.text.bounds import EVENT
from mlx_publish.text.harmless import shown_json
from mlx_publish.text.json_text import FaultyJson, read

SCHEMA = "mlx-publish/plan/1"
LABELS = ("self-hosted", "macOS", "ARM64")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Settings:
    """Settings of the repo, most of them by its variables."""

    label: str = ""
    """One more label of the runners (`MLX_PUBLISH_RUNNER`)."""
    each: str = "recipe"
    """Whether a job is for a `recipe` or for a `variant` (`MLX_PUBLISH_PER`)."""
    cards: Path = Path("cards")
    """Where reviewed cards lie."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str], cards: Path = cards) -> Settings:
        """Read the variables. Raises `BadInput` for a value that cannot be."""
        label = environment.get("MLX_PUBLISH_RUNNER", "").strip()
        if label and not _LABEL.fullmatch(label):
            raise BadInput(
                f"'{label}' is not a valid runner label",
                place="MLX_PUBLISH_RUNNER",
                remedy="Use letters, digits, '.', '_' and '-'.",
            )
        each = environment.get("MLX_PUBLISH_PER", "").strip() or "recipe"
        if each not in ("recipe", "variant"):
            raise BadInput(f"unknown value '{each}'", place="MLX_PUBLISH_PER", remedy="Set recipe or variant.")
        return cls(label, each, cards)


@dataclass(frozen=True)
class Plan:
    """Answer to an event; its JSON has these keys in this order."""

    schema: str
    event: str
    next: str
    """`publish`, `review` or `nothing`: what follows the jobs."""
    runs_on: Sequence[str]
    """Labels of the runners."""
    callback: str
    """The asker's name for the request, handed back as it is."""
    jobs: Sequence[Mapping[str, str]]
    review: Mapping[str, str]
    """Everything as one job, for the pull request; empty where a tag publishes."""


def print_plan(plan: Plan, runner: Runner) -> None:
    """Print a plan as JSON, and write its parts as outputs for the jobs after this one."""
    print(shown_json(to_json(plan)))
    runner.write(
        {
            "next": plan.next,
            "jobs": json.dumps(plan.jobs),
            "review": json.dumps(plan.review),
            "runs-on": json.dumps(plan.runs_on),
            "callback": plan.callback,
        }
    )


def make_plan(
    event_name: str,
    payload: Mapping[str, object],
    ref: str,
    recipes: Path,
    *,
    given: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Return the plan; `given` are inputs of a calling workflow, which win over what the event says.

    A tag `<recipe>/v<N>` publishes what was reviewed of that recipe, `all/v<N>` of every one, each variant by a job of
    its own. Everything else ends with a pull request. Raises `BadInput` for what names no recipe, for a tag on what
    nobody has reviewed, and for events that start nothing.
    """
    settings = settings or Settings()
    known = known_recipes(recipes)
    trigger = TRIGGERS.get(event_name)
    if trigger is None:
        raise _starts_nothing(event_name)
    asked = bool(given and (given.get("recipe") or given.get("source")))
    request = from_form(given or {}) if asked else trigger(payload)
    wanted = [asked_for(request, known, recipes)] if request else tagged(ref, known, recipes, settings.cards)
    each = "variant" if request is None or (request.recipe and request.names) else settings.each
    return Plan(
        schema=SCHEMA,
        event=event_name,
        next="publish" if request is None else "nothing" if request.dry_run else "review",
        runs_on=[*LABELS, *([settings.label] if settings.label else [])],
        callback=(request.callback if request else None) or "",
        jobs=[job for entry in wanted for job in entry.jobs(each)],
        review=wanted[0].whole() if request else {},
    )


def _pushed(payload: Mapping[str, object]) -> None:
    """Return no request: the tag names the recipe, and it is no part of the event."""
    if payload.get("deleted"):
        raise _starts_nothing("push")


def _filled_in(payload: Mapping[str, object]) -> Request:
    fields = payload.get("inputs")
    return from_form(fields if isinstance(fields, Mapping) else {})


def _dispatched(payload: Mapping[str, object]) -> Request:
    if payload.get("action") != DISPATCH:
        raise BadInput(
            "a dispatch of this type starts nothing", place="event_type", remedy=f"Send the type '{DISPATCH}'."
        )
    return from_payload(payload.get("client_payload"))


def _scheduled(_: Mapping[str, object]) -> Request:
    """Raise `BadInput`: a schedule asks for nothing by itself; a calling workflow may."""
    raise _starts_nothing("schedule")


# No event that a stranger can cause. With each of them a calling workflow may ask for something, which wins.
TRIGGERS: Mapping[str, Callable[[Mapping[str, object]], Request | None]] = {
    "push": _pushed,
    "workflow_dispatch": _filled_in,
    "repository_dispatch": _dispatched,
    "schedule": _scheduled,
}
"""Readers of events, by the event's name: each returns the request, None where a tag makes it."""


def _starts_nothing(event_name: str) -> BadInput:
    return BadInput(
        f"the event '{event_name}' starts nothing",
        place="--event-name",
        remedy=f"Push a tag as '<recipe>/v1', submit the form, or send a dispatch of type '{DISPATCH}'.",
    )


def read_event(event: Path) -> dict[str, object]:
    """Return the payload in the file of an event. Raises `BadInput` where it holds none."""
    try:
        data = read(event, EVENT)
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", place=str(event)) from error
    except FaultyJson as error:
        raise BadInput(error.message, place=error.place(event)) from error
    if not isinstance(data, dict):
        raise BadInput("the event is not a JSON object", place=str(event))
    return data
