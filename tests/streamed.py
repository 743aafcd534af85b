"""A parent of a streamed conversion: it lets the shards of a complete folder arrive in pieces, one at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlx_publish.engine import convert as converting
from mlx_publish.engine.streaming import streamed
from mlx_publish.engine.streaming_arrivals import Stream
from mlx_publish.evidence.conversion import Conversion, VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.model.normalise import normalise_config
from models import make_model
from tensor_file import read_tensors, write_tensors

KEY = "k" * 64


@dataclass
class Parent:
    """Plays the parent in a thread; `whole` is the complete source, `work` the folder of the stream."""

    whole: Path
    work: Path
    seed: int = 0
    pieces: int = 5
    """In how many pieces a shard arrives."""
    at_once: bool = False
    """Whether all shards lie there from the beginning, as from a local cache."""
    unproven: str = ""
    """A shard whose digest turns out to be wrong."""
    most_shards: int = 0
    """The most bytes on the disk of all shards together."""
    most_spilled: int = 0
    emptied: list[str] = field(default_factory=list)
    fetched: int = 0
    events: int = 0
    """How often something was said, or a shard was emptied."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def __post_init__(self) -> None:
        self.order = sorted(path.name for path in self.whole.glob("*.safetensors"))
        self.links = self.work / "links"
        self.shards = self.work / "stream" / "shards"
        self.begin()

    @property
    def stream(self) -> Stream:
        """What the job says."""
        at = self.work / "stream"
        names = {name: str(at / name) for name in ("arrived", "journal", "spill", "out")}
        return Stream(**names, key=KEY, order=self.order)

    @property
    def job(self) -> dict[str, Any]:
        return asdict(self.stream)

    def begin(self) -> None:
        """Lay out what is not there yet: headers, links, and an empty list of arrivals."""
        self.shards.mkdir(parents=True, exist_ok=True)
        self.links.mkdir(exist_ok=True)
        for path in self.whole.iterdir():
            link, shard = self.links / path.name, self.shards / path.name
            if path.name in self.order and not shard.exists():
                self._empty(path.name)
            if not link.is_symlink():
                link.symlink_to((shard if path.name in self.order else path).resolve())
        for name in self.done():  # before a child reads the headers
            self._empty(name)
        (self.work / "stream" / "arrived").write_bytes(b"")

    def __enter__(self) -> Parent:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread
        self._thread.join()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            self._all()
        except BaseException as error:  # noqa: BLE001  it is raised where the parent ends
            self._error = error

    def _all(self) -> None:
        rng = random.Random(self.seed)  # noqa: S311  any pieces will do
        done = self.done()
        for name in [name for name in self.order if name not in done]:
            for _ in self._arrive(name, rng):
                if self._stop.is_set():
                    return
                self._measure()
            if name == self.unproven:
                self._stop.wait()
                return
            self._say("proven", name)
            if not self.at_once and not self.wait(partial(self._is_done, name)):
                return
            self._measure()
            if not self.at_once:
                self._empty(name)
                self.emptied.append(name)
                self.events += 1
        self.wait(lambda: len(self.done()) == len(self.order))

    def _arrive(self, name: str, rng: random.Random) -> Any:
        data = (self.whole / name).read_bytes()
        if name == self.unproven:  # one byte of its last tensor
            data = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        size, at = len(data), 0
        header = 8 + int.from_bytes(data[:8], "little")
        count = 1 if self.at_once else self.pieces
        ends = [*sorted(rng.randint(header, size) for _ in range(count - 1)), size]
        with (self.shards / name).open("r+b") as file:
            for end in ends:
                file.seek(at)
                file.write(data[at:end])
                file.flush()
                self.fetched += end - at
                self._say(str(end), name)
                at = end
                if not self.at_once:
                    time.sleep(rng.random() * 0.02)
                yield

    def _say(self, word: str, name: str) -> None:
        with (self.work / "stream" / "arrived").open("a") as file:
            file.write(f"{word}\t{name}\n")
        self.events += 1

    def wait(self, ready: Callable[[], bool]) -> bool:
        """Wait until something is so; returns False where the parent ends before."""
        while not ready():
            self._measure()
            if self._stop.wait(0.005):
                return False
        return True

    def has_come_to(self, moment: int) -> bool:
        """Whether so much was said and emptied."""
        return self.events >= moment

    def done(self) -> list[str]:
        """The shards that the journal names."""
        journal = self.work / "stream" / "journal"
        if not journal.exists():
            return []
        lines = journal.read_text().split("\n")[:-1]
        return [json.loads(line)["shard"] for line in lines[1:]]

    def _is_done(self, name: str) -> bool:
        return name in self.done()

    def _empty(self, name: str) -> None:
        """Leave a shard's header and size alone, in the same file."""
        size = (self.whole / name).stat().st_size
        with (self.whole / name).open("rb") as file:
            start = file.read(8)
            head = start + file.read(int.from_bytes(start, "little"))
        path = self.shards / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, 0)
        os.ftruncate(descriptor, size)
        os.pwrite(descriptor, head, 0)
        os.close(descriptor)

    def _measure(self) -> None:
        self.most_shards = max(self.most_shards, taken(self.shards))
        self.most_spilled = max(self.most_spilled, taken(self.work / "stream" / "spill"))


