"""What evidence claims, beside what its repo knows without the model: the recipe's words, the policy, the checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mlx_publish.checks.listed import COMPLETE, shown, unaccepted, untested, wrong_list
from mlx_publish.errors import Fault, in_file
from mlx_publish.hooks.evidence import Evidence
from mlx_publish.recipes.policy import Policy, judge_licence
from mlx_publish.recipes.recipe import Recipe

_INDEX = re.compile(r"\[[0-9]+\]")


def claims(evidence: Evidence, recipe: Recipe, policy: Policy | None) -> Iterator[Fault]:
    """Yield what the recipe or the policy gainsays, and what is wrong with the list of checks."""
    for key, value in _told(recipe, evidence).items():
        if (found := evidence.value(key)) != value:
            yield evidence.fault(key, f"says {shown(repr(found))} where {recipe.place} gives {shown(repr(value))}")
    if policy and (forbidden := judge_licence(evidence.data["licence"]["id"], policy)):
        place = in_file(evidence.path, evidence.line_of("licence.id"))
        yield Fault(forbidden[0], place, "licence.id", forbidden[1])
    data = evidence.data
    faults = [*wrong_list(data), *untested(data, recipe.accepted(COMPLETE)), *unaccepted(data, recipe.accepted)]
    for fault in faults:
        yield evidence.fault(fault.key, fault.message) if fault.key in evidence.lines else _nearest(evidence, fault)


def _nearest(evidence: Evidence, fault: Fault) -> Fault:
    """Return the fault of an entry of a list, at the line of the list."""
    line = evidence.lines.get(fault.key) or evidence.line_of(_INDEX.split(fault.key)[0])
    return replace(fault, place=in_file(evidence.path, line), remedy="Take the evidence as it was made.")


def _told(recipe: Recipe, evidence: Evidence) -> dict[str, Any]:
    """What the recipe says in so many words."""
    spec = recipe.spec
    label = evidence.text("variant.label")
    destination = recipe.destinations[label]
    wanted: dict[str, Any] = {
        "recipe": recipe.name,
        "destination.name": destination.name,
        "destination.repo": destination.repo,
        "words": spec.card.model_dump(mode="json"),
    }
    if spec.license:
        wanted |= {
            "licence.id": spec.license, "licence.name": spec.license_name, "licence.link": spec.license_link,
        }  # fmt: skip
    if spec.language:
        wanted["language"] = list(spec.language)
    if evidence.value("smoke") is not None:
        wanted["smoke.asked"] = {"system": spec.smoke.system, "prompt": spec.smoke.prompt}
    return wanted
