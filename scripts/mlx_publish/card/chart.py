"""A recipe's variants in one picture, two lines each: name and verdict; size, fidelity and speed below.

Each number has a column of its own, so no label meets another, however close two variants are. The picture is narrow:
on a phone's page of 328 pixels no text is smaller than 9.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlx_publish.card.rounding_chart import HEIGHT, Panel, Point, panel
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.devices import DeviceKind
from mlx_publish.text import numbers

WIDTH, SHOWN, TOP, ROW, FONT = 400, 480, 72, 38, 11
"""The picture's own unit; `SHOWN` is its width in pixels where a page has room."""
LEFT, RIGHT, LONGEST_NAME = 10, 390, 130
SIZES, SPEEDS, LONGEST_BAR = 10, 250, 40
"""Where the bars begin; their numbers stand behind their ends."""
AXIS, WORDS = (130, 236), 200
"""Where the axis of fidelities begins and ends, with its numbers above; where the words behind them begin."""
LEGEND = 302
LARGEST = 1e5
"""Nats and tokens/s beyond this are no measurement."""
MEASURABLE = 1e-6
"""What is below this, in nats, is rounding of the arithmetic; cards print it as 0."""
NO_TEXT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ON: Mapping[DeviceKind, str] = {"GPU": "the GPU", "CPU": "the CPU", "CUDA": "an NVIDIA GPU (CUDA)"}
# Upper bounds in thousandths of the font's size, from DejaVu Sans, the widest that browsers fall back to.
_WIDTHS = {"ijl|.,:;' ": 400, '!frtI()[]-/\\"`': 500, "wMOQGDHNU_&+<=>#^~": 870, "mW@%": 1000}
_WIDTH_OF = {letter: width for letters, width in _WIDTHS.items() for letter in letters}


@dataclass(frozen=True)
class Rung:
    """What a variant measured: bytes of its weights, nats, tokens/s; None is not measured.

    `kind` is what the speed was taken on, `here` the variant whose card the chart is for.
    """

    label: str
    weight_bytes: int
    mean_kld: float | None
    mean_kld_error: float | None
    generation_tps: float | None
    kind: DeviceKind | None
    here: bool


@dataclass(frozen=True)
class Axis:
    """Decades of nats, from 10**low to 10**high; where `floored`, the lowest stands for all below it too."""

    low: int
    high: int
    floored: bool
    right: int = AXIS[1]

    def at(self, value: float) -> float:
        """Return the place in the picture, to a tenth of its unit; what lies beyond is put at the end."""
        share = (math.log10(max(value, 1e-300)) - self.low) / (self.high - self.low)
        return round(AXIS[0] + min(1.0, max(0.0, share)) * (self.right - AXIS[0]), 1)

    @property
    def lines(self) -> list[float]:
        """The places of its powers of ten."""
        return [self.at(float(f"1e{power}")) for power in range(self.low, self.high + 1)]

    @property
    def ends(self) -> tuple[str, str]:
        """What its two ends are called."""
        return ("≤ " if self.floored else "") + _power(self.low), _power(self.high)


@dataclass(frozen=True)
class Dot:
    """A fidelity on the axis, with the ends of its error where it is wider than the dot; a triangle says: or below."""

    x: float
    radius: float
    floored: bool
    error: tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    """A variant: the middle of its second line, its name, its numbers in words, its bars, its dot and its numbers."""

    rung: Rung
    y: float
    name: str
    words: str
    dot: Dot | None
    size: tuple[float, str]
    """The length of the bar and the number behind it."""
    speed: tuple[float, str]
    fidelity: str
    verdict: str
    """The word of the scale; empty where nothing was measured."""


