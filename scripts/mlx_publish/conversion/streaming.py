"""A conversion straight from the Hub: weight files arrive while a child converts them, and go when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from mlx_publish import __version__
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.errors import Bug, Interrupted, Refused, SurroundingsError
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.digests import digest_of, sha256_of
from mlx_publish.evidence.records import to_json
from mlx_publish.hub.ranges import Remote
from mlx_publish.hub.repo import RepoFiles
from mlx_publish.hub.stream_folder import StreamFolder
from mlx_publish.hub.streaming import Fetching, wrong_copy
from mlx_publish.model.files import FileEntry
from mlx_publish.source.layout import Prepared
from mlx_publish.source.resolve import WEIGHTS, converter, source_of
from mlx_publish.source.streamed import lay_out, source_line, stream_of
from mlx_publish.text.numbers import size

_SPARE, _COPIES = 32 << 20, 3
"""Bytes besides weight files that are there at a time, and how often a tokenizer is on the disk besides the result."""
_SECONDS = 7 * 24 * 3600.0
"""A child may wait for a slow network for days; whoever fetches gives up before."""


@dataclass
class Streaming:
    """The weight files of a source on their way."""

    context: Context
    folder: StreamFolder
    paths: Sequence[str]
    """Weight files, in the order in which they are brought."""
    links: Mapping[str, Path]
    """Those that the Hub's cache has."""
    side: Sequence[str]
    """The other files of the source."""

    @classmethod
    def begin(cls, context: Context, paths: Sequence[str]) -> Streaming:
        """Lay the weight files among `paths`, each in its full size with its header; the rest arrives later."""
        weights = [path for path in paths if path.endswith(WEIGHTS)]
        folder = stream_of(context)
        side = [path for path in paths if path not in weights]
        return cls(context, folder, weights, lay_out(context, folder, weights), side)

    @property
    def there(self) -> Mapping[str, Path]:
        """Where each weight file lies."""
        return {path: self.folder.shard(path) for path in self.paths}

    def convert(self, job: Job, orders: Sequence[VariantOrder], prepared: Prepared) -> dict[str, Any]:
        """Run the job while the weight files arrive; it goes on with what an interrupted run has finished.

        Raises what `run_job` raises, and what keeps a file from arriving as the Hub has it.
        """
        context, key = self.context, self._key(orders, prepared)
        if self.folder.open(self._source, key):
            context.console.say(self._again())
        stream = {
            "arrived": str(self.folder.arrived),
            "journal": str(self.folder.journal),
            "key": key,
            "spill": str(self.folder.spill),
            "out": str(self.folder.out),
            "order": list(self.paths),
        }
        fetching, stop = self._fetching()
        job = replace(
            job,
            arguments={**job.arguments, "stream": stream},
            bounds=replace(job.bounds, seconds=max(job.bounds.seconds, _SECONDS)),
        )
        fetching.start()
        try:
            return self._run(job, fetching, stop)
        finally:
            fetching.end()

    def judge_links(self) -> None:
        """Raise `SurroundingsError` if a file of the Hub's cache is another one: then a refusal says nothing."""
        for path, there in self.links.items():
            entry = self._files.entries[path]
            if entry.sha256 and self._digest(there) != entry.sha256:
                raise wrong_copy(there, f"{self._files.repo}/{path}")

    def remove(self) -> None:
        """Remove what lies there: the conversion is in its place, or will never be."""
        self.folder.remove()

    def _run(self, job: Job, fetching: Fetching, stop: Event) -> dict[str, Any]:
        try:
            result = run_job(job, self.context.console.progress, stop=stop)
        except Interrupted:
            _check(fetching)  # it has stopped the child
            raise
        except (Refused, Bug):
            # Wrong bytes fail in any way: first it is seen whether they are the Hub's.
            fetching.prove_begun()
            _check(fetching)
            raise
        _check(fetching)
        if unproven := fetching.unproven():
            raise Bug(f"{job.op} ended before {unproven[0]} was proven")
        return result

    def _fetching(self) -> tuple[Fetching, Event]:
        files, stop = self._files, Event()
        remote = Remote(files.repo, files.commit, self.context.console.progress)
        entries: list[FileEntry] = [files.entries[path] for path in self.paths]
        return Fetching(self.folder, remote, entries, self.links, self._digest, stop.set, self._spare()), stop

    def _digest(self, path: Path) -> str:
        return self.context.work.digests_of({path.name: path})[0].sha256

    def _spare(self) -> int:
        """Return the bytes of the disk that are left of what is promised besides, when side files have their copies."""
        side = sum(self._files.entries[path].size for path in self.side)
        return min(_SPARE, max(0, 2 * _SPARE - _COPIES * side))

    def _again(self) -> str:
        total = sum(self._files.entries[path].size for path in self.paths)
        arrived = sum(self.folder.counts.get(path, 0) for path in self.paths)
        done = f"{len(self.folder.finished)} of {len(self.paths)} weight files are converted"
        return f"going on with an interrupted conversion: {done}, {size(arrived)} of {size(total)} had arrived"

    def _key(self, orders: Sequence[VariantOrder], prepared: Prepared) -> str:
        """Return the digest of all that the bytes of the variants follow from."""
        context = self.context
        return digest_of(
            {
                "source": self._source,
                "files": list(self.paths),
                "config": dict(prepared.config),
                "orders": [{**to_json(replace(order, folder="", plan="", state=""))} for order in orders],
                "plans": [sha256_of(Path(order.plan)) if order.plan else "" for order in orders],
                "tools": converter(context).versions(),
                "mlx-publish": __version__,
            }
        )

    @property
    def _files(self) -> RepoFiles:
        files = source_of(self.context).files
        assert isinstance(files, RepoFiles)  # noqa: S101  nothing else is streamed
        return files

    @property
    def _source(self) -> str:
        return source_line(self.context)


def _check(fetching: Fetching) -> None:
    """Raise what keeps files from arriving. A token that may not read any more is no verdict on the model."""
    try:
        fetching.check()
    except Refused as error:
        raise SurroundingsError(error.message, remedy=error.remedy) from error
