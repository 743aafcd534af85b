"""The page of architectures, from what was found of each config."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.checks.twin import TwinFacts, judge
from mlx_publish.evidence.proof import TwinProof
from mlx_publish.evidence.records import from_json
from survey import DEFAULT, Row, _shortly, page

FOUND: dict[str, Any] = {
    "problem": "",
    "lost": [],
    "blame": None,
    "boundary": None,
    "class": "X",
    "value": None,
    "mlx_lm": {},
    "versions": {"transformers": "5"},
    "parameters": 1,
    "against": "transformers",
    "texts": [
        {
            "positions": 24,
            "nmse": 0.5,
            "worst_position": 0.5,
            "mean_kld": 0.1,
            "same_first_choice": 0.5,
            "position": place,
            "problem": "",
        }
        for place in (None, 32)
    ],
}
ROWS = [
    Row("llama", DEFAULT, "pass", "", 2e-12),
    Row("llama", "Tiny-1B", "fail", "computes sliding\\_window differently", 0.25),
    Row("mamba", DEFAULT, "warn", "told", 2e-5),
    Row("ours", "Ours-7B", "skip", "transformers has no such type", None),
]


@pytest.fixture
def lines() -> list[str]:
    return page(ROWS, frozenset({"llama", "mamba", "ours", "untried"}), {"transformers": "5.24.0"}).splitlines()


def test_the_best_of_a_type_is_said_and_what_differs_from_it_beside_its_config(lines: list[str]) -> None:
    assert f"| `llama` | yes | proven | {DEFAULT}, Tiny-1B (**refused**) |" in lines
    assert f"| `mamba` | yes | proven, except | {DEFAULT} |" in lines


def test_a_type_that_transformers_does_not_know_or_that_nobody_tried_has_a_row_too(lines: list[str]) -> None:
    assert "| `ours` | no | not proven | Ours-7B |" in lines
    assert "| `untried` | no | not tested |  |" in lines


def test_the_head_counts_what_is_proven_of_what_both_know(lines: list[str]) -> None:
    assert "mlx-lm has 4 model types, of which transformers supports 2. 2 of these" in lines
    assert any("compared with transformers 5.24.0" in line for line in lines)


def test_every_config_has_a_row_of_detail(lines: list[str]) -> None:
    assert lines[-4:] == [
        "| Tiny-1B | llama | **refused** | 2e-01 | computes sliding\\_window differently |",
        f"| {DEFAULT} | llama | proven | 2e-12 |  |",
        f"| {DEFAULT} | mamba | proven, except | 2e-05 | told |",
        "| Ours-7B | ours | not proven |  | transformers has no such type |",
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            {"blame": "sliding_window", "boundary": {"key": "sliding_window", "position": 4096}},
            "computes sliding_window differently from position 4,096",
        ),
        ({"blame": "key_multiplier"}, "computes key_multiplier differently"),
        ({"lost": ["a.bias", "b.bias"]}, "lacks a.bias"),
        ({"problem": "mlx-lm | cannot\n" + "x" * 300}, "mlx-lm \\| cannot " + "x" * 143 + "..."),
    ],
)
def test_the_cell_says_what_differs(found: dict[str, Any], words: str) -> None:
    facts = TwinFacts(from_json(TwinProof, {**FOUND, **found}))
    assert _shortly(facts, judge(facts, {}).message) == words


def test_the_cell_says_why_nothing_is_known() -> None:
    assert _shortly(TwinFacts(None, "it is too old"), "") == "it is too old"
