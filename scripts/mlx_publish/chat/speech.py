"""Spoken digits by formants: resonances of a vocal tract, excited by pulses of a voice and by noise.

After D. H. Klatt, "Software for a cascade/parallel formant synthesizer" (1980), with four resonances and one for noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_STEP = 0.005
"""Seconds for which a tract stands still."""
_WIDTHS = (60.0, 90.0, 130.0, 220.0)
"""Bandwidths of the resonances, in hertz."""
_FOURTH = 3500.0
_PITCH, _FALL = 125.0, 25.0  # hertz at the beginning of a word, and how far it falls
_OPEN = 0.6  # share of a period for which the glottis is open
_SILENT = (500.0, 1500.0, 2500.0)


@dataclass(frozen=True)
class Sound:
    """A piece of speech: what the tract moves to, how long that takes, and how long it stays."""

    formants: tuple[float, float, float]
    """Hertz of the first three resonances."""
    move: float
    """Seconds."""
    stay: float
    voice: float = 1.0
    noise: float = 0.0
    around: float = 3000.0
    """Hertz around which noise is loudest."""
    width: float = 1500.0


def _vowel(first: float, second: float, third: float, stay: float, move: float = 0.06) -> Sound:
    return Sound((first, second, third), move, stay)


_N = Sound((270, 1400, 2400), 0.03, 0.10, voice=0.5)
_F = Sound((340, 1100, 2100), 0.03, 0.11, voice=0.0, noise=0.10, around=4500, width=5000)
WORDS: dict[str, tuple[Sound, ...]] = {
    "one": (Sound((290, 610, 2150), 0.02, 0.10, voice=0.7), _vowel(640, 1200, 2400, 0.10, 0.07), _N),
    "three": (
        Sound((320, 1300, 2550), 0.03, 0.10, voice=0.0, noise=0.08, around=5500, width=4000),
        Sound((310, 1060, 1400), 0.02, 0.06, voice=0.7),
        _vowel(290, 2250, 2950, 0.18, 0.1),
    ),
    "four": (_F, _vowel(500, 850, 2400, 0.14, 0.04), _vowel(420, 1200, 1600, 0.08, 0.1)),
    "nine": (_N, _vowel(730, 1300, 2450, 0.12, 0.03), _vowel(350, 2050, 2650, 0.06, 0.13), _N),
}
"""Digits, each as its sounds: those that PocketSphinx 5 understands, three in a row, in most of their orders."""


@functools.cache
def spoken(word: str, rate: int) -> tuple[float, ...]:
    """Return the samples of a digit, between -1 and 1."""
    samples = list(_tract(list(_moves(WORDS[word])), rate))
    loudest = max(map(abs, samples))
    return tuple(value / loudest for value in samples)


def _moves(sounds: Sequence[Sound]) -> Iterator[Sound]:
    """Yield where the tract is at each step, from silence through the sounds to silence."""
    first, last = sounds[0], sounds[-1]
    now = Sound(first.formants, 0, 0, voice=0.0, noise=0.0, around=first.around, width=first.width)
    for sound in (
        *sounds,
        Sound(last.formants, 0.04, 0.01, voice=0.0, noise=0.0, around=last.around, width=last.width),
    ):
        steps = max(1, round(sound.move / _STEP))
        for step in range(1, steps + 1):
            yield _between(now, sound, step / steps)
        for _ in range(round(sound.stay / _STEP)):
            yield sound
        now = sound


def _between(one: Sound, other: Sound, share: float) -> Sound:
    def mixed(a: float, b: float) -> float:
        return a + share * (b - a)

    first, second, third = (mixed(a, b) for a, b in zip(one.formants, other.formants, strict=True))
    around, width = (other.around, other.width) if other.noise else (one.around, one.width)
    voice, noise = mixed(one.voice, other.voice), mixed(one.noise, other.noise)
    return Sound((first, second, third), 0, 0, voice, noise, around, width)


class _Resonance:
    """A digital resonator of two poles."""

    def __init__(self) -> None:
        self._before, self._earlier = 0.0, 0.0
        self._a, self._b, self._c = 1.0, 0.0, 0.0

    def tune(self, hertz: float, width: float, rate: int) -> None:
        """Set where it resonates."""
        radius = math.exp(-math.pi * width / rate)
        self._c = -radius * radius
        self._b = 2 * radius * math.cos(2 * math.pi * hertz / rate)
        self._a = 1 - self._b - self._c

    def __call__(self, value: float) -> float:
        out = self._a * value + self._b * self._before + self._c * self._earlier
        self._before, self._earlier = out, self._before
        return out


def _tract(steps: Sequence[Sound], rate: int) -> Iterator[float]:
    """Yield the sound at the lips."""
    resonances, hiss = [_Resonance() for _ in _WIDTHS], _Resonance()
    noise, glottis = _noise(), _glottis(len(steps) * round(_STEP * rate), rate)
    before, hissed = 0.0, 0.0
    for step in steps:
        for resonance, hertz, width in zip(resonances, (*step.formants, _FOURTH), _WIDTHS, strict=True):
            resonance.tune(hertz, width, rate)
        hiss.tune(min(step.around, rate / 2 - 500), step.width, rate)
        for _ in range(round(_STEP * rate)):
            value = step.voice * next(glottis)
            for resonance in resonances:
                value = resonance(value)
            # Lips and the resonator for noise let what is slow through; what changes is what is heard.
            rough = hiss(next(noise))
            yield value - before + step.noise * (rough - hissed)
            before, hissed = value, rough


def _glottis(count: int, rate: int) -> Iterator[float]:
    """Yield the flow through the glottis, a pulse a period (Rosenberg, 1971), of a pitch that falls."""
    phase = 0.0
    for at in range(count):
        phase = (phase + (_PITCH - _FALL * at / count) / rate) % 1
        if phase < _OPEN * 2 / 3:
            share = phase / (_OPEN * 2 / 3)
            yield 3 * share**2 - 2 * share**3
        elif phase < _OPEN:
            yield 1 - ((phase - _OPEN * 2 / 3) / (_OPEN / 3)) ** 2
        else:
            yield 0.0


def _noise() -> Iterator[float]:
    """Yield noise between -1 and 1, the same on every machine (the generator of Numerical Recipes)."""
    state = 1
    while True:
        state = (1664525 * state + 1013904223) % (1 << 32)
        yield state / (1 << 31) - 1
