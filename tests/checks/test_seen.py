"""What is judged of pictures and sounds: places in prompts, answers, and what moves a model beside its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from mlx_publish.chat.media import asked_in
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.chat.sounds import SOUNDS
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.seen import SEEN, SeenFacts, slot
from mlx_publish.evidence.measured import Answer, RenderedText
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.seen import Apart, Perceived, Shown, Slots, SlotsRendered, moved

RIGHT = {medium.name: " ".join(medium.right) for medium in asked_in(PICTURES)}
HEARD = {medium.name: medium.right[0] for medium in asked_in(SOUNDS)}
SAME = dict.fromkeys(RIGHT, "Red.")
BEFORE = [[-1.0, -2.0, -3.0], [-0.5, -4.0, -5.0]]
MOVE = [[0.5, -1.0, 0.0], [-0.25, 2.0, 1.0]]


def said(text: str, tokens: Sequence[int] = (5, 6), leaked: Sequence[str] = ()) -> Answer:
    return Answer("prompt", 40, text, tokens, "length", None, leaked)


def shown(answers: Mapping[str, str], places: int | None = 9, prompt: str = "a" * 64) -> dict[str, Shown]:
    return {name: Shown(said(text), places, prompt) for name, text in answers.items()}


def apart(move: Sequence[Sequence[float]], share: float = 1.0) -> Apart:
    after = [
        [score + share * by for score, by in zip(scores, own, strict=True)]
        for scores, own in zip(BEFORE, move, strict=True)
    ]
    return Apart([5, 6], [[1, 2, 3], [4, 5, 6]], BEFORE, after)


def perceived(
    answers: Mapping[str, str] = RIGHT, *, share: float = 1.0, move: Sequence[Sequence[float]] = MOVE
) -> Perceived:
    contrasts = [*PICTURES, *SOUNDS]
    return Perceived(
        "float32", [2], 100, shown(answers), {contrast.name: apart(move, share) for contrast in contrasts}, {}
    )


def text(words: str, ids: Sequence[int] = (1, 2, 3)) -> RenderedText:
    return RenderedText(words, ids)


GOOD = SlotsRendered(
    {"picture first": Slots(text("user: <image>What?"), text("user: <image>What?"), "user: What?", "user: What?")},
    "parts",
)


def judged(
    made: Perceived,
    source: Perceived | None = None,
    slots: SlotsRendered = GOOD,
    *,
    kinds: tuple[str, ...] = ("picture",),
    quantized: bool = True,
) -> dict[str, Finding]:
    return {finding.id: finding for finding in run_checks(SEEN, SeenFacts(kinds, made, source, slots, quantized))}


def test_a_model_that_sees_as_its_source_passes() -> None:
    found = judged(perceived(share=0.97), perceived())
    assert {name: finding.status for name, finding in found.items()} == {
        "picture-slots": "pass",
        "picture-answers": "pass",
        "picture-seen": "pass",
    }
    assert "a picture or sound becomes '<image>'" in found["picture-slots"].message
    assert found["picture-answers"].message == "6 of 6 are answered right, all that are unquantized among them"
    assert found["picture-seen"].message == "another picture moves it by 0.99 nats, the source by 1; likeness 1.00"


def test_a_model_that_ignores_its_pictures_is_refused_where_the_source_looks() -> None:
    found = judged(perceived(SAME, share=0.0), perceived())
    assert found["picture-seen"].status == "fail"
    assert "it ignores the picture where the source looks" in found["picture-seen"].message
    assert judged(perceived(share=0.05), perceived())["picture-seen"].status == "fail"


def test_the_pictures_may_differ_in_one_thing_that_a_variant_no_longer_sees() -> None:
    made = perceived()
    blind = replace(made, apart={**made.apart, "words": apart(MOVE, 0.0)})
    found = judged(blind, perceived())["picture-seen"]
    assert (found.status, "it ignores the difference of words" in found.message) == ("warn", True)


def test_a_source_that_looks_at_nothing_is_told_and_refuses_nothing() -> None:
    found = judged(perceived(SAME, share=0.0), perceived(SAME, share=0.0))
    assert (found["picture-seen"].status, found["picture-answers"].status) == ("warn", "pass")
    assert found["picture-seen"].message == "another picture moves neither it nor the source"


@pytest.mark.parametrize(
    ("move", "quantized", "status"),
    [
        ([[-0.5, 1.0, 0.0], [0.25, -2.0, -1.0]], True, "fail"),  # red is blue
        ([[1.0, 0.5, 2.0], [2.0, 0.3, -0.35]], True, "warn"),
        ([[1.0, 0.5, 2.0], [2.0, 0.3, -0.35]], False, "fail"),
        ([[0.5, -1.0, 0.3], [-0.25, 1.5, 1.0]], False, "pass"),
    ],
)
def test_a_model_that_is_moved_otherwise_is_told_and_refused_where_nothing_was_rounded(
    move: Sequence[Sequence[float]], quantized: bool, status: str
) -> None:
    assert judged(perceived(move=move), perceived(), quantized=quantized)["picture-seen"].status == status


def test_without_the_source_a_model_that_ignores_its_pictures_is_told() -> None:
    assert judged(perceived())["picture-seen"].status == "pass"
    found = judged(perceived(share=0.0))["picture-seen"]
    assert (found.status, "it ignores the difference of shapes, words" in found.message) == ("warn", True)


def test_answers_that_are_all_wrong_are_refused_where_the_source_is_right() -> None:
    found = judged(perceived(dict.fromkeys(RIGHT, "A cat.")), perceived())["picture-answers"]
    assert found.status == "fail"
    assert found.message == "none of the 6 answers that are right unquantized is right"


def test_an_answer_that_the_source_alone_has_right_is_told() -> None:
    found = judged(perceived({**RIGHT, "chart": "Oak."}), perceived())["picture-answers"]
    assert found.status == "warn"
    assert found.message == "5 of 6 are answered right; unquantized 6, among them 'chart' (here: 'Oak.')"


def test_an_answer_that_is_empty_here_alone_is_refused_and_told_where_the_source_has_none_either() -> None:
    empty = perceived({**RIGHT, "words": " "})
    assert "about 'words' the answer is empty" in judged(empty, perceived())["picture-answers"].message
    assert judged(empty, perceived())["picture-answers"].status == "fail"
    assert judged(empty, empty)["picture-answers"].status == "warn"


def test_a_special_token_about_a_picture_is_told_where_the_source_says_none() -> None:
    made = perceived()
    leaking = replace(made, shown={**made.shown, "chart": Shown(said("pine<|pad|>", leaked=["<|pad|>"]), 9, "a" * 64)})
    found = judged(leaking, perceived())["picture-answers"]
    assert (found.status, "about 'chart' it says <|pad|>" in found.message) == ("warn", True)
    assert judged(leaking, leaking)["picture-answers"].status == "pass"


@pytest.mark.parametrize("too", [False, True])
def test_a_model_that_mlx_vlm_cannot_show_anything_is_refused_whatever_its_source_does(too: bool) -> None:
    broken = replace(perceived(), shown={}, apart={}, faults={"shapes": "ValueError: no such grid"})
    found = judged(broken, broken if too else perceived())
    assert found["picture-answers"].status == "fail"
    assert "mlx-vlm cannot show it 'shapes': ValueError: no such grid" in found["picture-answers"].message
    assert ("source's own files" in found["picture-answers"].message) is too
    assert found["picture-seen"].status == "skip"


def slots(source: RenderedText, made: RenderedText, made_without: str = "user: What?") -> SlotsRendered:
    return SlotsRendered({"picture first": Slots(source, made, "user: What?", made_without)}, "parts")


WITH, WITHOUT = text("user: <image>What?", [1, 9, 2]), text("user: What?", [1, 2])


@pytest.mark.parametrize(
    ("rendered", "status", "words"),
    [
        (slots(WITH, WITHOUT), "fail", "has no place for it, the source's has"),
        (slots(WITH, text("user: <img>What?", [1, 8, 2])), "fail", "other ids than the source's, from token 1 on"),
        (slots(WITH, RenderedText(error="no images")), "fail", "cannot be rendered any more: no images"),
        (slots(RenderedText(error="a"), RenderedText(error="b")), "pass", "the same ids"),
        (slots(WITHOUT, WITHOUT), "warn", "the source's chat template has no place"),
        (SlotsRendered({}, "text", template=False), "warn", "no chat template"),
        (replace(GOOD, users="none"), "warn", "mlx_vlm.generate puts no picture into the prompts of this family"),
    ],
)
def test_places_for_pictures_are_those_of_the_source(rendered: SlotsRendered, status: str, words: str) -> None:
    found = judged(perceived(), perceived(), rendered)["picture-slots"]
    assert (found.status, words in found.message) == (status, True), found.message


def test_a_prompt_with_other_places_than_the_sources_is_refused() -> None:
    made = perceived()
    fewer = replace(made, shown=shown(RIGHT, 4, "b" * 64))
    found = judged(fewer, perceived())["picture-slots"]
    assert found.status == "fail"
    assert "40 tokens with 4 places for what is shown, the source's 40 with 9" in found.message
    none = judged(replace(made, shown=shown(RIGHT, 0)), perceived())["picture-slots"]
    assert "has no place for what is shown" in none.message


def test_what_is_wrong_with_a_sound_is_said_of_the_sound_alone() -> None:
    both, stuck = {**RIGHT, **HEARD}, {**RIGHT, **HEARD, "beeps": " "}
    found = judged(perceived(stuck), perceived(both), kinds=("picture", "sound"))
    assert (found["picture-answers"].status, found["sound-heard"].status) == ("pass", "fail")
    assert "about 'beeps' the answer is empty" in found["sound-heard"].message


def test_sounds_are_judged_as_pictures_and_named_where_mlx_vlm_takes_none() -> None:
    hearing = perceived(HEARD)
    assert judged(hearing, hearing, kinds=("sound",))["sound-heard"].status == "pass"
    deaf = perceived(dict.fromkeys(HEARD, "Two."), share=0.0)
    assert judged(deaf, hearing, kinds=("sound",))["sound-heard"].status == "fail"
    faults = dict.fromkeys(HEARD, "ValueError: no audio")
    without = replace(hearing, shown={}, apart={}, faults=faults)
    found = judged(without, without, kinds=("sound",))["sound-heard"]
    assert (found.status, found.message) == ("skip", "sounds are not tested: ValueError: no audio")
    assert found.details == {"told": True}
    assert judged(without, hearing, kinds=("sound",))["sound-heard"].status == "fail"


def test_a_slot_is_what_a_prompt_lacks_without_its_picture() -> None:
    assert slot("user\n<|vision_start|><|image_pad|><|vision_end|>What", "user\nWhat") == (
        "<|vision_start|><|image_pad|><|vision_end|>"
    )
    assert slot("What?<img></s>", "What?</s>") == "<img>"
    assert slot("same", "same") == ""


def test_a_move_is_measured_beside_the_sources() -> None:
    move = moved(apart(MOVE, 0.5), apart(MOVE))
    assert move.source is not None
    assert move.made == pytest.approx(move.source / 2)
    assert move.alike == pytest.approx(1)
    assert moved(apart(MOVE, 0.0), apart(MOVE)).alike is None
    assert moved(apart(MOVE, -1.0), apart(MOVE)).alike == pytest.approx(-1)


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("<image><image>", "warn"),
        ("<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|image_pad|><|vision_end|>", "warn"),
        ("[IMG][IMG]", "warn"),
        ("<|vision_start|><|image_pad|><|vision_end|>", "pass"),
        ("<|media_start|>image<|media_content|><|media_pad|><|media_end|>", "pass"),
    ],
)
def test_a_template_with_two_places_for_one_picture_is_told(written: str, status: str) -> None:
    both = text(f"user: {written}What?")
    slots = SlotsRendered({"picture first": Slots(both, both, "user: What?", "user: What?")}, "parts")
    assert judged(perceived(), perceived(), slots)["picture-slots"].status == status
