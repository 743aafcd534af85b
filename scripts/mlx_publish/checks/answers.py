"""The converted model's answers, beside those of the unquantized model of the same source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.evidence.measured import Answer, Answers

_STUCK = 8  # tokens of one kind, and no other, that no answer has

# Warnings of transformers 4 and 5, and what they mean for users of the model; the report quotes any other as it is.
_EXPLAINED: tuple[tuple[str, str], ...] = (
    (
        r"^You set `add_prefix_space`",
        "transformers 4 rebuilds the tokenizer to add the leading space that the files ask for; ids were compared",
    ),
    (
        r"^The tokenizer you are loading from .* with an incorrect regex pattern",
        "transformers prints this for large vocabularies saved before version 5; ids match the source's",
    ),
    (
        r"^You are using the default legacy behaviour of",
        "the files do not name a behaviour, so transformers 4 uses the legacy one; ids were compared",
    ),
    (
        r"^The tokenizer class you load from this checkpoint is not the same type",
        "transformers 4 uses a different tokenizer class than the files name; ids were compared",
    ),
    (
        r"^`tokenizer_class` is `\w+` but `tokenizer.json` is ByteLevel",
        "the class is for another kind of tokenizer, so transformers reads tokenizer.json directly; ids were compared",
    ),
    (
        r"^Ignoring clean_up_tokenization_spaces=True for BPE",
        "the files ask for space clean-up, which transformers 5 does not apply to this kind of tokenizer",
    ),
    (
        r"^Unrecognized keys in `rope_(parameters|scaling)`",
        "transformers does not know a key of the rope settings; config-understood compares what mlx-lm computes with",
    ),
    (
        r"^The explicitly set RoPE scaling factor .* does not match",
        "the rope factor is not the ratio of the two context lengths; transformers and mlx-lm use it as written",
    ),
    (
        r"^This model (config )?has set a `.*original_max_position_embeddings.*` field",
        "the rope factor is not given; transformers and mlx-lm compute it from the two context lengths",
    ),
    (
        r"^Token indices sequence length is longer than the specified maximum",
        "a dialogue is longer than the tokenizer's model_max_length; mlx-lm does not truncate",
    ),
)
# A report travels, and the folder in which something lay on one machine is nobody's business.
_FOLDERS = re.compile(r"(?<=')/[^'\n]*/|(?<![\w:/.])/(?:[^\s/'\"]+/)+")


@dataclass(frozen=True)
class AnswerFacts:
    """Answers of one variant, and of its source."""

    warnings: tuple[str, ...]
    """All warnings of loading."""
    made: Answers
    """Those of the variant."""
    source: Answers | None
    """The same of the source; None if it does not fit this machine."""
    window: tuple[int, int] | None = None
    """Positions of the sliding window, and tokens of the long prompt; None if there is no window."""
    unpassed: str = ""
    """Why the long prompt is not beyond the window."""


def explained(warning: str) -> str:
    """Return the meaning of a warning; empty if it is not known."""
    return next((meaning for pattern, meaning in _EXPLAINED if re.search(pattern, warning)), "")


def _loads(facts: AnswerFacts) -> Says:
    if not facts.warnings:
        return passed("it loads without a warning")
    meanings = {_FOLDERS.sub("", warning): explained(warning) for warning in facts.warnings}
    unknown = [warning for warning, meaning in meanings.items() if not meaning]
    if unknown:
        return warned(f"loading says: {unknown[0][:300]}", warnings=meanings)
    known = "; ".join(dict.fromkeys(meanings.values()))
    return passed(f"loading prints known warnings: {known}", warnings=meanings)


def _answers(facts: AnswerFacts) -> Says:
    """Judge the answers; a fault of this variant alone comes before one that the source has, too."""
    vocabulary = facts.made.vocabulary
    wrong = {name: fault for name, answer in facts.made.answers.items() if (fault := fault_of(answer, vocabulary))}
    theirs = {name: fault_of(answer, vocabulary) for name, answer in _of_source(facts).items()}
    if name := next((name for name in wrong if not theirs.get(name)), ""):
        remedy = "Use more bits, or check the prompt in smoke.json."
        return failed(f"to {name!r} {wrong[name]}", remedy, question=name)
    if name := next(iter(wrong), ""):
        return warned(f"to {name!r} {wrong[name]}; unquantized, {theirs[name]}", question=name)
    counts = [len(answer.tokens) for answer in facts.made.answers.values()]
    return passed(f"{len(counts)} answers of {min(counts)} to {max(counts)} tokens")


def _of_source(facts: AnswerFacts) -> Mapping[str, Answer]:
    return facts.source.answers if facts.source else {}


def fault_of(answer: Answer, vocabulary: int) -> str:
    """Return what is wrong with an answer; empty where nothing is."""
    tokens = answer.tokens[: -1 if answer.stop == "stop" else None]
    if outside := [token for token in tokens if not 0 <= token < vocabulary]:
        return f"it generates the id {outside[0]}, outside the vocabulary"
    if not answer.answer.strip():
        return "the answer is empty"
    if len(tokens) > _STUCK and len(set(tokens)) == 1:
        return "the answer repeats one token endlessly"
    return ""


def _stops(facts: AnswerFacts) -> Says:
    """Fail where no answer stops and at least two of the source do: quantized answers may be longer."""
    if not facts.made.stop_ids:
        return failed("the tokenizer has no EOS id", "Add eos_token_id to the source's config.")
    stopped = {name for name, answer in facts.made.answers.items() if answer.stop == "stop"}
    if facts.source is None:
        return passed(f"{_of(stopped, facts)} stopped at an EOS id") if stopped else warned(_NEVER)
    theirs = {name for name, answer in facts.source.answers.items() if answer.stop == "stop"}
    missed = sorted(theirs - stopped)
    if not stopped and len(theirs) > 1:
        return failed(
            f"no answer stops, while {len(theirs)} of {len(facts.source.answers)} unquantized ones do",
            "Compare the EOS ids of source and output; use more bits.",
            missed=missed,
        )
    if missed:
        return warned(
            f"to {', '.join(map(repr, missed))} it does not stop, but the unquantized model does", missed=missed
        )
    if not stopped:
        return warned(f"{_NEVER}; the unquantized model behaves the same")
    return passed(f"{_of(stopped, facts)} stopped at an EOS id, including all that do unquantized")


_NEVER = "no answer stopped before its token limit"


def _of(some: set[str], facts: AnswerFacts) -> str:
    return f"{len(some)} of {len(facts.made.answers)} answers"


def _leaks(facts: AnswerFacts) -> Says:
    """Judge special tokens in answers; one that shows here alone comes before one that the source shows, too."""
    leaked = {name: list(answer.leaked) for name, answer in facts.made.answers.items() if answer.leaked}
    theirs = {name: set(answer.leaked) for name, answer in _of_source(facts).items()}
    if name := next((name for name, tokens in leaked.items() if not set(tokens) <= theirs.get(name, set())), ""):
        message, remedy = f"to {name!r} it says {', '.join(leaked[name])}", "Look at the stop ids in convert.json."
        return failed(f"{message}, which users must not see", remedy, leaked=leaked[name])
    if name := next(iter(leaked), ""):
        message = f"to {name!r} it says {', '.join(leaked[name])}"
        return warned(f"{message}, as does the unquantized model", leaked=leaked[name])
    return passed("no special token appears in an answer")


def _long(facts: AnswerFacts) -> Says:
    count = facts.made.answers["long text"].prompt_tokens
    if facts.window is None:
        return passed(f"a prompt of {count:,} tokens is answered; there is no sliding window")
    if count <= facts.window[0]:
        return skipped(
            f"the window of {facts.window[0]:,} positions is not exceeded: {facts.unpassed or 'too long here'}"
        )
    return passed(f"a prompt of {count:,} tokens, beyond the window of {facts.window[0]:,}, is answered")


ANSWERS: tuple[Check[AnswerFacts], ...] = (
    Check("loads", "The model loads without warnings", "a warning that nobody reads", _loads),
    Check("answers", "The model answers", "a model that is silent or stuck", _answers),
    Check("stops", "The model stops where the source stops", "an answer that never ends", _stops),
    Check("leaks", "Answers contain no special tokens", "markup shown to users", _leaks),
    Check("long-prompt", "The model answers a long prompt", "a sliding window or RoPE that breaks at length", _long),
)
