"""The command: look at a published model, judge it, print the verdict."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlx_publish import __version__
from mlx_publish.card.render import UNRENDERABLE, render_card, render_chart
from mlx_publish.card.senses import picture_digest
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.published import PUBLISHED, Facts
from mlx_publish.commands._differences import print_differences
from mlx_publish.commands._verdict import print_verdict
from mlx_publish.converters import converter_of
from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import PICTURE
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.model.files import read_json_file
from mlx_publish.signing.verifying import Wanted, measurer, reportable, signatures
from mlx_publish.text import kit
from mlx_publish.text.console import Console
from mlx_publish.text.temporary import TemporaryFolder
from mlx_publish.verify.plan import misplanned
from mlx_publish.verify.published import CARD, CHART, EVIDENCE, Published, find
from mlx_publish.verify.rebuild import NOTHING, Given, Rebuilt, rebuild


def verify(
    place: str, console: Console, *, again: bool, given: Given = NOTHING, work: Path | None, as_json: bool, by: Wanted
) -> int:
    """Print the verdict on a published model; return 1 if it does not match its evidence.

    `place` is a repo, optionally with `@tag`, its address, or a folder. With `again` the source is converted again, in
    `work` or in a temporary folder, of what is published and of what is `given`. `by` names the signatures that are
    required.
    """
    published = find(place)
    measured = measurer(published.files, by)
    findings, made = _judged(published, console, (again, given, work), measured.by)
    signed = signatures(published.files, published.sha256, by, measured, published.repo)
    findings += reportable(signed, alone=findings[0].status == "fail")
    good = verdict_of(findings) == "pass"
    title = f"{published.name}: {'verified' if good else 'NOT verified'}"
    print_verdict(console, "verify", title, findings, as_json=as_json)
    if made and made.weights and not made.closeness:
        print_differences(console, made.weights)
    _conclude(place, published, findings, console)
    return int(not good)


def _conclude(place: str, published: Published, findings: tuple[Finding, ...], console: Console) -> None:
    """End with the verdict in a sentence, and what to do next."""
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        names = ", ".join(finding.id for finding in failed)
        count = f"{len(failed)} check{'s' * (len(failed) > 1)} failed: {names}"
        console.verdict(f"{published.name} does not match its evidence; {count}", "fail")
        console.next(failed[0].remedy or "Do not use this model; ask its publisher what changed.")
        return
    console.verdict(f"{published.name} is what its evidence says")
    skipped = {finding.id for finding in findings if finding.status == "skip"}
    # What a shell could read otherwise is not part of a line to copy.
    quoted = shlex.quote(place)
    if "made-again" in skipped:
        console.next(
            kit.typed(f"mlx-publish verify {quoted} --rebuild"), "converting the source again to compare every byte"
        )
    elif "vouched-for" in skipped:
        console.next(f"mlx-publish verify {quoted} --signers FILE", "checking who measured it")


def _judged(
    published: Published, console: Console, rebuilding: tuple[bool, Given, Path | None], attested: str
) -> tuple[tuple[Finding, ...], Rebuilt | None]:
    again, given, work = rebuilding
    made = None
    try:
        evidence = published.evidence
        made = _again(published, given, work, console) if again else None
        facts = replace(_facts(published, evidence, made), attested=attested)
        of = evidence.source
        place = f"{of.repo} at {of.identity[:12]}" if of.repo else f"the folder {of.name}"
        readable = Finding("evidence-readable", "pass", f"{evidence.variant.label} of {place}")
        return (readable, *run_checks(PUBLISHED, facts)), made
    except Refused as error:
        return (Finding(error.check, "fail", str(error), error.remedy),), made
    except UNRENDERABLE as error:  # within a measurement there may be anything
        message = f"{EVIDENCE} is incomplete: {type(error).__name__}: {error}"
        finding = Finding("evidence-readable", "fail", message, "Do not use this model: its evidence was changed.")
        return (finding,), made


def _facts(published: Published, evidence: Evidence, made: Rebuilt | None) -> Facts:
    return Facts(
        evidence=evidence,
        sha256=published.sha256,
        sizes={path: entry.size for path, entry in published.entries.items()},
        tensors=published.tensors(),
        config=read_json_file(published.files, "config.json") or {},
        texts={path: published.text(path) for path in (CARD, CHART)} | {PICTURE: published.sha256.get(PICTURE)},
        rendered=_rendered(evidence),
        made=made.sha256 if made else None,
        weights=made.weights if made else None,
        closeness=made.closeness if made else "",
        misplanned=tuple(misplanned(published)),
        differences=made.differences if made else None,
        tools=converter_of(evidence.tools).versions(),
    )


def _rendered(evidence: Evidence) -> Mapping[str, str | None] | str:
    """Return card, chart and the picture's SHA-256 made anew, or why they cannot be."""
    if evidence.generator != __version__:
        return (
            f"rendered by mlx-publish {evidence.generator}; only that version can repeat it, and this is {__version__}"
        )
    if evidence.templates:
        return f"rendered with the publisher's own templates: {', '.join(sorted(evidence.templates))}"
    name = evidence.destination.name
    card = render_card(name, evidence.destination.repo or name, evidence.words.notes, evidence)
    return {CARD: card, CHART: render_chart(evidence), PICTURE: picture_digest(evidence)}


def _again(published: Published, given: Given, work: Path | None, console: Console) -> Rebuilt:
    if work is not None:
        return rebuild(published, given, work.resolve(), console)
    with TemporaryFolder() as folder:
        return rebuild(published, given, folder, console)
