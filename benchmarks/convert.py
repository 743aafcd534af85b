"""`mlx-publish convert`, with all its checks, beside the command line of mlx-lm, in one run.

    python benchmarks/convert.py [--source FOLDER] [--rounds N] [--only WORD] [--eight-billion]

takes a random llama of 1.1 billion parameters, a random mixture of 64 experts, FOLDER, the demo's source, where it is
given, and on demand a random llama of 8 billion parameters, which needs 30 GB of disk. Prints a table in Markdown.
Times are the median of the rounds with the lowest and the highest, ratios those of the pairs; rounds take turns. Memory
is that of one run before.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from large_model import make_large_llama, make_llama_of_8b, make_mixture
from measuring import Taken, machine_line, measure, print_head, ratios, spread

ROOT = Path(__file__).parents[1]
BITS = (4, 8, 6)


@dataclass(frozen=True)
class Side:
    """What one tool took for all variants, and the bytes of weights that it wrote."""

    taken: Taken
    written: int


def weights_in(folder: Path) -> int:
    """Bytes of all weight files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def mlx_lm(source: Path, bits: Sequence[int], folder: Path, *, memory: bool) -> Side:
    """One run of mlx-lm's command line a variant; seconds and bytes add up, memory is the largest."""
    runs, written = [], 0
    for width in bits:
        out = folder / f"out-{width}"
        command = [sys.executable, "-m", "mlx_lm", "convert", "--hf-path", str(source), "--mlx-path", str(out)]
        runs.append(measure([*command, "-q", "--q-bits", str(width)], memory=memory))
        written += weights_in(out)
        shutil.rmtree(out)
    together = Taken(
        sum(run.seconds for run in runs),
        sum(run.read for run in runs),
        max(run.memory for run in runs),
        sum(run.processor for run in runs),
    )
    return Side(together, written)


def ours(source: Path, bits: Sequence[int], folder: Path, *, memory: bool) -> Side:
    """One run for all variants, in a work folder that is new."""
    work = folder / "work"
    command = [sys.executable, "-m", "mlx_publish", "convert", "--source", str(source), "--work", str(work)]
    command += ["--variants", ",".join(f"{width}bit" for width in bits), "--license", "apache-2.0"]
    taken = measure(command, env={"PYTHONPATH": str(ROOT / "scripts")}, memory=memory)
    written = weights_in(work)
    shutil.rmtree(work)
    return Side(taken, written)


def row(name: str, source: Path, bits: Sequence[int], rounds: int) -> str:
    """Return the row of the table for one source and some variants."""
    theirs, mine = [], []
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        # Watching the memory takes time, of many processes more: it is not watched in what is timed.
        held = [tool(source, bits, Path(folder), memory=True).taken.memory for tool in (mlx_lm, ours)]
        for _ in range(rounds):
            theirs.append(mlx_lm(source, bits, Path(folder), memory=False))
            mine.append(ours(source, bits, Path(folder), memory=False))
    seconds = [spread([side.taken.seconds for side in sides]) for sides in (theirs, mine)]
    time = ratios([side.taken.seconds for side in mine], [side.taken.seconds for side in theirs])
    processor = ratios([side.taken.processor for side in mine], [side.taken.processor for side in theirs])
    once = weights_in(source)
    read = spread([side.taken.read / (once + side.written) for side in mine])
    return (
        f"| {name} | {len(bits)} | {seconds[0].text()} | {seconds[1].text()} | **{time.median:.2f}** "
        f"({min(time.values):.2f} to {max(time.values):.2f}) | {processor.median:.2f} | {read.median:.2f} "
        f"| {held[0] / 1e6:.0f} MB | {held[1] / 1e6:.0f} MB | **{held[1] / held[0]:.2f}** |"
    )


def sources(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Path, Sequence[Sequence[int]]]]:
    """Yield name, folder and lists of variants of each source, made where it is random."""
    made = {
        "llama, 1.1B, random": (make_large_llama, (BITS[:1], BITS)),
        "qwen3_moe, 64 experts, random": (make_mixture, (BITS[:1],)),
        "llama, 8B, random": (make_llama_of_8b, (BITS[:1],)),
    }
    for number, (name, (make, variants)) in enumerate(made.items()):
        if (options.eight_billion or "8B" not in name) and options.only in name:
            source = make(folder / f"{number}")
            yield name, source, variants
            shutil.rmtree(source)
    if options.source and options.only in options.source.name:
        yield options.source.name, options.source.resolve(), (BITS[:1], BITS)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="the demo's source, as tests/smollm2.py makes it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="a part of the name of the sources to take")
    parser.add_argument("--eight-billion", action="store_true", help="also a model of 8 billion parameters")
    options = parser.parse_args()
    print(f"{machine_line()}\n")
    print_head(
        "model",
        "variants",
        "mlx-lm",
        "mlx-publish",
        "time",
        "processor time",
        "bytes read, of source and outputs",
        "peak memory, mlx-lm",
        "mlx-publish",
        "memory",
    )
    with tempfile.TemporaryDirectory() as name:
        for title, source, variants in sources(Path(name), options):
            for bits in variants:
                print(row(title, source, bits, options.rounds), flush=True)


if __name__ == "__main__":
    main()
