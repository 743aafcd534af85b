"""`card --open`: the card as a page, in a browser where there is one."""

from __future__ import annotations

from pathlib import Path

from conftest import Published
from pipeline import User


def test_the_page_is_named_where_no_browser_is(mine: Published, user: User) -> None:
    text = user.run("card", *mine.again(), "--open").text
    path = mine.variant / "card.html"
    assert f"open this page in a browser: {path}" in text
    assert "<h1" in path.read_text(encoding="utf-8")
    assert (path.parent / "model" / "ladder.svg").exists() == ('src="model/ladder.svg"' in path.read_text("utf-8"))


def test_the_browser_that_is_named_gets_the_page(mine: Published, user: User, tmp_path: Path) -> None:
    browser, asked = tmp_path / "browser", tmp_path / "asked"
    browser.write_text(f'#!/bin/sh\necho "$1" > {asked}\n')
    browser.chmod(0o755)
    user.more["MLX_PUBLISH_BROWSER"] = str(browser)
    assert "opened" in user.run("card", *mine.again(), "--open").text
    assert asked.read_text().strip() == (mine.variant / "card.html").resolve().as_uri()


def test_a_browser_that_cannot_be_started_is_no_failure(mine: Published, user: User) -> None:
    user.more["MLX_PUBLISH_BROWSER"] = "/nowhere/browser %s"
    assert "open this page in a browser:" in user.run("card", *mine.again(), "--open").text
