"""A local file of calibration text: plain text, or a JSON object a line. What is wrong in it is named by its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import BadInput, Place
from mlx_publish.text.bounds import Bounds
from mlx_publish.text.documents import Turns
from mlx_publish.text.json_text import FaultyJson, parse
from mlx_publish.text.numbers import size

MOST_BYTES = 10_000_000
_LINE = Bounds(MOST_BYTES, deepest=16, twice="refused")
_ROLES = ("system", "user", "assistant")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
Text = str | Turns
"""A document, or a dialogue."""


@dataclass(frozen=True)
class Part:
    """A paragraph, or what a line of JSON holds."""

    text: Text
    words: str
    """The same as one text."""


@dataclass(frozen=True)
class Read:
    """A file in its parts."""

    parts: list[Part]
    flowing: bool
    """Whether the parts follow each other in one text."""

    @property
    def unit(self) -> str:
        """What a part is called."""
        return "paragraph" if self.flowing else "line"


def read_file(path: Path, key: Place) -> Read:
    """Read a file that the recipe names at `key`. Raises `BadInput` naming file, line and what to do."""
    content = _content(path, key)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"not UTF-8: byte 0x{content[error.start]:02x}",
            place=Place(str(path), line),
            remedy="Save the file as UTF-8.",
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    flowing = path.suffix.lower() != ".jsonl"
    parts = list(_paragraphs(text) if flowing else _lines(text, path))
    if not parts:
        raise BadInput(
            "the file contains no text",
            place=Place(str(path)),
            remedy="Add text, or remove calibration.file from the recipe.",
        )
    return Read(parts, flowing)


def _content(path: Path, key: Place) -> bytes:
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise BadInput(
            f"{path} {what}",
            place=key,
            key="calibration.file",
            remedy="Correct the path, which is relative to the recipe, or remove the key to use the package's text.",
        )
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", place=key, key="calibration.file") from None
    if len(content) > MOST_BYTES:
        raise BadInput(
            f"the file has {size(path.stat().st_size)}; calibration text may have {size(MOST_BYTES)}",
            place=Place(str(path)),
            remedy="Use a part of it; methods read a few hundred thousand tokens at most.",
        )
    return content


def _paragraphs(text: str) -> Iterator[Part]:
    for paragraph in _PARAGRAPH.split(text):
        if paragraph.strip():
            yield Part(text=paragraph.strip("\n"), words=paragraph.strip("\n"))


def _lines(text: str, path: Path) -> Iterator[Part]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            part = _part(parse(line, _LINE))
        except (FaultyJson, ValueError) as error:
            remedy = 'Write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]} in each line.'
            raise BadInput(str(error), place=Place(str(path), number), remedy=remedy) from None
        if part.words.strip():
            yield part


def _part(data: object) -> Part:
    """Return what a line holds. ValueError if it is something else."""
    found = data if isinstance(data, dict) else {}
    if isinstance(text := found.get("text"), str):
        return Part(text, text)
    messages = found.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("neither a text in 'text' nor a list in 'messages'")
    turns: Turns = []
    for place, message in enumerate(messages):
        role, content = (message.get(key) for key in ("role", "content")) if isinstance(message, dict) else (None, None)
        if role not in _ROLES or not isinstance(content, str):
            raise ValueError(f"messages[{place}] needs a role ({', '.join(_ROLES)}) and a text in 'content'")
        turns.append({"role": role, "content": content})
    return Part(turns, "\n".join(turn["content"] for turn in turns))
