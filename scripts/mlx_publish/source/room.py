"""Room for a conversion: memory for the weights of a variant, disk for all of them, and for the download."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.checks.facts import SourceFacts
from mlx_publish.context import Context
from mlx_publish.errors import BadInput, Refused, SurroundingsError
from mlx_publish.evidence.report import CACHED, PASSING, STREAMED, Finding
from mlx_publish.hub.limits import WORTH_ASKING, Load, judge, storage_of
from mlx_publish.hub.stream_folder import taken
from mlx_publish.hub.streaming import cached
from mlx_publish.machine.resources import memory_bytes
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.select import side_files
from mlx_publish.model.size import SHARD, conversion_memory, estimate_bytes
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.resolve import converter, metadata_of, source_of
from mlx_publish.source.streamed import why_not_by_headers, why_not_streamed
from mlx_publish.text.numbers import size
from mlx_publish.text.progress import Step

_BESIDE = 100 << 20
"""Bytes of what lies beside a weight file that is streamed: headers, tokenizer, tensors that wait for others."""


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


def judge_room(context: Context, facts: SourceFacts, variants: Sequence[Variant]) -> tuple[Finding, bool]:
    """Say that disk and memory suffice for all variants, and whether the source is streamed for that.

    Raises `SurroundingsError` if they do not: that is no verdict on the model.
    """
    needed, largest = _judge(context, facts.source, variants)
    disk = None if facts.recipe.source_folder else disk_of(context, needed)
    streams = disk is not None and _is_streamed(context, disk, variants)
    # What is free changes by the hour; it stays out of the message, which the evidence keeps.
    message = f"disk and memory suffice for about {size(needed)} of files and {size(largest)} of weights at a time"
    details: dict[str, object] = {
        PASSING: _free(context.work.folder),
        "memory_bytes": memory_bytes(),
        "disk_needed_bytes": needed,
        "conversion_memory_bytes": conversion_memory(
            facts.source.tensors, len(variants), os.cpu_count() or 1, packed=facts.source.packing is not None
        )[0],
    }
    if disk is not None and streams:
        message += f"{STREAMED} from the Hub, with at most {size(disk.largest)} of its {size(disk.source)} on the disk"
        details |= {
            "disk_needed_bytes": disk.streamed,
            "disk_result_bytes": needed,
            "disk_largest_file_bytes": disk.largest,
            "disk_ordinary_bytes": needed + disk.source,
            CACHED: disk.cached,
        }
        _tell(context, disk)
    return Finding("room", "pass", message, details=details), streams


def estimated(source: Metadata, variant: Variant, *, whole: bool) -> int:
    """Bytes of a variant's weights, by the headers of the source; towers stay as they are, if it is kept `whole`."""
    kept = sum(tower.nbytes for tower in source.towers) if whole else 0
    return estimate_bytes(source.language_tensors, variant, source.config.dtype) + kept


def judge_load(context: Context, source: Metadata, variant: Variant) -> tuple[Finding, ...]:
    """Say what of a variant's estimated files the Hub would not take, or advises against; nothing for a folder.

    What the account has stored already changes by the hour: it is printed, and stays out of the evidence.
    """
    destination, private = context.recipe.destinations[variant.label], context.recipe.spec.private
    if destination.repo is None:
        return ()
    side = sorted(side_files(source.entries) - source.not_texts)
    weights = estimated(source, variant, whole=converter(context).senses)
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
    whole = converter(context).senses
    sizes = [estimated(source, variant, whole=whole) for variant in variants]
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


@dataclass(frozen=True)
class Disk:
    """What the conversion of a source on the Hub takes of the disk, in bytes."""

    result: int
    """All variants, with what travels beside their weights."""
    source: int
    """All weight files."""
    cached: int
    """Those that lie in the Hub's cache already."""
    largest: int
    """The largest one that does not."""
    cache: Path
    free: int
    """Where the work folder is, with what an unfinished conversion straight from the Hub has there."""
    cache_free: int
    one_disk: bool
    """Whether the cache is on the disk of the work folder."""

    @property
    def missing(self) -> int:
        """What would be downloaded into the cache."""
        return self.source - self.cached

    @property
    def streamed(self) -> int:
        """What a conversion takes that has one weight file at a time: promised in docs/resources.md."""
        return self.result + self.largest + self.largest // 10 + _BESIDE

    @property
    def is_ample(self) -> bool:
        """Return whether the source fits beside its result."""
        both = self.result + self.missing
        return both <= self.free if self.one_disk else self.missing <= self.cache_free and self.result <= self.free


