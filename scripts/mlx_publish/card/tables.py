"""The card's tables of numbers: a column that would be empty is not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlx_publish.text import markdown
from mlx_publish.text.markdown import Markdown, escape, hub
from mlx_publish.text.numbers import percent, significant, size

Row = Mapping[str, Any]
Column = tuple[str, "Callable[[Row], str | None]"]
"""A heading, and what stands below it for a row; None is nothing known."""
UNKNOWN = Markdown("-")
_KINDS = {"scripts": "other languages"}


def table(columns: Sequence[Column], rows: Sequence[Row]) -> Markdown:
    """Write a table whose first column is words and whose others are numbers."""
    cells = {title: [cell(row) for row in rows] for title, cell in columns}
    shown = {title: below for title, below in cells.items() if any(text is not None for text in below)}
    lines = [[UNKNOWN if text is None else text for text in line] for line in zip(*shown.values(), strict=True)]
    return markdown.table([*shown], lines, right=[*shown][1:])


def sibling(rung: Row, label: str) -> Markdown:
    """A variant's name with a link to it; the one of this card, called `label`, in bold."""
    if rung["label"] == label:
        return Markdown(f"**{escape(label)}**")
    return hub(rung["repo"], rung["label"]) if rung["repo"] else escape(rung["label"])


def siblings(ladder: Sequence[Row], label: str) -> Markdown:
    """All variants; the speed names its device where they have several."""
    mixed = len({rung["device"] for rung in ladder if rung["device"]}) > 1
    return table(
        [
            ("Variant", lambda rung: sibling(rung, label)),
            ("Size", lambda rung: size(rung["weight_bytes"])),
            ("Memory", lambda rung: _form(rung["memory_bytes"], size)),
            ("Bits per weight", lambda rung: f"{rung['bits_per_weight']:.2f}"),
            ("Mean KLD", lambda rung: _form(rung["mean_kld"], significant)),
            ("Same first choice", lambda rung: _form(rung["same_first_choice"], percent)),
            ("Tokens/s", lambda rung: _speed(rung, mixed=mixed)),
        ],
        ladder,
    )


def by_kind(fidelity: Mapping[str, Any]) -> Markdown:
    """The comparison for each kind of text, and all of it with its errors."""
    kinds = [{"kind": _KINDS.get(kind, kind).capitalize(), **part} for kind, part in fidelity["by_kind"].items()]
    return table(
        [
            ("Text", lambda row: row.get("kind", "All")),
            ("Tokens", lambda row: f"{row['positions']:,}"),
            ("Mean KLD", lambda row: _with_error(row, "mean_kld")),
            ("Same first choice", lambda row: _with_error(row, "same_first_choice")),
            ("Perplexity ratio", lambda row: _with_error(row, "perplexity_ratio")),
        ],
        [*kinds, fidelity],
    )


def speeds(benchmark: Mapping[str, Any]) -> Markdown:
    """The benchmark for each length of prompt."""
    return table(
        [
            ("Prompt", lambda row: f"{row['prompt_tokens']:,} tokens"),
            ("Prompt tokens/s", lambda row: spread(row["prompt_tps"])),
            ("Generation tokens/s", lambda row: spread(row["generation_tps"])),
            ("First token", lambda row: f"{significant(row['first_token_s']['median'])} s"),
            ("Peak memory", lambda row: size(row["peak_memory_bytes"])),
            ("Trials", lambda row: f"{len(row['trials'])} of {row['generation_tokens']} tokens"),
        ],
        benchmark["lengths"],
    )


def spread(rate: Mapping[str, float]) -> str:
    """Median with lowest and highest."""
    median, lowest, highest = (significant(rate[key]) for key in ("median", "lowest", "highest"))
    return f"{median} ({lowest} to {highest})"


def _form(value: Any, form: Callable[[Any], str]) -> str | None:
    return None if value is None else form(value)


def _speed(rung: Row, *, mixed: bool) -> str | None:
    if rung["generation_tps"] is None:
        return None
    return significant(rung["generation_tps"]) + (f" ({rung['device'].upper()})" if mixed else "")


def _with_error(row: Row, key: str) -> str:
    """A number with its error, to the two digits that the error has; the kinds of text have none."""
    value, error = row[key], row.get(f"{key}_error")
    share, unit = (100, " %") if key == "same_first_choice" else (1, "")
    if not error:
        return percent(value) if unit else significant(value)
    digits = max(0, 1 - math.floor(math.log10(share * error)))
    return f"{share * value:.{digits}f} ± {share * error:.{digits}f}{unit}"
