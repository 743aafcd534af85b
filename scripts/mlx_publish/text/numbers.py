"""Numbers in the form that readers of cards expect."""

from __future__ import annotations

import math


def size(value: float) -> str:
    """Return bytes in decimal units, as the Hub shows them."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= factor:
            return f"{value / factor:.{1 if value < 100 * factor else 0}f} {unit}"
    return f"{value / 1e3:.1f} kB"


def memory(value: float) -> str:
    """Return memory in binary units, as makers of machines give it."""
    return f"{value / 2**30:.0f} GiB"


def count(value: float) -> str:
    """Return a number of parameters: 135M, 1.1B."""
    if value >= 1e9:
        return f"{value / 1e9:.1f}B"
    return f"{value / 1e6:.0f}M" if value >= 1e6 else f"{value / 1e3:.0f}k"


def percent(share: float) -> str:
    """Return a share as percent with one decimal."""
    return f"{100 * share:.1f} %"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, never in powers of ten; below 1e-6 it is 0."""
    if abs(value) < 1e-6:
        return "0"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
