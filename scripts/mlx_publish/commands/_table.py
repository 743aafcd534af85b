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
from mlx_publish.evidence.results import Converted, Fidelity, PublishedFolder, PublishedRepo, Smoke
from mlx_publish.evidence.stages import CONVERT, MEASURED, NAMES
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
        reports = [report for name in NAMES if (report := work.report(variant.label, name))]
        if why := unmeasured(reports):
            console.print(Text(f"  {variant.label}: {why}"), soft_wrap=True)
        card = work.model(variant.label) / "README.md"
        if card.exists():
            console.print(Text(f"  card of {variant.label}: {_near(card)}"), soft_wrap=True)
        report = work.report(variant.label, "upload")
        if report is None or report.verdict != "pass":
            continue
        if folder := report.read(PublishedFolder):
            console.print(Text(f"  published:    {_near(Path(folder.folder))}"), soft_wrap=True)
        elif repo := report.read(PublishedRepo):
            console.print(Text(f"  published:    {repo.repo} at {repo.tag}"), soft_wrap=True)


def print_plainly(out: TextIO, table: Table) -> Console:
    """Print a table without colours, as wide as the terminal, and return what printed it."""
    console = Console(file=out, width=width(), highlight=False, color_system=None)
    with console.capture() as held:
        console.print(table)
    out.write(harmless(held.get()))
    return console


def _cells(label: str, work: Work) -> tuple[str, ...]:
    reports = {name: work.report(label, name) for name in (CONVERT.name, *MEASURED)}
    passed = {name: report for name, report in reports.items() if report and report.verdict == "pass"}
    converted = passed["convert"].read(Converted) if "convert" in passed else None
    smoke = passed["smoke"].read(Smoke) if "smoke" in passed else None
    fidelity = passed["fidelity"].read(Fidelity) if "fidelity" in passed else None
    benchmark, speed = passed.get("benchmark"), "-"
    if benchmark and not benchmark.not_measured:
        measured = SpeedSpec.model_validate(benchmark.result)
        speed = significant(measured.headline.generation_tps.median) + (" (CPU)" if measured.device == "cpu" else "")
    answer = " ".join(plain(smoke.exchange.answer).split()) if smoke else "-"
    return (
        label,
        size(converted.weight_bytes) if converted else "-",
        f"{converted.bits_per_weight:.2f}" if converted else "-",
        significant(fidelity.mean_kld) if fidelity and fidelity.mean_kld is not None else "-",
        speed,
        answer if len(answer) <= _ANSWER else f"{answer[: _ANSWER - 1]}…",
    )


def _near(path: Path) -> str:
    """Return a path as it is shortest from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
