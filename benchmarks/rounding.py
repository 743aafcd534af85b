"""What the CPU quantizer takes beside `mx.quantize` on the CPU, for each mode and dtype.

    python benchmarks/rounding.py [--millions N] [--rounds N] [--threads N] [--dtypes bfloat16 ...]

Both take turns on the same random weights. Prints a table in Markdown: the fewest milliseconds of one core for 2^23
values, the median ratio of the pairs with its range, and with `--threads` the same of the times on the clock when
that many threads quantize the weight at once. A ratio below 1 means that this quantizer needs less. The last row of a
dtype quantizes to three precisions, which this quantizer does together.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version

import mlx.core as mx  # noqa: TID251 -- what is compared with
import numpy as np

from measuring import print_head
from mlx_publish.engine.rounding import Precision, quantize_rows_each

SINGLE = [
    *(Precision(size, bits, "affine") for size in (32, 64, 128) for bits in (2, 3, 4, 5, 6, 8)),
    Precision(32, 4, "mxfp4"),
    Precision(32, 8, "mxfp8"),
    Precision(16, 4, "nvfp4"),
]
THREE = [Precision(64, bits, "affine") for bits in (4, 8, 6)]
UNIT = 1 << 23
COLUMNS = 2048


@dataclass
class Pairs:
    """Seconds of each round for both."""

    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Median and range of the ratios."""
        ratios = [ours / theirs for theirs, ours in zip(self.theirs, self.ours, strict=True)]
        return [f"**{statistics.median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"]


def mlx(weight: mx.array, precisions: Sequence[Precision]) -> None:
    """Quantize with MLX, on a stream of the calling thread."""
    with mx.stream(mx.new_stream(mx.cpu)):
        for size, bits, mode in precisions:
            mx.eval(mx.quantize(weight, group_size=size, bits=bits, mode=mode))


def ours(weight: mx.array, precisions: Sequence[Precision]) -> None:
    """Quantize with the kit."""
    integers = mx.uint32 if weight.dtype == mx.float32 else mx.uint16
    quantize_rows_each(np.array(mx.view(weight, integers), copy=False), weight.dtype, precisions)


def compare(weight: mx.array, precisions: Sequence[Precision], rounds: int, threads: int) -> Pairs:
    """Let both quantize in turns: processor seconds of one thread, or seconds on the clock of several."""
    pairs = Pairs()
    clock = time.process_time if threads == 1 else time.perf_counter
    with ThreadPoolExecutor(threads) as pool:
        for turn in range(rounds + 1):
            for run, times in ((mlx, pairs.theirs), (ours, pairs.ours)):
                start = clock()
                for job in [pool.submit(run, weight, precisions) for _ in range(threads)]:
                    job.result()
                if turn:  # the first one warms up
                    times.append(clock() - start)
    return pairs


def row(dtype: mx.Dtype, precisions: Sequence[Precision], size: int, rounds: int, threads: int) -> list[str]:
    """One row of the table."""
    values = np.random.default_rng(0).standard_normal(size).astype(np.float32) * np.float32(0.02)
    weight = mx.array(values.reshape(-1, COLUMNS)).astype(dtype)
    mx.eval(weight)
    one = compare(weight, precisions, rounds, 1)
    first = precisions[0]
    bits = ", ".join(str(precision.bits) for precision in precisions)
    cells = [f"{dtype}".rpartition(".")[2], first.mode, str(first.group_size), bits]
    cells += [f"{min(times) * 1000 * UNIT / size:.1f}" for times in (one.theirs, one.ours)]
    return [*cells, *one.cells(), *(compare(weight, precisions, rounds, threads).cells() if threads > 1 else ())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=8, help="values of a weight, in units of 2^20")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float16", "float32"])
    options = parser.parse_args()
    print(f"{platform.system()} {platform.machine()}, mlx {version('mlx')}, numpy {np.__version__}\n")
    columns = ["dtype", "mode", "group size", "bits", "MLX, ms", "mlx-publish, ms", "ratio", "range"]
    print_head(*columns, *([f"ratio, {options.threads} threads", "range"] if options.threads > 1 else []))
    for name in options.dtypes:
        for precisions in [*([single] for single in SINGLE), THREE]:
            cells = row(getattr(mx, name), precisions, options.millions << 20, options.rounds, options.threads)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
