"""Text of others in Markdown for GitHub."""

from __future__ import annotations

import re

import pytest

from mlx_publish.text.markdown import cell


@pytest.mark.parametrize(
    "text", ["https://evil.example/x", "see www.evil.example", "~~struck~~", "$x^2$", "::error::x"]
)
def test_a_cell_makes_no_link_and_no_mark_of_text(text: str) -> None:
    shown = cell(text)
    assert shown.replace("\\", "") == text
    assert not re.search(r"(?<!\\)(://|www\.|[~$])", shown.replace("www\\.", ""))
