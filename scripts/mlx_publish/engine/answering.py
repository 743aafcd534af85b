"""Greedy answers: of the converted model, and of the unquantized one that it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_publish.engine.backends import backend
from mlx_publish.engine.held import unpacked
from mlx_publish.engine.loading import fast_blas_in_front, load_model, warnings_of_loading
from mlx_publish.engine.questions import Prompt, prompts_of
from mlx_publish.evidence.measured import Answer, Answers, Question
from mlx_publish.text.progress import Step, Tell

Progress = Tell
_KEPT = 4000  # characters of a prompt that the report keeps


def answers(
    folder: str, tokenizer: str, questions: Sequence[dict[str, Any]], progress: Progress, *, source: bool = False
) -> Answers:
    """Load the model in `folder` and let it answer, with the tokenizer of the folder `tokenizer`.

    `questions` are the fields of a `Question` each. A `source` is read as the conversion reads it.
    """
    progress("loading")
    asked = [Question(**question) for question in questions]
    if not source and tokenizer == folder:
        held = unpacked(folder)
        made = answers_of(held.model, held.tokenizer, asked, held.computed_in, progress)
        return replace(made, warnings=held.warnings)
    with warnings_of_loading() as warnings:
        model, _, computed_in = load_model(folder, dequantize=fast_blas_in_front(), source=source)
        stops = backend().tokenizer_that_stops(Path(tokenizer))
    return replace(answers_of(model, stops, asked, computed_in, progress), warnings=warnings)


def answers_of(
    model: Any, tokenizer: Any, questions: Sequence[Question], computed_in: str, progress: Progress
) -> Answers:
    """Let a model that is in memory answer."""
    special = {
        int(id_): str(token) for id_, token in tokenizer.added_tokens_decoder.items() if getattr(token, "special", True)
    }
    answers, asked = {}, prompts_of(tokenizer, questions)
    for number, question in enumerate(questions, 1):
        progress(Step("answering", number - 1, len(questions), "questions"))
        answers[question.name] = _answer(model, tokenizer, asked[question.name], question.max_tokens, special)
    stop_ids = sorted(tokenizer.eos_token_ids)
    return Answers(computed_in, stop_ids, 1 + max(tokenizer.get_vocab().values(), default=-1), answers)


def _answer(model: Any, tokenizer: Any, prompt: Prompt, max_tokens: int, special: Mapping[int, str]) -> Answer:
    """Generate greedily."""
    rendered, ids = prompt
    text, tokens, last = "", [], None
    for last in backend().stream(model, tokenizer, ids, max_tokens):
        text += last.text
        tokens.append(int(last.token))
    stop = last.finish_reason if last else "length"
    before_end = tokens[:-1] if stop == "stop" else tokens
    return Answer(
        rendered=rendered[:_KEPT],
        prompt_tokens=len(ids),
        answer=text,
        tokens=tokens,
        stop=stop,
        stop_id=tokens[-1] if tokens and stop == "stop" else None,
        leaked=sorted({special[id_] for id_ in before_end if id_ in special}),
    )
