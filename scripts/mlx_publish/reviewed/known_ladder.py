"""Compare the table of a recipe's variants in evidence with the evidence itself, and with the siblings' reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mlx_publish.context import Context
from mlx_publish.evidence.evidence import Evidence, Rung
from mlx_publish.recipes.recipe import Variant
from mlx_publish.reviewed.assembling import bound_of, measured_of, memory_8k
from mlx_publish.reviewed.walk import Difference, cut, walk

_FILES = ("weight_bytes", "bits_per_weight")
_MEMORY = ("memory_bytes", "memory_tokens", "memory_8k_bytes")
_MEASURED: Mapping[str, Sequence[str]] = {
    "fidelity": ("mean_kld", "mean_kld_error", "same_first_choice", "against"),
    "benchmark": (*_MEMORY, "generation_tps", "prompt_tokens", "device", "chip", "backend"),
}


def ladder_differences(
    context: Context,
    variant: Variant,
    evidence: Evidence,
    own: Sequence[Rung],
    *,
    attested: bool,
) -> Iterator[Difference]:
    """Compare the rungs; `own` are those that the reports here give, and count for what was measured here."""
    here, known = {rung.label: rung for rung in own}, {sibling.label: sibling for sibling in context.recipe.variants}
    labels = [rung.label for rung in evidence.ladder]
    if labels != [label for label in known if label in labels] or variant.label not in labels:
        wanted = f"some of {cut(list(known))}, {variant.label} among them"
        yield Difference("ladder", cut(labels), wanted, "the recipe")
    for number, rung in enumerate(evidence.ladder):
        if rung.label not in known:
            continue
        key, mine = f"ladder[{number}]", here.get(rung.label)
        yield from walk(f"{key}.repo", rung.plain["repo"], context.recipe.destinations[rung.label].repo, "the recipe")
        if rung.label == variant.label:
            yield from _repeated(key, rung, evidence)
        if mine:
            bound = bound_of(context, known[rung.label])
            measured = [] if attested else [stage for stage in _MEASURED if bound.of_these_bytes(stage)]
            for name in (*_FILES, *(name for stage in measured for name in _MEASURED[stage])):
                yield from walk(
                    f"{key}.{name}", rung.plain.get(name), mine.plain.get(name), f"a report of {rung.label}"
                )


def _repeated(key: str, rung: Rung, evidence: Evidence) -> Iterator[Difference]:
    """Compare the rung of this variant with the parts of the evidence that it repeats."""
    timed = evidence.benchmark
    short = memory_8k(evidence.model, timed.plain, evidence.variant.dtype) if timed else None
    repeated = measured_of(evidence.model, evidence.fidelity, timed, timed.context if timed else None, short)
    for name, value in repeated.items():
        # Memory stands in the rung of a speed too unsteady to be printed, too.
        if timed is not None or name not in _MEMORY:
            yield from walk(f"{key}.{name}", rung.plain.get(name), value, "the evidence itself")
