"""Conversion of a source that arrives shard by shard and goes again: the files of the ordinary way, in another order.

A unit of work is made as soon as its tensors lie there, and written at its place. A shard is done when all that is
made of it is on the disk, what waits for tensors of other shards is put aside, and the parent has proven its digest;
then the journal says so, and the parent may empty it. What was made of a shard that was never proven does not count:
the next run makes it again, at the same places.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from mlx_publish.engine.accounting import account
from mlx_publish.engine.backends import backend
from mlx_publish.engine.convert import _output
from mlx_publish.engine.effective import hyperparameters
from mlx_publish.engine.made_on import made_on
from mlx_publish.engine.placed_writer import PlacedWriter
from mlx_publish.engine.rows import count
from mlx_publish.engine.source_model import SourceModel, load_source
from mlx_publish.engine.streaming_arrivals import ArrivingFiles, HeadersAlone, Stream
from mlx_publish.engine.streaming_journal import Journal, Verdict
from mlx_publish.engine.streaming_making import Making, Target
from mlx_publish.engine.streaming_notes import Notes
from mlx_publish.engine.streaming_packed import Packed, Planned
from mlx_publish.engine.streaming_result import Places, Result
from mlx_publish.engine.streaming_schedule import Schedule
from mlx_publish.engine.streaming_spill import Spill
from mlx_publish.engine.streaming_units import Computed, Head, Idle, Stored, StreamedParameters, Unit, Whole, wholes
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.conversion import Conversion, TokenizerComparison, VariantOrder, Written
from mlx_publish.model.config import ModelConfig
from mlx_publish.text.progress import Step, Tell

_PAUSE = 0.02
"""Seconds between two looks at what has arrived."""


def streamed(
    source: Path, asked: dict[str, Any], variants: Sequence[VariantOrder], stream: Stream, progress: Tell
) -> Conversion:
    """Convert the folder `source`, whose shards arrive, to all variants.

    Raises `Refused` if mlx-lm cannot build it without its numbers, or where one of them is none.
    """
    progress("building the model")
    out = Path(stream.out)
    files = ArrivingFiles(source, stream)
    stub = HeadersAlone(files, source, out.parent / "headers")
    with ExitStack() as stack, _looked_at_nothing(stub):
        built, config = load_source(source, stub=stub), ModelConfig(asked)
        hyper = hyperparameters(built.model, config)
        conversion = _Streamed(built, files, stub, config, variants, stream, stack)
        written, dead = conversion.run(progress)
        tied = conversion.notes.tied
        result = Conversion(
            hyper,
            account(built, config, lambda name, _: tied(name)),
            conversion.notes.norms(),
            dead,
            written,
            TokenizerComparison(),
            made_on=made_on(),
            packed=conversion.packed.read(conversion.notes.taken),
        )
    for order in variants:
        _put(out / order.label, Path(order.folder))
    return result


@contextmanager
def _looked_at_nothing(stub: HeadersAlone) -> Iterator[None]:
    """Turn the failure of an evaluation that wanted to read the stub into `Refused`."""
    try:
        yield
    except RuntimeError as error:
        if "[read]" in str(error):
            raise stub.refused() from error
        raise


def _put(folder: Path, target: Path) -> None:
    """Give files a second name in the folder that was ordered, so that they are lost with neither alone."""
    if folder.resolve() == target.resolve():
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        (target / path.name).unlink(missing_ok=True)
        try:
            os.link(path, target / path.name)
        except OSError:  # not every file system has links
            path.rename(target / path.name)


class _Streamed:
    """All variants of a source that arrives."""

    def __init__(
        self,
        built: SourceModel,
        files: ArrivingFiles,
        stub: HeadersAlone,
        config: ModelConfig,
        variants: Sequence[VariantOrder],
        stream: Stream,
        stack: ExitStack,
    ) -> None:
        self._files, self._stub = files, stub
        self._parameters = StreamedParameters(built, stub)
        rounded: dict[str, dict[str, mx.Dtype]] = {order.label: {} for order in variants}
        repacking = {order.label: Planned() for order in variants}
        orders = [replace(order, folder=str(Path(stream.out) / order.label)) for order in variants]
        self._outputs = [
            _output(built, order, self._parameters, PlacedWriter, rounded[order.label], repacking[order.label].plan)
            for order in orders
        ]
        self._stub.check()
        places = Places(self._parameters, self._outputs)
        self._targets = [
            Target(order, output, stack.enter_context(cast("PlacedWriter", output.writer)), places.of[output.label])
            for order, output in zip(orders, self._outputs, strict=True)
        ]
        self.notes = Notes(built, config, rounded)
        self.packed = Packed(self._parameters, repacking)
        self._units: list[Unit] = [
            *self.packed.units(),
            *self._parameters.units_of(self.notes.paths | self.packed.paths),
            *wholes(self._parameters, self._outputs),
            *(Head(tuple(sorted(files.parts(name))), name) for name in self.notes.heads),
            *(Idle((name,), name) for name in sorted(built.idle)),
        ]
        self._journal = Journal(Path(stream.journal), stream.key, len(self._units))
        self._schedule = Schedule(self._units, files, stream.order)
        self._making = Making(built, self._parameters, self._targets, self.notes, self.packed, self._finished)
        self._verdicts: dict[int, Verdict] = {}
        self._finishing = stack.enter_context(ThreadPoolExecutor(1))
        self._leaving: tuple[str, Future[None]] | None = None
        self._spill = Spill(Path(stream.spill), self._journal.spilled)
        self._done = self._total = 0
        self._resume(stream)

    def _resume(self, stream: Stream) -> None:
        """Go on behind the shards that the journal names."""
        journal, files = self._journal, self._files
        self._verdicts |= journal.verdicts
        for verdict in journal.verdicts.values():
            self.notes.take(verdict.notes)
        if journal.shards and any(target.writer.fresh for target in self._targets):
            raise SurroundingsError(
                f"files of the interrupted conversion are missing in {stream.out}",
                remedy=f"Remove {Path(stream.out).parent}, then run the same command again.",
            )
        files.gone.update(journal.shards)
        files.spilled.update({name: self._spill.path(name) for name in self._spill.places})
        final = self._schedule.resume(journal.shards, self._spill.places)
        for number in final:
            self._verdicts.setdefault(number, Verdict())
            self._lies_there(self._units[number])
        self._drop(self._schedule.unused(self._spill.places))
        if any(not self._spill.path(name)[0].exists() for name in self._spill.places):
            raise SurroundingsError(
                f"files of the interrupted conversion are missing in {stream.spill}",
                remedy=f"Remove {Path(stream.out).parent}, then run the same command again.",
            )
        self._total = sum(self._bytes(unit) for unit in self._units)
        self._done = sum(self._bytes(self._units[number]) for number in final)

    def _lies_there(self, unit: Unit) -> None:
        """Tell the writers what was made of a unit before."""
        for target in self._targets:
            output = target.output
            if isinstance(unit, Whole) and unit.label == output.label:
                for name, _ in output.whole[unit.module]:
                    target.writer.written(name, 0, 1, 1)
            elif isinstance(unit, Stored) and unit.path in output.ways:
                last = unit.first + count(unit.rows.shape)[0]
                for name in output.ways[unit.path].names:
                    target.writer.written(name, unit.first, last, unit.count)
            elif isinstance(unit, Computed):
                names = [name for path in unit.paths if path in output.ways for name in output.ways[path].names]
                for name in names:
                    target.writer.written(name, 0, 1, 1)

    def _bytes(self, unit: Unit) -> int:
        return sum(self._files.stored[name].info.nbytes for name in unit.tensors)

    def run(self, progress: Tell) -> tuple[dict[str, Written], list[str]]:
        """Convert everything; returns what became of the variants, and the source's dead weights."""
        what = "converting " + ", ".join(target.output.label for target in self._targets)
        try:
            while self._schedule.going():
                self._schedule.hear()
                progress(Step(what, self._done, self._total))
                self._finish_shard()
                number = self._schedule.next()
                if number is not None:
                    self._making.begin(number, self._units[number])
                    self._done += self._bytes(self._units[number])
                elif not self._making.drain_one():
                    self._rest()
        finally:
            self._making.stop()
        return self._results()

    def _rest(self) -> None:
        if self._leaving:
            wait([self._leaving[1]], timeout=_PAUSE)
        else:
            time.sleep(_PAUSE)

    def _finished(self, number: int, verdict: Verdict) -> None:
        self._verdicts[number] = verdict
        self._schedule.made(number)

    def _finish_shard(self) -> None:
        """Begin to bring all that was made of a shard to the disk, one shard at a time, while others are made."""
        if self._leaving:
            shard, finishing = self._leaving
            if not finishing.done():
                return
            finishing.result()
            self._leaving = None
            self._schedule.left(shard)
        if (following := self._schedule.to_finish()) is not None:
            self._stub.check()
            final, needed, free = self._schedule.leave(following)
            verdicts = {number: self._verdicts[number] for number in final}
            self._leaving = following, self._finishing.submit(self._finish, following, needed, verdicts, free)

    def _finish(self, shard: str, needed: Sequence[str], verdicts: Mapping[int, Verdict], free: Sequence[str]) -> None:
        """Put aside what others need of a shard, bring all to the disk, and say so. Nobody reads it meanwhile."""
        file = str(self._schedule.order.index(shard))
        places = self._spill.put(file, [self._files.stored[name] for name in needed], self._files)
        self._files.spilled.update({name: self._spill.path(name) for name in places})
        for target in self._targets:
            target.writer.sync()
        self._files.leave(shard)
        self._journal.add(shard, verdicts, places)
        self._drop(free)

    def _drop(self, names: Sequence[str]) -> None:
        files = {self._spill.path(name)[0] for name in names}
        self._spill.drop(names)
        for name in names:
            self._files.spilled.pop(name, None)
        for path in files:
            if not path.exists():  # an open file keeps its space
                self._files.close(path)

    def _results(self) -> tuple[dict[str, Written], list[str]]:
        self._stub.check()
        result = Result(self._parameters, self._units, self._verdicts)
        dead, written = result.dead(), {}
        for target in self._targets:
            output = target.output
            result.tell(output, target.places)
            output.routing = self.notes.routing(output.label, output.routing)
            if not output.overflows:
                target.writer.finish()
                backend().save_config(output.config, output.folder / "config.json")
            repacked = self.packed.plans[output.label].told(self.notes.taken, output.label)
            written[output.label] = replace(output.written(dead), repacked=repacked)
        return written, dead
