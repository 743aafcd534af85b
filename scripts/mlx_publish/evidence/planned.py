"""The plan of a variant, as its evidence speaks of it: in `quantization`, and in the list of files."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_publish.errors import Fault
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.evidence.quantized import PlanSpec


def plan_of(evidence: Evidence) -> PlanSpec | None:
    """Return what evidence says of the variant's plan; None for a variant without one."""
    return evidence.quantization.plan if evidence.quantization else None


def is_portable(evidence: Evidence) -> bool:
    """Return whether all machines give these bytes: what is learned by products of matrices differs."""
    return evidence.quantization is None or evidence.quantization.deterministic


def wrong_plan(evidence: Evidence) -> Iterator[Fault]:
    """Yield where evidence disagrees with itself about the plan; nothing for a variant without one."""
    listed = {file.path: file.sha256 for file in evidence.model.files}
    plan, there = plan_of(evidence), listed.get(PLAN_FILE)
    if evidence.quantization is None and evidence.variant.options:
        yield Fault("missing, but the variant's bits were chosen or learned", key="quantization")
    elif plan is None and there:
        yield Fault(f"names no plan, but model.files lists {PLAN_FILE}", key="quantization")
    elif plan and plan.file != PLAN_FILE:
        yield Fault(f"is not {PLAN_FILE}, the name of every plan", key="quantization.plan.file")
    elif plan and there is None:
        yield Fault(f"names {PLAN_FILE}, which model.files does not list", key="quantization.plan.file")
    elif plan and plan.sha256 != there:
        message = f"says {plan.sha256[:12]}, but model.files says {str(there)[:12]}"
        yield Fault(message, key="quantization.plan.sha256")
