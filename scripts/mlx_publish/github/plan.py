"""From a GitHub event to a plan: which recipes to publish, under which tag."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput
from mlx_publish.github import output

SCHEMA = "mlx-publish/plan/1"
_TAG = re.compile(r"^refs/tags/(?P<recipe>[A-Za-z0-9][\w.-]*)/(?P<version>v[0-9][\w.-]*)$")


def print_plan(event_name: str, event: Path, ref: str, recipes: Path) -> None:
    """Print the plan as JSON, and write its jobs as the output `jobs`, a matrix for the next job."""
    plan = make_plan(event_name, _payload(event), ref, recipes)
    print(json.dumps(plan, indent=2))
    output.write({"jobs": json.dumps(plan["jobs"])})


def make_plan(event_name: str, payload: dict[str, Any], ref: str, recipes: Path) -> dict[str, Any]:
    """Return the plan: `jobs`, each with `name`, `recipe` (a path) and `tag`.

    A tag `<recipe>/v<N>` publishes that recipe, `all/v<N>` every one. Raises `BadInput` for a tag that
    fits no recipe and for events that start nothing.
    """
    if event_name != "push" or payload.get("deleted"):
        raise BadInput(
            f"the event '{event_name}' starts nothing", place="--event-name",
            remedy="Push a tag as '<recipe>/v1'.",
        )  # fmt: skip
    known = _recipes(recipes)
    allowed = ", ".join(f"{name}/v1" for name in (*known, "all"))
    match = _TAG.match(ref)
    if match is None:
        raise BadInput(f"'{ref}' is no tag of a recipe", place="--ref", remedy=f"Tags are like: {allowed}.")
    name, version = match["recipe"], match["version"]
    chosen = known if name == "all" else {name: known[name]} if name in known else {}
    if not chosen:
        raise BadInput(
            f"the tag {name}/{version} names no recipe in {recipes}",
            place="--ref",
            remedy=f"Tags are like: {allowed}.",
        )
    jobs = [{"name": stem, "recipe": path.as_posix(), "tag": version} for stem, path in chosen.items()]
    return {"schema": SCHEMA, "event": event_name, "jobs": jobs}


def _recipes(folder: Path) -> dict[str, Path]:
    known: dict[str, Path] = {}
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        if path.stem in known:
            raise BadInput(f"the same recipe as {known[path.stem].name}", place=str(path), remedy="Remove one of them.")
        if path.stem == "all":
            raise BadInput("no recipe can be called all", place=str(path), remedy="Rename it; all/v1 means all.")
        known[path.stem] = path
    return known


def _payload(event: Path) -> dict[str, Any]:
    try:
        data = json.loads(event.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", place=str(event)) from error
    except ValueError as error:
        raise BadInput(f"not valid JSON: {error}", place=str(event)) from error
    if not isinstance(data, dict):
        raise BadInput("an event is a JSON object", place=str(event))
    return data
