"""Whether a source is streamed: converted straight from the Hub, and never whole on this disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.errors import BadInput
from mlx_publish.evidence.results import Inspected
from mlx_publish.hub.repo import FRONT, RepoFiles
from mlx_publish.hub.stream_folder import StreamFolder
from mlx_publish.hub.streaming import cached
from mlx_publish.model.names import shown
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.odd_types import is_odd
from mlx_publish.source.resolve import converter, metadata_of, source_of

_FRONTS = 16 << 20
"""Bytes of the disk that may be taken by what came with the headers."""
REASON = "the source was streamed from the Hub and is not on this disk"
"""Why nothing can be asked of it afterwards."""


def is_to_be_streamed(context: Context, variants: Sequence[Variant]) -> bool:
    """Return whether `inspect` has decided to stream the source for these variants.

    Looks at different times may have decided differently; what cannot be streamed then has had room for the source.
    """
    decided = any(context.inspected(variant).streamed for variant in variants)
    return decided and not any(why_not_streamed(context, variant) for variant in variants)


def is_streamed(context: Context) -> bool:
    """Return whether the source of a variant of this run is streamed, so that nobody can ask it here."""
    reports = (context.work.report(variant.label, "inspect") for variant in context.variants)
    results = (report.read(Inspected) for report in reports if report is not None)
    return any(inspected is not None and bool(inspected.streamed) for inspected in results)


def why_not_streamed(context: Context, variant: Variant) -> str:
    """Return why a variant cannot be made of a source of which one part at a time is there; empty if it can.

    A plan that is given is followed, and reads each tensor once, as plain rounding does.
    """
    if context.recipe.spec.fidelity.reference == "transformers":
        return "'reference: transformers' computes with the whole source"
    if context.recipe.spec.adapter is not None:
        return "'adapter' is fused into a base that is there as a whole"
    if converter(context).senses:
        return "what sees or hears is compared after all of it was loaded again"
    if context.recipe.spec.mtp is not None:
        return "'mtp' writes the multi-token heads once the conversion has ended, when the source has gone"
    method = variant.quantizer
    given = method.portable and (variant.label in context.plans or variant.label in context.recipe.plans)
    if not variant.quantized or not method.learns or given:
        return ""
    what = "a plan is measured with" if method.portable else f"{method.name} learns from"
    return f"{what} the whole source ({variant.label})"


def judge_streamed(context: Context, variants: Sequence[Variant]) -> None:
    """Raise `BadInput` for what needs all of a source at once: it is streamed, or is to be."""
    recipe = context.recipe
    for variant in variants:
        if reason := why_not_streamed(context, variant):
            raise BadInput(
                f"the source is streamed, but {reason}",
                place=recipe.place_of("stream") if recipe.place else "--stream",
                key="stream" if recipe.place else "",
                remedy=_remedy(context, variant),
            )


def _remedy(context: Context, variant: Variant) -> str:
    if context.recipe.spec.fidelity.reference == "transformers":
        return "Remove 'reference: transformers', or 'stream: true' on a machine with room for the source."
    for key in ("adapter", "mtp"):
        if getattr(context.recipe.spec, key) is not None:
            return f"Remove '{key}', or 'stream: true' on a machine with room for the source."
    if variant.quantizer.portable:
        return "Make the plan on a machine with room for the source, and follow it here with plan: FILE; or use 4bit."
    return "Use a variant by plain rounding, such as 4bit, or one with plan: FILE; or remove 'stream: true'."


def why_not_by_headers(context: Context) -> str:
    """Return why the weight files cannot be streamed; empty if they can."""
    odd = [path for path, tensors in metadata_of(context).headers.items() if is_odd(tensors)]
    return f"{shown(odd[0])} has tensors of a type for which MLX needs a copy of the whole file" if odd else ""


def stream_of(context: Context) -> StreamFolder:
    """Return the folder of an unfinished conversion straight from the Hub, of this source; empty or not."""
    folder = StreamFolder(context.work.stream)
    folder.open(source_line(context))
    return folder


def forget_streamed(context: Context) -> None:
    """Remove what an interrupted conversion left that this one, with the whole source, does not go on with."""
    StreamFolder(context.work.stream).remove()


def source_line(context: Context) -> str:
    """Return the line by which the folder names its source."""
    return f"{context.recipe.spec.source}@{source_of(context).identity}"


def keep_headers(context: Context) -> None:
    """Keep the headers that were just read where the conversion looks for them, which then need not ask for them."""
    lay_out(context, stream_of(context), metadata_of(context).weights)


def lay_out(context: Context, folder: StreamFolder, paths: Iterable[str]) -> dict[str, Path]:
    """Lay weight files, by their headers, or as links to the Hub's cache; return the links by path.

    A copy in the cache that is known to be another one is not taken.
    """
    files = source_of(context).files
    assert isinstance(files, RepoFiles)  # noqa: S101  nothing else is streamed
    entries, links = [files.entries[path] for path in paths], dict[str, Path]()
    whole = _FRONTS // max(1, len(entries)) >= FRONT
    for entry in entries:
        there = cached(files.repo, files.commit, entry)
        if there is not None and context.work.known(there) in (None, entry.sha256):
            folder.link(entry.path, there)
            links[entry.path] = there
        elif not folder.is_laid(entry.path, entry.size):
            folder.lay(entry.path, entry.size, files.front(entry.path), whole=whole)
    return links
