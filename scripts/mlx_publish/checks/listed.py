"""The list of checks in evidence: all that had to run, each once, none of them failed, and no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlx_publish import __version__
from mlx_publish.checks.ids import BY_STAGE, JUDGED
from mlx_publish.errors import Fault
from mlx_publish.evidence.evidence import Evidence, Judged
from mlx_publish.evidence.stages import MEASURED, TESTED

if TYPE_CHECKING:
    from mlx_publish.checks.base import Accepted

COMPLETE = "evidence-complete"
"""The check that a recipe accepts to publish what was not tested."""
_RAISED = {"inspect": ("room", "hub-limits")}
_TOLD = frozenset({"hub-limits"})
"""Checks that are listed only where they have something to say."""
_CHOSEN = ("method-type", "calibration-apart", "method-groups", "learning-fits", "target-hit", "plan-source")
_LEARNED = frozenset({*_CHOSEN, "learning-helped", "gain-measured", "earns-bytes"})
"""Checks that evidence of a plain variant need not have, which may be older than they are."""
_HELD = frozenset({"source-way", "base-named", "source-read", "source-plausible", "integers-kept"})
"""Checks of quantized sources alone."""
_HEADS = frozenset({"mtp-heads", "mtp-same", "mtp-proven"})
"""Checks of multi-token heads, of which evidence without a drafter has none, or the first alone."""
_SEEN = frozenset({"picture-slots", "picture-answers", "picture-seen", "sound-heard"})
"""Checks of models that see or hear, of which one that does not hear lacks the last."""
_PICTURED = frozenset(check for check in BY_STAGE["fidelity"] if check.startswith("pictures-"))
"""Checks of models that were compared behind pictures."""
_TIMED = frozenset({"picture-speed"})
"""Checks of models that were timed with one."""
_TOWERS = frozenset(
    {
        "senses-asked",
        "processor-files",
        "processor-agrees",
        "sense-tokens",
        "loads-as-written",
        "towers-kept",
        "claims-kept",
        "twin-pictures",
        "pixels-equal",
    }
)
"""Checks of models that see or hear, and no others."""
_TOWERS_ASKED = frozenset({"towers-asked"})
"""A check of recipes with the key `towers`."""
_OF_ADAPTERS = frozenset(check for check in BY_STAGE["inspect"] if check.startswith("adapter-"))
"""Checks that evidence has where an adapter was fused, and no other."""
_SAFETY = frozenset(name for stage in JUDGED for name, safety in BY_STAGE[stage].items() if safety)
_NAMED = 5  # ids in a message


def wrong_list(evidence: Evidence) -> Iterator[Fault]:
    """Yield faults in the list of checks, whoever accepted what.

    Which checks an earlier or later version ran is not known here; it ran some in each stage.
    """
    checks = evidence.checks
    for stage in JUDGED:
        ran = stage not in MEASURED or evidence.measured[stage] is not None
        yield from _stage_faults(stage, [check.id for check in checks if check.stage == stage], evidence, ran=ran)
    if strange := sorted({check.stage for check in checks} - set(JUDGED)):
        yield Fault(f"lists stages that evidence has no checks for: {_some(strange)}", key="checks")
    for number, check in enumerate(checks):
        yield from _check_faults(f"checks[{number}]", check)
    missing = {stage for stage in MEASURED if evidence.measured[stage] is None}
    if missing != set(evidence.missing):
        yield Fault(f"names {_some(sorted(evidence.missing))}, but {_some(sorted(missing))} is null", key="missing")
    for stage, words in evidence.missing.items():
        if words and not words.startswith(", because "):
            yield Fault("is not a reason in the form that mlx-publish writes", key=f"missing.{shown(stage)}")


def untested(evidence: Evidence, accepted: str | None) -> Iterator[Fault]:
    """Yield each test that is not there, where nobody `accepted` that with a reason."""
    for stage in TESTED:
        if evidence.measured[stage] is None and not accepted:
            yield Fault(f"missing, and no recipe accepts '{COMPLETE}' with a reason", key=stage)


def unaccepted(evidence: Evidence, accepted: Accepted) -> Iterator[Fault]:
    """Yield failures that were let through for another reason than the recipe gives, or for none of its own."""
    for number, check in enumerate(evidence.checks):
        if check.accepted is not None and check.accepted != accepted(check.id):
            message = f"the recipe does not accept '{shown(check.id)}' for this reason"
            yield Fault(message, key=f"checks[{number}].accepted")
    reason = evidence.untested
    if reason is not None and reason != accepted(COMPLETE):
        yield Fault(f"the recipe does not accept '{COMPLETE}' for this reason", key="untested")


def shown(value: object) -> str:
    """Return foreign text for a message: cut, on one line and without control characters."""
    text = str(value)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _stage_faults(stage: str, ids: Sequence[str], evidence: Evidence, *, ran: bool) -> Iterator[Fault]:
    if not ran:
        if ids:
            yield Fault(f"lists checks of {stage}, but {stage} is null", key="checks")
        return
    if not ids:
        yield Fault(f"lists no check of {stage}", key="checks")
        return
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        yield Fault(f"lists checks of {stage} twice: {_some(twice)}", key="checks")
    if evidence.generator != __version__:
        return
    known = [*BY_STAGE[stage], *_RAISED.get(stage, ())]
    learned = evidence.quantization is not None or bool(evidence.variant.options)
    spared = (
        _TOLD
        | _TOWERS_ASKED
        | (frozenset() if learned else _LEARNED)
        | (frozenset() if evidence.source.held else _HELD)
    )
    spared |= frozenset() if evidence.drafter else _HEADS
    spared |= frozenset() if evidence.adapter else _OF_ADAPTERS
    spared |= _SEEN - evidence.perceives
    spared |= frozenset() if evidence.sees or (evidence.fidelity and evidence.fidelity.pictures) else _PICTURED
    spared |= frozenset() if evidence.benchmark and evidence.benchmark.picture else _TIMED
    spared |= frozenset() if evidence.takes_more or evidence.model.towers else _TOWERS
    spared |= frozenset() if evidence.sees else frozenset({"pixels-equal"})
    if lacking := [name for name in known if name not in ids and name not in spared]:
        yield Fault(f"lacks checks of {stage}: {_some(lacking)}", key="checks")
    if strange := [name for name in dict.fromkeys(ids) if name not in known]:
        yield Fault(f"lists checks that {stage} does not have: {_some(strange)}", key="checks")


def _check_faults(key: str, check: Judged) -> Iterator[Fault]:
    """Yield faults in one check of the list: a failure, or an acceptance that nobody may give."""
    name = shown(check.id)
    if check.status == "fail":
        yield Fault(f"the check '{name}' failed", key=f"{key}.status")
    elif check.accepted is not None and check.status != "warn":
        yield Fault(f"the check '{name}' did not fail, so there is nothing to accept", key=f"{key}.accepted")
    elif check.accepted is not None and check.id in _SAFETY:
        yield Fault(f"the check '{name}' is for safety and cannot be accepted", key=f"{key}.accepted")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(shown(name) for name in names[:_NAMED]) or "nothing") + more
