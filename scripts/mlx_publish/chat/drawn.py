"""Dialogues and clocks that are drawn anew for each run, so that no template can know what it will be asked.

They never show in a report where nothing is wrong. Where something is, the report has the number that they were drawn
by, of which `drawn` makes the same texts again, and the time, which stands for itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from typing import Any

from mlx_publish.chat.dialogues import Probe
from mlx_publish.chat.rendering import Rendered

LIKE: tuple[tuple[str, tuple[int, int]], ...] = (
    ("user", (1, 2)), ("user", (3, 9)), ("several turns", (4, 20)), ("user", (10, 40)), ("system+user", (3, 60)),
    ("tools", (4, 20)), ("several turns", (1, 200)), ("user", (60, 400)), ("user", (1500, 6000)),
)  # fmt: skip
"""The dialogues that are drawn anew, with the least and most words of their texts, each by another clock."""
CLOCKS = 24
"""Further clocks for a template that asks for the time."""
_NAMES = ("Amara", "Björn", "Chloé", "Dmitri", "Eun-ji", "Farid", "Grace", "Hòa", "İpek", "José", "Kwame", "Łucja")
_ALPHABETS = "aeioulnrst", "αβγδεζηθλμ", "абвгдежз", "的一是不了人我在有他", "あいうえお", "ابتثجحخدرز", "😀🌒🚀"
# What a template may take and write more than for a usual dialogue: so much in any case, so many times as much.
_LEAST_SECONDS, _TIMES_SECONDS = 1.0, 20
_LEAST_LENGTH, _TIMES_LENGTH = 4000, 4


@dataclass(frozen=True)
class Drawn:
    """A dialogue with drawn texts, at a drawn time, that is like one of the usual ones."""

    like: str
    probe: Probe
    now: str


def drawn(seed: int, probes: Mapping[str, Probe], *, clock: bool) -> tuple[Drawn, ...]:
    """Draw by a number; with `clock` for a template that asks for the time, which more of them are drawn for."""
    draw = random.Random(seed)  # noqa: S311  no secret
    words = _words()
    dialogues = [Drawn(like, _again(probes[like], draw, words, size), _time(draw)) for like, size in LIKE]
    dialogues[0] = replace(dialogues[0], now=_now().isoformat())
    times = [Drawn("user", probes["user"], _time(draw)) for _ in range(CLOCKS if clock else 0)]
    return (*dialogues, *times)


def difference(dialogue: Drawn, rendering: Rendered, like: Rendered, slowest: float) -> str | None:
    """What is wrong with a drawn one beside the usual one; None where nothing is."""
    if rendering.kind in ("unsafe", "forbidden"):
        return rendering.error
    if like.text is None or rendering.kind == "not-reached":
        return None
    if rendering.text is None:
        return f"it fails where a dialogue like it does not: {rendering.error}"
    given = sum(len(text) for text in dialogue.probe.texts())
    if len(rendering.text) > _LEAST_LENGTH + _TIMES_LENGTH * (given + len(like.text)):
        return f"it wrote {len(rendering.text):,} characters, and {len(like.text):,} for a dialogue like it"
    if rendering.seconds > _LEAST_SECONDS + _TIMES_SECONDS * slowest:
        return f"it took {rendering.seconds:.1f} s of processor time, and {slowest:.1g} s at most for others"
    return None


def _words() -> Sequence[str]:
    text = files("mlx_publish").joinpath("data/fidelity/prose.txt").read_text(encoding="utf-8")
    return sorted({word for word in text.split() if word.strip(",.;:").isalpha()})


def _time(draw: random.Random) -> str:
    """Near ones mostly, by the second: today, some years ahead, and far ones on both sides."""
    days = draw.choice(((-1, 1), (0, 60), (0, 1500), (0, 1500), (-4000, 0), (1500, 20_000)))
    return (_now() + timedelta(days=draw.randint(*days), seconds=draw.randrange(86_400))).isoformat()


def _now() -> datetime:
    """The time as templates are told it."""
    return datetime.now(timezone.utc).astimezone().replace(tzinfo=None, microsecond=0)


def _again(probe: Probe, draw: random.Random, words: Sequence[str], size: tuple[int, int]) -> Probe:
    """The same roles with other texts, and tools with other names."""
    messages = tuple({**message, "content": " ".join(_text(draw, words, size))} for message in probe.messages)
    tools = None if probe.tools is None else tuple(_tool(tool, draw, words) for tool in probe.tools)
    return replace(probe, messages=messages, tools=tools)


def _tool(tool: Mapping[str, Any], draw: random.Random, words: Sequence[str]) -> dict[str, Any]:
    name = "_".join(draw.choice(words).strip(",.;:").lower() for _ in range(2))
    return {**tool, "function": {**tool["function"], "name": name, "description": " ".join(_text(draw, words, (3, 9)))}}


def _text(draw: random.Random, words: Sequence[str], size: tuple[int, int]) -> Iterator[str]:
    """Yield words: most of them common, beside names, numbers and letters of other scripts."""
    for _ in range(draw.randint(*size)):
        kind = draw.random()
        if kind < 0.8:
            yield draw.choice(words)
        elif kind < 0.9:
            yield draw.choice(_NAMES) if kind < 0.85 else str(draw.randrange(10 ** draw.randint(1, 8)))
        else:
            alphabet = draw.choice(_ALPHABETS)
            yield "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 9)))
