"""A child of a streamed conversion that makes nothing: it reads what arrived, compares it, and notes what is finished."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlx_publish.hub.stream_folder import StreamFolder

BLOCK = 512


def on_disk(folder: Path) -> int:
    """Bytes on the disk of all files below a folder; links are not followed."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * BLOCK if path.is_symlink() or path.is_file() else 0
        except OSError:
            continue
    return total


@dataclass
class Child:
    """Follows the contract of the folder, in a thread."""

    folder: StreamFolder
    contents: Mapping[str, bytes]
    """What each weight file should have."""
    key: str = "k"
    seconds: float = 0.0
    """To work on each file once it is proven."""
    stop: threading.Event = field(default_factory=threading.Event)
    read: dict[str, int] = field(default_factory=dict)
    proven: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    peak: int = 0

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run)
        thread.start()
        return thread

    def run(self) -> None:
        """Work until all files are finished, or it is stopped."""
        journal = self.folder.journal
        if not journal.exists():
            journal.write_text(json.dumps({"key": self.key}) + "\n")
        done = {line["shard"] for line in map(json.loads, journal.read_text().splitlines()) if "shard" in line}
        open_files = {path: self.folder.shard(path).open("rb", buffering=0) for path in self.contents}
        while len(done) < len(self.contents) and not self.stop.wait(0.002):
            self.peak = max(self.peak, on_disk(self.folder.path / "shards"))
            for line in self.folder.arrived.read_text().splitlines(keepends=True):
                if not line.endswith("\n"):
                    continue
                what, path = line.rstrip("\n").split("\t")
                if path in done:
                    continue
                if what == "proven":
                    time.sleep(self.seconds)
                    self.peak = max(self.peak, on_disk(self.folder.path / "shards"))
                    with journal.open("a") as lines:
                        lines.write(json.dumps({"shard": path}) + "\n")
                    self.proven.append(path)
                    done.add(path)
                elif (count := int(what)) > self.read.get(path, 0):
                    file = open_files[path]
                    file.seek(self.read.get(path, 0))
                    data = file.read(count - file.tell())
                    if data != self.contents[path][self.read.get(path, 0) : count]:
                        self.wrong.append(f"{path} up to {count}")
                    self.read[path] = count
        for file in open_files.values():
            file.close()