def ladder_chart(rungs: Sequence[Rung], subject: str, curve: Sequence[Point] = ()) -> str:
    """Draw the variants of `subject` as an SVG; the same variants in any order give the same bytes.

    With the `curve` of plain rounding they stand once more below, over it.
    """
    rungs = sorted({_cleaned(rung) for rung in rungs}, key=lambda rung: (rung.weight_bytes, repr(rung)))
    subject, axis = plain(subject), _axis(rungs)
    bottom = TOP + ROW * len(rungs)
    below = bottom + (24 if axis else 8)
    environment = Environment(
        loader=PackageLoader("mlx_publish"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["px"] = lambda value: f"{value:.1f}".removesuffix(".0")
    kinds = {rung.kind for rung in rungs if rung.generation_tps is not None}
    return environment.get_template("card/ladder.svg.j2").render(
        width=WIDTH,
        shown=SHOWN,
        bottom=bottom,
        below=below,
        panel=_panel(rungs, curve, below),
        panel_height=HEIGHT,
        heading=shorten(subject, LEGEND - LEFT - 12, 14, bold=True),
        title=f"{subject}: size, fidelity and speed of its variants",
        desc=" ".join(_words(rung) for rung in rungs),
        rows=_rows(rungs, axis, mixed=len(kinds) > 1),
        axis=axis,
        mark=next(iter(kinds - {"GPU"}), None) if len(kinds) == 1 else None,
        timed=bool(kinds),
        place={
            "left": LEFT,
            "right": RIGHT,
            "sizes": SIZES,
            "axis": (AXIS[0], axis.right if axis else AXIS[1]),
            "words": WORDS,
            "speeds": SPEEDS if axis else AXIS[0],
            "legend": LEGEND,
        },
        step=ROW,
        top=TOP,
    )


def _panel(rungs: Sequence[Rung], curve: Sequence[Point], top: float) -> Panel | None:
    variants = [Point(rung.label, rung.weight_bytes, rung.mean_kld or 0.0, rung.here) for rung in rungs]
    points = [replace(point, label=plain(point.label)) for point in curve if point.mean_kld < LARGEST]
    return panel(points, variants, top, lambda text: text_width(text, FONT), _power)


def plain(text: str) -> str:
    """Return one line of text without control characters: XML forbids some, others turn the text around them."""
    kept = (" " if char.isspace() else char for char in text)
    return " ".join("".join(char for char in kept if unicodedata.category(char) not in NO_TEXT).split())


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return an upper bound of a text's width in the font size's unit."""
    return sum(_width_of(letter) for letter in text) * size * (1.15 if bold else 1) / 1000


def _width_of(letter: str) -> int:
    if letter in _WIDTH_OF:
        return _WIDTH_OF[letter]
    if letter.isascii():
        return 760 if letter.isupper() else 650
    return 1300 if unicodedata.east_asian_width(letter) in "WF" else 1100


def shorten(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Cut a text that may be wider than the room, and say so by an ellipsis."""
    if text_width(text, size, bold=bold) <= room:
        return text
    while text and text_width(text + "…", size, bold=bold) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def _cleaned(rung: Rung) -> Rung:
    """Return the variant with its label made plain, and without numbers that no measurement gives."""
    kld, error, speed = (
        value if value is not None and abs(value) < LARGEST else None
        for value in (rung.mean_kld, rung.mean_kld_error, rung.generation_tps)
    )
    error = max(0.0, error or 0.0)
    return replace(rung, label=plain(rung.label), mean_kld=kld, mean_kld_error=error, generation_tps=speed)


def _axis(rungs: Sequence[Rung]) -> Axis | None:
    """Return an axis of whole decades that holds all that was measured; None where nothing was."""
    values = [(rung.mean_kld, rung.mean_kld_error or 0) for rung in rungs if rung.mean_kld is not None]
    shown = [(value, error) for value, error in values if value >= MEASURABLE]
    floored = len(shown) < len(values)
    lowest = min((value for value, _ in shown), default=10 * MEASURABLE)
    # What is put at the floor stands clearly below what is measurably above it.
    low = max(-6, math.floor(math.log10(lowest / 2.5 if floored else lowest)))
    high = math.ceil(math.log10(max((value + error for value, error in shown), default=MEASURABLE)))
    timed = any(rung.generation_tps is not None for rung in rungs)
    right = AXIS[1] if timed else RIGHT - 20
    return Axis(low, max(high, low + 2 if floored else low + 1), floored, right) if values else None


def _rows(rungs: Sequence[Rung], axis: Axis | None, *, mixed: bool) -> list[Row]:
    largest = max((rung.weight_bytes for rung in rungs), default=0)
    fastest = max((rung.generation_tps or 0 for rung in rungs), default=0)
    return [
        Row(
            rung,
            TOP + ROW * number + 27,
            shorten(rung.label, LONGEST_NAME, FONT, bold=rung.here),
            _words(rung),
            _dot(rung, axis),
            (_bar(rung.weight_bytes, largest), numbers.size(rung.weight_bytes)),
            (_bar(rung.generation_tps or 0, fastest), _speed(rung, mixed=mixed)),
            _fidelity(rung) if axis else "",
            closeness(rung.mean_kld).word if rung.mean_kld is not None else "",
        )
        for number, rung in enumerate(rungs)
    ]


def _bar(value: float, largest: float) -> float:
    return round(LONGEST_BAR * max(0.0, value) / largest, 1) if largest > 0 else 0.0


def _dot(rung: Rung, axis: Axis | None) -> Dot | None:
    if rung.mean_kld is None or axis is None:
        return None
    value, error, radius = rung.mean_kld, rung.mean_kld_error or 0, 5.5 if rung.here else 4.5
    if value < MEASURABLE:
        return Dot(axis.at(0), radius, floored=True, error=None)
    ends = (axis.at(value - error), axis.at(value + error))
    # An error smaller than the dot would only make its outline rough.
    return Dot(axis.at(value), radius, floored=False, error=ends if ends[1] - ends[0] > 2 * radius + 3 else None)


def _fidelity(rung: Rung) -> str:
    if rung.mean_kld is None:
        return "not measured"
    return f"< {MEASURABLE:.6f}" if 0 < rung.mean_kld < MEASURABLE else numbers.significant(rung.mean_kld)


def _speed(rung: Rung, *, mixed: bool) -> str:
    if rung.generation_tps is None:
        return "not measured"
    return numbers.significant(rung.generation_tps) + (f" ({rung.kind})" if mixed and rung.kind else "")


def _words(rung: Rung) -> str:
    """Return a variant's numbers as a sentence."""
    name = f"{rung.label} (this variant)" if rung.here else rung.label
    fidelity, speed = "KL divergence not measured", "speed not measured"
    if rung.mean_kld is not None:
        error = f" ± {numbers.significant(rung.mean_kld_error, 1)}" if rung.mean_kld_error else ""
        below = 0 < rung.mean_kld < MEASURABLE
        fidelity = f"mean KL divergence {f'below {MEASURABLE:.6f}' if below else _fidelity(rung) + error} nats"
    if rung.generation_tps is not None:
        device = f" on {_ON[rung.kind]}" if rung.kind else ""
        speed = f"{_speed(rung, mixed=False)} tokens/s{device}"
    word = f"{closeness(rung.mean_kld).word}, " if rung.mean_kld is not None else ""
    return f"{name}: {numbers.size(rung.weight_bytes)}, {word}{fidelity}, {speed}."


def _power(exponent: int) -> str:
    """Write a power of ten out, or as a power where the zeros could not be counted at a glance."""
    if exponent >= -4:
        return f"{10.0**exponent:,.{max(0, -exponent)}f}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)
