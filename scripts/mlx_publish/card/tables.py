"""The card's tables of numbers: a column that would be empty is not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from mlx_publish.card.words import EIGHT_K, choice, needed_memory, shared, short_tokens
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.evidence import Rung
from mlx_publish.evidence.measurements import FidelitySpec, Kind, Rate, SpeedSpec
from mlx_publish.machine.macs import smallest_mac
from mlx_publish.text import markdown
from mlx_publish.text.markdown import Markdown, escape, hub
from mlx_publish.text.numbers import percent, significant, size

R = TypeVar("R")
_WORDS = ("Closeness",)
UNKNOWN = Markdown("-")
_KINDS = {"scripts": "other languages"}


def table(columns: Sequence[tuple[str, Callable[[R], str | None]]], rows: Sequence[R]) -> Markdown:
    """Return a table whose first column is words and whose others are numbers.

    A column has a heading, and what stands below it for a row; None is nothing known.
    """
    cells = {title: [cell(row) for row in rows] for title, cell in columns}
    shown = {title: texts for title, texts in cells.items() if any(text is not None for text in texts)}
    lines = [[UNKNOWN if text is None else text for text in line] for line in zip(*shown.values(), strict=True)]
    return markdown.table([*shown], lines, right=[title for title in [*shown][1:] if title not in _WORDS])


def sibling(rung: Rung, label: str) -> Markdown:
    """Return a variant's name with a link to it; the one of this card, called `label`, in bold."""
    if rung.label == label:
        return Markdown(f"**{escape(label)}**")
    return hub(rung.repo, rung.label) if rung.repo else escape(rung.label)


def siblings(ladder: Sequence[Rung], label: str) -> Markdown:
    """Return the table of all variants for who has to choose one; the numbers behind it stand in `measured`."""
    mixed = len({rung.kind for rung in ladder if rung.kind}) > 1
    take = choice(ladder)["take"]
    full = shared(rung.memory_tokens for rung in ladder)
    at_full = f"At {short_tokens(full)}" if full else "At full context"
    columns: list[tuple[str, Callable[[Rung], str | None]]] = [
        ("Variant", lambda rung: _marked(rung, label, take)),
        ("Closeness", _closeness),
        ("Download", lambda rung: size(rung.weight_bytes)),
        (f"Memory at {short_tokens(EIGHT_K)}", lambda rung: _written(rung.memory_8k_bytes, size)),
        (at_full, lambda rung: _written(rung.memory_bytes, size)),
        ("Smallest Mac", _mac),
        ("Tokens/s", lambda rung: _speed(rung, mixed=mixed)),
    ]
    if (full is not None and full <= EIGHT_K) or all(rung.memory_8k_bytes is None for rung in ladder):
        columns[3:5] = [(f"Memory {at_full[0].lower()}{at_full[1:]}", columns[4][1])]
    return table(columns, ladder)


def comparison(ladder: Sequence[Rung], label: str) -> Markdown:
    """Return the numbers of all variants."""
    return table(
        [
            ("Variant", lambda rung: sibling(rung, label)),
            ("Bits per weight", lambda rung: f"{rung.bits_per_weight:.2f}"),
            ("Mean KLD", lambda rung: _written(rung.mean_kld, significant)),
            ("Top-1 agreement", lambda rung: _written(rung.same_first_choice, percent)),
        ],
        ladder,
    )


def _marked(rung: Rung, label: str, take: Rung | None) -> Markdown:
    marks = [word for word, so in (("recommended", rung == take), ("you are here", rung.label == label)) if so]
    return Markdown(sibling(rung, label) + (f" ({', '.join(marks)})" if marks else ""))


def _closeness(rung: Rung) -> Markdown | None:
    if rung.mean_kld is None:
        return None
    step = closeness(rung.mean_kld)
    other = "" if rung.against in (None, "the source") else f" to {escape(rung.against)}"
    return Markdown(f"{'⚠ ' if step.warns else ''}{step.word}{other}")


