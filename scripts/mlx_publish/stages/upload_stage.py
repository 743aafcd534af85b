"""upload: final checks, then a folder or one commit on the Hub, and the receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlx_publish.card.render import UNRENDERABLE, render, render_chart
from mlx_publish.card.senses import picture_digest
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.listed import shown, unaccepted, wrong_list
from mlx_publish.checks.signed import ATTESTED
from mlx_publish.checks.upload import UPLOAD, Parcel
from mlx_publish.context import Context, Outcome
from mlx_publish.conversion.again import converted_now, rebuilt
from mlx_publish.errors import BadInput, Place, Refused
from mlx_publish.evidence import stages
from mlx_publish.evidence.digests import PICTURE, digest_of
from mlx_publish.evidence.evidence import Evidence, NoObject, NotEvidence
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.results import HeldBack, PublishedFolder, PublishedRepo
from mlx_publish.github.runner import Runner
from mlx_publish.hub.client import client_loaded
from mlx_publish.hub.folder import foresee_folder, publish_folder
from mlx_publish.hub.leaks import leaks
from mlx_publish.hub.limits import WORTH_ASKING, Load, judge, storage_of
from mlx_publish.hub.manifest import Sent, digests, listed, manifest, strangers
from mlx_publish.hub.provenance import write_provenance
from mlx_publish.hub.publish import Order, Receipt, foresee, publish
from mlx_publish.hub.rights import cannot_write, may_publish
from mlx_publish.recipes.policy import EMPTY, judge_licence
from mlx_publish.recipes.recipe import Variant
from mlx_publish.reviewed.cards import card_folder, judge_card, plan_digest, take_card
from mlx_publish.reviewed.known import compare
from mlx_publish.signing.attested import EVIDENCE, judged
from mlx_publish.signing.evidence_signature import PUBLISHED
from mlx_publish.signing.model import Signer
from mlx_publish.stages.foreseen import judge_destination, judge_reviewed, judge_tested, report_refused
from mlx_publish.stages.planned import Planned
from mlx_publish.stages.policy_of import policy_of
from mlx_publish.stages.stage import Stage
from mlx_publish.text.files import json_text

_AS_MADE = "Restore the evidence as mlx-publish wrote it."


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return the evidence and the destination."""
    return {
        "evidence": digest_of(_evidence(context, variant).plain),
        "destination": str(context.recipe.destinations[variant.label]),
        "tag": context.tag,
    }


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Look at all variants first: either all may leave, or none does."""
    if context.cards:
        for variant in variants:
            take_card(context, variant, context.cards)
    made = rebuilt(context, variants)
    looked = {variant.label: _look(context, variant, made.get(variant.label)) for variant in variants}
    if any(finding.status == "fail" for findings, _ in looked.values() for finding in findings):
        return {label: Outcome(findings, HeldBack()) for label, (findings, _) in looked.items()}
    act = _foresee if context.dry_run else _send
    return {v.label: act(context, v, *looked[v.label]) for v in variants}


def tag_of(context: Context, files: Sequence[Sent]) -> str:
    """Return the tag asked for, or one that names all the files: the same content, and no other, has the same tag."""
    return context.tag or f"content-{digest_of(listed(files))[:12]}"


def ahead(context: Context) -> None:
    """Refuse, before anything slow begins, what would be refused at the end; nothing is written, no weights are read.

    Raises `BadInput` for a key or a card that is missing, `Refused` for a token that cannot publish, and `Refused`,
    with a report, for everything else.
    """
    if not context.dry_run:
        _signer(context)
    if context.cards:
        for variant in context.variants:
            judge_card(context, variant, context.cards)
    wanted = [repo for v in context.variants if (repo := context.recipe.destinations[v.label].repo)]
    if not (context.dry_run and wanted and cannot_write()):
        may_publish(wanted, create_pr=context.recipe.spec.create_pr)
    try:
        findings = _refused_ahead(context)
    except Refused as error:
        report_refused(context, (Finding(error.check, "fail", str(error), error.remedy),))
        raise
    if findings:
        report_refused(context, findings)
        for finding in findings:
            context.console.finding(finding)
        first = findings[0]
        raise Refused(f"{first.id}: {first.message}", check=first.id, remedy=first.remedy)


def _refused_ahead(context: Context) -> tuple[Finding, ...]:
    """Return checks of reviewed evidence that fail; raise `Refused` for what is wrong otherwise."""
    for variant in context.variants:
        judge_destination(context, variant)
        judge_tested(context, variant)
    if not context.cards:
        return ()
    return tuple(f for v in context.variants for f in judge_reviewed(context, v, _evidence(context, v)))


def _evidence_file(context: Context, variant: Variant) -> Path:
    if context.cards:
        return card_folder(context.recipe, variant, context.cards) / "evidence.json"
    return context.work.variant(variant.label) / "evidence.json"


def _evidence(context: Context, variant: Variant) -> Evidence:
    path = _evidence_file(context, variant)
    try:
        evidence = Evidence.read(path)
    except NotEvidence as error:
        raise _unusable(error, path) from error
    except OSError:
        raise _absent(path) from None
    # The file is published as it is: of a key that stands in it twice only the last was compared.
    if json_text(evidence.plain) != path.read_text(encoding="utf-8"):
        raise BadInput("was edited: mlx-publish writes it in another form", place=str(path), remedy=_AS_MADE)
    return evidence


def _absent(path: Path) -> BadInput:
    return BadInput(
        "does not exist", place=str(path), remedy="Run 'mlx-publish card' with the same recipe and --work first."
    )


def _unusable(error: NotEvidence, path: Path) -> BadInput:
    if isinstance(error, NoObject):
        return _absent(path)
    if error.message:
        return BadInput(error.message, place=Place(str(path), error.line), remedy=_AS_MADE)
    fault = error.faults[0]
    return BadInput(shown(fault.message), place=str(path), key=shown(fault.key), remedy=_AS_MADE)


def _look(
    context: Context, variant: Variant, made: Mapping[str, str] | None
) -> tuple[tuple[Finding, ...], tuple[Sent, ...]]:
    to_the_hub = context.recipe.destinations[variant.label].repo is not None
    with client_loaded() if to_the_hub else nullcontext():
        digests_of = partial(context.console.of_bytes, f"digests of {variant.label}")
        files, evidence = manifest(context.work.model(variant.label), digests_of), _evidence(context, variant)
    try:
        model = context.work.model(variant.label)
        paths = (model / EVIDENCE, model / PUBLISHED)
        text, signature = (path.read_bytes() if path.is_file() else None for path in paths)
        name = str(_evidence_file(context, variant)) if context.cards else EVIDENCE
        vouched = judged(evidence, text, signature, policy_of(context) or EMPTY, name)
        parcel = replace(_parcel(context, variant, files, evidence, vouched.by), rebuilt=made)
        checks = run_checks(UPLOAD, parcel, context.recipe.accepted) + run_checks(ATTESTED, vouched)
        return checks + _taken(context, variant, files), files
    except UNRENDERABLE as error:  # within a measurement there may be anything
        message = f"is incomplete: {type(error).__name__}: {shown(error)}"
        raise BadInput(message, place=str(_evidence_file(context, variant)), remedy=_AS_MADE) from error


def _taken(context: Context, variant: Variant, files: Sequence[Sent]) -> tuple[Finding, ...]:
    """Say what the Hub would not take, or advises against; nothing for a folder."""
    repo = context.recipe.destinations[variant.label].repo
    if repo is None:
        return ()
    load = Load.of({file.path: file.size for file in files}, private=context.recipe.spec.private)
    ask = load.private and load.bytes > WORTH_ASKING
    return judge(load, storage_of(repo) if ask else None)


def _parcel(context: Context, variant: Variant, files: Sequence[Sent], evidence: Evidence, attested: str) -> Parcel:
    folder, policy = context.work.model(variant.label), policy_of(context)
    compared = compare(context, variant, evidence, attested)
    unlisted = (*wrong_list(evidence), *unaccepted(evidence, context.recipe.accepted))
    return Parcel(
        evidence=evidence,
        sha256={file.path: file.sha256 for file in files},
        card=_text(folder / "README.md") or "",
        rendered=render(context.recipe, variant, evidence),
        strangers=tuple(strangers(folder)),
        chart=_text(folder / "ladder.svg"),
        rendered_chart=render_chart(evidence),
        picture=next((file.sha256 for file in files if file.path == PICTURE), None),
        drawn_picture=picture_digest(evidence),
        leaks=tuple(leaks((file.path, file.local) for file in files)),
        unlisted=tuple(map(str, unlisted)),
        differences=tuple(map(str, compared.differences)),
        claimed=compared.claimed,
        attested=attested,
        forbidden=judge_licence(evidence.licence.id, policy, evidence.licence_of_adapter) if policy else None,
        converted_now=converted_now(context, variant),
        plan=plan_digest(card_folder(context.recipe, variant, context.cards) if context.cards else folder),
    )


def _signer(context: Context) -> Signer:
    """Return whoever signs what this run publishes."""
    return context.once("signer", lambda: Signer(policy_of(context) or EMPTY))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _send(context: Context, variant: Variant, findings: tuple[Finding, ...], files: tuple[Sent, ...]) -> Outcome:
    destination, spec = context.recipe.destinations[variant.label], context.recipe.spec
    context.console.progress(f"publishing {variant.label} to {destination}")
    evidence = _evidence(context, variant)
    files = _signer(context).signed(files, destination.repo or destination.name, context.work.variant(variant.label))
    runner = Runner.from_env()
    provenance = context.work.provenance(variant.label)
    write_provenance(provenance, evidence, digests(files), builder=runner.builder, run=runner.run_address)
    bytes_ = sum(file.size for file in files)
    if destination.folder:
        publish_folder(files, destination.folder, evidence.source, adopt=spec.adopt)
        equal = Finding("remote-equal", "pass", f"{len(files)} files in {destination.folder}, compared byte for byte")
        return Outcome((*findings, equal), PublishedFolder(True, len(files), bytes_, str(destination.folder)))
    order = _order(context, variant, evidence, files)
    receipt = publish(order, context.console.progress)
    equal = Finding("remote-equal", "pass", _summary(order, receipt))
    return Outcome((*findings, equal), PublishedRepo(True, len(files), bytes_, **vars(receipt)))


def _order(context: Context, variant: Variant, evidence: Evidence, files: tuple[Sent, ...]) -> Order:
    repo, spec = context.recipe.destinations[variant.label].repo, context.recipe.spec
    title = f"{context.recipe.name}: {variant.label} of {evidence.source.name}"
    return Order(
        repo or "",
        files,
        evidence.source,
        title,
        tag_of(context, files),
        context.work.variant(variant.label) / "begun",
        private=spec.private,
        adopt=spec.adopt,
        create_pr=spec.create_pr,
        collection=spec.collection,
        read_back=spec.read_back,
    )


def _foresee(context: Context, variant: Variant, findings: tuple[Finding, ...], files: tuple[Sent, ...]) -> Outcome:
    """Return what `_send` would do; nothing is written, and nothing signed."""
    evidence, spec = _evidence(context, variant), context.recipe.spec
    destination = context.recipe.destinations[variant.label]
    signs = (policy_of(context) or EMPTY).spec.sign != "none"
    order = _order(context, variant, evidence, files)
    if destination.folder:
        foreseen = foresee_folder(files, destination.folder, evidence.source)
    else:
        foreseen = foresee(order, tag=not signs or bool(context.tag))
    tag: str | None = "" if destination.folder or spec.create_pr else order.tag
    plan = Planned(str(destination), foreseen, files, tag if context.tag or not signs else None)
    plan.print(context.console, variant.label, signs=signs)
    more = plan.findings(cannot_write() if destination.repo else "")
    return Outcome((*findings, *more), plan.result())


def _summary(order: Order, receipt: Receipt) -> str:
    text = f"{len(order.files)} files at {receipt.repo}@{receipt.commit[:12]} have the local digests"
    if receipt.read_back:
        text += f", {receipt.read_back:,} bytes were read back"
    if receipt.pull_request:
        return f"{text}: {receipt.pull_request}"
    return f"{text}; the repo is private as before" if receipt.private and not order.private else text


STAGE = Stage(stages.UPLOAD, inputs, run, ahead=ahead)
