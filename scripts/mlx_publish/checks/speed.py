"""Whether a speed can be published. None of these refuses a model: its card says why there is no number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mlx_publish.checks.base import Check, Says, passed, warned
from mlx_publish.evidence.devices import kind_of, named
from mlx_publish.evidence.speed import LengthSpeed, Speed, decided
from mlx_publish.machine.series import deviation, objection
from mlx_publish.recipes.recipe import SpeedTest

FEWEST = 16
"""Tokens of a prompt or a generation below which a rate tells nothing."""
UNSTEADY = "measured, too unsteady to publish"
_RATES = {"prompt_tps": "prompt", "generation_tps": "generation"}


@dataclass(frozen=True)
class Repeated:
    """The other series of a variant that was measured twice, the first one having been unsteady."""

    number: int
    """1 or 2: which one it was."""
    unsteadiness: float
    """As of `SpeedFacts`."""
    waited: float
    """Seconds between the two, for the machine to become quiet."""

    def __str__(self) -> str:
        """Return a clause that tells of it."""
        how = f"too unsteady (±{100 * self.unsteadiness:.0f} %)"
        if self.number == 1:
            return f"measured again after a wait of {self.waited:.0f} s, since the first series was {how}"
        return f"measured again after a wait of {self.waited:.0f} s: {how} too"


@dataclass(frozen=True)
class SpeedFacts:
    """What was measured, by which limits, and how the machine was meanwhile."""

    speed: Speed
    limits: SpeedTest
    refusals: tuple[str, ...]
    """Sentences: why the state of the machine forbids publishing."""
    remarks: tuple[str, ...]
    """Sentences: what else it was doing."""
    system: str
    """As `platform.system()` names it."""
    repeated: Repeated | None = None
    """The series that was not taken, of two."""

    def objections(self) -> tuple[str, ...]:
        """Return everything that forbids publishing, as clauses."""
        return (*self.unsteady(), *self.disturbed(), *self.wrong_device(), *self.too_few())

    @property
    def withheld(self) -> str:
        """Why it is not published, all in one, the short form before the first colon; empty if it is."""
        objections = "; ".join(self.objections())
        if unsteady := self.unsteadiness:
            return f"{UNSTEADY} (±{100 * unsteady:.0f} %): {objections}"
        return f"measured, but not published: {objections}" if objections else ""

    @property
    def unsteadiness(self) -> float:
        """How far a trial is from the median at most, as a share, over all unsteady rates; 0 where all are steady."""
        return max((deviation(series) for series, fault, *_ in self._rates() if fault), default=0.0)

    def _rates(self) -> Iterator[tuple[list[float], str, str, int]]:
        """Yield each rate of each length: its trials, what is wrong with them, its name, and the prompt's tokens."""
        yield from self._rates_of(self.speed.lengths)

    def _rates_of(self, lengths: Iterable[LengthSpeed]) -> Iterator[tuple[list[float], str, str, int]]:
        for length in lengths:
            for rate, name in _RATES.items():
                series = [getattr(trial, rate) for trial in length.trials]
                fault = objection(series, self.limits.max_drift, self.limits.max_spread)
                yield series, fault, name, length.prompt_tokens

    @property
    def picture_unsteadiness(self) -> float:
        """The same of the prompt with a picture, and of that of text beside it."""
        return max((deviation(series) for series, fault, *_ in self._picture_rates() if fault), default=0.0)

    def _picture_rates(self) -> Iterator[tuple[list[float], str, str, int]]:
        if picture := self.speed.picture:
            yield from self._rates_of((picture.with_picture, picture.text_alone))

    @property
    def published(self) -> Speed:
        """What the report keeps: without a prompt with a picture whose speed is unsteady."""
        if unsteady := self.picture_unsteadiness:
            why = f"{UNSTEADY} (±{100 * unsteady:.0f} %)"
            return replace(self.speed, picture=None, picture_not_measured=why)
        if (picture := self.speed.picture) and picture.encode_s and not self.encoding_steady:
            return replace(self.speed, picture=replace(picture, encode_s=None))
        return self.speed

    @property
    def encoding_steady(self) -> bool:
        """Whether the seconds until the embeddings do not scatter, and are a part of those until the first token."""
        if (picture := self.speed.picture) is None or (taken := picture.encode_s) is None:
            return False
        scattered = taken.highest - taken.lowest > self.limits.max_spread * taken.median
        return not scattered and taken.median <= picture.with_picture.first_token_s.median

    @property
    def device(self) -> str:
        """Return what it was measured on: a CPU's or an NVIDIA GPU's number must never look like a Mac's."""
        speed = self.speed
        return f"{self.system}, CPU" if speed.device == "cpu" else named(speed.device, speed.backend, speed.gpu)

    def unsteady(self) -> Iterator[str]:
        """Yield rates that fall or scatter, at any length."""
        for _, fault, name, tokens in self._rates():
            if fault:
                yield f"{fault} {name} tokens/s ({self.device}; prompts of {tokens} tokens)"

    def disturbed(self) -> Iterator[str]:
        """Yield what of the machine's state forbids publishing."""
        return (f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".") for sentence in self.refusals)

    def wrong_device(self) -> Iterator[str]:
        """Yield an objection to a Mac's CPU: people expect the GPU's numbers there."""
        if self.system == "Darwin" and self.speed.device != "gpu":
            yield "MLX ran on this Mac's CPU, not on its GPU"

    def too_few(self) -> Iterator[str]:
        """Yield an objection to each length with too few tokens."""
        for length in self.speed.lengths:
            least = min(length.prompt_tokens, length.generation_tokens)
            if least < FEWEST:
                yield f"too few tokens: {least}"


