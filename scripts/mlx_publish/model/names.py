"""Names of files: which may be published, which two are the same on a Mac, and how to show a foreign name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LONGEST = 200
"""Characters of a path that may be published."""
_SHOWN = 80
# Letters and signs by their category that show nothing.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def shown(text: str, most: int = _SHOWN) -> str:
    """Return a foreign text for a message: cut, and with invisible characters as escapes."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    visible = (char.isprintable() and char not in _BLANK for char in cut)
    return "".join(
        char if keep else char.encode("unicode_escape").decode("ascii") for char, keep in zip(cut, visible, strict=True)
    )


def name_fault(path: str) -> str:
    """Say why no file may be published under this path; empty if it may."""
    if len(path) > LONGEST:
        return f"has {len(path):,} characters"
    for char in path:
        if unicodedata.category(char) in _UNSEEN or char in _BLANK or (char.isspace() and char != " "):
            return f"holds {_named(char)}"
    if "\\" in path:
        return "holds a backslash"
    if any(not part or part.startswith(".") or part != part.strip() for part in path.split("/")):
        return "has a part that is empty, hidden or ends with a blank"
    return ""


def _named(char: str) -> str:
    if 0xD800 <= ord(char) <= 0xDFFF:
        return "bytes that are not UTF-8"
    return f"U+{ord(char):04X}{f' ({name})' if (name := unicodedata.name(char, '').lower()) else ''}"


def folded(path: str) -> str:
    """Return the form that two paths share which are one file on APFS: it compares letters without their case."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def same_on_a_mac(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of paths that are one file on APFS."""
    first: dict[str, str] = {}
    pairs = ((first.setdefault(folded(path), path), path) for path in sorted(set(paths)))
    return tuple((path, twin) for path, twin in pairs if path != twin)
