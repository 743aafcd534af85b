"""card: the evidence of a variant, and the card that is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from mlx_publish import __version__
from mlx_publish.card.render import load_as, render, render_chart
from mlx_publish.card.senses import picture
from mlx_publish.card.templates import templates_of
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.card import CARD
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence import stages
from mlx_publish.evidence.digests import PICTURE, digest_of, sha256_of
from mlx_publish.evidence.results import CardFiles
from mlx_publish.evidence.stages import MEASURED
from mlx_publish.recipes.recipe import Variant
from mlx_publish.reviewed.assembling import assemble, bound_of, ladder_of
from mlx_publish.signing.evidence_signature import PUBLISHED, is_of_this_machine, sign_evidence
from mlx_publish.stages.repeated import edited_files
from mlx_publish.stages.stage import Stage
from mlx_publish.text.files import json_text, read_json, write_atomically

_TEMPLATES = files("mlx_publish").joinpath("templates/card")


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return all reports, the recipe's words, the template."""
    reports = {name: context.work.report(variant.label, name) for name in ("inspect", "convert", *MEASURED)}
    return {
        "reports": {name: report.chain.own for name, report in reports.items() if report},
        "ladder": digest_of(ladder_of(context)),
        "recipe": context.recipe.digest_of("base_model", "card", "to"),
        "destination": load_as(context.recipe, variant),
        "templates": templates_of(context.recipe),
        "template": digest_of([path.read_text("utf-8") for path in sorted(_TEMPLATES.iterdir(), key=str)]),
        "generator": __version__,
    }


def complete(context: Context, variant: Variant) -> bool:
    """Return whether card and evidence are the ones that the report names."""
    report = context.work.report(variant.label, "card")
    written = report.read(CardFiles) if report else None
    whole = written is not None and written.files == _digests(context, variant)
    return whole and is_of_this_machine(context.work.model(variant.label) / PUBLISHED)


def edited(context: Context, variant: Variant) -> Iterator[str]:
    """Yield the files of the card that are not the ones that were rendered."""
    report = context.work.report(variant.label, "card")
    written = report.read(CardFiles) if report else None
    if written is not None:
        yield from edited_files(written.files, _digests(context, variant), "rendered")


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Write evidence.json, its copy in `model/`, and the card."""
    return {variant.label: _card(context, variant) for variant in variants}


def _card(context: Context, variant: Variant) -> Outcome:
    bound = bound_of(context, variant)
    evidence = assemble(context, variant, bound)
    checks = run_checks(CARD, bound, context.recipe.accepted)
    text = json_text(evidence.plain)
    write_atomically(context.work.variant(variant.label) / "evidence.json", text)
    write_atomically(context.work.model(variant.label) / "mlx-publish.json", text)
    sign_evidence(text.encode(), context.work.model(variant.label) / PUBLISHED)
    write_atomically(context.work.model(variant.label) / "README.md", render(context.recipe, variant, evidence))
    for name, content in (("ladder.svg", render_chart(evidence)), (PICTURE, picture(evidence))):
        path = context.work.model(variant.label) / name
        if content:
            write_atomically(path, content)
        else:
            path.unlink(missing_ok=True)
    return Outcome(checks, CardFiles(digest_of(evidence.plain), _digests(context, variant)))


def _digests(context: Context, variant: Variant) -> dict[str, str | None]:
    """Return digests of what this stage writes; None for what is missing."""
    model = context.work.model(variant.label)
    texts = {name: model / name for name in ("README.md", "ladder.svg")}
    digests = {name: digest_of(path.read_text("utf-8")) if path.exists() else None for name, path in texts.items()}
    shown = {PICTURE: sha256_of(model / PICTURE)} if (model / PICTURE).exists() else {}
    return {
        **digests,
        **shown,
        "mlx-publish.json": digest_of(read_json(model / "mlx-publish.json")),
        "evidence.json": digest_of(read_json(context.work.variant(variant.label) / "evidence.json")),
    }


STAGE = Stage(stages.CARD, inputs, run, complete, edited)