def disk_of(context: Context, result: int) -> Disk:
    """Return what a source on the Hub takes of the disk, beside a result of so many bytes."""
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415  0.2 s

    spec, identity, entries = context.recipe.spec, source_of(context).identity, metadata_of(context).entries
    files = [entries[path] for path in metadata_of(context).weights if path in entries]
    absent = [entry.size for entry in files if cached(spec.source, identity, entry) is None]
    source, cache = sum(entry.size for entry in files), Path(HF_HUB_CACHE)
    return Disk(
        result=result,
        source=source,
        cached=source - sum(absent),
        largest=max(absent, default=0),
        cache=cache,
        free=_free(context.work.folder) + taken(context.work.stream),
        cache_free=_free(cache),
        one_disk=_device(context.work.folder) == _device(cache),
    )


def _is_streamed(context: Context, disk: Disk, variants: Sequence[Variant]) -> bool:
    """Return whether the source is streamed. Raises `SurroundingsError` if it has no room in the way that is left."""
    asked = context.recipe.spec.stream
    reasons = [why_not_by_headers(context), *(why_not_streamed(context, variant) for variant in variants)]
    if (reason := next(filter(None, reasons), "")) and asked:
        raise BadInput(
            f"the source cannot be streamed: {reason}",
            place=context.recipe.place_of("stream") if context.recipe.place else "--stream",
            key="stream" if context.recipe.place else "",
            remedy="Remove 'stream: true' on a machine with room for the source.",
        )
    if asked or (asked is None and not disk.is_ample and not reason):
        if disk.streamed > disk.free:
            raise SurroundingsError(
                f"{context.work.folder} has {size(disk.free)} free, and even if the source is streamed, the conversion "
                f"needs about {size(disk.streamed)}: {size(disk.result)} of results and one weight file of "
                f"{size(disk.largest)} at a time; with the whole source it needs {size(disk.result + disk.missing)}",
                remedy="Free space, set --work to a folder on a larger disk, or make fewer variants at a time.",
            )
        return True
    if not disk.is_ample:
        raise _no_room(context, disk, reason)
    return False


def _no_room(context: Context, disk: Disk, reason: str) -> SurroundingsError:
    """Say what lacks for the download, and what else can be done about it."""
    if reason:
        instead = f"; it cannot be streamed, because {reason}"
    else:
        instead = "" if context.recipe.spec.stream is None else "; 'stream: false' forbids to stream it"
    if disk.missing > disk.cache_free:
        words = f"{disk.cache} has {size(disk.cache_free)} free and the download needs {size(disk.missing)}{instead}"
        return SurroundingsError(words, remedy="Free space, or set HF_HOME to a larger disk.")
    return SurroundingsError(
        f"{context.work.folder} and {disk.cache} are on one disk with {size(disk.free)} free, and the conversion needs "
        f"about {size(disk.result)} for its result and {size(disk.missing)} for the download{instead}",
        remedy="Free space, or set HF_HOME or --work to a folder on another disk.",
    )


def _tell(context: Context, disk: Disk) -> None:
    """Print which way was chosen, and what it takes."""
    asked = context.recipe.spec.stream
    why = "as the recipe asks" if asked else f"its {size(disk.source)} do not fit on the disk beside the result"
    lies = f"; {size(disk.cached)} of it are in the Hub's cache" if disk.cached else ""
    context.console.say(f"streaming the source from the Hub, one weight file at a time: {why}{lies}")
    context.console.say(
        f"disk: about {size(disk.result)} of results and {size(disk.largest)} for the largest weight file, "
        f"{size(disk.free)} free; with the whole source it would be {size(disk.result + disk.source)}"
    )


def _device(folder: Path) -> int:
    return _nearest(folder).stat().st_dev


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(there for there in (folder, *folder.parents) if there.exists())


def _free(folder: Path) -> int:
    """Bytes free where a folder is or will be."""
    return shutil.disk_usage(_nearest(folder)).free
