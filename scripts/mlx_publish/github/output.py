"""Outputs, annotations and the step summary, where a runner asks for them; elsewhere nothing happens."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from mlx_publish.errors import SurroundingsError
from mlx_publish.text.door import command
from mlx_publish.text.harmless import harmless, plain


def write(values: Mapping[str, str]) -> None:
    """Write outputs of the step. A random delimiter keeps text of a model from ending one and beginning another."""
    lines = []
    for key, value in values.items():
        mark = f"end-{secrets.token_hex(8)}"
        lines.append(f"{key}<<{mark}\n{value}\n{mark}\n")
    _append("GITHUB_OUTPUT", "".join(lines))


def annotate(message: str, place: str = "") -> None:
    """Print an error annotation, at `file:line` where it is known."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    file, _, line = place.rpartition(":")
    where = (
        f" file={harmless(plain(_property(file)))},line={line}" if file and line.isascii() and line.isdigit() else ""
    )
    # On standard error, so that --json has standard output to itself; the runner reads both.
    command(sys.stderr, f"::error{where}::{harmless(plain(_data(message)))}")


def summarize(markdown: str) -> None:
    """Add to the step summary."""
    _append("GITHUB_STEP_SUMMARY", markdown + "\n")


def stopped(said: str, verdict: str) -> None:
    """Write what stopped the program; of an output that was written before, the runner takes the later value."""
    from mlx_publish.text.markdown import fenced  # noqa: PLC0415  only errors need it

    write({"verdict": verdict})
    summarize(f"### mlx-publish: {verdict}\n\n{fenced(said, 'text', 5000)}\n")


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if not path or not text:
        return
    try:
        with Path(path).open("a", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SurroundingsError(
            f"the file that {variable} names cannot be written: {why}", remedy="Look at the runner and its disk."
        ) from error


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
