"""Cards as they will look, folded, in the summary of a step, which has room for 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlx_publish.text.markdown import cell

MOST = 1 << 20
"""Bytes that GitHub takes for the summary of a step."""
_CUT = "\n\n*Cut here: a step's summary has room for 1 MiB.*\n"
_FOLD, _END = "<details>", "\n</details>\n"
_FRONT = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


def previews(cards: Mapping[str, str], room: int) -> str:
    """Return Markdown of cards by name, each folded, in at most `room` bytes, an equal share each.

    A card that is cut says so.
    """
    heads = [f"\n<details><summary>Card of {cell(name)}</summary>\n\n" for name in cards]
    if room < sum(len(f"{head}{_CUT}{_END}".encode()) + 1 for head in heads):
        return ""
    shown = []
    left = room
    for number, (head, text) in enumerate(zip(heads, cards.values(), strict=True)):
        front = _FRONT.match(text)
        # As a block of code the front matter is visible.
        visible = f"```yaml\n{front[1]}```\n\n{text[front.end() :]}" if front and "```" not in front[1] else text
        most = left // (len(cards) - number) - len(f"{head}{_END}".encode()) - 1
        part = f"{head}{cut(visible, most)}{_END}"
        left -= len(part.encode()) + 1
        shown.append(part)
    return "\n".join(shown)


def cut(text: str, most: int) -> str:
    """Cut Markdown after a line, so that it has at most `most` bytes; open code and open folds are closed."""
    if len(text.encode()) <= most:
        return text
    kept: list[str] = []
    size, fence, folds = len(_CUT), "", 0
    for line in text.splitlines(keepends=True):
        after = _after(fence, line)
        open_after = folds + (0 if fence else line.count(_FOLD) - line.count(_END.strip()))
        if size + len(line.encode()) + len(after) + 1 + max(0, open_after) * len(_END) > most:
            break
        kept.append(line)
        size, fence, folds = size + len(line.encode()), after, open_after
    end = (f"{fence}\n" if fence else "") + _END * max(0, folds)
    return "".join(kept) + end + _CUT if size + len(end) <= most else ""


def _after(fence: str, line: str) -> str:
    """Return the fence that is open after a line; empty if none is."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        return match[1]
    closes = match[1].startswith(fence) and not line.strip().strip(match[1][0])
    return "" if closes else fence
