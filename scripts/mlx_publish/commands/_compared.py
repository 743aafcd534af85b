"""Two pieces of evidence number by number, with the reason where two numbers say nothing about each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.clustered import LEAST, clustered
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.measurements import FidelitySpec, GainSpec, SpeedSpec
from mlx_publish.text.numbers import percent, significant, size

_NONE = "-"
_Pair: TypeAlias = "tuple[float | None, float | None]"
_Spec = TypeVar("_Spec", FidelitySpec, SpeedSpec)


@dataclass(frozen=True)
class Row:
    """A number of both sides; `b_to_a` is empty if they cannot be compared, and `why` says why."""

    name: str
    a: str
    b: str
    values: _Pair = (None, None)
    b_to_a: str = ""
    why: str = ""


def rows(a: Evidence, b: Evidence) -> Iterator[Row]:
    """Yield what both say in numbers."""
    yield _row("weights", (a.model.weight_bytes, b.model.weight_bytes), size, ratio=True)
    yield _row("bits per weight", (a.model.bits_per_weight, b.model.bits_per_weight), lambda value: f"{value:.2f}")
    yield from _fidelity(a, b)
    yield from _speed(a, b)


def _row(name: str, values: _Pair, form: Callable[[float], str], *, ratio: bool = False, why: str = "") -> Row:
    a, b = values
    change = "" if a is None or b is None or why else f"{b / a:.2f}x" if ratio and a else f"{b - a:+.3g}"
    return Row(name, _NONE if a is None else form(a), _NONE if b is None else form(b), values, change, why)


def _of(a: _Spec | None, b: _Spec | None, pick: Callable[[_Spec], float]) -> _Pair:
    return (None if a is None else pick(a), None if b is None else pick(b))


def _fidelity(a: Evidence, b: Evidence) -> Iterator[Row]:
    mine, theirs, why = a.fidelity, b.fidelity, fidelity_differs(a, b)
    row = _row("mean KLD", _of(mine, theirs, lambda spec: spec.mean_kld), significant, why=why)
    near = mine and theirs and abs(mine.mean_kld - theirs.mean_kld) <= _noise(mine, theirs).mean_kld
    yield replace(row, a=_kld(mine), b=_kld(theirs), b_to_a="within error" if near and not why else row.b_to_a)
    yield Row("closeness", _word(mine), _word(theirs))
    seen = tuple(spec.pictures.mean_kld if spec and spec.pictures else None for spec in (mine, theirs))
    if seen != (None, None):
        yield _row("mean KLD with pictures", (seen[0], seen[1]), significant, why=why or pictures_differ(a, b))
    same = _of(mine, theirs, lambda spec: spec.same_first_choice)
    row = _row("top-1 agreement", same, lambda value: f"{value:.1%}", why=why)
    yield replace(row, b_to_a=_points(*same)) if row.b_to_a else row
    ratios = _of(mine, theirs, lambda spec: spec.perplexity_ratio)
    yield _row("perplexity ratio", ratios, lambda value: f"{value:.3f}", why=why)
    deltas = (mine.rms_delta_p if mine else None, theirs.rms_delta_p if theirs else None)
    if deltas != (None, None):
        yield _row("99 % KLD", _of(mine, theirs, lambda spec: spec.p99_kld), significant, why=why)
        row = _row("RMS Δp", deltas, percent, why=why)
        yield replace(row, b_to_a=_points(*deltas)) if row.b_to_a else row
    gained, its = (spec.gain if spec else None for spec in (mine, theirs))
    if gained or its:
        yield Row("over plain rounding", _gain(gained), _gain(its))


def _gain(gain: GainSpec | None) -> str:
    """Return what a variant gains over plain rounding of the same bytes, whatever the other side is."""
    if gain is None or not gain.rounding_kld > 0:
        return _NONE
    return f"{100 * gain.difference / gain.rounding_kld:+.0f} % KLD"


def _points(a: float | None, b: float | None) -> str:
    """Return a difference between shares in percentage points."""
    return "" if a is None or b is None else f"{100 * (b - a):+.1f} points"


def _kld(spec: FidelitySpec | None) -> str:
    return f"{significant(spec.mean_kld)} ± {significant(spec.mean_kld_error, 2)}" if spec else _NONE


def _word(spec: FidelitySpec | None) -> str:
    return closeness(spec.mean_kld).word if spec else _NONE


@dataclass(frozen=True)
class Noise:
    """Below which difference two mean KL divergences cannot be told apart by their text."""

    mean_kld: float
    """Half the width of the difference's 95 % interval."""
    paired: bool
    """Whether passages were compared one by one; else both errors add up, and what they share counts twice."""


def noise(a: Evidence, b: Evidence) -> Noise | None:
    """Return the noise of the difference in mean KLD; None where it is not compared, or has no intervals."""
    mine, theirs = a.fidelity, b.fidelity
    if mine is None or theirs is None or mine.noise is None or theirs.noise is None or fidelity_differs(a, b):
        return None
    return _noise(mine, theirs)


def _noise(a: FidelitySpec, b: FidelitySpec) -> Noise:
    pairs = list(zip(a.by_passage or (), b.by_passage or (), strict=False))
    counts = [mine.positions for mine, _ in pairs]
    if len(pairs) >= LEAST and [part.positions for part in b.by_passage or ()] == counts == [
        part.positions for part in a.by_passage or ()
    ]:
        sums = [mine.positions * (theirs.mean_kld - mine.mean_kld) for mine, theirs in pairs]
        return Noise(clustered(sums, counts).noise, paired=True)
    # Evidence of earlier versions has no factor.
    return Noise(math.hypot(*((spec.error_factor or 2.0) * spec.mean_kld_error for spec in (a, b))), paired=False)


