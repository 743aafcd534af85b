"""Text of an example wrapped for a page, with its code left as it is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

WIDTH = 80


def wrapped(text: str) -> str:
    """Return a text with its lines wrapped at blanks. Code, tables, and indented lines stay as they are."""
    return "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    fence = ""
    for line in text.split("\n"):
        start = line.lstrip()
        mark = start[:3]
        if mark in ("```", "~~~") and (not fence or mark == fence):
            fence = "" if fence else mark
            yield line
        elif fence or len(line) <= WIDTH or line[:1] in (" ", "\t", "|"):
            yield line
        else:
            yield from textwrap.wrap(
                line, WIDTH, break_long_words=False, break_on_hyphens=False, expand_tabs=False, replace_whitespace=False
            ) or [line]
