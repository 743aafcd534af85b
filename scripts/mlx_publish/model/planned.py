"""A plan beside the config.json of the weights that were made by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mlx_publish.evidence.sensitivities import WHOLE

if TYPE_CHECKING:
    from mlx_publish.recipes.plan import Plan

BLOCK = "quantization"


def plan_differences(plan: Plan, config: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield key and words of each module that config.json quantizes otherwise than the plan."""
    block = config.get(BLOCK)
    if not isinstance(block, Mapping):
        yield BLOCK, "this key is missing, but a plan is next to it"
        return
    for path, module in plan.modules.items():
        own = block.get(path, block)
        stated = (own.get("bits"), own.get("group_size")) if isinstance(own, Mapping) else WHOLE
        planned = (module.bits, module.group_size)
        if stated != planned:
            yield f"{BLOCK}.{path}", f"says {_words(stated)}, but the plan gives {_words(planned)}"


def _words(rung: tuple[object, object]) -> str:
    return "no quantization" if rung == WHOLE else f"{rung[0]!r} bits in groups of {rung[1]!r}"
