"""The chart of a recipe's variants: read back from the picture, it says what was measured.

To write the golden file anew: `MLX_PUBLISH_GOLDEN=write pytest tests/card`.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from mlx_publish.card.chart import FONT, LONGEST_BAR, WIDTH, Rung, ladder_chart, shorten, text_width
from mlx_publish.recipes.recipe import MOST_VARIANTS

GOLDEN = Path(__file__).parent / "golden" / "ladder.svg"
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
    return Rung(label, int(size), kld, error, tps, "GPU" if tps is not None else None, here=False)


def here(of: Rung) -> Rung:
    return replace(of, here=True)


DEMO = [
    rung("8bit", 143e6, 0.003, 0.0002, 141.2),
    rung("6bit", 109e6, 0.029, 0.002, 167.0),
    here(rung("4bit", 75.7e6, 0.45, 0.03, 198.3)),
    rung("3bit", 58.9e6, 2.3, 0.1, 189.0),
    rung("2bit", 42.1e6, 14.5, 0.4, 221.0),
]
LARGE = [
    rung("bf16", 141e9, 0.0, 0.0, 4.2),
    rung("8bit", 75e9, 0.0009, 0.0001, 8.1),
    rung("6bit", 57.3e9, 0.0031, 0.0002, 10),
    here(rung("4bit", 39.7e9, 0.021, 0.015, 14.7)),
    rung("4bit-gs32-bf16", 44.1e9, 0.016, 0.001, 13.3),
    rung("mixed_3_6", 34.2e9, 0.062, 0.003, 16.2),
    rung("3bit", 30.9e9, 0.11, 0.2, 17.9),
]
NAMES = ["4bit", "4bit-gs32", "4bit-gs32-bf16", "4bit-gs128", "mixed_3_6", "mixed_3_4", "mixed_4_6", "mxfp4", "nvfp4"]
CLOSE = [rung(name, 75e6 + at * 37e4, 0.45 - at * 0.01, 0.02, 58 + at % 3) for at, name in enumerate(NAMES)]
TINY = [
    rung("8bit", 3.2e3, 1.3e-7, 1e-8, 900),
    here(rung("bf16", 6e3, 0.0, 0.0, 800)),
    rung("4bit", 1.7e3, 4e-5, 2e-5, 1100),
]
ALIKE = [rung(f"variant-{at}", 75e6, 0.4, 0.1, 58) for at in range(8)]
SETS = {
    "demo": DEMO,
    "large": LARGE,
    "close": CLOSE,
    "tiny": TINY,
    "alike": ALIKE,
    "one": [here(DEMO[2])],
    "one unquantized": [rung("bf16", 270e6, 0.0, 0.0, 30)],
    "no speed": [rung("8bit", 143e6, 0.003), rung("4bit", 75e6, 0.4)],
    "some": [rung("8bit", 143e6, 0.003), rung("4bit", 75e6, None, None, 30)],
    "nothing": [rung("8bit", 143e6, None)],
    "none": [],
    "wide": [rung("W" * 40, 143e6, 0.003, None, 5), rung("日本語" * 9, 120e6, 0.02, None, 4)],
}


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


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
            float(element.get("font-size", FONT)),
            number(element, "x"),
            number(element, "y"),
        )
        widths = thousandths(DEJAVU_BOLD if element.get("font-weight") else DEJAVU)
        width = sum(widths[ord(char) - 32] if " " <= char <= "~" else 1000 for char in text) * size / 1000
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor", "start")]
        box = Box(left, y - 0.76 * size, left + width, y + 0.24 * size)
        found.append(Text(text, element.get("class", ""), box))
    return found


class Drawn(NamedTuple):
    """A row of the picture: its texts by column, and its shapes by what they are."""

    size: str
    fidelity: str
    speed: str
    bars: list[float]
    dot: float | None
    floor: float | None
    error: tuple[float, float] | None
    shapes: list[Box]


def rows(svg: str) -> dict[str, Drawn]:
    """All rows by the name in their title, from above to below."""
    return {
        re.split(r":| \(this", row.findtext(f"{SVG}title", ""))[0]: drawn(row)
        for row in parsed(svg).iter(f"{SVG}g")
        if row.get("class") == "row"
    }


def drawn(row: ET.Element) -> Drawn:
    words = {(text.get("class") or "").split()[0]: text.text or "" for text in row.iter(f"{SVG}text")}
    bars, circles = list(row.iter(f"{SVG}rect")), list(row.iter(f"{SVG}circle"))
    paths = {
        path.get("class"): [float(part) for part in re.findall(r"-?[\d.]+", path.get("d", ""))]
        for path in row.iter(f"{SVG}path")
    }
    floor, error = paths.get("floor"), paths.get("error")
    shapes = [
        Box(number(bar, "x"), number(bar, "y"), number(bar, "x") + number(bar, "width"), number(bar, "y") + 8)
        for bar in bars
    ]
    shapes += [
        Box(
            *(number(dot, at) - number(dot, "r") for at in ("cx", "cy")),
            *(number(dot, at) + number(dot, "r") for at in ("cx", "cy")),
        )
        for dot in circles
    ]
    if floor:
        shapes.append(Box(floor[0] + floor[3], floor[1], floor[0], floor[1] + floor[2]))
    return Drawn(
        words["size"],
        words.get("fidelity", ""),
        words.get("speed", ""),
        [number(bar, "width") for bar in bars],
        number(circles[0], "cx") if circles else None,
        floor[0] + floor[3] if floor else None,
        (error[0], error[2]) if error else None,
        shapes,
    )


def value_of(text: str) -> float:
    """The number that the end of an axis is called by."""
    text = text.removeprefix("≤ ").replace(",", "").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(f"1e{text.removeprefix('10')}") if re.fullmatch(r"10-\d+", text) else float(text)


def ends(svg: str) -> list[tuple[float, str]]:
    """Where the axis of fidelities begins and ends, with what stands there."""
    return [
        (number(text, "x"), text.text or "") for text in parsed(svg).iter(f"{SVG}text") if text.get("class") == "tick"
    ]


def nats(svg: str, at: float) -> float:
    """The value at a place on the axis, by the ends that a reader sees."""
    (start, first), (end, last) = ends(svg)
    low, high = math.log10(value_of(first)), math.log10(value_of(last))
    return float(10 ** (low + (at - start) / (end - start) * (high - low)))


@pytest.mark.parametrize("name", SETS)
def test_bars_and_dots_are_as_long_and_stand_where_the_numbers_say(name: str) -> None:
    svg = ladder_chart(SETS[name], "acme/Tiny")
    found = rows(svg)
    assert list(found) == [of.label for of in sorted(SETS[name], key=lambda of: (of.weight_bytes, of.label))]
    largest = max((of.weight_bytes for of in SETS[name]), default=0)
    fastest = max((of.generation_tps or 0 for of in SETS[name]), default=0)
    for of in SETS[name]:
        row = found[of.label]
        bars = [LONGEST_BAR * of.weight_bytes / largest]
        bars += [LONGEST_BAR * of.generation_tps / fastest] if of.generation_tps else []
        assert row.bars == pytest.approx(bars, abs=0.06)
        assert (row.speed in ("not measured", "")) == (of.generation_tps is None)
        assert (row.fidelity in ("not measured", "")) == (of.mean_kld is None)
        if row.dot is not None:
            assert nats(svg, row.dot) == pytest.approx(of.mean_kld, rel=0.06)


MANY = [
    Rung(f"4bit-gs{at}", 1_234_560_000_000 + at, 123.4, 90, 99_999, ("CPU", "GPU", "CUDA")[at % 3], here=at == 3)
    for at in range(MOST_VARIANTS)
]


@pytest.mark.parametrize("rungs", [*SETS.values(), MANY], ids=[*SETS, "many"])
def test_every_text_can_be_read_whatever_the_font(rungs: list[Rung]) -> None:
    subject = "A subject whose name is so long that no page is wide enough for it, nor any reader patient"
    root = parsed(svg := ladder_chart(rungs, subject))
    written, shapes = texts(root), [shape for row in rows(svg).values() for shape in row.shapes]
    picture = Box(*(float(side) for side in root.get("viewBox", "").split()))
    for text, other in itertools.combinations(written, 2):
        assert not text.box.meets(other.box), (text.text, other.text)
    for text, shape in itertools.product(written, shapes):
        assert not text.box.meets(shape), text
    assert all(box.within(picture) for box in (*(text.box for text in written), *shapes))
    for line in root.iter(f"{SVG}line"):
        assert Box(*(number(line, at) for at in ("x1", "y1", "x2", "y2"))).within(picture)


def test_errors_reach_as_far_as_they_are_where_they_are_wider_than_the_dot() -> None:
    svg = ladder_chart(LARGE, "acme/Large")
    errors = {name: row.error for name, row in rows(svg).items() if row.error}
    assert set(errors) == {"4bit", "3bit"}
    assert [nats(svg, at) for at in errors["4bit"]] == pytest.approx([0.006, 0.036], rel=0.04)
    assert nats(svg, errors["3bit"][1]) == pytest.approx(0.31, rel=0.04)
    # 0.11 ± 0.2 reaches below 0, which is below every logarithmic axis.
    assert errors["3bit"][0] == ends(svg)[0][0]


@pytest.mark.parametrize("rungs", [LARGE, TINY, SETS["one unquantized"]])
def test_what_is_not_measurably_above_zero_is_drawn_as_at_most_a_floor(rungs: list[Rung]) -> None:
    svg = ladder_chart(rungs, "acme/Tiny")
    (start, floor), _ = ends(svg)
    assert floor.startswith("≤ ")
    for of in rungs:
        row = rows(svg)[of.label]
        assert of.mean_kld is not None
        assert (row.floor, row.dot is None) == ((start, True) if of.mean_kld < 1e-6 else (None, False))
        assert of.mean_kld <= value_of(floor) or of.mean_kld >= 2 * value_of(floor)


def test_an_axis_without_a_floor_claims_none() -> None:
    assert "≤" not in ladder_chart(DEMO, "acme/Tiny")


@pytest.mark.parametrize("value", [digit * 10.0**power for digit in (1, 2.7, 9.9) for power in range(-5, 5)])
def test_an_axis_of_one_value_has_round_ends_around_it(value: float) -> None:
    svg = ladder_chart([rung("4bit", 75e6, value)], "acme/Tiny")
    (start, low), (end, high) = ends(svg)
    assert value_of(low) <= value * (1 + 1e-9)
    assert value <= value_of(high) * (1 + 1e-9)
    assert value_of(high) / value_of(low) == pytest.approx(10)
    dot = rows(svg)["4bit"].dot
    assert dot is not None
    assert start <= dot <= end


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
        "4bit: 1.7 kB, near-identical, mean KL divergence 0.0000400 ± 0.00002 nats, 1,100 tokens/s on the GPU. "
        "8bit: 3.2 kB, near-identical, mean KL divergence below 0.000001 nats, 900 tokens/s on the GPU. "
        "bf16 (this variant): 6.0 kB, near-identical, mean KL divergence 0 nats, 800 tokens/s on the GPU."
    )


def test_screen_readers_find_title_and_description() -> None:
    root = parsed(ladder_chart(DEMO, "acme/Tiny"))
    title, desc = root[0], root[1]
    assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text == "acme/Tiny: size, fidelity and speed of its variants"


HOSTILE = (
    "<script>alert(1)</script>",
    "</text></svg><svg onload='alert(1)'>",
    "<!-- x",
    "]]>",
    "<![CDATA[x",
    "&lt;b&gt;",
    "&",
    "'\"",
    "a\nb",
    "nul\x00bell\x07esc\x1b[31m",
    "\u202eturned",
    "half \ud800",
    "none \ufffe\uffff",
    "zero\u200bwidth",
    "{{ 7 * 7 }}",
    "{% include 'x' %}",
    "https://evil.example/x.png",
    "url(#x)",
    "",
    "   ",
    "日本 🌒",
    "x" * 500,
)


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
    root = parsed(ladder_chart(DEMO, "acme/Tiny"))
    bold = [
        text.text for text in root.iter(f"{SVG}text") if text.get("font-weight") and "name" in text.get("class", "")
    ]
    assert bold == ["4bit"]
    radii = {number(circle, "cx"): number(circle, "r") for circle in root.iter(f"{SVG}circle")}
    assert sorted(radii.values()) == [4.5] * (len(DEMO) - 1) + [5.5] * 2
    assert "this variant" in [text.text for text in texts(root)]
    assert "this variant" not in ladder_chart(DEMO[:2], "acme/Tiny")


def test_what_was_not_measured_says_so() -> None:
    found = rows(ladder_chart(SETS["some"], "acme/Tiny"))
    assert (found["8bit"].fidelity, found["8bit"].speed) == ("0.00300", "not measured")
    assert (found["4bit"].fidelity, found["4bit"].speed) == ("not measured", "30.0")
    assert not ends(ladder_chart(SETS["nothing"], "acme/Tiny"))


def test_a_number_that_no_measurement_gives_is_not_drawn() -> None:
    for wrong in (math.nan, math.inf, -math.inf, 1e300):
        row = rows(ladder_chart([rung("4bit", 75e6, wrong, wrong, wrong)], "acme/Tiny"))["4bit"]
        assert (row.fidelity, row.speed, row.dot, len(row.bars)) == ("", "", None, 1)
        assert "±" not in ladder_chart([rung("4bit", 75e6, 0.4, wrong, 3)], "acme/Tiny")


def test_speed_on_the_cpu_is_told_apart() -> None:
    slow = [replace(of, kind="CPU") for of in DEMO]
    alone, both = ladder_chart(slow, "acme/Tiny"), ladder_chart([*slow[:2], *DEMO[2:]], "acme/Tiny")
    assert "Tokens/s (CPU)" in [text.text for text in texts(parsed(alone))]
    assert "Tokens/s (CPU)" not in [text.text for text in texts(parsed(both))]
    assert not any("(" in row.speed for row in rows(alone).values())
    assert {name: row.speed[-5:] for name, row in rows(both).items()} == {
        "2bit": "(GPU)",
        "3bit": "(GPU)",
        "4bit": "(GPU)",
        "6bit": "(CPU)",
        "8bit": "(CPU)",
    }


def test_speed_on_an_nvidia_gpu_is_neither_a_macs_nor_a_cpus() -> None:
    cuda = [replace(of, kind="CUDA") for of in DEMO]
    alone, mixed = ladder_chart(cuda, "acme/Tiny"), ladder_chart([*cuda[:2], *DEMO[2:]], "acme/Tiny")
    assert "Tokens/s (CUDA)" in [text.text for text in texts(parsed(alone))]
    assert "Tokens/s (CUDA)" not in [text.text for text in texts(parsed(mixed))]
    assert "tokens/s on an NVIDIA GPU (CUDA)." in alone
    assert "on the GPU" not in alone
    assert {row.speed.partition(" ")[2] for row in rows(mixed).values()} == {"(CUDA)", "(GPU)"}


def test_the_width_of_a_text_is_never_taken_too_small() -> None:
    for code, (width, bold) in enumerate(zip(thousandths(DEJAVU), thousandths(DEJAVU_BOLD), strict=True), 32):
        assert text_width(chr(code), 1000) >= width, chr(code)
        assert text_width(chr(code), 1000, bold=True) >= bold, chr(code)


def test_a_long_text_is_cut_to_its_room() -> None:
    assert shorten("4bit-gs32-bf16", 128, 12) == "4bit-gs32-bf16"
    cut = shorten("W" * 40, 128, 12)
    assert cut.endswith("W…")
    assert text_width(cut, 12) <= 128


@pytest.mark.parametrize(
    ("name", "headings"),
    [
        ("demo", ["Size", "Mean KLD", "Tokens/s"]),
        ("no speed", ["Size", "Mean KLD"]),
        ("nothing", ["Size"]),
        ("some", ["Size", "Mean KLD", "Tokens/s"]),
    ],
)
def test_a_panel_without_a_single_number_is_left_out(name: str, headings: list[str]) -> None:
    root = parsed(ladder_chart(SETS[name], "acme/Tiny"))
    assert [text.text for text in texts(root) if text.text in ("Size", "Mean KLD", "Tokens/s")] == headings


def test_each_measured_variant_has_its_word() -> None:
    words = [text.text for text in texts(parsed(ladder_chart(DEMO, "acme/Tiny"))) if text.kind.startswith("word")]
    assert words == ["heavily lossy", "heavily lossy", "heavily lossy", "very close", "near-identical"]


def test_no_text_is_smaller_than_9_pixels_on_a_phone() -> None:
    root = parsed(ladder_chart(DEMO, "acme/Tiny"))
    sizes = [float(element.get("font-size", root.get("font-size", ""))) for element in root.iter(f"{SVG}text")]
    assert min(sizes) * 328 / WIDTH >= 9
