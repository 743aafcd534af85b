"""inspect: what the source is, whether it can be converted, and whether this machine is large enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlx_publish.checks.base import run_checks, run_in_groups
from mlx_publish.checks.calibration import CalibrationFacts
from mlx_publish.checks.drafter import HEADS, concerns
from mlx_publish.checks.facts import SourceFacts, loads
from mlx_publish.checks.licence import REVISION, licence_of
from mlx_publish.checks.source import GROUPS
from mlx_publish.context import Context, Later, Outcome
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence import stages
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.results import Held, Inspected, InspectedSource, LicenceName, Refusal, SourceCard, SourceName
from mlx_publish.hub.repo import exists
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.select import PROCESSOR
from mlx_publish.model.senses import in_words, senses_in
from mlx_publish.model.ways import bits_of
from mlx_publish.model.weights import parameter_count
from mlx_publish.recipes.policy import judge_source
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.source.adapter import adapter_name, class_fault, judge_adapter
from mlx_publish.source.calibration import calibration_facts
from mlx_publish.source.reach import judge_reach
from mlx_publish.source.resolve import converter, metadata_of, source_of
from mlx_publish.source.room import estimated, judge_load, judge_room, too_large
from mlx_publish.source.streamed import judge_streamed, keep_headers
from mlx_publish.source.twin import twin_facts, twin_tools
from mlx_publish.stages.policy_of import policy_of
from mlx_publish.stages.stage import Stage


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return commit or digest of the source, and what is asked for."""
    own, policy = converter(context), policy_of(context)
    support = own.support()
    text = _own_text(context, variant)
    return {
        "source": _identity(context),
        "recipe": context.recipe.digest_of(
            "source", "revision", "license", "license_name", "license_link", "accept", "modality", *_of_adapter(context)
        ),
        **({"stream": context.recipe.spec.stream} if context.recipe.spec.stream is not None else {}),
        "variant": variant.model_dump(mode="json"),
        "destination": str(context.recipe.destinations[variant.label]),
        own.module: support.version if support else None,
        "twin": twin_tools(context),
        "policy": policy.spec.model_dump(include={"largest_source", "licenses"}) if policy else None,
        **({"calibration": to_json(text)} if text else {}),
        **context.recipe.asked_parts,
        **({"adapter": adapter} if (adapter := source_of(context).adapter) else {}),
    }


def _of_adapter(context: Context) -> tuple[str, ...]:
    return ("adapter", "adapter_revision", "base_model") if context.recipe.spec.adapter else ()


