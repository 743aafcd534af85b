"""publish: all stages."""

from __future__ import annotations

from functools import partial

from mlx_publish.commands._command import Group
from mlx_publish.commands._stages import add_tag_and_rebuild, run_stages, stage_command
from mlx_publish.evidence.stages import ORDER

COMMAND = stage_command(
    "publish",
    "run all stages, then upload",
    21,
    add_tag_and_rebuild,
    partial(run_stages, until=ORDER[-1].name),
    group=Group.WHOLE,
    example="mlx-publish publish --recipe recipes/smollm2.yaml --tag v1",
    publishes=True,
)
