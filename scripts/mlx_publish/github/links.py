"""Links of a card where the files beside it are not: in a step's summary."""

from __future__ import annotations

import re
from collections.abc import Callable

# Within a text there is no bracket, so of an image in a link only the image is found.
_LINK = re.compile(r"(!?)\[((?:[^\[\]\\]|\\.)*)\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
_PICTURE = re.compile(r"<picture>.*?</picture>|<img\b[^>]*>", re.DOTALL | re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(src|alt)\s*=\s*\"([^\"]*)\"", re.IGNORECASE)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?^ {0,3}\1[`~]*[ \t]*$", re.DOTALL | re.MULTILINE)


def absolute(card: str, address_of: Callable[[str], str]) -> str:
    """Return a card whose links lead somewhere from anywhere: `address_of` gives the address of a file beside it.

    What has no address keeps its words alone. A picture beside the card becomes a link, for a summary shows none
    that a browser would have to log in for. Code stays as it is.
    """
    parts, end = [], 0
    for fence in _FENCE.finditer(card):
        parts += [_linked(card[end : fence.start()], address_of), fence[0]]
        end = fence.end()
    return "".join((*parts, _linked(card[end:], address_of)))


def _linked(text: str, address_of: Callable[[str], str]) -> str:
    def picture(match: re.Match[str]) -> str:
        # Of a picture for light and dark pages the image comes last.
        found = {name.lower(): value for name, value in _ATTRIBUTE.findall(match[0])}
        return match[0] if _ABSOLUTE.match(found.get("src", "")) else _words(found.get("alt", ""), found.get("src", ""))

    def link(match: re.Match[str]) -> str:
        return match[0] if _ABSOLUTE.match(match[3]) else _words(match[2], match[3])

    def _words(words: str, target: str) -> str:
        address = address_of(target) if target and not target.startswith("#") else ""
        return f"[{words or target}]({address})" if address else words

    return _LINK.sub(link, _PICTURE.sub(picture, text))