def _mac(rung: Rung) -> str | None:
    needed = needed_memory(rung)
    mac = smallest_mac(needed[0]) if needed else None
    return f"{mac} GB" if mac else None


def by_kind(fidelity: FidelitySpec) -> Markdown:
    """Return the comparison for each kind of text, and all of it with its errors."""
    kinds = [(_KINDS.get(kind, kind).capitalize(), part) for kind, part in fidelity.by_kind.items()]
    return table(
        [
            ("Text", lambda row: row[0]),
            ("Tokens", lambda row: f"{row[1].positions:,}"),
            ("Mean KLD", lambda row: _with_error(row[1], "mean_kld")),
            ("Top-1 agreement", lambda row: _with_error(row[1], "same_first_choice")),
            ("Perplexity ratio", lambda row: _with_error(row[1], "perplexity_ratio")),
        ],
        [*kinds, ("All", fidelity)],
    )


def percentiles(fidelity: FidelitySpec) -> Markdown:
    """Return how KL divergence is spread over positions, and what becomes of the right token's probability."""
    columns: list[tuple[str, Callable[[FidelitySpec], str | None]]] = [
        ("Passages", lambda of: _written(of.passages, str)),
        ("Median KLD", lambda of: significant(of.median_kld)),
        ("90 %", lambda of: _written(of.p90_kld, significant)),
        ("99 %", lambda of: significant(of.p99_kld)),
        ("99.9 %", lambda of: _written(of.p999_kld, significant)),
        ("Maximum", lambda of: significant(of.max_kld)),
        ("Mean Δp", lambda of: _written(of.mean_delta_p, lambda share: _percent(share, "+"))),
        ("RMS Δp", lambda of: _written(of.rms_delta_p, _percent)),
        ("Correlation", lambda of: _written(of.correlation, _percent)),
    ]
    return table(columns, [fidelity])


def _percent(share: float, sign: str = "-") -> str:
    # Not -0.00, which is no change.
    return f"{round(100 * share, 2) + 0.0:{sign}.2f} %".replace("-", "\N{MINUS SIGN}")


def speeds(benchmark: SpeedSpec) -> Markdown:
    """Return the benchmark for each length of prompt."""
    return table(
        [
            ("Prompt", lambda length: f"{length.prompt_tokens:,} tokens"),
            ("Prompt tokens/s", lambda length: spread(length.prompt_tps)),
            ("Generation tokens/s", lambda length: spread(length.generation_tps)),
            ("First token", lambda length: f"{significant(length.first_token_s.median)} s"),
            ("Peak memory", lambda length: size(length.peak_memory_bytes)),
            ("Trials", lambda length: f"{len(length.trials)} of {length.generation_tokens} tokens"),
        ],
        benchmark.lengths,
    )


def spread(rate: Rate) -> str:
    """Return the median with lowest and highest."""
    return f"{significant(rate.median)} ({significant(rate.lowest)} to {significant(rate.highest)})"


def _written(value: R | None, write: Callable[[R], str]) -> str | None:
    return None if value is None else write(value)


def _speed(rung: Rung, *, mixed: bool) -> str | None:
    if rung.generation_tps is None:
        return None
    return significant(rung.generation_tps) + (f" ({rung.kind})" if mixed and rung.kind else "")


def _with_error(part: Kind, key: Literal["mean_kld", "same_first_choice", "perplexity_ratio"]) -> str:
    """Return a number with its error, to the two digits that the error has; the kinds of text have none."""
    value, error = getattr(part, key), getattr(part, f"{key}_error", None)
    share, unit = (100, " %") if key == "same_first_choice" else (1, "")
    if not error:
        return percent(value) if unit else significant(value)
    digits = max(0, 1 - math.floor(math.log10(share * error)))
    return f"{share * value:.{digits}f} ± {share * error:.{digits}f}{unit}"
