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
    distances = {name: _distance(form, name) for name in by_form if abs(len(name) - len(form)) <= len(form) // 3 + 1}
    best = min(distances, key=lambda name: distances[name], default="")
    if best and distances[best] <= max(len(form), len(best)) // 3:
        return by_form[best]
    close = difflib.get_close_matches(form, by_form, 1, _CUTOFF)
    return by_form[close[0]] if close else ""


def _distance(one: str, other: str) -> int:
    """Return how many letters have to be added, left out, replaced or swapped with their neighbour."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, now[column - 1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return `; did you mean NAME?` to end a message with, or an empty text."""
    meant = nearest(word, names)
    return f"; did you mean {meant}?" if meant else ""


def _form(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
