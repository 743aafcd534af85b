"""Cards as pages, opened in the browser of whoever asked."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlx_publish.card.page import page
from mlx_publish.text.console import Console
from mlx_publish.text.files import write_atomically
from mlx_publish.work import Work

BROWSER = "MLX_PUBLISH_BROWSER"
"""A browser's command, in which %s stands for the address; BROWSER is what the system's own programs look at."""
FILE = "card.html"


def open_cards(work: Work, labels: Iterable[str], console: Console) -> None:
    """Write the page of each variant's card beside its reports, and open it; where no browser is, name it."""
    for label in labels:
        card = work.model(label) / "README.md"
        if not card.is_file():
            continue
        path = work.variant(label) / FILE
        write_atomically(path, page(card.read_text(encoding="utf-8"), f"{work.recipe} {label}", "model/"))
        opened = _open(path)
        console.say(f"{'opened' if opened else 'open this page in a browser:'} {path}")


def _open(path: Path) -> bool:
    """Open a page; tell whether there was a browser."""
    named = os.environ.get(BROWSER) or os.environ.get("BROWSER")
    if not (named or has_display(os.environ)):
        return False
    try:
        browser = webbrowser.get(named if not named or "%s" in named else f"{named} %s") if named else webbrowser
        return bool(browser.open(path.resolve().as_uri()))
    except (webbrowser.Error, OSError):
        return False


def has_display(environment: Mapping[str, str], system: str = sys.platform) -> bool:
    """Tell whether there is a screen: without one a browser in text mode would take the terminal over."""
    if system in ("darwin", "win32"):
        return "SSH_CONNECTION" not in environment
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
