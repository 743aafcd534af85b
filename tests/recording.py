"""What a terminal shows of bytes that were written to it: the lines that stay, and the live lines that went."""

from __future__ import annotations

import re

_SGR = re.compile(r"\x1b\[[0-9;]*m")
ERASE = "\x1b[2K"


def screen(text: str) -> list[str]:
    """Return the lines that stay, without colours. Carriage return and erasure of a line are all that is understood."""
    lines = [""]
    for piece in re.split(r"(\r\n|\n|\r|\x1b\[2K)", _SGR.sub("", text)):
        if piece in ("\n", "\r\n"):
            lines.append("")
        elif piece == ERASE:
            lines[-1] = ""
        elif piece != "\r":
            lines[-1] += piece
    return lines


def frames(text: str) -> list[str]:
    """Return the live lines, each once, in their order."""
    parts = _SGR.sub("", text).split(f"\r{ERASE}")
    return list(dict.fromkeys(part for part in parts if re.match(r"[|/\\-] ", part) and "\n" not in part))
