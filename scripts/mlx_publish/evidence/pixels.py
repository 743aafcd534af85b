"""What a comparison of pixel values shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PixelsCompared:
    """Pixel values of a converted model's processor beside those of the source's in transformers."""

    not_compared: str
    """Why there is nothing to compare with; empty if there is."""
    pictures: int
    """How many drawn pictures were compared."""
    differing: Sequence[str]
    """Of each that differs, how; empty if all agree."""
    drops_transparency: bool
    """Whether a transparent picture is read otherwise."""
