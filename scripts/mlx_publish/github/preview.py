"""Cards as they will look, in the summary of a step, which holds a mebibyte."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlx_publish.text.markdown import cell

MOST = 1 << 20
"""Bytes of a step's summary."""
_CUT = "\n\n*The rest does not fit into this summary.*\n"
_FRONT = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


def previews(cards: Mapping[str, str], room: int) -> str:
    """Return Markdown of cards by name in at most `room` bytes, an equal share each; a cut card says that it is cut."""
    heads = [f"\n---\n\n### {cell(name)}\n\n" for name in cards]
    if room < sum(len(head.encode()) + len(_CUT) + 1 for head in heads):
        return ""
    shown = []
    left = room
    for number, (head, text) in enumerate(zip(heads, cards.values(), strict=True)):
        front = _FRONT.match(text)
        # As a block of code the front matter is visible.
        visible = f"```yaml\n{front[1]}```\n\n{text[front.end() :]}" if front and "```" not in front[1] else text
        part = head + cut(visible, left // (len(cards) - number) - len(head.encode()) - 1)
        left -= len(part.encode()) + 1
        shown.append(part)
    return "\n".join(shown)


def cut(text: str, most: int) -> str:
    """Cut Markdown after a line, so that it has at most `most` bytes; an open block of code is closed."""
    if len(text.encode()) <= most:
        return text
    kept: list[str] = []
    size, fence = len(_CUT), ""
    for line in text.splitlines(keepends=True):
        after = _after(fence, line)
        if size + len(line.encode()) + len(after) + 1 > most:
            break
        kept.append(line)
        size, fence = size + len(line.encode()), after
    return "".join(kept) + (f"{fence}\n" if fence else "") + _CUT if size <= most else ""


def _after(fence: str, line: str) -> str:
    """Return the fence that is open behind a line, empty where none is."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        return match[1]
    closes = match[1].startswith(fence) and not line.strip().strip(match[1][0])
    return "" if closes else fence
