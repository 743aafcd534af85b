"""Text of others in Markdown for GitHub: summaries and issues."""

from __future__ import annotations

import re

from mlx_publish.text.harmless import plain

# The last two would make a link of an address.
_SPECIAL = re.compile(r"[\\`*_{}\[\]()#|!@~$]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def cell(text: str) -> str:
    """Text in a table's cell, where Markdown, HTML and addresses of others must not work."""
    safe = plain(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\g<0>", safe)
