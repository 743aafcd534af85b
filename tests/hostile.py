"""Texts that want to be more than text, for whatever shows text of others."""

from __future__ import annotations

HOSTILE: tuple[str, ...] = (
    # HTML
    "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<!-- ", "-->", "<details>", "&lt;b&gt;", "<https://evil.example>",
    "</td></tr></table>", "<?php", "<![CDATA[",
    # Markdown
    "[click](javascript:alert(1))", "![x](https://evil.example/track.png)", "[x]: https://evil.example", "*a* **b** __c__ ~~d~~",
    "# Heading", "- item", "1. item", "> quote", "---", "===", "```\ncode", "~~~", "`code`", "``", "| a | b |\n| - | - |", "\\",
    "https://evil.example/x", "www.evil.example", "mail@evil.example", "@somebody", "#1", "$x^2$", "line\\\nbreak", "a\n\n\n# b", "[^1]",
    # Jinja, expressions of GitHub, workflow commands, terminals
    "{{ 7 * 7 }}", "{% include 'x' %}", "{# x #}", "${{ github.token }}", "::set-output name=x::y", "::error::x", "##[add-path]/tmp",
    "a\n::stop-commands::x", "\x1b[31mred", "\x07", "\r::error::x",
    # YAML
    "---\nlicense: gpl", "...", "no", "*alias", "&anchor", "!!python/object:os.system", "a: b", "'", '"', "- a", "{a: b}", "%YAML 1.1",
    # what nobody sees, or what is odd
    "\u202egnp.exe", "\u200bzero", "\u2028line", "\u2066x\u2069", "\ufeffbom", "e\u0301", "\U0001f311", "\u0085", "\xa0", "x" * 3000,
)  # fmt: skip
