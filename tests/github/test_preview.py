"""Cards in a step's summary, which holds a mebibyte and no more."""

from __future__ import annotations

import re

import pytest

from mlx_publish.github.preview import MOST, cut, previews

CARD = "---\nlicense: mit\n---\n# Name\n\nWords.\n\n```python\nprint(1)\n```\n\n" + "A line of some length.\n" * 50


def test_what_fits_is_shown_whole_with_its_front_matter_seen() -> None:
    shown = previews({"a-4bit": CARD, "a-8bit": "no front matter\n"}, MOST)
    assert "```yaml\nlicense: mit\n```\n\n# Name" in shown
    assert shown.index("Card of a-4bit</summary>") < shown.index("Card of a-8bit</summary>")
    assert shown.endswith("no front matter\n\n</details>\n")
    assert "Cut here" not in shown


@pytest.mark.parametrize("room", [0, 10, 60, 200, 500, 1000, 1500, 2500, 3000])
def test_what_does_not_fit_is_cut_and_says_so(room: int) -> None:
    cards = {"a-4bit": CARD, "a-8bit": CARD}
    shown = previews(cards, room)
    assert len(shown.encode()) <= room
    if room < 2 * len(CARD) and shown:
        assert "Cut here" in shown
        assert shown.count("<details>") == shown.count("</details>")


@pytest.mark.parametrize("most", range(0, 400, 7))
def test_no_block_of_code_is_left_open(most: int) -> None:
    text = "~~~\n```\nodd\n~~~\n````text\n```\nwithin\n````\n" + "é" * 40 + "\n```\n" + "code\n" * 60 + "```\nend\n"
    kept = cut(text, most)
    assert len(kept.encode()) <= most
    open_fence = ""
    for line in kept.splitlines():
        if not open_fence and line.startswith(("```", "~~~")):
            open_fence = line.rstrip("abcdefghijklmnopqrstuvwxyz")
        elif open_fence and line.startswith(open_fence) and set(line) == {open_fence[0]}:
            open_fence = ""
    assert open_fence == ""


@pytest.mark.parametrize("most", range(0, 700, 13))
def test_no_fold_of_a_card_is_left_open(most: int) -> None:
    text = "<details>\n\n```\n</details>\n```\n<details>\n" + "words\n" * 60 + "</details>\n</details>\n" + "end\n" * 9
    kept = cut(text, most)
    assert len(kept.encode()) <= most
    outside = re.sub(r"```.*?```", "", kept, flags=re.DOTALL)
    assert outside.count("<details>") == outside.count("</details>")


def test_a_front_matter_that_would_end_its_block_is_not_put_into_one() -> None:
    shown = previews({"x": "---\na: |\n  ```\n  <script>\n---\nWords.\n"}, MOST)
    assert "```yaml" not in shown


def test_a_name_is_text() -> None:
    assert "<summary>Card of \\*a\\* &lt;b></summary>" in previews({"*a* <b>": "x"}, MOST)
