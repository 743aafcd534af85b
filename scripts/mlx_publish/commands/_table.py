"""The short table at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.figures import pictures_kld
from mlx_publish.evidence.measurements import SpeedSpec
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.results import Converted, Fidelity, Smoke
from mlx_publish.evidence.stages import NAMES
from mlx_publish.recipes.recipe import Variant
from mlx_publish.text.colour import STYLES, Palette
from mlx_publish.text.console import Console, width
from mlx_publish.text.door import Door
from mlx_publish.text.harmless import harmless, plain
from mlx_publish.text.numbers import significant, size
from mlx_publish.work import Work

NONE = "-"
_ANSWER = "answer"
_LEAST, _MOST = 16, 60
"""Characters of an answer that are worth a column, and at most; the whole answer stands on the card."""


@dataclass(frozen=True)
class Cell:
    """What a column says of a variant."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Row:
    """The reports of a variant that the table reads."""

    label: str
    reports: dict[str, Report]
    """By stage, up to the first that did not pass."""

    @property
    def passed(self) -> dict[str, Report]:
        """Those that passed."""
        return {stage: report for stage, report in self.reports.items() if report.verdict == "pass"}

    def verdict(self) -> Cell:
        """Return `passed`, or the stage that refused it or broke."""
        for stage, report in self.reports.items():
            if report.verdict != "pass":
                word = "refused" if report.verdict == "refused" else "broke"
                return Cell(f"{word} in {stage}", STYLES["fail"])
        return Cell("passed", STYLES["pass"]) if self.reports else Cell(NONE)

    def size(self) -> Cell:
        """Return the size of the weights."""
        converted = self._converted
        return Cell(size(converted.weight_bytes) if converted else NONE)

    def bits(self) -> Cell:
        """Return the bits per weight."""
        converted = self._converted
        return Cell(f"{converted.bits_per_weight:.2f}" if converted else NONE)

    def word(self) -> Cell:
        """Return how close it is to what it was compared with, in a word of the scale."""
        mean = self._mean_kld
        if mean is None:
            return Cell(NONE)
        step = closeness(mean)
        return Cell(step.word, STYLES["warn" if step.warns else "pass"])

    def mean_kld(self) -> Cell:
        """Return the mean KL divergence in nats."""
        mean = self._mean_kld
        return Cell(NONE if mean is None else significant(mean))

    def pictures_kld(self) -> Cell:
        """Return the same on text behind pictures."""
        report = self.reports.get("fidelity")
        mean = pictures_kld(report.result) if report and report.verdict != "error" else None
        return Cell(NONE if mean is None else significant(mean))

    def speed(self) -> Cell:
        """Return generated tokens per second."""
        report = self.passed.get("benchmark")
        if report is None or report.not_measured:
            return Cell(NONE)
        measured = SpeedSpec.model_validate(report.result)
        text = significant(measured.headline.generation_tps.median)
        return Cell(text if measured.kind == "GPU" else f"{text} ({measured.kind})")

    def answer(self) -> Cell:
        """Return the beginning of the model's answer."""
        smoke = self.passed["smoke"].read(Smoke) if "smoke" in self.passed else None
        text = " ".join(plain(smoke.exchange.answer).split()) if smoke else NONE
        return Cell(text if len(text) <= _MOST else f"{text[: _MOST - 1]}…")

    @property
    def _converted(self) -> Converted | None:
        return self.passed["convert"].read(Converted) if "convert" in self.passed else None

    @property
    def _mean_kld(self) -> float | None:
        """The mean KL divergence, also of what it refused."""
        report = self.reports.get("fidelity")
        fidelity = report.read(Fidelity) if report and report.verdict != "error" else None
        return fidelity.mean_kld if fidelity else None


@dataclass(frozen=True)
class Column:
    """A column: what it says, and how soon it goes where there is no room for all."""

    title: str
    cell: Callable[[Row], Cell]
    rank: int
    """The highest goes first; those of 0 stay."""
    right: bool = True
    always: bool = True
    """Whether it is there where it says nothing of any variant, too."""


_COLUMNS = (
    Column("variant", lambda row: Cell(row.label), 0, right=False),
    Column("verdict", Row.verdict, 0, right=False),
    Column("size", Row.size, 3),
    Column("bits/weight", Row.bits, 5),
    Column("closeness", Row.word, 1, right=False),
    Column("mean KLD", Row.mean_kld, 2),
    Column("with pictures", Row.pictures_kld, 3, always=False),
    Column("tokens/s", Row.speed, 4),
    Column(_ANSWER, Row.answer, 6, right=False),
)
_GAP, _EDGE = 2, 1
"""Characters between two columns, and at both ends of a line."""
_Filled = tuple[Column, list[Cell]]


def print_table(console: Console, variants: Sequence[Variant], work: Work, stages: Sequence[str] = NAMES) -> None:
    """Print one row for each variant, by its reports of these stages, with the columns that fit."""
    rows = [Row(v.label, {report.stage: report for report in work.reports(v.label, stages)}) for v in variants]
    every = [(column, [column.cell(row) for row in rows]) for column in _COLUMNS]
    filled = [(column, cells) for column, cells in every if column.always or any(cell.text != NONE for cell in cells)]
    room = width() - 2 * _EDGE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    kept = _fitting(filled, room)
    for column, cells in kept:
        # Only a name may be folded; of an answer what is left of the line is shown.
        most = room - _sum(kept[:-1]) - _GAP if column.title == _ANSWER else None
        least = None if most or not column.rank else _wide(column, cells)
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.rank > 0,
            overflow="ellipsis" if most else "fold",
            min_width=least,
            max_width=most,
        )
    for number in range(len(rows)):
        # Text and not str: a model's answer may hold rich's markup.
        table.add_row(*(Text(cells[number].text, cells[number].style) for _, cells in kept))
    print_plainly(console.out, table, console.palette)


def _fitting(filled: list[_Filled], columns: int) -> list[_Filled]:
    """Return the columns that fit, without a cut in any but the answer: the least important ones go."""
    while _sum(filled) > columns and (last := max(filled, key=lambda pair: pair[0].rank))[0].rank:
        filled = [pair for pair in filled if pair is not last]
    return filled


def _sum(filled: Sequence[_Filled]) -> int:
    return sum(_wide(column, cells) + _GAP for column, cells in filled) - _GAP


def _wide(column: Column, cells: Sequence[Cell]) -> int:
    """Return the characters that a column needs; an answer can be cut."""
    widest = max(cell_len(cell.text) for cell in cells)
    return max(len(column.title), min(widest, _LEAST) if column.title == _ANSWER else widest)


def print_plainly(out: TextIO, table: Table, palette: Palette | None = None) -> None:
    """Print a table as wide as the terminal; its cells have to be plain, and its colours are ours."""
    system = palette.system if palette and isinstance(out, Door) else None
    names = {1: "standard", 2: "256", 3: "truecolor"}
    console = RichConsole(
        file=out,
        width=width(),
        highlight=False,
        force_terminal=system is not None,
        color_system=names[system.value] if system else None,  # type: ignore[arg-type]
    )
    with console.capture() as held:
        console.print(table)
    if system and isinstance(out, Door):
        for line in held.get().splitlines():
            out.ours(harmless(line))
    else:
        out.write(harmless("".join(f"{line.rstrip()}\n" for line in held.get().splitlines())))
