"""The journal of a streamed conversion: which shards are done, and what is to be known of them after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_publish.engine.streaming_spill import Places, to_the_disk
from mlx_publish.errors import SurroundingsError
from mlx_publish.text.bounds import Bounds
from mlx_publish.text.json_text import FaultyJson, parse

_LINE = Bounds(1 << 30)
Candidate = tuple[int, int, int, str]
"""A tensor that does not fit its type: position of its parameter, row, place among the tensors made of it, name."""


@dataclass
class Verdict:
    """What is to know of what was made of one unit, but for what is usual: a number other than zero."""

    zero: list[str] = field(default_factory=list)
    """Parameters of the source that are zero all over in it."""
    zeros: dict[str, list[str]] = field(default_factory=dict)
    """By variant: tensors whose rows in it are zero all over."""
    overflow: dict[str, Candidate] = field(default_factory=dict)
    """By variant: the first tensor in it that does not fit its type."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What was measured of parameters on their way, plain data by what it is."""

    def plain(self) -> dict[str, Any]:
        """Return plain data without what is empty."""
        return {key: value for key, value in vars(self).items() if value}

    @classmethod
    def of(cls, data: dict[str, Any]) -> Verdict:
        """Return what `plain` was made from."""
        overflow = {label: tuple(found) for label, found in data.get("overflow", {}).items()}
        return cls(data.get("zero", []), data.get("zeros", {}), overflow, data.get("notes", {}))


class Journal:
    """Reads what an earlier run has done, and adds to it."""

    def __init__(self, path: Path, key: str, units: int) -> None:
        """Read it, or begin it. `SurroundingsError` if it is that of another conversion."""
        self._path = path
        self.shards: list[str] = []
        """Shards that are done, in their order."""
        self.verdicts: dict[int, Verdict] = {}
        """By the number of a unit."""
        self.spilled: Places = {}
        first = {"key": key, "units": units}
        lines, whole = _lines(path)
        if not lines:
            path.write_bytes(_line(first))
            self._sync()
            to_the_disk(path.parent)
            return
        # The parent writes the key alone, if it begins the journal.
        if lines[0].get("key") != key or lines[0].get("units", units) != units:
            raise SurroundingsError(
                f"{path.parent.name} is the work of another conversion",
                remedy=f"Remove {path.parent}, then run the same command again.",
            )
        os.truncate(path, whole)
        for line in lines[1:]:
            self.shards.append(line["shard"])
            self.verdicts |= {int(number): Verdict.of(found) for number, found in line["verdicts"].items()}
            self.spilled |= {name: tuple(place) for name, place in line["spilled"].items()}

    def add(self, shard: str, verdicts: Mapping[int, Verdict], spilled: Places) -> None:
        """Write that a shard is done, down to the disk."""
        plain = {str(number): found for number, verdict in verdicts.items() if (found := verdict.plain())}
        with self._path.open("ab") as file:
            file.write(_line({"shard": shard, "verdicts": plain, "spilled": spilled}))
        self._sync()

    def _sync(self) -> None:
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


def _line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _lines(path: Path) -> tuple[Sequence[dict[str, Any]], int]:
    """Return all whole lines, and their bytes: a kill may have cut the last one short."""
    lines: list[dict[str, Any]] = []
    whole = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    break
                lines.append(parse(line, _LINE))
            except FaultyJson:
                break
            whole += len(line)
    return lines, whole
