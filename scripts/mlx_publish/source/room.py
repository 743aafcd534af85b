"""Room for a conversion: memory for the weights of a variant, disk for all of them, and for the download."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from mlx_publish.checks.facts import SourceFacts
from mlx_publish.context import Context
from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.evidence.report import PASSING, Finding
from mlx_publish.hub.limits import WORTH_ASKING, Load, judge, storage_of
from mlx_publish.machine.resources import memory_bytes
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.select import side_files
from mlx_publish.model.size import SHARD, conversion_memory, estimate_bytes
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.resolve import metadata_of
from mlx_publish.text.numbers import size
from mlx_publish.text.progress import Step


def too_large(context: Context) -> bool:
    """Tell by headers alone whether a source that was not inspected yet is too large for this machine.

    What was converted already has taken its room.
    """
    reports = [context.work.report(variant.label, "inspect") for variant in context.variants]
    if all(report and report.verdict == "pass" for report in reports):
        return False
    try:
        _judge(context, metadata_of(context), context.variants)
    except SurroundingsError:
        return True
    except (Refused, OverflowError):  # a check says why
        return False
    return False


def judge_room(context: Context, facts: SourceFacts, variants: Sequence[Variant]) -> Finding:
    """Say that disk and memory suffice for all variants.

    Raises `SurroundingsError` if they do not: that is no verdict on the model.
    """
    needed, largest = _judge(context, facts.source, variants)
    _cache_has_room(facts)
    # What is free changes by the hour; it stays out of the message, which the evidence keeps.
    return Finding(
        "room",
        "pass",
        f"disk and memory suffice for about {size(needed)} of files and {size(largest)} of weights at a time",
        details={
            PASSING: _free(context.work.folder),
            "memory_bytes": memory_bytes(),
            "disk_needed_bytes": needed,
            "conversion_memory_bytes": conversion_memory(
                facts.source.tensors, len(variants), os.cpu_count() or 1, packed=facts.source.packing is not None
            )[0],
        },
    )


def estimated(source: Metadata, variant: Variant) -> int:
    """Bytes of a variant's weights, by the headers of the source."""
    return estimate_bytes(source.language_tensors, variant, source.config.dtype)


def judge_load(context: Context, source: Metadata, variant: Variant) -> tuple[Finding, ...]:
    """Say what of a variant's estimated files the Hub would not take, or advises against; nothing for a folder.

    What the account has stored already changes by the hour: it is printed, and stays out of the evidence.
    """
    destination, private = context.recipe.destinations[variant.label], context.recipe.spec.private
    if destination.repo is None:
        return ()
    side = sorted(side_files(source.entries) - source.not_texts)
    weights = estimated(source, variant)
    shards = -(-weights // SHARD)
    # The card, its chart, the evidence, the config and the index come besides.
    load = Load(
        shards + len(side) + 5, min(weights, SHARD), weights, private, estimated=True, folder=shards + len(side)
    )
    if private and weights > WORTH_ASKING and "upload" in context.planned:
        storage = storage_of(destination.repo)
        if storage and storage.lacks(load):
            context.console.progress(Step(f"hub-limits: {storage.words}", stays=True))
    return judge(load)


def _judge(context: Context, source: Metadata, variants: Sequence[Variant]) -> tuple[int, int]:
    """Return the bytes that all variants take on disk, and the largest one in memory."""
    sizes = [estimated(source, variant) for variant in variants]
    if max(sizes) > memory_bytes():
        raise SurroundingsError(
            f"a model of {size(max(sizes))} does not fit into {size(memory_bytes())} of memory",
            remedy="Use fewer bits, or a machine with more memory.",
        )
    # The tokenizer and other side files are small beside the weights, but not beside a tiny model's.
    side = sum(source.entries[path].size for path in side_files(source.entries) - source.not_texts)
    needed, free = sum(sizes) + len(sizes) * side, _free(context.work.folder)
    if needed > free:
        raise SurroundingsError(
            f"{context.work.folder} has {size(free)} free and the conversion needs about {size(needed)}",
            remedy="Free space, or set --work to a folder on a larger disk.",
        )
    return needed, max(sizes)


def _cache_has_room(facts: SourceFacts) -> None:
    """The download goes into the Hub's cache, which may lie on another disk."""
    if facts.recipe.source_folder:
        return
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415

    repo = f"models--{facts.recipe.spec.source.replace('/', '--')}"
    there = Path(HF_HUB_CACHE) / repo / "snapshots" / str(facts.identity)
    missing = sum(facts.source.entries[path].size for path in facts.source.weights if not (there / path).exists())
    free = _free(Path(HF_HUB_CACHE))
    if missing > free:
        raise SurroundingsError(
            f"{HF_HUB_CACHE} has {size(free)} free and the download needs {size(missing)}",
            remedy="Free space, or set HF_HOME to a larger disk.",
        )


def _free(folder: Path) -> int:
    """Bytes free where a folder is or will be."""
    return shutil.disk_usage(next(there for there in (folder, *folder.parents) if there.exists())).free
