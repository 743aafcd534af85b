"""Rectangles and lines of a picture, and how much room a text may take in it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

# Upper bounds in thousandths of the font's size, from DejaVu Sans, the widest that browsers fall back to.
_WIDTHS = {"ijl|.,:;' ": 400, '!frtI()[]-/\\"`': 500, "wMOQGDHNU_&+<=>#^~": 870, "mW@%": 1000}
_WIDTH_OF = {letter: width for letters, width in _WIDTHS.items() for letter in letters}

Line = tuple[float, float, float, float]
"""From x and y to x and y."""


@dataclass(frozen=True)
class Box:
    """A rectangle in the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Tell whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Tell whether no part is outside the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Upper bound of a text's width in the font size's unit."""
    return sum(_width_of(letter) for letter in text) * size * (1.15 if bold else 1) / 1000


def _width_of(letter: str) -> int:
    if letter in _WIDTH_OF:
        return _WIDTH_OF[letter]
    if letter.isascii():
        return 760 if letter.isupper() else 650
    return 1300 if unicodedata.east_asian_width(letter) in "WF" else 1100


def shorten(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Cut a text that may be wider than the room, and say so by an ellipsis."""
    if text_width(text, size, bold=bold) <= room:
        return text
    while text and text_width(text + "…", size, bold=bold) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def passes(line: Line | None, box: Box) -> bool:
    """Tell whether a line has a part within the box."""
    if line is None:
        return False
    x, y, to_x, to_y = line
    start, end = 0.0, 1.0
    for at, to, low, high in ((x, to_x, box.left, box.right), (y, to_y, box.top, box.bottom)):
        if max(at, to) <= low or min(at, to) >= high:
            return False
        if at != to:
            ways = (low - at) / (to - at), (high - at) / (to - at)
            start, end = max(start, min(ways)), min(end, max(ways))
    return start < end


def cross(one: Line | None, other: Line | None) -> bool:
    """Tell whether two lines cross: the ends of each lie on both sides of the other."""
    if one is None or other is None:
        return False
    return all(_side(line, *ends[:2]) * _side(line, *ends[2:]) < 0 for line, ends in ((one, other), (other, one)))


def _side(line: Line, x: float, y: float) -> float:
    return (line[2] - line[0]) * (y - line[1]) - (line[3] - line[1]) * (x - line[0])
