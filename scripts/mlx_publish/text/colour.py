"""Colours of our own words, where the terminal has them: rich decides, by NO_COLOR, FORCE_COLOR and TERM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.color import ColorSystem
    from rich.style import Style

STYLES = {"pass": "green", "fixed": "cyan", "warn": "yellow", "fail": "bold red", "skip": "dim"}
HEADING, NEXT, FAINT = "bold", "bold", "dim"
_FORCED = ("FORCE_COLOR", "TTY_COMPATIBLE")
_DUMB = ("dumb", "unknown")


@dataclass(frozen=True)
class Palette:
    """The colours that a terminal has; without a system there are none."""

    system: ColorSystem | None = None

    def paint(self, text: str, style: str) -> str:
        """Return a text, which has to be plain already, in a style of rich."""
        return _style(style).render(text, color_system=self.system) if self.system and style and text else text


def palette_of(out: TextIO) -> Palette:
    """Return the colours of a stream."""
    if not (is_terminal(out) or any(os.environ.get(name) for name in _FORCED)):
        return Palette()  # without rich, which takes time to load
    from rich.color import ColorSystem  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    console = Console(file=out)
    systems: dict[Any, ColorSystem] = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT}
    system = systems.get(console.color_system, ColorSystem.TRUECOLOR)
    return Palette(None if console.no_color or console.color_system is None else system)


def is_terminal(out: TextIO) -> bool:
    """Tell whether a stream is a terminal that can do more than print lines."""
    try:
        return out.isatty() and os.environ.get("TERM", "") not in _DUMB
    except ValueError:  # it is closed
        return False


@cache
def _style(words: str) -> Style:
    from rich.style import Style  # noqa: PLC0415

    return Style.parse(words)
