"""Text of others in Markdown that GitHub shows."""

from __future__ import annotations

from mlx_publish.console import plain


def cell(text: str) -> str:
    """Text in a table's cell, where Markdown and HTML of others must not work."""
    safe = plain(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in r"\`*_{}[]()#|!@" else char for char in safe)
