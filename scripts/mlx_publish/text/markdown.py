"""Text from elsewhere made harmless in Markdown, and tables of it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from urllib.parse import quote

from mlx_publish.text.harmless import plain

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|<>~&@$!]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
# As GitHub reads a summary; the last two would make a link of an address.
_IN_SUMMARY = re.compile(r"[\\`*_{}\[\]()#|!@~$]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# At the start of a line these would begin a list or a heading.
_AT_START = re.compile(r"^([-+=]|\d+[.)](?=\s|$))")
_WEB = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?([/?#][A-Za-z0-9._~:/?#@!$&*+,;=%-]*)?")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Joiners make letters and emoji what they are; the others are signs that show, in Arabic, Syriac and Kaithi.
_SEEN = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")


class Markdown(str):
    """Text that is Markdown already; templates print any other text escaped."""

    __slots__ = ()


def visible(text: str) -> str:
    r"""Show what has no form of its own, as control and bidi characters, by its number: `\u202e`. Lines stay lines."""
    if text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable():
        return text
    kept = text.replace("\r\n", "\n")
    return "".join(char if _shows(char) else numbered(char) for char in kept)


def _shows(char: str) -> bool:
    return char in "\n\t" or char in _SEEN or unicodedata.category(char) not in _UNSEEN


def numbered(char: str) -> str:
    """A character by its number, as Python, JSON (below 0x10000) and YAML 1.1 and 1.2 read it in double quotes."""
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def one_line(text: object, longest: int = 0) -> str:
    """A text as one line, with nothing hidden in it; cut with an ellipsis where it is longer than asked.

    A text of nothing but blanks says so: without a word emphasis or a list would be read otherwise.
    """
    line = visible(" ".join(str(text).split())) or ("(blank)" if str(text) else "")
    return line if not longest or len(line) <= longest else line[: longest - 1].rstrip() + "…"


def escape(text: object, longest: int = 0) -> Markdown:
    """Show text as it is: no emphasis, link, HTML, table cell, list or mention can come out of it."""
    if isinstance(text, Markdown):
        return text
    line = _SPECIAL.sub(r"\\\1", one_line(text, longest))
    if line[:1] not in "-+=" and not line[:1].isdecimal():
        return Markdown(line)
    return Markdown(_AT_START.sub(lambda start: start[1][:-1] + "\\" + start[1][-1], line))


def cell(text: str) -> Markdown:
    """Show text of others in a summary of GitHub's: Markdown, HTML and addresses do nothing there."""
    safe = plain(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return Markdown(_IN_SUMMARY.sub(r"\\\g<0>", safe))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], right: Container[str] = ()) -> Markdown:
    """Write a table; its cells are escaped unless they are Markdown. `right` has the headings of columns of numbers."""
    head = " | ".join(map(escape, headings)).rstrip()
    rule = " | ".join("---:" if heading in right else "---" for heading in headings)
    return Markdown("\n".join(f"| {line} |" for line in (head, rule, *(" | ".join(map(escape, row)) for row in rows))))


def code(text: object) -> Markdown:
    """Show text as code within a line, between more backticks than any run of its own."""
    line = one_line(text)
    mark = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    return Markdown(f"{mark} {line} {mark}" if line[:1] == "`" or line[-1:] == "`" else f"{mark}{line}{mark}")


def fenced(text: str, language: str = "", longest: int = 0) -> Markdown:
    """Put text into a code block whose fence is longer than any within it, cut where it is longer than asked."""
    shown = visible(text).rstrip()
    if longest and len(shown) > longest:
        shown = shown[:longest].rstrip() + "…"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    return Markdown(f"{fence}{language}\n{shown}\n{fence}")


def link(text: object, target: str | None) -> Markdown:
    """A link to a page of the web, or to a file beside the card; only the text where the target is neither."""
    words = escape(text)
    if not target or not words:
        return words
    if _WEB.fullmatch(target):
        return Markdown(f"[{words}]({target})")
    beside = quote(target, safe="/#")
    return words if ":" in target or target[:1] in "/." else Markdown(f"[{words}]({beside})")


def hub(repo: str, words: str = "", page: str = "") -> Markdown:
    """A link to a repo on the Hub; only the words (its name where there are none) where no repo can be called so."""
    return link(words or repo, f"https://huggingface.co/{repo}{page}" if is_repo(repo) else None)


def is_repo(name: object) -> bool:
    """Return whether a repo of the Hub can be called so."""
    return isinstance(name, str) and len(name) <= 96 and bool(_REPO.fullmatch(name))


def is_web(target: object) -> bool:
    """Return whether a text is the address of a page, and nothing else."""
    return isinstance(target, str) and bool(_WEB.fullmatch(target))


def quoted(text: str) -> str:
    """Return a Python string literal with nothing hidden in it; JSON's escapes are a part of Python's."""
    literal = json.dumps(text, ensure_ascii=False)
    return "".join(char if _shows(char) else numbered(char) for char in literal)


_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TICKS = re.compile("`+")
# What swallows or shapes all that follows until it is closed.
_HTML = {"<!--": "-->", "<?": "?>", "<![cdata[": "]]>"} | {
    f"<{tag}": f"</{tag}" for tag in ("script", "style", "pre", "textarea", "details", "div", "table")
}


def unclosed(text: str) -> str:
    """What a text opens and does not close, so that it would swallow what stands below; empty if it is whole."""
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
