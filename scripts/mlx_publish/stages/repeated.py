"""Why a stage runs again that has run before: a change, a flag, another version, or a file that somebody edited."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.context import Context
from mlx_publish.evidence.report import Finding, Report
from mlx_publish.evidence.stages import before
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.chained import strange
from mlx_publish.stages.stage import Stage
from mlx_publish.text.harmless import one_line
from mlx_publish.text.markdown import cell

CHECK = "work-folder"
"""The name under which a repaired file is printed; it is no check, and no report holds it."""
_MOST = 3  # files or reasons in a message
_WORDS: Mapping[str, str] = {
    "recipe": "the recipe changed",
    "variant": "the recipe's variant changed",
    "files": "the list of the source's files changed",
    "destination": "the destination changed",
    "policy": "the policy changed",
    "model": "the converted model changed",
    "machine": "this is another machine",
    "plan": "the plan file changed",
    "calibration": "the calibration text changed",
    "text": "the text it is measured on changed",
    "template": "the card's template changed",
    "templates": "the repo's own card templates changed",
    "reports": "a report that the card is made from changed",
    "ladder": "another variant's results changed",
    "rounding": "plain rounding that it is compared with changed",
}


@dataclass(frozen=True)
class Again:
    """Why a stage runs again for a variant."""

    reasons: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    """Files that it wrote and somebody changed or removed since, with what happened to each."""


def why_again(context: Context, stage: Stage, variant: Variant, inputs: Mapping[str, object]) -> Again:
    """Return why a stage that has a report runs again; nothing for one that runs for the first time."""
    ran = context.once("ran", set[tuple[str, str]])
    earlier = [name for name in before(stage.name) if (name, variant.label) in ran]
    ran.add((stage.name, variant.label))
    report = context.work.report(variant.label, stage.name)
    if report is None or stage.traits.publishes:
        return Again()
    # A conversion puts a new folder in the place of the one that later stages had written to.
    edited = () if "convert" in earlier else tuple(stage.edited(context, variant))
    return Again(tuple(_reasons(context, variant, report, inputs, earlier)), edited)


def _reasons(
    context: Context, variant: Variant, report: Report, inputs: Mapping[str, object], earlier: Sequence[str]
) -> Iterator[str]:
    """Yield what has changed since a report was written, or why it was no good."""
    if report.stage in context.force:
        yield "--force"
        return
    if report.verdict != "pass":
        yield "the last run " + ("was refused" if report.verdict == "refused" else "ended with an error")
    changes = list(_changes(report.inputs, inputs))
    yield from changes
    if not changes and (others := earlier or list(strange(context, variant, report, frozenset()))):
        yield f"{' and '.join(others)} ran again"


def _changes(then: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    """Yield what differs between the inputs of two runs, in words."""
    for key in dict.fromkeys((*now, *then)):
        old, new = then.get(key), now.get(key)
        if old == new:
            continue
        if key == "source":
            yield f"the source changed ({str(old)[:12]} -> {str(new)[:12]})"
        elif key == "generator":
            yield f"it was made by mlx-publish {old}, and this is {new}"
        elif key == "tools" and isinstance(old, Mapping) and isinstance(new, Mapping):
            yield _versions(old, new)
        elif key in {"mlx_lm", "mlx_vlm"}:
            yield f"{key.replace('_', '-')} was {old or 'not used'}, and is {new or 'not used'}"
        else:
            yield _WORDS.get(key, f"{key.replace('_', ' ')} changed")


def _versions(then: Mapping[str, object], now: Mapping[str, object]) -> str:
    changed = [name for name in dict.fromkeys((*now, *then)) if then.get(name) != now.get(name)]
    return "made with " + ", ".join(f"{name} {then.get(name)} (now {now.get(name)})" for name in changed)


def say_again(context: Context, stage: Stage, reasons: Mapping[str, Again]) -> None:
    """Print why a stage runs again for variants, by label; what is repaired stands in a step's summary, too."""
    groups = dict[tuple[str, ...], list[str]]()
    for label, again in reasons.items():
        if again.reasons:
            groups.setdefault(again.reasons, []).append(label)
    for words, labels in groups.items():
        what = "; ".join(one_line(word) for word in words[:_MOST])
        context.console.say(f"running {stage.name} again for {', '.join(labels)}: {what}")
    repaired = [
        Finding(CHECK, "fixed", f"{_in_work(context, label, again.edited)}; running {stage.name} again")
        for label, again in reasons.items()
        if again.edited
    ]
    for finding in repaired:
        context.console.finding(finding)
        Runner.from_env().summarize(f"> **Repaired** {cell(finding.message)}\n")


def _in_work(context: Context, label: str, edited: Sequence[str]) -> str:
    folder = os.path.relpath(context.work.variant(label))
    more = f", and {len(edited) - _MOST} more files" if len(edited) > _MOST else ""
    return f"in {folder}: {', '.join(one_line(text) for text in edited[:_MOST])}{more}"


def edited_files(written: Mapping[str, str | None], now: Mapping[str, str | None], since: str) -> Iterator[str]:
    """Yield the files that differ from what was written, `model.safetensors was changed since it was converted`."""
    for path in sorted(written.keys() | now.keys()):
        if written.get(path) == now.get(path):
            continue
        if now.get(path) is None:
            yield f"{path} is missing"
        elif written.get(path) is None:
            yield f"{path} was added since the model was {since}"
        else:
            yield f"{path} was changed since it was {since}"
