"""How large chat templates may be, judged before parsing, whose time grows faster than the text."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.errors import Refused

LARGEST = 1 << 20
"""Bytes of a file, or characters of all templates in a JSON file. The largest published ones have some 50,000."""


def within_size(place: str, size: int) -> None:
    """Raise `Refused` if a template, or all of a file together, are larger than any in use."""
    if size > LARGEST:
        raise Refused(
            f"the chat template has {size:,} bytes, and at most {LARGEST:,} are read",
            check="template-safe",
            place=place,
            remedy="Choose another source, or have its template made smaller upstream.",
        )


def within_size_all(place: str, templates: Mapping[str, str]) -> None:
    """Do the same for templates by name; a name counts as well."""
    within_size(place, sum(len(name) + len(text) for name, text in templates.items()))
