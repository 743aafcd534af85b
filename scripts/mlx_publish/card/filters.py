"""What templates can do with a value: `{{ value | name }}`. docs/card.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlx_publish import numbers
from mlx_publish.card import markdown, tables, words

FILTERS: Mapping[str, Callable[..., Any]] = {
    "md": markdown.escape,
    "code": markdown.code,
    "fenced": markdown.fenced,
    "link": markdown.link,
    "hub": markdown.hub,
    "sibling": tables.sibling,
    "siblings": tables.siblings,
    "by_kind": tables.by_kind,
    "speeds": tables.speeds,
    "how_close": words.how_close,
    "against": words.against,
    "short_against": words.short_against,
    "same_logits": words.same_logits,
    "spread": tables.spread,
    "tokens": lambda number: f"{number:,}",
    "size": numbers.size,
    "memory": numbers.memory,
    "count": numbers.count,
    "percent": numbers.percent,
    "sig": numbers.significant,
    "tiny": lambda number: f"{number:.1e}",
}
