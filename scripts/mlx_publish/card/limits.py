"""What was not tested, as sentences: read off the evidence, so that no card claims more than was done."""

from __future__ import annotations

from collections.abc import Callable

from mlx_publish.evidence.evidence import Evidence

_IMAGES = {
    "image-text-to-text": "images",
    "any-to-any": "more than text",
    "video-text-to-text": "video",
    "audio-text-to-text": "sound",
}
_NAMED = 5  # languages


def limits(evidence: Evidence) -> list[str]:
    """Return all that a reader might take for tested and that was not."""
    return [text for limit in _LIMITS if (text := limit(evidence))]


def _status(evidence: Evidence, check: str) -> str:
    return next((entry.status for entry in evidence.checks if entry.id == check), "")


def _untested(evidence: Evidence) -> str:
    reason = evidence.untested
    return f"It is published without all of its tests, because: {reason}" if reason else ""


def _tasks(_evidence: Evidence) -> str:
    return "No test of knowledge, reasoning, code or safety was run: not on this model, and not on its source."


def _machine(evidence: Evidence) -> str:
    if not any(part and part.computed_in == "float32" for part in (evidence.smoke, evidence.fidelity)):
        return ""
    return (
        "It was tested on a CPU that computed in float32. A Mac's GPU computes in the types as they are stored, so "
        "that its answers can differ in places."
    )


def _architecture(evidence: Evidence) -> str:
    proven = ("pass", "fixed", "warn")
    accepted = any(check.id == "twin-equal" and check.accepted for check in evidence.checks)
    twin = _status(evidence, "twin-equal") in proven and not accepted
    if twin or _status(evidence, "architecture-proven") in ("pass", "fixed"):
        return ""
    return "Not proven: whether MLX computes this architecture as transformers does."


def _length(evidence: Evidence) -> str:
    context, longest = evidence.config.context, _longest(evidence)
    if not longest or (context and longest >= context):
        return ""
    states = f"; the source states {context:,}" if context else ""
    return f"No prompt of more than {longest:,} tokens was tried{states}."


def _longest(evidence: Evidence) -> int:
    answers = evidence.smoke.answers.values() if evidence.smoke else ()
    lengths = evidence.benchmark.lengths if evidence.benchmark else ()
    return max((prompt.prompt_tokens for prompt in (*answers, *lengths)), default=0)


def _window(evidence: Evidence) -> str:
    skipped = _status(evidence, "long-prompt") == "skip"
    return "No prompt was longer than its sliding window, so what lies beyond is untried." if skipped else ""


def _languages(evidence: Evidence) -> str:
    others = [code for code in evidence.language if code.lower().partition("-")[0] != "en"]
    if not evidence.smoke or not others:
        return ""
    named = _list(others) if len(others) <= _NAMED else f"the {len(others)} other languages that the source names"
    return f"Apart from the example, its answers were looked at in English only, not in {named}."


def _thinking(evidence: Evidence) -> str:
    if not evidence.smoke or not evidence.smoke.options:
        return ""
    tried, untried = ("on", "off") if any(evidence.smoke.options.values()) else ("off", "on")
    return f"Its answers were looked at with thinking {tried}, not with thinking {untried}."


def _tools(evidence: Evidence) -> str:
    listed = evidence.smoke is not None and evidence.smoke.lists_tools
    return "The chat template lists tools; whether the model calls them well was not tested." if listed else ""


def _engines(evidence: Evidence) -> str:
    templated = evidence.smoke is not None and evidence.smoke.chat_template
    if not templated or _status(evidence, "other-engines") in ("pass", "fixed", "warn"):
        return ""
    return "The chat template was rendered by transformers and mlx-lm; the engines of other clients were not compared."


def _images(evidence: Evidence) -> str:
    if evidence.source.modality == "text":  # the head of the card says it
        return ""
    what = _IMAGES.get(evidence.source.pipeline_tag or "")
    return f"The source takes {what}; this conversion was made for text and tested with nothing else." if what else ""


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


_LIMITS: tuple[Callable[[Evidence], str], ...] = (
    _untested, _images, _machine, _architecture, _length, _window, _languages, _thinking, _tools, _engines, _tasks,
)  # fmt: skip


# What was so in the hour of publishing and says nothing of the model.
_PASSING = frozenset({"not-taken", "revision"})


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
