"""What the card says of the licence: its name, a link that leads somewhere, the files that were carried over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.model.select import is_legal
from mlx_publish.text.markdown import Markdown, is_web, link

Evidence = Mapping[str, Any]


def legal_files(evidence: Evidence) -> list[str]:
    """Licences, notices and policies in the published folder."""
    return [file["path"] for file in evidence["model"]["files"] if is_legal(file["path"])]


def link_that_leads(evidence: Evidence) -> str | None:
    """The licence's link where it is a page of the web or a file that is published beside the card, else None."""
    target = evidence["licence"]["link"]
    if not isinstance(target, str):
        return None
    if is_web(target):
        return target
    path = target.removeprefix("./")
    return path if path.partition("#")[0] in legal_files(evidence) else None


def licence_words(evidence: Evidence) -> Markdown:
    """The licence's name with its link; the Hub's identifier where it has no name."""
    licence = evidence["licence"]
    return link(licence["name"] or licence["id"] or "not known", link_that_leads(evidence))