def taken(folder: Path) -> int:
    """Bytes that the files of a folder take of the disk."""
    total = 0
    if folder.exists():
        for path in folder.iterdir():
            try:
                total += path.stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def digests(folder: Path, names: Sequence[str] = ("model*", "config.json")) -> dict[str, bytes]:
    """Names and bytes of what was made."""
    paths = [path for name in names for path in sorted(folder.rglob(name)) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


ORDERS = [
    VariantOrder("", "4bit", True, 4, 64, "affine", None, None),
    VariantOrder("", "8bit", True, 8, 32, "affine", None, None),
    VariantOrder("", "mxfp4", True, 4, 32, "mxfp4", None, None),
    VariantOrder("", "nvfp4", True, 4, 16, "nvfp4", None, "float16"),
    VariantOrder("", "mixed", True, 4, 64, "affine", "mixed_3_6", None),
    VariantOrder("", "bf16", False, None, None, None, None, "bfloat16"),
]


def made(folder: Path, arch: str, shards: int = 5, **options: Any) -> Path:
    hybrid = arch in {"lfm2", "qwen3_5"}
    options = {"layers": 4 if hybrid else 2, "tie": arch != "deepseek_v3", **options}
    source = make_model(folder, arch, shards=shards, **options)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(normalise_config(config)[0]))
    return source


def ordered(to: Path, orders: list[VariantOrder] = ORDERS) -> list[VariantOrder]:
    return [replace(order, folder=str(to / order.label)) for order in orders]


def asked(source: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((source / "config.json").read_text())
    return config


def ordinary(source: Path, to: Path, orders: list[VariantOrder] = ORDERS) -> Conversion:
    _, conversion = converting._convert(source, asked(source), ordered(to, orders), lambda _: None, keep=False)
    return conversion


def by_stream(parent: Parent, to: Path, orders: list[VariantOrder] = ORDERS) -> Conversion:
    with parent:
        return streamed(parent.links, asked(parent.whole), ordered(to, orders), parent.stream, lambda _: None)


def scattered(source: Path, shards: int, seed: int = 1) -> Path:
    """Deal the tensors of a source anew, at random, so that what belongs together lies in several shards."""
    tensors: dict[str, NDArray[Any]] = {}
    for path in sorted(source.glob("*.safetensors")):
        tensors |= read_tensors(path)
        path.unlink()
    return dealt(source, tensors, shards, seed)


def dealt(source: Path, tensors: Mapping[str, NDArray[Any]], shards: int, seed: int = 1) -> Path:
    names = sorted(tensors)
    random.Random(seed).shuffle(names)  # noqa: S311  any order will do
    for path in source.glob("*.safetensors*"):
        path.unlink()
    for number in range(shards):
        part = {name: tensors[name] for name in names[number::shards]}
        write_tensors(source / f"model-{number + 1:05}-of-{shards:05}.safetensors", part)
    return source


def child(links: Path, config: dict[str, Any], orders: list[VariantOrder], stream: Stream, answer: Path) -> None:
    """Convert in a process of its own."""
    conversion = streamed(links, config, orders, stream, lambda _: None)
    answer.write_text(repr(to_json(conversion)))


def lived(
    parent: Parent,
    to: Path,
    orders: list[VariantOrder],
    seconds: float | None,
    answer: Path,
    until: Callable[[], bool] | None = None,
) -> bool:
    """Let a child convert until something is so, and for so long; returns whether it came to its end."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["mlx_publish.engine.streaming", "transformers"])
    process = processes.Process(
        target=child, args=(parent.links, asked(parent.whole), ordered(to, orders), parent.stream, answer)
    )
    parent.begin()
    with parent:
        process.start()
        if until:
            assert parent.wait(lambda: until() or process.exitcode is not None)
        process.join(seconds)
        ended = process.exitcode is not None
        process.kill()
        process.join()
    if ended:
        assert process.exitcode == 0
    return ended


def by_stream_again(parent: Parent, to: Path, orders: list[VariantOrder]) -> Any:
    parent.begin()
    return by_stream(parent, to, orders)
