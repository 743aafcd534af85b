"""What a review has to look at: numbers of new evidence beside those of the evidence before, and open questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from mlx_publish.card.environment import REVIEW, environment
from mlx_publish.evidence.evidence import LACKING
from mlx_publish.machine.series import headline
from mlx_publish.text import numbers

Evidence = Mapping[str, Any]
_SAME = 0.005  # of the larger one; a smaller change has no arrow
_PENDING = ("warn", "fixed")


def body(
    recipe: str, cards: Sequence[tuple[PurePosixPath, Evidence, Evidence | None]], *, web: str = "", callback: str = ""
) -> str:
    """The text of a pull request: for each card its path, its evidence, and the evidence before, if there was one.

    `web` is put before the paths to make addresses of them, `callback` is what the asker knows the request by.
    """
    told = [_card(path, now, before, f"{web}{path}") for path, now, before in cards]
    template = environment().get_template(REVIEW)
    return template.render(recipe=recipe, cards=told, callback=callback).strip() + "\n"


def _card(path: PurePosixPath, now: Evidence, before: Evidence | None, at: str) -> dict[str, Any]:
    try:
        verdict, rows = _verdict(now, before), list(_rows(now, before))
    except LACKING:
        if before is None:
            raise
        verdict = f"{_verdict(now, None)} to this version, which cannot read the evidence before"
        rows = list(_rows(now, None))
    human = [check for check in now["checks"] if check["status"] in _PENDING]
    return {
        "name": path.name,
        "at": at,
        "verdict": verdict,
        "repo": now["source"]["repo"],
        "commit": now["source"]["identity"],
        "numbers": rows,
        "human": human,
    }


def _verdict(now: Evidence, before: Evidence | None) -> str:
    missing = sorted(now["missing"])
    told = "All checks passed" + (f"; not measured: {', '.join(missing)}" if missing else "")
    if before is None:
        return f"{told}. It is new"
    same = before["model"]["model"] == now["model"]["model"]
    return f"{told}. {'The files are those of before' if same else 'The files are others than before'}"


def _rows(now: Evidence, before: Evidence | None) -> Iterator[dict[str, str]]:
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


def _of(evidence: Evidence, section: str, key: str) -> float | None:
    found = evidence.get(section)
    return found.get(key) if found else None


def _speed(evidence: Evidence) -> float | None:
    found = evidence.get("benchmark")
    return float(headline(found)["generation_tps"]["median"]) if found else None


# What is shown of an evidence: the value, or None where it was not measured, and how it is written.
_NUMBERS: tuple[tuple[str, Callable[[Evidence], float | None], Callable[[float], str]], ...] = (
    ("size of the weights", lambda e: e["model"]["weight_bytes"], lambda value: numbers.size(int(value))),
    ("bits per weight", lambda e: e["model"]["bits_per_weight"], lambda value: f"{value:.2f}"),
    ("mean KLD, nats", lambda e: _of(e, "fidelity", "mean_kld"), numbers.significant),
    ("same first choice", lambda e: _of(e, "fidelity", "same_first_choice"), numbers.percent),
    ("perplexity ratio", lambda e: _of(e, "fidelity", "perplexity_ratio"), lambda value: f"{value:.3f}"),
    ("generation tokens/s", _speed, numbers.significant),
)
