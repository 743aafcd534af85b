"""What the engine measures of speed and memory, and of the device that it computes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mlx_publish.evidence.records import LEFT_OUT
from mlx_publish.machine.series import Summary
from mlx_publish.text.numbers import significant

RATES = ("prompt_tps", "generation_tps")

Backend = Literal["metal", "cuda", "cpu"]
"""What MLX computes with."""


@dataclass(frozen=True)
class Device:
    """The device that MLX computes on."""

    device: str
    """`gpu` or `cpu`."""
    name: str
    """Empty for a CPU."""
    metal: bool
    deviation: float
    """How far its products are from the CPU's, as a share; NaN where one is no number, 0 on the CPU."""
    backend: Backend | None = field(default=None, metadata=LEFT_OUT)
    memory_bytes: int | None = field(default=None, metadata=LEFT_OUT)
    """Of a GPU, as MLX is told."""


@dataclass(frozen=True)
class Trial:
    """A prompt and a generation: rates in tokens per second, a time in seconds."""

    prompt_tps: float
    generation_tps: float
    first_token_s: float


def decided(trials: Sequence[Trial], left: int) -> bool:
    """Return whether `left` more trials cannot change the median of any rate as it is printed.

    While they are fewer than those made, a median stays between the lowest and the highest of these.
    """
    series = [[getattr(trial, rate) for trial in trials] for rate in RATES]
    return left < len(trials) and all(significant(min(rates)) == significant(max(rates)) for rates in series)


@dataclass(frozen=True)
class LengthSpeed:
    """What was measured at one length of the prompt."""

    prompt_tokens: int
    generation_tokens: int
    warm_up: Sequence[Trial]
    """Runs that do not count: those before the first two successive ones that agree, which are trials."""
    trials: Sequence[Trial]
    prompt_tps: Summary
    generation_tps: Summary
    first_token_s: Summary
    peak_memory_bytes: int


@dataclass(frozen=True)
class PictureSpeed:
    """What was measured with one picture in the prompt, beside as many tokens of text alone."""

    width: int
    """Of the picture, in pixels, before the processor makes of it what the tower takes."""
    height: int
    image_tokens: int
    """Of the prompt."""
    with_picture: LengthSpeed
    text_alone: LengthSpeed
    encode_s: Summary | None = field(default=None, metadata=LEFT_OUT)
    """Seconds from the prompt to its embeddings, by the tower and the projector; a part of the first token's.

    None where they scattered, or took longer than the whole did.
    """


@dataclass(frozen=True)
class LeftOut:
    """A length of the prompt that was not measured, and the reason."""

    prompt_tokens: int
    why: str


@dataclass(frozen=True)
class CacheSize:
    """What the cache of keys and values takes, as stored in 2 bytes a number."""

    bytes_per_token: int
    """Of layers that grow with the text."""
    window_bytes_per_token: int
    """Of layers that stop growing at their window."""
    window: int
    """The largest window, in tokens; 0 where no layer has one."""
    fixed_bytes: int = 0
    """Of layers whose state has one size whatever the text, as state-space layers; as it lay in memory."""
    unknown_layers: int = 0
    """Layers whose cache is of a kind whose size is not known."""

    def bytes_at(self, tokens: int, *, dtype: str | None = None) -> int | None:
        """Return what it takes after so many tokens in a variant of a dtype; None where a layer's size is not known."""
        if self.unknown_layers:
            return None
        growing = self.bytes_per_token * tokens + self.window_bytes_per_token * min(tokens, self.window)
        return growing * (2 if dtype == "float32" else 1) + self.fixed_bytes


@dataclass(frozen=True)
class Speed:
    """The benchmark of one variant; memory in bytes."""

    device: str
    """`gpu` or `cpu`."""
    computed_in: str
    seconds: int
    """The time that it was given."""
    asked_generation_tokens: int
    asked_trials: int
    lengths: Sequence[LengthSpeed]
    left_out: Sequence[LeftOut]
    cache: CacheSize
    peak_memory_bytes: int
    process_memory_bytes: int
    backend: Backend | None = field(default=None, metadata=LEFT_OUT)
    """None in reports of versions before 0.3."""
    gpu: str | None = field(default=None, metadata=LEFT_OUT)
    """Name of the GPU, as MLX is told; None for a CPU."""
    picture: PictureSpeed | None = field(default=None, metadata=LEFT_OUT)
    """None for a model that does not see, and where it could not be measured or was unsteady."""
    picture_not_measured: str | None = field(default=None, metadata=LEFT_OUT)
    """Why a model that sees has no `picture`."""
