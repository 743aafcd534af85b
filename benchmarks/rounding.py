"""What the CPU quantizer takes beside `mx.quantize` on the CPU, for each mode and dtype.

    python benchmarks/rounding.py [--millions N] [--rounds N] [--threads N] [--dtypes bfloat16 ...]

Both take turns on the same random weights. Prints a table in Markdown: the least milliseconds of one core for 2^23
values, the median ratio of the pairs and its range, and with `--threads` the ratio of the times on the clock when
that many threads quantize an array each. A ratio below 1 means that this quantizer needs less.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version

import mlx.core as mx  # noqa: TID251 -- what is compared with
import numpy as np

from measuring import print_head
from mlx_publish.engine.rounding import quantize

Mode = tuple[str, int, int]
MODES: list[Mode] = [
    *(("affine", size, bits) for size in (32, 64, 128) for bits in (2, 3, 4, 5, 6, 8)),
    ("mxfp4", 32, 4),
    ("mxfp8", 32, 8),
    ("nvfp4", 16, 4),
]
UNIT = 1 << 23


@dataclass
class Pairs:
    """Seconds of each round for both."""

    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Ours over theirs, round by round."""
        return [ours / theirs for theirs, ours in zip(self.theirs, self.ours, strict=True)]


def mlx(weight: mx.array, mode: Mode) -> None:
    """Quantize with MLX, on the calling thread's own stream."""
    name, size, bits = mode
    with mx.stream(mx.new_stream(mx.cpu)):
        mx.eval(mx.quantize(weight, group_size=size, bits=bits, mode=name))


def ours(weight: mx.array, mode: Mode) -> None:
    """Quantize with the kit."""
    name, size, bits = mode
    mx.eval(quantize(weight, size, bits, name))


def compare(weight: mx.array, mode: Mode, rounds: int, pool: ThreadPoolExecutor | None, threads: int) -> Pairs:
    """Let both quantize in turns: processor seconds of one call, or with a pool the clock's of a call a thread."""
    pairs = Pairs()
    clock = time.perf_counter if pool else time.process_time
    for _ in range(rounds):
        for run, times in ((mlx, pairs.theirs), (ours, pairs.ours)):
            start = clock()
            if pool:
                for job in [pool.submit(run, weight, mode) for _ in range(threads)]:
                    job.result()
            else:
                run(weight, mode)
            times.append(clock() - start)
    return pairs


def row(dtype: mx.Dtype, mode: Mode, size: int, rounds: int, threads: int) -> list[str]:
    """One row of the table."""
    values = np.random.default_rng(0).standard_normal(size).astype(np.float32) * np.float32(0.02)
    weight = mx.array(values.reshape(-1, 2048)).astype(dtype)
    mx.eval(weight)
    one = compare(weight, mode, rounds, None, 1)
    cells = [f"{dtype}".rpartition(".")[2], " ".join(map(str, mode))]
    cells += [f"{min(times) * 1000 * UNIT / size:.1f}" for times in (one.theirs, one.ours)]
    cells += spread(one)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            cells += spread(compare(weight, mode, rounds, pool, threads))
    return cells


def spread(pairs: Pairs) -> list[str]:
    """Median and range of the ratios."""
    ratios = pairs.ratios()
    return [f"**{statistics.median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=8, help="values of a weight, in units of 2^20")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float16", "float32"])
    options = parser.parse_args()
    print(f"{platform.system()} {platform.machine()}, mlx {version('mlx')}, numpy {np.__version__}\n")
    columns = ["dtype", "mode", "MLX, ms", "mlx-publish, ms", "ratio", "range"]
    if options.threads > 1:
        columns += [f"ratio, {options.threads} threads", "range"]
    print_head(*columns)
    for name in options.dtypes:
        for mode in MODES:
            cells = row(getattr(mx, name), mode, options.millions << 20, options.rounds, options.threads)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
