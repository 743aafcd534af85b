"""What the conversion saw of a quantized source: its readers agree, its numbers are plausible, what was repacked."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.checks.base import Check, Says, passed, warned
from mlx_publish.checks.built import BuiltFacts
from mlx_publish.evidence.conversion import PackedRead

_NAMED = 2
_FAR = 0.05
"""Steps of a group by which a repacked weight may be off before a warning says so."""


def _is_held(facts: BuiltFacts) -> bool:
    return facts.conversion.packed is not None


def _packed(facts: BuiltFacts) -> PackedRead:
    if facts.conversion.packed is None:
        raise ValueError("asked of a source that is not quantized")
    return facts.conversion.packed


def _read(facts: BuiltFacts) -> Says:
    read = _packed(facts)
    apart = f", {read.apart:,} of them but for the last bit" if read.apart else ""
    repacked = f"; MLX dequantizes {read.repacked:,} repacked ones to what the source holds" if read.repacked else ""
    return passed(
        f"two readers give the same {read.numbers:,} numbers from {read.weights:,} quantized weights{apart}, and MLX "
        f"{read.whole:,} of these weights whole{repacked}",
        weights=read.weights,
        numbers=read.numbers,
        apart=read.apart,
    )


def _plausible(facts: BuiltFacts) -> Says:
    strange = _packed(facts).strange
    if strange:
        return warned(
            f"read as it says they are, these weights are unlike trained ones: {'; '.join(strange)}",
            "Compare the answers with those of the model that it was made from; the fault may be the source's own.",
            strange=list(strange),
        )
    return passed("the numbers of all quantized weights are of the usual magnitude, with a mean near zero")


def _repacked(facts: BuiltFacts) -> Says:
    made = facts.written.repacked
    if made is None:
        return passed("the quantized weights were read exactly; none is repacked")
    why, others = _why(made.reasons), _others(made.of, _packed(facts).weights)
    if not made.weights:
        return passed(f"{made.of:,} weights were read exactly and quantized anew: {why}{others}")
    rest = (f"; the others were read exactly and quantized anew: {why}" if why else "") + others
    kept = "integers" if made.rounded else "integers and scales"
    words = f"{kept} of {made.weights:,} of {made.of:,} weights are the source's"
    if not made.rounded:
        return passed(f"{words}, without any rounding{rest}", groups=made.groups)
    words += (
        f"; scale or bias of {made.rounded:,} of {made.groups:,} groups is rounded to its type, which moves a number "
        f"by at most {made.off:.2g} of a step{rest}"
    )
    details: dict[str, float] = {"groups": made.groups, "rounded": made.rounded, "off": made.off}
    if made.off > _FAR:
        return warned(words, "Set dtype of the variant to that of the source's scales, often float16.", **details)
    return passed(words, **details)


def _why(reasons: Mapping[str, int]) -> str:
    """Return the reasons that most weights have, of which there may be one for each."""
    most = sorted(reasons, key=lambda reason: -reasons[reason])
    left = len(most) - _NAMED
    more = f"; and {left:,} more reason{'s' * (left > 1)}" if left > 0 else ""
    return "; ".join(most[:_NAMED]) + more


def _others(planned: int, held: int) -> str:
    left = held - planned
    return f"; {left:,} more are not quantized, or others are computed of them" if left > 0 else ""


HELD_BUILT: tuple[Check[BuiltFacts], ...] = (
    Check(
        "source-read",
        "Two readers agree on every quantized weight",
        "a packed axis, a zero point or a scale mistaken",
        _read,
        safety=True,
        when=_is_held,
    ),
    Check(
        "source-plausible",
        "Weights of a quantized source look like trained ones",
        "a fault of the quantization that was the source's",
        _plausible,
        when=_is_held,
    ),
    Check(
        "integers-kept",
        "It is known which weights keep the source's integers",
        "a quantization of a quantization that nobody is told of",
        _repacked,
        when=_is_held,
    ),
)
