"""A recipe's variants in one picture: size against fidelity, size against speed."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlx_publish.card.labels import Label, Point, place
from mlx_publish.card.scale import MEASURABLE, Scale, byte_unit, linear, logarithmic
from mlx_publish.card.shapes import Box, shorten
from mlx_publish.text import numbers

WIDTH, HEIGHT = 720, 320
TOP, BOTTOM = 82, 268
SIDES = ((60, 338), (420, 698))
"""Where the axis of sizes begins and ends, in the left and in the right panel."""
FONT, LONGEST_NAME = 12, 128
LARGEST = 1e5
"""Nats and tokens/s beyond this are no measurement."""
NO_TEXT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


@dataclass(frozen=True)
class Rung:
    """What a variant measured: bytes of its weights, nats, tokens/s; None is not measured.

    `device` ("gpu" or "cpu") is where the speed was taken, `here` the variant whose card the chart is for.
    """

    label: str
    weight_bytes: int
    mean_kld: float | None
    mean_kld_error: float | None
    generation_tps: float | None
    device: str | None
    here: bool


@dataclass(frozen=True)
class Mark:
    """A variant in a panel: its point, its error bar from top to bottom, its name and all its numbers in words."""

    rung: Rung
    point: Point
    words: str
    bar: tuple[float, float] | None
    floored: bool
    label: Label | None = None


@dataclass(frozen=True)
class Panel:
    """Two axes and the variants between them; without any, the panel says that nothing was measured."""

    title: str
    hint: str
    x: Scale
    y: Scale
    marks: Sequence[Mark]
    ring: str | None = None
    """The device whose points are rings, where two devices share a panel."""

    @property
    def grid(self) -> list[tuple[float, float, float]]:
        """Its horizontal lines, as y and from which x to which, with gaps where a name stands."""
        boxes = [mark.label.box for mark in self.marks if mark.label]
        return [(tick.at, *piece) for tick in self.y.ticks for piece in self._pieces(tick.at, boxes)]

    def _pieces(self, y: float, boxes: Sequence[Box]) -> list[tuple[float, float]]:
        gaps = sorted((box.left - 2, box.right + 2) for box in boxes if box.top < y < box.bottom)
        ends = [self.x.start, *(x for gap in gaps for x in gap), self.x.end]
        return [(left, right) for left, right in zip(ends[::2], ends[1::2], strict=True) if right - left > 4]


def ladder_chart(rungs: Sequence[Rung], subject: str) -> str:
    """Draw the variants of `subject` as an SVG; the same variants in any order give the same bytes."""
    rungs = sorted({_cleaned(rung) for rung in rungs}, key=lambda rung: (rung.weight_bytes, repr(rung)))
    subject = plain(subject)
    environment = Environment(
        loader=PackageLoader("mlx_publish"), undefined=StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["px"] = lambda value: f"{value:.1f}".removesuffix(".0")
    return environment.get_template("card/ladder.svg.j2").render(
        width=WIDTH, height=HEIGHT, unit=_unit(rungs)[1], panels=[_fidelity(rungs), _speed(rungs)],
        legend=any(rung.here for rung in rungs), heading=shorten(subject, WIDTH - 160, 15, bold=True),
        title=f"{subject}: size, fidelity and speed of its variants", desc=" ".join(_words(rung) for rung in rungs),
    )  # fmt: skip


def plain(text: str) -> str:
    """One line of text without control characters: XML forbids some, others turn the text around them."""
    kept = "".join(" " if char.isspace() else char for char in text if _may_stand(char))
    return " ".join(kept.split())


def _may_stand(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in NO_TEXT


def _cleaned(rung: Rung) -> Rung:
    """Return the variant with its label made plain, and without numbers that no measurement gives."""
    kld, error, speed = (
        value if value is not None and abs(value) < LARGEST else None
        for value in (rung.mean_kld, rung.mean_kld_error, rung.generation_tps)
    )
    error = max(0.0, error or 0.0)
    return replace(rung, label=plain(rung.label), mean_kld=kld, mean_kld_error=error, generation_tps=speed)


def _unit(rungs: Sequence[Rung]) -> tuple[float, str]:
    return byte_unit(max((rung.weight_bytes for rung in rungs), default=0))


def _words(rung: Rung) -> str:
    """Return a variant's numbers as a sentence."""
    name = f"{rung.label} (this variant)" if rung.here else rung.label
    return f"{name}: {numbers.size(rung.weight_bytes)}, {_fidelity_words(rung)}, {_speed_words(rung)}."


