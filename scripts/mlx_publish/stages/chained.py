"""Reports that somebody edited: noticed before the next stage makes use of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlx_publish.context import Context
from mlx_publish.errors import Refused
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.stages import ORDER, before
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.stage import Stage


@dataclass(frozen=True)
class _Fault:
    """A report that may not be used, and why."""

    label: str
    stage: str
    message: str

    def remedy(self, context: Context) -> str:
        several = f" --variant {self.label}" if len(context.recipe.variants) > 1 else ""
        return f"'mlx-publish {self.stage} --force{several}'"


def judge_chain(context: Context, stages: Sequence[Stage]) -> None:
    """Raise `Refused` where a report that these stages read is not what was written, or is of other reports.

    Those that --force repeats are not read. A report that is made from others than lie there is made again, where its
    stage is among these; else it is named.
    """
    planned = [stage.name for stage in stages]
    faults = [fault for variant in context.variants for fault in _faults(context, variant, planned, context.force)]
    if any(stage.traits.reads_all for stage in stages):
        others = (variant for variant in context.recipe.variants if variant not in context.variants)
        faults += [fault for variant in others for fault in _faults(context, variant, planned, frozenset())]
    if faults:
        remedies = ", then ".join(dict.fromkeys(fault.remedy(context) for fault in faults))
        raise Refused(
            "; ".join(fault.message for fault in faults),
            check="reports-untouched",
            remedy=f"Run {remedies} with the same recipe and --work.",
        )


def follows_all(context: Context, variant: Variant, report: Report) -> bool:
    """Tell whether a report was made from the very reports that lie beside it."""
    return not list(strange(context, variant, report, frozenset()))


def _faults(context: Context, variant: Variant, planned: Sequence[str], force: frozenset[str]) -> Iterator[_Fault]:
    for stage in _read(context, planned):
        report = None if stage in force else context.work.report(variant.label, stage)
        if report is None:
            continue
        if not report.untouched:
            message = f"{stage}.json of {variant.label} was changed after it had been written"
            yield _Fault(variant.label, stage, message)
        elif stage not in planned and (others := list(strange(context, variant, report, force))):
            named = " and ".join(f"{earlier}.json" for earlier in others)
            message = f"{stage}.json of {variant.label} was made from another {named} than lies beside it"
            yield _Fault(variant.label, stage, message)


def _read(context: Context, planned: Sequence[str]) -> list[str]:
    """Return the stages whose reports are read, in their order; reviewed cards take the place of those made here."""
    unread = {"card"} if context.cards else set()
    read = {*before(planned[-1]), *planned} - unread
    return [stage.name for stage in ORDER if stage.name in read and not stage.publishes]


def strange(context: Context, variant: Variant, report: Report, force: frozenset[str]) -> Iterator[str]:
    """Yield the stages whose reports are not those that this one was made from; those that --force repeats are not."""
    for stage in before(report.stage):
        earlier = None if stage in force else context.work.report(variant.label, stage)
        if earlier is not None and not report.follows(earlier):
            yield stage
