"""The judgement about a variant whose bits were chosen or learned: whether it is better than plain rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.evidence.quantization import Gain
from mlx_publish.evidence.rounding import gain_noise, share_in_words
from mlx_publish.text.numbers import percent, significant

EARNS, MEASURED = "earns-bytes", "gain-measured"
UNPROVEN = (
    "Measure it on a machine with more memory, or add plain variants on both sides of it to the recipe, such as 4bit "
    "and 5bit. To publish it unproven, accept the check with a reason."
)


@dataclass(frozen=True)
class EarnedFacts:
    """A variant beside plain rounding at equal bytes, or why there is no such comparison."""

    gain: Gain | None
    beside: Sequence[str] = ()
    """The widths that it was compared with: those on both sides, or one."""
    beyond: str = ""
    """`narrower` or `wider` than all of them."""
    reason: str = ""
    """Why it was not compared."""
    broken: bool = False
    """Whether a number of the variant is none, which is another check's to say."""


def _measured(facts: EarnedFacts) -> Says:
    if facts.gain is not None:
        return passed(f"compared with plain rounding at {_where(facts)}")
    if facts.broken:
        return skipped("not measured, because the variant's own numbers are none")
    return failed(f"not compared with plain rounding at equal bytes: {facts.reason}", UNPROVEN)


def _earns(facts: EarnedFacts) -> Says:
    gain = facts.gain
    if gain is None:
        return skipped("not compared with plain rounding")
    noise = gain_noise(gain)
    text = (
        f"mean KLD {significant(gain.mean_kld)} where plain rounding has {significant(gain.rounding_kld)} at "
        f"{_where(facts)}"
    )
    top = (
        f"top-1 agreement {percent(gain.same_first_choice)}, plain rounding {percent(gain.rounding_same_first_choice)}"
    )
    if gain.difference >= 0:
        short = f"mean KLD {significant(gain.mean_kld)}, plain rounding {significant(gain.rounding_kld)} at equal bytes"
        remedy = f"Publish {' or '.join(facts.beside)} instead, or give the method other settings."
        return failed(f"{text}: it is not better; {top}", remedy, short=short)
    change = f"by {significant(-gain.difference, 2)} ± {significant(noise, 2)}"
    if -gain.difference <= noise:
        return warned(
            f"{text}: better {change}, which is inside the noise of this text; {top}",
            "Measure it on more text (fidelity.tokens), or publish plain rounding.",
        )
    return passed(f"{text}: {share_in_words(-gain.difference / gain.rounding_kld)} less ({change}); {top}")


def _where(facts: EarnedFacts) -> str:
    """Return what equal bytes are taken from."""
    if facts.beyond == "narrower":
        return f"{facts.beside[0]}, which has more bytes and nothing narrower"
    if facts.beyond == "wider":
        return f"{facts.beside[0]}, which has fewer bytes and nothing wider"
    if len(facts.beside) == 1:
        return f"equal bytes ({facts.beside[0]})"
    return f"equal bytes (between {' and '.join(facts.beside)})"


EARNED: tuple[Check[EarnedFacts], ...] = (
    Check(
        MEASURED,
        "A planned or learned variant was compared with plain rounding at equal bytes",
        "a gain that nobody has measured",
        _measured,
    ),
    Check(
        EARNS,
        "A planned or learned variant beats plain rounding at equal bytes",
        "a method that costs time and makes the model worse",
        _earns,
        safety=True,
    ),
)
