"""What was not tested, as sentences: read off the evidence, so that no card claims more than was done."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_publish.card.senses import senses
from mlx_publish.converters import converter_of
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.perceived import answers_of
from mlx_publish.machine.packages import CUDA_PACKAGES

_IMAGES = {
    "image-text-to-text": "images",
    "any-to-any": "more than text",
    "video-text-to-text": "video",
    "audio-text-to-text": "sound",
}
_NAMED = 5  # languages
_TASKS = "Knowledge, reasoning, code and safety were not tested, neither on this model nor on its source."


def limits(evidence: Evidence) -> list[str]:
    """Return all that a reader might take for tested and that was not."""
    return [*_of_the_model(evidence), *_of_prompts(evidence), *_of_answers(evidence), _TASKS]


def _status(evidence: Evidence, check: str) -> str:
    return next((entry.status for entry in evidence.checks if entry.id == check), "")


def _of_the_model(evidence: Evidence) -> Iterator[str]:
    if evidence.untested:
        yield f"It was published without all of its tests: {evidence.untested}"
    # Where text alone is published, the head of the card says it.
    what = _IMAGES.get(evidence.source.pipeline_tag or "")
    if converter_of(evidence.tools).senses:
        yield from _of_senses(evidence)
    elif what and evidence.source.modality != "text":
        yield f"The source takes {what}; this conversion was made for text and tested with text only."
    if any(part and part.computed_in == "float32" for part in (evidence.smoke, evidence.fidelity)):
        yield (
            "It was tested on a CPU in float32. A Mac's GPU computes in the stored types, so some of its answers can "
            "differ."
        )
    elif _on_cuda(evidence):
        yield (
            "It was tested on an NVIDIA GPU, by MLX's CUDA backend. A Mac's GPU rounds differently, so some of its "
            "answers can differ."
        )
    if evidence.source.held:
        yield "How much the quantization of the source itself costs was not measured."
    accepted = any(check.id == "twin-equal" and check.accepted for check in evidence.checks)
    twin = _status(evidence, "twin-equal") in ("pass", "fixed", "warn") and not accepted
    if not twin and _status(evidence, "architecture-proven") not in ("pass", "fixed"):
        yield "Not proven: that MLX computes this architecture as transformers does."


def _of_senses(evidence: Evidence) -> Iterator[str]:
    """Yield what a model that takes more than text was not shown."""
    media, kinds = evidence.smoke.pictures if evidence.smoke else None, senses(evidence)
    untested = media.untested if media else dict.fromkeys(kinds, "")
    for sense in dict.fromkeys((*untested, *(kind for kind in kinds if media and not answers_of(media, kind)))):
        why = untested.get(sense, "")
        yield f"It takes {sense}, which {'were' if sense == 'images' else 'was'} not tested{f': {why}' if why else ''}."
    if media and answers_of(media, "images"):
        yield "It was shown drawn pictures, one in a question; photographs and several pictures were not tested."
    if media and answers_of(media, "audio"):
        yield "It was played beeps and synthetic digits, one sound in a question; other sounds were not tested."


def _on_cuda(evidence: Evidence) -> bool:
    """Return whether what was measured was measured on an NVIDIA GPU: the benchmark says it, else MLX's package."""
    if evidence.benchmark:
        return evidence.benchmark.kind == "CUDA"
    measured = evidence.smoke or evidence.fidelity
    return measured is not None and any(name in evidence.tools for name in CUDA_PACKAGES)


def _of_prompts(evidence: Evidence) -> Iterator[str]:
    answers = evidence.smoke.answers.values() if evidence.smoke else ()
    lengths = evidence.benchmark.lengths if evidence.benchmark else ()
    longest = max((prompt.prompt_tokens for prompt in (*answers, *lengths)), default=0)
    context = evidence.config.context
    if longest and not (context and longest >= context):
        states = f"; the source states {context:,}" if context else ""
        yield f"No prompt longer than {longest:,} tokens was tested{states}."
    if _status(evidence, "long-prompt") == "skip":
        yield "No prompt was longer than its sliding window, so longer ones are untested."


def _of_answers(evidence: Evidence) -> Iterator[str]:
    smoke = evidence.smoke
    if smoke is None:
        return
    others = [code for code in evidence.language if code.lower().partition("-")[0] != "en"]
    if others:
        last = f"{', '.join(others[:-1])} and {others[-1]}" if others[1:] else others[0]
        named = last if len(others) <= _NAMED else f"the {len(others)} other languages that the source names"
        yield f"Apart from the example, only English answers were checked, not {named}."
    if smoke.options:
        tried, untried = ("on", "off") if any(smoke.options.values()) else ("off", "on")
        yield f"Answers were checked with thinking {tried}, not with thinking {untried}."
    if smoke.lists_tools:
        yield "The chat template lists tools; how well the model calls them was not tested."
    if smoke.chat_template and _status(evidence, "other-engines") not in ("pass", "fixed", "warn"):
        library = converter_of(evidence.tools).distribution
        yield f"The chat template was rendered by transformers and {library}; other template engines were not compared."


# What was so in the hour of publishing and says nothing of the model.
_PASSING = frozenset({"not-taken", "revision", "hub-limits"})


def remarks(evidence: Evidence) -> dict[str, list[dict[str, str]]]:
    """Return checks that repaired something (`fixed`), that were let through (`accepted`), or that remark (`warn`)."""
    groups: dict[str, list[dict[str, str]]] = {"accepted": [], "fixed": [], "warn": []}
    for check in evidence.checks:
        group = "accepted" if check.accepted else check.status
        if group in groups and check.id not in _PASSING:
            message = check.message.removesuffix(f" (accepted: {check.accepted})") if check.accepted else check.message
            groups[group].append({"id": check.id, "message": message, "reason": check.accepted or ""})
    return groups


def passed(evidence: Evidence) -> int:
    """Return how many checks had nothing to say."""
    return sum(check.status == "pass" for check in evidence.checks)
