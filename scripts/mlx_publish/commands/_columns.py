"""Rows of text in columns: where a terminal is narrow, columns are left out, and no number is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_publish.text.console import Console, width
from mlx_publish.text.harmless import one_line

_GAP = "  "
_INDENT = 2


@dataclass(frozen=True)
class Column:
    """A heading, and how early the column is left out: the highest `rank` first, 0 never."""

    heading: str
    rank: int = 0
    right: bool = False


def print_columns(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their headings, without the columns that do not fit and those that say nothing."""
    for line in lines(columns, rows, width() - _INDENT):
        console.say(line)


def lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], most: int) -> list[str]:
    """Return headings and rows, each at most `most` characters wide where leaving out columns can do that."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    kept = [n for n, column in enumerate(columns) if column.rank == 0 or any(row[n] != "-" for row in cells)]
    widths = {n: max(len(columns[n].heading), *(len(row[n]) for row in cells)) for n in kept}
    while sum(widths[n] for n in kept) + len(_GAP) * (len(kept) - 1) > most:
        last = max(kept, key=lambda n: columns[n].rank)
        if columns[last].rank == 0:
            break
        kept.remove(last)

    def line(row: Sequence[str]) -> str:
        parts = (row[n].rjust(widths[n]) if columns[n].right else row[n].ljust(widths[n]) for n in kept)
        return _GAP.join(parts).rstrip()

    return [line([column.heading for column in columns]), *map(line, cells)]