def _steady(facts: SpeedFacts) -> Says:
    other = f"; {facts.repeated}" if facts.repeated else ""
    if unsteady := facts.unsteadiness:
        remedy = "Repeat the benchmark stage with --force on a quiet machine, or raise benchmark.seconds in the recipe."
        objections = "; ".join(facts.unsteady())
        return warned(f"{UNSTEADY} (±{100 * unsteady:.0f} %): {objections}{other}", remedy)
    rates = [
        f"{length.generation_tps.median:.1f} ({length.generation_tps.lowest:.1f} to "
        f"{length.generation_tps.highest:.1f}) after a prompt of {length.prompt_tokens}"
        for length in facts.speed.lengths
    ]
    return passed(f"generation tokens/s ({facts.device}): {', '.join(rates)}{other}")


def _machine(facts: SpeedFacts) -> Says:
    if facts.refusals:
        return warned(
            f"measured, but not published: {'; '.join(facts.disturbed())}",
            "Fix that ('mlx-publish doctor' names the command), then repeat the benchmark stage with --force.",
        )
    if facts.remarks:
        return warned(" ".join(facts.remarks), remarks=list(facts.remarks))
    return passed("nothing is known to have slowed it down")


def _device(facts: SpeedFacts) -> Says:
    if objections := list(facts.wrong_device()):
        return warned(
            f"measured, but not published: {objections[0]}",
            "Repeat the benchmark stage with --force where Metal is available.",
        )
    if facts.speed.device != "gpu":
        return passed(f"measured on the CPU under {facts.system}, and every number says so")
    if kind_of(facts.speed.device, facts.speed.backend) == "CUDA":
        return passed(f"measured on an NVIDIA GPU ({facts.device}), and every number says so")
    return passed("measured on the GPU")


def _enough(facts: SpeedFacts) -> Says:
    if objections := list(facts.too_few()):
        remedy = f"Set benchmark.prompt_tokens and generation_tokens to {FEWEST} or more, or raise benchmark.seconds."
        return warned(f"measured, but not published: {objections[0]}", remedy)
    asked, lengths = facts.limits, facts.speed.lengths
    fewer: dict[bool, list[str]] = {True: [], False: []}
    for length in lengths:
        whole_length = length.generation_tokens >= asked.generation_tokens
        if (left := asked.trials - len(length.trials)) > 0 or not whole_length:
            how = f"{len(length.trials)} trials of {length.generation_tokens} tokens"
            settled = whole_length and decided(length.trials, left)
            fewer[settled].append(f"{how} after a prompt of {length.prompt_tokens}")
    left_out = [f"prompts of {length.prompt_tokens} tokens ({length.why})" for length in facts.speed.left_out]
    parts = [f"shortened to fit {asked.seconds} s: {'; '.join(fewer[False])}"] if fewer[False] else []
    parts += [f"more could not change the medians: {'; '.join(fewer[True])}"] if fewer[True] else []
    parts += [f"left out: {'; '.join(left_out)}"] if left_out else []
    whole = f"{asked.trials} trials of {len(lengths)} length(s), {asked.generation_tokens} tokens each"
    return passed("; ".join(parts) or whole)


def _picture(facts: SpeedFacts) -> Says:
    if (picture := facts.speed.picture) is None:
        return warned(
            f"no speed with a picture: {facts.speed.picture_not_measured}",
            "Check the processor's files; the smoke stage shows it pictures, too.",
        )
    if unsteady := facts.picture_unsteadiness:
        return warned(
            f"with a picture: {UNSTEADY} (±{100 * unsteady:.0f} %)",
            "Repeat the benchmark stage with --force on a quiet machine, or raise benchmark.seconds in the recipe.",
        )
    seen, alone, taken = picture.with_picture, picture.text_alone, facts.encoding_steady and picture.encode_s
    encoding = f"; {taken.median:.3g} s until its embeddings" if taken else ""
    return passed(
        f"first token after {seen.first_token_s.median:.3g} s with a picture of {picture.width} x {picture.height} "
        f"pixels ({picture.image_tokens} of {seen.prompt_tokens} tokens{encoding}), {alone.first_token_s.median:.3g} s "
        f"for as many tokens of text ({facts.device})"
    )


BENCHMARK: tuple[Check[SpeedFacts], ...] = (
    Check("steady", "The speed is steady", "numbers that nobody can reproduce", _steady),
    Check(
        "machine-at-rest",
        "The machine is idle, cool and on full power",
        "numbers taken in low power mode or heat",
        _machine,
    ),
    Check(
        "device",
        "The speed was measured on a Mac's GPU, or is marked with what it was measured on",
        "numbers of a CPU or an NVIDIA GPU mistaken for a Mac's",
        _device,
    ),
    Check("enough", "Enough tokens were measured", "a rate over a handful of tokens", _enough),
    Check(
        "picture-speed",
        "The speed with a picture is measured and steady",
        "numbers of text taken for those of pictures",
        _picture,
        when=lambda facts: bool(facts.speed.picture or facts.speed.picture_not_measured),
    ),
)
