"""The comparison of pixel values, once a folder is whole."""

from __future__ import annotations

from pathlib import Path

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.pixels import PIXELS
from mlx_publish.children.jobs import Bounds, Job, run_job
from mlx_publish.context import Context
from mlx_publish.errors import Refused
from mlx_publish.evidence.pixels import PixelsCompared
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.report import Finding
from mlx_publish.model.senses import kinds_in, senses_in
from mlx_publish.source.layout import Prepared
from mlx_publish.source.resolve import converter
from mlx_publish.text.temporary import TemporaryFolder

_SECONDS, _MOST_BYTES = 300.0, 6 << 30


def judge_pixels(context: Context, prepared: Prepared, folder: Path) -> tuple[Finding, ...]:
    """Compare the processor of a converted folder with the source's; no findings of what does not see."""
    if not converter(context).senses or "images" not in kinds_in(senses_in(prepared.config)):
        return ()
    return run_checks(PIXELS, _compared(context, prepared, folder), context.recipe.accepted)


def _compared(context: Context, prepared: Prepared, folder: Path) -> PixelsCompared:
    with TemporaryFolder() as aside:
        arguments = {"source": str(prepared.source), "folder": str(folder), "aside": str(aside)}
        log = context.work.source / "pixels.log"
        job = Job("pixels", arguments, log, Bounds(_SECONDS, _MOST_BYTES), context.children)
        try:
            return from_json(PixelsCompared, run_job(job, context.console.progress))
        except Refused as error:  # more memory than pictures of these sizes need
            return PixelsCompared("", 0, [error.message], False)