def fidelity_differs(a: Evidence, b: Evidence) -> str:
    """Return why distances from the source cannot be compared; empty if they can."""
    mine, theirs = a.fidelity, b.fidelity
    if mine is None or theirs is None:
        return ""
    if (a.source.name, a.source.identity) != (b.source.name, b.source.identity):
        return "another source" if a.source.name != b.source.name else "another commit of the source"
    if (mine.against.what, mine.against.label) != (theirs.against.what, theirs.against.label):
        return "another reference"
    keys = ("tokens_sha256", "positions")
    if any(mine.plain.get(key) != theirs.plain.get(key) for key in keys):
        return "another text"
    if mine.plain.get("source_computed_in") != theirs.plain.get("source_computed_in"):
        return "reference computed in another type"
    return ""


def pictures_differ(a: Evidence, b: Evidence) -> str:
    """Return why distances from the source behind pictures cannot be compared; empty if they can."""
    mine, theirs = (side.fidelity.pictures if side.fidelity else None for side in (a, b))
    if mine is None or theirs is None or mine.plain.get("inputs_sha256") == theirs.plain.get("inputs_sha256"):
        return ""
    return "other pictures"


def _speed(a: Evidence, b: Evidence) -> Iterator[Row]:
    mine, theirs, why = a.benchmark, b.benchmark, speed_differs(a, b)
    tokens = dict.fromkeys(spec.headline.prompt_tokens for spec in (mine, theirs) if spec)
    at = f" at {' / '.join(map(str, tokens))} tokens" if tokens else ""
    generated = _of(mine, theirs, lambda spec: spec.headline.generation_tps.median)
    yield _row(f"generation, tok/s{at}", generated, significant, ratio=True, why=why)
    prompt = _of(mine, theirs, lambda spec: spec.headline.prompt_tps.median)
    yield _row("prompt, tok/s", prompt, significant, ratio=True, why=why)
    peak = _of(mine, theirs, lambda spec: spec.headline.peak_memory_bytes)
    yield _row("peak memory", peak, size, ratio=True, why=why)
    if mine or theirs:
        yield Row("measured on", machine_of(mine) if mine else _NONE, machine_of(theirs) if theirs else _NONE)


def machine_of(spec: SpeedSpec) -> str:
    """Name the chip that computed, and what kind it is."""
    return f"{spec.chip} ({spec.kind})"


def speed_differs(a: Evidence, b: Evidence) -> str:
    """Return why speeds cannot be compared; empty if they can."""
    mine, theirs = a.benchmark, b.benchmark
    if mine is None or theirs is None:
        return ""
    reasons = (
        (machine_of(mine) == machine_of(theirs), "another machine"),
        (_memory(mine) == _memory(theirs), "another machine of the same chip"),
        (_driver(mine) == _driver(theirs), "another driver of the GPU"),
        (mine.headline.prompt_tokens == theirs.headline.prompt_tokens, "another prompt length"),
        (mine.headline.generation_tokens == theirs.headline.generation_tokens, "another number of generated tokens"),
        *((a.tools.get(name) == b.tools.get(name), f"another {name}") for name in ("mlx", "mlx-lm", "mlx-vlm")),
    )
    return next((reason for same, reason in reasons if not same), "")


def _driver(spec: SpeedSpec) -> object:
    return spec.machine.plain.get("gpu_driver")


def _memory(spec: SpeedSpec) -> tuple[object, ...]:
    plain = spec.machine.plain
    keys = ("chip", "cores", "gpu_cores", "memory_bytes", "model", "gpu_memory_bytes")
    return tuple(plain.get(key) for key in keys)


@dataclass(frozen=True)
class Difference:
    """A check or an answer that is another one."""

    name: str
    a: str
    b: str


def checks(a: Evidence, b: Evidence) -> list[Difference]:
    """Return the checks that came out otherwise, by stage and id."""
    mine, theirs = ({f"{c.stage}: {c.id}": c.status for c in side.checks} for side in (a, b))
    names = dict.fromkeys((*mine, *theirs))
    return [
        Difference(name, mine.get(name, "not run"), theirs.get(name, "not run"))
        for name in names
        if mine.get(name) != theirs.get(name)
    ]


def answers(a: Evidence, b: Evidence) -> list[Difference]:
    """Return the questions that both were asked and answered otherwise."""
    mine, theirs = _answers(a), _answers(b)
    return [
        Difference(name, mine[name][1], theirs[name][1])
        for name in mine
        if name in theirs and mine[name][0] == theirs[name][0] and mine[name][1] != theirs[name][1]
    ]


def _answers(evidence: Evidence) -> Mapping[str, tuple[object, str]]:
    """Return question and answer by name; of the short questions the name is all that is known."""
    smoke = evidence.smoke.plain if evidence.smoke else {}
    exchange = smoke.get("exchange") or {}
    found = {"example": (exchange.get("messages"), str(exchange.get("answer", "")))} if exchange else {}
    for name, answer in (smoke.get("answers") or {}).items():
        found[str(name)] = (name, str(answer.get("answer", "")))
    return found
