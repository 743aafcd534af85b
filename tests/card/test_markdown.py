"""Text of strangers stays text, whatever it carries."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlx_publish.text.markdown import Markdown, cell, code, escape, fenced, quoted, table

HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- hidden -->", "<a href='x'>y</a>", "a<br>b",
    "<https://evil.example>", "[click](https://evil.example)", "![x](https://evil.example/p.png)", "[a]: https://evil",
    "[a][b]", "![", "](x)", "`code`", "``` \ncode\n```", "`` ` ``", "~~~\nx\n~~~", "``````", "*bold* _it_ **b** __u__",
    "~~gone~~", "| a | b |", "a | b", "|", "|--|", "\\", "\\|", "\\`x\\`", "a\\", "# Heading", "## x #", "> quote",
    "- item", "+ item", "* item", "1. item", "12) item", "123456789. x", "---", "===", "***", "___", "- - -",
    "{{ 7 * 7 }}", "{% include 'x' %}", "{# x #}", "${{ secrets.TOKEN }}", "$x^2$", "$$x$$",
    "::set-output name=x::y", "##[add-path]x", "@everyone", "#1", "a\nb", "a\n\nb", "a\n# b", "a\n- b", "a\n\n    code",
    "\tcode", "    code", "a  \nb", "a\r\n# b", "&lt;script&gt;", "&#60;b&#62;", "&copy;", "&", "a&b;", "ü 🌒 日本",
    "System role not supported", "x" * 300, "snake_case_name", "2 * 3 * 4", "-1", "+", "=", "1.", "!", "!x",
)  # fmt: skip
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PLAIN = {"inline", "text", "softbreak", "text_special", "paragraph_open", "paragraph_close"}


def walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from walk(token.children or [])


def tokens_of(text: str) -> list[Token]:
    return list(walk(PARSER.parse(text)))


def shown(tokens: list[Token]) -> str:
    """The text that a reader sees."""
    return "".join(token.content for token in tokens if token.type in ("text", "text_special", "code_inline"))


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_paragraph_shows_the_text_and_nothing_else(text: str) -> None:
    tokens = tokens_of(escape(text))
    assert {token.type for token in tokens} <= PLAIN
    assert shown(tokens) == one_line(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_list_item_stays_one_item(text: str) -> None:
    tokens = tokens_of(f"- {escape(text)} (warn): {escape(text)}\n")
    lists = {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"}
    assert {token.type for token in tokens} <= PLAIN | lists
    assert [token.type for token in tokens].count("list_item_open") == 1
    assert shown(tokens) == f"{one_line(text)} (warn): {one_line(text)}"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_keeps_its_cells(text: str) -> None:
    tokens = tokens_of(f"| a | b |\n| --- | --- |\n| x | {escape(text)} |\n| y | z |\n")
    cells = [token for token in tokens if token.type == "td_open"]
    assert len(cells) == 4
    assert not {
        "link_open",
        "image",
        "html_inline",
        "html_block",
        "code_inline",
        "em_open",
        "strong_open",
        "s_open",
    } & {token.type for token in tokens}
    assert shown(tokens) == f"abx{one_line(text)}yz"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_heading_and_a_links_words_keep_their_form(text: str) -> None:
    heading = tokens_of(f"# {escape(text)}\n")
    assert [token.type for token in heading if token.type not in PLAIN] == ["heading_open", "heading_close"]
    assert shown(heading) == one_line(text)
    link = tokens_of(f"See [{escape(text)}](https://huggingface.co/a/b).\n")
    assert [token.attrs.get("href") for token in link if token.type == "link_open"] == ["https://huggingface.co/a/b"]
    assert shown(link) == f"See {one_line(text)}."


@pytest.mark.parametrize("text", HOSTILE)
def test_a_fence_holds_whatever_it_is_given(text: str) -> None:
    tokens = tokens_of(f"before\n\n{fenced(text, 'text')}\n\nafter\n")
    blocks = [token for token in tokens if token.type not in PLAIN]
    assert [(token.type, token.info) for token in blocks] == [("fence", "text")]
    assert blocks[0].content == text.replace("\r\n", "\n").rstrip() + "\n"


@pytest.mark.parametrize("text", [*HOSTILE, "`", "``", "a`", "`a", "a``b`c"])
def test_code_within_a_line_holds_whatever_it_is_given(text: str) -> None:
    tokens = tokens_of(f"run {code(text)} now\n")
    spans = [token for token in tokens if token.type not in PLAIN]
    assert [(token.type, token.content) for token in spans] == [("code_inline", one_line(text))]


def test_ordinary_words_are_left_alone() -> None:
    text = "generation ends at 2, 7 (with 4 bits); see the source's card."
    assert escape(text) == text
    assert fenced("x = 1\n", "python") == "```python\nx = 1\n```"
    assert code("mlx-publish convert") == "`mlx-publish convert`"


@pytest.mark.parametrize("text", [*HOSTILE, "it's", 'say "x"', "\x00\x07\x7f", "\u2028", "a\rb", "'''", '"""', ""])
def test_a_text_is_a_python_string(text: str) -> None:
    literal = quoted(text)
    assert ast.literal_eval(literal) == text
    assert len(literal.split("\n")) == 1


def test_a_table_escapes_its_cells_but_for_what_is_markdown() -> None:
    rows = [["a|b\nc", Markdown("`x`"), 3], ["", "<i>", 4]]
    assert table(("Name", "What", ""), rows, right=("What",)) == (
        "| Name | What | |\n| --- | ---: | --- |\n| a\\|b c | `x` | 3 |\n|  | \\<i\\> | 4 |"
    )


def test_a_cell_of_a_summary_is_markdown_that_does_nothing() -> None:
    assert table(("x",), [[cell("*a* | <b> https://x.y @z")]]).splitlines()[2] == (
        "| \\*a\\* \\| &lt;b> https\\://x.y \\@z |"
    )
