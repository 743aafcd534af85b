"""A card as a page: what it says can be read in a browser, and nothing in it can act there."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mlx_publish.card.page import page
from mlx_publish.commands._open_card import has_display

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.md"))
ALLOWED = frozenset(
    {"html", "head", "meta", "title", "style", "body", "main", "details", "summary", "pre", "code", "h1", "h2", "h3"}
    | {"h4", "p", "a", "img", "em", "strong", "s", "ul", "ol", "li", "blockquote", "div", "table", "thead", "tbody"}
    | {"tr", "th", "td", "br", "hr"}
)


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def of(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_card_becomes_a_page_of_plain_elements(path: Path) -> None:
    card = path.read_text(encoding="utf-8")
    tags = Tags(page(card, "Tiny", "model/"))
    assert tags.names <= ALLOWED
    assert "h1" in tags.names
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    heading = re.search(r"^# (.+)$", card, re.MULTILINE)
    assert heading
    assert f">{heading[1]}</h1>" in page(card, "Tiny")


def test_the_chart_is_an_image_beside_the_page_and_links_stay_links() -> None:
    tags = Tags(
        page(
            "![Chart](ladder.svg) [a](LICENSE) [b](https://example.org/x) [c](#numbers)\n\n## Numbers\n", "T", "model/"
        )
    )
    assert tags.of("src") == ["model/ladder.svg"]
    assert tags.of("href") == ["model/LICENSE", "https://example.org/x", "#numbers"]
    assert "numbers" in tags.of("id")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>)",
        "</main><iframe src='//evil'></iframe>",
        "| a |\n| --- |\n| <svg onload=alert(1)> |",
        "---\nnotes: </pre><script>alert(1)</script>\n---\n",
    ],
)
def test_text_of_others_cannot_act(text: str) -> None:
    html = page(text, "<script>alert(1)</script>")
    tags = Tags(html)
    assert tags.names <= ALLOWED
    assert not [
        value for name in ("href", "src") for value in tags.of(name) if value.startswith(("javascript", "data"))
    ]
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "default-src 'none'" in html


def test_a_page_is_for_light_and_dark_screens_and_wide_tables_scroll() -> None:
    html = page("| a |\n| --- |\n| 1 |\n", "T")
    assert "prefers-color-scheme: dark" in html
    assert '<div class="wide"><table>' in html


def test_without_a_screen_no_browser_takes_the_terminal() -> None:
    assert not has_display({}, "linux")
    assert has_display({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert has_display({}, "darwin")
    assert not has_display({"SSH_CONNECTION": "1"}, "darwin")
