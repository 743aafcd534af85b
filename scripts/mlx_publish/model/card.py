"""The source's card: its front matter, read within bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlx_publish.model.files import SMALL, ModelFiles
from mlx_publish.text.bounds import CARD_NODES
from mlx_publish.text.yaml import InvalidYaml, UnboundedYaml, parse_yaml

# As the Hub reads it, which passes over white space in front: REGEX_YAML_BLOCK in huggingface_hub/repocard.py.
_FRONT_MATTER = re.compile(r"\A[\s\ufeff]*---[ \t]*\n(.*?)(?:^---[ \t]*$)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class SourceCard:
    """Front matter as plain data; `problem` says why it is empty if it should not be."""

    data: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def text(self, key: str) -> str | None:
        """Return a value that has to be one text, or None if it is something else."""
        value = self.data.get(key)
        return value.strip() if isinstance(value, str) and value.strip() else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a value that may be one text or a list of them."""
        value = self.data.get(key)
        items = value if isinstance(value, list) else [value]
        return tuple(item for item in items if isinstance(item, str) and item)


def read_card(files: ModelFiles) -> SourceCard:
    """Read README.md's front matter. YAML 1.2, so that the language `no` stays a text."""
    entry = files.entries.get("README.md")
    if entry is None:
        return SourceCard(problem="the source has no README.md")
    if entry.size > SMALL:
        return SourceCard(problem="the source's README.md is too large to read")
    return parse_card(files.read("README.md").decode("utf-8", "replace"))


def parse_card(text: str) -> SourceCard:
    """Return the front matter of a card's text."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    match = _FRONT_MATTER.match(text)
    if match is None:
        return SourceCard(problem="the source's README.md has no front matter")
    try:
        data, _ = parse_yaml(match[1], "", most=CARD_NODES, aliases=True)
    except UnboundedYaml as error:
        return SourceCard(problem=f"the front matter of the source's README.md cannot be read: {error.message}")
    except InvalidYaml as error:
        above = text.count("\n", 0, match.start(1))
        where = f" at line {above + error.place.line}" if error.place.line else ""
        return SourceCard(problem=f"the front matter of the source's README.md is not valid YAML{where}")
    if not isinstance(data, Mapping):
        return SourceCard(problem="the front matter of the source's README.md is not a mapping")
    return SourceCard(data)


PERMISSIVE = frozenset(
    ("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "cc0-1.0", "bsl-1.0")
)
"""Licences that another one may stand beside: its terms are the stricter ones."""


def stricter(base: SourceCard, adapter: SourceCard) -> SourceCard:
    """Return the card whose licence applies to a base with an adapter: the adapter's where the base's is permissive."""
    one, other = base.text("license"), adapter.text("license")
    free = (one or "").lower() in PERMISSIVE and (other or "unknown").lower() not in {*PERMISSIVE, "unknown"}
    return adapter if free else base
