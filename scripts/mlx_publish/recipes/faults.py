"""What is wrong with a YAML file, in words, each error with the line of its own key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlx_publish.errors import BadInput, Fault, Place, in_file
from mlx_publish.recipes.patterns import WORDS
from mlx_publish.text.yaml import key_path

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


MOST = 20
"""Errors of one document that a message names."""
LONGEST = 100
"""Characters of somebody's value, or key, that a message shows."""


def bad_input(errors: Sequence[ErrorDetails], place: str, lines: Mapping[str, int], page: str) -> BadInput:
    """Return all errors at once, the first in front; `page` of the documentation lists the keys.

    `place` is the file, or empty for flags, of which no line is known.
    """
    return joined([_located(error, place, lines, page) for error in errors])


def joined(faults: Sequence[Fault]) -> BadInput:
    """Make one error of several faults, of which the first gives the remedy."""
    first, *others = faults
    if len(others) >= MOST:
        others = [*others[: MOST - 1], Fault(f"and {len(others) - MOST + 1} more are wrong", first.place)]
    return BadInput(first.message, place=first.place, key=first.key, remedy=first.remedy, others=others)


def _located(error: ErrorDetails, place: str, lines: Mapping[str, int], page: str) -> Fault:
    parts = list(error["loc"])
    if (own := error.get("ctx", {}).get("key")) is not None:
        parts.append(own)
    message, remedy = _words(error, page)
    if not place:  # flags: variants[0].bits is --bits
        keys = [part for part in parts if isinstance(part, str)]
        flag = f"--{cut(keys[-1]).replace('_', '-')}" if keys else "flags"
        return Fault(message, Place(flag), remedy=remedy)
    path = tuple(parts)
    while path and key_path(path) not in lines:
        path = path[:-1]
    where = in_file(place, lines[key_path(path)] if path else 1)
    return Fault(message, where, cut(key_path(tuple(parts))), remedy)


def _words(error: ErrorDetails, page: str) -> tuple[str, str]:
    if error["type"] == "extra_forbidden":
        return "this key is not known", f"{page} lists the keys."
    if error["type"] == "missing":
        return "this key is missing", f"Add it; {page} lists the keys."
    return value_message(error), f"{page} says what is allowed."


def value_message(error: ErrorDetails) -> str:
    """Return what pydantic says of a value, with as much of the value as a person wants to see."""
    given, message = error["input"], error["msg"]
    if words := WORDS.get(error.get("ctx", {}).get("pattern", "")):
        message = f"is not {words}"
    shown = f" (given: {cut(repr(given))})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{message[0].lower()}{message[1:]}{shown}"


def cut(text: str) -> str:
    """Return the beginning of a text, where it is longer than a message should be."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
