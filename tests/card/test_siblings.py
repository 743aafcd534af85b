"""The variants beside each other, and which one to take."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.card.words import by_size, choice, here, shared
from mlx_publish.evidence.evidence import Rung
from samples import record, rung

TWO, FOUR, SIX, EIGHT = (
    rung(f"{bits}bit", bits * 10**7, bits + 0.5, kld) for bits, kld in ((2, 3.0), (4, 0.3), (6, 0.04), (8, 0.004))
)


def rungs(*ladder: dict[str, Any]) -> list[Rung]:
    return [Rung.model_validate(one) for one in ladder]


def labels(found: dict[str, Rung | None]) -> dict[str, str]:
    return {key: one.label for key, one in found.items() if one}


@pytest.mark.parametrize(
    ("ladder", "chosen"),
    [
        ([EIGHT, FOUR, SIX, TWO], {"take": "6bit", "better": "8bit"}),
        ([TWO, FOUR], {"closest": "4bit"}),
        ([EIGHT, TWO], {"take": "8bit"}),
        ([SIX], {"take": "6bit"}),
        ([], {}),
        ([FOUR | {"mean_kld": None}], {}),
        # The zero of what was compared with another variant is another one.
        ([FOUR | {"against": "8bit", "mean_kld": 0.1}, EIGHT], {"take": "4bit"}),
    ],
)
def test_the_smallest_that_is_close_is_to_be_taken(ladder: list[Any], chosen: dict[str, str]) -> None:
    assert labels(choice(rungs(*ladder))) == chosen


def test_they_stand_by_size() -> None:
    assert [one.label for one in by_size(rungs(EIGHT, TWO, SIX))] == ["2bit", "6bit", "8bit"]
    assert by_size(rungs(TWO | {"label": "b"}, TWO | {"label": "a"}))[0].label == "a"


def test_the_one_of_this_card_is_found() -> None:
    found = here(record())
    assert found is not None
    assert found.label == "4bit"
    assert here(record(ladder=[])) is None


@pytest.mark.parametrize(
    ("values", "common"), [(("M4", "M4"), "M4"), (("M4", None), "M4"), (("M4", "M1"), None), ((None, None), None)]
)
def test_what_all_have_in_common(values: tuple[Any, Any], common: str | None) -> None:
    assert shared(values) == common
