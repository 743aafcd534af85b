"""The short table at the end of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlx_publish.evidence.measurements import SpeedSpec
from mlx_publish.evidence.report import unmeasured
from mlx_publish.evidence.stages import CONVERT, MEASURED
from mlx_publish.recipes.recipe import Variant
from mlx_publish.text.console import width
from mlx_publish.text.harmless import harmless, plain
from mlx_publish.text.numbers import significant, size
from mlx_publish.work import Work

_COLUMNS = ("variant", "size", "bits/weight", "mean KLD", "gen. tokens/s", "answer")
_ANSWER = 60  # characters; the whole answer stands on the card


def print_table(out: TextIO, variants: Sequence[Variant], work: Work) -> None:
    """Print one row for each variant, and below where its card is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("variant", "answer") else "right")
    for variant in variants:
        # Text and not str: a model's answer may hold rich's markup.
        table.add_row(*(Text(cell) for cell in _cells(variant.label, work)))
    console = print_plainly(out, table)
    for variant in variants:
        reports = [report for name in ("inspect", "convert", "smoke") if (report := work.report(variant.label, name))]
        if why := unmeasured(reports):
            console.print(Text(f"  {variant.label}: {why}"), soft_wrap=True)
        card = work.model(variant.label) / "README.md"
        if card.exists():
            console.print(Text(f"  card of {variant.label}: {_near(card)}"), soft_wrap=True)
        if (
            (report := work.report(variant.label, "upload"))
            and report.verdict == "pass"
            and report.result.get("published", True)
        ):
            place = report.result.get("folder") or f"{report.result['repo']} at {report.result['tag']}"
            console.print(
                Text(f"  published:    {_near(Path(place)) if 'folder' in report.result else place}"),
                soft_wrap=True,
            )


def print_plainly(out: TextIO, table: Table) -> Console:
    """Print a table without colours, as wide as the terminal, and return what printed it."""
    console = Console(file=out, width=width(), highlight=False, color_system=None)
    with console.capture() as held:
        console.print(table)
    out.write(harmless(held.get()))
    return console


def _cells(label: str, work: Work) -> tuple[str, ...]:
    reports = {name: work.report(label, name) for name in (CONVERT.name, *MEASURED)}
    results = {name: report.result for name, report in reports.items() if report and report.verdict == "pass"}
    convert, smoke = results.get("convert"), results.get("smoke")
    fidelity, benchmark = results.get("fidelity"), results.get("benchmark")
    answer = " ".join(plain(smoke["exchange"]["answer"]).split()) if smoke else "-"
    speed = "-"
    if benchmark and not benchmark["not_measured"]:
        speed = significant(SpeedSpec.model_validate(benchmark).headline.generation_tps.median)
        speed += " (CPU)" if benchmark["device"] == "cpu" else ""
    return (
        label,
        size(convert["weight_bytes"]) if convert else "-",
        f"{convert['bits_per_weight']:.2f}" if convert else "-",
        significant(fidelity["mean_kld"]) if fidelity and "mean_kld" in fidelity else "-",
        speed,
        answer if len(answer) <= _ANSWER else f"{answer[: _ANSWER - 1]}…",
    )


def _near(path: Path) -> str:
    """A path as it is shortest from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
