"""Where a card differs from its rendering, number by number."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

MOST = 5
_LONGEST = 60
# A number, or a word with digits in it, as a digest.
_NUMBER = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z_]*\d[A-Za-z0-9_]*(?:[.,]\d+)*")
_WORTH_COMPARING = 4_000_000
"""Pairs of lines; a card has some three hundred lines, and the search for what they share grows with their square."""


def differences(text: str, rendered: str) -> Iterator[tuple[int, str]]:
    """Yield line and words of what differs, the first few; nothing where all bytes are the same."""
    if text == rendered:
        return
    found = list(_differences(text.split("\n"), rendered.split("\n")))
    yield from found[:MOST]
    if found[MOST:]:
        yield found[MOST][0], f"differs here, too, and so on: {len(found)} differences"


def _differences(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, str]]:
    if len(ours) * len(theirs) > _WORTH_COMPARING:
        yield 1, f"has {len(ours):,} lines, and recipe and evidence give {len(theirs):,}"
        return
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for _, start, end, from_, to in (code for code in matcher.get_opcodes() if code[0] != "equal"):
        for number in range(max(end - start, to - from_)):
            line = start + number
            if line >= end:
                yield min(line, len(ours) - 1) + 1, f"{_cut(theirs[from_ + number])} is missing here"
            elif from_ + number >= to:
                yield line + 1, f"says {_cut(ours[line])}, which neither recipe nor evidence gives"
            else:
                yield from ((line + 1, said) for said in _line(ours[line], theirs[from_ + number]))


def _line(ours: str, theirs: str) -> Iterator[str]:
    if ours.rstrip() == theirs.rstrip():
        yield "ends with other blanks than recipe and evidence give"
    elif _NUMBER.split(ours) == _NUMBER.split(theirs):
        for one, other in zip(_NUMBER.findall(ours), _NUMBER.findall(theirs), strict=True):
            if one != other:
                yield f"says {one[:_LONGEST]} where the evidence has {other[:_LONGEST]}"
    else:
        at = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
        start = max(0, at - 20)
        yield f"says {_cut(ours[start:])} where recipe and evidence give {_cut(theirs[start:])}"


def _cut(text: str) -> str:
    if not text.strip():
        return "an empty line"
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
