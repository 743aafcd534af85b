"""Which units can be made, and which shards may go: by what has arrived, whatever the order of the model."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mlx_publish.engine.streaming_arrivals import ArrivingFiles
from mlx_publish.engine.streaming_units import Unit


@dataclass
class Schedule:
    """The state of all units and shards."""

    units: Sequence[Unit]
    files: ArrivingFiles
    order: Sequence[str]
    ready: deque[int] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)
    passed: list[str] = field(default_factory=list)
    """Shards that are done, or are just being finished."""
    leaving: set[str] = field(default_factory=set)
    """Those that are just being finished."""

    def __post_init__(self) -> None:
        """Find which tensors each unit waits for. `Refused` where one of them is in no shard."""
        self._users: dict[str, list[int]] = {}
        self._missing: dict[int, set[str]] = {}
        self._shards: dict[int, set[str]] = {}
        self._busy = Counter[str]()
        """Units by shard that are to be made next, or are being made."""
        self._held: list[int] = []
        for number, unit in enumerate(self.units):
            arriving = {name: shard for name in unit.tensors if (shard := self.files.shard_of(name))}
            self._shards[number] = set(arriving.values())
            self._missing[number] = set(arriving)
            for name in arriving:
                self._users.setdefault(name, []).append(number)
            if not arriving:
                self._busy[""] += 1
                self.ready.append(number)
        self._coming: dict[str, deque[tuple[int, str]]] = {path: deque() for path in self.order}
        for name in self._users:
            tensor = self.files.stored[name]
            self._coming[self.files.shard_of(name)].append((tensor.offset + tensor.info.nbytes, name))
        self._coming = {path: deque(sorted(tensors)) for path, tensors in self._coming.items()}

    def resume(self, passed: Sequence[str], spilled: Iterable[str]) -> list[int]:
        """Go on behind shards that are done, with tensors that were spilled; returns the units that are final."""
        self.passed = list(passed)
        final = [number for number, shards in self._shards.items() if shards and shards <= set(passed)]
        self.done.update(final)
        for path in passed:
            self._coming[path].clear()
        for name in spilled:
            self._arrived(name)
        return final

    def hear(self) -> None:
        """Look what has arrived."""
        looked = self.files.arrivals.look()
        for shard in [shard for shard in self.order if shard in looked and shard not in self.passed]:
            coming = self._coming[shard]
            while coming and coming[0][0] <= self.files.arrivals.bytes[shard]:
                self._arrived(coming.popleft()[1])

    def _arrived(self, name: str) -> None:
        for number in self._users.get(name, ()):
            self._missing[number].discard(name)
            if not self._missing[number] and number not in self.done:
                self._busy.update(self._shards[number])
                self.ready.append(number)

    def going(self) -> bool:
        """Return whether something is left to do."""
        return len(self.passed) < len(self.order) or bool(self.leaving or self.ready or +self._busy)

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return those of some spilled tensors that nobody needs any more."""
        return [name for name in names if all(number in self.done for number in self._users.get(name, ()))]

    def next(self) -> int | None:
        """Return the next unit to be made; those of a shard that is just being finished wait."""
        while self.ready:
            number = self.ready.popleft()
            if not self._shards[number] & self.leaving:
                return number
            self._held.append(number)
        return None

    def made(self, number: int) -> None:
        """Note that a unit is made and written."""
        self.done.add(number)
        self._busy.subtract(self._shards[number] or [""])

    def to_finish(self) -> str | None:
        """Return a shard that is proven, and of which everything is made that can be."""
        proven = self.files.arrivals.proven.difference(self.passed)
        able = (shard for shard in self.order if shard in proven)
        return next((shard for shard in able if not self._coming[shard] and not self._busy[shard]), None)

    def leave(self, shard: str) -> tuple[list[int], list[str], list[str]]:
        """Let a shard go.

        Returns the units that are final by it, tensors of it that others need, and spilled ones that nobody needs any
        more. A unit that is made but of which another shard is not done yet is made again after a kill, so its tensors
        are needed.
        """
        self.passed.append(shard)
        self.leaving.add(shard)
        passed = set(self.passed)
        final = [number for number, shards in self._shards.items() if shard in shards and shards <= passed]
        needed = [
            name
            for name, users in self._users.items()
            if self.files.shard_of(name) == shard and any(not self._shards[number] <= passed for number in users)
        ]
        touched = {name for number in final for name in self.units[number].tensors if name in self._users}
        free = [
            name
            for name in touched
            if self.files.shard_of(name) != shard
            and all(self._shards[number] <= passed for number in self._users[name])
        ]
        return final, needed, free

    def left(self, shard: str) -> None:
        """Note that a shard is done; what waited for that is ready again."""
        self.leaving.discard(shard)
        self.ready.extend(self._held)
        self._held.clear()