def _fidelity_words(rung: Rung) -> str:
    if rung.mean_kld is None:
        return "KL divergence not measured"
    if 0 < rung.mean_kld < MEASURABLE:
        return f"mean KL divergence below {MEASURABLE:.6f} nats"
    error = f" ± {numbers.significant(rung.mean_kld_error, 1)}" if rung.mean_kld_error else ""
    return f"mean KL divergence {numbers.significant(rung.mean_kld)}{error} nats"


def _speed_words(rung: Rung) -> str:
    if rung.generation_tps is None:
        return "speed not measured"
    device = f" on the {rung.device.upper()}" if rung.device else ""
    return f"{numbers.significant(rung.generation_tps)} tokens/s{device}"


def _fidelity(rungs: Sequence[Rung]) -> Panel:
    """Return the panel of size against mean KL divergence."""
    values = {rung: rung.mean_kld for rung in rungs if rung.mean_kld is not None}
    tops = [value + (rung.mean_kld_error or 0) for rung, value in values.items() if value >= MEASURABLE]
    y = logarithmic([*values.values(), *tops], BOTTOM, TOP)
    hint = "lower is closer to the source" + _missing(rungs, values)
    x, marks = _marks(rungs, values, y, SIDES[0])
    return Panel("Mean KL divergence to the source, nats", hint, x, y, marks)


def _speed(rungs: Sequence[Rung]) -> Panel:
    """Return the panel of size against speed of generation."""
    values = {rung: rung.generation_tps for rung in rungs if rung.generation_tps is not None}
    devices = {rung.device for rung in values}
    mixed = "cpu" in devices and len(devices) > 1
    title = "Generation on the CPU, tokens/s" if devices == {"cpu"} else "Generation, tokens/s"
    hint = "higher is faster" + ("; rings: on the CPU" if mixed else "") + _missing(rungs, values)
    y = linear(list(values.values()), BOTTOM, TOP, zero=True)
    x, marks = _marks(rungs, values, y, SIDES[1])
    return Panel(title, hint, x, y, marks, "cpu" if mixed else None)


def _missing(rungs: Collection[Rung], values: Collection[Rung]) -> str:
    count = len(rungs) - len(values)
    return f"; {count} of {len(rungs)} not measured" if count and values else ""


def _marks(
    rungs: Sequence[Rung], values: Mapping[Rung, float], y: Scale, side: tuple[float, float]
) -> tuple[Scale, list[Mark]]:
    """Return the axis of sizes, the same in both panels, and the marks; the one of this card lies on top."""
    factor, _ = _unit(rungs)
    x = linear([rung.weight_bytes / factor for rung in rungs], *side)
    marks = [_mark(rung, value, x.at(rung.weight_bytes / factor), y) for rung, value in values.items()]
    marks.sort(key=lambda mark: not mark.rung.here)
    # A name over the first grid line is fine, one over the numbers beside the axes is not.
    bounds = Box(x.start + 3, TOP - 12, x.end + 16, BOTTOM - 3)
    bars = [Box(mark.point.x - 3, mark.bar[0], mark.point.x + 3, mark.bar[1]) for mark in marks if mark.bar]
    labels = place([mark.point for mark in marks], FONT, bounds, bars)
    return x, [replace(mark, label=label) for mark, label in zip(marks, labels, strict=True)][::-1]


def _mark(rung: Rung, value: float, x: float, y: Scale) -> Mark:
    """Return where a variant stands; a triangle with its tip on the axis says: here or below."""
    radius = 5.5 if rung.here else 4.5
    floored = y.floor is not None and value < MEASURABLE
    name = shorten(rung.label, LONGEST_NAME, FONT, bold=rung.here)
    point = Point(x, y.at(value) - (radius if floored else 0), radius, name, rung.here)
    error = rung.mean_kld_error if y.log and not floored else None
    bar = (y.at(value + error), y.at(value - error)) if error else None
    # An error smaller than the point would only make its outline rough.
    if bar and bar[1] - bar[0] < 2 * radius + 3:
        bar = None
    return Mark(rung, point, _words(rung), bar, floored)
