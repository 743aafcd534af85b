"""Evidence about pictures that somebody edited: what was drawn, asked and answered right is known here."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.chat.media import asked_in
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.seen import MediumAnswer
from mlx_publish.reviewed.known_chat import media_differences


def answers() -> list[dict[str, Any]]:
    return [
        to_json(
            MediumAnswer(m.name, m.file_name, m.shows, m.question, "Red.", m.answered("Red."), 71, 9, "Blue", False)
        )
        for m in asked_in(PICTURES)[:1]
    ]


def test_what_was_shown_is_what_this_version_draws() -> None:
    assert list(media_differences(answers())) == []


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("question", "Is it red?", "question"),
        ("file", "other.png", "file"),
        ("shows", "a cat", "shows"),
        ("right", False, "right"),
        ("answer", "Blue.", "right"),
        ("source_answer", "red", "source_right"),
        ("name", "cat", "name"),
    ],
)
def test_an_edited_answer_is_named(key: str, value: object, field: str) -> None:
    edited = [{**answers()[0], key: value}]
    assert [difference.field for difference in media_differences(edited)] == [f"smoke.pictures.answers[0].{field}"]
