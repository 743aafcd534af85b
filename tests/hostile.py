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

# What a shell, a path, a runner, YAML or a format string would take for more than a name, for whatever takes names.
WORSE: tuple[str, ...] = (
    # shells
    "$(id)", "`id`", "a;id", "a|id", "a && id", "a || id", "a & id", "a > /tmp/x", "a < /etc/passwd", "a >> x", "$IFS", "${HOME}", "$HOME",
    "%PATH%", "!!", "!id", "a'b", 'a"b', "a\\", "'; id; '", '"; id; "', "$((1+1))", "<(id)", ">(id)", "{a,b}", "*", "?", "[a-z]", "~root",
    "~", "a\nid", "a\rid", "a\r\nid", "#id", "a #b", "eval id", "$'\\x41'", "a\x00b", "\x00", "-rf", "--help", "--", "-", "-c id", "--upload-pack=id",
    "--output=x", "@/etc/passwd", "=cmd|' /C calc'!A0", "PATH=/tmp", "LD_PRELOAD=x",
    # paths and addresses
    "../../etc/passwd", "..", ".", "...", "./a", "../a", "a/..", "a/../../b", "/etc/passwd", "/b", "/", "//", "a//b", "a/", "a/b/c", "a/./b",
    ".git", ".git/config", "a/.git", "a/.hidden", "C:\\x", "C:/x", "\\\\host\\share", "con", "nul/aux", "file:///etc", "file://a/b",
    "https://huggingface.co/a/b", "http://169.254.169.254/latest", "ssh://a/b", "git@github.com:a/b", "ext::sh -c id", "a/b@main", "a/b?x=y",
    "a/b#c", "a/b%2f..", "a%00b", "%2e%2e/b", "a/b:c", "refs/heads/main", "HEAD", "main:x", "main..x", "main^", "@{-1}",
    # blanks, and what looks like letters
    "", " ", "a b", "a\tb", "a\nb", "a/b\n", "\na/b", " a/b", "a/b ", "a\x0bb", "a\x0cb", "a/b\u200b", "a/\u202eb", "\uff41/\uff42", "\u00e4/\u00f6",
    "\u0430/b", "\u212a/b", "a\u2044b", "\ud83d/b", "a/\U000e0041b",
    # long
    "x" * 500, "x" * 97, "a/" * 60, "a/" + "b" * 300, "-" * 400, "x" * 200_000,
    # expressions, format strings, lists and numbers
    "a/${{ secrets.HF_TOKEN }}", "${{ github.event.issue.title }}", "{0.__class__}", "{a.__init__.__globals__}", "%s%n", "%(x)s", "a/{source!r}",
    "{source!r}", "{variant:>9}", "{", "}", "{}", "{{source}}", "{{7*7}}", "lab/{unknown}", "lab/{source", "true\nadopt: true", "4bit,$(id)",
    "4bit,,8bit", ",", "[4bit]", "1e999", "-1", "nan", "0x10", "1_000", "null", "true", "~null", "[]", "<<: *a", "? a", "!!python/name:os.system",
    "__proto__", "constructor", "a' OR '1'='1", "a\n::add-mask::x", "a%0A::error::x", "::group::a", "##vso[task.setvariable]x",
    "GITHUB_ENV<<EOF", "EOF\nverdict=pass", "a=b\nc=d",
)  # fmt: skip
