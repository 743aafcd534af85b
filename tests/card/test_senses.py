"""The card of a model that sees or hears: what it claims, and the picture beside it."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from markdown_it import MarkdownIt

from hostile import HOSTILE
from mlx_publish.card.front_matter import front_matter
from mlx_publish.card.limits import limits
from mlx_publish.card.render import render_card
from mlx_publish.card.senses import perceived, picture, picture_digest, senses
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.evidence.evidence import Evidence
from samples import make_evidence, record
from samples_that_see import make_blind, make_hearing, make_seeing


def card(evidence: dict[str, Any]) -> str:
    return render_card("Tiny-4bit", "acme/Tiny-4bit", "", Evidence.of(evidence))


def flat(text: str) -> str:
    return " ".join(text.split())


def task(own: str | None, evidence: dict[str, Any]) -> object:
    evidence["source"]["pipeline_tag"] = own
    return front_matter(Evidence.of(evidence)).get("pipeline_tag")


@pytest.mark.parametrize(
    ("own", "sees", "hears"),
    [
        ("image-text-to-text", "image-text-to-text", "image-text-to-text"),
        ("any-to-any", "image-text-to-text", "any-to-any"),
        ("audio-text-to-text", "image-text-to-text", "audio-text-to-text"),
        ("video-text-to-text", "image-text-to-text", "image-text-to-text"),
        ("text-generation", "image-text-to-text", "image-text-to-text"),
        ("visual-question-answering", "image-text-to-text", "image-text-to-text"),
        (None, "image-text-to-text", "image-text-to-text"),
        ("feature-extraction", None, None),
    ],
)
def test_the_task_is_the_sources_own_where_what_it_needs_was_kept(
    own: str | None, sees: str | None, hears: str | None
) -> None:
    assert task(own, make_seeing()) == sees
    assert task(own, make_hearing()) == hears


def test_a_model_that_hears_alone_has_its_task() -> None:
    found = make_hearing()
    found["model"]["towers"] = found["model"]["towers"][-1:]
    assert task(None, found) == "audio-text-to-text"
    assert task("image-text-to-text", found) == "audio-text-to-text"


def test_without_a_list_of_parts_the_smoke_test_tells_what_is_taken() -> None:
    found = make_hearing()
    del found["model"]["towers"]
    assert senses(Evidence.of(found)) == ("images", "audio", "video")
    assert task("video-text-to-text", found) == "video-text-to-text"


def test_a_language_model_has_none_of_it() -> None:
    text = record()
    assert (senses(text), perceived(text), picture(text), picture_digest(text)) == ((), None, None, None)
    alone = make_evidence(source=make_evidence()["source"] | {"pipeline_tag": "image-text-to-text", "modality": "text"})
    assert task("image-text-to-text", alone) == "text-generation"


def test_the_picture_is_the_one_that_was_answered_right() -> None:
    found = make_seeing()
    assert picture(Evidence.of(found)) == PICTURES[0].one.file()
    assert picture_digest(Evidence.of(found)) == hashlib.sha256(PICTURES[0].one.file()).hexdigest()
    found["smoke"]["pictures"]["answers"][0]["right"] = False
    assert picture(Evidence.of(found)) == PICTURES[0].other.file()
    for answer in found["smoke"]["pictures"]["answers"]:
        answer["right"] = False
    assert picture(Evidence.of(found)) == PICTURES[0].one.file()


def test_a_picture_that_nobody_can_draw_is_not_shown() -> None:
    found = make_seeing()
    found["smoke"]["pictures"]["answers"][0]["name"] = "of another version"
    assert picture(Evidence.of(found)) is None
    assert "](picture.png)" not in card(found)


def test_the_head_says_how_it_sees_before_anything_else() -> None:
    text = flat(card(make_seeing()).partition("## Which")[0])
    assert "> With pictures: **close** (mean KLD 0.0612)." in text
    assert "It takes text and images. 5 of 6 questions about pictures are answered right; the source: 6 of 6." in text
    found = make_seeing()
    found["fidelity"]["pictures"]["mean_kld"] = 0.7
    assert "> ⚠ Warning: With pictures: **heavily lossy** (mean KLD 0.700)." in flat(card(found))


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    text = flat(render_card("Seer", "Seer", "", Evidence.of(make_blind())))
    assert "Closeness behind pictures was not measured: its processor needs a package that is not there." in text
    assert "Its tower was not compared: its processor takes no picture of 64 pixels." in text
    assert "It takes images, which were not tested." in text
    assert "This exact snippet was tested" not in text
    assert "## Pictures" not in text


def test_an_answer_says_after_how_many_tokens_it_is_cut_where_evidence_knows() -> None:
    found = make_seeing()
    assert "**Answer** (greedy decoding, at most 24 tokens)" in card(found)
    del found["smoke"]["pictures"]["most_tokens"]
    assert "**Answer** (greedy decoding)\n" in card(found).partition("## Pictures")[2]


def test_what_it_takes_and_was_not_given_is_listed() -> None:
    said = limits(Evidence.of(make_hearing()))
    assert "It takes video, which was not tested: videos are not drawn." in said
    assert not [line for line in said if "made for text" in line]
    found = make_hearing()
    media = found["smoke"]["pictures"]
    media["answers"] = [answer for answer in media["answers"] if answer["file"].endswith(".png")]
    assert "It takes audio, which was not tested." in limits(Evidence.of(found))


def test_an_answer_that_differs_from_the_sources_is_seen_in_the_table() -> None:
    rows = [line for line in card(make_seeing()).splitlines() if line.startswith("| the words CANDLE")]
    assert [cell.strip() for cell in rows[0].split("|")[3:5]] == [
        "CANDLE HORSE (wrong)",
        "Candle, horse, paper (right)",
    ]
    alone = make_seeing()
    for answer in alone["smoke"]["pictures"]["answers"]:
        del answer["source_answer"], answer["source_right"]
    assert "| Shown | Question | Answer |\n" in card(alone)


def test_parts_are_listed_with_their_sizes_and_numbers() -> None:
    text = card(make_hearing())
    assert "| vision\\_tower | images | 437 | 93M | 186 MB | bfloat16, not quantized |" in text
    assert "| audio\\_tower | audio | 512 | 304M | 608 MB | 8 bits (uint32, bfloat16) |" in text


def laden(word: str) -> dict[str, Any]:
    """The word in every place of a stranger's evidence about pictures."""
    found = copy.deepcopy(make_hearing())
    for answer in found["smoke"]["pictures"]["answers"]:
        answer.update(dict.fromkeys(("shows", "question", "answer", "source_answer"), word[:200]))
    found["smoke"]["pictures"]["untested"] = {"video": word}
    for part in found["model"]["towers"]:
        part.update(name=word[:200], dtypes=[word[:40]])
    return found


@pytest.mark.parametrize("word", HOSTILE)
def test_no_text_of_others_changes_the_structure(word: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens, wanted = (reader.parse(card(laden(one))[4:].split("\n---\n", 1)[1]) for one in (word, "x"))
    assert [token.type for token in tokens] == [token.type for token in wanted]
    inner = [child for token in tokens for child in token.children or []]
    assert not [child for child in inner if child.type == "html_inline"]
    assert [child.attrs["src"] for child in inner if child.type == "image"] == ["picture.png", "ladder.svg"][::-1]
