"""What is open in Markdown, and its blank lines."""

from __future__ import annotations

import pytest

from mlx_publish.card.render import render
from mlx_publish.errors import BadInput
from mlx_publish.recipes.recipe import Variant
from mlx_publish.text.markdown import tidy, unclosed
from samples import make_recipe, record


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("", ""),
        ("plain", ""),
        ("```\nx\n```", ""),
        ("```\nx", "```"),
        ("~~~~\n~~~\n", "~~~~"),
        ("````\n```\n", "````"),
        ("<!-- x", "<!--"),
        ("<!-- x -->", ""),
        ("`<!--`", ""),
        ("```\n<!--\n```", ""),
        ("<details><summary>x", "<details"),
        ("<DETAILS>\n</details>", ""),
        ("<script>", "<script"),
        ("<pre>x</pre>", ""),
        ("``` a ` b", ""),
        ("<table><table></table>", "<table"),
    ],
)
def test_what_would_swallow_the_rest_is_found(text: str, opened: str) -> None:
    assert unclosed(text) == opened


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\n\na\n\n\n\nb\n\n", "a\n\nb\n"),
        ("```\n\n\n\nx\n```", "```\n\n\n\nx\n```\n"),
        ("a", "a\n"),
        ("a\n \n\t\nb", "a\n\nb\n"),
    ],
)
def test_blank_lines(text: str, clean: str) -> None:
    assert tidy(text) == clean


def test_notes_that_leave_something_open_are_bad_input() -> None:
    with pytest.raises(BadInput, match="opens ``` and does not close it") as error:
        render(make_recipe(card={"notes": "Mine:\n```\ncode"}), Variant(), record())
    assert error.value.key == "card.notes"
    assert error.value.remedy == "Close it within the notes."
