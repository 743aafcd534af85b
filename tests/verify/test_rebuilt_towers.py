"""A model whose towers were quantized is made again with towers of the same bits."""

from __future__ import annotations

import pytest

from mlx_publish.card.render import render_card
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.verify.rebuild import recipe_of
from samples_that_see import make_seeing


def evidence(bits: int | None, group: int | None) -> Evidence:
    """Evidence of a model that sees, with a tower and a projector; None: as in the source."""
    found = make_seeing()
    for tower in found["model"]["towers"]:
        tower |= {"bits": bits, "group_size": group}
    return Evidence.of(found)


@pytest.mark.parametrize(("bits", "group", "read"), [(8, 64, (8, 64)), (4, 32, (4, 32)), (6, None, (6, 64))])
def test_the_recipe_of_evidence_quantizes_towers_as_the_publisher_did(
    bits: int, group: int | None, read: tuple[int, int]
) -> None:
    kept = recipe_of(evidence(bits, group)).spec.towers
    assert kept is not None
    assert (kept.bits, kept.group) == read


def test_the_recipe_of_evidence_keeps_towers_that_nobody_quantized() -> None:
    assert recipe_of(evidence(None, None)).spec.towers is None


@pytest.mark.parametrize(
    ("bits", "group", "words"),
    [
        (8, 64, "--group-size 64 --towers 8bit`"),
        (4, 32, "--group-size 64 --towers 4bit # in a recipe, with towers: {bits: 4, group_size: 32}`"),
        (None, None, "--group-size 64`"),
    ],
)
def test_the_command_of_the_card_makes_the_same_towers(bits: int | None, group: int | None, words: str) -> None:
    assert words in render_card("Tiny-4bit", "acme/Tiny-4bit", "", evidence(bits, group))
