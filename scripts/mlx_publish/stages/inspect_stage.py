"""inspect: what the source is, whether it can be converted, and whether this machine is large enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_publish.checks.base import run_in_groups
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.licence import licence_of
from mlx_publish.checks.source import GROUPS
from mlx_publish.context import Context, Outcome
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence import stages
from mlx_publish.evidence.report import Finding
from mlx_publish.hub.repo import exists
from mlx_publish.model.select import PROCESSOR
from mlx_publish.model.senses import in_words, senses_in
from mlx_publish.model.weights import parameter_count
from mlx_publish.recipes.policy import judge_source
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.source.resolve import converter, metadata_of, source_of
from mlx_publish.source.room import estimated, judge_room, too_large
from mlx_publish.source.twin import twin_facts, twin_tools
from mlx_publish.stages.policy_of import policy_of
from mlx_publish.stages.stage import Stage


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """Commit or digest of the source, and what is asked for."""
    support, policy = converter(context).support(), policy_of(context)
    return {
        "source": _identity(context),
        "recipe": context.recipe.digest_of(
            "source", "revision", "license", "license_name", "license_link", "accept", "modality"
        ),
        "variant": variant.model_dump(mode="json"),
        "destination": str(context.recipe.destinations[variant.label]),
        "mlx_lm": support.version if support else None,
        "twin": twin_tools(context),
        "policy": policy.spec.model_dump(include={"largest_source", "licenses"}) if policy else None,
    }


def _identity(context: Context) -> str:
    """Commit or digest of the source; empty where a folder needs more room than there is, and is not digested."""
    if "identity" not in context.cache:
        large = context.recipe.source_folder is not None and too_large(context)
        context.cache["identity"] = "" if large else source_of(context).identity
    found: str = context.cache["identity"]
    return found


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Look at metadata, then at headers; judge once for each variant, and the machine where the model may come."""
    facts = {variant.label: _facts(context, variant) for variant in variants}
    checks = {label: run_in_groups(GROUPS, found, context.recipe.accepted) for label, found in facts.items()}
    if all(check.status != "fail" for found in checks.values() for check in found):
        _judge_by_policy(context, facts)
        room = judge_room(context, next(iter(facts.values())), [found.variant for found in facts.values()])
        if not _identity(context):
            raise SurroundingsError("there is more room than a moment ago", remedy="Run the same command again.")
        checks = {label: (*found, room) for label, found in checks.items()}
    return {label: Outcome(checks[label], _told(found, checks[label])) for label, found in facts.items()}


def _judge_by_policy(context: Context, facts: Mapping[str, SourceFacts]) -> None:
    """Raise `BadInput` where the source is larger, or of another licence, than the repo's policy allows."""
    if policy := policy_of(context):
        found = next(iter(facts.values()))
        files_bytes = sum(entry.size for entry in found.source.entries.values())
        judge_source(context.recipe, policy, files_bytes, licence_of(context.recipe, found.source.card).id)


def _told(facts: SourceFacts, checks: tuple[Finding, ...]) -> dict[str, Any]:
    """Of what is refused only the name: the look ended where the first check failed."""
    return _named(facts) if any(check.status == "fail" for check in checks) else _result(facts)


def _facts(context: Context, variant: Variant) -> SourceFacts:
    support = converter(context).support()
    return SourceFacts(
        recipe=context.recipe,
        variant=variant,
        identity=_identity(context),
        source=metadata_of(context),
        mlx_lm=(support.version, support.types) if support else None,
        twin=lambda: twin_facts(context),
        taken=_taken(context.recipe, variant),
    )


def _taken(recipe: Recipe, variant: Variant) -> dict[str, bool]:
    """Ask the Hub only where it is concerned anyway: a folder to a folder needs no network."""
    destination = recipe.destinations[variant.label].repo
    if recipe.source_folder and destination is None:
        return {}
    names = [destination] if destination else []
    if bits := variant.form.bits:
        names.append(f"mlx-community/{recipe.source_name}-{bits}bit")
    return {name: exists(name) for name in dict.fromkeys(names)}


def _named(facts: SourceFacts) -> dict[str, Any]:
    return {
        "source": {
            "name": facts.recipe.source_name,
            "repo": None if facts.recipe.source_folder else facts.recipe.spec.source,
            "identity": facts.identity,
            "base_model": facts.recipe.base_model,
        }
    }


def _result(facts: SourceFacts) -> dict[str, Any]:
    found, card = facts.source, facts.source.card
    licence = licence_of(facts.recipe, card)
    return {
        "source": {
            **_named(facts)["source"],
            "parameters": parameter_count(found.tensors),
            "weight_bytes": sum(tensor.nbytes for tensor in found.tensors),
            "weight_dtypes": sorted({tensor.dtype for tensor in found.tensors}),
            "files": sorted(_files(facts)),
            **_left_behind(facts),
        },
        "config": found.config.summary(),
        "twin": facts.twin().result,
        "tokenizer": found.tokenizer.summary(),
        "licence": {"id": licence.id, "name": licence.name, "link": licence.link},
        "card": {
            "language": list(facts.recipe.spec.language or card.texts("language")),
            "pipeline_tag": card.text("pipeline_tag"),
            "problem": card.problem,
        },
        "estimated_bytes": estimated(found, facts.variant),
        "taken": dict(facts.taken),
    }


def _files(facts: SourceFacts) -> set[str]:
    """What conversion needs of the source; of text alone no processor of images or sound."""
    return set(facts.source.needed - PROCESSOR if facts.text_alone else facts.source.needed)


def _left_behind(facts: SourceFacts) -> dict[str, Any]:
    """What the source takes beside text, where text alone is published; nothing where it is converted whole."""
    if not facts.text_alone:
        return {}
    names = senses_in(facts.source.config.raw) or [tower.name for tower in facts.source.towers]
    return {"modality": facts.recipe.spec.modality, "not_supported": in_words(names)}


STAGE = Stage(stages.INSPECT, inputs, run)
