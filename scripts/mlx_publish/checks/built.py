"""Judgements about the model that the child process built from its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, fixed, passed, warned
from mlx_publish.evidence.conversion import Conversion, Written
from mlx_publish.model.draft import Change


@dataclass(frozen=True)
class BuiltFacts:
    """The engine's report of one variant, and the changes to its config before that."""

    label: str
    conversion: Conversion
    normalised: Sequence[Change] = ()
    """Older spellings that were written beside newer ones."""
    library: str = "mlx-lm"
    """The name of the converter."""
    twin: bool = False
    """Whether `inspect` compared a twin of this config: what it says of the config goes further than a look at it."""

    @property
    def written(self) -> Written:
        """The report on the weights of this variant."""
        return self.conversion.variants.get(self.label, Written())


def _config(facts: BuiltFacts) -> Says:
    built = facts.conversion.built
    scaled = f" with the scaling {built.rope.declared_scaling}" if built.rope.declared_scaling else ""
    problems = [f"no layer uses the rope base {base:g}{scaled}" for base in built.rope.missing_bases]
    problems += [f"{key} = {value} is not supported by its MLX class" for key, value in built.ignored.items()]
    problems += [
        f"{key} is {value.built} in the built model and {value.config} in the config"
        for key, value in built.differs.items()
    ]
    if problems and not facts.twin:
        return failed(f"the built model does not compute what config.json says: {'; '.join(problems)}", _newer(facts))
    changes = [change.message for change in facts.normalised]
    changes += [f"{key} {value}, as transformers takes by itself" for key, value in built.filled.items()]
    if changes:
        return fixed(f"read from a newer spelling: {'; '.join(changes)}", changes=changes)
    if facts.twin:
        return passed("twin-equal compared what the built model computes with every key of config.json")
    return passed("the built model uses the values of config.json")


def _newer(facts: BuiltFacts) -> str:
    return f"A newer {facts.library} may support it; otherwise choose another model."


def _tensors(facts: BuiltFacts) -> Says:
    tensors = facts.conversion.tensors
    if tensors.unexplained:
        return failed(
            f"{len(tensors.unexplained)} tensor(s) of the source have no place in the MLX model, first: "
            f"{', '.join(tensors.unexplained[:3])}",
            _newer(facts),
            unexplained=list(tensors.unexplained),
        )
    reasons, renamed = Counter(tensors.dropped.values()), tensors.renamed
    gone = [name for name, reason in tensors.dropped.items() if reason == "not asked by a prompt"]
    if count := reasons.pop("not of the language model", 0):
        read = f"; read from {renamed}" if renamed else ""
        return warned(f"text only: {count} vision or audio tensors are left out{read}")
    text = "".join(f", {count} {reason}" for reason, count in sorted(reasons.items()))
    whole = f"all {tensors.source:,} tensors of the source are accounted for{text}"
    if gone:
        words = f"{whole}; left out without an effect on a prompt: {', '.join(gone[:3])}"
        return passed(words, left_out=gone)
    return fixed(f"{whole}; read from {renamed}") if renamed else passed(whole)


def _loads(facts: BuiltFacts) -> Says:
    if other := list(facts.written.reloaded or ()):
        return failed(
            f"{facts.library} does not load what was written: {'; '.join(other[:3])}",
            f"Set modality: text to publish the language model alone. {_newer(facts)}",
            otherwise=other,
        )
    return passed(f"{facts.library}'s own loader gives the numbers that were written, each of them")


def _is_loaded_again(facts: BuiltFacts) -> bool:
    return facts.written.reloaded is not None


def _alive(facts: BuiltFacts) -> Says:
    if dead := facts.conversion.dead:
        return failed(f"all zeros: {', '.join(dead[:3])}", "Check the source; accept this check if it is intended.")
    if lost := facts.written.vanished:
        return failed(
            f"underflows to all zeros in {facts.label}: {', '.join(lost[:3])}",
            "Set dtype to bfloat16 or float32.",
        )
    return passed("no weight is all zeros")


def _finite(facts: BuiltFacts) -> Says:
    if path := facts.written.overflows:
        return failed(f"{path} overflows in {facts.label}", "Set dtype to bfloat16 or float32.")
    return passed("every number is finite, in the source and in the output")


def _routing(facts: BuiltFacts) -> Says:
    routing = facts.written.routing
    if routing.merged:
        path, (after, before) = next(iter(routing.merged.items()))
        more = f" (and {len(routing.merged) - 1} more)" if len(routing.merged) > 1 else ""
        return warned(
            f"rounded, {after} of {before} values of the router bias {path}{more} stay distinct, so some tokens go to "
            "different experts",
            "Set dtype to float32, or choose another model.",
            merged={path: list(counts) for path, counts in routing.merged.items()},
        )
    if routing.kept:
        return passed(f"{len(routing.kept)} router bias(es) stay in float32, as in the source")
    return passed("no router bias loses distinct values")


def _norms(facts: BuiltFacts) -> Says:
    for kind, sentence in _NORMS.items():
        if norms := getattr(facts.conversion.norms, kind):
            return failed(
                f"the norms do not match the MLX class, which expects norms - 1: {sentence}: {', '.join(norms[:3])}",
                "Use the original source: these weights were written by a tool with a different convention.",
                **{kind: list(norms)},
            )
    return passed("norms match the convention of the MLX class")


def _learned(facts: BuiltFacts) -> Says:
    learned = facts.written.learned
    if learned is None:
        return passed("nothing was learned")
    if learned.before is None or learned.after is None:
        return passed(f"learned from {learned.samples} samples; the fidelity stage compares the result with rounding")
    details = {"loss_before": learned.before, "loss_after": learned.after, "steps": learned.steps}
    digits = 4 if abs(learned.after - learned.before) > 1e-4 else 8  # so that the two are not written alike
    numbers = f"from {learned.before:.{digits}f} to {learned.after:.{digits}f} on calibration text that was held back"
    if not learned.after <= learned.before:  # NaN is no gain
        return failed(
            f"{learned.steps} steps made the loss worse, {numbers}",
            "Use a smaller learning_rate, more calibration text, or plain rounding.",
            **details,
        )
    return passed(f"{learned.steps} steps took the loss {numbers}", **details)


_NORMS = {
    "twice": "one is added to weights that already include it, so they are near 2",
    "missing": "nothing is added to weights near 0",
    "mixed": "some are near 1 and the others differ from that by one",
}


BUILT: tuple[Check[BuiltFacts], ...] = (
    Check("config-understood", "The MLX model uses every number of the config", "subtly wrong answers", _config),
    Check("tensors-accounted", "Every tensor is used", "a model with missing parts", _tensors),
    Check(
        "loads-as-written",
        "mlx-vlm loads what was written",
        "weights that the library changes again as it loads them",
        _loads,
        safety=True,
        when=_is_loaded_again,
    ),
    Check("norms-fit", "Norm weights follow the convention of the MLX class", "every layer scaled wrongly", _norms),
    Check("routing-exact", "Router biases keep their values", "tokens routed to other experts", _routing),
    Check("weights-alive", "No weight is all zeros", "a layer that does nothing", _alive),
    Check("learning-helped", "Learning made the model better", "a training that did harm", _learned, safety=True),
    Check("numbers-finite", "All weights are finite", "NaN hidden by quantization", _finite, safety=True),
)
