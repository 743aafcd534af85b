"""Numbers of a comparison in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from mlx_publish.evidence.closeness import CLOSE, NEAR_IDENTICAL, closeness
from mlx_publish.evidence.clustered import LEAST, interval, unseen
from mlx_publish.evidence.evidence import Evidence, Rung
from mlx_publish.evidence.measurements import FidelitySpec, ProofSpec
from mlx_publish.evidence.quantized import QuantizationSpec
from mlx_publish.text.markdown import Markdown, escape
from mlx_publish.text.numbers import significant

T = TypeVar("T")
EIGHT_K = 8192

_FAR = 0.75
"""Bits per weight above the nominal width, with which a variant is not called by that."""
_SAME_LOGITS = 1e-5


def how_close(fidelity: FidelitySpec) -> str:
    """Return the word of the scale and what to expect."""
    step = closeness(fidelity.mean_kld)
    return f"{step.word}: {step.meaning.format(what=short_against(fidelity))}"


def verdict(fidelity: FidelitySpec) -> Markdown:
    """Return the verdict of the card's head: the word, its number, what to expect, and a warning from lossy on."""
    step, what = closeness(fidelity.mean_kld), short_against(fidelity)
    sign = "⚠ Warning: " if step.warns else ""
    meaning = escape(step.meaning.format(what=what))
    against = "" if "{what}" in step.meaning else f", compared with {escape(what)}"
    return Markdown(f"{sign}**{step.word}** (mean KLD {significant(fidelity.mean_kld)}): {meaning}{against}.")


def form(evidence: Evidence) -> str:
    """Return what was made, in front of `MLX conversion`."""
    variant, quantization = evidence.variant, evidence.quantization
    if not variant.quantized:
        return f"Unquantized {variant.dtype}" if variant.dtype else "Unquantized"
    if quantization is not None:
        true = evidence.model.bits_per_weight
        width = f"{true:.1f}" if not variant.bits or true > variant.bits + _FAR else f"{variant.bits}"
        return " ".join((f"{width}-bit", *(["planned"] if quantization.plan else []), learned_by(quantization))).strip()
    if variant.mixed:
        return f"Mixed-precision ({variant.mixed})"
    return f"{variant.bits}-bit" if variant.mode == "affine" else str(variant.mode)


def learned_by(quantization: QuantizationSpec) -> str:
    """Return `AWQ`; empty for a plan alone, which learns nothing."""
    name = quantization.method.partition(" ")[0]
    return "" if name == "plan" else name.upper()


def needed_memory(rung: Rung) -> tuple[int, int] | None:
    """Return (bytes, tokens): what weights and cache take at 8k, or at the whole context where that is shorter."""
    if rung.memory_8k_bytes is not None:
        return rung.memory_8k_bytes, EIGHT_K
    if rung.memory_bytes is not None and rung.memory_tokens is not None and rung.memory_tokens <= EIGHT_K:
        return rung.memory_bytes, rung.memory_tokens
    return None


def short_tokens(tokens: int) -> str:
    """Return a length of context as people say it: 8k, 128k, 2,000."""
    return f"{tokens // 1024}k" if tokens >= 1024 and tokens % 1024 == 0 else f"{tokens:,}"


def errors(fidelity: FidelitySpec) -> str:
    """Return what ± means, the mean KLD's interval, and which differences the text cannot tell; empty without any."""
    if fidelity.error_factor is None:
        return ""
    low, high = interval(fidelity.mean_kld, fidelity.mean_kld_error, fidelity.error_factor)
    by, noise = "clustered by passage", unseen(fidelity.noise)
    if fidelity.errors_by != "passage":
        by = f"with positions as independent, because the text has fewer than {LEAST} passages"
    return (
        f"± is one standard error, {by}. "
        f"The 95 % interval of the mean KLD is {significant(low)} to {significant(high)}{noise and f'; {noise}'}."
    )


def short_against(fidelity: FidelitySpec) -> str:
    """Return what it was compared with, in a word or two."""
    return fidelity.against.label if fidelity.against.what == "variant" else "the source"


def against(fidelity: FidelitySpec) -> str:
    """Return what it was compared with, as the object of a sentence."""
    if fidelity.against.what == "variant":
        return f"the variant {fidelity.against.label} ({fidelity.against.bits_per_weight:.2f} bits per weight)"
    return "the unquantized source"


def same_logits(proof: ProofSpec) -> str:
    """Return whether the twin gives the same logits: equal ones are at 1e-13 to 3e-8, as checks/twin.py says."""
    errors = [text.nmse for text in proof.texts if text.nmse is not None]
    if len(errors) < len(proof.texts):
        return "logits that could not be compared"
    error = f"normalised squared error {max(errors):.1e}"
    return f"the same logits ({error})" if max(errors) <= _SAME_LOGITS else f"other logits ({error})"


def by_size(ladder: Sequence[Rung]) -> list[Rung]:
    """Return the variants, smallest first."""
    return sorted(ladder, key=lambda rung: (rung.weight_bytes, rung.label))


def here(evidence: Evidence) -> Rung | None:
    """Return the variant of this card in the ladder."""
    return next((rung for rung in evidence.ladder if rung.label == evidence.variant.label), None)


def choice(ladder: Sequence[Rung]) -> dict[str, Rung | None]:
    """Return `take`, the smallest that is close; `better`, the smallest that is the same; or else `closest`.

    What was compared with another variant counts only beside others that were: their zero is the same.
    """
    known = [(rung.mean_kld, rung) for rung in by_size(ladder) if rung.mean_kld is not None]
    known = [(mean, rung) for mean, rung in known if rung.against == known[0][1].against]
    take = next((rung for mean, rung in known if mean < CLOSE), None)
    same = next((rung for mean, rung in known if mean < NEAR_IDENTICAL), None)
    closest = min(known, key=lambda entry: entry[0])[1] if known else None
    return {"take": take, "better": same if same is not take else None, "closest": None if take else closest}


def shared(values: Iterable[T | None]) -> T | None:
    """Return what all that say anything have in common, as the machine of their speeds; None where they differ."""
    known = [value for value in values if value is not None]
    return known[0] if known and all(value == known[0] for value in known) else None
