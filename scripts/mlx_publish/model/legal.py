"""Legal texts of a model: which of its files are texts that can be carried over, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlx_publish.model.files import ModelFiles
from mlx_publish.model.select import is_legal, looks_legal

LARGEST = 1 << 20
"""Bytes that a legal text may have; the longest licences have some 40 kB, notices of many parts a few hundred."""
MOST = 100
"""Legal texts that a model may have."""
# What begins so is no licence, although it may be text: scripts, documents of other programs, saved web pages.
_OTHERS = (
    (b"#!", "a script"),
    (b"<?php", "a script"),
    (b"<script", "a script"),
    (b"%pdf", "a PDF"),
    (b"%!ps", "PostScript"),
    (b"{\\rtf", "RTF"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
)
# Form feeds stand in the GNU licences; U+009B and its like command a terminal as escape does.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\x90\x9b\x9d-\x9f]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_DOTTED = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*", re.ASCII)
_FEWEST = 3  # parts of a pickle; a short text may look like fewer
_TOO_LARGE = f"has more than {LARGEST:,} bytes, too many for a licence file"
_OTHER_ENCODING = "is text, but not UTF-8"


@dataclass(frozen=True)
class Legal:
    """The legal files of a model by what becomes of them."""

    texts: tuple[str, ...] = ()
    """Carried over."""
    left: Mapping[str, str] = field(default_factory=dict)
    """Left behind, each with the reason."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Named as a legal text and none, each with what it is."""


def read_legal(files: ModelFiles) -> Legal:
    """Sort the legal files. Reads none that is too large for a legal text."""
    named = sorted(path for path in files.entries if is_legal(path))
    faults = {
        path: _TOO_LARGE if files.entries[path].size > LARGEST else text_fault(files.read(path))
        for path in named[:MOST]
    }
    faults |= dict.fromkeys(named[MOST:], f"comes after {MOST} others")
    texts = tuple(path for path, fault in faults.items() if not fault)
    # A licence in the encoding of an old Windows still is a licence; beside another text it may stay behind.
    harmless = {path: fault for path, fault in faults.items() if texts and fault == _OTHER_ENCODING}
    broken = {path: fault for path, fault in faults.items() if fault and path not in harmless}
    others = {path: "its name is not that of a text" for path in sorted(files.entries) if looks_legal(path)}
    return Legal(texts, {**others, **harmless}, broken)


def text_fault(data: bytes, most: int = LARGEST) -> str:
    """Say why this is no legal text, or return "": a legal text is UTF-8 and commands no terminal.

    Of another kind of text `most` are the bytes that it may have.
    """
    if len(data) > most:
        return _TOO_LARGE
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    if kind := next((kind for begins, kind in _OTHERS if start.startswith(begins)), ""):
        return f"is {kind}, not a text"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _OTHER_ENCODING if _is_text(data) else "is no text"
    if control := _CONTROL.search(text.removesuffix("\x1a")):  # as DOS ended a text
        return f"is not text: it contains the control character U+{ord(control[0]):04X}"
    return "is a pickle, not a text" if _is_pickle(data) else ""


def _is_text(data: bytes) -> bool:
    """Return whether it is text in another encoding: UTF-16 with its mark, or one byte a letter."""
    encoding = "utf-16" if data.startswith(_UTF16) else "cp1252"
    try:
        return not _CONTROL.search(data.decode(encoding))
    except UnicodeDecodeError:
        return False


def _is_pickle(data: bytes) -> bool:
    """Return whether a text is a pickle of the oldest protocol, which is written in letters alone."""
    import pickletools  # noqa: PLC0415  only where there is a text to judge

    parts, calls = 0, False
    try:
        for opcode, argument, position in pickletools.genops(data):
            parts += 1
            calls |= opcode.name in ("GLOBAL", "INST") and bool(_DOTTED.fullmatch(str(argument)))
            if opcode.name == "STOP":
                return calls or (parts >= _FEWEST and position == len(data.rstrip()) - 1)
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError):
        pass
    return False
