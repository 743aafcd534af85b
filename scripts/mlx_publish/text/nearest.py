"""What was probably meant by a word that nobody knows. Standard library only: the noxfile uses it too."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 64
"""Characters up to which a word is compared; nobody mistypes more."""
_CUTOFF = 0.65
_PREFIX = 3
"""Characters from which on the beginning of a single name stands for it."""


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the name that was probably meant by `word`, or an empty text."""
    if not word or len(word) > _LONGEST:
        return ""
    import difflib  # noqa: PLC0415  only who mistypes waits for it

    by_form: dict[str, str] = {}
    for name in names:
        by_form.setdefault(_form(name), name)
    form = _form(word)
    if form in by_form:
        return by_form[form]
    begun = [name for name in by_form if len(form) >= _PREFIX and name.startswith(form)]
    if len(begun) == 1:
        return by_form[begun[0]]
    close = difflib.get_close_matches(form, by_form, 1, _CUTOFF)
    return by_form[close[0]] if close else ""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return `; did you mean NAME?` to end a message with, or an empty text."""
    meant = nearest(word, names)
    return f"; did you mean {meant}?" if meant else ""


def _form(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
