"""Make units with all cores: rows are read, judged, made for each variant and written where they belong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import library
from mlx_publish.engine.convert import AHEAD, Output, _work, _workers, planned
from mlx_publish.engine.making import Way, cores, cpu_stream, judged
from mlx_publish.engine.placed_writer import PlacedWriter
from mlx_publish.engine.rows import ComputedRows, Rows, bits_of, count, pieces
from mlx_publish.engine.source_model import SourceModel
from mlx_publish.engine.streaming_journal import Candidate, Verdict
from mlx_publish.engine.streaming_notes import Notes, digest
from mlx_publish.engine.streaming_packed import Packed
from mlx_publish.engine.streaming_units import Computed, Head, Idle, Stored, StreamedParameters, Unit, Whole
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder


@dataclass(frozen=True)
class Target:
    """A variant on its way."""

    order: VariantOrder
    output: Output
    writer: PlacedWriter
    places: Mapping[str, int]
    """The positions of its tensors in the order of the model."""


@dataclass
class _Seen:
    """What is to know of some rows, when they are written."""

    path: str = ""
    """The parameter of the source; empty where there is none."""
    zero: bool = False
    zeros: dict[str, dict[str, bool]] = field(default_factory=dict)
    """By variant and tensor."""
    overflow: dict[str, Candidate] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    writing: list[Future[None]] = field(default_factory=list)


@dataclass
class _Doing:
    """A unit that is being made."""

    number: int
    left: int = 1
    """Parts of it that are on their way, and one for those that are not begun yet."""
    zero: dict[str, bool] = field(default_factory=dict)
    zeros: dict[str, dict[str, bool]] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    decided: dict[str, dict[str, Way]] = field(default_factory=dict)
    """By parameter and variant, how it is made where its numbers decided that."""

    def take(self, seen: _Seen) -> None:
        """Add what is known of a part."""
        if seen.path:
            self.zero[seen.path] = self.zero.get(seen.path, True) and seen.zero
        for label, by_name in seen.zeros.items():
            mine = self.zeros.setdefault(label, {})
            for name, zero in by_name.items():
                mine[name] = mine.get(name, True) and zero
        for label, found in seen.overflow.items():
            self.verdict.overflow[label] = min(found, self.verdict.overflow.get(label, found))
        self.verdict.notes |= seen.notes

    def finish(self) -> Verdict:
        """Return the verdict of the whole unit."""
        self.verdict.zero = [path for path, zero in self.zero.items() if zero]
        zeros = {label: [name for name, zero in found.items() if zero] for label, found in self.zeros.items()}
        self.verdict.zeros = {label: names for label, names in zeros.items() if names}
        return self.verdict


@dataclass
class Making:
    """Hands the parts of units to the cores, a bounded number at a time."""

    source: SourceModel
    parameters: StreamedParameters
    targets: Sequence[Target]
    notes: Notes
    packed: Packed
    finished: Callable[[int, Verdict], None]
    """Called with the number of a unit and its verdict when all of it is written."""
    _waiting: deque[tuple[_Doing, Future[_Seen]]] = field(default_factory=deque)

    def begin(self, number: int, unit: Unit) -> None:
        """Begin a unit; some of its last parts are still on their way afterwards."""
        doing = _Doing(number)
        if isinstance(unit, Stored):
            self._rows(doing, unit.path, unit.rows, unit.first, unit.count)
        elif isinstance(unit, Computed):
            self._computed(doing, unit)
        elif isinstance(unit, Whole):
            self._module(doing, unit)
        elif isinstance(unit, Head):
            self._submit(doing, self._head, unit)
        elif isinstance(unit, Idle):
            self._submit(doing, self._idle, unit)
        else:
            self._submit(doing, self._proven, unit.name, ())
        doing.left -= 1
        self._perhaps_finished(doing)

    def drain(self, most: int) -> bool:
        """Wait until at most so many parts are on their way; returns whether there was one to wait for."""
        waited = False
        while len(self._waiting) > most:
            doing, future = self._waiting.popleft()
            seen = future.result()
            for writing in seen.writing:
                writing.result()
            doing.take(seen)
            doing.left -= 1
            self._perhaps_finished(doing)
            waited = True
        return waited

    def drain_one(self) -> bool:
        """Wait for the oldest part; returns whether there is one."""
        return self.drain(max(0, len(self._waiting) - 1))

    def stop(self) -> None:
        """Let go of all parts, so that nothing is written afterwards."""
        futures = [future for _, future in self._waiting]
        self._waiting.clear()
        for future in futures:
            future.cancel()
        wait(futures)

    def _perhaps_finished(self, doing: _Doing) -> None:
        if not doing.left:
            for path, ways in doing.decided.items():
                doing.verdict.notes |= self.packed.told(path, ways)
            verdict = doing.finish()
            self.notes.take(verdict.notes)
            self.finished(doing.number, verdict)

    def _submit(self, doing: _Doing, work: Callable[..., _Seen], *arguments: Any) -> None:
        doing.left += 1
        self._waiting.append((doing, _workers().submit(work, *arguments)))
        self.drain(cores() + AHEAD)

    def _rows(self, doing: _Doing, path: str, rows: Rows, at: int, number: int) -> None:
        """Hand over the rows of a part of a parameter, which begins at its row `at` of a `number`."""
        targets = [target for target in self.targets if path in target.output.ways]
        ways = {target.output.label: target.output.ways[path] for target in targets}
        if path in self.packed.paths:
            ways, notes, weights = self.packed.decide(path, ways)
            doing.decided[path] = ways
            doing.take(_Seen(notes=notes))
            for weight in weights:
                self._submit(doing, self._proven, weight, list(ways.values()))
        makers = [(target, ways[target.output.label]) for target in targets]
        for first, last in pieces(rows):
            self._submit(doing, _piece, path, rows, (first, last), at, number, makers)
        if path in self.notes.paths:
            self._submit(doing, self._noted, path, rows)

    def _computed(self, doing: _Doing, unit: Computed) -> None:
        arrays = dict(self.parameters.computed(unit.paths))
        for path in unit.paths:
            array = arrays.pop(path)
            mx.eval(array)
            rows = ComputedRows(array)
            self._rows(doing, path, rows, 0, count(rows.shape)[0])

    def _module(self, doing: _Doing, unit: Whole) -> None:
        target = next(target for target in self.targets if target.order.label == unit.label)
        arrays = dict(target.output.whole[unit.module])
        if unit.paths:
            made = planned(self.source, target.order, self.parameters.in_memory(unit.paths))
            made_arrays = dict(tree_flatten(made.model.parameters()))
            arrays = {name: made_arrays[name] for name in arrays}
            del made, made_arrays
        mx.eval(arrays)
        for index, (name, array) in enumerate(arrays.items()):
            doing.take(_whole(target, name, array, index))

    def _noted(self, path: str, rows: Rows) -> _Seen:
        return _Seen(notes=self.notes.of(path, rows))

    def _proven(self, name: str, ways: Sequence[Way]) -> _Seen:
        return _Seen(notes=self.packed.prove(name, ways))

    def _idle(self, unit: Idle) -> _Seen:
        with mx.stream(cpu_stream()):
            if mx.any(self.parameters.as_stored(unit.name) != 0).item():
                raise Refused(
                    f"{library()} cannot build the model: its class has no parameter for {unit.name[:200]}, "
                    "which is not zeros",
                    check="builds",
                    remedy=f"Compare config.json with the weights; a newer {library()} may know the architecture "
                    "better.",
                )
        return _Seen()

    def _head(self, unit: Head) -> _Seen:
        name = unit.name
        if self.parameters.is_stored(name):
            rows: Rows = self.parameters.stored_rows(name)
        else:
            rows = ComputedRows(self.parameters.whole(name))
        return _Seen(notes={f"head {name}": digest(rows)})


def _piece(
    path: str, rows: Rows, part: tuple[int, int], at: int, number: int, makers: Sequence[tuple[Target, Way]]
) -> _Seen:
    """Make and write some rows for all variants. `Refused` if one of their numbers is none."""
    first, last = part
    source, made = _work(path, rows, first, last, None, [way for _, way in makers])
    seen = _Seen(path, source.largest == 0)
    for (target, _), of in zip(makers, made, strict=True):
        label = target.output.label
        seen.zeros[label] = {piece.name: piece.largest == 0 for piece in of}
        for index, piece in enumerate(of):
            if not piece.finite:
                found = (target.places[piece.name], at + first, index, piece.name)
                seen.overflow[label] = min(found, seen.overflow.get(label, found))
            elif label not in seen.overflow:
                written = target.writer.write_rows(piece.name, piece.bits, at + first, at + last, number)
                seen.writing.append(written)
    return seen


def _whole(target: Target, name: str, array: mx.array, index: int) -> _Seen:
    """Write a tensor that the library made."""
    piece = judged(name, bits_of(array), array.dtype)
    label = target.output.label
    seen = _Seen(zeros={label: {name: array.ndim > 1 and bool(array.size) and piece.largest == 0}})
    if piece.finite:
        target.writer.write(name, piece.bits)
    else:
        seen.overflow[label] = (target.places[name], 0, index, name)
    return seen
