"""`mlx-publish convert`, with all its checks, beside the command line of mlx-lm, in one run.

    python benchmarks/convert.py [--source FOLDER] [--rounds N]

takes a random llama of 1.1 billion parameters, and FOLDER, the demo's source, where it is given. Prints a table in
Markdown; every figure is the median of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from large_model import make_large_llama
from measuring import Taken, measure, print_head

ROOT = Path(__file__).parents[1]
BITS = (4, 8, 6)


def mlx_lm(source: Path, bits: Sequence[int], folder: Path) -> Taken:
    """One run of mlx-lm's command line a variant; seconds and bytes add up, memory is the largest."""
    runs = []
    for width in bits:
        out = folder / f"out-{width}"
        command = [sys.executable, "-m", "mlx_lm", "convert", "--hf-path", str(source), "--mlx-path", str(out)]
        runs.append(measure([*command, "-q", "--q-bits", str(width)]))
        shutil.rmtree(out)
    return Taken(sum(r.seconds for r in runs), sum(r.read for r in runs), max(r.memory for r in runs))


def ours(source: Path, bits: Sequence[int], folder: Path) -> Taken:
    """One run for all variants, in a work folder that is new."""
    work = folder / "work"
    command = [sys.executable, "-m", "mlx_publish", "convert", "--source", str(source), "--work", str(work)]
    command += ["--variants", ",".join(f"{width}bit" for width in bits), "--license", "apache-2.0"]
    taken = measure(command, env={"PYTHONPATH": str(ROOT / "scripts")})
    shutil.rmtree(work)
    return taken


def compare(name: str, source: Path, rounds: int) -> Iterator[str]:
    """Rows of the table for one source."""
    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    for bits in (BITS[:1], BITS):
        theirs, mine = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=source.parent) as folder:
                theirs.append(mlx_lm(source, bits, Path(folder)))
                mine.append(ours(source, bits, Path(folder)))
        pairs = [
            [statistics.median(getattr(taken, key) for taken in side) for side in (theirs, mine)]
            for key in ("seconds", "read", "memory")
        ]
        seconds, read, memory = pairs
        yield (
            f"| {name} | {len(bits)} | {seconds[0]:.1f} / {seconds[1]:.1f} s | **{seconds[1] / seconds[0]:.2f}** "
            f"| {read[0] / size:.2f} / {read[1] / size:.2f} | {read[1] / read[0]:.2f} "
            f"| {memory[0] / 1e6:.0f} / {memory[1] / 1e6:.0f} MB | {memory[1] / memory[0]:.2f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="the demo's source, as tests/smollm2.py makes it")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}\n")
    print_head(
        "model",
        "variants",
        "mlx-lm / ours",
        "time",
        "sizes of the source read",
        "bytes",
        "peak memory",
        "memory",
    )
    with tempfile.TemporaryDirectory() as name:
        large = make_large_llama(Path(name) / "llama-1.1b")
        for title, source in (("llama, 1.1B, random", large), ("SmolLM2-135M-Instruct", options.source)):
            for row in compare(title, source.resolve(), options.rounds) if source else ():
                print(row, flush=True)


if __name__ == "__main__":
    main()
