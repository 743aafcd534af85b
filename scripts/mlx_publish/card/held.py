"""The words of a card on a source that is quantized: what it holds, and what became of that."""

from __future__ import annotations

from mlx_publish.evidence.evidence import Evidence, HeldSpec, ReadFromSpec
from mlx_publish.text.markdown import Markdown, escape, hub
from mlx_publish.text.numbers import significant

_METHOD = 200


def held(evidence: Evidence) -> Markdown | None:
    """Return how the weights got here, as a line of `How it was made`; None for a source of plain numbers."""
    source, read = evidence.source.held, evidence.model.read_from
    if source is None or read is None:
        return None
    first = f"The source holds {source.weights:,} weights quantized ({escape(source.method[:_METHOD])})"
    return Markdown(f"{first}; {_way(evidence, source, read)}.{_rounded(read)}")


def origin(evidence: Evidence) -> Markdown | None:
    """Return what a quantized source is, as the object of `conversion of`; None for plain numbers.

    The base model is what it was made from: it was neither read nor compared.
    """
    source, held = evidence.source, evidence.source.held
    if held is None:
        return None
    name, base, method = source.repo or source.name, source.base_model, escape(held.method[:_METHOD])
    this = hub(name) if source.repo else escape(name)
    if base is None or base == source.repo:
        return Markdown(f"{this}, which holds quantized weights ({method})")
    return Markdown(f"{this}, a quantized form ({method}) of {hub(base)}")


def reference(evidence: Evidence) -> Markdown | None:
    """Return what a quantized source was compared as; None for plain numbers, or beside another variant."""
    source, fidelity = evidence.source.held, evidence.fidelity
    if source is None or (fidelity and fidelity.against.what == "variant"):
        return None
    return Markdown(
        f"The source's weights are quantized ({escape(source.method[:_METHOD])}); for the comparison, they were "
        f"dequantized to {escape(source.dtype)}."
    )


def _way(evidence: Evidence, source: HeldSpec, read: ReadFromSpec) -> str:
    exactly = f"dequantized exactly, rounded once to {escape(evidence.variant.dtype or source.dtype)}"
    if not evidence.variant.quantized:
        return exactly
    if not read.repacked:
        return f"{exactly}, and quantized anew"
    kept = f"repacked: {'the integers' if read.rounded else 'integers and scales'} are the source's"
    if read.repacked >= source.weights:
        return kept
    return f"{read.repacked:,} of them {kept}; the others {exactly}, and quantized anew"


def _rounded(read: ReadFromSpec) -> str:
    if not read.rounded:
        return ""
    return (
        f" Scale or bias of {read.rounded:,} groups is rounded to its type, which moves a number by at most "
        f"{significant(read.off, 2)} of a step."
    )
