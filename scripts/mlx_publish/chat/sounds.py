"""The sounds that a model is asked about: beeps to be counted, spoken digits, and silence of the same length.

Every file is as long as the others, so that a prompt has as many tokens with either.
"""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlx_publish.chat.media import NUMBERS, Contrast, Medium
from mlx_publish.chat.speech import spoken

RATE = 16_000
"""Samples a second, which the encoders of speech take."""
SECONDS = 3.0
_PITCH, _LOUD = 660.0, 0.5  # hertz, and the share of the loudest that a file holds
_BEEP, _PAUSE, _FADE = 0.2, 0.3, 0.02  # seconds
_LOUDEST = 32_767


@dataclass(frozen=True)
class Sound(Medium):
    """A sound with its question."""

    kind: ClassVar[str] = "sound"
    ending: ClassVar[str] = "wav"
    play: Callable[[], Sequence[float]]
    """Returns samples between -1 and 1."""

    def file(self) -> bytes:
        """Return it as a WAV file: one channel of 16 bits."""
        samples = [round(_LOUDEST * value) for value in self.play()]
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
        return out.getvalue()


def _in_turn(sounds: Sequence[Sequence[float]], pause: float) -> list[float]:
    """Return sounds one after the other with pauses in seconds, and silence up to the end."""
    samples: list[float] = []
    for sound in sounds:
        samples += [0.0] * round(pause * RATE)
        samples += sound
    return samples + [0.0] * (round(SECONDS * RATE) - len(samples))


def _tone() -> list[float]:
    """Return a sine that swells and dies away, so that it begins and ends without a click."""
    count, fade = round(_BEEP * RATE), round(_FADE * RATE)
    edges = (min(1.0, (at + 0.5) / fade, (count - at - 0.5) / fade) for at in range(count))
    return [_LOUD * edge * math.sin(2 * math.pi * _PITCH * at / RATE) for at, edge in enumerate(edges)]


def _of_beeps(name: str, count: int) -> Sound:
    return Sound(
        name,
        "How many beeps do you hear? Answer with a number.",
        (NUMBERS[count],),
        NUMBERS,
        f"{NUMBERS[count]} beeps",
        lambda: _in_turn([_tone()] * count, _PAUSE),
    )


def _of_digits(name: str, digits: tuple[str, ...]) -> Sound:
    def play() -> list[float]:
        return _in_turn([[_LOUD * value for value in spoken(digit, RATE)] for digit in digits], _PAUSE)

    question = "Which three digits are spoken? Answer with these digits only."
    return Sound(name, question, digits, (), f"the spoken digits {', '.join(digits)}", play)


_BEEPS = _of_beeps("beeps", 2)
_SILENCE = Sound("silence", _BEEPS.question, (), (), "nothing", lambda: _in_turn([], 0))
SOUNDS: tuple[Contrast, ...] = (
    Contrast("beeps", _BEEPS, _of_beeps("beeps-other", 5)),
    Contrast(
        "digits",
        _of_digits("digits", ("four", "nine", "one")),
        _of_digits("digits-other", ("nine", "three", "one")),
    ),
    Contrast("silence", _BEEPS, _SILENCE),
)
"""Pairs of sounds whose difference an answer has to follow."""
