"""The drafter of a converted model on trial: mlx-vlm generates with it and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlx_publish.children.vision import NoVision, find_vision, generate
from mlx_publish.context import Context
from mlx_publish.evidence.drafter import Drafted, DrafterProof, DrafterUnproven
from mlx_publish.evidence.measured import Question
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.machine.resources import most_weights
from mlx_publish.model.drafters import FOLDER
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import FLOAT32, bounds, rounded
from mlx_publish.source.resolve import metadata_of

TOKENS = 64
_TEXTS = (
    "The tides follow the moon: twice a day the water rises, stays for a while, and",
    "def mean(values):\n    total = 0\n    for value in values:\n        total +=",
    "One, two, three, four, five, six, seven,",
)


def vision_tools() -> Mapping[str, str]:
    """Return the versions of what proves a drafter; empty where that is missing."""
    try:
        return dict(find_vision().versions)
    except NoVision:
        return {}


def proven(
    context: Context, variant: Variant, questions: Sequence[Question], stops: Sequence[int]
) -> DrafterProof | DrafterUnproven:
    """Let mlx-vlm answer the questions of the smoke test and go on with texts, with the drafter and without it."""
    try:
        python = find_vision()
    except NoVision as missing:
        return DrafterUnproven(str(missing), missing=True)
    model, log = context.work.model(variant.label), context.work.variant(variant.label) / "drafter.log"
    prompts: list[Mapping[str, object]] = [
        {"ids": list(question.ids)} for question in questions if question.ids and not question.long_text
    ]
    prompts += [{"text": question.prompt} for question in questions if question.prompt and not question.long_text]
    order = {
        "model": str(model.resolve()),
        "drafter": str((model / FOLDER).resolve()),
        "prompts": [*prompts, *({"text": text} for text in _TEXTS)],
        "stops": list(stops),
        "tokens": TOKENS,
        "float32": _fits(context, variant),
    }
    context.console.progress(f"{variant.label}: generating with the drafter, by mlx-vlm")
    answer = generate(python, order, log, bounds(context).seconds)
    if answer.result is None:
        return DrafterUnproven(answer.reason)
    drafted = from_json(Drafted, answer.result)
    more = {"versions": dict(python.versions), "routed": _is_routed(context)}
    return from_json(DrafterProof, {**_six_digits(drafted), **more})


def _is_routed(context: Context) -> bool:
    """Return whether a model has experts, by the names of the source's tensors: one of many, or stacked ones."""
    return any("experts" in tensor.name.split(".") for tensor in metadata_of(context).tensors)


def _six_digits(drafted: Drafted) -> Mapping[str, object]:
    plain = rounded(to_json(drafted))
    return plain if isinstance(plain, Mapping) else {}


def _fits(context: Context, variant: Variant) -> bool:
    """Return whether the model can be computed with in float32; packed weights stay as they are."""
    converted = context.converted(variant)
    needed = 2 * converted.weight_bytes if variant.quantized else FLOAT32 * converted.parameters
    return needed < most_weights()
