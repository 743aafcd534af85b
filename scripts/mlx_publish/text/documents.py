"""Texts as the package carries them: a file has documents, each below a line `=== title`.

A dialogue's turns are below lines `--- user`, `--- assistant` and `--- system`. Blank lines around a document or a turn
do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Turns = list[dict[str, str]]
"""A dialogue, as chat templates take it."""

_TITLE = re.compile(r"^=== (.+)\n", re.MULTILINE)
_TURN = re.compile(r"^--- (system|user|assistant)\n", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """A text that is read from its own beginning."""

    title: str
    """What it is, for people; models do not read it."""
    text: str
    """As it is in the file."""

    @property
    def turns(self) -> Turns:
        """Return the turns of a dialogue. ValueError if text precedes the first one."""
        before, *parts = _TURN.split(self.text)
        if before or not parts:
            raise ValueError(f"{self.title}: a dialogue begins with a turn, such as '--- user'")
        roles, contents = parts[::2], parts[1::2]
        return [{"role": role, "content": content.strip("\n")} for role, content in zip(roles, contents, strict=True)]


def documents(text: str) -> list[Document]:
    """Return the documents of a file. ValueError if text precedes the first title."""
    before, *parts = _TITLE.split(text)
    if before.strip() or not parts:
        raise ValueError("a file of documents begins with a title, such as '=== letter to an aunt'")
    return [Document(title, content.strip("\n")) for title, content in zip(parts[::2], parts[1::2], strict=True)]
