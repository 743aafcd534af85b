"""A card in a real browser: nothing stands out of a phone's page, and its chart can be read there."""

from __future__ import annotations

from pathlib import Path

import pytest

from card_pages import CHROMIUM, DOCS, WIDTHS, example, measured, planned_example
from mlx_publish.card.chart import FONT, WIDTH
from samples import make_evidence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine (apt-get install chromium)"),
]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_stands_out_of_the_page(width: int, tmp_path: Path) -> None:
    for evidence in (example(), planned_example()):
        found = measured(tmp_path, evidence, width)
        assert found["overflow"] == []
        assert found["scroll"] <= found["wide"] == width


def test_the_card_of_a_long_name_fits_a_phone(tmp_path: Path) -> None:
    name = "A-Very-Long-Name-Of-A-Model-That-Nobody-Would-Choose-But-Somebody-Did-4bit"
    found = measured(tmp_path, make_evidence(destination={"name": name, "repo": f"acme/{name}"}), 360)
    assert found["overflow"] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_texts_of_the_chart_have_9_pixels_at_least(width: int, tmp_path: Path) -> None:
    found = measured(tmp_path, example(), width)
    assert found["loaded"]
    assert FONT * found["image"] / WIDTH >= 9


def test_the_pictures_in_docs_are_small() -> None:
    pictures = sorted(DOCS.glob("card-*.png"))
    assert len(pictures) == 2 * len(WIDTHS)
    assert sum(path.stat().st_size for path in pictures) < 1_000_000
