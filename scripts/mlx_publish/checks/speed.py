"""Whether a speed deserves to be printed. None of these refuses a model: its card says why there is no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.base import Check, Says, passed, warned
from mlx_publish.machine.series import objection
from mlx_publish.recipes.recipe import SpeedTest

FEWEST = 16
"""Tokens of a prompt or a generation below which a rate tells nothing."""
_RATES = {"prompt_tps": "prompt", "generation_tps": "generation"}


@dataclass(frozen=True)
class SpeedFacts:
    """What was measured, by which limits, and how the machine was meanwhile."""

    result: Mapping[str, Any]
    limits: SpeedTest
    refusals: tuple[str, ...]
    """Sentences: why the state of the machine forbids printing."""
    remarks: tuple[str, ...]
    """Sentences: what else it was doing."""
    system: str
    """As `platform.system()` names it."""

    def objections(self) -> tuple[str, ...]:
        """Everything that forbids printing; each ends the sentence 'it was not measured, because'."""
        return (*self.unsteady(), *self.disturbed(), *self.wrong_device(), *self.too_few())

    @property
    def device(self) -> str:
        """What it was measured on: a CPU's number must never look like a GPU's."""
        return "GPU" if self.result["device"] == "gpu" else f"{self.system}, CPU"

    def unsteady(self) -> Iterator[str]:
        """Rates that fall or scatter, at any length."""
        for length in self.result["lengths"]:
            for rate, name in _RATES.items():
                series = [trial[rate] for trial in length["trials"]]
                if found := objection(series, self.limits.max_drift, self.limits.max_spread):
                    yield f"{found} {name} tokens/s ({self.device}; prompts of {length['prompt_tokens']} tokens)"

    def disturbed(self) -> Iterator[str]:
        """The state of the machine."""
        return (f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".") for sentence in self.refusals)

    def wrong_device(self) -> Iterator[str]:
        """On a Mac people look for the GPU's numbers."""
        if self.system == "Darwin" and self.result["device"] != "gpu":
            yield "MLX computed on the CPU of this Mac, not on its GPU"

    def too_few(self) -> Iterator[str]:
        """Lengths that tell nothing."""
        for length in self.result["lengths"]:
            least = min(length["prompt_tokens"], length["generation_tokens"])
            if least < FEWEST:
                yield f"too few tokens: {least}"


def _steady(facts: SpeedFacts) -> Says:
    if found := list(facts.unsteady()):
        return warned(f"not printed: {'; '.join(found)}", "Run it on a quiet machine: --force repeats the benchmark.")
    told = [
        f"{length['generation_tps']['median']:.1f} ({length['generation_tps']['lowest']:.1f} to "
        f"{length['generation_tps']['highest']:.1f}) after a prompt of {length['prompt_tokens']}"
        for length in facts.result["lengths"]
    ]
    return passed(f"generation tokens/s ({facts.device}): {', '.join(told)}")


def _machine(facts: SpeedFacts) -> Says:
    if facts.refusals:
        return warned(f"not printed: {'; '.join(facts.disturbed())}", "Mend that, then repeat with --force.")
    if facts.remarks:
        return warned(" ".join(facts.remarks), remarks=list(facts.remarks))
    return passed("nothing is known that would have slowed it down")


def _device(facts: SpeedFacts) -> Says:
    if found := list(facts.wrong_device()):
        return warned(f"not printed: {found[0]}", "Run 'mlx-publish benchmark --force' where Metal is available.")
    if facts.result["device"] != "gpu":
        return passed(f"measured by the CPU under {facts.system}, and every number says so")
    return passed("measured on the GPU")


def _enough(facts: SpeedFacts) -> Says:
    if found := list(facts.too_few()):
        return warned(f"not printed: {found[0]}", f"Ask for {FEWEST} at least in the recipe, and give it more seconds.")
    asked, lengths = facts.limits, facts.result["lengths"]
    shrunk = [
        f"{len(one['trials'])} trials of {one['generation_tokens']} tokens after a prompt of {one['prompt_tokens']}"
        for one in lengths
        if len(one["trials"]) < asked.trials or one["generation_tokens"] < asked.generation_tokens
    ]
    left_out = [f"prompts of {one['prompt_tokens']} tokens ({one['why']})" for one in facts.result["left_out"]]
    told = [f"made to fit {asked.seconds} s: {'; '.join(shrunk)}"] if shrunk else []
    told += [f"left out: {'; '.join(left_out)}"] if left_out else []
    whole = f"{asked.trials} trials of {len(lengths)} length(s), {asked.generation_tokens} tokens each"
    return passed("; ".join(told) or whole)


BENCHMARK: tuple[Check[SpeedFacts], ...] = (
    Check("steady", "The speed is steady", "numbers that nobody can repeat", _steady),
    Check("machine-at-rest", "The machine was at rest", "a slow number in low power mode or heat", _machine),
    Check("device", "It is the device that people use", "a CPU's number taken for a GPU's", _device),
    Check("enough", "Enough was measured", "a rate over a handful of tokens", _enough),
)
