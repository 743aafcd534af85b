"""The issue about upstream changes: one, found by its label, updated and closed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlx_publish.errors import SurroundingsError
from mlx_publish.github.drift import Moved
from mlx_publish.github.programs import gh
from mlx_publish.text import bounds, markdown
from mlx_publish.text.json_text import parse
from mlx_publish.text.markdown import cell

TITLE = "Upstream changes since recipes were pinned"
LABEL = "mlx-publish-drift"
_NEXT = (
    "To take a change, run `mlx-publish pin recipes/<name>.yaml` and publish the recipe again. This issue is updated "
    "once a week, and closed when nothing is left."
)


def table(moved: Sequence[Moved]) -> str:
    """Return Markdown for the issue and the step summary."""
    if not moved:
        return "No changes: every pinned source is at its head.\n"
    rows = [
        [cell(text) for text in (entry.recipe, entry.of, entry.before[:12], entry.now[:12], entry.what)]
        for entry in moved
    ]
    headings = ("recipe", "source or package", "pinned", "latest", "what changed")
    return f"{markdown.table(headings, rows)}\n\n{_NEXT}\n"


def issue_about(moved: Sequence[Moved], root: Path) -> str:
    """Open one issue, or update or close the open one. Return its address, empty where there is none."""
    # By its label, which no stranger can give to an issue of his own.
    asked = ("--label", LABEL, "--state", "open", "--json", "number,url,body")
    try:
        listed = parse(gh(root, "issue", "list", *asked) or "[]", bounds.ANSWER)
    except ValueError as error:
        raise SurroundingsError(f"gh did not answer with JSON: {error}", remedy="Update gh.") from error
    text = table(moved)
    if not listed:
        if not moved:
            return ""
        gh(root, "label", "create", LABEL, "--force", "--description", "Upstream changes found by mlx-publish drift")
        return gh(root, "issue", "create", "--title", TITLE, "--label", LABEL, "--body-file", "-", text=text).strip()
    there = listed[0]
    number, address = str(there["number"]), str(there["url"])
    if not moved:
        gh(root, "issue", "close", number, "--comment", text.strip())
    elif str(there.get("body", "")).replace("\r\n", "\n").strip() != text.strip():
        gh(root, "issue", "edit", number, "--body-file", "-", text=text)
    return address
