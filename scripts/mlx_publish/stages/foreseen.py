"""What an upload will refuse anyway, asked before anything slow begins: no weights are read, no bytes are sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlx_publish import __version__
from mlx_publish.card.render import UNRENDERABLE, render, render_chart
from mlx_publish.card.senses import picture_digest
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.listed import COMPLETE, shown, unaccepted, wrong_list
from mlx_publish.checks.signed import ATTESTED
from mlx_publish.checks.upload import KNOWN_AHEAD, Parcel
from mlx_publish.context import Context
from mlx_publish.errors import Refused
from mlx_publish.evidence import stages
from mlx_publish.evidence.digests import PICTURE, sha256_of
from mlx_publish.evidence.evidence import Evidence, SourceSpec
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report
from mlx_publish.evidence.results import HeldBack
from mlx_publish.hub.folder import judge_folder
from mlx_publish.hub.manifest import Sent, is_same, manifest
from mlx_publish.hub.remote import evidence_at, find_remote, is_ours, not_ours, tag_taken, tags_of
from mlx_publish.hub.repo import RepoFiles
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.policy import EMPTY, judge_licence
from mlx_publish.recipes.recipe import Variant
from mlx_publish.reviewed.cards import FILES, card_folder, plan_digest
from mlx_publish.signing.attested import judged
from mlx_publish.stages.policy_of import policy_of


def judge_destination(context: Context, variant: Variant) -> None:
    """Raise `Refused` if the destination holds something of somebody else, or the tag stands for other files."""
    destination, spec = context.recipe.destinations[variant.label], context.recipe.spec
    source = source_spec(context)
    if destination.folder:
        judge_folder(destination.folder, source, adopt=spec.adopt)
    if not destination.repo:
        return
    remote = find_remote(destination.repo)
    if remote is None:
        return
    if not (spec.adopt or is_ours(destination.repo, remote, source)):
        raise not_ours(destination.repo)
    if context.tag and not spec.create_pr and (commit := tags_of(destination.repo).get(context.tag)):
        differs = ", ".join(_differs(context, variant, destination.repo, commit))
        if differs:
            raise tag_taken(destination.repo, context.tag, commit, differs)


def source_spec(context: Context) -> SourceSpec:
    """Return the source by the names that evidence gives it; which commit it is does not matter here."""
    recipe = context.recipe
    return SourceSpec(
        name=recipe.source_name,
        repo=None if recipe.source_folder else recipe.spec.source,
        identity="0" * 40,
        base_model=recipe.base_model,
        pipeline_tag=None,
    )


def _differs(context: Context, variant: Variant, repo: str, commit: str) -> Iterator[str]:
    """Yield in what a tagged commit differs for certain from what would be published."""
    if context.cards:
        entries = RepoFiles(repo, commit).entries
        yield from (file.path for file in _reviewed(context, variant) if not is_same(file, entries.get(file.path)))
        return
    evidence = evidence_at(repo, commit)
    theirs = evidence if isinstance(evidence, dict) else {}
    source, revision = theirs.get("source"), context.recipe.spec.revision
    if is_commit(revision) and (source.get("identity") if isinstance(source, dict) else None) != revision:
        yield "the source's commit"
    adapter, pinned = theirs.get("adapter"), context.recipe.spec.adapter_revision
    if is_commit(pinned) and (adapter.get("identity") if isinstance(adapter, dict) else None) != pinned:
        yield "the adapter's commit"
    if theirs.get("variant") != {"label": variant.label, **variant.form.plain()}:
        yield "the variant"
    if theirs.get("generator") != __version__:
        yield "the version of mlx-publish"


def _reviewed(context: Context, variant: Variant) -> Iterator[Sent]:
    """Yield the reviewed files under the names by which they are published."""
    folder = card_folder(context.recipe, variant, context.cards or Path())
    for file in manifest(folder):
        if published := FILES.get(file.path):
            yield Sent(published, file.local, file.size, file.sha256)


def judge_tested(context: Context, variant: Variant) -> None:
    """Raise `Refused` if a test that publishing needs neither has passed nor will run before the upload."""
    if context.cards or context.recipe.accepted(COMPLETE):
        return
    missing = [
        name for name in stages.TESTED if name not in context.planned and not context.work.passed(variant.label, name)
    ]
    if missing:
        raise Refused(
            f"{variant.label} has not passed {' and '.join(missing)}, without which nothing is published",
            check=COMPLETE,
            remedy="Run 'mlx-publish publish', which runs every stage; or accept 'evidence-complete' in the recipe "
            "with a reason.",
        )


def judge_reviewed(context: Context, variant: Variant, evidence: Evidence) -> tuple[Finding, ...]:
    """Judge reviewed evidence by itself, and its card by it: what fails here fails with the weights, too."""
    folder, policy = card_folder(context.recipe, variant, context.cards or Path()), policy_of(context)
    paths = (folder / name for name in ("evidence.json", "evidence.sig"))
    text, signature = (path.read_bytes() if path.is_file() else None for path in paths)
    card, chart = (_text(folder / name) for name in ("README.md", "ladder.svg"))
    try:
        parcel = Parcel(
            evidence=evidence,
            sha256={},
            card=card or "",
            rendered=render(context.recipe, variant, evidence),
            strangers=(),
            chart=chart,
            rendered_chart=render_chart(evidence),
            picture=sha256_of(folder / PICTURE) if (folder / PICTURE).is_file() else None,
            drawn_picture=picture_digest(evidence),
            unlisted=tuple(map(str, (*wrong_list(evidence), *unaccepted(evidence, context.recipe.accepted)))),
            forbidden=judge_licence(evidence.licence.id, policy, evidence.licence_of_adapter) if policy else None,
            plan=plan_digest(folder),
        )
        findings = run_checks(KNOWN_AHEAD, parcel, context.recipe.accepted)
    except UNRENDERABLE as error:  # within a measurement there may be anything
        message = f"{folder / 'evidence.json'} cannot be rendered: {type(error).__name__}: {shown(error)}"
        raise Refused(
            message, check="card-rendered", remedy="Restore the evidence file that mlx-publish wrote."
        ) from error
    vouched = judged(evidence, text, signature, policy or EMPTY, str(folder / "evidence.json"))
    return tuple(finding for finding in (*findings, *run_checks(ATTESTED, vouched)) if finding.status == "fail")


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def report_refused(context: Context, findings: tuple[Finding, ...]) -> None:
    """Write the report of an upload that was refused before it began, unless nothing was to be published."""
    if context.dry_run:
        return
    for variant in context.variants:
        wanted = {"destination": str(context.recipe.destinations[variant.label]), "tag": context.tag}
        report = Report(stages.UPLOAD.name, wanted, findings, to_json(HeldBack()), "refused")
        context.work.write_report(variant.label, report)
