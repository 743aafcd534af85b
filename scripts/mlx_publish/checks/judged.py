"""Checks of the stages that evidence lists, by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.checks.answers import ANSWERS
from mlx_publish.checks.base import Check
from mlx_publish.checks.built import BUILT
from mlx_publish.checks.drafter import HEADS, PROVEN, WRITTEN
from mlx_publish.checks.earned import EARNED
from mlx_publish.checks.fidelity import FIDELITY
from mlx_publish.checks.held_built import HELD_BUILT
from mlx_publish.checks.output import CONVERT
from mlx_publish.checks.pictured import PICTURED
from mlx_publish.checks.pixels import PIXELS
from mlx_publish.checks.planned import PLANNED
from mlx_publish.checks.reference import REFERENCE
from mlx_publish.checks.seen import SEEN
from mlx_publish.checks.source import INSPECT
from mlx_publish.checks.speed import BENCHMARK
from mlx_publish.checks.template import TEMPLATE
from mlx_publish.checks.tokenizer_output import TOKENIZER_OUTPUT
from mlx_publish.checks.towers import TOWERS

JUDGED: Mapping[str, tuple[Check[Any], ...]] = {
    "inspect": (*INSPECT, *HEADS),
    "convert": (*BUILT, *HELD_BUILT, *CONVERT, *TOWERS, *PIXELS, *WRITTEN, *PLANNED, *TOKENIZER_OUTPUT),
    "smoke": (*TEMPLATE, *ANSWERS, *PROVEN, *SEEN),
    "fidelity": (*FIDELITY, *PICTURED, *EARNED, *REFERENCE),
    "benchmark": BENCHMARK,
}
