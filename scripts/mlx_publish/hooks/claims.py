"""What evidence claims, beside what its repo knows without the model: the recipe's words, the policy, the checks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_publish.checks.listed import COMPLETE, shown, unaccepted, untested, wrong_list
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.hooks.evidence import Claim, EvidenceFile
from mlx_publish.hooks.problem import Problem
from mlx_publish.recipes.policy import Policy, judge_licence
from mlx_publish.recipes.recipe import Recipe

_INDEX = re.compile(r"\[[0-9]+\]")


def claims(file: EvidenceFile, recipe: Recipe, policy: Policy | None) -> Iterator[Problem]:
    """Yield what the recipe or the policy gainsays, and what is wrong with the list of checks."""
    evidence = file.evidence
    for key, value, wanted in _claims(evidence, recipe):
        if value != wanted:
            yield file.problem(key, f"says {shown(repr(value))} where {recipe.place} gives {shown(repr(wanted))}")
    if policy and (forbidden := judge_licence(evidence.licence.id, policy)):
        yield Problem(file.path, forbidden[0], file.line_of("licence.id"), "licence.id", forbidden[1])
    faults = [
        *wrong_list(evidence),
        *untested(evidence, recipe.accepted(COMPLETE)),
        *unaccepted(evidence, recipe.accepted),
    ]
    for key, words in faults:
        yield file.problem(key, words) if key in file.lines else _nearest(file, key, words)


def _nearest(file: EvidenceFile, key: str, words: str) -> Problem:
    """Return the problem of an entry of a list, at the line of the list."""
    line = file.lines.get(key) or file.line_of(_INDEX.split(key)[0])
    return Problem(file.path, words, line, key, "Take the evidence as it was made.")


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
