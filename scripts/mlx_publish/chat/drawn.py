"""Dialogues and clocks that are drawn anew for each run, so that no template can know what it will be asked.

No report mentions them where nothing is wrong. Where something is, the report has the seed, of which `drawn` makes the
same texts again, and the time, which no seed gives back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from typing import cast

from mlx_publish.chat.dialogues import Probe
from mlx_publish.chat.rendering import Rendered

LIKE: tuple[tuple[str, tuple[int, int]], ...] = (
    ("user", (1, 2)),
    ("user", (3, 9)),
    ("several turns", (4, 20)),
    ("user", (10, 40)),
    ("system+user", (3, 60)),
    ("tools", (4, 20)),
    ("several turns", (1, 200)),
    ("user", (60, 400)),
    ("user", (1500, 6000)),
)
"""The dialogues that are drawn anew, with the least and most words of their texts, each by another clock."""
CLOCKS = 24
"""Further clocks for a template that asks for the time."""
_NAMES = ("Amara", "Björn", "Chloé", "Dmitri", "Eun-ji", "Farid", "Grace", "Hòa", "İpek", "José", "Kwame", "Łucja")
_ALPHABETS = "aeioulnrst", "αβγδεζηθλμ", "абвгдежз", "的一是不了人我在有他", "あいうえお", "ابتثجحخدرز", "😀🌒🚀"
# A drawn dialogue may take and write so much in any case, and so many times as much as a usual one.
_LEAST_SECONDS, _TIMES_SECONDS = 1.0, 20
_LEAST_LENGTH, _TIMES_LENGTH = 4000, 4


@dataclass(frozen=True)
class Drawn:
    """A dialogue with drawn texts, at a drawn time, that is like one of the usual ones."""

    like: str
    probe: Probe
    now: str


def drawn(seed: int, probes: Mapping[str, Probe], *, clock: bool) -> tuple[Drawn, ...]:
    """Draw dialogues from a seed; with `clock`, for a template that asks for the time, also further times."""
    draw = random.Random(seed)  # noqa: S311  no secret
    prose = files("mlx_publish").joinpath("data/fidelity/prose.txt").read_text(encoding="utf-8")
    words = sorted({word for word in prose.split() if word.strip(",.;:").isalpha()})
    dialogues = [Drawn(like, _again(probes[like], draw, words, size), _time(draw)) for like, size in LIKE]
    dialogues[0] = replace(dialogues[0], now=_now().isoformat())
    times = [Drawn("user", probes["user"], _time(draw)) for _ in range(CLOCKS if clock else 0)]
    return (*dialogues, *times)


def difference(dialogue: Drawn, rendering: Rendered, like: Rendered, slowest: float) -> str | None:
    """Say what is wrong with a rendering beside that of the usual dialogue `like` it; None where nothing is."""
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


def _time(draw: random.Random) -> str:
    """Draw a time, to the second: most are near, today or some years ahead, and some far on both sides."""
    days = draw.choice(((-1, 1), (0, 60), (0, 1500), (0, 1500), (-4000, 0), (1500, 20_000)))
    return (_now() + timedelta(days=draw.randint(*days), seconds=draw.randrange(86_400))).isoformat()


def _now() -> datetime:
    """Return the time as templates get it."""
    return datetime.now(timezone.utc).astimezone().replace(tzinfo=None, microsecond=0)


def _again(probe: Probe, draw: random.Random, words: Sequence[str], size: tuple[int, int]) -> Probe:
    """Return the same roles with other texts, and tools with other names."""
    messages = tuple({**message, "content": " ".join(_text(draw, words, size))} for message in probe.messages)
    tools: list[Mapping[str, object]] = []
    for tool in probe.tools or ():
        name = "_".join(draw.choice(words).strip(",.;:").lower() for _ in range(2))
        own = {"name": name, "description": " ".join(_text(draw, words, (3, 9)))}
        tools.append({**tool, "function": {**cast("Mapping[str, object]", tool["function"]), **own}})
    return replace(probe, messages=messages, tools=None if probe.tools is None else tuple(tools))


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
