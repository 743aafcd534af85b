"""What a pull request says of a planned variant."""

from __future__ import annotations

import copy
from pathlib import PurePosixPath

from mlx_publish.card.changes import Proposed, Review, body
from mlx_publish.evidence.evidence import Evidence
from samples import make_evidence
from samples_of_plans import make_learned, make_planned

PATH = PurePosixPath("cards/acme/Tiny-4.5bpw")


def said(now: dict[str, object], before: dict[str, object] | None) -> str:
    return body([Proposed(PATH, Evidence.of(now), before)], Review(web="https://example.org/"))


def test_it_links_the_plan_and_says_how_to_change_it() -> None:
    text = said(make_planned(), None)
    assert f"[plan](https://example.org/{PATH}/quantization-plan.yaml)" in text
    assert "- **Bits** of 4.5bpw: to change them, copy the plan next to the recipe" in text


def test_it_says_where_another_plan_is_followed_than_before() -> None:
    before = copy.deepcopy(make_planned())
    assert "another plan" not in said(make_planned(), before)
    before["quantization"]["plan"]["sha256"] = "0" * 64
    assert "another plan" in said(make_planned(), before)
    assert "another plan" not in said(make_planned(), make_evidence())


def test_of_a_variant_without_a_plan_it_says_nothing_of_one() -> None:
    for evidence in (make_evidence(), make_learned()):
        text = said(evidence, None)
        assert "quantization-plan.yaml" not in text
        assert "**Bits**" not in text
