"""Two pieces of plain data beside each other, leaf by leaf."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MOST = 80  # characters of a value in a message


@dataclass(frozen=True)
class Difference:
    """A field of evidence that says something else than is known here, with both values as messages show them."""

    field: str
    told: str
    known: str
    by: str
    """What knows it: a report, the recipe."""

    def __str__(self) -> str:
        return f"{self.field} says {self.told} where {self.by} says {self.known}"


def walk(field: str, told: Any, known: Any, by: str) -> Iterator[Difference]:
    """Yield every leaf that differs, of another type included: 1 is neither 1.0 nor true."""
    if isinstance(told, Mapping) and isinstance(known, Mapping):
        for key in (*known, *(key for key in told if key not in known)):
            if key not in told or key not in known:
                yield Difference(_name(field, key), shown(told, key), shown(known, key), by)
            else:
                yield from walk(_name(field, key), told[key], known[key], by)
    elif isinstance(told, list) and isinstance(known, list) and len(told) == len(known):
        for number, (one, other) in enumerate(zip(told, known, strict=True)):
            yield from walk(f"{field}[{number}]", one, other, by)
    elif type(told) is not type(known) or told != known:
        yield Difference(field, cut(told), cut(known), by)


def shown(data: Mapping[str, Any], key: str) -> str:
    """The value of a key for a message, `nothing` where it is absent."""
    return cut(data[key]) if key in data else "nothing"


def cut(value: object) -> str:
    """A value as JSON, in ASCII, so that no control character is left, and not longer than a message bears."""
    text = json.dumps(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def _name(field: str, key: object) -> str:
    text = str(key)
    plain = text if text.isidentifier() and text.isascii() else json.dumps(text)
    return f"{field}.{plain[:_MOST]}"
