"""Two pieces of plain data, compared leaf by leaf."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_MOST = 80  # characters of a value in a message


@dataclass(frozen=True)
class Difference:
    """A field of evidence that differs from what is known here, with both values as messages show them."""

    field: str
    stated: str
    known: str
    by: str
    """What knows it: a report, the recipe."""

    def __str__(self) -> str:
        return f"{self.field} says {self.stated}, but {self.by} says {self.known}"


def walk(field: str, stated: object, known: object, by: str) -> Iterator[Difference]:
    """Yield every leaf that differs, of another type included: 1 is neither 1.0 nor true."""
    if isinstance(stated, Mapping) and isinstance(known, Mapping):
        for key in (*known, *(key for key in stated if key not in known)):
            if key not in stated or key not in known:
                yield Difference(_name(field, key), shown(stated, key), shown(known, key), by)
            else:
                yield from walk(_name(field, key), stated[key], known[key], by)
    elif isinstance(stated, list) and isinstance(known, list) and len(stated) == len(known):
        for number, items in enumerate(zip(stated, known, strict=True)):
            yield from walk(f"{field}[{number}]", *items, by)
    elif type(stated) is not type(known) or stated != known:
        yield Difference(field, cut(stated), cut(known), by)


def shown(data: Mapping[str, object], key: str) -> str:
    """Return the value of a key for a message, `nothing` where it is absent."""
    return cut(data[key]) if key in data else "nothing"


def cut(value: object) -> str:
    """Return a value for a message: as JSON in ASCII, so that no control character is left, at most 80 characters."""
    text = json.dumps(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def _name(field: str, key: object) -> str:
    text = str(key)
    plain = text if text.isidentifier() and text.isascii() else json.dumps(text)
    return f"{field}.{plain[:_MOST]}"
