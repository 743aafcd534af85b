"""A conversion straight from the Hub beside download and conversion: time, bytes that travel, the most of the disk.

    python benchmarks/streaming.py [--rounds N] [--place FOLDER]

makes a random llama of 1.1 billion parameters in eight shards (2.2 GB) and a toy mixture whose experts lie in all of
eight, and serves them from a loopback Hub with ranges. Prints a table in Markdown. It needs 8 GB of disk. Times are the
median of the rounds; rounds take turns. The most of the disk is that of the work folder and of the Hub's cache, looked
at every 20 ms.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from large_model import TINY_LLAMA, make_llama, make_mixture
from measuring import machine_line
from tensor_file import read_tensors, write_tensors

ROOT, REPO, BLOCK, SHARDS = Path(__file__).parents[1], "acme/Large", 512, 8
ALLOWED = 100_000_000


@dataclass(frozen=True)
class Way:
    """What one way took."""

    seconds: float
    fetched: int
    most: int
    result: int
    digests: dict[str, str]


def scatter(folder: Path) -> Path:
    """Deal the tensors of a model at random over eight shards."""
    tensors = read_tensors(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    np.random.default_rng(1).shuffle(names)
    where: dict[str, str] = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        chosen = names[shard::SHARDS]
        write_tensors(folder / file, {name: tensors[name] for name in chosen})
        where |= dict.fromkeys(chosen, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def on_disk(*folders: Path) -> int:
    """Bytes that all files below these folders take of the disk; one with two names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                try:
                    status = (Path(root) / name).lstat()
                except OSError:
                    continue
                seen[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    return sum(seen.values())


@contextmanager
def hub_of(place: Path, source: Path) -> Iterator[str]:
    """Serve a folder; yields the address."""
    command = [sys.executable, str(ROOT / "tests/hub.py"), "--root", str(place), "--seed", f"{REPO}={source}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def fetched(place: Path) -> int:
    """Bytes of weight files that the Hub has sent so far."""
    requests = map(json.loads, (place / "requests.jsonl").read_text().splitlines())
    return sum(r["sent"] for r in requests if r["path"].endswith(".safetensors") and r["method"] == "GET")


def convert(address: str, hub: Path, user: Path, *, streams: bool) -> Way:
    """Convert once, by a user who has nothing yet."""
    shutil.rmtree(user, ignore_errors=True)
    user.mkdir()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "LD_PRELOAD") if name in os.environ},
        "HOME": str(user),
        "HF_HOME": str(user / "huggingface"),
        "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT / "scripts"),
    }
    command = [sys.executable, "-m", "mlx_publish", "convert", "--source", REPO, "--variants", "4bit", "--name", "r"]
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], on_disk(user))

    looking, before = threading.Thread(target=look), fetched(hub)
    looking.start()
    start = time.perf_counter()
    try:
        words = [*command, "--stream", str(streams).lower()]
        subprocess.run(words, env=environment, cwd=user, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    finally:
        done.set()
        looking.join()
    model = user / "work/r/4bit/model"
    files = {path.name: path for path in sorted(model.iterdir())}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return Way(seconds, fetched(hub) - before, most[0], on_disk(model), digests)


def compare(name: str, source: Path, place: Path, rounds: int) -> None:
    """Print the row of a model."""
    files = [path.stat().st_size for path in source.glob("*.safetensors")]
    with hub_of(place / "hub", source) as address:
        (place / "hub/requests.jsonl").touch()
        ways: dict[bool, list[Way]] = {False: [], True: []}
        for _ in range(rounds):
            for streams, taken in ways.items():
                taken.append(convert(address, place / "hub", place / "user", streams=streams))
    shutil.rmtree(place / "hub")
    if ways[True][0].digests != ways[False][0].digests:
        raise SystemExit(f"{name}: the bytes differ")
    ordinary, streamed = ways[False], ways[True]
    most, result = max(way.most for way in streamed), streamed[0].result
    promised = result + 1.1 * max(files) + ALLOWED
    ratio = statistics.median(s.seconds / o.seconds for s, o in zip(streamed, ordinary, strict=True))
    print(
        f"| {name} | {sum(files) / 1e9:.2f} | {statistics.median(w.seconds for w in ordinary):.1f} s, "
        f"{ordinary[0].most / 1e9:.2f} | {statistics.median(w.seconds for w in streamed):.1f} s, {most / 1e9:.2f} | "
        f"{promised / 1e9:.2f} | {ratio:.2f} | {max(w.fetched for w in streamed) / sum(files):.4f} | yes |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="streaming beside download and conversion")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=None)
    asked = parser.parse_args()
    print(machine_line() + "\n")
    print(
        "| model | source, GB | download and convert: time, most of the disk, GB | streamed: the same | promised | "
        "time | fetched | same bytes |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory(dir=asked.place) as name:
        place = Path(name)
        llama = make_llama(place / "llama", replace(TINY_LLAMA, shards=SHARDS))
        compare("llama of 1.1B, eight shards", llama, place, asked.rounds)
        shutil.rmtree(llama)
        compare("64 experts over eight shards", scatter(make_mixture(place / "mixture")), place, asked.rounds)


if __name__ == "__main__":
    main()
