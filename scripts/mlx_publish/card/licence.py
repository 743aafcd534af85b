"""What the card says of the licence: its name, a link that leads somewhere, the files that were carried over."""

from __future__ import annotations

from mlx_publish.evidence.evidence import Evidence
from mlx_publish.model.select import is_legal
from mlx_publish.text.markdown import Markdown, is_web, link


def legal_files(evidence: Evidence) -> list[str]:
    """Return licences, notices and policies in the published folder."""
    return [file.path for file in evidence.model.files if is_legal(file.path)]


def link_that_leads(evidence: Evidence) -> str | None:
    """Return the licence's link where it is a web page or a file published beside the card, else None."""
    target = evidence.licence.link
    if target is None:
        return None
    if is_web(target):
        return target
    path = target.removeprefix("./")
    return path if path.partition("#")[0] in legal_files(evidence) else None


def licence_words(evidence: Evidence) -> Markdown:
    """Return the licence's name with its link; the Hub's identifier where it has no name."""
    licence = evidence.licence
    return link(licence.name or licence.id or "not known", link_that_leads(evidence))
