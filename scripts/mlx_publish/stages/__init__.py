"""What each stage does, a module a stage."""

from __future__ import annotations

from importlib import import_module

from mlx_publish.evidence.stages import ORDER
from mlx_publish.stages.stage import Stage

STAGES: tuple[Stage, ...] = tuple(import_module(f"mlx_publish.stages.{traits.name}_stage").STAGE for traits in ORDER)
