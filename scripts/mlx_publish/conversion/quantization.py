"""Variants whose method learns: what the engine and its child are given for them, and what evidence says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlx_publish.children.jobs import Bounds
from mlx_publish.context import Context
from mlx_publish.conversion.planning import Followed
from mlx_publish.evidence.conversion import Learned, VariantOrder, Written
from mlx_publish.evidence.quantization import Quantization
from mlx_publish.evidence.records import to_json
from mlx_publish.machine.resources import memory_bytes
from mlx_publish.methods import settings_of
from mlx_publish.model.kept import rounded_wider
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import rounded
from mlx_publish.source.calibration import calibration_order, calibration_record

_SECONDS = 7 * 24 * 3600.0
"""A method may learn for days on a CPU; it shows how far it is."""
STATE = "learning.safetensors"
"""Of a variant's work folder: how far an interrupted training was."""


def is_learned(variant: Variant) -> bool:
    """Return whether a method learns it with the whole source in memory; a plan is only followed."""
    return variant.quantized and variant.quantizer.learns and not variant.quantizer.portable


def with_text(context: Context, variant: Variant, order: VariantOrder) -> VariantOrder:
    """Return the order of a variant with the text that its method reads, and the file that keeps how far it is."""
    if not is_learned(variant):
        return order
    state = context.work.variant(variant.label) / STATE
    return replace(
        order, calibration=to_json(calibration_order(context, variant.quantizer.name)), state=str(state.resolve())
    )


def learning_bounds(variants: Iterable[Variant], limits: Bounds) -> Bounds:
    """Return what a child may take that learns a variant: `inspect` has seen that it fits into the memory."""
    if not any(is_learned(variant) for variant in variants):
        return limits
    return replace(limits, seconds=_SECONDS, memory_bytes=max(limits.memory_bytes or 0, memory_bytes()))


def quantization_of(
    context: Context, variant: Variant, written: Written | None, plan: Followed | None
) -> Quantization | None:
    """Return what evidence says of how bits were chosen or learned; None for plain rounding."""
    planned = plan.quantization() if plan else None
    if written is None or written.learned is None:
        return planned
    form, method = variant.form, variant.quantizer.name
    return Quantization(
        method=f"{method} on plan" if planned else method,
        deterministic=False,
        calibration=calibration_record(context, method, written.learned.samples),
        plan=planned.plan if planned else None,
        settings={
            **settings_of(form.options, form.bits),
            **({"fallback_layers": layers} if (layers := rounded_wider(written.kept)) else {}),
            **_training(written.learned),
        },
    )


def _training(learned: Learned) -> dict[str, object]:
    """Return what a training did; nothing for a method without one."""
    if learned.before is None:
        return {}
    losses = {"loss_before": rounded(learned.before), "loss_after": rounded(learned.after)}
    return {"steps": learned.steps, **losses}
