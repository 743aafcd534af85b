"""How a key of a recipe is given elsewhere: as a flag, as an input of the Action, in a request.

`RecipeSpec` declares it beside the type of each key. The flags, what is read from forms, action.yml, the workflows and
the docs are made from that. Nothing here loads pydantic: the command line starts with flags.json, which
scripts/generate.py makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

SOURCE, DESTINATION = "source, without a recipe", "destination, with or without a recipe"
VARIANTS, CARD, PUBLISHING = "variants, without a recipe", "card, without a recipe", "publishing, without a recipe"
"""Headings in `--help`."""
FILE = Path(__file__).resolve().parents[1] / "data" / "flags.json"
Marker = TypeVar("Marker")


@dataclass(frozen=True)
class Flag:
    """A flag of the command line, which is an input of the Action, too."""

    metavar: str
    text: str
    """What it is, as a sentence without its full stop; `(default: X)` at its end says what holds without it."""
    input: str = ""
    """What it is as an input of the Action, where that is said in other words."""
    called: str = ""
    """Name of the input and of the key of a request, where that is not the key of the recipe."""
    first: bool = False
    """Whether it stands before the others in `--help`, with the keys of its section."""
    group: str = ""
    """Its heading in `--help`; that of its section where it has none."""

    @property
    def help(self) -> str:
        """Return the line of `--help`."""
        return self.text[0].lower() + self.text[1:]

    @property
    def description(self) -> str:
        """Return the description of the Action's input."""
        return self.input or self.text


@dataclass(frozen=True)
class Asked:
    """How a form, a dispatch or a calling workflow may ask for a key: by a stranger's text."""

    meaning: str
    """For docs/request.md."""
    form: str = ""
    """Label in the form and in `workflow_call`; neither has the key without one."""
    call: str = ""
    """Description in `workflow_call`, where it is another one."""
    choices: tuple[str, ...] = ()
    """What the form offers, the default first; any text without them."""
    pattern: str = ""
    """What a text has to fit; the type of the key decides without one."""
    max_length: int | None = None


@dataclass(frozen=True)
class Key:
    """A key of a recipe that has a flag."""

    path: tuple[str, ...]
    """Where it stands in a recipe: `("card", "notes")`; `("variants", "bits")` in each of a list."""
    annotation: Any
    flag: Flag
    asked: Asked | None
    """None where a request cannot ask for it."""

    @property
    def name(self) -> str:
        """Name of the flag, with underscores."""
        return self.path[-1]

    @property
    def outside(self) -> str:
        """Name of the Action's input and of a request's key, with underscores."""
        return self.flag.called or self.name

    @property
    def group(self) -> str:
        """Its heading in `--help`."""
        return self.flag.group or {"variants": VARIANTS, "card": CARD}.get(self.path[0], SOURCE)

    @property
    def kind(self) -> Literal["list", "scalar", "text"]:
        """Return how its text is read: as words with commas, as a number, true or false, or as it is."""
        types = set(_types(self.annotation))
        if list in types:
            return "list"
        return "scalar" if types & {bool, int, float} else "text"

    @property
    def choices(self) -> tuple[str, ...]:
        """What may stand there, where that is a short list."""
        if self.switch:
            return ("true", "false")
        return tuple(map(str, _literals(self.annotation)))

    @property
    def switch(self) -> bool:
        """Whether it is true or false."""
        return bool in set(_types(self.annotation))


def keys_of(spec: type[BaseModel]) -> tuple[Key, ...]:
    """Return the keys that have a flag, in the order of `--help`."""
    fields = sorted(spec.model_fields.items(), key=lambda item: not _is_first(item[1]))
    return tuple(key for name, field in fields for key in _keys(name, field))


def marker_of(field: FieldInfo, kind: type[Marker]) -> Marker | None:
    """Return what a field's annotation says of its flag or of requests."""
    return next((entry for entry in field.metadata if isinstance(entry, kind)), None)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model whose keys stand below a key, once or in each of a list."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return annotation
    return next((section for part in get_args(annotation) if (section := section_of(part))), None)


@dataclass(frozen=True)
class Listed:
    """A flag that describes a recipe, as `--help` lists it."""

    metavar: str
    help: str
    group: str = SOURCE
    choices: Sequence[str] = ()


def recipe_flags() -> Mapping[str, Listed]:
    """Read the flags that describe a recipe, by their keys."""
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: Listed(**entry) for name, entry in entries.items()}


def _is_first(field: FieldInfo) -> bool:
    flag = marker_of(field, Flag)
    return flag is not None and flag.first


def _keys(name: str, field: FieldInfo) -> Iterator[Key]:
    """Yield the keys of a section, then the key itself."""
    if section := section_of(field.annotation):
        for key in keys_of(section):
            yield Key((name, *key.path), key.annotation, key.flag, key.asked)
    if flag := marker_of(field, Flag):
        yield Key((name,), field.annotation, flag, marker_of(field, Asked))


def _literals(annotation: Any) -> Iterator[Any]:
    """Yield the values of a choice; nothing for a list of them."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is not list:
        for part in get_args(annotation):
            yield from _literals(part)


def _types(annotation: Any) -> Iterator[Any]:
    """Yield the plain types of what may stand there; of a choice those of the choices."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from map(type, parts)
    elif origin is list or not parts:
        yield origin or annotation
    else:
        for part in parts:
            yield from _types(part)
