"""A card as a page for a browser: HTML of ours, text of others escaped, no script, nothing of the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//|#")
_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f6f8fa; --quiet: #59636e; --link: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #151b23; --quiet: #9198a1; --link: #4493f8; }
  body { background: #0d1117; color: #f0f6fc; }
}
body { font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; margin: 0; }
main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
h1, h2 { border-bottom: 1px solid var(--line); padding-bottom: .3em; line-height: 1.25; }
a { color: var(--link); }
img { max-width: 100%; }
code { background: var(--soft); border-radius: 6px; padding: .2em .4em; font-size: 85%; }
pre { background: var(--soft); border-radius: 6px; padding: 1rem; overflow: auto; }
pre code { background: none; padding: 0; }
blockquote { border-left: .25em solid var(--line); color: var(--quiet); margin: 0 0 1rem; padding: 0 1em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid var(--line); padding: .35rem .75rem; }
details { color: var(--quiet); margin-bottom: 1rem; }
"""


def page(card: str, title: str, base: str = "") -> str:
    """Return the page of a card; `base` is where its files are, seen from the page, as `model/`."""
    found = _FRONT_MATTER.match(card)
    head = f"<details><summary>Front matter</summary><pre>{escape(found[1])}</pre></details>\n" if found else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{head}{_body(card[found.end() :] if found else card, base)}</main>\n</body>\n</html>\n"
    )


def _body(text: str, base: str) -> str:
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = markdown.parse(text)
    _name_headings(tokens)
    for token in _all(tokens):
        for name in ("href", "src"):
            target = token.attrGet(name)
            if isinstance(target, str) and target and not _SCHEME.match(target):
                token.attrSet(name, f"{base}{target}")
    html: str = markdown.renderer.render(tokens, markdown.options, {})
    return html.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def _all(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or [])


def _name_headings(tokens: list[Token]) -> None:
    """Give headings the ids that links of GitHub and of the Hub use."""
    used: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", inline.content.strip().lower()).replace(" ", "-")
            count = used[slug] = used.get(slug, -1) + 1
            opening.attrSet("id", f"{slug}-{count}" if count else slug)
