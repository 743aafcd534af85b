"""The sensitivities of a source: measured by the engine, and kept for all variants and later runs."""

from __future__ import annotations

from pathlib import Path

from mlx_publish import __version__
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.sensitivities import CalibrationOrder, Rung, Sensitivities
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import bounds, memory_fits
from mlx_publish.source.calibration import calibration_inputs, calibration_order
from mlx_publish.source.kept import Kept
from mlx_publish.source.layout import Prepared
from mlx_publish.source.resolve import converter, source_of

RUNGS: tuple[Rung, ...] = tuple((bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128))
"""The ladder; besides, each module may be stored as it is."""


def measured(context: Context, variant: Variant, prepared: Prepared) -> Sensitivities:
    """Return the sensitivities of the source as a variant's dtype stores it; measured at most once.

    A source that does not fit into memory is measured in its 8-bit form. Raises what `run_job` raises.
    """
    order, dtype = calibration_order(context), variant.dtype
    name = f"sensitivities-{dtype}" if dtype else "sensitivities"
    proxy = not memory_fits(context)
    inputs = {
        **source_of(context).named,
        "calibration": calibration_inputs(context),
        "rungs": [list(rung) for rung in RUNGS],
        "dtype": dtype,
        "proxy": proxy,
        "tools": converter(context).versions(),
        "mlx-publish": __version__,
    }
    kept = Kept(context.work.source / f"{name}.json", Sensitivities, inputs)
    known = kept.known()
    if known is None:
        known = _measure(context, prepared, order, dtype, proxy, context.work.source / f"{name}.log")
        kept.keep(known)
    return known


def _measure(
    context: Context, prepared: Prepared, order: CalibrationOrder, dtype: str | None, proxy: bool, log: Path
) -> Sensitivities:
    arguments = {
        "source": str(prepared.links),
        "tokenizer": str(prepared.side),
        "calibration": to_json(order),
        "rungs": [list(rung) for rung in RUNGS],
        "dtype": dtype,
        "proxy": proxy,
    }
    job = Job("sensitivity", arguments, log, bounds(context), context.children)
    return from_json(Sensitivities, run_job(job, context.console.progress))
