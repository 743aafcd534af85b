"""Greedy answers: of the converted model, and of the unquantized one that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx

from mlx_publish.engine.backends import backend
from mlx_publish.engine.cores import shared
from mlx_publish.engine.held import unpacked
from mlx_publish.engine.loading import fast_blas_in_front, load_model, on_gpu, warnings_of_loading
from mlx_publish.engine.questions import Prompt, prompts_of
from mlx_publish.evidence.measured import Answer, Answers, Question
from mlx_publish.text.progress import Step, Tell, counted

Progress = Tell
T = TypeVar("T")
_SIDE_BY_SIDE = hasattr(mx, "new_thread_local_stream")
"""Whether each thread has a stream of its own; to make one token of an answer, a CPU uses one core."""
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
    asked = prompts_of(tokenizer, questions)

    def answer(question: Question) -> tuple[str, Answer]:
        return question.name, _answer(model, tokenizer, asked[question.name], question.max_tokens, special)

    step = Step("answering", 0, len(questions), "questions")
    alone = on_gpu() or not (_SIDE_BY_SIDE and backend().threads())
    with shared(1 if alone else len(questions)) as at_once:
        if at_once > 1:
            # No thread may come upon what another one is computing: what a model keeps unevaluated until it is called.
            mx.eval(model(mx.array([[0]])))
        # What takes longest begins first: a token of a prompt takes a tenth of one of the answer's.
        longest = sorted(questions, key=lambda one: -(len(asked[one.name][1]) / 10 + one.max_tokens))
        made = dict(counted(_each(answer, longest, at_once), lambda _: 1, progress, step))
    answers = {question.name: made[question.name] for question in questions}
    stop_ids = sorted(tokenizer.eos_token_ids)
    return Answers(computed_in, stop_ids, 1 + max(tokenizer.get_vocab().values(), default=-1), answers)


def _each(answer: Callable[[Question], T], questions: Sequence[Question], at_once: int) -> Iterator[T]:
    """Yield the answers in the order of the questions, of which so many are made at once."""
    if at_once == 1:
        yield from map(answer, questions)
        return
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(answer, questions)


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
