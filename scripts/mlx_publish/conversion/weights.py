"""The job of the engine that makes all variants of a source from one reading of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.conversion.quantization import is_learned, learning_bounds, with_text
from mlx_publish.conversion.streaming import Streaming
from mlx_publish.evidence.conversion import Conversion, VariantOrder
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.model.size import conversion_memory
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.answers import SourceAnswers
from mlx_publish.source.bounds import bounds, memory_fits
from mlx_publish.source.layout import Prepared
from mlx_publish.source.logits import SourceLogits

_BESIDES = 4 << 30
"""Bytes of memory that a conversion may take besides twice what it should."""
_GROUP = 64
"""Group size that config.json names where each module has its own."""


def convert_weights(
    context: Context,
    variants: Sequence[Variant],
    folders: Mapping[str, Path],
    prepared: Prepared,
    tokenizer: Mapping[str, object],
    plans: Mapping[str, str] | None = None,
    streaming: Streaming | None = None,
) -> Conversion:
    """Convert to the folder of each variant's label; meanwhile the tokenizer is compared, which needs no weight.

    `plans` are the plan files of the variants that have one, by label; `streaming` brings the weights, where they are
    not on this disk.

    What later stages want of the source is computed while it is in memory, where this machine can hold it: on another
    one they read it once more. Raises what `run_job` raises.
    """
    logits, answers = SourceLogits(context), SourceAnswers(context)
    # A method that learns has the source in memory for itself.
    fits = memory_fits(context) and streaming is None and not any(is_learned(variant) for variant in variants)
    read = fits and "fidelity" in context.planned and logits.known() is None
    asked = fits and "smoke" in context.planned and answers.known() is None
    towers = context.recipe.spec.towers
    orders = [
        with_text(
            context,
            variant,
            VariantOrder(
                folder=str(folders[variant.label]),
                label=variant.label,
                quantize=variant.form.quantized,
                bits=variant.form.bits,
                group_size=variant.form.group_size or (_GROUP if variant.quantized else None),
                mode=variant.form.mode,
                mixed=variant.form.mixed,
                dtype=variant.form.dtype,
                method=variant.quantizer.name,
                options=variant.form.options,
                plan=(plans or {}).get(variant.label, ""),
                towers=(towers.bits, towers.group) if towers and towers.bits else None,
            ),
        )
        for variant in variants
    ]
    arguments = {
        "source": str(prepared.links),
        "asked": prepared.config,
        "variants": to_json(orders),
        "tokenizer": tokenizer,
        "questions": to_json(answers.questions()) if asked else [],
        "reference": logits.order(prepared.source) if read else None,
    }
    log = context.work.source / "convert.log"
    limits = bounds(context, len(folders))
    if not (read or asked):  # nothing of the source stays in memory
        packed = prepared.packing is not None
        _, most = conversion_memory(prepared.tensors, len(folders), os.cpu_count() or 1, packed=packed)
        limits = replace(limits, memory_bytes=_BESIDES + 2 * most)
    job = Job("convert", arguments, log, learning_bounds(variants, limits), context.children)
    result = streaming.convert(job, orders, prepared) if streaming else run_job(job, context.console.progress)
    conversion = from_json(Conversion, result)
    if conversion.reference:
        logits.keep(conversion.reference)
    if conversion.answers:
        answers.keep(conversion.answers)
    return conversion
