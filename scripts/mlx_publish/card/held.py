"""The words of a card on a source that is quantized: what it holds, and what became of that."""

from __future__ import annotations

from mlx_publish.evidence.evidence import Evidence, HeldSpec, ReadFromSpec
from mlx_publish.text.markdown import Markdown, escape
from mlx_publish.text.numbers import significant

_METHOD = 200


def held(evidence: Evidence) -> Markdown | None:
    """Return how the weights got here, as a line of `How it was made`; None for a source of plain numbers."""
    source, read = evidence.source.held, evidence.model.read_from
    if source is None or read is None:
        return None
    first = f"The source holds {source.weights:,} weights quantized ({escape(source.method[:_METHOD])})"
    return Markdown(f"{first}; {_way(evidence, source, read)}.{_rounded(read)}")


def reference(evidence: Evidence) -> Markdown | None:
    """Return what the unquantized model of the tests is where the source is quantized; None for plain numbers."""
    source = evidence.source.held
    if source is None:
        return None
    return Markdown(
        f"The source is quantized ({escape(source.method[:_METHOD])}): its dequantized weights, in "
        f"{escape(source.dtype)}, stand for the unquantized model."
    )


def _way(evidence: Evidence, source: HeldSpec, read: ReadFromSpec) -> str:
    exactly = f"dequantized exactly, rounded once to {escape(evidence.variant.dtype or source.dtype)}"
    if not evidence.variant.quantized:
        return exactly
    if not read.repacked:
        return f"{exactly}, and quantized anew"
    kept = "repacked: integers and scales are the source's"
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
