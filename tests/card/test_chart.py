"""The chart of a recipe's variants: read back from the picture, it says what was measured.

To write the golden file anew: `MLX_PUBLISH_GOLDEN=write pytest tests/card`.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from mlx_publish.card.chart import Rung, ladder_chart
from mlx_publish.card.labels import Label, Point, place
from mlx_publish.card.scale import Scale, byte_unit, linear, logarithmic
from mlx_publish.card.shapes import Box, cross, passes, shorten, text_width

GOLDEN = Path(__file__).parent / "golden" / "ladder.svg"
PICTURE = Box(0, 0, 720, 320)
SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "style", "text", "g", "circle", "line", "path", "rect"}
GROUNDS = {"light": ("#ffffff",), "dark": ("#0d1117", "#0b0f19")}
# Widths of the printable ASCII characters in thousandths of the size, as a browser draws DejaVu Sans.
DEJAVU = (
    "318 401 460 838 636 950 780 275 390 390 500 838 318 361 318 337 636 636 636 636 636 636 636 636 636 636 337 337 838 "
    "838 838 531 1000 684 686 698 770 632 575 775 752 295 295 656 557 863 748 787 603 787 695 635 611 732 684 989 685 611 "
    "685 390 337 390 838 500 500 613 635 550 635 615 352 635 634 278 278 579 278 974 634 612 635 635 411 521 392 634 592 "
    "818 592 592 525 636 337 636 838"
)
DEJAVU_BOLD = (
    "348 456 521 838 696 1002 872 306 457 457 523 838 380 415 380 365 696 696 696 696 696 696 696 696 696 696 400 400 838 "
    "838 838 580 1000 774 762 734 830 683 683 821 837 372 372 775 637 995 837 850 733 850 770 720 682 812 774 1103 771 724 "
    "725 457 365 457 838 500 500 675 716 593 716 678 435 716 712 343 343 665 343 1042 712 687 716 716 493 595 478 712 652 "
    "924 645 652 582 712 365 712 838"
)


def rung(label: str, size: float, kld: float | None, error: float | None = None, tps: float | None = None) -> Rung:
    """A variant of so many bytes, measured on a GPU, not the one of the card."""
    return Rung(label, int(size), kld, error, tps, "gpu" if tps is not None else None, here=False)


def here(of: Rung) -> Rung:
    return replace(of, here=True)


DEMO = [
    rung("8bit", 143e6, 0.003, 0.0002, 141.2), rung("6bit", 109e6, 0.029, 0.002, 167.0),
    here(rung("4bit", 75.7e6, 0.45, 0.03, 198.3)), rung("3bit", 58.9e6, 2.3, 0.1, 189.0),
    rung("2bit", 42.1e6, 14.5, 0.4, 221.0),
]  # fmt: skip
LARGE = [
    rung("bf16", 141e9, 0.0, 0.0, 4.2), rung("8bit", 75e9, 0.0009, 0.0001, 8.1), rung("6bit", 57.3e9, 0.0031, 0.0002, 10),
    here(rung("4bit", 39.7e9, 0.021, 0.015, 14.7)), rung("4bit-gs32-bf16", 44.1e9, 0.016, 0.001, 13.3),
    rung("mixed_3_6", 34.2e9, 0.062, 0.003, 16.2), rung("3bit", 30.9e9, 0.11, 0.2, 17.9),
]  # fmt: skip
NAMES = ["4bit", "4bit-gs32", "4bit-gs32-bf16", "4bit-gs128", "mixed_3_6", "mixed_3_4", "mixed_4_6", "mxfp4", "nvfp4"]
CLOSE = [rung(name, 75e6 + at * 37e4, 0.45 - at * 0.01, 0.02, 58 + at % 3) for at, name in enumerate(NAMES)]
TINY = [
    rung("8bit", 3.2e3, 1.3e-7, 1e-8, 900),
    here(rung("bf16", 6e3, 0.0, 0.0, 800)),
    rung("4bit", 1.7e3, 4e-5, 2e-5, 1100),
]
ALIKE = [rung(f"variant-{at}", 75e6, 0.4, 0.1, 58) for at in range(8)]
SETS = {
    "demo": DEMO, "large": LARGE, "close": CLOSE, "tiny": TINY, "alike": ALIKE, "one": [here(DEMO[2])],
    "one unquantized": [rung("bf16", 270e6, 0.0, 0.0, 30)], "no speed": [rung("8bit", 143e6, 0.003), rung("4bit", 75e6, 0.4)],
    "some": [rung("8bit", 143e6, 0.003), rung("4bit", 75e6, None, None, 30)], "nothing": [rung("8bit", 143e6, None)],
    "none": [], "wide": [rung("W" * 40, 143e6, 0.003, None, 5), rung("日本語" * 9, 120e6, 0.02, None, 4)],
}  # fmt: skip


class Text(NamedTuple):
    """A text of the picture and the room it takes in the widest of fonts."""

    text: str
    kind: str
    box: Box


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  our own


def thousandths(widths: str) -> list[int]:
    return [int(width) for width in widths.split()]


def number(element: ET.Element, name: str) -> float:
    return float(element.get(name, "nan"))


def texts(root: ET.Element) -> list[Text]:
    """All texts, in boxes from the widths of DejaVu Sans."""
    found = []
    for element in root.iter(f"{SVG}text"):
        text, size, x, y = (
            element.text or "",
            float(element.get("font-size", "12")),
            number(element, "x"),
            number(element, "y"),
        )
        widths = thousandths(DEJAVU_BOLD if element.get("font-weight") else DEJAVU)
        width = sum(widths[ord(char) - 32] if " " <= char <= "~" else 1000 for char in text) * size / 1000
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor", "start")]
        box = Box(left, y - 0.76 * size, left + width, y + 0.24 * size)
        found.append(Text(text, element.get("class", ""), box))
    return found


def panels(svg: str) -> list[ET.Element]:
    return [group for group in parsed(svg).iter(f"{SVG}g") if group.get("class") == "panel"]


def points(panel: ET.Element) -> dict[str, tuple[float, float, float]]:
    """Where the variants stand, by name: x, y and radius; of a triangle its tip, with radius 0."""
    found = {}
    for group in panel.iter(f"{SVG}g"):
        title, circle = group.find(f"{SVG}title"), group.find(f"{SVG}circle")
        if title is not None:
            name = re.split(r":| \(this", title.text or "")[0]
            path = group.findall(f"{SVG}path")[-1:] if circle is None else []
            found[name] = (
                tip(path[0].get("d", "")) if circle is None else
                (number(circle, "cx"), number(circle, "cy"), number(circle, "r"))
            )  # fmt: skip
    return found


def tip(path: str) -> tuple[float, float, float]:
    left, top, width, back, down = (float(found) for found in re.findall(r"-?[\d.]+", path))
    return left + width + back, top + down, 0


def value_of(text: str) -> float:
    """The number that a tick's text means."""
    text = text.removeprefix("≤ ").replace(",", "").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    if found := re.fullmatch(r"(?:(\d)·)?10(-\d+)", text):
        return float(f"{found[1] or 1}e{found[2]}")
    return float(text)


