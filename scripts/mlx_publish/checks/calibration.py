"""Whether a text to calibrate on is another one than the text of the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_publish.checks.base import Check, Says, failed, passed, warned

if TYPE_CHECKING:
    from mlx_publish.checks.facts import SourceFacts


@dataclass(frozen=True)
class CalibrationFacts:
    """A file of the user's, and how much of it is also in the text of the comparison."""

    place: str
    unit: str
    """What its parts are: `paragraph` or `line`."""
    parts: int
    left_out: int
    """Parts that share 13 words in a row with the text of the comparison."""
    sha256: str
    """Of the texts that are left."""


def _apart(facts: SourceFacts) -> Says:
    calibration = facts.calibration
    if calibration is None:
        return passed("no calibration text of your own is read")
    parts, left_out = calibration.parts, calibration.left_out
    counted = f"{parts:,} {calibration.unit}{'' if parts == 1 else 's'}"
    if not left_out:
        return passed(f"none of the {counted} of the calibration text is in the text of the comparison")
    shared = f"{left_out:,} of {counted} of {calibration.place} share 13 words in a row with the text of the comparison"
    if left_out == parts:
        return failed(f"{shared}, so nothing is left to calibrate on", "Use another text.", left_out=left_out)
    return warned(
        f"{shared} and {'was' if left_out == 1 else 'were'} left out", "Remove them from the file.", left_out=left_out
    )


APART: tuple[Check[SourceFacts], ...] = (
    Check(
        "calibration-apart",
        "The calibration text is not the text of the comparison",
        "a variant that is judged on what it learned by heart",
        _apart,
        safety=True,
    ),
)
