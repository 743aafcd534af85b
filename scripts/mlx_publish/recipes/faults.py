"""What is wrong with a YAML file, in words, each error with the line of its own key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlx_publish.errors import BadInput, Fault, Place, in_file
from mlx_publish.recipes.flags import section_of
from mlx_publish.recipes.patterns import WORDS
from mlx_publish.recipes.slips import KEYS
from mlx_publish.text.nearest import nearest
from mlx_publish.text.yaml import key_path

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails


MOST = 20
"""Errors of one document that a message names."""
LONGEST = 100
"""Characters of somebody's value, or key, that a message shows."""
_FILE = "\0"
"""Stands for the recipe's file in a remedy."""
_SWITCH: Mapping[str, str] = dict.fromkeys(("true", "yes", "on", "y"), "true") | dict.fromkeys(
    ("false", "no", "off", "n"), "false"
)
_QUOTING = ("variant", "address")
"""Errors of ours, whose messages quote the value."""
_SEPARATORS = re.compile(r"[\s,]+")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_CHOICE = re.compile(r"'([^']*)'|(\d+)")


def bad_input(
    errors: Sequence[ErrorDetails], place: str, lines: Mapping[str, int], page: str, spec: type[BaseModel]
) -> BadInput:
    """Return all errors at once, the first in front; `page` of the documentation lists the keys of `spec`.

    `place` is the file, or empty for flags, of which no line is known.
    """
    return joined([_located(error, place, lines, page, spec) for error in errors])


def joined(faults: Sequence[Fault]) -> BadInput:
    """Make one error of several faults, of which the first gives the remedy."""
    first, *others = faults
    if len(others) >= MOST:
        others = [*others[: MOST - 1], Fault(f"and {len(others) - MOST + 1} more errors", first.place)]
    return BadInput(first.message, place=first.place, key=first.key, remedy=first.remedy, others=others)


def _located(error: ErrorDetails, place: str, lines: Mapping[str, int], page: str, spec: type[BaseModel]) -> Fault:
    parts = list(error["loc"])
    if (own := error.get("ctx", {}).get("key")) is not None:
        parts.append(own)
    message, remedy = _words(error, page, spec)
    if not place:  # flags: variants[0].bits is --bits
        keys = [part for part in parts if isinstance(part, str)]
        flag = f"--{cut(keys[-1]).replace('_', '-')}" if keys else "flags"
        return Fault(message, Place(flag), remedy=remedy)
    path = tuple(parts)
    while path and key_path(path) not in lines:
        path = path[:-1]
    where = in_file(place, lines[key_path(path)] if path else 1)
    return Fault(message, where, cut(key_path(tuple(parts))), remedy.replace(_FILE, place))


def _words(error: ErrorDetails, page: str, spec: type[BaseModel]) -> tuple[str, str]:
    if error["type"] == "extra_forbidden":
        return f"unknown key{_key_meant(error['loc'], spec)}", f"{page} lists the keys."
    if error["type"] == "missing":
        return "required key is missing", f"Add it; {page} lists the keys."
    return value_message(error), _correction(error) or f"{page} lists the allowed values."


def _key_meant(path: Sequence[str | int], spec: type[BaseModel]) -> str:
    """Return where a key belongs that nobody knows at its place: by another name, or in another section."""
    *sections, key = (part for part in path if isinstance(part, str))
    here: type[BaseModel] | None = spec
    for name in sections:
        field = here.model_fields.get(name) if here else None
        here = section_of(field.annotation) if field else None
    known = here.model_fields if here else {}
    other = KEYS.get(key.casefold().replace("-", "_"), "")
    if meant := (other if other in known else "") or nearest(key, known):
        return f"; did you mean {meant}?"
    # What drafters share with variants is more often meant for variants.
    for name, field in sorted(spec.model_fields.items(), key=lambda item: item[0] != "variants"):
        section = section_of(field.annotation)
        if section is not None and section is not here and (meant := nearest(key, section.model_fields)):
            return f"; did you mean {meant} below {name}?"
    return f"; did you mean {key}, not below {sections[-1]}?" if sections and key in spec.model_fields else ""


def _correction(error: ErrorDetails) -> str:
    """Return how to write a value whose meaning is clear; empty for any other."""
    kind, given = error["type"], error["input"]
    if own := error.get("ctx", {}).get("write"):
        return str(own)
    if kind == "literal_error":
        known = [text or number for text, number in _CHOICE.findall(error["ctx"]["expected"])]
        bare = re.sub(r"(?i)[\s_-]*bits?$", "", str(given))
        meant = bare if bare in known else nearest(str(given), known)
        return f"Write {meant}." if meant else ""
    if kind == "string_type" and isinstance(given, (int, float)):
        if error["loc"][-1] == "revision":
            return f"Write the commit, 40 hex digits, in quotes. Run: mlx-publish pin {_FILE}"
        return f'Write it in quotes: "{cut(str(given))}".'
    return _unquoted(kind, given) if isinstance(given, str) and given else ""


def _unquoted(kind: str, given: str) -> str:
    """Return how to write a text that should be no text."""
    if kind == "bool_type":
        word = _SWITCH.get(given.casefold())
        return f"Write {word}, without quotes." if word else "Write true or false."
    if kind == "list_type":
        return f"Write a list: [{', '.join(part for part in _SEPARATORS.split(cut(given)) if part)}]."
    if kind in ("int_type", "float_type") and _NUMBER.fullmatch(given):
        return f"Write {given}, without quotes."
    return ""


def value_message(error: ErrorDetails) -> str:
    """Return what pydantic says of a value, with as much of the value as a person wants to see."""
    given, message = error["input"], error["msg"]
    if words := WORDS.get(error.get("ctx", {}).get("pattern", "")):
        message = f"is not {words}"
    if error["type"] in ("model_type", "dict_type"):
        message = "Input should be a mapping of keys"  # pydantic names a class of ours
    shown = f" (given: {cut(repr(given))})" if isinstance(given, (str, int, float, bool)) else ""
    if error["type"] in _QUOTING:
        shown = ""
    return f"{message[0].lower()}{message[1:]}{shown}"


def cut(text: str) -> str:
    """Return the beginning of a text, where it is longer than a message should be."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
