"""The same dialogues rendered by other template engines, and how the results differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlx_publish.chat.differences import Difference, differences
from mlx_publish.chat.engines import available, render_with
from mlx_publish.chat.look import NOW, Look, context_of, template_for
from mlx_publish.chat.rendering import full_context

_SECONDS = 8.0


def by_engine(look: Look, engines: Sequence[str]) -> Mapping[str, tuple[str, ...] | None] | None:
    """Return a line for each difference by engine, None for one that is not installed; None if none is asked for."""
    if not engines:
        return None
    installed = available()
    return {engine: _causes(look, engine) if engine in installed else None for engine in engines}


def _causes(look: Look, engine: str) -> tuple[str, ...]:
    """Return a line for each cause: dialogues that stumble over the same construct share it."""
    asked = [(probe, template_for(look.templates, probe)) for probe in look.probes]
    requests = [(template, full_context(context_of(probe, look.special_tokens))) for probe, template in asked]
    answers = render_with(engine, requests, datetime.fromisoformat(NOW), _SECONDS)
    causes: dict[tuple[str, str], list[Difference]] = {}
    for template in dict.fromkeys(template for _, template in asked):
        theirs = {p.name: answer for (p, its), answer in zip(asked, answers, strict=True) if its == template}
        for difference in differences({name: look.rendered[name] for name in theirs}, theirs, template, engine):
            key = (difference.construct, "" if difference.construct else difference.message)
            causes.setdefault(key, []).append(difference)
    lines = []
    for first, *others in causes.values():
        names = ", ".join(repr(difference.probe) for difference in (first, *others[:2]))
        more = f" and {len(others) - 2} more" if len(others) > 2 else ""
        where = f" (line {first.line})" if first.line else ""
        cause = f"{first.construct}{where}: " if first.construct else ""
        lines.append(f"{engine}: {cause}in {names}{more} it {first.message}")
    return tuple(lines)
