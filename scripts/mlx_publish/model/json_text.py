"""JSON of which no key stands twice: readers differ in which of two values counts."""

from __future__ import annotations

import json
from typing import Any


class TwiceError(ValueError):
    """A key stands twice in an object; the message names it."""


DEEPEST = 64
"""Levels of lists and objects that a file may have; real ones have a handful."""


def parse(content: str | bytes) -> Any:
    """Parse JSON. Raises what `json.loads` raises, `TwiceError`, and `RecursionError` below `DEEPEST` levels."""
    found = json.loads(content, object_pairs_hook=_once)
    level = [found]
    for _ in range(DEEPEST):
        level = [
            below
            for value in level
            if isinstance(value, (dict, list))
            for below in (value.values() if isinstance(value, dict) else value)
            if isinstance(below, (dict, list))
        ]
        if not level:
            return found
    raise RecursionError


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise TwiceError(f"the key {key[:100]!r} stands twice in one object")
        found[key] = value
    return found
