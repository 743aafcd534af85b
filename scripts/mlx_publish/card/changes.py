"""What a review has to look at: numbers of new evidence beside those of the evidence before, and open questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mlx_publish.card.environment import REVIEW, environment
from mlx_publish.evidence.evidence import LACKING, Evidence
from mlx_publish.evidence.measurements import LengthSpec, headline
from mlx_publish.text import numbers

_SAME = 0.005  # of the larger one; a smaller change has no arrow
_PENDING = ("warn", "fixed")


@dataclass(frozen=True)
class Figures:
    """What a review compares of two pieces of evidence; None is not measured."""

    model: str
    weight_bytes: int
    bits_per_weight: float
    mean_kld: float | None
    same_first_choice: float | None
    perplexity_ratio: float | None
    generation_tps: float | None

    @classmethod
    def of(cls, evidence: Mapping[str, Any]) -> Figures:
        """Return those of evidence as plain data, of other versions too. Raises one of `LACKING` where it lacks one."""
        model, compared, timed = evidence["model"], evidence.get("fidelity") or {}, evidence.get("benchmark")
        return cls(
            model["model"],
            model["weight_bytes"],
            model["bits_per_weight"],
            compared.get("mean_kld"),
            compared.get("same_first_choice"),
            compared.get("perplexity_ratio"),
            headline([LengthSpec.model_validate(length) for length in timed["lengths"]]).generation_tps.median
            if timed
            else None,
        )


def body(
    recipe: str,
    cards: Sequence[tuple[PurePosixPath, Evidence, Mapping[str, object] | None]],
    *,
    web: str = "",
    callback: str = "",
) -> str:
    """Return the text of a pull request: for each card its path, its evidence, and the evidence before, if any.

    The evidence before may be of another version. `web` is put before the paths to make addresses of them, `callback`
    is what the asker knows the request by.
    """
    shown = [_card(path, now, before, f"{web}{path}") for path, now, before in cards]
    template = environment().get_template(REVIEW)
    return template.render(recipe=recipe, cards=shown, callback=callback).strip() + "\n"


def _card(path: PurePosixPath, now: Evidence, before: Mapping[str, object] | None, at: str) -> Mapping[str, object]:
    figures = Figures.of(now.plain)
    try:
        figures_before = Figures.of(before) if before else None
        verdict, rows = _verdict(now, figures, figures_before), list(_rows(figures, figures_before))
    except LACKING:
        verdict = f"{_verdict(now, figures, None)} to this version, which cannot read the evidence before"
        rows = list(_rows(figures, None))
    return {
        "name": path.name,
        "at": at,
        "verdict": verdict,
        "repo": now.source.repo,
        "commit": now.source.identity,
        "numbers": rows,
        "human": [check.plain for check in now.checks if check.status in _PENDING],
    }


def _verdict(evidence: Evidence, now: Figures, before: Figures | None) -> str:
    missing = sorted(evidence.missing)
    verdict = "All checks passed" + (f"; not measured: {', '.join(missing)}" if missing else "")
    if before is None:
        return f"{verdict}. It is new"
    same = before.model == now.model
    return f"{verdict}. {'The files are those of before' if same else 'The files are others than before'}"


def _rows(now: Figures, before: Figures | None) -> Iterator[dict[str, str]]:
    for what, value_of, written in _NUMBERS:
        new, old = value_of(now), value_of(before) if before else None
        yield {
            "what": what,
            "before": "" if before is None else "not measured" if old is None else written(old),
            "now": "not measured" if new is None else written(new),
            "arrow": _arrow(old, new),
        }


def _arrow(old: float | None, new: float | None) -> str:
    if old is None or new is None or abs(new - old) <= _SAME * max(abs(old), abs(new)):
        return ""
    return "↑" if new > old else "↓"


# What is shown: the value, or None where it was not measured, and how it is written.
_NUMBERS: tuple[tuple[str, Callable[[Figures], float | None], Callable[[float], str]], ...] = (
    ("size of the weights", lambda figures: figures.weight_bytes, lambda value: numbers.size(int(value))),
    ("bits per weight", lambda figures: figures.bits_per_weight, lambda value: f"{value:.2f}"),
    ("mean KLD, nats", lambda figures: figures.mean_kld, numbers.significant),
    ("same first choice", lambda figures: figures.same_first_choice, numbers.percent),
    ("perplexity ratio", lambda figures: figures.perplexity_ratio, lambda value: f"{value:.3f}"),
    ("generation tokens/s", lambda figures: figures.generation_tps, numbers.significant),
)
