"""Records as JSON and back: what a child or a report holds becomes an object with types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
LEFT_OUT = {"left_out": True}
"""Metadata of a field that is left out of the plain data where it is None."""
KEYWORDS = {"alias_generator": lambda name: name.rstrip("_")}
"""`__pydantic_config__` of a record with a field like `class_`, whose key is a keyword of Python: `class`."""
_READERS: dict[Any, Any] = {}


def to_json(value: object) -> Any:
    """Return a record, or anything made of records, as plain data with its keys in the order of the fields."""
    if is_dataclass(value) and not isinstance(value, type):
        items = ((field, getattr(value, field.name)) for field in fields(value))
        return {
            field.name.rstrip("_"): to_json(item)
            for field, item in items
            if item is not None or "left_out" not in field.metadata
        }
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: object) -> T:
    """Return plain data as a record of this kind, with the records within it; keys that it does not know go.

    ValueError if a key is missing or a value is of another type.
    """
    from pydantic import TypeAdapter  # noqa: PLC0415  the child of an engine writes records and reads none

    if kind not in _READERS:
        _READERS[kind] = TypeAdapter(kind)
    record: T = _READERS[kind].validate_python(data)
    return record