def _identity(context: Context) -> str | Later:
    """Return commit or digest of the source; empty for a folder that needs more room than there is, and no digest."""
    source = source_of(context)
    if context.once("too large", lambda: context.recipe.source_folder is not None and too_large(context)):
        return ""
    return Later(lambda: source.identity) if source.pending else source.identity


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Look at metadata, then at headers; judge once for each variant, and the machine where the model may come."""
    if context.recipe.spec.stream:
        judge_streamed(context, variants)
    facts, streams = {variant.label: _facts(context, variant) for variant in variants}, False
    checks = {label: _judge(own) for label, own in facts.items()}
    if let_pass := [own for label, own in facts.items() if not _is_refused(checks[label])]:
        first, left = let_pass[0], [own.variant for own in let_pass]
        if policy := policy_of(context):
            files_bytes = sum(entry.size for entry in first.source.entries.values())
            judge_source(context.recipe, policy, files_bytes, licence_of(context.recipe, first.source.licence_card).id)
            judge_adapter(context, policy, first)
        judge_reach(context, left)
        room, streams = judge_room(context, first, left)
        if not _identity(context):
            raise SurroundingsError("more space is free than a moment ago", remedy="Run the same command again.")
        loads = {variant.label: judge_load(context, first.source, variant) for variant in left}
        checks |= {label: (*checks[label], room, *found) for label, found in loads.items()}
        if streams:
            keep_headers(context)
    return {label: _outcome(context, checks[label], own, streams=streams) for label, own in facts.items()}


def _judge(facts: SourceFacts) -> tuple[Finding, ...]:
    """Run all checks, and that of multi-token heads where there are any, or where they are asked for."""
    findings = run_in_groups(GROUPS, facts, facts.recipe.accepted)
    if _is_refused(findings) or not concerns(facts):
        return findings
    return findings + run_in_groups((HEADS,), facts, facts.recipe.accepted)


def _outcome(context: Context, checks: tuple[Finding, ...], facts: SourceFacts, *, streams: bool) -> Outcome:
    result: Refusal | Inspected = Refusal(_name(facts)) if _is_refused(checks) else _inspected(facts)
    if streams and isinstance(result, Inspected):
        result = replace(result, streamed=True)
    if facts.identity is not None:
        return Outcome(checks, result)

    def whole() -> Outcome:
        identity = source_of(context).identity
        known = {check.id: check for check in run_checks(REVISION, replace(facts, identity=identity))}
        return Outcome(tuple(known.get(check.id, check) for check in checks), _named(result, identity))

    return Outcome(checks, result, whole)


def _named(result: Refusal | Inspected, identity: str) -> Refusal | Inspected:
    if isinstance(result, Refusal):
        return replace(result, source=replace(result.source, identity=identity))
    return replace(result, source=replace(result.source, identity=identity))


def _is_refused(findings: tuple[Finding, ...]) -> bool:
    return any(finding.status == "fail" for finding in findings)


def _facts(context: Context, variant: Variant) -> SourceFacts:
    identity = _identity(context)
    return SourceFacts(
        recipe=context.recipe,
        variant=variant,
        identity=identity if isinstance(identity, str) else None,
        source=metadata_of(context),
        loads=loads(converter(context)),
        twin=lambda: twin_facts(context),
        taken=_taken(context.recipe, variant),
        calibration=_own_text(context, variant),
        adapter=lambda: class_fault(context),
    )


def _own_text(context: Context, variant: Variant) -> CalibrationFacts | None:
    """Return what is known of a file of the user's that the variant's method reads; None where it reads none."""
    method = variant.quantizer
    follows = method.portable and (variant.label in context.recipe.plans or variant.label in context.plans)
    reads = variant.quantized and method.learns and not follows
    return calibration_facts(context) if reads else None


def _taken(recipe: Recipe, variant: Variant) -> dict[str, bool]:
    """Ask the Hub only where it is concerned anyway: a folder to a folder needs no network."""
    destination = recipe.destinations[variant.label].repo
    if recipe.source_folder and destination is None:
        return {}
    names = [destination] if destination else []
    if bits := variant.form.bits:
        names.append(f"mlx-community/{recipe.model_name}-{bits}bit")
    return {name: exists(name) for name in dict.fromkeys(names)}


def _name(facts: SourceFacts) -> SourceName:
    return SourceName(
        name=facts.recipe.source_name,
        repo=None if facts.recipe.source_folder else facts.recipe.spec.source,
        identity=facts.identity or "",
        base_model=facts.recipe.base_model,
    )


def _inspected(facts: SourceFacts) -> Inspected:
    metadata, card = facts.source, facts.source.card
    licence = licence_of(facts.recipe, metadata.licence_card)
    senses = senses_in(metadata.config.raw) or [tower.name for tower in metadata.towers]
    return Inspected(
        source=InspectedSource(
            **vars(_name(facts)),
            parameters=parameter_count(metadata.tensors),
            weight_bytes=sum(tensor.nbytes for tensor in metadata.stored_tensors),
            weight_dtypes=sorted({tensor.dtype for tensor in metadata.stored_tensors}),
            # Text alone needs no processor of images or sound.
            files=sorted(metadata.needed - PROCESSOR if facts.text_alone else metadata.needed),
            modality=facts.recipe.spec.modality if facts.text_alone else None,
            not_supported=in_words(senses) if facts.text_alone else None,
            held=_held(metadata),
        ),
        config=metadata.config.summary(),
        twin=facts.twin().proof,
        tokenizer=metadata.tokenizer.summary(),
        licence=LicenceName(licence.id, licence.name, licence.link),
        card=SourceCard(
            language=list(facts.recipe.spec.language or card.texts("language")),
            pipeline_tag=card.text("pipeline_tag"),
            problem=card.problem,
        ),
        estimated_bytes=estimated(metadata, facts.variant, whole=facts.loads.senses),
        taken=facts.taken,
        adapter=adapter_name(facts),
    )


def _held(metadata: Metadata) -> Held | None:
    packing = metadata.packing
    return Held(packing.method, bits_of(packing), len(packing.weights), packing.dtype) if packing else None


STAGE = Stage(stages.INSPECT, inputs, run)
