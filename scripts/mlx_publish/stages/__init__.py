"""The stages, in the order in which they run."""

from __future__ import annotations

from mlx_publish.stages import (
    benchmark_stage,
    card_stage,
    convert_stage,
    fidelity_stage,
    inspect_stage,
    smoke_stage,
    upload_stage,
)
from mlx_publish.stages.stage import Stage

STAGES: tuple[Stage, ...] = (
    inspect_stage.STAGE,
    convert_stage.STAGE,
    smoke_stage.STAGE,
    fidelity_stage.STAGE,
    benchmark_stage.STAGE,
    card_stage.STAGE,
    upload_stage.STAGE,
)
NAMES = tuple(stage.name for stage in STAGES)
