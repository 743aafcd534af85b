"""Files of documents: titles, texts, turns."""

from __future__ import annotations

import pytest

from mlx_publish.text.documents import Document, documents


def test_a_file_is_cut_at_its_titles() -> None:
    text = "=== first: a letter\nDear A,\n\n=== of a house\nB\n\n\n=== second\n  x = 1\n"
    assert documents(text) == [
        Document("first: a letter", "Dear A,"),
        Document("of a house", "B"),
        Document("second", "  x = 1"),
    ]
    assert documents("=== only\na ===\n====\n--- user\n") == [Document("only", "a ===\n====\n--- user")]


def test_turns_are_cut_at_their_roles() -> None:
    text = "--- system\nBe brief.\n\n--- user\nWhat is this?\n--- a/file\n+++ b/file\n--- assistant\nA diff.\n"
    assert documents(f"=== diffs\n{text}")[0].turns == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?\n--- a/file\n+++ b/file"},
        {"role": "assistant", "content": "A diff."},
    ]


@pytest.mark.parametrize("text", ["", "no title\n", "lost words\n=== title\ntext\n"])
def test_a_text_without_a_title_is_not_lost_in_silence(text: str) -> None:
    with pytest.raises(ValueError, match="begins with a title"):
        documents(text)


@pytest.mark.parametrize("text", ["Hello", "Hello\n--- user\nHi", "--- User\nHi"])
def test_a_dialogue_without_a_role_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValueError, match="begins with a turn"):
        _ = Document("greeting", text).turns
