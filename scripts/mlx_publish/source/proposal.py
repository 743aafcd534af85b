"""Which variants to make of a source, by its size and by the memory of the Mac that is to run them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlx_publish.errors import BadInput
from mlx_publish.machine.macs import HEADROOM, usable
from mlx_publish.model.size import estimate_bytes
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.recipe import Variant
from mlx_publish.text.numbers import size

DEFAULT_MEMORY = "16GB"
SMALL = 3_000_000_000
"""Parameters below which 4 bits cost the most quality and an unquantized copy is still small."""
_MEMORY = re.compile(r"(\d{1,4}) ?(?:GB|GiB|G)?", re.IGNORECASE)


@dataclass(frozen=True)
class Rung:
    """A width worth proposing, and what speaks for it."""

    name: str
    why: str


@dataclass(frozen=True)
class Proposal:
    """A variant as a recipe spells it, with the bytes of its weights."""

    variant: str
    spec: Variant
    weights: int
    reason: str


@dataclass(frozen=True)
class Ladder:
    """The proposed variants, smallest first, and a sentence for each that does not fit."""

    proposals: tuple[Proposal, ...]
    left_out: tuple[str, ...] = ()


_FALLBACK = Rung("3bit", "the widest that fits; expect a clear loss, which fidelity measures")
_SMALL_RUNGS = (
    Rung("4bit", "the smallest download; a model of this size loses the most at 4 bits"),
    Rung("8bit", "usually near-identical to the source"),
)
_LARGE_RUNGS = (
    Rung("4bit", "the usual choice"),
    Rung("6bit", "closer to the source at one and a half times the size"),
    Rung("8bit", "usually near-identical to the source"),
)


def memory_of(text: str) -> int:
    """Return the bytes of a Mac's memory, given as `16GB`. Raises `BadInput`."""
    match = _MEMORY.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise BadInput(
            f"'{text[:40]}' is not an amount of memory", place="--memory", remedy="Write it as 16GB, 36GB or 128GB."
        )
    return int(match[1]) << 30


@dataclass(frozen=True)
class Beside:
    """What is kept beside the language model, as it is, whatever the variant: its bytes, and what it is for."""

    bytes: int = 0
    words: str = ""

    def size(self, weights: int) -> str:
        """Return the size of all weights in words."""
        return f"{size(weights)} ({size(self.bytes)} of it for {self.words})" if self.bytes else size(weights)


NOTHING = Beside()


def ladder(tensors: Sequence[TensorInfo], declared: str | None, memory: int, beside: Beside = NOTHING) -> Ladder:
    """Propose variants of a model that fit a Mac with `memory` bytes; `tensors` are those of its language model."""
    rungs = _rungs(sum(tensor.size for tensor in tensors), declared)
    fitting, left_out = list[Proposal](), list[str]()
    for rung in rungs:
        proposal = _proposal(rung, tensors, declared, beside)
        if proposal.weights * HEADROOM <= usable(memory):
            fitting.append(proposal)
        else:
            left_out.append(f"{rung.name} ({size(proposal.weights)}) does not fit a Mac with {memory >> 30} GB")
    last = _proposal(_FALLBACK, tensors, declared, beside)
    if not fitting and last.weights * HEADROOM <= usable(memory):
        fitting.append(last)
    return Ladder(tuple(fitting), tuple(left_out))


def narrower_groups(
    proposal: Proposal, tensors: Iterable[TensorInfo], declared: str | None, beside: Beside = NOTHING
) -> Proposal | None:
    """Return the same width in groups of 32, for layers that groups of 64 do not divide; None where unquantized."""
    bits = proposal.spec.form.bits
    if bits is None:
        return None
    spec = Variant.model_validate({"bits": bits, "group_size": 32})
    weights = estimate_bytes(tensors, spec, declared) + beside.bytes
    reason = f"{beside.size(weights)}: groups of 32, because groups of 64 do not divide its layers"
    return Proposal(f"{{bits: {bits}, group_size: 32}}", spec, weights, reason)


def _rungs(parameters: int, declared: str | None) -> tuple[Rung, ...]:
    if parameters >= SMALL:
        return _LARGE_RUNGS
    half = "fp16" if declared == "float16" else "bf16"
    return (*_SMALL_RUNGS, Rung(half, "not quantized; the variant to compare the others with"))


def _proposal(rung: Rung, tensors: Iterable[TensorInfo], declared: str | None, beside: Beside) -> Proposal:
    dtypes = {"bf16": "bfloat16", "fp16": "float16"}
    keys = {"dtype": dtypes[rung.name]} if rung.name in dtypes else {"bits": int(rung.name[0])}
    spec = Variant.model_validate(keys)
    weights = estimate_bytes(tensors, spec, declared) + beside.bytes
    return Proposal(rung.name, spec, weights, f"{beside.size(weights)}: {rung.why}")
