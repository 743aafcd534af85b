"""What `mlx-publish fidelity` takes for one variant and for two, and what a second run takes, which knows the source.

    python benchmarks/fidelity.py --source FOLDER [--tokens N] [--rounds N]

compares variants of 4 and of 8 bits with the model in FOLDER, the demo's for example. They are converted beforehand,
by a run that knows nothing of a comparison, so that the first run has to read the source. Prints a table in Markdown;
every figure is the median of the rounds, which take turns. The last line is what the second variant adds to the first
run, as a share of the run for one, round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import Taken, machine_line, measure, print_head, spread

ROOT = Path(__file__).parents[1]
VARIANTS = ("4bit", "8bit")
# How far the variants are from their source is not the question here.
ANYTHING = {"max_mean_kld": 1000, "min_same_first_choice": 0, "max_perplexity_ratio": 1000}


@dataclass(frozen=True)
class Compared:
    """Two runs after each other, and whether the second one read the source again."""

    first: Taken
    second: Taken
    again: bool


def run(folder: Path, *words: str) -> Taken:
    """One command on the recipe in `folder`."""
    recipe = ("--recipe", str(folder / "r.yaml"), "--work", str(folder / "work"))
    return measure([sys.executable, "-m", "mlx_publish", *words, *recipe], env={"PYTHONPATH": str(ROOT / "scripts")})


def compare(source: Path, variants: Sequence[str], tokens: int) -> Compared:
    """Convert the variants into a new work folder, compare them, and compare them again."""
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        folder = Path(name)
        fidelity = {"tokens": tokens, **ANYTHING}
        keys = {"source": str(source), "license": "apache-2.0", "variants": list(variants), "fidelity": fidelity}
        (folder / "r.yaml").write_text(json.dumps(keys))
        run(folder, "convert")
        first, before = run(folder, "fidelity"), read_at(folder)
        second = run(folder, "fidelity", "--force")
        return Compared(first, second, read_at(folder) != before)


def read_at(folder: Path) -> list[int]:
    """When the source's logits were computed: the log and the files of the store."""
    place = folder / "work" / "r" / "source"
    found = [path.stat().st_mtime_ns for path in (place / "reference.log", *sorted((place / "reference").iterdir()))]
    if len(found) < 3:
        raise RuntimeError(f"there are no logits in {place}")
    return found


def rows(source: Path, tokens: int, rounds: int) -> Iterator[str]:
    """Rows of the table: one variant, then both."""
    found: dict[int, list[Compared]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, taken in found.items():
            taken.append(compare(source, VARIANTS[:count], tokens))
    seconds = {count: spread([one.first.seconds for one in taken]) for count, taken in found.items()}
    for count, taken in found.items():
        second = statistics.median(one.second.seconds for one in taken)
        read = statistics.median(one.second.read / one.first.read for one in taken)
        processor = spread([one.first.processor for one in taken])
        memory = max(one.first.memory for one in taken)
        yield (
            f"| {source.name} | {count} | {seconds[count].text(digits=1)} | {processor.text(digits=1)} "
            f"| {second:.1f} s | {'yes' if any(one.again for one in taken) else 'no'} | {read:.2f} "
            f"| {memory / 1e6:.0f} MB |"
        )
    added = spread([(two - one) / one for one, two in zip(seconds[1].values, seconds[2].values, strict=True)])
    yield f"\nThe second variant costs {added.text(unit='', digits=2)} of the run for one."


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="the demo's source, as tests/smollm2.py makes it")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine_line()}; {options.tokens} tokens\n")
    print_head(
        "model",
        "variants",
        "first run",
        "processor time",
        "second run",
        "source read again",
        "bytes read, second / first",
        "peak memory",
    )
    for row in rows(options.source.resolve(), options.tokens, options.rounds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
