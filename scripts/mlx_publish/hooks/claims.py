"""What evidence claims, beside what its repo knows without the model: the recipe's words, the policy, the checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mlx_publish.checks.listed import COMPLETE, shown, unaccepted, untested, wrong_list
from mlx_publish.errors import Fault, in_file
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.hooks.evidence import Claim, EvidenceFile
from mlx_publish.recipes.policy import Policy, judge_licence
from mlx_publish.recipes.recipe import Recipe

_INDEX = re.compile(r"\[[0-9]+\]")


def claims(file: EvidenceFile, recipe: Recipe, policy: Policy | None) -> Iterator[Fault]:
    """Yield what the recipe or the policy gainsays, and what is wrong with the list of checks."""
    evidence = file.evidence
    for key, value, wanted in _claims(evidence, recipe):
        if value != wanted:
            yield file.fault(key, f"says {shown(repr(value))} where {recipe.place} gives {shown(repr(wanted))}")
    if policy and (forbidden := judge_licence(evidence.licence.id, policy)):
        place = in_file(file.path, file.line_of("licence.id"))
        yield Fault(forbidden[0], place, "licence.id", forbidden[1])
    faults = [
        *wrong_list(evidence),
        *untested(evidence, recipe.accepted(COMPLETE)),
        *unaccepted(evidence, recipe.accepted),
    ]
    for fault in faults:
        if fault.key in file.lines:
            yield file.fault(fault.key, fault.message)
        else:  # an entry of a list that is not there stands at the line of the list
            line = file.line_of(_INDEX.split(fault.key)[0])
            yield replace(fault, place=in_file(file.path, line), remedy="Take the evidence as it was made.")


def _claims(evidence: Evidence, recipe: Recipe) -> Iterator[Claim]:
    """Yield what the recipe says in so many words."""
    spec, destination = recipe.spec, recipe.destinations[evidence.variant.label]
    yield "recipe", evidence.recipe, recipe.name
    yield "destination.name", evidence.destination.name, destination.name
    yield "destination.repo", evidence.destination.repo, destination.repo
    yield "words", evidence.words.plain, spec.card.model_dump(mode="json")
    if spec.license:
        yield "licence.id", evidence.licence.id, spec.license
        yield "licence.name", evidence.licence.name, spec.license_name
        yield "licence.link", evidence.licence.link, spec.license_link
    if spec.language:
        yield "language", evidence.language, list(spec.language)
    if evidence.smoke is not None:
        yield "smoke.asked", evidence.smoke.asked, {"system": spec.smoke.system, "prompt": spec.smoke.prompt}
