"""The same dialogues by other template engines, and what they make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlx_publish.chat.differences import Difference, differences
from mlx_publish.chat.engines import available, render_with
from mlx_publish.chat.look import NOW, Look, context_of, template_for
from mlx_publish.chat.rendering import as_seen

_SECONDS = 8.0


def by_engine(seen: Look, engines: Sequence[str]) -> Mapping[str, tuple[str, ...] | None] | None:
    """Say by engine what differs there, None for one that is not installed. None where none was asked for."""
    if not engines:
        return None
    installed = available()
    return {engine: _told(seen, engine) if engine in installed else None for engine in engines}


def _told(seen: Look, engine: str) -> tuple[str, ...]:
    """One line a cause: dialogues that stumble over the same construct share it."""
    asked = [(probe, template_for(seen.templates, probe)) for probe in seen.probes]
    requests = [(template, as_seen(context_of(probe, seen.special_tokens))) for probe, template in asked]
    answers = render_with(engine, requests, datetime.fromisoformat(NOW), _SECONDS)
    found: list[Difference] = []
    for template in dict.fromkeys(template for _, template in asked):
        theirs = {p.name: answer for (p, its), answer in zip(asked, answers, strict=True) if its == template}
        found += differences({name: seen.rendered[name] for name in theirs}, theirs, template, engine)
    causes: dict[tuple[str, str], list[Difference]] = {}
    for one in found:
        causes.setdefault((one.construct, one.said if not one.construct else ""), []).append(one)
    return tuple(_line(engine, several) for several in causes.values())


def _line(engine: str, several: Sequence[Difference]) -> str:
    first, names = several[0], ", ".join(repr(one.probe) for one in several[:3])
    more = f" and {len(several) - 3} more" if len(several) > 3 else ""
    where = f" (line {first.line})" if first.line else ""
    cause = f"{first.construct}{where}: " if first.construct else ""
    return f"{engine}: {cause}in {names}{more} it {first.said}"
