"""The words of a card on how bits were chosen or learned, and what that gained."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.card.tables import table
from mlx_publish.card.words import learned_by
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.measurements import GainSpec
from mlx_publish.evidence.quantized import CalibrationSpec, PlanGroupSpec, PlanSpec, QuantizationSpec
from mlx_publish.evidence.rounding import RoundingCurve, Width, gain_in_words, gain_noise
from mlx_publish.text.markdown import Markdown, code, escape, link
from mlx_publish.text.numbers import count, percent, significant

_KINDS = {"mlp": "MLP", "state-space": "State space"}


def quantized(evidence: Evidence) -> Mapping[str, object] | None:
    """Return what the card says of a planned or learned variant; None for any other."""
    quantization = evidence.quantization
    if quantization is None:
        return None
    gain = evidence.fidelity.gain if evidence.fidelity else None
    return {
        "method": method(quantization),
        "plan": _plan(quantization.plan) if quantization.plan else None,
        "groups": groups(quantization.plan) if quantization.plan and quantization.plan.groups else None,
        "settings": _settings(quantization),
        "calibration": _calibration(quantization.calibration) if quantization.calibration else None,
        "gain": _gain(gain, evidence.model.weight_bytes) if gain else None,
        "in_short": gain_in_words(gain) if gain else None,
    }


def method(quantization: QuantizationSpec) -> str:
    """Return `AWQ, by mlx-lm`, with `on the plan below` where there is one; empty for a plan alone."""
    name = learned_by(quantization)
    return f"{name}, by mlx-lm{', on the plan below' if quantization.plan else ''}" if name else ""


def groups(plan: PlanSpec) -> Markdown:
    """Return the plan as a table, a row for each kind of modules, largest first."""
    return table(
        [
            ("Modules", lambda group: _KINDS.get(group.kind, group.kind.capitalize())),
            ("Number", lambda group: f"{group.modules:,}"),
            ("Weights", lambda group: count(group.weights)),
            ("Bits per weight", lambda group: f"{group.bits_per_weight:.2f}"),
            ("Narrowest (group size)", lambda group: _rung(group.least)),
            ("Widest (group size)", lambda group: _rung(group.most)),
            ("Predicted KLD", lambda group: significant(group.predicted_kld)),
        ],
        sorted(plan.groups, key=_by_weights),
    )


def _by_weights(group: PlanGroupSpec) -> tuple[int, str]:
    return -group.weights, group.kind


def _rung(rung: str) -> str:
    """Return `3 bits (64)` for 3/64; what is left as it is stored has no groups."""
    bits, _, group = rung.partition("/")
    return "not quantized" if group == "0" else f"{bits} bits ({group})"


def _plan(plan: PlanSpec) -> Markdown:
    """Return what was asked for, what it came to, and how scales are found."""
    rounding = (
        "Scales are fitted so that the columns that carry most lose least"
        if plan.rounding == "weighted"
        else "Scales are those of MLX's own quantizer"
    )
    words = (
        f"Bits and group size are chosen for each module by how much rounding it changes the source's predictions. "
        f"Target: {escape(plan.target)}; result: {plan.bits_per_weight:.2f} bits per weight. {rounding}. All modules: "
        f"{link(plan.file, plan.file)}."
    )
    if plan.proxy:
        words += f" The source did not fit on the machine; its {escape(plan.proxy)} form was measured in its place."
    return Markdown(words)


def _settings(quantization: QuantizationSpec) -> Markdown | None:
    given = [f"{code(key)} {escape(str(value))}" for key, value in quantization.settings.items()]
    return Markdown(", ".join(given)) if given else None


def _calibration(calibration: CalibrationSpec) -> Markdown:
    text = "the text that ships with mlx-publish" if calibration.text == "package" else code(calibration.text)
    return Markdown(
        f"{calibration.samples:,} samples of {calibration.length:,} tokens from {text} (seed {calibration.seed}, "
        f"SHA-256 {code(calibration.sha256)})"
    )


def _gain(gain: GainSpec, weight_bytes: int) -> Markdown:
    """Return the gain over plain rounding at equal bytes in a sentence, and how far the text can tell it."""
    noise = gain_noise(gain)
    told = "compared position by position" if abs(gain.difference) > noise else "which is inside the noise of the text"
    return Markdown(
        f"**{gain_in_words(gain)}**: mean KLD {significant(gain.mean_kld)} where plain rounding has "
        f"{significant(gain.rounding_kld)} ({_beside(gain, weight_bytes)}). The two differ by "
        f"{significant(abs(gain.difference), 2)} ± {significant(noise, 2)} nats (95 % interval), {told}. Top-1 "
        f"agreement {percent(gain.same_first_choice)}; plain rounding: {percent(gain.rounding_same_first_choice)}."
    )


def _beside(gain: GainSpec, weight_bytes: int) -> Markdown:
    """Return which widths that number is taken from."""
    points = sorted(gain.curve, key=lambda point: point.weight_bytes)
    curve = RoundingCurve([Width(point.label, point.weight_bytes, point.bits_per_weight) for point in points])
    labels = [escape(width.label) for width in curve.neighbours(weight_bytes)]
    if len(labels) == 1:
        return labels[0]
    words = "interpolated between" if curve.surrounds(weight_bytes) else "on the line through"
    return Markdown(f"{words} {' and '.join(labels)}")
