"""JSON of which no key stands twice: readers differ in which of two values counts."""

from __future__ import annotations

import json
from typing import Any


class TwiceError(ValueError):
    """A key stands twice in an object; the message names it."""


def parse(content: str | bytes) -> Any:
    """Parse JSON. Raises what `json.loads` raises, and `TwiceError`."""
    return json.loads(content, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise TwiceError(f"the key {key[:100]!r} stands twice in one object")
        found[key] = value
    return found
