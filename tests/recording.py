"""A command on a terminal of its own, and what a person sees there: the lines that stay, and the live ones that went."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ERASE = "\x1b[2K"
_SGR = re.compile(r"\x1b\[[0-9;]*m")
_LIVE = re.compile(r"[|/\\-] \S")


def on_terminal(words: Sequence[str], environment: Mapping[str, str], folder: Path, columns: int) -> tuple[int, str]:
    """Run a command whose three streams are a terminal so wide; returns its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen(
        words, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while piece := os.read(ours, 1 << 16):
            written += piece
    os.close(ours)
    return child.wait(), written.decode()


def screen(text: str) -> list[str]:
    """Return the lines that stay, without colours; nothing is understood but returns and the erasing of a line."""
    lines = [""]
    for piece in re.split(r"(\r*\n|\r|\x1b\[2K)", _SGR.sub("", text)):
        if piece.endswith("\n"):
            lines.append("")
        elif piece == ERASE:
            lines[-1] = ""
        elif piece != "\r":
            lines[-1] += piece
    return lines


def frames(text: str) -> list[str]:
    """Return the live lines in their order."""
    parts = re.split(r"\r*\n|\r\x1b\[2K", _SGR.sub("", text))
    return [part for part in parts if _LIVE.match(part)]


def condensed(text: str, most: int = 2) -> Iterator[str]:
    """Yield what a terminal showed, line by line, but of the live lines of one piece of work only so many."""
    pieces = [piece for piece in re.split(r"\r*\n|\r\x1b\[2K", _SGR.sub("", text)) if piece]
    for (live, _), of in itertools.groupby(pieces, lambda piece: (bool(_LIVE.match(piece)), _work_of(piece))):
        lines = list(of)
        step = max(1, -(-len(lines) // most))
        yield from (line.rstrip() for line in (lines[::step] if live else lines))


def _work_of(line: str) -> str:
    """Return what a live line is about; its amounts stand behind two blanks."""
    return "  ".join(line[2:].split("  ")[:2]) if _LIVE.match(line) else ""


def main() -> None:
    """Run `mlx-publish WORDS` on a terminal of 84 columns, and write what it showed to the file of the first word."""
    file, *words = sys.argv[1:]
    code, text = on_terminal([sys.executable, "-m", "mlx_publish", *words], os.environ, Path.cwd(), 84)
    lines = [f"$ {shlex.join(['mlx-publish', *words])}", *condensed(text)]
    Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