def axis(panel: ET.Element, kind: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The first and the last tick of an axis: where it is, and the number beside it."""
    lines = [element for element in panel.iter(f"{SVG}text") if element.get("class") == f"{kind}-tick"]
    ends = [
        (number(line, kind) - (4 if kind == "y" else 0), value_of(line.text or "")) for line in (lines[0], lines[-1])
    ]
    return ends[0], ends[1]


def read(panel: ET.Element, kind: str, at: float, *, log: bool = False) -> float:
    """The value at a place in the picture, by the ticks that a reader sees."""
    (first, low), (last, high) = axis(panel, kind)
    low, high = (math.log10(low), math.log10(high)) if log else (low, high)
    value = low + (at - first) / (last - first) * (high - low)
    return 10**value if log else value


@pytest.mark.parametrize("name", SETS)
def test_points_stand_where_the_numbers_are(name: str) -> None:
    fidelity, speed = panels(ladder_chart(SETS[name], "acme/Tiny"))
    factor, unit = byte_unit(max((of.weight_bytes for of in SETS[name]), default=0))
    for of in SETS[name]:
        if of.mean_kld is not None:
            x, y, radius = points(fidelity)[of.label]
            assert read(fidelity, "x", x) * factor == pytest.approx(of.weight_bytes, rel=0.01)
            if radius:
                assert read(fidelity, "y", y, log=True) == pytest.approx(of.mean_kld, rel=0.05)
        if of.generation_tps is not None:
            x, y, _ = points(speed)[of.label]
            assert read(speed, "x", x) * factor == pytest.approx(of.weight_bytes, rel=0.01)
            assert read(speed, "y", y) == pytest.approx(of.generation_tps, rel=0.01)
            assert value_of("0") == axis(speed, "y")[0][1]
            assert f"Size of the weights, {unit}" in [text.text for text in texts(speed)]


@pytest.mark.parametrize("name", SETS)
def test_every_name_can_be_read(name: str) -> None:
    for panel in panels(ladder_chart(SETS[name], "acme/Tiny")):
        written = texts(panel)
        for one, other in itertools.combinations(written, 2):
            assert not one.box.meets(other.box), (one.text, other.text)
        for text, (x, y, radius) in itertools.product(written, points(panel).values()):
            point = Box(x - radius, y - radius, x + radius, y + radius)
            assert "name" not in text.kind or not text.box.meets(point), text
        assert len(points(panel)) == sum("name" in text.kind for text in written)


@pytest.mark.parametrize("name", SETS)
def test_nothing_leaves_the_picture_or_its_half(name: str) -> None:
    svg = ladder_chart(
        SETS[name], "A subject whose name is so long that no page is wide enough for it, nor any reader patient"
    )
    root, (left, right) = parsed(svg), panels(svg)
    assert root.get("viewBox") == "0 0 720 320"
    assert all(text.box.within(PICTURE) for text in texts(root))
    assert all(text.box.within(Box(0, 30, 366, 320)) for text in texts(left))
    assert all(text.box.within(Box(366, 30, 720, 320)) for text in texts(right))
    for line in root.iter(f"{SVG}line"):
        assert Box(number(line, "x1"), number(line, "y1"), number(line, "x2"), number(line, "y2")).within(PICTURE)
    for x, y, radius in [*points(left).values(), *points(right).values()]:
        assert Box(x - radius, y - radius, x + radius, y + radius).within(PICTURE)


def test_error_bars_reach_as_far_as_the_error() -> None:
    fidelity, speed = panels(ladder_chart(LARGE, "acme/Large"))
    bars = {name: bar for name, bar in zip(points(fidelity), bars_of(fidelity), strict=True) if bar}
    assert set(bars) == {"4bit", "3bit"}
    top, bottom = (read(fidelity, "y", at, log=True) for at in bars["4bit"])
    assert [top, bottom] == pytest.approx([0.036, 0.006], rel=0.03)
    assert read(fidelity, "y", bars["3bit"][0], log=True) == pytest.approx(0.31, rel=0.03)
    # 0.11 ± 0.2 reaches below 0, which is below every logarithmic axis.
    assert bars["3bit"][1] == axis(fidelity, "y")[0][0]
    assert not any(bars_of(speed))


def bars_of(panel: ET.Element) -> list[tuple[float, float] | tuple[()]]:
    """Top and bottom of the error bars, empty where there is none."""
    groups = [group for group in panel.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    drawn = [group.find(f"{SVG}path[@class='bar']") for group in groups]
    found = [re.match(r"M\S+ (\S+?)V([\d.]+)", path.get("d", "")) if path is not None else None for path in drawn]
    return [(float(bar[1]), float(bar[2])) if bar else () for bar in found]


@pytest.mark.parametrize("rungs", [LARGE, TINY, SETS["one unquantized"]])
def test_what_is_not_measurably_above_zero_is_drawn_as_at_most_a_floor(rungs: list[Rung]) -> None:
    fidelity = panels(ladder_chart(rungs, "acme/Tiny"))[0]
    at, floor = axis(fidelity, "y")[0]
    assert next(text.text for text in texts(fidelity) if text.kind == "y-tick").startswith("≤ ")
    for of in rungs:
        _, y, radius = points(fidelity)[of.label]
        assert of.mean_kld is not None
        assert (radius == 0, y == at) == ((True, True) if of.mean_kld < 1e-6 else (False, False))
        assert of.mean_kld <= floor or of.mean_kld >= 2 * floor


def test_an_axis_without_a_floor_claims_none() -> None:
    assert "≤" not in ladder_chart(DEMO, "acme/Tiny")


def test_the_chart_is_the_golden_one() -> None:
    text = ladder_chart(DEMO, "SmolLM2-135M-Instruct")
    if os.environ.get("MLX_PUBLISH_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text.encode() == GOLDEN.read_bytes()


def test_the_order_of_the_variants_changes_nothing() -> None:
    assert len({ladder_chart(list(order), "acme/Tiny") for order in itertools.permutations(TINY)}) == 1


def test_the_description_tells_the_numbers_in_words() -> None:
    desc = parsed(ladder_chart([*TINY, rung("3bit", 1e3, None)], "acme/Tiny")).findtext(f"{SVG}desc")
    assert desc == (
        "3bit: 1.0 kB, KL divergence not measured, speed not measured. "
        "4bit: 1.7 kB, mean KL divergence 0.0000400 ± 0.00002 nats, 1,100 tokens/s on the GPU. "
        "8bit: 3.2 kB, mean KL divergence below 0.000001 nats, 900 tokens/s on the GPU. "
        "bf16 (this variant): 6.0 kB, mean KL divergence 0 nats, 800 tokens/s on the GPU."
    )


def test_screen_readers_find_title_and_description() -> None:
    root = parsed(ladder_chart(DEMO, "acme/Tiny"))
    title, desc = root[0], root[1]
    assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text == "acme/Tiny: size, fidelity and speed of its variants"


HOSTILE = (
    "<script>alert(1)</script>", "</text></svg><svg onload='alert(1)'>", "<!-- x", "]]>", "<![CDATA[x", "&lt;b&gt;", "&",
    "'\"", "a\nb", "nul\x00bell\x07esc\x1b[31m", "\u202eturned", "half \ud800", "none \ufffe\uffff", "zero\u200bwidth",
    "{{ 7 * 7 }}", "{% include 'x' %}", "https://evil.example/x.png", "url(#x)", "", "   ", "日本 🌒", "x" * 500,
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_of_strangers_stays_text(text: str) -> None:
    svg = ladder_chart([here(rung(text, 75e6, 0.4, 0.1, 30)), rung("8bit", 143e6, 0.01)], text)
    root = parsed(svg.encode().decode())
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= TAGS
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    gone = {ord(char): None for char in "\x00\x07\x1b\u202e\ud800\ufffe\uffff\u200b"}
    shown = " ".join(text.translate(gone).split())
    assert root.findtext(f"{SVG}title", "").startswith(f"{shown}: size")
    assert f"{shown} (this variant): 75.0 MB" in root.findtext(f"{SVG}desc", "")
    names = [found.text for found in texts(root) if found.kind == "name here" and found.text]
    assert all(shown.startswith(name.removesuffix("…")) for name in names)


def test_nothing_is_fetched_from_elsewhere() -> None:
    svg = ladder_chart(DEMO, "acme/Tiny").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.findall(r"https?:|//|href|src=|url\(|@import|@font-face|javascript:|data:", svg)
    assert "sans-serif" in svg


def colours(svg: str) -> dict[str, dict[str, str]]:
    """The colours of each mode by selector; dark is light with what the dark rules replace."""
    style = parsed(svg).findtext(f"{SVG}style", "")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    rules = [dict(re.findall(r"(\.ladder [^{]+?) \{ (?:fill|stroke): (#[0-9a-f]{6});", part)) for part in (light, dark)]
    return {"light": rules[0], "dark": {**rules[0], **rules[1]}}


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2 between two colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("mode", "ground"), [(mode, ground) for mode in GROUNDS for ground in GROUNDS[mode]])
def test_texts_and_points_stand_out_from_the_page(mode: str, ground: str) -> None:
    rules = colours(ladder_chart(DEMO, "acme/Tiny"))[mode]
    assert {".ladder text", ".ladder text.here", ".ladder .point", ".ladder .point.here"} <= set(rules)
    for selector, colour in rules.items():
        assert contrast(colour, ground) >= (4.5 if "text" in selector else 3), (selector, colour)


@pytest.mark.parametrize("mode", GROUNDS)
def test_texts_are_legible_where_the_page_is_not_of_the_mode_that_the_system_is(mode: str) -> None:
    rules = colours(ladder_chart(DEMO, "acme/Tiny"))[mode]
    others = [ground for other in GROUNDS if other != mode for ground in GROUNDS[other]]
    for selector, ground in itertools.product([selector for selector in rules if "text" in selector], others):
        assert contrast(rules[selector], ground) >= 3, selector


def test_the_variant_of_the_card_stands_out_without_its_colour() -> None:
    svg = ladder_chart(DEMO, "acme/Tiny")
    for panel in panels(svg):
        own = points(panel)["4bit"][2]
        assert all(own > radius for name, (_, _, radius) in points(panel).items() if name != "4bit")
        bold = [element.text for element in panel.iter(f"{SVG}text") if element.get("class") == "name here"]
        assert bold == ["4bit"]
    assert "this variant" in [text.text for text in texts(parsed(svg))]
    assert "this variant" not in ladder_chart(DEMO[:2], "acme/Tiny")


def said(rungs: list[Rung]) -> list[list[str]]:
    """What the two panels say above and between their axes."""
    return [[text.text for text in texts(panel) if not text.kind] for panel in panels(ladder_chart(rungs, "acme/Tiny"))]


def test_a_panel_without_data_says_so() -> None:
    fidelity, speed = said(SETS["no speed"])
    assert "not measured" not in fidelity
    assert speed == ["Generation, tokens/s", "not measured"]
    assert all("not measured" in words for words in said([]))


def test_a_panel_says_how_many_variants_it_lacks() -> None:
    fidelity, speed = said(SETS["some"])
    assert "lower is closer to the source; 1 of 2 not measured" in fidelity
    assert "higher is faster; 1 of 2 not measured" in speed


def test_a_number_that_no_measurement_gives_is_not_drawn() -> None:
    for wrong in (math.nan, math.inf, -math.inf, 1e300):
        assert all("not measured" in words for words in said([rung("4bit", 75e6, wrong, wrong, wrong)]))
        assert "±" not in ladder_chart([rung("4bit", 75e6, 0.4, wrong, 3)], "acme/Tiny")


def test_speed_on_the_cpu_is_told_apart() -> None:
    slow = [replace(of, device="cpu") for of in DEMO]
    assert said(slow)[1][0] == "Generation on the CPU, tokens/s"
    assert 'class="ring"' not in ladder_chart(slow, "acme/Tiny")
    both = ladder_chart([*slow[:2], *DEMO[2:]], "acme/Tiny")
    assert both.count('class="ring"') == 2
    assert said([*slow[:2], *DEMO[2:]])[1][:2] == ["Generation, tokens/s", "higher is faster; rings: on the CPU"]


STARTS = [digit * 10.0**power for digit in (1, 2.7, 9.9) for power in (-5, -1, 0, 2)]
SPANS = [(low, low * ratio) for low in STARTS for ratio in (1.001, 1.3, 7, 900)]


@pytest.mark.parametrize(("low", "high"), SPANS)
@pytest.mark.parametrize("make", [linear, logarithmic])
def test_ticks_are_few_round_and_written_as_they_are(make: Callable[..., Scale], low: float, high: float) -> None:
    scale = make([low, high], 268, 82)
    ticks = scale.ticks
    assert 2 <= len(ticks) <= 12
    assert len({tick.text for tick in ticks}) == len(ticks)
    assert all(len(tick.text) <= 9 for tick in ticks)
    for tick in ticks:
        assert scale.at(value_of(tick.text)) == tick.at
    if scale.log:
        assert all(f"{value_of(tick.text):.3e}"[:5] in ("1.000", "2.000", "5.000") for tick in ticks)
    else:
        step = value_of(ticks[1].text) - value_of(ticks[0].text)
        assert f"{step:.3e}"[:5] in ("1.000", "2.000", "5.000")
    assert scale.at(low) <= 268
    assert scale.at(high) >= 82


def test_the_unit_of_sizes_is_the_one_of_the_largest() -> None:
    assert [byte_unit(size)[1] for size in (0, 999, 1e6, 75e6, 1e9, 2e12)] == ["kB", "kB", "MB", "MB", "GB", "TB"]


@pytest.mark.parametrize("count", [1, 5, 12, 30])
@pytest.mark.parametrize("apart", [0.0, 0.7, 9.0])
def test_labels_of_a_crowd_do_not_touch(count: int, apart: float) -> None:
    bounds = Box(63, 70, 354, 265)
    crowd = [
        Point(200 + apart * (at * 7 % 13), 150 + apart * (at * 5 % 11), 4.5, f"4bit-gs{at}") for at in range(count)
    ]
    labels = [label for label in place(crowd, 12, bounds) if label]
    assert len(labels) == count or count > 12
    for one, other in itertools.combinations(labels, 2):
        assert not one.box.meets(other.box)
    for label in labels:
        assert label.box.within(bounds)
        assert not any(label.box.meets(point.box) for point in crowd)


def test_the_bold_name_is_never_left_out() -> None:
    crowd = [Point(200, 150, 4.5, f"variant-number-{at}", bold=at == 20) for at in range(30)]
    labels = place(crowd, 12, Box(100, 100, 300, 200))
    assert None in labels
    assert isinstance(labels[20], Label)


def test_a_lonely_name_stands_right_of_its_point_without_a_line() -> None:
    (label,) = place([Point(100, 100, 4.5, "4bit")], 12, PICTURE)
    assert label is not None
    assert (label.anchor, label.x, label.leader) == ("start", 108.5, None)


def test_lines_and_boxes() -> None:
    box = Box(10, 10, 20, 20)
    assert passes((0, 0, 30, 30), box)
    assert passes((15, 0, 15, 30), box)
    assert not passes((0, 0, 9, 9), box)
    assert not passes((0, 12, 12, 30), box)
    assert not passes(None, box)
    assert cross((0, 0, 10, 10), (0, 10, 10, 0))
    assert not cross((0, 0, 10, 10), (0, 10, 4, 6))
    assert not cross((0, 0, 10, 10), None)


def test_the_width_of_a_text_is_never_taken_too_small() -> None:
    for code, (width, bold) in enumerate(zip(thousandths(DEJAVU), thousandths(DEJAVU_BOLD), strict=True), 32):
        assert text_width(chr(code), 1000) >= width, chr(code)
        assert text_width(chr(code), 1000, bold=True) >= bold, chr(code)


def test_a_long_text_is_cut_to_its_room() -> None:
    assert shorten("4bit-gs32-bf16", 128, 12) == "4bit-gs32-bf16"
    cut = shorten("W" * 40, 128, 12)
    assert cut.endswith("W…")
    assert text_width(cut, 12) <= 128
