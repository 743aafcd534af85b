"""The chart of a planned or learned variant: all variants once more, over the curve of plain rounding.

To write the golden file anew: `MLX_PUBLISH_GOLDEN=write pytest tests/card`.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mlx_publish.card.chart import FONT, WIDTH, Rung, ladder_chart, text_width
from mlx_publish.card.render import has_chart, render_card, render_chart
from mlx_publish.card.rounding_chart import Point
from mlx_publish.evidence.evidence import Evidence
from samples import make_evidence
from samples_of_plans import GAIN, make_learned, make_planned

GOLDEN = Path(__file__).parent / "golden" / "ladder-planned.svg"
SVG = "{http://www.w3.org/2000/svg}"
CURVE = [
    Point(f"{bits}bit", int(size * 1e6), kld)
    for bits, size, kld in ((2, 42.1, 14.5), (3, 58.9, 2.3), (4, 75.7, 0.45), (5, 92.0, 0.13), (8, 143, 0.003))
]


def variants(*of: tuple[str, float, float | None]) -> list[Rung]:
    """The first is that of the card."""
    return [
        Rung(label, int(size * 1e6), kld, None, None, None, here=number == 0)
        for number, (label, size, kld) in enumerate(of)
    ]


PLANNED = variants(("4.5bpw", 75.6, 0.22), ("8bit", 143, 0.003), ("bf16", 270, 0.0))


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 -- it is ours


def panel(svg: str) -> ET.Element:
    return next(group for group in parsed(svg).iter(f"{SVG}g") if group.get("class") == "rounding")


def dots(svg: str, *, here: bool) -> list[tuple[float, float]]:
    wanted = "point here" if here else "point"
    groups = [group for group in panel(svg).iter(f"{SVG}g") if group.get("class") == wanted]
    circles = [circle for group in groups for circle in group.iter(f"{SVG}circle")]
    return [(float(circle.get("cx", "")), float(circle.get("cy", ""))) for circle in circles]


def line(svg: str) -> list[tuple[float, float]]:
    path = [one for one in panel(svg).iter(f"{SVG}path") if one.get("class") == "curve"][1]
    numbers = [float(number) for number in re.findall(r"[\d.]+", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def texts(svg: str, kind: str) -> list[str]:
    return [str(text.text) for text in panel(svg).iter(f"{SVG}text") if text.get("class") == kind]


def test_the_variant_stands_below_the_line_that_it_is_compared_with() -> None:
    svg = ladder_chart(PLANNED, "acme/Tiny", CURVE)
    points, [(x, y)] = line(svg), dots(svg, here=True)
    assert len(points) == len(CURVE)
    assert [one[0] for one in points] == sorted(one[0] for one in points)
    (left, upper), (right, lower) = next(pair for pair in itertools.pairwise(points) if pair[0][0] <= x <= pair[1][0])
    on_the_line = upper + (x - left) / (right - left) * (lower - upper)
    assert y > on_the_line
    # Nats and bytes, read back from the picture.
    decade = (points[4][1] - points[0][1]) / (math.log10(14.5) - math.log10(0.003))
    assert (y - points[0][1]) / decade == pytest.approx(math.log10(14.5) - math.log10(0.22), abs=0.01)
    per_byte = (points[4][0] - points[0][0]) / (143e6 - 42.1e6)
    assert (x - points[0][0]) / per_byte == pytest.approx(75.6e6 - 42.1e6, rel=0.01)


def test_a_variant_without_loss_or_measurement_has_no_place_on_the_line_and_keeps_its_row() -> None:
    svg = ladder_chart([*PLANNED, replace(PLANNED[1], label="6bit", mean_kld=None)], "acme/Tiny", CURVE)
    assert len(dots(svg, here=False)) == len(CURVE) + 1
    assert ">bf16</text>" in svg
    assert ">6bit</text>" in svg


@pytest.mark.parametrize("points", [CURVE, CURVE[2:4], CURVE[2:3]], ids=["all", "two", "one"])
def test_everything_stands_inside_of_the_picture_and_no_two_names_meet(points: Sequence[Point]) -> None:
    svg = ladder_chart(PLANNED, "acme/Tiny", points)
    _, _, wide, tall = map(float, str(parsed(svg).get("viewBox")).split())
    assert wide == WIDTH
    for x, y in (*line(svg), *dots(svg, here=True), *dots(svg, here=False)):
        assert 0 < x < wide - 5.5
        assert 0 < y < tall - 5.5
    ticks = [text for text in panel(svg).iter(f"{SVG}text") if text.get("class") == "width"]
    ends = [
        (float(tick.get("x", "")) - half, float(tick.get("x", "")) + half)
        for tick in ticks
        for half in [text_width(str(tick.text), FONT) / 2]
    ]
    assert ends
    assert ends[0][0] > 0
    assert ends[-1][1] < wide
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))


def test_names_that_would_meet_are_left_out() -> None:
    far = variants(("16bpw", 4000, 0.001))
    svg = ladder_chart(far, "acme/Tiny", CURVE)
    assert texts(svg, "width")[0] == "2bit"
    assert len(texts(svg, "width")) < len(CURVE)
    assert "plain 3bit: 58.9 MB, mean KL divergence 2.30 nats" in svg


def test_numbers_that_no_measurement_gives_draw_nothing() -> None:
    for broken in (math.inf, math.nan, 1e9, 0.0):
        svg = ladder_chart(PLANNED, "acme/Tiny", [Point("2bit", 42, broken)])
        assert 'class="rounding"' not in svg
        assert svg == ladder_chart(PLANNED, "acme/Tiny")


def test_the_order_changes_nothing_and_labels_are_plain_text() -> None:
    svg = ladder_chart(PLANNED, "acme/Tiny", CURVE)
    assert ladder_chart(PLANNED[::-1], "acme/Tiny", CURVE[::-1]) == svg
    hostile = ladder_chart(PLANNED, "acme/Tiny", [Point("</text><script>\x00", 75, 0.1), *CURVE])
    assert "<script>" not in hostile
    parsed(hostile)


def test_a_single_planned_variant_has_a_chart_that_its_card_shows() -> None:
    for made in (make_planned, make_learned):
        data = made()
        alone = Evidence.of({**data, "ladder": data["ladder"][:1]})
        assert has_chart(alone)
        assert 'class="rounding"' in str(render_chart(alone))
        assert "(ladder.svg)" in render_card("x", "acme/x", "", alone)
    plain = make_evidence()
    single = Evidence.of({**plain, "ladder": plain["ladder"][:1]})
    assert not has_chart(single)
    assert render_chart(single) is None


def test_the_chart_of_a_planned_variant_is_the_golden_one() -> None:
    text = ladder_chart(PLANNED, "SmolLM2-135M-Instruct", CURVE)
    if os.environ.get("MLX_PUBLISH_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text.encode() == GOLDEN.read_bytes()


def card_of(difference: float, error: float) -> str:
    """The section about quantization of a card with such a gain."""
    data = make_planned()
    rounding = 0.04553
    gain = {**GAIN, "difference": difference, "difference_error": error, "mean_kld": rounding + difference}
    data["fidelity"] = {**data["fidelity"], "gain": gain}
    return render_card("x", "acme/x", "", Evidence.of(data))


def test_the_card_tells_a_gain_inside_the_noise_and_a_loss_that_was_accepted() -> None:
    clear, unclear, loss = card_of(-0.02, 0.002), card_of(-0.002, 0.002), card_of(0.02, 0.002)
    assert "The difference is -0.020 ± 0.0041 nats (95 %), on the same positions." in clear
    assert "which is inside the noise of the text" in unclear
    assert "44 % more KLD than plain rounding at equal bytes" in loss
    unproven = make_planned()
    unproven["fidelity"] = {key: value for key, value in unproven["fidelity"].items() if key != "gain"}
    text = render_card("x", "acme/x", "", Evidence.of(unproven))
    assert "It was **not compared** with plain rounding at equal bytes." in text
