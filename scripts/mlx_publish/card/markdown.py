"""Text from elsewhere made harmless in Markdown."""

from __future__ import annotations

import json
import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|<>~&@$!])")
# At the start of a line these would begin a list or a heading.
_AT_START = re.compile(r"^([-+=]|\d+[.)](?=\s|$))")


def escape(text: object) -> str:
    """Show text as it is: no emphasis, link, HTML, table cell, list or mention can come out of it."""
    line = _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
    return _AT_START.sub(lambda start: start[1][:-1] + "\\" + start[1][-1], line)


def code(text: object) -> str:
    """Show text as code within a line, between more backticks than any run of its own."""
    line = " ".join(str(text).split())
    mark = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    return f"{mark} {line} {mark}" if line[:1] == "`" or line[-1:] == "`" else f"{mark}{line}{mark}"


def fenced(text: str, language: str = "") -> str:
    """Put text into a code block whose fence is longer than any within it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def quoted(text: str) -> str:
    """Return a Python string literal; JSON's escapes are a part of Python's."""
    return json.dumps(text, ensure_ascii=False)
