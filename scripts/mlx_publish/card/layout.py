"""Markdown as a whole: what a person left open in it, and its blank lines."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TICKS = re.compile("`+")
# What swallows or shapes all that follows until it is closed.
_HTML = {"<!--": "-->", "<?": "?>", "<![cdata[": "]]>"} | {
    f"<{tag}": f"</{tag}" for tag in ("script", "style", "pre", "textarea", "details", "div", "table")
}


def unclosed(text: str) -> str:
    """What a text opens and does not close, so that it would swallow what stands below; empty where it is whole."""
    lines, fence = _read(text)
    prose = _without_spans("\n".join(line for line, in_code in lines if not in_code)).lower()
    return fence or next((begin for begin, end in _HTML.items() if prose.count(begin) > prose.count(end)), "")


def tidy(text: str) -> str:
    """One blank line where there are several, but for those in code; one line end at the end."""
    kept: list[str] = []
    for line, in_code in _read(text.strip("\n"))[0]:
        if in_code or line.strip():
            kept.append(line)
        elif kept[-1]:
            kept.append("")
    return "\n".join(kept) + "\n"


def _without_spans(text: str) -> str:
    """Leave out code within lines: from so many backticks to the next that are as many."""
    runs = [(found.start(), found.end()) for found in _TICKS.finditer(text)]
    later: dict[int, list[int]] = {}
    for start, end in reversed(runs):
        later.setdefault(end - start, []).append(end)
    kept, at = [], 0
    for start, end in runs:
        ends = later[end - start]
        ends.pop()
        if start >= at and ends:
            kept.append(text[at:start])
            at = ends[-1]
    return "".join((*kept, text[at:]))


def _read(text: str) -> tuple[list[tuple[str, bool]], str]:
    """Lines, each with whether it belongs to a fenced block, and the fence that is still open at the end."""
    lines, fence = [], ""
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line)
        lines.append((line, bool(fence or _opens(mark))))
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not mark[2].strip() else fence
        elif mark and _opens(mark):
            fence = mark[1]
    return lines, fence


def _opens(mark: re.Match[str] | None) -> bool:
    return mark is not None and not (mark[1][0] == "`" and "`" in mark[2])
