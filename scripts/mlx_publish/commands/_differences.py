"""The table of the weights that differ from those of another conversion."""

from __future__ import annotations

from mlx_publish.commands._columns import Column, print_columns
from mlx_publish.evidence.weight_differences import TensorDifference, WeightDifferences
from mlx_publish.text.console import Console
from mlx_publish.text.numbers import significant

SHOWN = 10
"""Tensors in the table; all are in the output of --json."""
_COLUMNS = (
    Column("tensor"),
    Column("type", 3),
    Column("values", 2, right=True),
    Column("differ", right=True),
    Column("share", 1, right=True),
    Column("largest", right=True),
    Column("mean", 4, right=True),
)


def print_differences(console: Console, found: WeightDifferences) -> None:
    """Print the most different tensors, those that another conversion does not have first, and count the rest."""
    rows = [
        *((name, "-", "-", "missing", "-", "-", "-") for name in found.missing),
        *((name, "-", "-", "extra", "-", "-", "-") for name in found.extra),
        *((name, words, "-", "other shape", "-", "-", "-") for name, words in found.reshaped.items()),
        *map(_row, sorted(found.changed, key=_worst)),
    ]
    if not rows:
        return
    print_columns(console, _COLUMNS, rows[:SHOWN])
    rest = len(rows) - SHOWN + found.extra_count - len(found.extra)
    if rest > 0:
        console.say(f"and {rest:,} more; --json lists them")


def _worst(tensor: TensorDifference) -> tuple[float, ...]:
    return (-tensor.far, -tensor.unlikely, -tensor.share, -tensor.largest)


def _row(tensor: TensorDifference) -> tuple[str, ...]:
    unit = "step" if tensor.part == "codes" or tensor.dtype[0] in "UI" else "ulp"
    return (
        tensor.name,
        tensor.dtype,
        f"{tensor.values:,}",
        f"{tensor.differ:,}",
        f"{significant(100 * tensor.share, 2)} %",
        f"{tensor.largest:,} {unit}{'s' * (tensor.largest != 1)}",
        significant(tensor.mean),
    )
