"""Judgement of pixel values, and of a twin to which pictures are shown."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.checks.base import Says
from mlx_publish.checks.pixels import PIXELS
from mlx_publish.checks.twin import TwinFacts, judge, judge_pictures
from mlx_publish.evidence.pixels import PixelsCompared
from mlx_publish.evidence.proof import TwinProof
from mlx_publish.evidence.records import from_json

TEXT = {
    "positions": 24, "nmse": 1e-12, "worst_position": 1e-11, "same_first_choice": 1.0, "problem": "", "mean_kld": 0.0,
    "position": None,
}  # fmt: skip
FOUND = {
    "class": "SomeModel", "parameters": 9, "problem": "", "lost": [], "against": "transformers",
    "versions": {"transformers": "5.24.0"}, "mlx_lm": {"mlx-vlm": "0.7.10"}, "boundary": None, "blame": None,
    "value": None, "texts": [TEXT, TEXT],
}  # fmt: skip


def pixels(*differing: str, reason: str = "", pictures: int = 6, drops: bool = False) -> Says:
    return PIXELS[0].run(PixelsCompared(reason, pictures, differing, drops))


def test_equal_pixel_values_pass_and_dropped_transparency_is_said() -> None:
    assert pixels().status == "pass"
    assert "drops transparency" in pixels(drops=True).message


def test_other_pixel_values_are_refused_with_the_pictures() -> None:
    says = pixels("a: grid", "b: mean", "c: filter", "d: size")
    assert says.status == "fail"
    assert says.message.endswith("a: grid; b: mean; c: filter and 1 more")


@pytest.mark.parametrize("says", [pixels(reason="it needs torch"), pixels(pictures=0)])
def test_what_is_not_compared_is_told(says: Says) -> None:
    assert (says.status, says.details["told"]) == ("skip", True)


def pictures(problem: str = "", not_proven: str = "", blame: str | None = None, **numbers: Any) -> Says:
    texts = [] if problem or not_proven else [{**TEXT, "pictures": count, "part": "", **numbers} for count in (1, 2)]
    seen = {"problem": problem, "not_proven": not_proven, "texts": texts}
    proof = from_json(TwinProof, {**FOUND, "pictures": seen, "blame": blame})
    return judge_pictures(TwinFacts(proof), {"vision_config": {"hidden_act": "silu"}}, "mlx-vlm")


@pytest.mark.parametrize(("nmse", "status"), [(1e-12, "pass"), (5e-8, "warn"), (2e-6, "fail"), (0.1, "fail")])
def test_logits_with_pictures_agree_within_a_thousandth_of_their_spread(nmse: float, status: str) -> None:
    assert pictures(nmse=nmse).status == status


def test_a_difference_is_refused_with_position_part_and_key() -> None:
    says = pictures(nmse=0.1, position=13, part="the tower or the projector", blame="vision_config.hidden_act")
    assert says.message == (
        "with an image, mlx-vlm does not compute what transformers 5.24.0 computes from position 13 on (normalised "
        "squared error 1.0e-01): the tower or the projector differs; it ignores vision_config.hidden_act (silu) or "
        "computes it otherwise"
    )


def test_what_fails_with_a_picture_is_refused_and_what_was_not_shown_is_told() -> None:
    assert "mlx-vlm cannot compute an image, and transformers 5.24.0 can: it broke" in pictures("it broke").message
    says = pictures(not_proven="its processor needs torch")
    assert (says.status, says.details["told"]) == ("skip", True)
    assert says.message == "what mlx-vlm computes of images is not proven: its processor needs torch"


def test_where_there_is_no_proof_its_reason_is_told() -> None:
    says = judge_pictures(TwinFacts(None, "torch is not installed"), {}, "mlx-vlm")
    assert says.message == "what mlx-vlm computes of images is not proven: torch is not installed"


def test_a_scale_of_logits_that_both_sides_take_from_other_originals_is_told_and_does_not_refuse() -> None:
    blame = "text_config.logit_scale"
    text = {**TEXT, "nmse": 0.57, "position": 0}
    seen = {"problem": "", "not_proven": "", "texts": [{**text, "pictures": count, "part": ""} for count in (1, 2)]}
    proof = from_json(TwinProof, {**FOUND, "texts": [text, text], "pictures": seen, "blame": blame})
    for kind, status in (("aya_vision", "warn"), ("cohere2_vision", "warn"), ("idefics3", "fail")):
        config = {"model_type": kind, "text_config": {"logit_scale": 0.25}}
        for says in (judge(TwinFacts(proof), config, "mlx-vlm"), judge_pictures(TwinFacts(proof), config, "mlx-vlm")):
            assert says.status == status, (kind, says.message)
            assert "text_config.logit_scale (0.25)" in says.message
